#!/usr/bin/env python3
"""Writes the seeds of the decoder's corpus: one good packet of each kind, by hand.

Beside them stand inputs of the fuzzer: found-* each reached something new, crash-* broke something.
"""
import pathlib
import struct

CLIENT5, CLIENT311, CLIENT31, SERVER5, SERVER311, SERVER31, TOPICS = range(7)


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack(">H", len(raw)) + raw


def variable(value):
    out = bytearray()
    while True:
        value, digit = divmod(value, 128)
        out.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(out)


def counted(*parts):
    body = b"".join(parts)
    return variable(len(body)) + body


def packet(first, *parts):
    return bytes([first]) + counted(*parts)


USER = b"\x26" + text("k") + text("v")
MESSAGE = counted(b"\x01\x01", b"\x02\x00\x00\x00\x0a", b"\x03" + text("t"), b"\x08" + text("r"),
                  b"\x09" + text(b"\x00\xff"), b"\x23\x00\x05", USER)
CONNACK = counted(b"\x11\x00\x00\x00\x0a", b"\x12" + text("id"), b"\x13\x00\x3c", b"\x1a" + text("r"),
                  b"\x1c" + text("b"), b"\x1f" + text("why"), b"\x21\x00\x14", b"\x22\x00\x10",
                  b"\x24\x01", b"\x25\x01", USER, b"\x27\x00\x10\x00\x00", b"\x28\x01", b"\x29\x01",
                  b"\x2a\x01")
CONNECT = counted(b"\x11\x00\x00\x00\x0a", b"\x15" + text("SCRAM"), b"\x16" + text("n"), b"\x17\x01",
                  b"\x19\x01", b"\x21\x00\x14", b"\x22\x00\x10", USER, b"\x27\x00\x10\x00\x00")
WILL = counted(b"\x18\x00\x00\x00\x05", b"\x01\x00", b"\x02\x00\x00\x00\x09", b"\x03" + text("t"))
WHY = counted(b"\x1f" + text("why"), USER)

SEEDS = {
    "connect5": (CLIENT5, packet(0x10, text("MQTT"), b"\x05\xf6\x00\x3c", CONNECT, text("id"), WILL,
                                 text("w/t"), text("gone"), text("user"), text("pass"))),
    "connect311": (CLIENT311, packet(0x10, text("MQTT"), b"\x04\xee\x00\x3c", text("id"), text("w"),
                                     text("gone"), text("user"), text("pass"))),
    "connect31": (CLIENT31, packet(0x10, text("MQIsdp"), b"\x03\x02\x00\x3c", text("id"))),
    "connack5": (SERVER5, packet(0x20, b"\x01\x00", CONNACK)),
    "connack311": (SERVER311, packet(0x20, b"\x01\x00")),
    "publish5": (CLIENT5, packet(0x32, text("a/b"), b"\x00\x01", MESSAGE, b"payload")),
    "publish5-alias": (CLIENT5, packet(0x30, text(""), counted(b"\x23\x00\x05"), b"payload")),
    "publish5-server": (SERVER5, packet(0x31, text("a/\u00e9"),
                                        counted(b"\x0b\x05", USER, b"\x0b\xff\x7f", b"\x23\x00\x01",
                                                b"\x02\x00\x00\x00\x09"), b"payload")),
    "publish311": (CLIENT311, packet(0x3B, text("a/b/c/d/e/f/g/h/i"), b"\x00\x01", b"payload")
                   + packet(0x30, text("t"), b"x") + packet(0x3D, text("t"), b"\xff\xff", b"y")),
    "publish31": (CLIENT31, packet(0x38, text("a/b"), b"payload")),
    "acks5": (CLIENT5, packet(0x40, b"\x00\x01") + packet(0x50, b"\x00\x02\x91")
              + packet(0x62, b"\x00\x03\x92", WHY) + packet(0x70, b"\x00\x04\x00", WHY)),
    "acks311": (SERVER311, packet(0x40, b"\x00\x01") + packet(0x50, b"\x00\x02")
                + packet(0x62, b"\x00\x03") + packet(0x70, b"\x00\x04")),
    "subscribe5": (CLIENT5, packet(0x82, b"\x00\x01", counted(b"\x0b\xac\x02", USER), text("a/#"),
                                   b"\x2d", text("$share/g/+"), b"\x02", text("$latest/a"), b"\x00")),
    "subscribe311": (CLIENT311, packet(0x82, b"\x00\x01", text("a/+"), b"\x01", text("#"), b"\x02")),
    "suback5": (SERVER5, packet(0x90, b"\x00\x01", WHY, b"\x00\x01\x02\x8f")),
    "suback311": (SERVER311, packet(0x90, b"\x00\x01\x00\x02\x80")),
    "unsubscribe5": (CLIENT5, packet(0xA2, b"\x00\x01", counted(USER), text("a/#"), text("b"))),
    "unsubscribe311": (CLIENT311, packet(0xA2, b"\x00\x01", text("a/#"), text("b"))),
    "unsuback5": (SERVER5, packet(0xB0, b"\x00\x01", WHY, b"\x00\x11")),
    "unsuback311": (SERVER311, packet(0xB0, b"\x00\x01")),
    "ping": (CLIENT5, packet(0xC0)),
    "pong": (SERVER5, packet(0xD0)),
    "disconnect5": (CLIENT5, packet(0xE0, b"\x04", counted(b"\x11\x00\x00\x00\x01", USER))),
    "disconnect5-server": (SERVER5, packet(0xE0, b"\x9c", counted(b"\x1c" + text("b"), USER))),
    "disconnect311": (CLIENT311, packet(0xE0)),
    "auth": (CLIENT5, packet(0xF0, b"\x18", counted(b"\x15" + text("SCRAM"), b"\x16" + text("n")))),
    "session5": (CLIENT5, packet(0x10, text("MQTT"), b"\x05\x02\x00\x3c", counted(), text("id"))
                 + packet(0x82, b"\x00\x01", counted(), text("a"), b"\x00") + packet(0xC0)
                 + packet(0x30, text("a"), counted(), b"x") + packet(0xE0)),
    "topics": (TOPICS, b"a/+/#\n+/b\na/b"),
    "topics-dollar": (TOPICS, b"$SYS/#\n#\n$SYS/x"),
    "topics-prefix": (TOPICS, b"$share/g/a/#\n$latest/+\na"),
}


def main():
    folder = pathlib.Path(__file__).parent / "corpus"
    folder.mkdir(exist_ok=True)
    for name, (how, body) in SEEDS.items():
        (folder / name).write_bytes(bytes([how]) + body)


if __name__ == "__main__":
    main()
