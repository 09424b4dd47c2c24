#!/usr/bin/env python3
"""Writes the seeds of the WebSocket corpus: frames of each kind, by hand.

Beside them stand inputs of the fuzzer: found-* each reached something new, crash-* broke something.
"""
import pathlib
import struct

MASK = bytes([1, 2, 4, 8])


def frame(first, payload=b""):
    count = len(payload)
    if count < 126:
        length = bytes([0x80 | count])
    elif count < 65536:
        length = b"\xfe" + struct.pack(">H", count)
    else:
        length = b"\xff" + struct.pack(">Q", count)
    return bytes([first]) + length + MASK + bytes(b ^ MASK[i % 4] for i, b in enumerate(payload))


SEEDS = {
    "binary": frame(0x82, b"packet") * 3,
    "fragments": frame(0x02, b"one") + frame(0x89, b"ping") + frame(0x00, b"two") + frame(0x80),
    "lengths": frame(0x82, b"x" * 126) + frame(0x82, b"y" * 300),
    "ping": frame(0x89) + frame(0x89, b"hello") + frame(0x8A),
    "close": frame(0x82, b"last") + frame(0x88, struct.pack(">H", 1000) + b"bye"),
    "text": frame(0x81, b"text"),
    "unmasked": b"\x82\x01\x00\x00\x00\x00\x00",
}

folder = pathlib.Path(__file__).parent / "websocket"
folder.mkdir(exist_ok=True)
for name, frames in SEEDS.items():
    (folder / name).write_bytes(b"\x07" + frames)
