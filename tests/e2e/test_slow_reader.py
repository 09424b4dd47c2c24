"""A subscriber that stops reading: the server's memory does not grow, other subscribers are not slowed,
and when it reads again, it gets the newest value of every topic after few bytes.

100 topics get 20,000 messages of 256 bytes a second for 5 seconds, or as fast as another subscriber
reads them. The reader's receive buffer is 64 KiB, set before it connects. Bytes and values are
asserted, never times.
"""

import struct
import threading
import time

import wire
from case import EVENT_TIMEOUT_S, Case, main
from peer import Peer
from websocket import WebSocket

TOPICS, RATE_HZ, SECONDS, PAYLOAD_BYTES = 100, 20_000, 5, 256
AHEAD = 300  # messages that the healthy reader may be behind: far fewer than are conflated
RECEIVE_BUFFER_BYTES = 64 << 10
MEMORY_GROWTH_BYTES_MAX = 4 << 20


def payload(number):
    return struct.pack(">Q", number) + bytes(PAYLOAD_BYTES - 8)


class Drain(threading.Thread):
    """A reader that keeps up: counts its messages and remembers each topic's last value. All frames
    have the same length, so it parses them in bulk: if it were slow, it would be conflated."""

    def __init__(self, peer, topic, count):
        super().__init__(daemon=True)
        length = len(topic(0))
        self.frame = struct.Struct(f">3xH{length}sQ{PAYLOAD_BYTES - 8}x")
        self.peer, self.count, self.last, self.seen, self.fault = peer, count, {}, 0, None
        self.changed = threading.Condition()

    def wait_for(self, count):
        with self.changed:
            self.changed.wait_for(lambda: self.seen >= count or self.fault, EVENT_TIMEOUT_S)
        if self.fault or self.seen < count:
            raise AssertionError(f"a healthy reader has {self.seen} messages, not {count}: {self.fault}")

    def run(self):
        held = b""
        try:
            while self.seen < self.count:
                data = self.peer.sock.recv(1 << 20)
                if not data:
                    raise AssertionError("the server closed")
                held += data
                whole = len(held) // self.frame.size * self.frame.size
                seen = self.seen
                for _, topic, number in self.frame.iter_unpack(held[:whole]):
                    if number <= self.last.get(topic, -1):
                        raise AssertionError(f"{topic}: {number} behind {self.last[topic]}")
                    self.last[topic] = number
                    seen += 1
                held = held[whole:]
                with self.changed:
                    self.seen = seen
                    self.changed.notify()
        except (AssertionError, OSError) as fault:
            with self.changed:
                self.fault = fault
                self.changed.notify()


class SlowReader(Case):
    LATEST_BYTES_MAX = 300_000

    def numbered(self, number):
        return self.topic(f"{number % TOPICS:02}")

    def publish(self, sender, first, count, healthy):
        """`count` messages over all topics in turn, at RATE_HZ, or as fast as the healthy reader reads: where it has
        no turn for a while, the server could not but leave messages out for it."""
        start, per_write = time.monotonic(), 100
        for offset in range(0, count, per_write):
            healthy.wait_for(first + offset - AHEAD)
            sender.send(*[wire.publish(self.numbered(n), payload(n), version=4)
                          for n in range(first + offset, first + offset + per_write)])
            ahead = start + (offset + per_write) / RATE_HZ - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
        sender.send(wire.pingreq())
        sender.expect(wire.PINGRESP)

    def bytes_until_newest(self, filter_, bytes_max, stalled=None):
        """Stops a reader of `filter_` for a while, then lets it read on."""
        total, warm_up = RATE_HZ * SECONDS, RATE_HZ // 10
        reader = self.peer(version=4)
        reader.subscribe(self.topic("#"))
        healthy = Drain(reader, self.numbered, warm_up + total)
        stalled = stalled or self.peer(version=4, receive_buffer=RECEIVE_BUFFER_BYTES)
        stalled.subscribe(filter_)
        healthy.start()
        sender = self.peer(version=4)
        self.publish(sender, 0, warm_up, healthy)
        baseline = self.server.resident_bytes()

        self.publish(sender, warm_up, total, healthy)
        healthy.join(120)
        growth = self.server.resident_bytes() - baseline
        self.assertIsNone(healthy.fault)
        self.assertEqual(healthy.seen, warm_up + total, "a healthy reader missed messages")

        newest = {self.numbered(n): n
                  for n in range(warm_up + total - TOPICS, warm_up + total)}
        self.assertEqual({topic.decode(): n for topic, n in healthy.last.items()}, newest)
        before, seen = stalled.bytes_read, {}
        taken = 0
        while seen != newest:
            got = stalled.expect(wire.PUBLISH)
            taken += got.size
            number = struct.unpack_from(">Q", got.payload)[0]
            self.assertGreater(number, seen.get(got.topic, -1), "an older value behind a newer one")
            seen[got.topic] = number
        print(f"{filter_}: {taken} bytes until the newest of {TOPICS} topics, memory grew by {growth}"
              f" bytes (read in all: {stalled.bytes_read - before})")
        self.assertLessEqual(taken, bytes_max)
        self.assertLessEqual(growth, MEMORY_GROWTH_BYTES_MAX)

    def test_adaptive_takes_600_kb_to_the_newest_values(self):
        self.bytes_until_newest(self.topic("#"), 600_000)

    def test_latest_takes_few_bytes_to_the_newest_values(self):
        self.bytes_until_newest("$latest/" + self.topic("#"), self.LATEST_BYTES_MAX)


class LateBinding(SlowReader):
    """What is not read is not sent, although the reader's buffers hold far more."""

    CONFIG = {"outbox": {"unread_bytes": 8192}}
    # How much it is depends on how busy the machine is: 60 to 120 KB have been seen.
    LATEST_BYTES_MAX = 200_000

    def test_latest_over_websocket_takes_few_bytes_to_the_newest_values(self):
        websocket = WebSocket(self.server.ws_port)
        self.addCleanup(websocket.close)
        stalled = Peer(None, version=4, sock=websocket)
        stalled.connect(f"{self.unique}ws")
        self.bytes_until_newest("$latest/" + self.topic("#"), self.LATEST_BYTES_MAX, stalled)
        metrics = self.server.metrics()
        self.assertGreater(metrics["millrace_age_seconds_count"], 0)
        self.assertEqual(metrics["millrace_late_binding_unknown_total"], 0)


if __name__ == "__main__":
    main()
