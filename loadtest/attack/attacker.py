"""What an attack is made of: a client that may be closed at any time, and the list of attacks."""

import itertools
import select
import socket
import struct
import time

import wire

KIB, MIB = 1 << 10, 1 << 20
FOR_EVER = 0xFFFFFFFF

ATTACKS = {}  # by name, in the order of the table


def attack(processes=1, leaves_sessions=False, config=None, passwords=False):
    """Registers a function as an attack. `leaves_sessions`: it asks for sessions that outlive it."""
    def register(function):
        function.processes, function.leaves_sessions = processes, leaves_sessions
        function.config, function.passwords = config or {}, passwords
        ATTACKS[function.__name__] = function
        return function
    return register


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

    def fill(self, count, connect, packet):
        """Keeps up to `count` connections on which this was sent and nothing follows."""
        socks = []
        while self.going():
            sock = connect() if len(socks) < count else None
            if sock is None:
                self.rest(0.05)
            else:
                self.send(sock, packet)
                socks.append(sock)

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

    def subscribe_and_wait(self, sock, topic_filter, qos=0):
        """Returns when the SUBACK is there."""
        if self.send(sock, wire.subscribe(1, [(topic_filter, qos)])):
            try:
                sock.recv(KIB)
            except OSError:
                pass

    def away(self, topic_filter, qos=0, client_id=None):
        """A session with this subscription, without its connection."""
        sock = self.dial(client_id, lasting=True)
        if self.send(sock, wire.subscribe(1, [(topic_filter, qos)])):
            self.drain([sock])
        if sock is not None:
            sock.close()

    def leave(self, sock):
        """As a client whose machine ends: a reset."""
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
            sock.close()
