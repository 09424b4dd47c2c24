"""What the log says of clients, and that nobody waits for who reads it."""

import base64
import contextlib
import os
import re
import resource
import signal
import subprocess
import unittest
import urllib.request

import wire
from case import Case, http_answer, main
from certificate import self_signed
from peer import Peer
from server import binary, environment


class Audit(Case):
    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        file = os.path.join(cls.folder.name, "passwd")
        subprocess.run([binary(), "passwd", "-b", "-I", "1", file, "ann", "secret"], check=True)
        cls.CONFIG = {"access": {"password_file": file, "rules": [
            {"effect": "allow", "user": "ann", "filter": "ann/#"}]}}
        super().setUpClass()

    def line(self, event, *parts):
        for part in (*parts, "listener=tcp", "peer=127.0.0.1"):
            self.server.wait_for_log(rf"\b{event}\b.*{part}")

    def test_who_came_and_left_is_named(self):
        peer = self.peer("sensor-1", username="ann", password="secret")
        self.line("connected", "client=sensor-1 user=ann", "mqtt=5.0")
        peer.disconnect()
        self.line("connection.end", "cause=client_disconnect.*client=sensor-1 user=ann")

    def test_who_was_refused_is_named(self):
        peer = self.raw()
        peer.send(wire.connect("sensor-2", username="mallory", password="guess"))
        peer.expect_refused(0x86)
        self.line("connection.end", "cause=refused.*client=sensor-2 user=mallory")

    def test_who_was_denied_what_is_named(self):
        peer = self.peer("sensor-3", username="ann", password="secret")
        peer.send(wire.subscribe(1, [("bob/#", 0)]))
        peer.expect(wire.SUBACK)
        self.line("subscribe.denied", "client=sensor-3 user=ann filter=\"?bob/#")

    def test_what_clients_send_forges_no_line(self):
        self.peer('x" user=root', username="ann", password="secret")
        self.line("connected", r'client="x\\" user=root" user=ann')

    def test_what_it_listens_on_is_said(self):
        self.server.wait_for_log(r"listening transport=tcp .* listener=tcp tls=off clients=password\b")
        self.server.wait_for_log(r"descriptors limit=\d+")


class Start(Case):
    """What listens where, with what security, and what is unsafe about it."""

    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        passwd, cls.key, certificate, cls.socket = (
            os.path.join(cls.folder.name, name) for name in ("passwd", "key", "certificate", "socket"))
        subprocess.run([binary(), "passwd", "-b", "-I", "1", passwd, "ann", "secret"], check=True)
        self_signed(certificate, cls.key, days=30)  # beyond the warning of one that ends soon
        os.chmod(cls.key, 0o644)
        tls = {"certificate_file": certificate, "key_file": cls.key}
        asks = {**tls, "client_ca_file": certificate, "client_certificate": "required"}
        cls.CONFIG = {
            "listeners": [
                {"name": "tls", "transport": "tls", "port": 0, "tls": {**tls, "version_min": "1.3"}},
                {"name": "wss", "transport": "wss", "port": 0, "tls": {**asks, "user_from": "common_name"}},
                {"name": "both", "transport": "tls", "port": 0, "tls": asks},
                {"name": "unix", "transport": "unix", "socket": cls.socket, "peer_user": True},
                {"name": "open", "port": 0, "host": "0.0.0.0"}],
            "http": {"listeners": [{"port": 0, "tls": tls}]},
            "access": {"password_file": passwd}}
        super().setUpClass()

    def test_it_says_what_listens_where_with_what_security(self):
        for transport, address, listener, security in (
                ("tls", "127.0.0.1", "tls", "tls=1.3 clients=password"),
                ("wss", "127.0.0.1", "wss", "tls=1.2 clients=certificate"),
                ("tls", "127.0.0.1", "both", "tls=1.2 clients=certificate|password"),
                ("unix", self.socket, "unix", "tls=off clients=process"),
                ("tcp", "0.0.0.0", "open", "tls=off clients=password"),
                ("http", "127.0.0.1", "http", "tls=off"),
                ("https", "127.0.0.1", "http-2", "tls=1.2")):
            self.server.wait_for_log(rf" listening transport={transport} address={re.escape(address)} port=\d+ "
                                     rf"listener={listener} {re.escape(security)}$")

    def test_it_warns_of_what_is_unsafe(self):
        self.server.port("open")
        self.server.wait_for_log(r" warn  unsafe path=listeners\[4\] warning=\"passwords cross the network to "
                                 r"0\.0\.0\.0:0 in clear: there is no TLS\"$")
        for path in (*(f"listeners[{number}]" for number in range(3)), "http.listeners[0]"):
            self.server.wait_for_log(rf" warn  unsafe path={re.escape(path)}\.tls\.key_file "
                                     rf"warning=\"every user of this machine may read {self.key} ")
        unsafe = [line for line in self.server.lines if " unsafe " in line]
        self.assertEqual(len(unsafe), 5, unsafe)


class Secrets(Case):
    RIGHT, WRONG, TOKEN = "right-s3cret", "wrong-s3cret", "token-s3cret-" + "x" * 32

    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        passwd, token, key = (os.path.join(cls.folder.name, name) for name in ("passwd", "token", "key"))
        subprocess.run([binary(), "passwd", "-b", "-I", "1", passwd, "ann", cls.RIGHT], check=True)
        for file, text in ((token, cls.TOKEN), (key, "key-s3cret-" + "x" * 32)):
            with open(file, "w") as out:
                out.write(text + "\n")
        cls.CONFIG = {"log": {"level": "debug", "repeat_seconds": 0}, "access": {
            "password_file": passwd, "jwt": {"secret_file": key}, "login_delay_max_ms": 0,
            "http_tokens": [{"name": "prometheus", "token_file": token, "scopes": ["read"]}]}}
        super().setUpClass()

    def test_none_is_told(self):
        self.peer("comes", username="ann", password=self.RIGHT).disconnect()
        forged = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in
                          (b'{"alg":"HS256"}', b'{"sub":"s3cret"}', b"s3cret"))
        for number, guess in enumerate((self.WRONG, forged)):
            peer = self.raw()
            peer.send(wire.connect(f"guess{number}", username="ann", password=guess))
            peer.expect_refused(0x86)
        for words in ("Basic " + base64.b64encode(f"ann:{self.WRONG}".encode()).decode(),
                      "Basic " + base64.b64encode(f"ann:{self.RIGHT}".encode()).decode(),
                      "Bearer " + self.TOKEN, "Bearer " + self.WRONG, "Bearer " + forged):
            http_answer(urllib.request.Request(f"http://127.0.0.1:{self.server.http_port}/topics",
                                               headers={"Authorization": words}))
        self.assertEqual(self.server.reload({**self.CONFIG, "log": {"level": "info", "repeat_seconds": 0}}), "reloaded")
        for client in ("comes", "guess0", "guess1"):
            self.server.wait_for_log(rf"connection\.end.*client={client}\b")
        told = "\n".join(self.server.lines)
        for secret in ("s3cret", base64.b64encode(f"ann:{self.RIGHT}".encode()).decode(),
                       base64.b64encode(f"ann:{self.WRONG}".encode()).decode(), *forged.split(".")[1:]):
            self.assertNotIn(secret, told)


class Descriptors(unittest.TestCase):
    def test_their_limit_is_raised_as_far_as_it_goes(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        process = subprocess.Popen(
            ["sh", "-c", 'ulimit -Sn 64; exec "$0" serve --mqtt-port 0 --ws-port 0 --http-port 0',
             binary()], stderr=subprocess.PIPE, text=True, env=environment())
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        said = next(line for line in process.stderr if " descriptors limit=" in line)
        self.assertTrue(said.endswith(f" limit={hard} before=64\n"), said)


class StalledReader(Case):
    def test_holds_up_nobody(self):
        process = subprocess.Popen(
            [binary(), "serve", "--mqtt-port", "0", "--ws-port", "0", "--http-port", "0",
             "--set", "log.level=debug", "--set", "log.repeat_seconds=0"],
            stderr=subprocess.PIPE, env=environment())
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        port = None
        while port is None:
            line = process.stderr.readline()
            self.assertTrue(line, "it does not listen")
            if found := re.search(rb" port=(\d+) listener=tcp\b", line):
                port = int(found[1])
        # From here on nobody reads. A pipe holds 64 KiB; this is more than the queue behind it, too.
        for number in range(60):
            for _ in range(100):
                with contextlib.closing(Peer(port)) as peer:
                    peer.connect(f"{self.unique}-{number}-" + "x" * 200)
        peer = Peer(port)
        self.addCleanup(peer.close)
        peer.connect(self.unique)
        peer.send(wire.pingreq())
        peer.expect(wire.PINGRESP)
        process.send_signal(signal.SIGTERM)
        peer.expect(wire.DISCONNECT, code=0x8B)
        peer.close()
        self.assertEqual(process.wait(60), 0)


if __name__ == "__main__":
    main()
