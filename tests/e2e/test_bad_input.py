"""Bad input: it ends its own connection, with the code of MQTT 5, one line in the log and one count;
other connections are not affected."""

import os
import signal
import socket
import subprocess

import wire
from case import Case, eventually, main
from peer import Peer
from server import Server, binary, environment
from websocket import TEXT, WebSocket


class Packets(Case):
    CONFIG = {"log": {"repeat_seconds": 0}}  # Log every fault, although all have the same address.

    def setUp(self):
        super().setUp()
        # Faults of the previous test's clients are counted before their connections close.
        eventually(lambda: self.connections("open") == 0, "all have gone")
        self.bystander = self.peer()
        self.bystander.subscribe(self.topic())

    def tearDown(self):
        self.bystander.publish(self.topic(), b"undisturbed", qos=1)
        self.bystander.receive(payload=b"undisturbed")
        self.assertIsNone(self.server.process.poll())

    def faults(self):
        return sum(value for name, value in self.server.metrics().items()
                   if name.startswith("millrace_protocol_faults_total"))

    def counted_and_logged(self, peer, bad, expect):
        """Sends bad input, which must add one fault to the metrics and a line to the log."""
        before, lines = self.faults(), len(self.server.lines)
        peer.send(bad)
        expect()
        eventually(lambda: self.faults() == before + 1, "one protocol fault more")
        self.server.wait_for_log(r"connection\.end cause=protocol_fault", since=lines)

    def test_a_malformed_packet_ends_its_connection_with_its_code(self):
        for version in (5, 4):
            peer = self.peer(version=version)
            self.counted_and_logged(peer, b"\x00\x00", lambda: peer.expect_fault(0x81))

    def test_half_a_packet_is_waited_for_and_then_forgotten(self):
        peer = self.peer()
        whole = wire.publish(self.topic("half"), b"x" * 1000, 1, 1)
        peer.send(whole[:500])
        peer.close()
        slow = self.raw()
        connect = wire.connect("half")
        slow.send(connect[:7])
        slow.send(connect[7:])
        slow.expect(wire.CONNACK, code=0)

    def test_a_connection_that_says_nothing_is_closed(self):
        with Server({"connect_timeout_seconds": 1}) as server:
            for start in (b"", wire.connect("late")[:5]):
                peer = Peer(server.mqtt_port)
                peer.send(start)
                peer.expect_end()
                peer.close()

    def test_a_remaining_length_of_256_mb_is_refused_before_it_is_read(self):
        before = self.server.resident_bytes()
        for version in (5, 4):
            peer = self.peer(version=version)
            self.counted_and_logged(peer, b"\x30\xff\xff\xff\x7f" + b"x" * 1000,
                                    lambda: peer.expect_fault(0x95))
        huge = self.raw()
        huge.send(b"\x10\xff\xff\xff\x7f")
        huge.expect_refused(0x95)
        self.assertLess(self.server.resident_bytes() - before, 8 << 20)

    def test_a_length_of_five_bytes_is_malformed(self):
        for version in (5, 4):
            peer = self.peer(version=version)
            self.counted_and_logged(peer, b"\x30\xff\xff\xff\xff\x01",
                                    lambda: peer.expect_fault(0x81))
        first = self.raw()
        self.counted_and_logged(first, b"\x10\x80\x80\x80\x80\x01", lambda: first.expect_refused(0x81))
        inside = self.peer()
        self.counted_and_logged(inside, wire.packet(wire.SUBSCRIBE, 2, b"\0\1\x80\x80\x80\x80\x01"),
                                lambda: inside.expect_fault(0x81))

    def test_a_publish_before_connect_is_not_processed(self):
        for version in (5, 4):
            peer = self.raw(version)
            self.counted_and_logged(peer, wire.publish(self.topic(), b"early", version=version),
                                    peer.expect_end)
        self.bystander.expect_nothing_more()

    def test_two_connects_end_the_connection(self):
        for version in (5, 4):
            peer = self.peer(version=version)
            self.counted_and_logged(peer, wire.connect(peer.client_id, version=version),
                                    lambda: peer.expect_fault(0x82))

    def test_random_bytes_never_end_the_server(self):
        import random
        generator = random.Random(1)
        before = self.connections("accepted_total")
        for number in range(300):
            connected = number % 2
            peer = self.peer() if connected else self.raw()
            peer.send(bytes([generator.choice([0x10, 0x30, 0x32, 0x34, 0x62, 0x82, 0xA2, 0xE0, 0xF0]),
                             generator.randrange(1, 120)]) + generator.randbytes(200))
            peer.close()
        eventually(lambda: self.connections("accepted_total") >= before + 300 and self.connections("open") == 1,
                   "each was looked at, and left")


class WebSockets(Case):
    def open(self, **options):
        socket_ = WebSocket(self.server.ws_port, **options)
        self.addCleanup(socket_.close)
        return socket_

    def test_a_text_frame_ends_the_connection(self):
        socket_ = self.open()
        peer = Peer(None, sock=socket_)
        peer.connect("text")
        socket_.send_frame(TEXT, b"text")
        peer.expect_fault(0x81, 0x82)
        self.assertEqual(socket_.closed_with, 1003)

    def test_a_wrong_subprotocol_is_refused(self):
        for protocol in ("chat", "mqttv3.2", None):
            self.assertEqual(self.open(protocol=protocol).status, 400)

    def test_a_wrong_path_is_refused(self):
        self.assertEqual(self.open(path="/elsewhere").status, 404)

    def test_a_request_that_is_not_websocket_is_refused(self):
        with socket.create_connection(("127.0.0.1", self.server.ws_port), 15) as plain:
            plain.sendall(b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertRegex(plain.recv(100), rb"^HTTP/1\.1 4\d\d ")
        with socket.create_connection(("127.0.0.1", self.server.ws_port), 15) as binary_:
            binary_.sendall(wire.connect("not http") + b"\r\n\r\n")
            binary_.shutdown(socket.SHUT_WR)
            while binary_.recv(1000):
                pass

    def test_mqtt_sees_the_same_faults_over_websocket(self):
        peer = Peer(None, sock=self.open())
        peer.connect("fault")
        peer.send(b"\x00\x00")
        peer.expect(wire.DISCONNECT, code=0x81)
        peer.expect_end()


class Start(Case):
    """Faults at start-up: all are printed, and the exit status is not 0."""

    def run_server(self, *arguments, command="serve", env=None):
        done = subprocess.run([binary(), command, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60,
                              env={**environment(), **(env or {})})
        return done.returncode, done.stdout

    def file(self, text):
        path = os.path.join(self.server.folder.name, f"{self.unique}.json")
        with open(path, "w") as out:
            out.write(text)
        return path

    def test_a_port_in_use_is_told(self):
        port = self.server.mqtt_port
        status, output = self.run_server("--mqtt-port", str(port), "--ws-port", "0",
                                         "--http-port", "0")
        self.assertEqual(status, 1, output)
        self.assertIn(str(port), output)
        self.assertRegex(output, "(?i)in use")

    def test_a_configuration_that_cannot_be_read_is_told(self):
        for path in (os.path.join(self.server.folder.name, "absent.json"),
                     self.server.folder.name):
            for command in ("serve", "check"):
                status, output = self.run_server("--config", path, command=command)
                self.assertEqual(status, 1, output)
                self.assertIn(path, output)

    def test_a_configuration_that_is_not_json_is_told(self):
        status, output = self.run_server("--config", self.file('{"queue": '))
        self.assertEqual(status, 1, output)

    def test_an_unknown_key_is_told_with_its_path(self):
        path = self.file('{"queue": {"max_capcity": 1024}, "sesion": {}}')
        for command in ("serve", "check"):
            status, output = self.run_server("--config", path, command=command)
            self.assertEqual(status, 1, output)
            self.assertIn("queue.max_capcity", output)
            self.assertIn("sesion", output)  # All faults, not only the first.
        status, output = self.run_server("--set", "nonsense.key=1")
        self.assertEqual(status, 1, output)
        self.assertIn("nonsense.key", output)

    def test_a_good_configuration_is_told_to_be_good(self):
        status, output = self.run_server("--config", self.file('{"drain_seconds": 1} // fine'),
                                         command="check")
        self.assertEqual(status, 0, output)

    def test_a_faulty_reload_changes_nothing(self):
        path = self.file("{}")
        with Server(None, ["--config", path]) as server:
            peer = Peer(server.mqtt_port)
            peer.connect("steady")
            lines = len(server.lines)
            with open(path, "w") as out:
                out.write('{"no_such_key": 1}')
            server.process.send_signal(signal.SIGHUP)
            server.wait_for_log("no_such_key", since=lines)
            peer.send(wire.pingreq())
            peer.expect(wire.PINGRESP)
            peer.close()


if __name__ == "__main__":
    main()
