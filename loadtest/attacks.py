#!/usr/bin/env python3
"""Attacks on a server, one after the other, each on a fresh one and beside a healthy client, which
publishes to itself 50 times a second. Prints what the healthy client saw and what the server held, as a
table in Markdown.

    SERVER_BINARY=build/release/bin/millrace loadtest/attacks.py            # all, 30 s each
    SERVER_BINARY=... loadtest/attacks.py --seconds 5 wills partial_packets
    SERVER_BINARY=... loadtest/attacks.py --save docs/figures/attacks.json  # then deploy/update-docs.sh
    loadtest/attacks.py --list

The server has its default configuration, but memory.bytes_max (1 GiB) and what an attack needs besides.
Attackers run in processes of their own, on the same machine: the times are those of a server that shares
its cores with them. With --check nothing is timed: the exit status says whether memory stayed within the
limit, nothing of the attackers is left, and the server ended in order.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import resource
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "peer"))
import wire  # noqa: E402
from server import Server, binary  # noqa: E402

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MEMORY_LIMIT = GIB
# Beside what clients make it hold: the program, its threads' stacks and scratch, and what comes
# between two looks at what the process has.
PROCESS = 192 * MIB
FOR_EVER = 0xFFFFFFFF
INTERVAL_S = 0.02

ATTACKS = {}


def attack(processes=1, leaves_sessions=False, config=None, passwords=False):
    """Registers a function as an attack. `leaves_sessions`: it asks for sessions that outlive it."""
    def register(function):
        function.processes, function.leaves_sessions = processes, leaves_sessions
        function.config, function.passwords = config or {}, passwords
        ATTACKS[function.__name__] = function
        return function
    return register


# ---- attackers -------------------------------------------------------------------------------------

class Attacker:
    """What an attack has: connections that may be closed at any time, and an end."""

    def __init__(self, mqtt_port, http_port, seconds, number):
        self.mqtt_port, self.http_port, self.number = mqtt_port, http_port, number
        self.end = time.monotonic() + seconds
        self._count = itertools.count()

    def going(self):
        return time.monotonic() < self.end

    def rest(self, seconds=0.01):
        time.sleep(max(0.0, min(seconds, self.end - time.monotonic())))

    def name(self, head=""):
        return f"{head}{self.number}-{next(self._count)}"

    def open(self, port=None, receive_buffer=None):
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(5)
        try:
            sock.connect(("127.0.0.1", port or self.mqtt_port))
        except OSError:
            sock.close()
            return None
        return sock

    def dial(self, client_id=None, version=5, lasting=False, receive_buffer=None, **options):
        """A connection that is let in, or None."""
        sock = self.open(receive_buffer=receive_buffer)
        if sock is None:
            return None
        properties = list(options.pop("properties", []))
        if lasting:
            properties.append((wire.SESSION_EXPIRY, FOR_EVER))
        packet = wire.connect(self.name() if client_id is None else client_id, version=version,
                              properties=properties, clean=not lasting, **options)
        try:
            sock.sendall(packet)
            answer = sock.recv(4)
        except OSError:
            answer = b""
        if len(answer) < 4 or answer[0] != wire.CONNACK << 4:
            sock.close()
            return None
        return sock

    def dial_many(self, count, **options):
        found = []
        while len(found) < count and self.going():
            sock = self.dial(**options)
            if sock is None:
                self.rest(0.05)
            else:
                found.append(sock)
        return found

    @staticmethod
    def send(sock, data):
        """False: the server has closed the connection, or does not read it."""
        if sock is None:
            return False
        try:
            sock.sendall(data)
            return True
        except OSError:
            return False

    @staticmethod
    def drain(socks):
        """Reads what is there. Returns those that are open."""
        closed = set()
        poller = select.poll()
        found = {sock.fileno(): sock for sock in socks}
        for number in found:
            poller.register(number, select.POLLIN)
        for number, _ in poller.poll(0):
            sock = found[number]
            sock.setblocking(False)
            try:
                while data := sock.recv(256 * KIB):
                    if len(data) < 256 * KIB:
                        break
                else:
                    closed.add(sock)
            except BlockingIOError:
                pass
            except OSError:
                closed.add(sock)
            sock.settimeout(5)
        for sock in closed:
            sock.close()
        return [sock for sock in socks if sock not in closed]

    def subscribe(self, sock, filters, properties=()):
        """Sends the filters in packets of 60 KiB; reads what comes meanwhile."""
        packet, size, pid = [], 0, 0
        for one in itertools.chain(filters, [None]):
            if one is None or size > 60 * KIB:
                pid = pid % 60_000 + 1
                if packet and not self.send(sock, wire.subscribe(pid, packet,
                                                                 properties=properties)):
                    return False
                if sock in (self.drain([sock]) or [None]):
                    packet, size = [], 0
                else:
                    return False
            if one is not None:
                packet.append(one)
                size += len(one[0]) + 3
        return True

    def leave(self, sock):
        """As a client whose machine ends: a reset."""
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
            sock.close()


# ---- memory ----------------------------------------------------------------------------------------

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
        sock = me.dial(lasting=True)
        me.send(sock, wire.subscribe(1, [("off/#", 1)]))
        if sock is not None:
            me.drain([sock])
            sock.close()
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
            me.send(reader, wire.subscribe(1, [(name, 0)]))
            time.sleep(0.001)
            if not me.send(writer, wire.publish(name, bytes(2_000_000)) * 2):
                writer = me.dial()
        for reader in readers:
            me.leave(reader)


@attack()
def partial_packets(me):
    """Packets of 2 MiB that never end."""
    packet = wire.publish("a", bytes(2 * MIB - 100))[:-1]
    socks = []
    while me.going():
        sock = me.dial() if len(socks) < 3_700 else None
        if sock is None:
            me.rest(0.05)
        else:
            me.send(sock, packet)
            socks.append(sock)


@attack()
def partial_connects(me):
    """The same before anybody has said who he is."""
    packet = wire.connect("c", will=wire.will("w", bytes(60 * KIB)), username="u" * 65_000,
                          password="p" * 65_000)[:-1]
    socks = []
    while me.going():
        sock = me.open() if len(socks) < 12_000 else None
        if sock is None:
            me.rest(0.05)
        else:
            me.send(sock, packet)
            socks.append(sock)


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


# ---- time ------------------------------------------------------------------------------------------

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
    """(a|+)^17: topics that 2^17 filters match."""
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
    """11 bytes each, beside 9,999 snapshots that wait."""
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
        sock = me.dial(lasting=True)
        me.send(sock, wire.subscribe(1, [("$share/g/shared", 0)]))
        if sock is not None:
            me.drain([sock])
            sock.close()
        if not me.going():
            return
    writer = me.dial()
    burst = wire.publish("shared", b"v") * 100
    while me.going():
        if not me.send(writer, burst):
            writer = me.dial()


@attack(leaves_sessions=True)
def heirs_in_turn(me):
    """Two members of a shared group that leave a full queue to each other, by Clean Start."""
    names = [me.name("heir"), me.name("heir")]

    def join(name, lasting):
        sock = me.dial(name, lasting=lasting)
        me.send(sock, wire.subscribe(1, [("$share/g/left", 1)]))
        if sock is not None:
            me.drain([sock])
            sock.close()

    join(names[0], lasting=True)
    writer, pid = me.dial(), 0
    for _ in range(100):
        burst = b""
        for _ in range(1_000):
            pid = pid % 60_000 + 1
            burst += wire.publish("left", b"v", 1, pid)
        if not me.send(writer, burst) or not me.drain([writer]) or not me.going():
            break
    join(names[1], lasting=True)
    while me.going():
        for name in names:
            me.leave(me.dial(name))  # its session is a new one, and what waited is the other's
            join(name, lasting=True)


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
    """Filters of very many levels, made and ended."""
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
    """Readers for whom very much waits end all at once."""
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


# ---- identity --------------------------------------------------------------------------------------

@attack(processes=2, passwords=True)
def password_guesses(me):
    """Passwords of users that there are, and of others."""
    while me.going():
        socks = [me.open() for _ in range(50)]
        for number, sock in enumerate(socks):
            me.send(sock, wire.connect(me.name(), username="ann" if number % 2 else me.name("u"),
                                       password=me.name("guess")))
        me.rest(0.2)
        for sock in socks:
            me.leave(sock)


# ---- doors beside MQTT -----------------------------------------------------------------------------

def _http(path, times=1, header=""):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n".encode() * times


@attack()
def silent_http(me):
    """HTTP connections that say nothing."""
    socks = []
    while me.going():
        socks = me.drain(socks) if socks else socks
        if len(socks) < 600:
            sock = me.open(me.http_port)
            socks += [sock] if sock else []
        else:
            me.rest()


@attack()
def long_polls(me):
    """Pipelined requests that wait for a value."""
    while me.going():
        socks = [me.open(me.http_port) for _ in range(64)]
        for sock in socks:
            me.send(sock, _http("/topics/none", 8, "Prefer: wait=60\r\n"))
        me.rest(1)
        for sock in socks:
            me.leave(sock)


@attack()
def topic_walks(me):
    """Pipelined walks over all topics."""
    writer = me.dial()
    for first in range(0, 50_000, 500):
        me.send(writer, b"".join(wire.publish(f"walk/{i}", b"v") for i in range(first, first + 500)))
    while me.going():
        socks = [me.open(me.http_port) for _ in range(20)]
        for sock in socks:
            me.send(sock, _http("/topics?filter=%2B/none/%23", 50))
        me.rest(1)
        for sock in socks:
            me.leave(sock)


# ---- the healthy client ----------------------------------------------------------------------------

def healthy_client(port, pipe):
    """Publishes to itself until it is told to stop. A time counts from when a message was to be sent;
    one that does not come counts until the end."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(wire.connect("healthy") + wire.subscribe(1, [("healthy", 0)]))
    held, waits, times, lost = bytearray(), {}, [], False
    number, next_at = 0, time.monotonic()
    while True:
        now = time.monotonic()
        if pipe.poll():
            break
        while now >= next_at and not lost:
            waits[number] = next_at
            try:
                sock.sendall(wire.publish("healthy", str(number)))
            except OSError:
                lost = True
            number, next_at = number + 1, next_at + INTERVAL_S
        if not select.select([sock], [], [], max(0, next_at - now) if not lost else 0.1)[0]:
            continue
        try:
            data = sock.recv(64 * KIB)
        except OSError:
            data = b""
        if not data:
            lost = True
            time.sleep(0.05)
            continue
        held += data
        arrived = time.monotonic()
        while found := wire.read(held, 5):
            del held[:found[1]]
            if found[0].kind == wire.PUBLISH:
                sent = waits.pop(int(found[0].payload), None)
                if sent is not None:
                    times.append(arrived - sent)
    ended = time.monotonic()
    sock.close()
    times += [ended - sent for sent in waits.values()]
    times.sort()
    pipe.send((times[int(len(times) * 0.99)], times[-1], lost))


# ---- one attack ------------------------------------------------------------------------------------

def _status_bytes(pid, field):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * KIB
    return 0


def _start(function, server, seconds):
    def run(number):
        me = Attacker(server.mqtt_port, server.http_port, seconds, number)
        try:
            while me.going():
                function(me)
        except (OSError, ValueError):
            pass  # the server has ended, or closed what was in use
        time.sleep(max(0.0, me.end - time.monotonic()))
        os._exit(0)
    ports = (server.mqtt_port, server.http_port)  # known before the fork
    assert all(ports)
    processes = [multiprocessing.Process(target=run, args=(number,))
                 for number in range(function.processes)]
    for process in processes:
        process.start()
    return processes


def _end(processes):
    for process in processes:
        process.join(timeout=20)
        if process.is_alive():
            process.kill()
            process.join()


def _metric(server, name):
    return sum(value for key, value in server.metrics().items()
               if key == name or key.startswith(name + "{"))


def _connections(server):
    metrics = server.metrics()
    return int(sum(value for key, value in metrics.items()
                   if key.startswith("millrace_connections_open{")))


class Result:
    def __init__(self, name):
        self.name, self.faults = name, []

    def figures(self):
        return {"p99_ms": round(self.p99 * 1e3, 1), "worst_ms": round(self.worst * 1e3),
                "peak_mib": round(self.peak / MIB), "after_mib": round(self.after / MIB),
                "charged_mib": round(self.charged / MIB), "connections": self.connections,
                "sessions": self.sessions, "end_s": round(self.end_s, 1)}

    def row(self):
        return f"| {self.name} | " + " | ".join(str(one) for one in self.figures().values()) + " |"


COLUMNS = ("healthy p99, ms", "worst, ms", "peak, MiB", "10 s after, MiB", "of it in the ledger, MiB",
           "connections left", "sessions left", "SIGTERM, s")
HEAD = f"| attack | {' | '.join(COLUMNS)} |\n|{' --- |' * (1 + len(COLUMNS))}"


def table(path):
    """What each attack does, and what came of it where that was saved."""
    saved = {}
    if os.path.exists(path):
        with open(path) as file:
            saved = json.load(file)
    columns = COLUMNS if saved else ()
    print(f"| attack | {' | '.join(('what it is', *columns))} |\n|{' --- |' * (2 + len(columns))}")
    for name, function in ATTACKS.items():
        cells = [" ".join(function.__doc__.split())]
        if saved:
            figures = saved["attacks"].get(name)
            cells += [str(one) for one in figures.values()] if figures else [""] * len(COLUMNS)
        print(f"| `{name}` | {' | '.join(cells)} |")
    if saved:
        print(f"\nEach for {saved['seconds']:g} s, on a machine of {saved['machine']} that the attackers share "
              f"with the server, version {saved['version']}.")


def save(path, results, seconds):
    """Adds to what was saved before, if that was measured in the same way."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    version = subprocess.run([binary(), "--version"], check=True, capture_output=True, text=True).stdout
    saved = {"machine": f"{os.cpu_count()} cores and {gib:.0f} GiB", "seconds": seconds,
             "version": version.split()[-1], "attacks": {}}
    if os.path.exists(path):
        with open(path) as file:
            before = json.load(file)
        if {**before, "attacks": {}} == saved:
            saved = before
    saved["attacks"].update({one.name: one.figures() for one in results})
    with open(path, "w") as file:
        json.dump(saved, file, indent=1)
        file.write("\n")


def _configuration(function, folder):
    config = {"memory": {"bytes_max": MEMORY_LIMIT}}
    if function.passwords:
        path = os.path.join(folder, "passwords")
        subprocess.run([binary(), "passwd", "-b", path, "ann", "secret"], check=True)
        config["access"] = {"password_file": path, "allow_anonymous": True}
    for key, value in function.config.items():
        config[key] = {**config.get(key, {}), **value}
    return config


def run(function, seconds, settle_s, check):
    result = Result(function.__name__)
    with tempfile.TemporaryDirectory(prefix="millrace-attack-") as folder, \
            Server(_configuration(function, folder)) as server:
        ours, theirs = multiprocessing.Pipe()
        healthy = multiprocessing.Process(target=healthy_client, args=(server.mqtt_port, theirs))
        healthy.start()
        time.sleep(0.5)
        attackers = _start(function, server, seconds)
        _end(attackers)
        result.peak = _status_bytes(server.pid, "VmHWM")
        ours.send("stop")
        result.p99, result.worst, lost = ours.recv()
        healthy.join()
        if lost:
            result.faults.append("the healthy client lost its connection")
        _settle(server, settle_s, function, check)
        result.after = _status_bytes(server.pid, "VmRSS")
        result.charged = int(_metric(server, "millrace_memory_bytes"))
        result.connections = _connections(server)
        result.sessions = int(_metric(server, "millrace_sessions"))
        if result.peak > MEMORY_LIMIT + PROCESS:
            result.faults.append(f"{result.peak // MIB} MiB were used")
        if result.connections:
            result.faults.append(f"{result.connections} connections are left")
        if result.sessions and not function.leaves_sessions:
            result.faults.append(f"{result.sessions} sessions are left")
        # Once more, and in the middle of it the server is to end.
        attackers = _start(function, server, min(seconds, 3))
        time.sleep(min(seconds, 3) / 2)
        before = time.monotonic()
        status = server.terminate()
        result.end_s = time.monotonic() - before
        _end(attackers)
        if status != 0:
            result.faults.append(f"the server ended with {status}")
        if not any("stopped" in line and "clean=true" in line for line in server.lines):
            result.faults.append("the server did not end by itself in time")
    return result


def _settle(server, settle_s, function, check):
    """The time that the server has to forget the attackers; for a check, until it has."""
    end = time.monotonic() + (60 if check else settle_s)
    while time.monotonic() < end:
        time.sleep(0.25)
        if not check:
            continue
        if _connections(server) == 0 and (function.leaves_sessions or
                                          _metric(server, "millrace_sessions") == 0):
            return


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--table", metavar="FILE", help="print the table of docs/security.md")
    parser.add_argument("--save", metavar="FILE", help="keep the figures for the table")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--settle", type=float, default=10, metavar="SECONDS")
    given = parser.parse_args()
    unknown = [name for name in given.attacks if name not in ATTACKS]
    if unknown:
        parser.error(f"no such attack: {', '.join(unknown)} (see --list)")
    if given.list:
        for name, function in ATTACKS.items():
            print(f"{name:24} {' '.join(function.__doc__.split())}")
        return 0
    if given.table:
        table(given.table)
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    multiprocessing.set_start_method("fork")
    print(HEAD, flush=True)
    faults, results = [], []
    for name in given.attacks or ATTACKS:
        result = run(ATTACKS[name], given.seconds, given.settle, given.check)
        print(result.row(), flush=True)
        results.append(result)
        if given.save:
            save(given.save, results, given.seconds)
        faults += [f"{name}: {fault}" for fault in result.faults]
    for fault in faults:
        print(f"fault: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
