"""MQTT 3.1, 3.1.1 and 5.0 as bytes, for tests: builders for what a client sends and one strict reader
for what a server sends.

This module is a second, independent implementation of the standards. It shares nothing with protocol/,
so a mistake there is not hidden by the same mistake here. Builders accept any value, so that tests can
build malformed packets. The reader refuses everything that the standards forbid a server to send, with
the reason.
"""

import struct

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP = 8, 9, 10, 11, 12, 13
DISCONNECT, AUTH = 14, 15

NAMES = ["reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
         "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"]

# Property identifiers (MQTT 5.0, table 2-4).
FORMAT, MESSAGE_EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION = 0x01, 0x02, 0x03, 0x08, 0x09
SUBSCRIPTION_ID, SESSION_EXPIRY, ASSIGNED_ID, SERVER_KEEP_ALIVE = 0x0B, 0x11, 0x12, 0x13
AUTH_METHOD, AUTH_DATA, REQUEST_PROBLEM, WILL_DELAY = 0x15, 0x16, 0x17, 0x18
REQUEST_RESPONSE, RESPONSE_INFO, SERVER_REFERENCE, REASON_STRING = 0x19, 0x1A, 0x1C, 0x1F
RECEIVE_MAXIMUM, ALIAS_MAXIMUM, ALIAS, MAXIMUM_QOS = 0x21, 0x22, 0x23, 0x24
RETAIN_AVAILABLE, USER, MAXIMUM_PACKET, WILDCARD_AVAILABLE = 0x25, 0x26, 0x27, 0x28
SUBSCRIPTION_ID_AVAILABLE, SHARED_AVAILABLE = 0x29, 0x2A

_BYTE = {FORMAT, REQUEST_PROBLEM, REQUEST_RESPONSE, MAXIMUM_QOS, RETAIN_AVAILABLE,
         WILDCARD_AVAILABLE, SUBSCRIPTION_ID_AVAILABLE, SHARED_AVAILABLE}
_TWO = {SERVER_KEEP_ALIVE, RECEIVE_MAXIMUM, ALIAS_MAXIMUM, ALIAS}
_FOUR = {MESSAGE_EXPIRY, SESSION_EXPIRY, WILL_DELAY, MAXIMUM_PACKET}
_TEXT = {CONTENT_TYPE, RESPONSE_TOPIC, ASSIGNED_ID, AUTH_METHOD, RESPONSE_INFO, SERVER_REFERENCE,
         REASON_STRING}
_BINARY = {CORRELATION, AUTH_DATA}

# The properties allowed in a server's packets; user properties and subscription identifiers may
# repeat.
_FROM_SERVER = {
    CONNACK: {SESSION_EXPIRY, RECEIVE_MAXIMUM, MAXIMUM_QOS, RETAIN_AVAILABLE, MAXIMUM_PACKET,
              ASSIGNED_ID, ALIAS_MAXIMUM, REASON_STRING, USER, WILDCARD_AVAILABLE,
              SUBSCRIPTION_ID_AVAILABLE, SHARED_AVAILABLE, SERVER_KEEP_ALIVE, RESPONSE_INFO,
              SERVER_REFERENCE, AUTH_METHOD, AUTH_DATA},
    PUBLISH: {FORMAT, MESSAGE_EXPIRY, ALIAS, RESPONSE_TOPIC, CORRELATION, USER, SUBSCRIPTION_ID,
              CONTENT_TYPE},
    DISCONNECT: {REASON_STRING, USER, SERVER_REFERENCE},
    AUTH: {AUTH_METHOD, AUTH_DATA, REASON_STRING, USER},
}
for _kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK):
    _FROM_SERVER[_kind] = {REASON_STRING, USER}

_CODES = {
    PUBACK: {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREC: {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    PUBREL: {0x00, 0x92},
    PUBCOMP: {0x00, 0x92},
    SUBACK: {0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2},
    UNSUBACK: {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},
    CONNACK: {0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90,
              0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F},
    DISCONNECT: {0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93,
                 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1,
                 0xA2},
    AUTH: {0x00, 0x18},
}


# ---- building ------------------------------------------------------------------------------------

def varint(value):
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def raw(data):
    """Bytes after a two-byte length; text is encoded first."""
    if isinstance(data, str):
        data = data.encode()
    return struct.pack(">H", len(data)) + data


def prop(identifier, value):
    if identifier in _BYTE:
        body = bytes([value])
    elif identifier in _TWO:
        body = struct.pack(">H", value)
    elif identifier in _FOUR:
        body = struct.pack(">I", value)
    elif identifier == SUBSCRIPTION_ID:
        body = varint(value)
    elif identifier == USER:
        body = raw(value[0]) + raw(value[1])
    else:
        body = raw(value)
    return varint(identifier) + body


def props(pairs=()):
    """Properties with their length. `pairs`: an iterable of (identifier, value), or ready bytes."""
    body = pairs if isinstance(pairs, bytes) else b"".join(prop(i, v) for i, v in pairs)
    return varint(len(body)) + body


def packet(kind, flags=0, body=b""):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def will(topic, payload=b"", qos=0, retain=False, properties=()):
    return {"topic": topic, "payload": payload, "qos": qos, "retain": retain,
            "properties": properties}


def connect(client_id="", version=5, clean=True, keep_alive=60, properties=(), will=None,
            username=None, password=None, name=None, level=None, flags=None, tail=b""):
    """CONNECT. `flags` replaces the computed connect flags, `tail` is appended to the payload."""
    if name is None:
        name = "MQIsdp" if version == 3 else "MQTT"
    bits = 0x02 if clean else 0
    payload = raw(client_id)
    if will is not None:
        bits |= 0x04 | will["qos"] << 3 | (0x20 if will["retain"] else 0)
        if version == 5:
            payload += props(will["properties"])
        payload += raw(will["topic"]) + raw(will["payload"])
    if username is not None:
        bits |= 0x80
        payload += raw(username)
    if password is not None:
        bits |= 0x40
        payload += raw(password)
    head = raw(name) + bytes([version if level is None else level, bits if flags is None else flags])
    head += struct.pack(">H", keep_alive)
    if version == 5:
        head += props(properties)
    return packet(CONNECT, 0, head + payload + tail)


def publish(topic, payload=b"", qos=0, pid=None, retain=False, dup=False, version=5, properties=(),
            flags=None):
    if isinstance(payload, str):
        payload = payload.encode()
    body = raw(topic)
    if pid is not None:
        body += struct.pack(">H", pid)
    if version == 5:
        body += props(properties)
    bits = (8 if dup else 0) | qos << 1 | (1 if retain else 0)
    return packet(PUBLISH, bits if flags is None else flags, body + payload)


def ack(kind, pid, code=None, properties=None, flags=None):
    """PUBACK, PUBREC, PUBREL or PUBCOMP; without a code, the short form both versions know."""
    body = struct.pack(">H", pid)
    if code is not None:
        body += bytes([code])
    if properties is not None:
        body += props(properties)
    if flags is None:
        flags = 2 if kind == PUBREL else 0
    return packet(kind, flags, body)


def subscribe(pid, filters, version=5, properties=(), flags=2):
    """`filters`: (filter, options byte) pairs."""
    body = struct.pack(">H", pid) + (props(properties) if version == 5 else b"")
    return packet(SUBSCRIBE, flags, body + b"".join(raw(f) + bytes([o]) for f, o in filters))


def unsubscribe(pid, filters, version=5, properties=(), flags=2):
    body = struct.pack(">H", pid) + (props(properties) if version == 5 else b"")
    return packet(UNSUBSCRIBE, flags, body + b"".join(raw(f) for f in filters))


def pingreq():
    return packet(PINGREQ)


def disconnect(code=None, properties=None, flags=0):
    body = b"" if code is None else bytes([code])
    if properties is not None:
        body += props(properties)
    return packet(DISCONNECT, flags, body)


def auth(code, properties=(), flags=0):
    return packet(AUTH, flags, bytes([code]) + props(properties))


# ---- reading -------------------------------------------------------------------------------------

class Malformed(AssertionError):
    """The server sent something that the standard forbids."""


class Packet:
    """What a server sent; only the fields of its kind are set."""

    def __init__(self, kind, flags, body):
        self.kind, self.flags, self.body = kind, flags, body
        self.props = {}
        self.size = 0

    def one(self, identifier, default=None):
        """The value of a property that occurs at most once."""
        return self.props.get(identifier, [default])[0]

    def __repr__(self):
        shown = {k: v for k, v in vars(self).items() if k not in ("kind", "flags", "body", "size")}
        return f"{NAMES[self.kind]}(flags={self.flags:#x}, {shown})"


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise Malformed("the packet ends inside a field")
        self.at += count
        return self.data[self.at - count:self.at]

    def left(self):
        return len(self.data) - self.at

    def byte(self):
        return self.take(1)[0]

    def two(self):
        return struct.unpack(">H", self.take(2))[0]

    def four(self):
        return struct.unpack(">I", self.take(4))[0]

    def binary(self):
        return bytes(self.take(self.two()))

    def text(self):
        value = self.binary()
        if b"\0" in value:
            raise Malformed("a string holds U+0000")
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"ill-formed UTF-8: {error}") from None

    def varint(self):
        value = shift = 0
        for count in range(1, 5):
            octet = self.byte()
            value |= (octet & 0x7F) << shift
            shift += 7
            if not octet & 0x80:
                if count > 1 and octet == 0:
                    raise Malformed("a variable byte integer is longer than it has to be")
                return value
        raise Malformed("a variable byte integer of five bytes")

    def props(self, kind):
        inner = _Reader(self.take(self.varint()))
        found = {}
        while inner.left():
            identifier = inner.varint()
            if identifier not in _FROM_SERVER[kind]:
                raise Malformed(f"property {identifier:#x} in {NAMES[kind]}")
            if identifier in found and identifier not in (USER, SUBSCRIPTION_ID):
                raise Malformed(f"property {identifier:#x} twice in {NAMES[kind]}")
            found.setdefault(identifier, []).append(inner._value(identifier))
        return found

    def _value(self, identifier):
        if identifier in _BYTE:
            return self.byte()
        if identifier in _TWO:
            return self.two()
        if identifier in _FOUR:
            return self.four()
        if identifier == SUBSCRIPTION_ID:
            return self.varint()
        if identifier == USER:
            return (self.text(), self.text())
        return self.binary() if identifier in _BINARY else self.text()


def _code(packet_, reader):
    packet_.code = reader.byte()
    if packet_.code not in _CODES[packet_.kind]:
        raise Malformed(f"reason code {packet_.code:#x} in {NAMES[packet_.kind]}")


def _read_connack(p, r, version):
    p.ack_flags = r.byte()
    p.session_present = p.ack_flags & 1
    # A server may answer an unknown protocol level in either version (3.1.2-2 of both standards).
    if version == 5 and r.left() > 1:
        _code(p, r)
        p.props = r.props(CONNACK)
    else:
        p.code = r.byte()
    if p.ack_flags > 1:
        raise Malformed("reserved CONNACK flags are set")


def _read_publish(p, r, version):
    p.dup, p.qos, p.retain = bool(p.flags & 8), p.flags >> 1 & 3, bool(p.flags & 1)
    if p.qos == 3:
        raise Malformed("PUBLISH with both QoS bits set")
    if p.dup and not p.qos:
        raise Malformed("DUP on QoS 0")
    p.topic = r.text()
    p.pid = r.two() if p.qos else None
    if p.qos and not p.pid:
        raise Malformed("packet identifier 0")
    if any(c in p.topic for c in "+#"):
        raise Malformed("a wildcard in a topic name")
    if version == 5:
        p.props = r.props(PUBLISH)
        if p.props.get(ALIAS) == [0]:
            raise Malformed("topic alias 0")
    if not p.topic and ALIAS not in p.props:
        raise Malformed("an empty topic name without an alias")
    p.payload = bytes(r.take(r.left()))


def _read_ack(p, r, version):
    p.pid = r.two()
    p.code = 0
    if version == 5 and r.left():
        _code(p, r)
        if r.left():
            p.props = r.props(p.kind)


def _read_suback(p, r, version):
    p.pid = r.two()
    if version == 5:
        p.props = r.props(p.kind)
    p.codes = list(r.take(r.left()))
    allowed = _CODES[p.kind] if version == 5 else {0, 1, 2, 0x80}
    if version < 5 and p.kind == UNSUBACK and p.codes:
        raise Malformed("UNSUBACK with a payload")
    if not set(p.codes) <= allowed:
        raise Malformed(f"return codes {p.codes} in {NAMES[p.kind]}")


def _read_final(p, r, version):
    p.code = 0
    if version < 5 and p.kind in (DISCONNECT, AUTH):
        raise Malformed(f"{NAMES[p.kind]} sent to a 3.1.1 client")
    if r.left():
        _code(p, r)
        if r.left():
            p.props = r.props(p.kind)


_READ = {CONNACK: _read_connack, PUBLISH: _read_publish, PUBACK: _read_ack, PUBREC: _read_ack,
         PUBREL: _read_ack, PUBCOMP: _read_ack, SUBACK: _read_suback, UNSUBACK: _read_suback,
         PINGRESP: lambda p, r, v: None, DISCONNECT: _read_final, AUTH: _read_final}


def read(data, version):
    """(packet, bytes used), or None if `data` is less than one packet."""
    if len(data) < 2:
        return None
    length = shift = 0
    at = 1
    while True:
        if at == len(data):
            return None
        octet = data[at]
        length |= (octet & 0x7F) << shift
        shift += 7
        at += 1
        if not octet & 0x80:
            break
        if at == 5:
            raise Malformed("a remaining length of five bytes")
    if at > 2 and octet == 0:
        raise Malformed("a remaining length longer than it has to be")
    if len(data) < at + length:
        return None
    p = Packet(data[0] >> 4, data[0] & 15, bytes(data[at:at + length]))
    p.size = at + length
    if p.kind not in _READ:
        raise Malformed(f"a server never sends {NAMES[p.kind]}")
    if p.kind != PUBLISH and p.flags != (2 if p.kind == PUBREL else 0):
        raise Malformed(f"{NAMES[p.kind]} with flags {p.flags:#x}")
    reader = _Reader(p.body)
    _READ[p.kind](p, reader, version)
    if reader.left():
        raise Malformed(f"{reader.left()} bytes too many in {NAMES[p.kind]}")
    return p, at + length
