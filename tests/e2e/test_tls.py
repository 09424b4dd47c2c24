"""MQTT and WebSocket inside TLS, with a certificate made for this run."""

import contextlib
import json
import os
import socket
import ssl
import subprocess

import wire
from case import Case, main
from certificate import self_signed
from peer import TIMEOUT_S, Peer
from server import Server, binary, environment
from websocket import WebSocket


class Tls(Case):
    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        cls.certificate = os.path.join(cls.folder.name, "certificate.pem")
        cls.key = os.path.join(cls.folder.name, "key.pem")
        cls.make_certificate()
        tls = {"certificate_file": cls.certificate, "key_file": cls.key}
        cls.CONFIG = {"listeners": [
            {"name": "tcp", "transport": "tcp", "port": 0},
            {"name": "tls", "transport": "tls", "port": 0, "tls": tls},
            {"name": "wss", "transport": "wss", "port": 0, "tls": tls}],
            "outbox": {"unread_bytes": 8192}, "tls_files": {"watch_seconds": 0}}
        super().setUpClass()

    @classmethod
    def make_certificate(cls):
        self_signed(cls.certificate, cls.key, alternative="DNS:localhost,IP:127.0.0.1")

    def shown_certificates(self):
        """The certificates of the two listeners, for a client that trusts the present file."""
        with open(self.certificate) as file:
            newest = ssl.PEM_cert_to_DER_cert(file.read())
        for name in ("tls", "wss"):
            self.assertEqual(self.tls_socket(self.server.port(name)).getpeercert(True), newest)

    def test_a_new_certificate_is_taken_by_sighup(self):
        before = Peer(None, sock=self.tls_socket(self.server.port("tls")))
        before.connect(self.unique)
        self.make_certificate()
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.tls_socket(self.server.port("tls"))  # The server still presents the old one.
        self.assertEqual(self.server.reload(), "reloaded")
        self.shown_certificates()
        before.publish(self.topic(), b"", qos=1)

    def test_new_files_are_taken_by_themselves(self):
        config = {**self.CONFIG, "tls_files": {"watch_seconds": 1}}
        with Server(config) as server:
            port = server.port("tls")
            before = Peer(None, sock=self.tls_socket(port))
            before.connect(self.unique)
            server.http_port  # By now the files have been read, and are looked at.
            self.make_certificate()
            server.wait_for_log(r"\btls\.reloaded\b")
            self.tls_socket(port)
            with open(self.key) as file:
                key = file.read()
            seen = len(server.lines)  # There is a fault before, if it looked between the two files.
            with open(self.key, "w") as file:
                file.write(key[:100])
            server.wait_for_log(r"\btls\.fault\b.*listeners\[1\]\.tls\.key_file", seen)
            self.tls_socket(port)
            seen = len(server.lines)
            with open(self.key, "w") as file:
                file.write(key)
            server.wait_for_log(r"\btls\.reloaded\b", seen)
            before.publish(self.topic(), b"", qos=1)
        # Those of the other tests' server, which reads them on its own.
        self.assertEqual(self.server.reload(), "reloaded")

    def test_a_certificate_that_cannot_be_used_changes_nothing(self):
        self.shown_certificates()  # After this, the server has read the files.
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

    # What is not read is not sent, although the reader's buffers would take many times as much.
    def test_a_reader_that_stands_still_is_left_few_old_values(self):
        for name in ("tls", "wss"):
            sock = self.tls_socket(self.server.port(name))
            if name == "wss":
                sock = WebSocket(self.server.port(name), sock=sock)
            reader = Peer(None, sock=sock)
            reader.connect(f"{self.unique}{name}")
            reader.subscribe("$latest/" + self.topic(name))
            sender, count = self.peer(), 20_000
            for first in range(0, count, 100):
                sender.send(*[wire.publish(self.topic(name), b"%256d" % n)
                              for n in range(first, first + 100)])
            sender.send(wire.pingreq())
            sender.expect(wire.PINGRESP)
            seen = 1
            while int(reader.expect(wire.PUBLISH).payload) != count - 1:
                seen += 1
            self.assertLess(seen, 250, name)

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
        # More than the socket buffers hold; messages both smaller and larger than a record.
        payloads = [bytes([number % 256]) * (number * 997 % 50_000) for number in range(600)]
        for payload in payloads:
            sender.publish(self.topic(), payload, qos=1)
        for payload in payloads:
            inside.receive(payload=payload)

    def test_a_client_that_asks_for_small_records_gets_them(self):
        # RFC 6066, section 4: a client may have small buffers.
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

    def test_tls_1_2_is_spoken_with_fresh_keys_and_authenticated_encryption_alone(self):
        def agreed(ciphers):
            context = ssl.create_default_context(cafile=self.certificate)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers + ":@SECLEVEL=0")
            with socket.create_connection(("127.0.0.1", self.server.port("tls")), TIMEOUT_S) as plain:
                with context.wrap_socket(plain, server_hostname="localhost") as wrapped:
                    return wrapped.cipher()[0]
        self.assertEqual(agreed("ECDHE+AESGCM"), "ECDHE-ECDSA-AES256-GCM-SHA384")
        for weak in ("ECDHE+AES128+SHA256:!AESGCM", "AES128-GCM-SHA256", "AES128-SHA"):
            with self.assertRaises((ssl.SSLError, ConnectionError), msg=weak):
                agreed(weak)

    def test_versions_and_ciphers_are_settings(self):
        def listener(name, **tls):
            return {"name": name, "transport": "tls", "port": 0,
                    "tls": {"certificate_file": self.certificate, "key_file": self.key, **tls}}
        with Server({"listeners": [
                listener("new", version_min="1.3", cipher_suites="TLS_AES_128_GCM_SHA256"),
                listener("old", ciphers="ECDHE-ECDSA-CHACHA20-POLY1305")]}) as server:
            new = self.tls_socket(server.port("new"))
            self.assertEqual((new.version(), new.cipher()[0]), ("TLSv1.3", "TLS_AES_128_GCM_SHA256"))
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                self.tls_socket(server.port("new"), maximum_version=ssl.TLSVersion.TLSv1_2)
            old = self.tls_socket(server.port("old"), maximum_version=ssl.TLSVersion.TLSv1_2)
            self.assertEqual(old.cipher()[0], "ECDHE-ECDSA-CHACHA20-POLY1305")

    def test_a_key_with_a_pass_phrase(self):
        locked, phrase = (os.path.join(self.folder.name, name) for name in ("locked.pem", "phrase"))
        subprocess.run(["openssl", "pkey", "-in", self.key, "-aes128", "-passout", "pass:sesame",
                        "-out", locked], check=True)
        with open(phrase, "w") as out:
            out.write("sesame\n")
        tls = {"certificate_file": self.certificate, "key_file": locked}
        listener = {"name": "tls", "transport": "tls", "port": 0, "tls": tls}
        refused = subprocess.run([binary(), "serve", "--http-port", "0", "--config",
                                  self.write("locked.json", {"listeners": [listener]})],
                                 stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                                 start_new_session=True, env=environment())
        self.assertEqual(refused.returncode, 1)
        self.assertIn("listeners[0].tls.key_file: is encrypted", refused.stderr)
        tls["key_password_file"] = phrase
        with Server({"listeners": [listener]}) as server:
            Peer(None, sock=self.tls_socket(server.port("tls"))).connect(self.unique)
            os.remove(phrase)
            self.assertEqual(server.reload(), "reload.fault")
            Peer(None, sock=self.tls_socket(server.port("tls"))).connect(self.unique)

    def names(self, port, asked):
        """The names in the certificate that a client gets who asks for this one."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.load_verify_locations(self.certificate)
        for name in ("one", "wild"):
            context.load_verify_locations(os.path.join(self.folder.name, f"{name}.pem"))
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as plain:
            with context.wrap_socket(plain, server_hostname=asked) as wrapped:
                return [value for _, value in wrapped.getpeercert()["subjectAltName"]]

    def test_a_client_gets_the_certificate_of_the_name_that_it_asks_for(self):
        def pair(name, alternative):
            paths = [os.path.join(self.folder.name, f"{name}.{end}") for end in ("pem", "key")]
            self_signed(*paths, name, alternative)
            return paths
        one, wild = pair("one", "DNS:one.example"), pair("wild", "DNS:*.wild.example")
        tls = {"certificate_file": self.certificate, "key_file": self.key,
               "more_certificate_files": [one[0], wild[0]], "more_key_files": [one[1], wild[1]]}
        listener = {"name": "tls", "transport": "tls", "port": 0, "tls": tls}
        with Server({"listeners": [listener]}) as server:
            port = server.port("tls")
            self.assertEqual(self.names(port, "one.example"), ["one.example"])
            self.assertEqual(self.names(port, "any.wild.example"), ["*.wild.example"])
            for other in ("localhost", "else.example", None):
                self.assertEqual(self.names(port, other), ["localhost", "127.0.0.1"])
            pair("one", "DNS:two.example")
            self.assertEqual(server.reload(), "reloaded")
            self.assertEqual(self.names(port, "two.example"), ["two.example"])
            self.assertEqual(self.names(port, "one.example"), ["localhost", "127.0.0.1"])

    def resumed(self, port, version, between=None):
        """Whether a second connection resumes the session of the first, after a call of `between`."""
        context = ssl.create_default_context(cafile=self.certificate)
        context.minimum_version = context.maximum_version = version
        session = None
        for number in range(2):
            if number == 1 and between:
                between()
            with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as plain:
                with context.wrap_socket(plain, server_hostname="localhost",
                                         session=session) as wrapped:
                    # With TLS 1.3 the ticket comes with the first bytes.
                    Peer(None, sock=wrapped).connect(f"{self.unique}n{number}")
                    session, reused = wrapped.session, wrapped.session_reused
        return reused

    def test_sessions_are_resumed_until_a_reload_unless_tickets_are_off(self):
        tls = {"certificate_file": self.certificate, "key_file": self.key}
        with Server({"listeners": [
                {"name": "tls", "transport": "tls", "port": 0, "tls": tls},
                {"name": "off", "transport": "tls", "port": 0,
                 "tls": {**tls, "session_tickets": False}}]}) as server:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                self.assertTrue(self.resumed(server.port("tls"), version), version)
                self.assertFalse(self.resumed(server.port("off"), version), version)
                self.assertFalse(self.resumed(server.port("tls"), version, server.reload), version)

    def write(self, name, config):
        path = os.path.join(self.folder.name, name)
        with open(path, "w") as out:
            json.dump(config, out)
        return path


if __name__ == "__main__":
    main()
