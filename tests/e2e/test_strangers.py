"""What strangers send to every listener: meanwhile others are served, and afterwards nothing is left of
it, neither memory nor descriptors."""

import os
import resource
import socket
import ssl
import subprocess
import time

import wire
from case import Case, eventually, main
from peer import TIMEOUT_S, Peer
from server import Server
from websocket import BINARY, WebSocket

# On each listener. The whole wants a machine to itself and minutes; less of it shows the same of each
# listener.
HEAVY = os.environ.get("MILLRACE_HEAVY_TESTS") == "1"
HALF_OPEN = int(os.environ.get("HALF_OPEN_CONNECTIONS", "10000" if HEAVY else "100"))
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

# How a connection to each listener begins, and no more.
BEGINNINGS = {
    "tcp": wire.connect("half")[:7],
    "ws": b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgr",
    "behind": b"PROXY TCP4 192.0.2.1 192",
    "tls": CLIENT_HELLO,
    "wss": CLIENT_HELLO,
    "asks": CLIENT_HELLO,
    "unix": wire.connect("half")[:7],
    "http": b"GET /metrics HTTP/1.1\r\nHost: localho",
    "http-2": CLIENT_HELLO}
ENCRYPTED = ("tls", "wss", "asks", "http-2")


class Strangers(Case):
    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        cls.make_chain()
        cls.write("secret", "s" * 32)
        cls.write("users", "ann:$6$c2FsdHNhbHRzYWx0$" + "A" * 86 + "==\n")
        tls = {"certificate_file": cls.file("0.pem"), "key_file": cls.file("key")}
        asks = {**tls, "client_ca_file": cls.file("0.pem"), "client_certificate": "required"}
        cls.CONFIG = {
            "listeners": [
                {"name": "tcp", "port": 0},
                {"name": "ws", "transport": "ws", "port": 0},
                {"name": "behind", "port": 0, "proxy_protocol_from": ["127.0.0.0/8"]},
                {"name": "tls", "transport": "tls", "port": 0, "tls": tls},
                {"name": "wss", "transport": "wss", "port": 0, "tls": tls},
                {"name": "asks", "transport": "tls", "port": 0, "tls": asks},
                {"name": "unix", "transport": "unix", "socket": cls.file("socket")}],
            "http": {"listeners": [{"port": 0, "tls": tls}]},
            "access": {"password_file": cls.file("users"), "allow_anonymous": True,
                       "jwt": {"secret_file": cls.file("secret")},
                       "login_delay_max_ms": 0, "otherwise": "allow", "rules": [
                           {"effect": "deny", "filter": "own/%c/secret"},
                           {"effect": "allow", "filter": "own/%c/#"},
                           {"effect": "deny", "filter": "own/#"}]}}
        super().setUpClass()

    @classmethod
    def write(cls, name, text):
        with open(cls.file(name), "w") as out:
            out.write(text)

    @classmethod
    def make_chain(cls, length=100):
        """0.pem, and certificates that have each signed the next; all of one key."""
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], check=True, capture_output=True)
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
                cls.file("key"))
        for number in range(length + 1):
            by = ("-CA", cls.file(f"{number - 1}.pem"), "-CAkey", cls.file("key")) if number else ()
            openssl("req", "-x509", *by, "-key", cls.file("key"), "-days", "2", "-subj",
                    f"/CN=level {number}", "-out", cls.file(f"{number}.pem"))
        cls.levels = [open(cls.file(f"{number}.pem")).read() for number in range(length + 1)]

    def open(self, listener, server=None):
        if listener == "unix":
            self.server.http_port  # By now the socket is there.
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(TIMEOUT_S)
            sock.connect(self.file("socket"))
            return sock
        return socket.create_connection(("127.0.0.1", (server or self.server).port(listener)), TIMEOUT_S)

    def encrypted(self, listener, chain=None, server=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if chain:
            context.load_cert_chain(chain, self.file("key"))
        return context.wrap_socket(self.open(listener, server))

    def expect_service(self):
        """Clients who do nothing wrong are served, by every listener."""
        for name in BEGINNINGS:
            chain = self.chain(1) if name == "asks" else None
            stream = self.encrypted(name, chain) if name in ENCRYPTED else self.open(name)
            if name in ("http", "http-2"):
                with stream:
                    stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    self.assertTrue(stream.recv(1024).startswith(b"HTTP/1.1 200"), name)
                continue
            if name in ("ws", "wss"):
                stream = WebSocket(self.server.port(name), sock=stream)
            if name == "behind":
                stream.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.2 1 2\r\n")
            one = Peer(None, sock=stream)
            one.connect(f"{self.unique}{name}")
            one.subscribe(self.topic(name), qos=1)
            one.publish(self.topic(name), b"x", qos=1)
            one.receive(payload=b"x")
            one.disconnect()
            one.close()

    def leaves_nothing(self, attack, *arguments):
        """An attack has to send much more than 4 MiB, or a server that keeps every byte would pass."""
        self.expect_service()
        descriptors = self.server.descriptors()
        spare = 28 << 20  # the server keeps about as much of what is free
        at_first = self.server.resident_bytes() + spare

        def measure(before):
            self.expect_service()
            eventually(lambda: self.server.descriptors() <= descriptors + 5, "the sockets are closed")
            return self.given_back(at_first if before is None else before)
        self.adds_little(lambda: attack(*arguments), 4 << 20, measure=measure)

    def given_back(self, before):
        """Resident memory, once it is no more than `before`, or what is free has gone back, as much of it does every
        ten seconds."""
        lowest = self.server.resident_bytes()
        end = time.monotonic() + 12
        while lowest >= before + (4 << 20) and time.monotonic() < end:
            time.sleep(0.25)
            lowest = min(lowest, self.server.resident_bytes())
        return lowest

    @staticmethod
    def expect_ends(held):
        for one in held:
            with one:
                try:
                    while one.recv(4096):  # The server ends it, with an answer or without.
                        pass
                except ConnectionResetError:
                    pass

    def begin_and_never_go_on(self, listeners):
        held = []
        for listener in listeners:
            for _ in range(HALF_OPEN):
                held.append(self.open(listener))
                try:
                    held[-1].sendall(BEGINNINGS[listener])
                except (BrokenPipeError, ConnectionResetError):
                    pass  # HTTP has so many places, and this one went to another already.
        self.expect_service()
        self.expect_ends(held)

    def test_connections_that_begin_and_never_go_on(self):
        if not HEAVY:
            return self.leaves_nothing(self.begin_and_never_go_on, BEGINNINGS)
        for listener in BEGINNINGS:  # There are not descriptors enough for all at once.
            with self.subTest(listener):
                self.leaves_nothing(self.begin_and_never_go_on, [listener])

    def test_handshakes_of_tls_byte_by_byte(self):
        def attack():
            held = [self.open(listener) for _ in range(50 if HEAVY else 5) for listener in ENCRYPTED]
            for at in range(len(CLIENT_HELLO)):
                for one in held:
                    try:
                        one.sendall(CLIENT_HELLO[at:at + 1])
                    except (BrokenPipeError, ConnectionResetError):
                        pass  # It was too slow already.
            self.expect_service()
            for one in held:
                one.close()
        self.leaves_nothing(attack)

    def test_a_byte_at_a_time_wins_no_time(self):
        """The time for a beginning counts from the start, not from the last byte."""
        listeners = [one for one in self.CONFIG["listeners"] if one["name"] in ("tcp", "ws", "tls")]
        # Time enough for the two handshakes that come before the bytes.
        server = Server({**self.CONFIG, "listeners": listeners, "connect_timeout_seconds": 3,
                         "http": {**self.CONFIG["http"], "header_seconds": 3}})
        self.addCleanup(server.stop)

        def bytes_of(data):
            return [bytes([one]) for one in data]
        connect = bytes_of(wire.connect("x" * 30_000))
        header = bytes_of(b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 10_000)
        hello = bytes_of(CLIENT_HELLO + bytes(500))
        frames = [WebSocket.frame(BINARY, one) for one in connect]
        drips = {
            "tcp": (self.open("tcp", server), connect),
            "ws": (self.open("ws", server), header),
            "tls": (self.open("tls", server), hello),
            "http": (self.open("http", server), header),
            "http-2": (self.open("http-2", server), hello),
            "inside ws": (WebSocket(server.port("ws")).sock, frames),
            "inside tls": (self.encrypted("tls", server=server), connect)}
        for stream, _ in drips.values():
            self.addCleanup(stream.close)
            stream.settimeout(0.05)  # so that one does not hold up the others
        end, at = time.monotonic() + TIMEOUT_S, 0
        while drips:
            self.assertLess(time.monotonic(), end, f"never ended: {', '.join(drips)}")
            for name, (stream, pieces) in list(drips.items()):
                try:
                    stream.sendall(pieces[at])
                    has_ended = not stream.recv(4096)  # There may be an answer before the end.
                except TimeoutError:
                    has_ended = False
                except (ConnectionError, ssl.SSLError):
                    has_ended = True
                if has_ended:
                    del drips[name]
            at += 1

    def chain(self, levels):
        """The file of the certificates from this level up."""
        self.write(f"chain{levels}", "".join(reversed(self.levels[1:levels + 1])))
        return self.file(f"chain{levels}")

    def is_let_in(self, levels):
        """Whether who shows the certificates from this level up comes in."""
        try:
            with self.encrypted("asks", self.chain(levels)) as stream:
                one = Peer(None, sock=stream)
                one.send(wire.connect(f"{self.unique}c"))
                got = one.next()
                return got is not None and got.kind == wire.CONNACK and got.code == 0
        except (ssl.SSLError, ConnectionError):
            return False

    def test_certificate_chains_of_a_hundred(self):
        self.assertTrue(self.is_let_in(3))

        def attack():
            for _ in range(200):
                self.assertFalse(self.is_let_in(100))
        self.leaves_nothing(attack)
        self.assertTrue(self.is_let_in(3))

    def test_headers_without_end(self):
        def attack():
            for listener in ("ws", "http"):
                for bomb in (b"X-%d: " + b"y" * 1_000_000, b"X: y\r\n" * 200_000,
                             b"X-Forwarded-For: " + b"127.0.0.1," * 100_000,
                             b"Authorization: Bearer " + b"y" * 1_000_000):
                    for _ in range(10):
                        with self.open(listener) as one:
                            try:
                                one.sendall(b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\n" + bomb)
                                while one.recv(65536):
                                    pass
                            except (ConnectionResetError, BrokenPipeError):
                                pass
        self.leaves_nothing(attack)

    def test_passwords_that_are_wrong(self):
        def attack():
            for number in range(300):
                one = Peer(self.server.mqtt_port)
                one.send(wire.connect(f"f{number}", username="ann", password="x" * 60_000))
                one.expect_refused(0x86, 0x89)
                one.close()
        self.leaves_nothing(attack)

    def test_tokens_of_a_megabyte(self):
        """A password and the data of AUTH end at 64 KiB, so the rest is user properties: as CONNECT,
        which is over its limit, and as AUTH, of a client that is known and of one that is not. Over
        HTTP see test_headers_without_end."""
        method = (wire.AUTH_METHOD, "JWT")
        token = b"ey" + b"x." * 32_000
        rest = [(wire.USER, ("x" * 1000, "y" * 60_000))] * 16
        whole = [method, (wire.AUTH_DATA, token), *rest]

        strangers = [[wire.connect("t", username="ann", password=token, properties=rest)],
                     [wire.connect("t", properties=whole)],
                     [wire.connect("t", properties=[method]), wire.auth(0x18, whole)],
                     [wire.connect("t", username="ann", password=token)],
                     [wire.connect("t", properties=whole[:2])]]

        def attack():
            for number in range(10):
                for packets in [*strangers, [wire.auth(0x19, whole)]]:
                    one = Peer(self.server.mqtt_port)
                    if packets not in strangers:
                        one.connect(f"{self.unique}{number}")
                    one.send(*packets)
                    while (got := one.next()) is not None:  # Until the server ends it.
                        self.assertGreaterEqual(got.code, 0x80)
                    one.close()
        self.leaves_nothing(attack)

    def test_client_identifiers_that_are_patterns(self):
        names = ["+/" * 20_000 + "+", "#", "/" * 60_000, "%c" * 30_000, "%u", "$share/g/own", "+" * 65_000,
                 "a" * 65_000]

        def attack():
            for number in range(60):
                for name in names:
                    name += str(number or "")
                    one = Peer(self.server.mqtt_port)
                    one.connect(name)
                    self.assertEqual([one.publish(topic, b"", qos=1).code for topic in
                                      ("own/other/x", "own/a/secret", "own//x", "own/%c/x")], [0x87] * 4, name[:9])
                    one.disconnect()
                    one.close()
        self.leaves_nothing(attack)


if __name__ == "__main__":
    main()
