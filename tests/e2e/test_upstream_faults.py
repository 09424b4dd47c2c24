"""Three edges in front of one broker, in a network of the test's own, while links are cut, flap and
carry one way, and an edge is killed: a history of all that was published and delivered is kept, and
read at the end (tests/peer/history.py)."""

import os
import subprocess
import tempfile
import unittest

import network
from fault_case import Faults
from mosquitto import MOSQUITTO
from server import Server
from suite import main

WHY_NOT = network.why_not()
PORT = 1883
EDGES = ("one", "two", "three")


class Mosquitto:
    def __init__(self, inside):
        self.folder = tempfile.TemporaryDirectory(prefix="millrace-faults-")
        file = os.path.join(self.folder.name, "mosquitto.conf")
        with open(file, "w") as out:
            out.write(f"listener {PORT}\nallow_anonymous true\nuser root\nmax_queued_messages 0\n")
        self.process = subprocess.Popen([*inside, MOSQUITTO, "-c", file],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def serve(inside, **config):
    """A server of this program there, for everybody."""
    return Server({"listeners": [{"name": "tcp", "host": "0.0.0.0", "port": PORT}],
                   "access": {"allow_anonymous": True}, **config}, inside=inside)


class Edges(Faults):
    """What is the same whatever the broker behind the edges is."""

    def setUp(self):
        self.net = network.Network("core", *EDGES)
        self.addCleanup(self.net.close)
        self.start_history()
        self.core = self.start_core(self.net.inside("core"))
        self.addCleanup(self.core.stop)
        self.edges = {}
        for node in EDGES:
            self.start_edge(node)
        for node in EDGES:
            self.read_at(node)
        for node in EDGES:
            for qos in (0, 1, 2):
                self.write_at(node, qos)
        self.wait_for_all()

    # ---- what runs

    def start_edge(self, node):
        edge = serve(self.net.inside(node), upstreams=[{
            "name": "core", "addresses": f"mqtt://{self.net.address('core')}:{PORT}",
            "client_id": node, "keep_alive_seconds": 5, "retry_max_seconds": 1,
            "rules": [{"direction": "both", "filter": "d/#"}]}])
        self.addCleanup(edge.stop)
        self.edges[node] = edge
        edge.wait_for_log(r"upstream.up ")

    def wait_until_down(self, node, seen):
        self.edges[node].wait_for_log(r"upstream.down ", seen)
        self.wait_for_writers(node)  # They notice nothing.

    # ---- the faults

    def test_a_link_is_cut(self):
        seen = self.lines()
        self.net.cut("one")
        self.wait_until_down("one", seen["one"])
        self.net.join("one")
        self.edges["one"].wait_for_log(r"upstream.up ", seen["one"])
        self.wait_for_all()
        self.come_to_rest()

    def test_a_link_carries_one_way(self):
        for sender, receiver in (("one", "core"), ("core", "one")):
            seen = self.lines()
            self.net.cut_one_way(sender, receiver)
            self.wait_until_down("one", seen["one"])
            self.net.join_one_way(sender, receiver)
            self.edges["one"].wait_for_log(r"upstream.up ", seen["one"])
        self.wait_for_all()
        self.come_to_rest()

    def test_a_link_flaps(self):
        for _ in range(100):
            self.net.cut("two")
            self.wait_for_writers("two", count=1)
            self.net.join("two")
            self.wait_for_writers("one", count=1)
        self.wait_for_all()
        self.come_to_rest()

    def test_an_edge_is_killed(self):
        self.edges["three"].process.kill()
        self.edges["three"].process.wait()
        lost = [writer for writer in self.writers if writer.name.startswith("three")]
        reader = self.readers.pop("three")
        for client in (reader, *lost):
            client.end()
        self.history.reader_ends(reader.name)
        self.writers = [writer for writer in self.writers if writer not in lost]
        # What waited there is lost with it; what the others wrote is not.
        kept = {writer.name for writer in self.writers}
        self.wait_for_writers("one")
        self.start_edge("three")
        self.wait_for_writers("two")
        self.come_to_rest(of=kept)


@unittest.skipIf(WHY_NOT, WHY_NOT)
@unittest.skipUnless(MOSQUITTO, "mosquitto is not installed")
class BesideMosquitto(Edges, unittest.TestCase):
    def start_core(self, inside):
        return Mosquitto(inside)


@unittest.skipIf(WHY_NOT, WHY_NOT)
class BesideMillrace(Edges, unittest.TestCase):
    def start_core(self, inside):
        core = serve(inside)
        core.mqtt_port  # Waits until it listens.
        return core


if __name__ == "__main__":
    main()
