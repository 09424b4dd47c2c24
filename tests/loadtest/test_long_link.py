"""loadtest/long-link carries TCP with the delay and the rate that it was told, and leaves nothing behind.

A link can be late on a busy machine, and is never early: so nothing is asserted of how long at most it takes."""

import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

LONG_LINK = Path(__file__).resolve().parents[2] / "loadtest" / "long-link"
ROUND_TRIP_S, KBIT_PER_S, SENT_BYTES = 0.05, 1600, 60_000
NEAR, FAR = f"mlnear{os.getpid()}", f"mlfar{os.getpid()}"

SERVE = """
import socket
with socket.create_server(("0.0.0.0", 7000)) as listener:
    print("listening", flush=True)
    peer, _ = listener.accept()
    while data := peer.recv(65536):
        peer.sendall(data)
"""
ASK = f"""
import socket, sys, time
with socket.create_connection((sys.argv[1], 7000)) as peer:
    begin = time.monotonic()
    peer.sendall(b"x")
    assert peer.recv(1) == b"x"
    print(time.monotonic() - begin)
    begin = time.monotonic()
    peer.sendall(bytes({SENT_BYTES}))
    left = {SENT_BYTES}
    while left:
        left -= len(peer.recv(65536))
    print(time.monotonic() - begin)
"""


def namespaces():
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


@unittest.skipUnless(os.geteuid() == 0 and os.access("/dev/net/tun", os.W_OK), "needs root and /dev/net/tun")
class LongLink(unittest.TestCase):
    def setUp(self):
        self.link = subprocess.Popen(
            [LONG_LINK, NEAR, FAR, "--round-trip-ms", str(ROUND_TRIP_S * 1000), "--kbit-per-s", str(KBIT_PER_S),
             "--queue-ms", "1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end)
        if self.link.stdout.readline() != "ready\n":
            self.skipTest("no namespaces here: " + self.link.communicate()[1])

    def end(self):
        self.link.send_signal(signal.SIGTERM)
        self.link.communicate()

    def times(self, address):
        """Of a byte there and back, and of SENT_BYTES."""
        server = subprocess.Popen(["ip", "netns", "exec", NEAR, sys.executable, "-c", SERVE],
                                  stdout=subprocess.PIPE, text=True)
        self.assertEqual(server.stdout.readline(), "listening\n")
        asked = subprocess.run(["ip", "netns", "exec", FAR, sys.executable, "-c", ASK, address],
                               capture_output=True, text=True, check=True)
        server.communicate()
        return [float(line) for line in asked.stdout.split()]

    def test_it_is_as_long_and_as_narrow_as_it_says_and_the_short_way_is_not(self):
        round_trip_s, carried_s = self.times("10.91.1.1")
        self.assertGreaterEqual(round_trip_s, ROUND_TRIP_S)
        self.assertGreaterEqual(carried_s, ROUND_TRIP_S + SENT_BYTES / (KBIT_PER_S * 125))
        self.times("10.91.2.1")

    def test_it_takes_its_namespaces_with_it(self):
        self.assertIn(NEAR, namespaces())
        self.end()
        self.assertEqual(self.link.returncode, 0)
        self.assertNotIn(NEAR, namespaces())
        self.assertNotIn(FAR, namespaces())


if __name__ == "__main__":
    unittest.main()
