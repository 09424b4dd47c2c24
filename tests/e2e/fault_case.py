"""What the tests of upstreams in a network with faults share: clients that write and read at each edge
all the time, each on a thread of its own, and the history of it (tests/peer/history.py)."""

import itertools
import socket
import threading
import time

import wire
from history import History
from peer import Peer
from suite import EVENT_TIMEOUT_S, eventually

PAUSE_S = 0.05  # between two rounds of a writer: the volume is not what is tried
_unique = itertools.count(1)


class Client:
    """A thread that speaks MQTT. `dial` makes its connection; one that `comes_back` makes another when it
    has ended. What it runs into is kept for the test."""

    def __init__(self, node, dial, history, comes_back=False):
        self.name = f"{node}{next(_unique)}"
        self.dial, self.history, self.comes_back = dial, history, comes_back
        self.is_over = False
        self.fault = None
        self.peer = None
        self.lock = threading.Lock()
        history.place(self.name, node)
        self.connect()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def connect(self):
        peer = Peer(0, sock=self.dial())
        try:
            peer.connect(self.name)
            self.greet(peer)
            peer.sock.settimeout(None)
        except BaseException:
            peer.close()
            raise
        with self.lock:
            before, self.peer = self.peer, peer
            if self.is_over:
                peer.sock.shutdown(socket.SHUT_RDWR)
        if before:
            before.close()

    def greet(self, peer):
        """The first that it says on a new connection."""

    def is_back(self):
        """Connects again after the connection has ended; False: it is not to."""
        while self.comes_back and not self.is_over:
            try:
                self.connect()
                return True
            except (OSError, AssertionError):  # the server is not there yet, or has gone again
                time.sleep(0.02)
        return False

    def run(self):
        try:
            self.work()
        except Exception as error:
            self.fault = error

    def finish(self):
        """It does what it does now, and no more."""
        self.is_over = True
        self.thread.join(EVENT_TIMEOUT_S)
        if self.thread.is_alive():
            raise AssertionError(f"{self.name} never has an answer")

    def end(self):
        """Its connection ends; what it ran into is nobody's fault."""
        with self.lock:
            self.is_over = True
            try:
                self.peer.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if self.thread.ident:
            self.thread.join()
        self.peer.close()


class Reader(Client):
    def greet(self, peer):
        peer.subscribe(("d/#", 2))

    def work(self):
        while self.read() and self.is_back():
            pass

    def read(self):
        answers = {wire.PUBREL: wire.PUBCOMP}
        while (got := self.peer.next()) is not None:
            if got.kind != wire.PUBLISH:
                self.peer.send(wire.ack(answers[got.kind], got.pid))
                continue
            self.history.delivered(self.name, got.topic, got.payload)
            if got.qos > 0:
                self.peer.send(wire.ack(wire.PUBACK if got.qos == 1 else wire.PUBREC, got.pid))
        return not self.is_over


class Writer(Client):
    """Round after round it publishes `ahead` messages to each of its topics, and waits for the answers. What
    has none when the connection ends is published again on the next. `recorded_qos`: what the way to the
    readers makes of `qos`."""

    def __init__(self, node, dial, history, qos, topics=1, ahead=1, recorded_qos=None, **more):
        self.qos, self.topics, self.ahead = qos, topics, ahead
        self.recorded_qos = qos if recorded_qos is None else recorded_qos
        super().__init__(node, dial, history, **more)

    def work(self):
        messages = []
        while not self.is_over:
            messages = self.publish(messages or self.new_round())
            if messages:
                if not self.is_back():
                    return
                for _, payload in messages:
                    self.history.sent_again(payload)
            else:
                time.sleep(PAUSE_S)

    def new_round(self):
        return [self.new(i) for i in range(self.topics) for _ in range(self.ahead)]

    def new(self, i):
        topic = f"d/{self.name}/{self.qos}/{i}"
        return topic, self.history.publish(self.name, topic, self.recorded_qos)

    def publish(self, messages):
        """Returns what has no answer, because the connection ended before."""
        waiting = {}
        for message in messages:
            pid = self.peer.pid() if self.qos else -len(waiting)
            waiting[pid] = message
            self.peer.send(wire.publish(*message, self.qos, pid if self.qos else None))
        if self.qos == 0:
            self.peer.send(wire.pingreq())
        unanswered = dict(waiting)
        while waiting:
            got = self.peer.next()
            if got is None:
                return list(unanswered.values())
            if got.kind == wire.PINGRESP:
                waiting.clear()
                for _, payload in unanswered.values():
                    self.history.acknowledged(payload)
                continue
            if got.kind != wire.PUBCOMP:
                _, payload = unanswered.pop(got.pid)
                if got.code < 0x80:
                    self.history.acknowledged(payload)
            if got.kind == wire.PUBREC and got.code < 0x80:
                self.peer.send(wire.ack(wire.PUBREL, got.pid))
            else:
                del waiting[got.pid]
        return []


class Faults:
    """Mixed into a test case, which has `net` (tests/peer/network.py) and `edges`, servers by the node that
    they run on."""

    def start_history(self):
        self.history = History()
        self.readers, self.writers = {}, []

    def dial(self, node):
        return lambda: self.net.connect(node, self.edges[node].mqtt_port)

    def read_at(self, node, *, may_miss=False, **more):
        client = Reader(node, self.dial(node), self.history, **more)
        self.history.reader(client.name, may_miss=may_miss)
        self.readers[node] = client
        self.start(client)

    def write_at(self, node, qos, **more):
        client = Writer(node, self.dial(node), self.history, qos, **more)
        self.writers.append(client)
        self.start(client)

    def start(self, client):
        self.addCleanup(client.end)
        client.thread.start()

    # ---- what is waited for

    def wait_for_all(self):
        """Each reader gets something of each writer that is not yet published now."""
        marks = {writer.name: self.history.count_of_published(writer.name) for writer in self.writers}
        for writer, mark in marks.items():
            for reader in self.readers.values():
                eventually(lambda: self.history.newest_at(reader.name, writer) > mark,
                           f"{reader.name} gets what {writer} writes now")

    def wait_for_writers(self, node, count=10):
        marks = {writer.name: self.history.count_of_acknowledged(writer.name)
                 for writer in self.writers if writer.name.startswith(node)}
        for writer, mark in marks.items():
            eventually(lambda: self.history.count_of_acknowledged(writer) >= mark + count,
                       f"{writer} writes on")

    def lines(self):
        return {node: len(edge.lines) for node, edge in self.edges.items()}

    def end_writers(self):
        for writer in self.writers:
            writer.finish()
            self.assertIsNone(writer.fault, writer.name)

    def come_to_rest(self, **options):
        """Ends the writers, waits until all that must not be lost has arrived, and reads the history."""
        self.end_writers()
        eventually(lambda: not self.history.missing(of=options.get("of")), "what was acknowledged arrives")
        self.assertEqual(self.history.faults(**options), [])
        for reader in self.readers.values():
            self.assertIsNone(reader.fault, reader.name)
