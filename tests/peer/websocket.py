"""A WebSocket client (RFC 6455) for scripted peers, which can also send invalid frames.

`WebSocket` looks like a socket to Peer: each sendall() is one binary frame, recv() hands out the
payload of what arrives. Frames by hand: send_frame(), read_frame().
"""

import base64
import os
import socket
import struct

from peer import TIMEOUT_S

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0


class WebSocket:
    def __init__(self, port, path="/mqtt", protocol="mqtt", sock=None, key=None, version=13,
                 first=b"", piece=None, fields=()):
        """`first`: bytes sent after the request; `piece`: send it all in pieces of so many bytes;
        `fields`: more lines of its header."""
        self.sock = sock or socket.create_connection(("127.0.0.1", port))
        self.sock.settimeout(TIMEOUT_S)
        self._held = b""
        key = base64.b64encode(os.urandom(16)).decode() if key is None else key
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket",
                 "Connection: Upgrade", f"Sec-WebSocket-Key: {key}",
                 f"Sec-WebSocket-Version: {version}"]
        if protocol:
            lines.append(f"Sec-WebSocket-Protocol: {protocol}")
        request = "\r\n".join([*lines, *fields, "", ""]).encode() + first
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(request), piece or len(request)):
            self.sock.sendall(request[at:at + (piece or len(request))])
        while b"\r\n\r\n" not in self._held:
            data = self.sock.recv(4096)
            if not data:
                break
            self._held += data
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        status, *fields = head.decode().split("\r\n")
        self.status = int(status.split()[1]) if status else 0
        self.headers = {name.strip().lower(): value.strip()
                        for name, _, value in (field.partition(":") for field in fields)}
        self.closed_with = None
        self.pongs = []

    @staticmethod
    def frame(opcode, payload, final=True):
        mask = os.urandom(4)
        head = bytes([(0x80 if final else 0) | opcode])
        if len(payload) < 126:
            head += bytes([0x80 | len(payload)])
        elif len(payload) < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", len(payload))
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", len(payload))
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        return head + mask + masked

    def send_frame(self, opcode, payload, final=True):
        self.sock.sendall(self.frame(opcode, payload, final))

    def _take(self, count):
        while len(self._held) < count:
            data = self.sock.recv(65536)
            if not data:
                return None
            self._held += data
        taken, self._held = self._held[:count], self._held[count:]
        return taken

    def read_frame(self):
        """(opcode, payload), or None at the end of the stream."""
        head = self._take(2)
        if head is None:
            return None
        if head[1] & 0x80:
            raise AssertionError("a server must not mask its frames")
        length = head[1] & 0x7F
        if length == 126:
            length = struct.unpack(">H", self._take(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self._take(8))[0]
        payload = self._take(length)
        return None if payload is None else (head[0] & 0x0F, payload)

    # ---- as a socket -----------------------------------------------------------------------------

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def sendall(self, data):
        self.send_frame(BINARY, data)

    def recv(self, _):
        """The payload of the next binary frame; b"" at a close frame or the end."""
        while True:
            frame = self.read_frame()
            if frame is None:
                return b""
            opcode, payload = frame
            if opcode == CLOSE:
                self.closed_with = struct.unpack(">H", payload[:2])[0] if len(payload) > 1 else None
                return b""
            if opcode == PONG:
                self.pongs.append(payload)
                continue
            if opcode == PING:
                continue
            if opcode not in (BINARY, CONTINUATION):
                raise AssertionError(f"a frame of type {opcode} from the server")
            if payload:
                return payload

    def setsockopt(self, *arguments):
        self.sock.setsockopt(*arguments)

    def close(self):
        self.sock.close()
