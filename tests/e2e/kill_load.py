"""The load for the tests that kill the server: clients that know what was acknowledged to them."""

import collections
import random
import threading

import wire
from peer import Peer

LONG = [(wire.SESSION_EXPIRY, 3600)]


class Publisher(threading.Thread):
    """Publishes at QoS 1 and 2, a few at once, until its server is gone; knows what was acknowledged,
    and sends again what was not."""

    WINDOW = 12
    peer = None

    def __init__(self, name):
        self.client_id = name
        self.count = 0
        self.unsettled = {}  # by packet identifier: topic, payload, qos, released
        self.acknowledged = set()
        self.retained = 0  # the last one that was acknowledged
        self.has_session = False  # CONNACK has said so
        self.error = None

    def begin(self, port, enough):
        super().__init__(daemon=True)
        self.port, self.enough = port, enough
        self.start()

    def run(self):
        try:
            self._run()
        except (ConnectionError, OSError, AssertionError):
            pass  # the server was killed
        finally:
            if self.peer:
                self.peer.close()

    def _run(self):
        peer = self.peer = Peer(self.port)
        connack = peer.connect(self.client_id, clean=False, properties=LONG)
        if self.has_session and not connack.session_present:
            self.error = f"the session of {self.client_id} is gone"
            return
        self.has_session = True
        for pid, one in sorted(self.unsettled.items(), key=lambda item: item[1]["number"]):
            if one["released"]:
                peer.send(wire.ack(wire.PUBREL, pid))
            else:
                self._send(peer, pid, one, dup=True)
        while True:
            while len(self.unsettled) < self.WINDOW:
                self._publish(peer)
            got = peer.next()
            if got is None:
                return
            one = self.unsettled.get(got.pid)
            if one is None:
                continue
            self.acknowledged.add(one["payload"])
            if one["retain"]:
                self.retained = max(self.retained, one["number"])
            if got.kind == wire.PUBREC:
                one["released"] = True
                peer.send(wire.ack(wire.PUBREL, got.pid))
            else:
                del self.unsettled[got.pid]
                self.enough.add()

    def _publish(self, peer):
        self.count += 1
        pid = next(p for p in range(1, 65536) if p not in self.unsettled)
        qos = 1 + self.count % 2
        one = {"number": self.count, "payload": f"{self.client_id}-{self.count}", "qos": qos,
               "retain": self.count % 10 == 1, "released": False}
        self.unsettled[pid] = one
        self._send(peer, pid, one)

    def _send(self, peer, pid, one, dup=False):
        topic = f"load/{self.client_id}/{one['qos']}"
        peer.send(wire.publish(topic, one["payload"], one["qos"], pid, dup=dup, retain=one["retain"],
                               version=5))


class Subscriber(threading.Thread):
    """Keeps what a client keeps: the QoS 2 identifiers that were not released yet."""

    peer = None

    def __init__(self):
        self.seen = collections.Counter()
        self.received = set()
        self.error = None

    def begin(self, port, done=None):
        super().__init__(daemon=True)
        self.port, self.done = port, done
        self.start()

    def run(self):
        try:
            self._run()
        except (ConnectionError, OSError):
            pass  # the server was killed
        except AssertionError as error:
            if "inside a packet" not in str(error):
                self.error = error
        finally:
            if self.peer:
                self.peer.close()

    def _run(self):
        peer = self.peer = Peer(self.port)
        peer.send(wire.connect("subscriber", clean=False, properties=LONG))
        connack = peer.next()
        if connack is None:
            return
        assert connack.kind == wire.CONNACK and connack.session_present, f"no session: {connack}"
        while not (self.done and self.done(self)):
            got = peer.next()
            if got is None:
                return
            if got.kind == wire.PUBREL:
                self.received.discard(got.pid)
                peer.send(wire.ack(wire.PUBCOMP, got.pid))
            elif got.kind == wire.PUBLISH and got.qos == 1:
                self.seen[got.payload.decode()] += 1
                peer.send(wire.ack(wire.PUBACK, got.pid))
            elif got.kind == wire.PUBLISH:
                if got.pid not in self.received:
                    self.received.add(got.pid)
                    self.seen[got.payload.decode()] += 1
                peer.send(wire.ack(wire.PUBREC, got.pid))


class Enough:
    """Counts events; one thread waits for so many."""

    def __init__(self, count):
        self._left = count
        self._changed = threading.Condition()

    def add(self):
        with self._changed:
            self._left -= 1
            self._changed.notify()

    def wait(self):
        with self._changed:
            return self._changed.wait_for(lambda: self._left <= 0, 60)


class Churner(threading.Thread):
    """Subscribes, unsubscribes, sets and clears retained messages, one at a time, until its server is
    gone. It knows what was acknowledged, and the one change that may have been made or not."""

    NAMES = 8
    peer = None

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.subscribed = set()
        self.retained = {}
        self.doubt = None  # what was sent and not acknowledged: kind, name, value
        self.count = 0
        self.is_known = False  # its session, and what it always has, were acknowledged
        self.error = None

    def begin(self, port, enough):
        super().__init__(daemon=True)
        self.port, self.enough = port, enough
        self.start()

    def run(self):
        try:
            self._run()
        except (ConnectionError, OSError):
            pass  # the server was killed
        except AssertionError as error:
            if "the end" not in str(error) and "inside a packet" not in str(error):
                self.error = error
        finally:
            if self.peer:
                self.peer.close()

    def _run(self):
        peer = self.peer = Peer(self.port)
        peer.connect("churner", clean=False, properties=LONG)
        if not self.is_known:
            peer.subscribe("churn/end", qos=1)
            peer.publish("churn/r/~", "end", qos=1, retain=True)  # the last one by name
            self.is_known = True
        while True:
            change = self._choose()
            self.doubt = change
            if not self._make(peer, *change):
                return
            self.apply(*change)
            self.doubt = None
            self.count += 1
            self.enough.add()

    def _choose(self):
        name = str(self.random.randrange(self.NAMES))
        if self.random.random() < 0.5:
            return ("unsubscribe" if name in self.subscribed else "subscribe", name, None)
        cleared = name in self.retained and self.random.random() < 0.4
        return ("retain", name, "" if cleared else str(self.random.random()))

    @staticmethod
    def _make(peer, kind, name, value):
        """False: the stream ended before the acknowledgement."""
        pid = 1 + peer.pid() % 60_000
        if kind == "subscribe":
            peer.send(wire.subscribe(pid, [(f"churn/s/{name}", 1)]))
        elif kind == "unsubscribe":
            peer.send(wire.unsubscribe(pid, [f"churn/s/{name}"]))
        else:
            peer.send(wire.publish(f"churn/r/{name}", value, 1, pid, retain=True, version=5))
        while (got := peer.next()) is not None:
            if got.kind == wire.PUBLISH:  # of a check whose acknowledgement was not kept
                peer.send(wire.ack(wire.PUBACK, got.pid))
            elif got.kind in (wire.SUBACK, wire.UNSUBACK, wire.PUBACK):
                assert got.pid == pid, got
                return True
        return False

    def apply(self, kind, name, value):
        if kind == "retain":
            self.retained[name] = value
            if value == "":
                del self.retained[name]
        else:
            (self.subscribed.add if kind == "subscribe" else self.subscribed.discard)(name)

    def check(self, port, when):
        """The server has exactly what was acknowledged, and perhaps the change that was not."""
        if not self.is_known:
            self.doubt = None  # nothing is known yet: it begins anew
            return
        peer, prober = Peer(port), Peer(port)
        try:
            connack = peer.connect("churner", clean=False, properties=LONG)
            assert connack.session_present, f"{when}: no session"
            prober.connect("prober")
            subscribed = self._see_subscriptions(peer, prober, when)
            retained = self._see_retained(prober)
        finally:
            peer.close()
            prober.close()
        acknowledged = [(set(self.subscribed), dict(self.retained))]
        if self.doubt:
            self.apply(*self.doubt)
            acknowledged.append((self.subscribed, self.retained))
        assert (subscribed, retained) in acknowledged, (
            f"{when}: has {subscribed}, {retained}; acknowledged: {acknowledged}")
        self.subscribed, self.retained, self.doubt = subscribed, retained, None

    def _see_subscriptions(self, peer, prober, when):
        for name in range(self.NAMES):
            prober.publish(f"churn/s/{name}", when, qos=1)
        prober.publish("churn/end", when, qos=1)
        seen = set()
        while True:
            got = peer.next()
            assert got is not None and got.kind == wire.PUBLISH, got
            peer.send(wire.ack(wire.PUBACK, got.pid))
            if got.payload.decode() != when:
                continue  # of an earlier check
            if got.topic == "churn/end":
                return seen
            seen.add(got.topic.rpartition("/")[2])

    @staticmethod
    def _see_retained(prober):
        prober.subscribe("churn/r/#", qos=0)
        seen = {}
        while True:
            got = prober.next()
            assert got is not None and got.kind == wire.PUBLISH and got.retain, got
            name = got.topic.rpartition("/")[2]
            if name == "~":
                return seen
            seen[name] = got.payload.decode()
