#!/usr/bin/env python3
"""Writes the seeds of the connection fuzzer's corpus: short scripts of what clients do.

A script is read by connection_fuzzer.cpp: the overflow policy, then a byte for each step (who, in
bits 4 and 5, and what) and its operands. Beside the seeds stand inputs that the fuzzer found:
crash-* each broke something.
"""
import pathlib

TOPICS = ["a", "a/b", "b", "a/b/c", "secret/x", "read/x", "$x", "$SYS/x"]
FILTERS = ["#", "a", "a/#", "+/b", "a/+", "b", "$share/g/#", "$share/g/a", "$latest/#", "$latest/a",
           "secret/#", "secret/x", "$x", "+/+/+/#", "$share/x", "a#"]
DROP_OLDEST, DROP_NEWEST, DISCONNECT, BACKPRESSURE = range(4)
V5, V311, V31 = 0, 1, 3
CLEAN, KEEP_ALIVE, WILL, LIMITS, SMALL = 4, 8, 16, 32, 64
ALL = 255


def step(who, what, *operands):
    return bytes([who << 4 | what, *operands])


def connect(who, version=V5, clean=True, name=None, will=None, expiry=None, receive_maximum=127,
            aliases=0, packet_max=None):
    how = version | (CLEAN if clean else 0)
    operands = [1 + who if name is None else name]
    if will is not None:
        how |= WILL
        operands += [TOPICS.index(will), 64]
    if expiry is not None or receive_maximum != 127 or aliases:
        how |= LIMITS
        operands += [expiry or 0, receive_maximum - 1, aliases]
    if packet_max is not None:
        how |= SMALL
        operands += [packet_max - 40]
    return step(who, 0, how, *operands)


def publish(who, topic, qos=0, retain=False, payload=5, pid=0, alias=None, spelled=True, expiry=None,
            request=False):
    how = qos | (4 if retain else 0) | (16 if alias else 0) | (32 if expiry else 0) | \
        (64 if request else 0)
    how = next(n for n in range(256) if n % 3 == qos and n & 0xFC == how & 0xFC)
    operands = [TOPICS.index(topic), payload] + ([pid] if qos else [])
    operands += [alias - 1 + (0 if spelled else 128)] if alias else []
    return step(who, 2, how, *operands, *([expiry] if expiry else []))


def subscribe(who, filter_, qos=0, options=0, identified=False, mode=None, rate=False, pid=0):
    for how in range(256):
        if how % 3 == 0 and bool(how & 4) == identified and bool(how & 8) == (mode is not None) and \
                bool(how & 16) == rate and (mode is None or how // 64 == mode):
            break
    options = next(n for n in range(256) if n % 3 == qos and n & 0xFC == options & 0xFC)
    return step(who, 4, how, pid, options, FILTERS.index(filter_))


def unsubscribe(who, filter_):
    return step(who, 5, 7, FILTERS.index(filter_))


def acknowledge(who, count=ALL):
    return step(who, 7, count)


def disconnect(who, how=0):
    return step(who, 8, how)


def ping(who):
    return step(who, 9)


def join(who, count):
    """The next packets are read together."""
    return step(who, 3, count - 1)


def raw(who, data):
    return step(who, 10, len(data)) + data


def read_max(who, count):
    return step(who, 12, count - 1)


def end(who, lost=False):
    return step(who, 13, int(lost))


def room(who, eights):
    return step(who, 14, eights)


def wait(ms):
    return step(0, 15, 100, 128 + ms // 700 if ms > 12_000 else ms // 100)


def script(*steps, policy=DROP_OLDEST):
    return bytes([policy]) + b"".join(steps)


def flood(who, topic, count, **options):
    return b"".join(publish(who, topic, payload=200, pid=n, **options) for n in range(count))


PAIR = connect(0) + connect(1, V311)
SEEDS = {
    "every-qos": script(PAIR, subscribe(0, "a/#", 2), *(publish(1, "a/b", q, pid=1) + acknowledge(1) +
                        acknowledge(0) for q in (0, 1, 2)), acknowledge(0), unsubscribe(0, "a/#")),
    "old-version": script(connect(0, V31), subscribe(0, "a", 1), publish(0, "a", 1), acknowledge(0)),
    "retained": script(PAIR, publish(1, "a", 1, True), publish(1, "a/b", 0, True),
                       subscribe(0, "#", 1), acknowledge(0), publish(1, "a", 0, True, payload=0)),
    "will": script(connect(0, will="a"), connect(1), subscribe(1, "#", 1), end(0, True), wait(500)),
    "will-delayed": script(connect(0, will="a", expiry=9), connect(1), subscribe(1, "a"), end(0),
                           wait(5000)),
    "resumed": script(connect(0, V311, clean=False), subscribe(0, "#", 2), end(0), connect(1),
                      *(publish(1, "a", q, pid=3 + q) + acknowledge(1) for q in (1, 2, 1)),
                      connect(0, V311, clean=False), acknowledge(0, 0), end(0),
                      connect(0, V311, clean=False), acknowledge(0), acknowledge(0)),
    "takeover": script(connect(0, expiry=50), subscribe(0, "a", 1), connect(1, name=1, clean=False,
                       expiry=50), publish(1, "a", 1), acknowledge(1), ping(0)),
    "shared": script(PAIR, connect(2), subscribe(0, "$share/g/#", 1), subscribe(1, "$share/g/#", 1),
                     *(publish(2, "a", 1, pid=n) for n in range(4)), end(0), acknowledge(1)),
    "latest": script(PAIR, publish(1, "a"), publish(1, "b", 1, True), subscribe(0, "$latest/#", 1),
                     acknowledge(0), room(0, 0), flood(1, "a", 6), room(0, ALL), acknowledge(0)),
    "adaptive": script(PAIR, subscribe(0, "#"), room(0, 0), flood(1, "a", 7), flood(1, "b", 2),
                       wait(2000), room(0, 20), flood(1, "a", 2), room(0, ALL)),
    "rate": script(PAIR, subscribe(0, "#", 0, mode=1, rate=True), flood(1, "a", 3), wait(1000),
                   flood(1, "a", 2), unsubscribe(0, "#")),
    "modes": script(connect(0), *(subscribe(0, "a", 1, mode=m) + publish(0, "a", 1, pid=m)
                    for m in range(4)), acknowledge(0)),
    "aliases": script(connect(0, aliases=2), connect(1), subscribe(0, "#", 1),
                      publish(1, "a", alias=1), publish(1, "a", alias=1, spelled=False),
                      publish(1, "b", alias=2), publish(1, "a/b"), publish(1, "b"), publish(1, "b"),
                      publish(1, "a", alias=4)),
    "identifiers": script(PAIR, subscribe(0, "#", 1, identified=True), subscribe(0, "a/+", 2),
                          publish(1, "a/b", 2), acknowledge(1), acknowledge(0), acknowledge(0)),
    "expiry": script(connect(0, expiry=90), connect(1), subscribe(0, "a", 1), end(0),
                     publish(1, "a", 1, expiry=3), wait(9000), connect(0, clean=False)),
    "too-large": script(connect(0, packet_max=60), connect(1), subscribe(0, "a", 1),
                        publish(1, "a", payload=250), publish(1, "a"), ping(0)),
    "window": script(connect(0, receive_maximum=1), connect(1), subscribe(0, "#", 2),
                     *(publish(1, "a", 1 + n % 2, pid=n) for n in range(4)), acknowledge(0, 0),
                     acknowledge(1), acknowledge(0), acknowledge(0)),
    "beyond-receive-maximum": script(connect(0), *(publish(0, "a", 2, pid=n) for n in range(6))),
    "denied": script(connect(0), connect(1), subscribe(0, "#", 1), subscribe(0, "secret/x"),
                     publish(1, "secret/x", 1, True), publish(1, "read/x", 1), publish(1, "$SYS/x", 1),
                     subscribe(0, "$latest/#"), subscribe(0, "$share/g/#", 1), publish(1, "secret/x")),
    "byte-by-byte": script(read_max(0, 1), PAIR, subscribe(0, "a", 1), publish(0, "a", 1, payload=250),
                           acknowledge(0)),
    "small-writes": script(connect(0), subscribe(0, "#", 1), room(0, 1), publish(0, "a", 1, payload=99),
                           room(0, 1), acknowledge(0), room(0, 2), room(0, ALL), acknowledge(0)),
    "silent": script(step(0, 0, V5 | CLEAN | KEEP_ALIVE, 1), ping(0), wait(20_000)),
    "stranger": script(raw(0, b"GET / HTTP/1.1\r\n\r\n"), ping(1), step(2, 15, 100, 100)),
    "half-a-packet": script(connect(0), raw(0, b"\x30\x80\x08\x00\x01a"), end(0)),
    "flipped": script(step(0, 11, 0, 1), connect(0), step(1, 11, 9, 255), connect(1)),
    "expiry-at-disconnect": script(connect(0, expiry=9), subscribe(0, "a"), disconnect(0, 3),
                                   connect(0, clean=False), disconnect(0, 255)),
    "many-filters": script(connect(0), *(subscribe(0, f, 1) for f in FILTERS), publish(0, "a/b", 1)),
    "joined": script(join(0, 3), connect(0), ping(0), disconnect(0), join(1, 5), connect(1, V311),
                     subscribe(1, "a", 1), publish(1, "a", 1, pid=2), ping(1), raw(1, b"\x36\x03\0\x01a")),
    "joined-refused": script(connect(0), subscribe(0, "a"), join(1, 3), connect(1, packet_max=41),
                             publish(1, "a"), ping(1), join(2, 3), connect(2, will="read/x"),
                             publish(2, "a"), raw(2, b"\x82\x02\0\x01")),
    "barrier": script(PAIR, subscribe(1, "a", 1), join(0, 6), subscribe(0, "a/#", 2),
                      publish(0, "a/b", 1, pid=1), publish(0, "a/b", 2, pid=2), publish(0, "a", 0),
                      unsubscribe(0, "b"), ping(0), acknowledge(0), acknowledge(0), acknowledge(1)),
    "slots": script(PAIR, *(publish(1, t, retain=n % 2 == 0) for n, t in enumerate(TOPICS)),
                    subscribe(0, "#"), publish(1, "a", request=True)),
}
for name, policy in (("oldest", DROP_OLDEST), ("newest", DROP_NEWEST), ("disconnect", DISCONNECT),
                     ("backpressure", BACKPRESSURE)):
    SEEDS[f"overflow-{name}"] = script(
        connect(0, expiry=90), connect(1), subscribe(0, "#", 1, mode=0), room(0, 0),
        *(publish(1, "a", 1, payload=200, pid=n) + acknowledge(1) for n in range(12)), room(0, ALL),
        acknowledge(0), end(0), flood(1, "a", 12, qos=1), connect(0, clean=False), policy=policy)


def main():
    folder = pathlib.Path(__file__).parent / "connection"
    folder.mkdir(exist_ok=True)
    for name, body in SEEDS.items():
        (folder / name).write_bytes(body)


if __name__ == "__main__":
    main()
