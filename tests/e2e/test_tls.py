"""MQTT and WebSocket inside TLS, with a certificate made for this run."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest

import wire
from case import Case, main
from peer import TIMEOUT_S, Peer
from websocket import WebSocket


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class Tls(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="millrace-tls-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.certificate = os.path.join(cls.folder.name, "certificate.pem")
        cls.key = os.path.join(cls.folder.name, "key.pem")
        cls.make_certificate()
        tls = {"certificate_file": cls.certificate, "key_file": cls.key}
        cls.CONFIG = {"listeners": [
            {"name": "tcp", "transport": "tcp", "port": 0},
            {"name": "tls", "transport": "tls", "port": 0, "tls": tls},
            {"name": "wss", "transport": "wss", "port": 0, "tls": tls}]}
        super().setUpClass()

    @classmethod
    def make_certificate(cls):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", cls.key, "-out", cls.certificate], check=True,
                       stderr=subprocess.DEVNULL)

    def shown_certificates(self):
        """What the two listeners show to a client that trusts the file as it is now."""
        with open(self.certificate) as file:
            newest = ssl.PEM_cert_to_DER_cert(file.read())
        for name in ("tls", "wss"):
            self.assertEqual(self.tls_socket(self.server.port(name)).getpeercert(True), newest)

    def test_a_new_certificate_is_taken_by_sighup(self):
        before = Peer(None, sock=self.tls_socket(self.server.port("tls")))
        before.connect(self.unique)
        self.make_certificate()
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.tls_socket(self.server.port("tls"))  # The server still shows the old one.
        self.assertEqual(self.server.reload(), "reloaded")
        self.shown_certificates()
        before.publish(self.topic(), b"", qos=1)

    def test_a_certificate_that_cannot_be_used_changes_nothing(self):
        self.shown_certificates()  # The server has read the files once.
        with open(self.key) as file:
            key = file.read()
        with open(self.key, "w") as file:
            file.write(key[:100])
        self.assertEqual(self.server.reload(), "reload.fault")
        self.shown_certificates()
        with open(self.key, "w") as file:
            file.write(key)
        self.assertEqual(self.server.reload(), "reloaded")
        self.shown_certificates()

    def tls_socket(self, port, **options):
        context = ssl.create_default_context(cafile=self.certificate)
        for name, value in options.items():
            setattr(context, name, value)
        plain = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.addCleanup(plain.close)
        wrapped = context.wrap_socket(plain, server_hostname="localhost")
        self.addCleanup(wrapped.close)
        return wrapped

    def test_a_peer_over_tls_reaches_one_over_tcp(self):
        inside = Peer(None, sock=self.tls_socket(self.server.port("tls")))
        inside.connect(self.unique)
        inside.subscribe((self.topic(), 2))
        self.peer().publish(self.topic(), b"x" * 300_000, qos=2)
        inside.receive(payload=b"x" * 300_000)

    def test_a_peer_over_wss_reaches_one_over_tcp(self):
        outer = self.tls_socket(self.server.port("wss"))
        inside = Peer(None, sock=WebSocket(self.server.port("wss"), sock=outer))
        inside.connect(self.unique)
        inside.subscribe((self.topic(), 1))
        self.peer().publish(self.topic(), b"x" * 300_000, qos=1)
        inside.receive(payload=b"x" * 300_000)
        inside.publish(self.topic("back"), b"y" * 300_000, qos=2)

    def test_a_reader_that_stalls_gets_every_byte_in_order(self):
        outer = self.tls_socket(self.server.port("tls"))
        inside = Peer(None, sock=outer)
        inside.connect(self.unique)
        inside.subscribe((self.topic(), 1))
        sender = self.peer()
        # More than the sockets hold, in pieces that are smaller, as large and larger than a record.
        payloads = [bytes([number % 256]) * (number * 997 % 50_000) for number in range(600)]
        for payload in payloads:
            sender.publish(self.topic(), payload, qos=1)
        for payload in payloads:
            inside.receive(payload=payload)

    def test_a_client_that_asks_for_small_records_gets_them(self):
        # RFC 6066, section 4: the client's buffers may be small.
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        with theirs:
            client = subprocess.Popen(
                ["openssl", "s_client", "-quiet", "-maxfraglen", "512", "-connect",
                 f"127.0.0.1:{self.server.port('tls')}"],
                stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        inside = Peer(None, sock=ours)
        inside.connect(self.unique)
        inside.subscribe((self.topic(), 0))
        payload = os.urandom(300_000)
        self.peer().publish(self.topic(), payload, qos=1)
        inside.receive(payload=payload)

    def test_mosquitto_clients_over_tls(self):
        options = ["-h", "localhost", "-p", str(self.server.port("tls")), "--cafile",
                   self.certificate]
        reader = self.program("mosquitto_sub", *options, "-d", "-t", self.topic(), "-q", "1",
                              "-F", "got %p")
        reader.line("Subscribed")
        self.program("mosquitto_pub", *options, "-t", self.topic(), "-m", "secret", "-q", "1").finish()
        self.assertEqual(reader.line("got"), "got secret")

    def test_paho_over_tls_and_wss(self):
        try:
            from test_paho_python import Client, paho
        except ImportError:
            paho = None
        if not paho:
            self.skipTest("python3-paho-mqtt is not installed")
        for transport, name in (("tcp", "tls"), ("websockets", "wss")):
            client = Client(self.server.port(name), self.unique + name, paho.MQTTv311,
                            transport=transport, tls=self.certificate)
            client.subscribe(self.topic(), 1)
            client.publish(self.topic(), b"secret", 1)
            self.assertEqual(client.message().payload, b"secret")
            client.disconnect()

    def test_bytes_that_are_no_tls_end_their_connection_alone(self):
        for name in ("tls", "wss"):
            plain = Peer(self.server.port(name))
            self.addCleanup(plain.close)
            plain.send(wire.connect("plain"))
            with contextlib.suppress(ConnectionResetError):
                while plain.sock.recv(1000):  # A TLS alert, perhaps; then the end.
                    pass
        self.peer().publish(self.topic(), b"", qos=1)

    def test_a_peer_that_stops_in_its_handshake_holds_nobody(self):
        waiting = socket.create_connection(("127.0.0.1", self.server.port("tls")), TIMEOUT_S)
        self.addCleanup(waiting.close)
        waiting.sendall(b"\x16\x03\x01")
        inside = Peer(None, sock=self.tls_socket(self.server.port("tls")))
        inside.connect(self.unique)

    def test_versions_before_1_2_are_refused(self):
        with self.assertRaises((ssl.SSLError, ConnectionError, ValueError)):
            self.tls_socket(self.server.port("tls"), minimum_version=ssl.TLSVersion.TLSv1,
                            maximum_version=ssl.TLSVersion.TLSv1_1)


if __name__ == "__main__":
    main()
