"""/metrics: accepted by promtool, and its counters agree with what the clients did."""

import shutil
import subprocess
import unittest
import urllib.error

import wire
from case import Case, eventually, main
from peer import Peer
from websocket import WebSocket


class Metrics(Case):
    def setUp(self):
        super().setUp()

        def rests():
            metrics = self.server.metrics()
            return not any(value for name, value in metrics.items() if name.partition("{")[0] in (
                "millrace_connections_open", "millrace_sessions", "millrace_subscriptions"))
        eventually(rests, "nothing is left of the test before")

    def difference(self, before, name, **labels):
        key = name + ("{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else "")
        return self.server.metrics().get(key, 0) - before.get(key, 0)

    def adds_up(self, before, expected, name, **labels):
        eventually(lambda: self.difference(before, name, **labels) == expected,
                   f"{name} {labels} rose by {expected}, not "
                   f"{self.difference(before, name, **labels)}")

    def test_messages_and_their_bytes_add_up(self):
        before = self.server.metrics()
        readers = [self.peer() for _ in range(3)]
        for reader in readers:
            reader.subscribe((self.topic(), 2))
        sender = self.peer()
        sent = {0: 7, 1: 5, 2: 3}
        for qos, count in sent.items():
            for number in range(count):
                sender.publish(self.topic(), b"x" * 10 * (qos + 1), qos=qos)
        for reader in readers:
            for _ in range(sum(sent.values())):
                reader.expect(wire.PUBLISH)
        for qos, count in sent.items():
            size = 10 * (qos + 1)
            self.adds_up(before, count, "millrace_messages_received_total", qos=qos)
            self.adds_up(before, count * size, "millrace_message_received_bytes_total", qos=qos)
            self.adds_up(before, count * 3, "millrace_messages_sent_total", qos=qos)
            self.adds_up(before, count * size * 3, "millrace_message_sent_bytes_total", qos=qos)
        self.adds_up(before, 45, "millrace_publish_to_write_seconds_count")

    def test_connections_add_up_by_transport_and_protocol(self):
        before = self.server.metrics()
        peers = [self.peer(version=version) for version in (3, 4, 4, 5)]
        over = WebSocket(self.server.ws_port)
        peers.append(Peer(None, 4, sock=over))
        peers[-1].connect("ws")
        self.adds_up(before, 4, "millrace_connections_accepted_total", transport="tcp")
        self.adds_up(before, 1, "millrace_connections_accepted_total", transport="ws")
        self.adds_up(before, 4, "millrace_connections_open", transport="tcp")
        names = {label for label in self.server.metrics() if "millrace_clients_open{" in label}
        self.assertEqual(len(names), 3, names)
        for peer in peers:
            peer.disconnect()
            peer.close()
        self.adds_up(before, 0, "millrace_connections_open", transport="tcp")
        self.adds_up(before, 0, "millrace_connections_open", transport="ws")
        self.adds_up(before, 5, "millrace_connections_closed_total", cause="client_disconnect")

    def test_sessions_and_subscriptions_are_counted(self):
        before = self.server.metrics()
        peer = self.peer(clean=False, properties=[(wire.SESSION_EXPIRY, 60)])
        peer.subscribe(self.topic("a"), self.topic("b"))
        self.adds_up(before, 1, "millrace_sessions")
        self.adds_up(before, 2, "millrace_subscriptions")
        peer.disconnect()
        self.adds_up(before, 1, "millrace_sessions")
        again = self.peer(peer.client_id, clean=True)
        again.disconnect()
        self.adds_up(before, 0, "millrace_sessions")
        self.adds_up(before, 0, "millrace_subscriptions")

    @unittest.skipUnless(shutil.which("promtool"), "promtool (package prometheus) is not installed")
    def test_promtool_finds_no_fault(self):
        peer = self.peer()
        peer.subscribe(self.topic())
        peer.publish(self.topic(), b"x", qos=2)
        peer.receive()
        peer.send(b"\0\0")
        peer.expect_fault(0x81)
        done = subprocess.run(["promtool", "check", "metrics"], input=self.server.http("/metrics"),
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_health_and_readiness_are_told(self):
        self.server.http("/healthz")
        self.server.http("/readyz")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.server.http("/nothing-here")
        self.assertEqual(refused.exception.code, 404)
        refused.exception.close()


if __name__ == "__main__":
    main()
