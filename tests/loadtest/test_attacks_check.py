"""loadtest/attacks.py: what it finds wrong with what its healthy client saw."""

import multiprocessing
import socket
import sys
import threading
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "loadtest"))
import attacks  # noqa: E402
from attacks import wire  # noqa: E402

BEGINNING_BYTES = len(wire.connect("healthy") + wire.subscribe(1, [("healthy", 0)]))
CONNACK, SUBACK = bytes([0x20, 3, 0, 0, 0]), bytes([0x90, 4, 0, 1, 0, 0])


class HealthyClient(unittest.TestCase):
    def setUp(self):
        self.addCleanup(setattr, attacks, "PATIENCE_S", attacks.PATIENCE_S)
        attacks.PATIENCE_S = 0.3  # for messages that cannot come

    def faults(self, serve):
        """What is found wrong with a server that takes the client in, and then does this with its socket and
        the message that it has read; it returns whether it goes on."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        ours, theirs = multiprocessing.Pipe()
        seen = threading.Event()

        def run():
            held, (sock, _), goes_on = bytearray(), listener.accept(), True
            with sock:
                sock.recv(BEGINNING_BYTES, socket.MSG_WAITALL)
                sock.sendall(CONNACK + SUBACK)
                while goes_on and (data := sock.recv(65536)):
                    held += data
                    while found := wire.read(held, 5):
                        packet = bytes(held[:found[1]])
                        del held[:found[1]]
                        if goes_on:
                            goes_on = serve(sock, packet)
                            seen.set()
            seen.set()

        server = threading.Thread(target=run)
        client = threading.Thread(target=attacks.healthy_client, args=(listener.getsockname()[1], theirs))
        server.start()
        client.start()
        self.assertEqual(ours.recv(), "subscribed")
        self.assertTrue(seen.wait(60))
        ours.send("stop")
        _, worst, lost, missing = ours.recv()
        client.join()
        server.join()
        return attacks.faults_of(worst, lost, missing)

    def test_has_no_fault_while_each_message_comes(self):
        attacks.PATIENCE_S = 60

        def serve(sock, packet):
            sock.sendall(packet)
            return True
        self.assertEqual(self.faults(serve), [])

    def test_says_that_nothing_comes_though_its_connection_holds(self):
        [fault] = self.faults(lambda sock, packet: True)
        self.assertRegex(fault, r"^\d+ messages of the healthy client never came$")

    def test_says_that_its_connection_was_lost(self):
        self.assertIn("the healthy client lost its connection", self.faults(lambda sock, packet: False))

    def test_says_that_a_message_came_too_late(self):
        self.assertEqual(attacks.faults_of(attacks.PATIENCE_S, False, 0), [])
        [fault] = attacks.faults_of(attacks.PATIENCE_S + 1, False, 0)
        self.assertIn("waited for", fault)


if __name__ == "__main__":
    unittest.main()
