"""The unit for systemd, and what the server tells whoever started it by sd_notify's protocol: the test stands
for systemd, with a socket of its own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

from peer import Peer
from server import Server
from suite import EVENT_TIMEOUT_S, eventually, main

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "millrace.service"
EXPOSURE_MAX = 2.0


class Manager:
    """Where the server's datagrams arrive."""

    def __init__(self, folder):
        self.address = os.path.join(folder, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.socket.settimeout(EVENT_TIMEOUT_S)

    def wait_for(self, pattern):
        """The first datagram with this in it; those before are skipped."""
        while True:
            message = self.socket.recv(4096).decode()
            if re.search(pattern, message, re.M):
                return message


class Told(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-systemd-")
        self.addCleanup(folder.cleanup)
        self.manager = Manager(folder.name)
        self.addCleanup(self.manager.socket.close)

    def start(self, **variables):
        """A server that this manager has started; variables go to its environment."""
        variables["NOTIFY_SOCKET"] = self.manager.address
        os.environ.update(variables)
        try:
            server = Server({})
        finally:
            for name in variables:
                del os.environ[name]
        self.addCleanup(server.stop)
        return server

    def connect(self, server):
        peer = Peer(server.mqtt_port)
        self.addCleanup(peer.close)
        peer.connect()

    def test_it_is_ready_when_it_listens(self):
        server = self.start()
        self.assertEqual(self.manager.wait_for("READY=1"), "READY=1\nSTATUS=serves 0 connections")
        self.connect(server)

    def test_it_is_alive_as_long_as_its_threads_are(self):
        self.start(WATCHDOG_USEC="200000")
        for _ in range(5):
            self.manager.wait_for("^WATCHDOG=1$")

    def test_nobody_asks_for_a_heartbeat_and_none_is_sent(self):
        server = self.start(WATCHDOG_USEC="200000", WATCHDOG_PID="1")
        self.manager.wait_for("READY=1")
        server.terminate()
        seen = []
        while True:
            seen.append(self.manager.socket.recv(4096).decode())
            if "STOPPING=1" in seen[-1]:
                break
        self.assertNotIn("WATCHDOG=1", seen)

    def test_the_status_counts_connections(self):
        server = self.start(WATCHDOG_USEC="200000")
        self.connect(server)
        self.manager.wait_for("^STATUS=serves 1 connection$")

    def test_a_reload_begins_and_ends(self):
        server = self.start()
        self.manager.wait_for("READY=1")
        server.reload({"log": {"level": "debug"}})
        self.assertRegex(self.manager.wait_for("RELOADING=1"), r"\nMONOTONIC_USEC=\d+\n")
        self.assertEqual(self.manager.wait_for("READY=1"), "READY=1\nSTATUS=serves 0 connections")

    def test_a_reload_that_is_refused_ends_too_and_the_status_says_so(self):
        server = self.start()
        self.manager.wait_for("READY=1")
        server.reload({"log": {"level": "loud"}})
        self.manager.wait_for("RELOADING=1")
        self.assertIn("reload was refused", self.manager.wait_for("READY=1"))
        server.reload({})
        self.manager.wait_for("RELOADING=1")
        self.assertNotIn("refused", self.manager.wait_for("READY=1"))

    def test_it_says_that_it_stops(self):
        server = self.start()
        server.mqtt_port
        server.process.send_signal(signal.SIGTERM)
        self.manager.wait_for("^STOPPING=1$")
        self.assertEqual(server.process.wait(EVENT_TIMEOUT_S), 0)

    def test_a_manager_that_is_gone_does_not_matter(self):
        server = self.start(WATCHDOG_USEC="200000")
        self.manager.wait_for("READY=1")
        self.manager.socket.close()
        eventually(lambda: any("service_manager" in line for line in server.lines), "the log says it")
        self.connect(server)
        self.assertEqual(sum("service_manager" in line for line in server.lines), 1)


class Unit(unittest.TestCase):
    def values(self, key):
        return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.M)

    def test_it_waits_for_ready_and_for_signs_of_life(self):
        self.assertEqual(self.values("Type"), ["notify"])
        self.assertEqual(self.values("NotifyAccess"), ["main"])
        self.assertGreaterEqual(int(self.values("WatchdogSec")[0]), 30)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze (package systemd) is not installed")
    def test_a_break_in_would_find_little(self):
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={int(EXPOSURE_MAX * 10)}",
                               str(UNIT)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        level = re.search(r"Overall exposure level.*: ([\d.]+)", done.stdout)[1]
        print(f"exposure level {level}")
        self.assertLessEqual(float(level), EXPOSURE_MAX)


if __name__ == "__main__":
    main()
