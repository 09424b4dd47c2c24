"""Clients behind proxies: the PROXY protocol and X-Forwarded-For, from named addresses alone."""

import socket
import ssl
import struct

import wire
from case import Case, eventually, main
from certificate import self_signed
from peer import TIMEOUT_S, Peer
from websocket import WebSocket

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(address="192.0.2.1"):
    return f"PROXY TCP4 {address} 192.0.2.2 5000 1883\r\n".encode()


def v2(address="192.0.2.1", command=1):
    body = socket.inet_aton(address) + socket.inet_aton("192.0.2.2") + struct.pack(">HH", 5000, 1883)
    return SIGNATURE + bytes([0x20 | command, 0x11]) + struct.pack(">H", len(body)) + body


class Proxies(Case):
    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        near = {"proxy_protocol_from": ["127.0.0.0/8"], "port": 0}
        listeners = [
            {"name": "tcp", "port": 0},
            {**near, "name": "behind"},
            {**near, "name": "behind-ws", "transport": "ws"},
            {"name": "far", "port": 0, "proxy_protocol_from": ["10.0.0.0/8"]},
            {"name": "ws", "transport": "ws", "port": 0, "forwarded_from": ["127.0.0.1"]},
            {"name": "ws-far", "transport": "ws", "port": 0, "forwarded_from": ["10.0.0.0/8"]}]
        self_signed(cls.file("certificate"), cls.file("key"))
        listeners.append({**near, "name": "behind-tls", "transport": "tls", "tls": {
            "certificate_file": cls.file("certificate"), "key_file": cls.file("key")}})
        cls.CONFIG = {"listeners": listeners, "access": {"rules": [
            {"effect": "allow", "address": "192.0.2.1", "filter": "one/#"},
            {"effect": "allow", "address": "127.0.0.0/8", "filter": "near/#"}]}}
        super().setUpClass()

    def plain(self, listener):
        sock = socket.create_connection(("127.0.0.1", self.server.port(listener)), TIMEOUT_S)
        self.addCleanup(sock.close)
        return sock

    def is_at(self, sock, address):
        """Connects over the socket, and checks what address the server takes it for."""
        peer = Peer(None, sock=sock)
        peer.connect(self.unique)
        codes = [peer.publish(topic, b"", qos=1).code for topic in ("one/x", "near/x")]
        self.assertEqual(codes, [0x10, 0x87] if address == "192.0.2.1" else [0x87, 0x10])
        self.server.wait_for_log(rf"connected client={self.unique} .*peer={address}\b")

    def test_the_header_names_the_client(self):
        for number, header in enumerate((v1(), v2())):
            for piece in (len(header), 1):
                self.unique += f"n{number}p{piece}"
                sock = self.plain("behind")
                for at in range(0, len(header), piece):
                    sock.sendall(header[at:at + piece])
                self.is_at(sock, "192.0.2.1")

    def test_it_may_come_with_the_first_packet(self):
        sock = self.plain("behind")
        sock.sendall(v2() + wire.connect(self.unique))
        Peer(None, sock=sock).expect(wire.CONNACK, code=0)

    def test_a_proxy_that_asks_for_itself_is_itself(self):
        for number, header in enumerate((v2(command=0), b"PROXY UNKNOWN\r\n")):
            self.unique += str(number)
            sock = self.plain("behind")
            sock.sendall(header)
            self.is_at(sock, "127.0.0.1")

    def test_tls_begins_behind_it(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sock = self.plain("behind-tls")
        sock.sendall(v2())
        self.is_at(context.wrap_socket(sock), "192.0.2.1")

    def test_websocket_begins_behind_it(self):
        sock = self.plain("behind-ws")
        sock.sendall(v1())
        self.is_at(WebSocket(self.server.port("behind-ws"), sock=sock), "192.0.2.1")

    def test_from_a_proxy_nothing_else_is_accepted(self):
        for wrong in (wire.connect(self.unique), b"PROXY TCP4 nonsense\r\n", SIGNATURE + b"\x31\x11\0\0",
                      b"PROXY " + b"x" * 200, v2()[:12] + b"\x21\x11\xff\xff"):
            sock = self.plain("behind")
            sock.sendall(wrong)
            Peer(None, sock=sock).expect_end()

    def test_from_a_stranger_it_is_no_packet(self):
        for listener in ("tcp", "far"):
            for header in (v1(), v2()):
                sock = self.plain(listener)
                sock.sendall(header + wire.connect(self.unique))
                Peer(None, sock=sock).expect_end()
        self.is_at(self.plain("far"), "127.0.0.1")

    def test_a_header_that_never_ends_holds_nobody(self):
        held = self.plain("behind")
        held.sendall(v2()[:20])
        sock = self.plain("behind")
        sock.sendall(v2())
        self.is_at(sock, "192.0.2.1")

    def upgraded(self, listener, *fields):
        """A WebSocket whose request has these X-Forwarded-For fields."""
        sock = self.plain(listener)
        more = "".join(f"X-Forwarded-For: {field}\r\n" for field in fields)
        sock.sendall(("GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                      "Connection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
                      f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n{more}\r\n").encode())
        return sock

    def test_forwarded_for_is_believed_from_a_proxy_and_read_from_its_end(self):
        for number, (fields, address) in enumerate((
                (["192.0.2.1"], "192.0.2.1"), (["198.51.100.7, 192.0.2.1"], "192.0.2.1"),
                (["198.51.100.7", "192.0.2.1, 127.0.0.1"], "192.0.2.1"), ([], "127.0.0.1"),
                (["192.0.2.1, nonsense"], "127.0.0.1"))):
            self.unique += str(number)
            self.is_at(Upgraded(self.upgraded("ws", *fields)), address)

    def test_forwarded_for_of_a_stranger_says_nothing(self):
        self.is_at(Upgraded(self.upgraded("ws-far", "192.0.2.1")), "127.0.0.1")

    def test_a_flood_of_headers_leaves_memory_and_descriptors_alone(self):
        def flood():
            for number in range(300):
                for listener, bytes_ in (("tcp", v1()), ("behind", b"PROXY " + b"x" * 2000)):
                    sock = socket.create_connection(("127.0.0.1", self.server.port(listener)), TIMEOUT_S)
                    Peer(None, sock=sock).send(bytes_)
                    sock.close()
        self.peer().disconnect()  # By now the server has opened what it needs for itself.
        descriptors = self.server.descriptors()
        self.adds_little(flood, 1 << 20, "near/meanwhile")
        eventually(lambda: self.server.descriptors() <= descriptors, "the sockets are closed")
        self.peer().publish("near/x", b"", qos=1)


class Upgraded:
    """Frames over a socket on which the request is sent already, as peer.Peer reads and writes them."""

    def __init__(self, sock):
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = sock.recv(1)
            if not part:
                raise AssertionError(f"the server closed after {answer!r}")
            answer += part
        if not answer.startswith(b"HTTP/1.1 101"):
            raise AssertionError(answer.decode())
        self.sock = sock

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def sendall(self, data):
        self.sock.sendall(WebSocket.frame(0x2, data))

    def recv(self, _):
        head = self._exactly(2)
        count = head[1] & 0x7F
        if count == 126:
            count = struct.unpack(">H", self._exactly(2))[0]
        return self._exactly(count)

    def close(self):
        self.sock.close()

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                return b""
            data += part
        return data


if __name__ == "__main__":
    main()
