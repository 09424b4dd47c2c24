"""The base class of conformance claims, which makes tests of them.

A claim is a method that drives the real server with a scripted peer. Its decorator `shows` names the
normative statements that it shows, for each standard; each of them becomes a test, named by the
statement's tag:

    @shows(v311="3.1.0-1", v5="3.1.0-1")
    def first_packet_other_than_connect_ends_the_connection(self): ...

    -> test_v311_MQTT_3_1_0_1__first_packet_..., test_v5_MQTT_3_1_0_1__first_packet_...

While a test runs, `self.version` is 4 (MQTT 3.1.1) or 5. All claims of one program share one server
per configuration.
"""

import itertools
import time
import unittest

import suite
import wire
from peer import Peer
from server import Server
from suite import main  # noqa: F401  (every claims_*.py ends with it)

_count = itertools.count(1)
_servers = {}


def shows(v311="", v5=""):
    def mark(claim):
        claim.statements = {4: v311.split(), 5: v5.split()}
        return claim
    return mark


def _as_test(claim, version):
    def test(self):
        self.version = version
        claim(self)
    test.__doc__ = claim.__doc__
    return test


class Case(unittest.TestCase):
    version = 5

    def __init_subclass__(cls):
        for name, claim in list(vars(cls).items()):
            for version, tags in getattr(claim, "statements", {}).items():
                for tag in tags:
                    label = f"v{'311' if version == 4 else version}_MQTT_" + \
                        tag.replace(".", "_").replace("-", "_")
                    setattr(cls, f"test_{label}__{name}", _as_test(claim, version))

    def setUp(self):
        self.unique = f"c{next(_count)}"
        self.server = self.server_with()

    # ---- the server
    # --------------------------------------------------------------------------------

    @staticmethod
    def server_with(name="plain"):
        """This program's server with the configuration of this name."""
        if name not in _servers:
            from configurations import CONFIGURATIONS
            _servers[name] = Server(CONFIGURATIONS[name]())
        return _servers[name]

    # ---- peers
    # -------------------------------------------------------------------------------------

    def raw(self, version=None, **options):
        """A peer that has sent nothing yet."""
        peer = Peer(self.server.mqtt_port, version or self.version, **options)
        self.addCleanup(peer.close)
        return peer

    def name(self, tail=""):
        """A client identifier or a topic that no other test uses."""
        return self.unique + tail

    def topic(self, tail="t"):
        return f"{self.unique}/{tail}"

    def peer(self, client_id=None, version=None, **options):
        """An accepted peer; its CONNACK is `peer.connack`."""
        peer = self.raw(version)
        peer.client_id = f"{self.unique}n{next(_count)}" if client_id is None else client_id
        peer.connack = peer.connect(peer.client_id, **options)
        return peer

    def durable(self, client_id=None, version=None, clean=False, properties=(), expiry_s=300, **more):
        """An accepted peer whose session outlives its connection."""
        if (version or self.version) == 5:
            properties = [(wire.SESSION_EXPIRY, expiry_s), *properties]
        return self.peer(client_id, version, clean=clean, properties=properties, **more)

    def leave(self, peer):
        """Sends DISCONNECT, and waits until the server has closed the connection."""
        peer.disconnect()

    def let_pass(self, seconds):
        """Sleeps: only for statements about time, everything else waits for events."""
        time.sleep(seconds)

    # ---- both versions
    # -------------------------------------------------------------------------------

    @property
    def is_v5(self):
        return self.version == 5

    def packet_bytes(self, builder, *arguments, **options):
        return builder(*arguments, version=self.version, **options)

    def publish_bytes(self, *arguments, **options):
        return wire.publish(*arguments, version=self.version, **options)

    def connect_bytes(self, *arguments, **options):
        return wire.connect(*arguments, version=self.version, **options)

    def subscribe_bytes(self, *arguments, **options):
        return wire.subscribe(*arguments, version=self.version, **options)

    def unsubscribe_bytes(self, *arguments, **options):
        return wire.unsubscribe(*arguments, version=self.version, **options)

    def expect_filter_refused(self, peer, filter_, options=0):
        """SUBSCRIBE to an invalid filter: a failure code, or the end of the connection."""
        pid = peer.pid()
        peer.send(self.subscribe_bytes(pid, [(filter_, options)]))
        got = peer.next()
        if got is not None and got.kind == wire.SUBACK:
            self.assertEqual(got.pid, pid)
            self.assertIn(got.codes, [[0x8F], [0x80]])
            return
        if got is not None:
            self.assertEqual(self.version, 5, got)
            self.assertEqual(got.kind, wire.DISCONNECT, got)
            self.assertIn(got.code, (0x81, 0x82, 0x8F), got)
            peer.expect_end()


def stop_servers():
    for server in _servers.values():
        server.stop()
    _servers.clear()


suite.at_end.append(stop_servers)
