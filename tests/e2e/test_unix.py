"""MQTT over a Unix socket: who is at the other end, and the file that it leaves or finds."""

import os
import socket
import stat
import subprocess
import tempfile

import wire
from case import Case, eventually, main
from peer import Peer
from server import Server, binary


class Unix(Case):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="millrace-unix-")
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "mqtt.sock")

    def serve(self, access=None, **listener):
        server = Server({"listeners": [{"transport": "unix", "socket": self.path, **listener},
                                       {"name": "tcp", "port": 0}], "access": access or {}})
        self.addCleanup(server.stop)
        server.wait_for_log(r"\blistening\b.* listener=unix\b")
        return server

    def at_socket(self):
        line = socket.socket(socket.AF_UNIX)
        line.connect(self.path)
        peer = Peer(None, sock=line)
        self.addCleanup(peer.close)
        return peer

    def test_its_clients_are_served_like_others(self):
        server = self.serve()
        local, far = self.at_socket(), Peer(server.port("tcp"))
        self.addCleanup(far.close)
        local.connect("local")
        far.connect("far")
        local.subscribe("t", qos=1)
        far.publish("t", b"x" * 1_000_000, qos=1)
        local.receive(payload=b"x" * 1_000_000)
        self.assertEqual(server.metrics()['millrace_connections_open{transport="unix"}'], 1)
        local.disconnect()
        server.wait_for_log(rf"\bconnection\.end\b.* peer=uid:{os.getuid()}\b")

    def test_the_processes_user_is_its_name(self):
        user = f"uid:{os.getuid()}"
        server = self.serve(peer_user=True, access={
            "allow_anonymous": False, "otherwise": "deny",
            "rules": [{"effect": "allow", "user": user, "filter": "own/#"}]})
        local = self.at_socket()
        local.connect("local", username="somebody else")
        self.assertEqual(local.publish("own/a", b"", qos=1).code & 0x80, 0)
        self.assertEqual(local.publish("others/a", b"", qos=1).code, 0x87)
        far = Peer(server.port("tcp"))
        self.addCleanup(far.close)
        far.send(wire.connect("far", username=user))
        far.expect_refused(0x87)
        self.assertEqual(server.reload(), "reloaded")
        self.assertEqual(local.publish("own/a", b"", qos=1).code & 0x80, 0)

    def test_without_that_they_are_asked_as_others_are(self):
        users = os.path.join(os.path.dirname(self.path), "users")
        subprocess.run([binary(), "passwd", users, "ann"], input="secret\n", text=True, check=True,
                       stdout=subprocess.DEVNULL)
        self.serve(access={"password_file": users})
        one = self.at_socket()
        one.send(wire.connect("one"))
        one.expect_refused(0x87)

    def test_limits_count_it_by_its_user(self):
        server = Server({"listeners": [{"transport": "unix", "socket": self.path}],
                         "connection": {"per_address_max": 1}})
        self.addCleanup(server.stop)
        server.wait_for_log(r"\blistening\b.* listener=unix\b")
        self.at_socket().connect("one")
        two = self.at_socket()
        two.send(wire.connect("two"))
        two.expect_refused(0x97)

    def test_the_file_has_its_mode_and_goes_with_the_server(self):
        server = self.serve(socket_mode="0600")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(server.terminate(), 0)
        self.assertFalse(os.path.exists(self.path))

    def test_what_a_killed_server_left_is_no_obstacle_and_a_file_is_left_alone(self):
        first = self.serve()
        first.process.kill()
        first.process.wait()
        self.assertTrue(os.path.exists(self.path))
        self.serve()
        self.at_socket().connect("one")
        self.path += "2"
        with open(self.path, "w") as out:
            out.write("mine")
        other = Server({"listeners": [{"transport": "unix", "socket": self.path}]})
        self.addCleanup(other.stop)
        other.wait_for_log(r"start\.failed.*is not a socket")
        with open(self.path) as file:
            self.assertEqual(file.read(), "mine")

    def test_a_flood_at_it_leaves_nothing(self):
        server = self.serve()
        descriptors = server.descriptors()
        for _ in range(500):
            line = socket.socket(socket.AF_UNIX)
            line.connect(self.path)
            line.send(wire.connect("half")[:7])
            line.close()
        eventually(lambda: server.descriptors() <= descriptors + 5, "the sockets are closed")
        self.at_socket().connect("one")


if __name__ == "__main__":
    main()
