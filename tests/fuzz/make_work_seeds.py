#!/usr/bin/env python3
"""Writes the seeds of work_fuzzer: attacks on the processor, as scripts of a few dozen bytes."""
import pathlib

(CONNECT, CLOSE, SUBSCRIBE, SUBSCRIBE_END, SUBSCRIBE_LONG, UNSUBSCRIBE, PUBLISH, RETAIN, PUBLISH_NEW,
 PUBLISH_LONG, READ, ACKNOWLEDGE, WAIT) = range(13)
WILL, V5, CLEAN, SMALL_WINDOW = 1, 2, 4, 8
EVERY, ADAPTIVE, LATEST, SHARED = range(4)
QOS1 = 4
MANY, MANY_QOS1 = 15, 31


def step(what, who=0, *arguments):
    return bytes([what | who << 4, *arguments])


def connect(who, how=CLEAN, expiry=255):
    return step(CONNECT, who, how, expiry)


def levels(count, bits):
    """Each four of them are `bits`."""
    return (count, *[bits] * ((count + 3) // 4))


SCRIPTS = {
    # (a|+)^12, a filter of each of many kinds, and topics that they match.
    "wildcards": connect(0) + b"".join(
        step(SUBSCRIBE, 0, *levels(12, bits), EVERY) for bits in (0x00, 0x02, 0x08, 0x20, 0x80, 0xAA, 0x22))
    + connect(1) + step(PUBLISH_NEW, 1, *levels(12, 0), MANY) * 3,
    # A full queue for a member that is away, handed to and fro.
    "heirs": b"".join(connect(who) + step(SUBSCRIBE_END, who, 2, SHARED | QOS1) + step(CLOSE, who)
                      for who in (0, 1))
    + connect(2) + step(PUBLISH, 2, 0, MANY_QOS1) * 8
    + b"".join(connect(who, CLEAN) + step(SUBSCRIBE_END, who, 2, SHARED | QOS1) + step(CLOSE, who)
               for who in (0, 1)) * 2,
    # Snapshots over retained values, of which none matches.
    "snapshots": connect(0) + b"".join(step(RETAIN, 0, *levels(4, bits), 1, MANY) for bits in range(6))
    + connect(1) + b"".join(step(SUBSCRIBE, 1, *levels(6, bits), LATEST) for bits in (0x02, 0x0A, 0x2A)) * 3,
    # What waits for absent sessions, with wills that expire.
    "absent": b"".join(step(CONNECT, who, WILL | V5, 100, 50, 60) + step(SUBSCRIBE_END, who, 0, QOS1)
                       + step(CLOSE, who) for who in range(5))
    + connect(7) + step(PUBLISH, 7, 1, 0, MANY_QOS1) * 6 + step(WAIT, 0, 255) * 3,
    # Deep and long filters, made and ended.
    "deep": connect(0) + b"".join(
        step(SUBSCRIBE_LONG, 0, 10 * number, *levels(31, number), EVERY) for number in range(6))
    + b"".join(step(UNSUBSCRIBE, 0, *levels(31, number)) for number in range(3)) + step(CLOSE, 0),
    # A reader that takes little, at QoS 1 and with rate limits.
    "slow": connect(0, CLEAN | V5 | SMALL_WINDOW) + step(SUBSCRIBE_END, 0, 2, LATEST | QOS1 | 8)
    + step(SUBSCRIBE_END, 0, 0, QOS1 | 16) + connect(1) + step(PUBLISH_NEW, 1, 2, 9, MANY_QOS1) * 4
    + step(READ, 0) + step(ACKNOWLEDGE, 0) + step(WAIT, 0, 9) + step(READ, 0) + step(CLOSE, 1),
}

folder = pathlib.Path(__file__).parent / "work"
folder.mkdir(exist_ok=True)
for name, script in SCRIPTS.items():
    (folder / name).write_bytes(script)
