"""SIGTERM: accepted messages are delivered, clients get DISCONNECT, the exit status is 0."""

import unittest

import wire
from peer import Peer
from server import Server
from suite import main


class Sigterm(unittest.TestCase):
    def test_it_ends_an_idle_server_with_0(self):
        with Server() as server:
            server.mqtt_port
            self.assertEqual(server.terminate(), 0)

    def test_clients_are_told_and_the_status_is_0(self):
        with Server() as server:
            new, old = Peer(server.mqtt_port, 5), Peer(server.mqtt_port, 4)
            new.connect("new")
            old.connect("old")
            self.assertEqual(server.terminate(), 0)
            new.expect(wire.DISCONNECT, code=0x8B)
            new.expect_end()
            old.expect_end()
            new.close()
            old.close()

    def test_what_was_accepted_is_delivered_first(self):
        with Server() as server:
            reader, sender = Peer(server.mqtt_port), Peer(server.mqtt_port)
            reader.connect("reader")
            reader.subscribe(("t/#", 1))
            sender.connect("sender")
            count = 500
            for number in range(count):
                sender.send(wire.publish("t", str(number), 1, number + 1))
            for number in range(count):
                sender.expect(wire.PUBACK, pid=number + 1)
            self.assertEqual(server.terminate(), 0)
            for number in range(count):
                reader.expect(wire.PUBLISH, topic="t", payload=str(number))
            reader.expect(wire.DISCONNECT, code=0x8B)
            reader.expect_end()
            reader.close()
            sender.close()

    def test_a_reader_that_does_not_read_does_not_hold_it(self):
        with Server({"drain_seconds": 1}) as server:
            stuck = Peer(server.mqtt_port, 4, receive_buffer=4096)
            stuck.connect("stuck")
            stuck.subscribe(("t", 1))
            sender = Peer(server.mqtt_port, 4)
            sender.connect("sender")
            for number in range(2000):
                sender.publish("t", bytes(8000), qos=1)
            self.assertEqual(server.terminate(), 0)
            stuck.close()
            sender.close()

    def test_what_somebody_asked_for_and_would_take_very_long_does_not_hold_it(self):
        with Server() as server:
            peer = Peer(server.mqtt_port)
            peer.connect("asks much")
            count = 3_000
            peer.send(b"".join(wire.publish(f"r/{i}", b"v", retain=True) for i in range(count)))
            # Each filter goes through all retained topics, and matches none.
            peer.subscribe(*(f"+/{i}/x" for i in range(count)))
            self.assertEqual(server.terminate(), 0)
            server.wait_for_log("stopped clean=true")
            peer.expect(wire.DISCONNECT, code=0x8B)
            peer.close()


if __name__ == "__main__":
    main()
