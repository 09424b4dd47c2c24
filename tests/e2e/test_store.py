"""The durable store with the real server: what was acknowledged is there after kill -9."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

import wire
from case import basic, http_answer
from kill_load import LONG, Churner, Enough, Publisher, Subscriber
from peer import Peer
from server import Server, binary
from suite import eventually, main

# The suite runs few; kill_cycles.py runs many.
CYCLES = int(os.environ.get("MILLRACE_KILL_CYCLES", "24"))
SEED = int(os.environ.get("MILLRACE_SEED", "1"))
# In which the server may mount what nobody else sees.
NAMESPACE = ["unshare", "--map-root-user", "--mount"]


class StoreCase(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="millrace-store-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "store")

    def start(self, inside=(), others=None, **settings):
        server = Server({"store": {"path": self.path, **settings}, **(others or {})}, inside=inside)
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

    def test_the_same_where_only_a_clean_end_writes(self):
        server = self.start(durability="off")
        self.fill(server)
        self.assertEqual(server.metrics()["millrace_store_written_bytes_total"], 0)
        self.assertEqual(server.terminate(), 0)
        server = self.start(durability="off")
        server.stop()  # a kill leaves what the clean end has written
        self.check(self.start())

    def test_the_interval_is_that_of_the_configuration(self):
        server = self.start(durability="interval", interval_ms=1)
        self.fill(server)
        eventually(lambda: server.metrics()["millrace_store_flushes_total"] > 0, "a flush")

    def test_each_figure_of_the_store_counts(self):
        server = self.start()
        self.fill(server)
        got = server.metrics()
        for name in ("records_total", "written_bytes_total", "flushes_total", "flush_seconds_sum",
                     "log_bytes"):
            self.assertGreater(got[f"millrace_store_{name}"], 0, name)
        # Of each flush its time and its batches are recorded, before what it made durable is told.
        for name in ("flush_seconds_count", "flush_batches_count"):
            self.assertGreaterEqual(got[f"millrace_store_{name}"], 1, name)
        self.assertGreaterEqual(got["millrace_store_flush_batches_sum"],
                                got["millrace_store_flush_batches_count"])
        self.assertEqual(got["millrace_store_snapshot_bytes"], 0)
        eventually(lambda: server.metrics()["millrace_store_waiting_answers"] == 0, "all answers")
        server.stop()
        self.assertEqual(self.store("compact").returncode, 0)
        got = self.start().metrics()
        for name in ("snapshot_bytes", "recovery_seconds"):
            self.assertGreater(got[f"millrace_store_{name}"], 0, name)

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

    def store(self, what, *more, path=None, **options):
        return subprocess.run([binary(), "store", what, path or self.path, *more],
                              capture_output=True, text=True, timeout=60, **options)

    def test_the_command_line_says_what_a_store_holds(self):
        server = self.start()
        self.fill(server)
        self.assertIn("another process", self.store("info").stderr)
        server.stop()
        info = self.store("info")
        self.assertEqual(info.returncode, 0, info.stderr)
        for line in ("sessions: 3", "subscriptions: 2", "retained messages: 1",
                     "queued or inflight messages: 20", "no damage"):
            self.assertIn(line, info.stdout)
        self.assertEqual(self.store("check").returncode, 0)

    def test_an_export_makes_the_same_store_again(self):
        server = self.start()
        self.fill(server)
        server.stop()
        export = self.store("export")
        self.assertEqual(export.returncode, 0, export.stderr)
        self.assertIn('"kind":"retained message","topic":"a/0"', export.stdout)
        self.assertIn('"client_id":"old reader"', export.stdout)
        self.assertIn("has a store already", self.store("import", input=export.stdout).stderr)
        cut = "".join(export.stdout.splitlines(keepends=True)[:-1])
        for text, error in ((cut, "the end is missing"), ("{}", "no export"), ("", "no export")):
            refused = self.store("import", path=os.path.join(self.folder, "none"), input=text)
            self.assertEqual(refused.returncode, 1)
            self.assertIn(error, refused.stderr)
        self.path = os.path.join(self.folder, "again")
        self.assertEqual(self.store("import", input=export.stdout).returncode, 0)
        self.assertEqual(self.store("export").stdout, export.stdout)
        self.check(self.start())

    def test_a_compaction_gives_back_the_space_and_loses_nothing(self):
        server = self.start()
        writer = self.peer(server, "writer of one value")
        for number in range(200):
            writer.publish("r", f"{number} " + "x" * 1000, qos=1, retain=True)
        writer.publish("r", "", qos=1, retain=True)
        self.fill(server)
        server.stop()
        size = sum(entry.stat().st_size for entry in os.scandir(self.path))
        compact = self.store("compact")
        self.assertEqual(compact.returncode, 0, compact.stderr)
        self.assertLess(sum(entry.stat().st_size for entry in os.scandir(self.path)), size / 10)
        self.assertEqual(self.store("check").returncode, 0)
        self.check(self.start())

    def test_a_backup_of_a_running_server_has_what_was_acknowledged_before(self):
        server = self.start()
        self.fill(server)
        publisher = Publisher("load")  # goes on meanwhile
        publisher.begin(server.mqtt_port, Enough(50))
        self.assertTrue(publisher.enough.wait())
        copy = os.path.join(self.folder, "copy")
        made = self.store("backup", copy)
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        self.assertIn("no damage", made.stdout)
        self.assertIn("is not empty", self.store("backup", copy).stderr)
        server.stop()
        publisher.join()
        self.path = copy
        self.check(self.start())

    def start_on_a_small_disk(self, **settings):
        """A disk of its own, which only the server sees. The second one returned takes most of it:
        when that file goes, there is room."""
        if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode != 0:
            self.skipTest("no mount namespace can be made here, for a small disk")
        disk = os.path.join(self.folder, "disk")
        os.mkdir(disk)
        mount = ('mount -t tmpfs -o size=3m tmpfs "$0" && '
                 'head -c 2500000 /dev/zero >"$0/ballast" && exec "$@"')
        self.path = os.path.join(disk, "store")
        server = self.start(inside=[*NAMESPACE, "sh", "-c", mount, disk], **settings)
        server.mqtt_port  # it has started: the disk is there
        return server, f"/proc/{server.pid}/root{disk}/ballast"

    def test_publishers_are_refused_while_the_disk_is_full_if_that_is_wanted(self):
        server, ballast = self.start_on_a_small_disk(on_failure="refuse")
        self.peer(server, "reader").subscribe("a/#", qos=1)
        old = self.peer(server, "old", clean=True, version=4)
        writer = self.peer(server, "writer", clean=True, properties=())
        filler = self.peer(server, "filler", clean=True, properties=())
        for pid in range(1, 41):  # 32 KiB each: more than there is room for
            filler.send(wire.publish("a/1", "x" * 32_000, 1, pid, version=5))
        server.wait_for_log("store.failing")
        self.assertTrue(any("store.failing" in line and "refuse" in line for line in server.lines))
        for qos, kind in ((1, wire.PUBACK), (2, wire.PUBREC)):
            writer.send(wire.publish("a/1", "refused", qos, 100 + qos, version=5))
            writer.expect(kind, pid=100 + qos, code=0x97)
        old.send(wire.publish("a/1", "waits", 1, 1, version=4))
        self.assertGreaterEqual(server.metrics()["millrace_store_refused_publishes_total"], 2)
        os.remove(ballast)
        server.wait_for_log("store.works_again")
        old.expect(wire.PUBACK, pid=1)
        writer.send(wire.publish("a/1", "taken", 1, 103, version=5))
        writer.expect(wire.PUBACK, pid=103, code=0)

    def test_over_http_nothing_is_said_to_be_kept_while_the_disk_is_full(self):
        self.refused_over_http_while_the_disk_is_full("refuse")

    def test_over_http_nothing_is_said_to_be_kept_while_mqtt_clients_wait_for_the_disk(self):
        self.refused_over_http_while_the_disk_is_full("wait")

    def refused_over_http_while_the_disk_is_full(self, on_failure):
        passwords = os.path.join(self.folder, "passwords")
        subprocess.run([binary(), "passwd", "-b", "-I", "1", passwords, "user", "u"], check=True)
        access = {"password_file": passwords, "allow_anonymous": True}
        server, ballast = self.start_on_a_small_disk(others={"access": access}, on_failure=on_failure)

        def ask(method, topic, body=b"1"):
            request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/api/v1/topics/{topic}", body,
                                             {"Authorization": basic("user", "u")}, method=method)
            status, _, text = http_answer(request)
            return status, text.decode()

        self.assertEqual(ask("PUT", "a/1")[0], 204)
        reader = self.peer(server, "reader")
        reader.subscribe("a/#", qos=1)
        reader.receive(topic="a/1", payload="1", retain=True)
        filler = self.peer(server, "filler", clean=True, properties=())
        for pid in range(1, 41):  # 32 KiB each: more than there is room for
            filler.send(wire.publish(f"fill/{pid}", "x" * 32_000, 1, pid, retain=True, version=5))
        server.wait_for_log("store.failing")
        for method, topic, body in (("PUT", "a/2", b"2"), ("POST", "a/2?qos=1", b"2"), ("DELETE", "a/1", None)):
            status, text = ask(method, topic, body)
            self.assertEqual(status, 507, (method, text))
            self.assertIn("disk is full", text)
        self.assertEqual(ask("POST", "a/2", b"not stored")[0], 204)
        reader.receive(topic="a/2", payload="not stored")  # and nothing of what was refused
        self.assertGreaterEqual(server.metrics()["millrace_store_refused_publishes_total"], 3)
        os.remove(ballast)
        server.wait_for_log("store.works_again")
        self.assertEqual(ask("PUT", "a/2", b"2")[0], 204)

    def test_a_full_disk_stops_acknowledgements_and_nothing_else(self):
        server, ballast = self.start_on_a_small_disk()
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
        got = server.metrics()
        self.assertEqual(got["millrace_store_good"], 0)
        self.assertGreater(got["millrace_store_waiting_answers"], 0)
        self.assertGreater(got["millrace_store_write_errors_total"], 0)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            server.http("/readyz")
        self.assertEqual(refused.exception.code, 503)
        os.remove(ballast)
        for number in range(len(large)):
            writer.expect(wire.PUBACK, pid=100 + number)
        server.wait_for_log("store.works_again")
        self.assertEqual(server.metrics()["millrace_store_good"], 1)
        server.http("/readyz")


class KillCycles(StoreCase):
    def test_nothing_acknowledged_is_lost_through_kills_under_load(self):
        random_ = random.Random(SEED)
        publishers = [Publisher(f"p{number}") for number in range(3)]
        subscriber = Subscriber()
        churner = Churner(SEED)
        server = self.start()
        self.peer(server, "subscriber").subscribe("load/#", qos=2)
        for cycle in range(CYCLES):
            enough = Enough(random_.randrange(20, 400))
            port = server.mqtt_port
            subscriber.begin(port)
            for thread in (churner, *publishers):
                thread.begin(port, enough)
            self.assertTrue(enough.wait(), f"cycle {cycle}: the load stands still")
            server.stop()  # SIGKILL
            for thread in (subscriber, churner, *publishers):
                thread.join()
                self.assertIsNone(thread.error, f"cycle {cycle}")
            server = self.start()
            churner.check(server.mqtt_port, f"cycle {cycle}")
        acknowledged = set().union(*(publisher.acknowledged for publisher in publishers))
        subscriber.begin(server.mqtt_port, lambda one: acknowledged <= set(one.seen))
        subscriber.join(60)
        missing = sorted(acknowledged - set(subscriber.seen))
        self.assertEqual(missing, [], f"of {len(acknowledged)} acknowledged")
        doubled = [payload for payload, times in subscriber.seen.items()
                   if times > 1 and int(payload.split("-")[1]) % 2 == 1]  # QoS 2
        self.assertEqual(doubled, [])
        for publisher in publishers:
            if publisher.retained == 0:
                continue  # it was not served before the kill
            reader = self.peer(server, f"reader of {publisher.client_id}", clean=True)
            reader.subscribe(f"load/{publisher.client_id}/2")
            got = reader.receive(retain=True)
            self.assertGreaterEqual(int(got.payload.decode().split("-")[1]), publisher.retained)
        print(f"{CYCLES} kills, {len(acknowledged)} messages acknowledged, none lost; "
              f"{churner.count} changes of subscriptions and retained messages, each as acknowledged")


# Its name is not to be one that the script runs.
class ScriptOfKills(StoreCase):
    def test_the_script_of_many_kills_goes_on_where_it_was_interrupted(self):
        state = os.path.join(self.folder, "state")
        with open(state, "w") as file:
            file.write("1 2 2 kills, none lost\n3 1")  # it was killed as it wrote of the third round
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kill_cycles.py")
        for expected in (["4 of 5", "5 of 5"], []):
            done = subprocess.run([sys.executable, script, state, "--cycles", "5", "--round", "2"],
                                  capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual([line.split(":")[0] for line in done.stdout.splitlines()], expected)
            with open(state) as file:
                self.assertEqual([line.split()[:2] for line in file],
                                 [["1", "2"], ["2", "2"], ["3", "1"]])


if __name__ == "__main__":
    main()
