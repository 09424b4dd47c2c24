"""WebSocket as the transport: the handshake, control frames between packets, the end of a connection
from either side, and a stream that is written in pieces (RFC 6455)."""

import base64
import hashlib
import socket
import struct

import wire
from case import Case, main
from peer import Peer
from websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, WebSocket

NORMAL, PROTOCOL_ERROR = 1000, 1002


class WebSockets(Case):
    def open(self, **options):
        websocket = WebSocket(self.server.ws_port, **options)
        self.addCleanup(websocket.close)
        return websocket

    def connected(self, websocket, **options):
        peer = Peer(None, sock=websocket)
        peer.connect(f"{self.unique}ws", **options)
        return peer


class Handshake(WebSockets):
    def test_the_key_is_answered_as_the_rfc_says(self):
        nonce = base64.b64encode(b"sixteen bytes...").decode()
        websocket = self.open(key=nonce)
        text = nonce + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.assertEqual(websocket.headers["sec-websocket-accept"],
                         base64.b64encode(hashlib.sha1(text.encode()).digest()).decode())
        self.connected(websocket)

    def test_a_key_that_is_not_16_bytes_is_refused(self):
        for key in ("", "short", base64.b64encode(b"x" * 15).decode(), "!" * 24):
            self.assertEqual(self.open(key=key).status, 400, key)

    def test_another_version_of_the_protocol_is_told_which_one_there_is(self):
        websocket = self.open(version=8)
        self.assertEqual(websocket.status, 426)
        self.assertEqual(websocket.headers["sec-websocket-version"], "13")

    def test_it_may_come_byte_by_byte(self):
        self.connected(self.open(piece=1))

    def test_frames_may_come_with_the_request(self):
        connect = WebSocket.frame(BINARY, wire.connect(f"{self.unique}early"))
        websocket = self.open(first=connect + WebSocket.frame(BINARY, wire.pingreq()))
        peer = Peer(None, sock=websocket)
        peer.expect(wire.CONNACK, code=0)
        peer.expect(wire.PINGRESP)

    def answer_to(self, request):
        """Everything that the server sends before it closes."""
        said = b""
        with socket.create_connection(("127.0.0.1", self.server.ws_port), 15) as plain:
            plain.sendall(request)
            plain.shutdown(socket.SHUT_WR)
            while data := plain.recv(4096):
                said += data
        return said

    def test_a_request_that_is_too_large_is_told_so(self):
        for count in (17_000, 100_000, 500_000):
            said = self.answer_to(b"GET /mqtt HTTP/1.1\r\nX: " + b"x" * count)
            self.assertTrue(said.startswith(b"HTTP/1.1 431 "), (count, said))

    def test_mqtt_without_websocket_is_told_so(self):
        self.assertTrue(self.answer_to(wire.connect("c")).startswith(b"HTTP/1.1 400 "))

    def test_paths_and_subprotocols_may_be_written_in_many_ways(self):
        self.connected(self.open(path="/mqtt/"))
        self.connected(self.open(path=f"http://127.0.0.1:{self.server.ws_port}/mqtt"))
        self.connected(self.open(protocol="other,\tmqtt"))
        self.connected(self.open(protocol="other\r\nSec-WebSocket-Protocol: mqtt"))

    def test_a_page_of_a_stranger_is_refused(self):
        self.connected(self.open(protocol="mqtt\r\nOrigin: http://127.0.0.1:3000"))
        stranger = self.open(protocol="mqtt\r\nOrigin: https://evil.example")
        self.assertEqual(stranger.status, 403)


class Frames(WebSockets):
    def test_a_ping_is_answered_within_a_message(self):
        websocket = self.open()
        self.connected(websocket)
        websocket.send_frame(BINARY, wire.pingreq()[:1], final=False)
        websocket.send_frame(PING, b"are you there")
        self.assertEqual(websocket.read_frame(), (PONG, b"are you there"))
        websocket.send_frame(CONTINUATION, wire.pingreq()[1:])
        self.assertEqual(websocket.read_frame(), (BINARY, b"\xd0\x00"))

    def test_a_close_frame_is_answered_with_its_code(self):
        websocket = self.open()
        self.connected(websocket)
        websocket.send_frame(CLOSE, struct.pack(">H", 3001) + b"enough")
        self.assertEqual(websocket.read_frame(), (CLOSE, struct.pack(">H", 3001)))
        self.assertIsNone(websocket.read_frame())

    def test_the_server_closes_with_a_close_frame(self):
        websocket = self.open()
        peer = self.connected(websocket)
        peer.disconnect()
        peer.expect_end()
        self.assertEqual(websocket.closed_with, NORMAL)

    def test_a_frame_against_the_rules_ends_the_connection_with_1002(self):
        for frame in (b"\x82\x02\xc0\x00\x00\x00", b"\xc2\x80\x00\x00\x00\x00", b"\x83\x80\0\0\0\0",
                      b"\x80\x80\0\0\0\0", b"\x09\x80\0\0\0\0"):
            websocket = self.open()
            peer = self.connected(websocket)
            websocket.sock.sendall(frame + bytes(1000))
            peer.expect_fault(0x82)
            self.assertEqual(websocket.closed_with, PROTOCOL_ERROR, frame)

    def test_many_packets_share_a_frame_and_one_packet_many_frames(self):
        websocket = self.open()
        peer = self.connected(websocket)
        peer.subscribe(self.topic(), qos=0)
        payload = bytes(range(256)) * 300
        large = wire.publish(self.topic(), payload)
        for at in range(0, len(large), 1000):
            websocket.send_frame(BINARY, large[at:at + 1000])
        self.assertEqual(peer.receive().payload, payload)
        websocket.send_frame(BINARY, b"".join(wire.publish(self.topic(), b"%d" % n) for n in range(50)))
        self.assertEqual([peer.receive().payload for _ in range(50)], [b"%d" % n for n in range(50)])


class SlowReader(WebSockets):
    COUNT, PAYLOAD_BYTES = 600, 10_000

    def test_what_the_socket_takes_in_pieces_arrives_whole_with_control_frames_between(self):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 10)
        raw.connect(("127.0.0.1", self.server.ws_port))
        websocket = self.open(sock=raw)
        reader = self.connected(websocket)
        reader.subscribe(self.topic(), qos=1)
        sender = self.peer()
        for number in range(self.COUNT):
            payload = struct.pack(">I", number) * (self.PAYLOAD_BYTES // 4)
            self.assertEqual(sender.publish(self.topic(), payload, qos=1).code, 0)
        # The socket is full by now: the last ping of these is answered between two frames.
        for number in range(100):
            websocket.send_frame(PING, b"%d" % number)

        for number in range(self.COUNT):
            payload = struct.pack(">I", number) * (self.PAYLOAD_BYTES // 4)
            self.assertEqual(reader.receive(qos=1).payload, payload)
        while b"99" not in websocket.pongs:
            reader.send(wire.pingreq())
            reader.expect(wire.PINGRESP)
        self.assertEqual(websocket.pongs, sorted(websocket.pongs, key=int))


if __name__ == "__main__":
    main()
