"""What was published and what was delivered, and what is wrong with that.

    history = History()
    payload = history.publish("one", "a/topic", qos=1)    before PUBLISH is sent
    history.acknowledged(payload)                         when its acknowledgement has come
    history.delivered("reader", "a/topic", payload)       by each PUBLISH that a reader gets
    history.faults()                                      when all has come to rest

What must hold for each reader, which reads everything from the first publish on:
- what was acknowledged arrived;
- what was published at QoS 2 arrived at most once;
- the first copies of a publisher's messages to one topic arrived in the order of their publishing;
- nothing arrived that was not published, or under another name.
"""

import collections
import threading

Sent = collections.namedtuple("Sent", "publisher number topic qos")


class History:
    def __init__(self):
        self._lock = threading.Lock()
        self._sent = {}
        self._acknowledged = set()
        self._numbers = collections.Counter()
        self._got = {}
        self._ended = set()

    def reader(self, name):
        with self._lock:
            self._got[name] = []

    def reader_ends(self, name):
        """It reads no more; what it has got so far is still looked at, and nothing is missing there."""
        with self._lock:
            self._ended.add(name)

    def publish(self, publisher, topic, qos):
        with self._lock:
            self._numbers[publisher] += 1
            payload = f"{publisher}:{self._numbers[publisher]}".encode()
            self._sent[payload] = Sent(publisher, self._numbers[publisher], topic, qos)
            return payload

    def acknowledged(self, payload):
        with self._lock:
            self._acknowledged.add(payload)

    def delivered(self, reader, topic, payload):
        with self._lock:
            self._got[reader].append((topic, bytes(payload)))

    def count_of_acknowledged(self, publisher):
        with self._lock:
            return sum(self._sent[payload].publisher == publisher for payload in self._acknowledged)

    def publishers_at(self, reader):
        """Those of whom it has got anything."""
        with self._lock:
            return {self._sent[payload].publisher for _, payload in self._got[reader]
                    if payload in self._sent}

    def missing(self, *, of=None):
        """(reader, payload) of what was acknowledged at QoS 1 or 2, by the publishers in `of` or all,
        and has not arrived."""
        with self._lock:
            wanted = {payload for payload in self._acknowledged if self._sent[payload].qos > 0
                      and (of is None or self._sent[payload].publisher in of)}
            return [(reader, payload) for reader, got in self._got.items() if reader not in self._ended
                    for payload in sorted(wanted - {payload for _, payload in got})]

    def faults(self, *, of=None):
        """One text for each thing that is wrong. `of`: of these publishers nothing may be lost; None: of
        none at all."""
        found = [f"{reader} never got {payload.decode()}, which was acknowledged"
                 for reader, payload in self.missing(of=of)]
        with self._lock:
            for reader, got in self._got.items():
                found += self._faults_of(reader, got)
        return found

    def _faults_of(self, reader, got):
        copies, newest = collections.Counter(), {}
        for topic, payload in got:
            sent = self._sent.get(payload)
            if sent is None or sent.topic != topic:
                yield f"{reader} got {payload.decode(errors='replace')} on {topic}, which nobody sent"
                continue
            copies[payload] += 1
            if copies[payload] > 1:
                if sent.qos == 2 and copies[payload] == 2:
                    yield f"{reader} got {payload.decode()} twice, at QoS 2"
                continue
            key = (sent.publisher, topic)
            if sent.number < newest.get(key, 0):
                yield (f"{reader} got {payload.decode()} after {sent.publisher}:{newest[key]} on "
                       f"{topic}")
            newest[key] = max(sent.number, newest.get(key, 0))
