"""The durable store with the real server: what was acknowledged is there after kill -9."""

import collections
import os
import random
import shutil
import subprocess
import tempfile
import threading
import unittest
import urllib.error

import wire
from peer import Peer
from server import Server, binary
from suite import eventually, main

LONG = [(wire.SESSION_EXPIRY, 3600)]
# The suite runs few. A long run is many of these, each with a seed of its own, so it can be
# interrupted and resumed: for seed in $(seq 1 250); do MILLRACE_SEED=$seed MILLRACE_KILL_CYCLES=60
# python3 tests/e2e/test_store.py KillCycles || break; done
CYCLES = int(os.environ.get("MILLRACE_KILL_CYCLES", "24"))
SEED = int(os.environ.get("MILLRACE_SEED", "1"))
# In which the server may mount what nobody else sees.
NAMESPACE = ["unshare", "--map-root-user", "--mount"]


class StoreCase(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="millrace-store-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "store")

    def start(self, inside=(), **settings):
        server = Server({"store": {"path": self.path, **settings}}, inside=inside)
        self.addCleanup(server.stop)
        return server

    def peer(self, server, name, clean=False, version=5, **options):
        peer = Peer(server.mqtt_port, version)
        self.addCleanup(peer.close)
        if version == 5:
            options.setdefault("properties", LONG)
        peer.connack = peer.connect(name, clean=clean, **options)
        return peer


class Store(StoreCase):
    def fill(self, server):
        self.peer(server, "reader").subscribe("a/#", qos=2)
        self.peer(server, "old reader", version=4).subscribe("a/#", qos=1)
        writer = self.peer(server, "writer")
        for name in ("reader", "old reader"):
            version = 4 if name == "old reader" else 5
            again = self.peer(server, name, version=version)  # takes the other over
            again.disconnect()
        for number in range(10):
            writer.publish(f"a/{number % 3}", str(number), qos=1 + number % 2,
                           retain=number == 9)

    def take(self, peer, count):
        """The payloads and QoS of the next messages, which are acknowledged."""
        got, released = [], 0
        while len(got) < count or released < sum(qos == 2 for _, qos in got):
            packet = peer.next()
            if packet.kind == wire.PUBREL:
                released += 1
                peer.send(wire.ack(wire.PUBCOMP, packet.pid))
                continue
            self.assertEqual(packet.kind, wire.PUBLISH)
            self.assertFalse(packet.dup)
            got.append((packet.payload.decode(), packet.qos))
            peer.send(wire.ack(wire.PUBACK if packet.qos == 1 else wire.PUBREC, packet.pid))
        return got

    def check(self, server):
        reader = self.peer(server, "reader")
        self.assertTrue(reader.connack.session_present)
        self.assertEqual(self.take(reader, 10), [(str(n), 1 + n % 2) for n in range(10)])
        old = self.peer(server, "old reader", version=4)
        self.assertTrue(old.connack.session_present)
        self.assertEqual(self.take(old, 10), [(str(n), 1) for n in range(10)])
        fresh = self.peer(server, "fresh", clean=True)
        fresh.subscribe("#")
        fresh.receive(payload="9", retain=True)

    def test_sessions_messages_and_retained_values_outlive_a_kill(self):
        server = self.start()
        self.fill(server)
        server.stop()
        self.check(self.start())

    def test_the_same_at_a_clean_end_where_the_store_is_flushed_by_interval(self):
        server = self.start(durability="interval", interval_ms=3_600_000)
        self.fill(server)
        # Every acknowledgement has come, and none of them waited for a flush.
        self.assertEqual(server.metrics()["millrace_store_flushes_total"], 0)
        self.assertEqual(server.terminate(), 0)
        self.check(self.start())

    def test_the_interval_is_that_of_the_configuration(self):
        server = self.start(durability="interval", interval_ms=1)
        self.fill(server)
        eventually(lambda: server.metrics()["millrace_store_flushes_total"] > 0, "a flush")

    def test_nothing_overtakes_a_connack_that_waits_for_the_disk(self):
        server = self.start()
        for number in range(20):
            peer = Peer(server.mqtt_port)
            self.addCleanup(peer.close)
            peer.send(wire.connect(f"c{number}", clean=False, properties=LONG),
                      wire.subscribe(1, [("a", 1)]), wire.pingreq(),
                      wire.publish("a", b"x", 1, 2, version=5))
            self.assertEqual(peer.next().kind, wire.CONNACK)
            kinds = {peer.next().kind for _ in range(4)}
            self.assertEqual(kinds, {wire.SUBACK, wire.PINGRESP, wire.PUBACK, wire.PUBLISH})

    def test_without_a_store_nothing_outlives_the_process(self):
        server = Server({})
        self.addCleanup(server.stop)
        self.fill(server)
        self.assertEqual(server.terminate(), 0)
        self.assertFalse(os.path.exists(self.path))

    def test_a_second_server_on_the_same_store_is_refused(self):
        server = self.start()
        server.mqtt_port
        second = subprocess.run([binary(), "serve", "--mqtt-port", "0", "--ws-port", "0",
                                 "--http-port", "0", "--set", f"store.path={self.path}"],
                                capture_output=True, text=True, timeout=60)
        self.assertEqual(second.returncode, 1)
        self.assertIn("another process uses this store", second.stderr + second.stdout)

    def test_the_end_of_a_write_that_was_interrupted_is_cut_with_one_line(self):
        server = self.start()
        self.fill(server)
        server.stop()
        last = max(name for name in os.listdir(self.path) if name.startswith("log-"))
        with open(os.path.join(self.path, last), "ab") as log:
            log.write(b"MRb1 and no more")
        server = self.start()
        self.check(server)
        self.assertEqual(sum("store.torn" in line for line in server.lines), 1)
        self.assertEqual(server.metrics()["millrace_store_damaged_places"], 0)

    def test_damage_is_set_aside_and_everything_else_is_served(self):
        server = self.start()
        self.fill(server)
        server.stop()
        first = min(name for name in os.listdir(self.path) if name.startswith("log-"))
        with open(os.path.join(self.path, first), "r+b") as log:
            content = bytearray(log.read())
            content[content.index(b"a/2") + 3] ^= 1  # the payload of the first message there
            log.seek(0)
            log.write(content)
        check = self.store("check")
        self.assertEqual(check.returncode, 1)
        self.assertIn("damaged places: 1", check.stdout)
        server = self.start()
        server.wait_for_log("store.damaged")
        self.assertEqual(server.metrics()["millrace_store_damaged_places"], 1)
        self.assertEqual(server.metrics()["millrace_store_missing_batches"], 1)
        self.assertTrue(any(name.startswith("damaged-") for name in os.listdir(self.path)))
        reader = self.peer(server, "reader")
        self.assertEqual(self.take(reader, 9), [(str(n), 1 + n % 2) for n in range(10) if n != 2])

    def store(self, what):
        return subprocess.run([binary(), "store", what, self.path], capture_output=True,
                              text=True, timeout=60)

    def test_the_command_line_says_what_a_store_holds(self):
        server = self.start()
        self.fill(server)
        self.assertIn("another process", self.store("info").stderr)
        server.stop()
        info = self.store("info")
        self.assertEqual(info.returncode, 0, info.stderr)
        for line in ("sessions: 3", "subscriptions: 2", "retained messages: 1",
                     "queued and inflight messages: 20", "no damage"):
            self.assertIn(line, info.stdout)
        self.assertEqual(self.store("check").returncode, 0)

    def test_a_full_disk_stops_acknowledgements_and_nothing_else(self):
        if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode != 0:
            self.skipTest("no mount namespace can be made here, for a small disk")
        # A disk of its own, which only the server sees; `ballast` takes most of it.
        disk = os.path.join(self.folder, "disk")
        os.mkdir(disk)
        mount = ('mount -t tmpfs -o size=3m tmpfs "$0" && '
                 'head -c 2500000 /dev/zero >"$0/ballast" && exec "$@"')
        self.path = os.path.join(disk, "store")
        server = self.start(inside=[*NAMESPACE, "sh", "-c", mount, disk])
        plain = self.peer(server, "plain", clean=True, properties=())
        plain.subscribe("a/#")
        self.peer(server, "reader").subscribe("a/#", qos=1)
        writer = self.peer(server, "writer", clean=True, properties=())
        writer.publish("a/1", "1", qos=1)
        plain.receive(payload="1")
        # 32 KiB each: more than there is room for.
        large = ["x" * 32_000 + str(number) for number in range(40)]
        for number, payload in enumerate(large):
            writer.send(wire.publish(f"a/{number}", payload, 1, 100 + number, version=5))
        server.wait_for_log("store.failing")
        for payload in large:
            plain.receive(payload=payload)
        self.peer(server, "other", clean=True, properties=()).publish("a/1", "at QoS 0")
        plain.receive(payload="at QoS 0")
        self.assertEqual(server.metrics()["millrace_store_good"], 0)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            server.http("/readyz")
        self.assertEqual(refused.exception.code, 503)
        os.remove(f"/proc/{server.pid}/root{disk}/ballast")
        for number in range(len(large)):
            writer.expect(wire.PUBACK, pid=100 + number)
        server.wait_for_log("store.works_again")
        self.assertEqual(server.metrics()["millrace_store_good"], 1)
        server.http("/readyz")


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


class KillCycles(StoreCase):
    def test_nothing_acknowledged_is_lost_through_kills_under_load(self):
        random_ = random.Random(SEED)
        publishers = [Publisher(f"p{number}") for number in range(3)]
        subscriber = Subscriber()
        server = self.start()
        self.peer(server, "subscriber").subscribe("load/#", qos=2)
        for cycle in range(CYCLES):
            enough = Enough(random_.randrange(20, 400))
            port = server.mqtt_port
            subscriber.begin(port)
            for publisher in publishers:
                publisher.begin(port, enough)
            self.assertTrue(enough.wait(), f"cycle {cycle}: the load stands still")
            server.stop()  # SIGKILL
            for thread in (subscriber, *publishers):
                thread.join()
            for one in (subscriber, *publishers):
                self.assertIsNone(one.error, f"cycle {cycle}")
            server = self.start()
        acknowledged = set().union(*(publisher.acknowledged for publisher in publishers))
        subscriber.begin(server.mqtt_port, lambda one: acknowledged <= set(one.seen))
        subscriber.join(60)
        missing = sorted(acknowledged - set(subscriber.seen))
        self.assertEqual(missing, [], f"of {len(acknowledged)} acknowledged")
        doubled = [payload for payload, times in subscriber.seen.items()
                   if times > 1 and int(payload.split("-")[1]) % 2 == 1]  # QoS 2
        self.assertEqual(doubled, [])
        for publisher in publishers:
            reader = self.peer(server, f"reader of {publisher.client_id}", clean=True)
            reader.subscribe(f"load/{publisher.client_id}/2")
            got = reader.receive(retain=True)
            self.assertGreaterEqual(int(got.payload.decode().split("-")[1]), publisher.retained)
        print(f"{CYCLES} kills, {len(acknowledged)} messages acknowledged, none lost")


if __name__ == "__main__":
    main()
