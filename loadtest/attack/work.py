"""Attacks on time: clients that make the server do much."""

import itertools

import wire
from .attacker import attack


@attack()
def many_identifiers(me):
    """8,192 subscriptions with identifiers that all match."""
    sock = me.dial()
    for number in range(8_192):
        if number % 200 == 0:
            sock = (me.drain([sock]) or [None])[0] if sock else me.dial()
        name = "/".join("+" if number >> bit & 1 else "a" for bit in range(13))
        me.send(sock, wire.subscribe(number + 1, [(name, 0)],
                                     properties=[(wire.SUBSCRIPTION_ID, number + 1)]))
    writer = me.dial()
    while me.going():
        me.send(writer, wire.publish("/".join("a" * 13), b"v"))
        if sock is not None:
            sock = (me.drain([sock]) or [None])[0]
        me.rest(1 / 48)


@attack(processes=2)
def wildcard_product(me):
    """Topics of 17 levels that 2^17 filters match, with `a` or `+` at each level."""
    socks = me.dial_many(8)
    for at, sock in enumerate(socks):
        first = (me.number * 8 + at) * 8_192
        me.subscribe(sock, (("/".join("+" if number >> bit & 1 else "a" for bit in range(17)), 0)
                            for number in range(first, first + 8_192)))
    writer = me.dial()
    while me.going():
        levels = ["a"] * 17
        levels[next(me._count) % 17] = me.name("x")
        if not me.send(writer, wire.publish("/".join(levels), b"v")):
            writer = me.dial()
        socks = me.drain(socks)


@attack()
def small_subscribes(me):
    """SUBSCRIBE packets of 11 bytes, beside 9,990 subscriptions whose retained messages wait."""
    sock = me.dial(receive_buffer=4096)
    me.send(sock, b"".join(wire.publish(f"kept/{i}", bytes(100), retain=True) for i in range(5_000)))
    me.subscribe(sock, ((f"kept/{i}/#", 0) for i in range(9_990)))
    burst = b"".join(wire.subscribe(pid, [("k", 0)]) for pid in range(1, 1_000))
    while me.going():
        if not me.send(sock, burst):
            sock = me.dial(receive_buffer=4096)
            me.subscribe(sock, ((f"kept/{i}/#", 0) for i in range(9_990)))
        elif not me.drain([sock]):
            sock = me.dial(receive_buffer=4096)


@attack(leaves_sessions=True)
def absent_members(me):
    """A shared group of members that are not there."""
    for _ in range(5_000):
        me.away("$share/g/shared")
        if not me.going():
            return
    writer = me.dial()
    burst = wire.publish("shared", b"v") * 100
    while me.going():
        if not me.send(writer, burst):
            writer = me.dial()


@attack(leaves_sessions=True)
def heirs_in_turn(me):
    """Two members of a shared group: each ends its session by Clean Start, so its full queue goes to
    the other."""
    names = [me.name("heir"), me.name("heir")]
    me.away("$share/g/left", 1, names[0])
    writer, pid = me.dial(), 0
    for _ in range(100):
        burst = b""
        for _ in range(1_000):
            pid = pid % 60_000 + 1
            burst += wire.publish("left", b"v", 1, pid)
        if not me.send(writer, burst) or not me.drain([writer]) or not me.going():
            break
    me.away("$share/g/left", 1, names[1])
    while me.going():
        for name in names:
            me.leave(me.dial(name))  # its session is a new one, and what waited is the other's
            me.away("$share/g/left", 1, name)


@attack()
def filters_over_retained(me):
    """One SUBSCRIBE of 99 KB, each of whose filters goes through all retained topics."""
    sock = me.dial()
    for first in range(0, 20_000, 500):
        me.send(sock, b"".join(wire.publish(f"many/{i}", b"v", retain=True)
                               for i in range(first, first + 500)))
    while me.going():
        reader = me.dial()
        me.send(reader, wire.subscribe(1, [(f"+/{i:05}/#", 0) for i in range(9_000)]))
        for _ in range(100):
            if reader is None or not me.going():
                break
            reader = (me.drain([reader]) or [None])[0]
            me.rest()
        me.leave(reader)


@attack()
def long_properties(me):
    """2 MiB of user properties to 50 subscribers."""
    readers = me.dial_many(50)
    for reader in readers:
        me.send(reader, wire.subscribe(1, [("long", 0)]))
    packet = wire.publish("long", b"v", properties=wire.prop(wire.USER, ("k", "v")) * 290_000)
    writer = me.dial()
    while me.going():
        if not me.send(writer, packet):
            writer = me.dial()
        readers = me.drain(readers)


@attack(config={"access": {"otherwise": "allow", "rules": [
    {"effect": "deny", "action": "subscribe", "filter": f"secret/{i}/+/x"} for i in range(1_000)]}})
def long_subscribes(me):
    """2 MiB of filters in one packet, against a thousand rules."""
    subscribe = wire.subscribe(1, [(f"+/{i:x}", 0) for i in range(220_000)])
    unsubscribe = wire.unsubscribe(2, ["a"] * 690_000)
    sock = me.dial()
    while me.going():
        for packet in (subscribe, unsubscribe):
            if not me.send(sock, packet):
                sock = me.dial()
        if sock is not None:
            sock = (me.drain([sock]) or [None])[0]
        sock = sock or me.dial()


@attack()
def deep_filters(me):
    """7,500 filters of 121 levels, subscribed to and unsubscribed from."""
    rest = "/a" * 120
    names = [f"{i}{rest}" for i in range(7_500)]
    subscribe = wire.subscribe(1, [(name, 0) for name in names])
    unsubscribe = wire.unsubscribe(2, names)
    sock = me.dial()
    while me.going():
        if not me.send(sock, subscribe) or not me.send(sock, unsubscribe):
            sock = me.dial()
        elif not me.drain([sock]):
            sock = me.dial()


@attack()
def slow_readers_leave(me):
    """Readers for each of whom 50,000 values wait close their connections at once."""
    writer = me.dial()
    topics = [f"leave/{i}" for i in range(50_000)]
    while me.going():
        readers = me.dial_many(10, receive_buffer=4096)
        for reader in readers:
            me.send(reader, wire.subscribe(1, [("$latest/leave/#", 0)]))
        for first in range(0, len(topics), 500):
            if not me.going():
                break
            if not me.send(writer, b"".join(wire.publish(topic, b"v")
                                            for topic in topics[first:first + 500])):
                writer = me.dial()
        for reader in readers:
            me.leave(reader)


@attack()
def subscriptions_expire(me):
    """Sessions of 10,000 subscriptions that expire together."""
    while me.going():
        socks = me.dial_many(10, properties=[(wire.SESSION_EXPIRY, 1)])
        for sock in socks:
            name = me.name()
            me.subscribe(sock, ((f"e/{name}/{i}", 0) for i in range(9_990)))
        for sock in socks:
            me.leave(sock)


@attack()
def flood_for_many(me):
    """A flood to 200 subscribers that read as fast as they can."""
    readers = me.dial_many(200)
    for reader in readers:
        me.send(reader, wire.subscribe(1, [("flood", 0)]))
    writer = me.dial()
    burst = wire.publish("flood", bytes(50)) * 500
    while me.going():
        if not me.send(writer, burst):
            writer = me.dial()
        readers = me.drain(readers)


@attack()
def connects(me):
    """Connections that come and go as fast as they can."""
    while me.going():
        me.leave(me.dial())


@attack(processes=2, passwords=True)
def password_guesses(me):
    """Wrong passwords, of a user that exists and of users that do not."""
    while me.going():
        socks = [me.open() for _ in range(50)]
        for number, sock in enumerate(socks):
            me.send(sock, wire.connect(me.name(), username="ann" if number % 2 else me.name("u"),
                                       password=me.name("guess")))
        me.rest(0.2)
        for sock in socks:
            me.leave(sock)
