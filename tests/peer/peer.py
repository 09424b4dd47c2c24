"""A scripted MQTT peer: it sends exactly the given bytes and checks what the server sends back.

    peer = Peer(server.mqtt_port)
    peer.send(wire.connect("me"))
    peer.expect(wire.CONNACK, code=0)

Every wait ends with an event (a packet, or the end of the stream). TIMEOUT_S only bounds how long a
broken server can hold the suite; no assertion depends on it.
"""

import collections
import itertools
import socket
import struct

import wire

TIMEOUT_S = 60
_unique = itertools.count(1)


class Peer:
    def __init__(self, port, version=5, host="127.0.0.1", receive_buffer=None, sock=None):
        self.version = version
        self._pids = itertools.count(1)
        self._held = bytearray()
        self._early = collections.deque()
        self.bytes_read = 0
        if sock is None:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(TIMEOUT_S)
            sock.connect((host, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(TIMEOUT_S)
        self.sock = sock

    def pid(self):
        return next(self._pids)

    def send(self, *packets):
        try:
            self.sock.sendall(b"".join(packets))
        except (BrokenPipeError, ConnectionResetError):
            pass  # The server closed first; the next expectation checks whether it should have.

    def close(self):
        self.sock.close()

    def abort(self):
        """Ends the connection as a crash would: a reset, no FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # ---- waiting ---------------------------------------------------------------------------------

    def next(self):
        """The next packet, or None at the end of the stream."""
        return self._early.popleft() if self._early else self._read()

    def _read(self):
        while True:
            found = wire.read(self._held, self.version)
            if found:
                del self._held[:found[1]]
                return found[0]
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                data = b""
            except socket.timeout:
                raise AssertionError(f"nothing arrived within {TIMEOUT_S} s; held: "
                                     f"{bytes(self._held[:64]).hex()}") from None
            if not data:
                if self._held:
                    raise AssertionError(f"the stream ends inside a packet: {self._held.hex()}")
                return None
            self.bytes_read += len(data)
            self._held += data

    def expect(self, kind, **fields):
        """Checks that the next packet is of this kind and has these fields; returns it."""
        return self._check(self.next(), kind, fields)

    def answer(self, kind, **fields):
        """The answer to this peer's request. Messages may arrive before it (a client can subscribe to
        what it publishes); they are kept for later expectations."""
        early = []
        while (got := self._read()) is not None and got.kind == wire.PUBLISH:
            early.append(got)
        self._early.extend(early)
        return self._check(got, kind, fields)

    @staticmethod
    def _check(got, kind, fields):
        if got is None or got.kind != kind:
            raise AssertionError(f"expected {wire.NAMES[kind]} {fields}, got {got or 'the end'}")
        for name, value in fields.items():
            if isinstance(value, str) and name == "payload":
                value = value.encode()
            have = getattr(got, name)
            if have != value and not (isinstance(value, (set, range)) and have in value):
                raise AssertionError(f"expected {name}={value!r}, got {got}")
        return got

    def expect_end(self):
        """Checks that the server closes the connection, and sends nothing before."""
        got = self.next()
        if got is not None:
            raise AssertionError(f"expected the end of the connection, got {got}")

    def expect_fault(self, *codes):
        """Checks that the server ends this connection for this peer's fault: on 5.0 with DISCONNECT
        and one of these codes, on 3.1.1 without a packet."""
        if self.version == 5:
            got = self.expect(wire.DISCONNECT)
            if codes and got.code not in codes:
                raise AssertionError(f"expected a code of {[hex(c) for c in codes]}, got {got}")
            self.expect_end()
            return got
        self.expect_end()
        return None

    def expect_refused(self, *codes):
        """Checks that CONNECT is refused: CONNACK with one of these codes and the end of the
        connection, or only the end."""
        got = self.next()
        if got is None:
            return None
        if got.kind != wire.CONNACK or got.code == 0 or (codes and got.code not in codes):
            raise AssertionError(f"expected a refusal {[hex(c) for c in codes]}, got {got}")
        if got.session_present:
            raise AssertionError(f"a refusal with session present: {got}")
        self.expect_end()
        return got

    def expect_nothing_more(self, sentinel=True):
        """Checks that no packet is on its way to this peer: the next ones are the answers to requests
        made now. These go through the whole server, so an earlier packet would arrive before them."""
        topic = f"sentinel/{next(_unique)}"
        pid = self.pid()
        self.send(wire.subscribe(pid, [(topic, 0)], self.version))
        self.expect(wire.SUBACK, pid=pid)
        if sentinel:
            self.send(wire.publish(topic, b"last", version=self.version))
            self.expect(wire.PUBLISH, topic=topic, payload=b"last")
        self.send(wire.pingreq())
        self.expect(wire.PINGRESP)
        pid = self.pid()
        self.send(wire.unsubscribe(pid, [topic], self.version))
        self.expect(wire.UNSUBACK, pid=pid)

    # ---- what most scripts do
    # ----------------------------------------------------------------------

    def connect(self, client_id="", **options):
        """CONNECT, which must be accepted; returns the CONNACK."""
        self.send(wire.connect(client_id, version=self.version, **options))
        return self.expect(wire.CONNACK, code=0)

    def subscribe(self, *filters, qos=0, properties=()):
        """SUBSCRIBE with one SUBACK; filters are names, or (name, options)."""
        pairs = [(f, qos) if isinstance(f, str) else f for f in filters]
        pid = self.pid()
        self.send(wire.subscribe(pid, pairs, self.version, properties))
        return self.answer(wire.SUBACK, pid=pid)

    def unsubscribe(self, *filters):
        pid = self.pid()
        self.send(wire.unsubscribe(pid, filters, self.version))
        return self.answer(wire.UNSUBACK, pid=pid)

    def publish(self, topic, payload=b"", qos=0, **options):
        """PUBLISH and its complete handshake. For QoS 0 it returns when the server has read it."""
        pid = self.pid() if qos else None
        self.send(wire.publish(topic, payload, qos, pid, version=self.version, **options))
        if qos == 0:
            self.send(wire.pingreq())
            return self.answer(wire.PINGRESP)
        if qos == 1:
            return self.answer(wire.PUBACK, pid=pid)
        got = self.answer(wire.PUBREC, pid=pid)
        if got.code >= 0x80:
            return got
        self.send(wire.ack(wire.PUBREL, pid))
        return self.answer(wire.PUBCOMP, pid=pid)

    def receive(self, **fields):
        """Checks that the next packet is this PUBLISH, and completes its handshake."""
        got = self.expect(wire.PUBLISH, **fields)
        if got.qos == 1:
            self.send(wire.ack(wire.PUBACK, got.pid))
        elif got.qos == 2:
            self.send(wire.ack(wire.PUBREC, got.pid))
            self.expect(wire.PUBREL, pid=got.pid)
            self.send(wire.ack(wire.PUBCOMP, got.pid))
        return got

    def disconnect(self, code=None, properties=None):
        self.send(wire.disconnect(code, properties))
        self.expect_end()
