"""What was published and what was delivered, and what is wrong with that.

    history = History()
    payload = history.publish("one", "a/topic", qos=1)    before PUBLISH is sent
    history.sent_again(payload)                           before the same is published once more
    history.acknowledged(payload)                         when its acknowledgement has come
    history.delivered("reader", "a/topic", payload)       by each PUBLISH that a reader gets
    history.faults()                                      when all has come to rest

What must hold for each reader, which reads everything from the first publish on:
- what was acknowledged arrived, unless the reader is one that may miss messages;
- what was published at QoS 2 arrived at most once;
- at a reader beside the publisher, at the same server, nothing arrived more often than it was published there:
  nothing came back;
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
        self._again = collections.Counter()
        self._acknowledged = set()
        self._acknowledged_of = collections.Counter()
        self._numbers = collections.Counter()
        self._newest = collections.Counter()  # by reader and publisher
        self._got = {}
        self._ended = set()
        self._places = {}

    def place(self, name, server):
        """The publisher or reader of this name is a client of this server."""
        with self._lock:
            self._places[name] = server

    def reader(self, name, *, may_miss=False):
        with self._lock:
            self._got[name] = []
            if may_miss:
                self._ended.add(name)

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

    def sent_again(self, payload):
        with self._lock:
            self._again[payload] += 1

    def acknowledged(self, payload):
        with self._lock:
            self._acknowledged.add(payload)
            self._acknowledged_of[self._sent[payload].publisher] += 1

    def delivered(self, reader, topic, payload):
        with self._lock:
            self._got[reader].append((topic, bytes(payload)))
            if sent := self._sent.get(payload):
                key = (reader, sent.publisher)
                self._newest[key] = max(self._newest[key], sent.number)

    def count_of_acknowledged(self, publisher):
        with self._lock:
            return self._acknowledged_of[publisher]

    def count_of_published(self, publisher):
        with self._lock:
            return self._numbers[publisher]

    def newest_at(self, reader, publisher):
        """The number of the newest message of this publisher that has arrived there; 0: none has."""
        with self._lock:
            return self._newest[reader, publisher]

    def missing(self, *, of=None):
        """(reader, payload) of what was acknowledged at QoS 1 or 2, by the publishers in `of` or all,
        and has not arrived."""
        with self._lock:
            wanted = {payload for payload in self._acknowledged if self._sent[payload].qos > 0
                      and (of is None or self._sent[payload].publisher in of)}
            return [(reader, payload) for reader, got in self._got.items() if reader not in self._ended
                    for payload in sorted(wanted - {payload for _, payload in got})]

    def faults(self, *, of=None, strays=False):
        """One text for each thing that is wrong. `of`: of these publishers nothing may be lost; None: of
        none at all. `strays`: a broker kept back what it had been given, and passed it on when its publisher
        had left it for another one: so a message may have come back once, and one at QoS 0 late."""
        found = [f"{reader} never got {payload.decode()}, which was acknowledged"
                 for reader, payload in self.missing(of=of)]
        with self._lock:
            for reader, got in self._got.items():
                found += self._faults_of(reader, got, strays)
        return found

    def _faults_of(self, reader, got, strays):
        copies, newest = collections.Counter(), {}
        for topic, payload in got:
            sent = self._sent.get(payload)
            if sent is None or sent.topic != topic:
                yield f"{reader} got {payload.decode(errors='replace')} on {topic}, which nobody sent"
                continue
            copies[payload] += 1
            if self._is_beside(reader, sent) and copies[payload] == 2 + strays + self._again[payload]:
                yield f"{reader} got {payload.decode()} back, which was published beside it"
            if copies[payload] > 1:
                if sent.qos == 2 and copies[payload] == 2:
                    yield f"{reader} got {payload.decode()} twice, at QoS 2"
                continue
            key = (sent.publisher, topic)
            if sent.number < newest.get(key, 0) and not (strays and sent.qos == 0):
                yield (f"{reader} got {payload.decode()} after {sent.publisher}:{newest[key]} on "
                       f"{topic}")
            newest[key] = max(sent.number, newest.get(key, 0))

    def _is_beside(self, reader, sent):
        place = self._places.get(reader)
        return place is not None and place == self._places.get(sent.publisher)
