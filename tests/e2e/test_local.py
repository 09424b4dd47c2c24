"""Local processes and MQTT clients, through the real server: tap, pub and the Python module."""

import asyncio
import json
import signal
import struct
import subprocess
import warnings

import local_case
import wire
from case import EVENT_TIMEOUT_S, eventually, main
from local_case import BINARY, LocalCase

import millrace_local


class Local(LocalCase):
    def test_tap_prints_every_message_of_a_flood_in_order(self):
        count, topics = 100_000, [self.topic(f"md/{i}") for i in range(8)]
        tap = self.tap(self.topic("md/#"), "--lossless", "--json", "--count", str(count))
        publisher = self.peer()
        publisher.send(b"".join(
            wire.publish(topics[i % 8], str(i).encode(), version=publisher.version)
            for i in range(count)))
        lines = [json.loads(line) for line in tap.finish()]
        self.assertEqual([(line["topic"], line["payload"]) for line in lines],
                         [(topics[i % 8], str(i)) for i in range(count)])
        self.assertEqual([line["sequence"] - lines[0]["sequence"] for line in lines],
                         list(range(count)))

    def test_tap_quotes_any_payload_as_json(self):
        texts = ['say "\\"', "".join(map(chr, range(0x80))), "Gr\u00fc\u00dfe, \u6c34\u8eca"]
        tap = self.tap(self.topic(), "--lossless", "--json", "--count", "4")
        publisher = self.peer()
        for payload in [text.encode() for text in texts] + [b"no \xff UTF-8"]:
            publisher.publish(self.topic(), payload)
        self.assertEqual([json.loads(line)["payload"] for line in tap.finish()],
                         texts + ["no \ufffd UTF-8"])

    def test_pub_reaches_an_mqtt_subscriber(self):
        subscriber = self.peer()
        subscriber.subscribe((self.topic(), 1))
        self.pub(self.topic(), "-m", "from shared memory").finish()
        subscriber.receive(topic=self.topic(), payload=b"from shared memory")
        self.pub(self.topic(), "-m", "kept", "--retain", "--qos", "1").finish()
        subscriber.receive(topic=self.topic(), payload=b"kept", qos=1)
        late = self.peer()
        late.subscribe(self.topic())
        late.receive(topic=self.topic(), payload=b"kept", retain=True)

    def test_pub_publishes_each_line_of_its_input(self):
        count = 20_000  # more than the publisher ring holds
        tap = self.tap(self.topic(), "--lossless", "--count", str(count))
        lines = [f"line {i}" for i in range(count)]
        subprocess.run([BINARY, "pub", self.topic(), "--stdin-lines", "--socket", self.socket],
                       input="\n".join(lines) + "\n", text=True, check=True)
        self.assertEqual(tap.finish(), [f"{self.topic()} {line}" for line in lines])

    def test_pub_refuses_an_invalid_topic(self):
        done = subprocess.run([BINARY, "pub", "not/#/a/topic", "-m", "x", "--socket", self.socket],
                              stderr=subprocess.PIPE, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('"not/#/a/topic" is not a topic to publish to', done.stderr)

    def test_tap_shows_rate_lag_and_losses(self):
        tap = self.tap(self.topic("#"), "--stats", "--count", "500")
        publisher = self.peer()
        for i in range(500):
            publisher.publish(self.topic("a"), str(i).encode())
        self.assertRegex(tap.finish()[-1], r"^\d+ msg/s  total 500  lag 0 bytes  lost 0$")

    def test_tap_ends_though_nobody_reads_its_output(self):
        tap = subprocess.Popen([BINARY, "tap", "--socket", self.socket, self.topic("#")], stdout=subprocess.PIPE)
        self.addCleanup(tap.stdout.close)
        self.addCleanup(tap.wait)
        self.addCleanup(tap.kill)
        eventually(lambda: self.ring_lag() is not None, "it has attached")
        sender = self.peer()

        def is_behind():
            sender.publish(self.topic("much"), bytes(60_000), qos=1)
            return self.ring_lag() > 0
        eventually(is_behind, "its output is full")

        def has_ended():
            tap.send_signal(signal.SIGTERM)  # the first is noted, the second ends it
            return tap.poll() is not None
        eventually(has_ended, "it has ended")

    def ring_lag(self):
        """Of the ring of this test's topics; None: there is none."""
        for name, value in self.server.metrics().items():
            if name.startswith("millrace_ring_lag_bytes{") and self.topic("#") in name:
                return value
        return None

    def test_tap_stays_behind_its_predecessor(self):
        publisher = self.peer()
        first = self.tap(self.topic("#"), "--lossless", "--name", "first")
        second = self.tap(self.topic("#"), "--lossless", "--after", "first")
        beside = self.tap(self.topic("#"), "--lossless")
        publisher.publish(self.topic("a"), b"1")
        for tap in (first, second, beside):
            tap.line(f"{self.topic('a')} 1")
        first.process.send_signal(signal.SIGSTOP)
        publisher.publish(self.topic("a"), b"2")
        beside.line(f"{self.topic('a')} 2")
        self.assertNotIn(f"{self.topic('a')} 2", second.waiting())
        first.process.send_signal(signal.SIGCONT)
        for tap in (first, second):
            tap.line(f"{self.topic('a')} 2")

    def test_tap_says_why_it_cannot_attach(self):
        for words, why in ((["--after", "nobody"], "refused"), (["a/#/b"], "refused")):
            done = subprocess.run([BINARY, "tap", "--socket", self.socket, *words],
                                  stderr=subprocess.PIPE, text=True)
            self.assertEqual((done.returncode, why in done.stderr), (1, True), done.stderr)

    def test_tap_says_that_its_output_is_full(self):
        self.peer().publish(self.topic(), b"x", qos=1)
        with open("/dev/full", "w") as full:
            done = subprocess.run([BINARY, "tap", self.topic(), "--socket", self.socket, "--start",
                                   "latest"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("cannot write to standard output: No space left on device", done.stderr)

    def test_help_names_every_option(self):
        for command, options in (
                ("tap", "--lossless --start --name --after --json --count --stats --socket"),
                ("pub", "--message --stdin-lines --retain --qos --socket")):
            text = subprocess.run([BINARY, command, "--help"], stdout=subprocess.PIPE, text=True,
                                  check=True).stdout
            self.assertEqual([option for option in options.split() if option not in text], [])

    def test_metrics_of_a_ring_add_up(self):
        reader = self.tap(self.topic("#"))
        ring = {"filter": self.topic("#"), "policy": "lossy"}
        publisher = self.peer()
        for i in range(100):
            publisher.publish(self.topic(), str(i).encode())
        reader.line(f"{self.topic()} 99")
        self.becomes(100, "millrace_ring_messages_total", **ring)
        self.becomes(1, "millrace_ring_readers", **ring)
        self.becomes(0, "millrace_ring_lag_bytes", **ring)
        self.becomes(1 << 20, "millrace_ring_bytes", **ring)
        topic = len(self.topic())
        written = sum((24 + topic + len(str(i)) + 7) // 8 * 8 for i in range(100))
        self.becomes(written, "millrace_ring_written_bytes_total", **ring)

    def test_an_overtaken_reader_and_the_metrics_know_what_it_missed(self):
        before = self.total("millrace_local_lapped_total")
        reader = self.tap(self.topic("#"))
        reader.process.send_signal(signal.SIGSTOP)
        publisher = self.peer()
        count = 30_000  # more than a ring holds
        publisher.send(b"".join(wire.publish(self.topic(), b"x" * 64, version=publisher.version)
                                for _ in range(count)))
        self.becomes(count, "millrace_ring_messages_total", filter=self.topic("#"))
        reader.process.send_signal(signal.SIGCONT)
        self.pub(self.topic("end"), "-m", "end").finish()
        reader.line(self.topic("end"))
        reader.process.send_signal(signal.SIGINT)
        missed = int(reader.finish()[-1].split()[1])  # "millrace: N missed"
        self.assertEqual(reader.output.count(f"{self.topic()} " + "x" * 64) + missed, count)
        self.becomes(before + missed, "millrace_local_lapped_total")

    def test_the_newest_value_comes_first_and_can_be_looked_up(self):
        publisher = self.peer()
        for payload in (b"old", b"newest"):
            publisher.publish(self.topic(), payload, qos=1)
        with millrace_local.Reader(self.topic(), socket=self.socket,
                                   start=millrace_local.LATEST) as reader:
            self.assertEqual(reader.next(30).payload, b"newest")
        with millrace_local.Latest("#", socket=self.socket) as latest:
            self.assertEqual(latest.get(self.topic()).payload, b"newest")
            self.assertIsNone(latest.get(self.topic("nothing")))

    def test_a_local_publisher_is_bound_by_topic_rules(self):
        with millrace_local.Publisher(socket=self.socket) as publisher:
            self.assertEqual(publisher.publish("not/#/a/topic", "x"), millrace_local.INVALID)
        # The server checks too, without relying on the library.
        before = self.total("millrace_local_publishes_refused_total")
        control = self.control()
        control.request(local_case.PUBLISHER_RING, local_case.text(""))
        control.expect(local_case.PUBLISHER_RING_OPENED)
        ring = local_case.writable_publisher_ring(control)
        frame = local_case.frame("not/#/a/topic", b"x")
        ring[local_case.PAGE:local_case.PAGE + len(frame)] = frame
        ring[local_case.TAIL_AT:local_case.TAIL_AT + 8] = struct.pack("<Q", len(frame))
        control.socket.sendall(local_case.WAKE_UP)
        self.becomes(before + 1, "millrace_local_publishes_refused_total")


    def test_one_reader_of_several_filters_reads_each_message_once(self):
        publisher = self.peer()
        for name in ("a/1", "b", "a/2", "c"):
            publisher.publish(self.topic(name), name.encode(), qos=1)
        filters = [self.topic("a/+"), self.topic("a/1"), self.topic("b")]
        with millrace_local.Reader(filters, socket=self.socket,
                                   start=millrace_local.LATEST) as reader:
            newest = [reader.next(30).payload for _ in range(3)]
            self.assertEqual(sorted(newest), [b"a/1", b"a/2", b"b"])
            for name in ("a/1", "c", "b", "a/1"):
                publisher.publish(self.topic(name), b"live " + name.encode(), qos=1)
            live = [reader.next(30).payload for _ in range(3)]
            self.assertEqual(live, [b"live a/1", b"live b", b"live a/1"])
            self.assertEqual(reader.next(0), millrace_local.TIMEOUT)
        tap = self.tap(*filters, "--count", "2")
        publisher.publish(self.topic("b"), b"1")
        publisher.publish(self.topic("a/9"), b"2")
        self.assertEqual(tap.finish(), [f"{self.topic('b')} 1", f"{self.topic('a/9')} 2"])

    def test_stars_are_wildcards_if_asked_for_and_warned_of_if_not(self):
        literal = self.program(BINARY, "tap", "--socket", self.socket, self.topic("*"))
        literal.line(f"millrace: warning: the * in the filter {self.topic('*')}")
        star = self.tap(self.topic("*/x"), "--wildcards", "star", "--count", "1")
        with self.assertWarnsRegex(UserWarning, "ordinary character in MQTT"):
            millrace_local.Reader(self.topic("*"), socket=self.socket).close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            library = millrace_local.Reader(self.topic("**"), socket=self.socket,
                                            wildcards=millrace_local.STAR)
        self.addCleanup(library.close)
        self.peer().publish(self.topic("any/x"), b"1")
        self.assertEqual(star.finish(), [f"{self.topic('any/x')} 1"])
        self.assertEqual(library.next(30).payload, b"1")

    def test_a_pollable_reader_is_awaited_by_asyncio(self):
        with millrace_local.Reader(self.topic("#"), socket=self.socket, pollable=True) as reader:
            publisher = self.peer()

            async def read(count):
                seen = []
                async for message in reader:
                    seen.append(int(message.payload))
                    if len(seen) == count:
                        return seen
                    if message.payload == b"9":
                        publisher.send(b"".join(
                            wire.publish(self.topic(), str(i).encode(), version=publisher.version)
                            for i in range(10, count)))

            for i in range(10):
                publisher.publish(self.topic(), str(i).encode())
            self.assertEqual(asyncio.run(read(500)), list(range(500)))
        with millrace_local.Reader(self.topic("#"), socket=self.socket) as reader:
            with self.assertRaisesRegex(millrace_local.LocalError, "not pollable"):
                reader.fileno()


class LocalAlone(LocalCase):
    OTHERS = {"listeners": []}
    LOCAL = {"publisher_ring_bytes": 1 << 20, "publisher_frame_bytes_max": 1 << 18}

    def test_a_server_without_listeners_serves_local_processes(self):
        tap = self.tap("#", "--lossless", "--json", "--count", "2")
        with millrace_local.Publisher(socket=self.socket) as publisher:
            large = b"x" * ((1 << 18) - 100)
            self.assertEqual(publisher.publish("large", large), millrace_local.TAKEN)
            self.assertEqual(publisher.publish("larger", large + b"x" * 100),
                             millrace_local.TOO_LARGE)
            self.assertEqual(publisher.publish("small", b"1", qos=1, retain=True),
                             millrace_local.TAKEN)
            self.assertTrue(publisher.drain(EVENT_TIMEOUT_S))
        got = {line["topic"]: len(line["payload"]) for line in map(json.loads, tap.finish())}
        self.assertEqual(got, {"large": len(large), "small": 1})
        with millrace_local.Latest("#", socket=self.socket) as latest:
            self.assertEqual(latest.get("small").payload, b"1")


class LocalRetained(LocalCase):
    """Of one user; here of those without a name, which the processes of the server's own user are."""
    OTHERS = {"slots": {"user_count_max": 2}}

    def test_what_a_local_publisher_has_retained_counts_for_its_user(self):
        reader = self.peer()
        reader.subscribe(self.topic("#"), qos=1)
        with millrace_local.Publisher(socket=self.socket) as publisher:
            for number in range(5):
                self.assertEqual(publisher.publish(self.topic(str(number)), b"1", qos=1, retain=True),
                                 millrace_local.TAKEN)
            self.assertTrue(publisher.drain(EVENT_TIMEOUT_S))
        for number in range(5):  # It is delivered nevertheless.
            reader.receive(topic=self.topic(str(number)))
        late = self.peer()
        late.subscribe(self.topic("#"))
        for number in range(2):
            late.receive(topic=self.topic(str(number)), retain=True)
        late.expect_nothing_more()
        self.assertEqual(self.server.metrics()['millrace_messages_dropped_total{reason="retained_refused"}'], 3)
        # By MQTT the same user has no more than that, either.
        self.assertEqual(self.peer().publish(self.topic("5"), b"1", qos=1, retain=True).code, 0x97)


class LocalRules(LocalCase):
    OTHERS = {"access": {"otherwise": "allow", "rules": [
        {"effect": "deny", "action": "subscribe", "filter": "+/secret"}]}}

    def test_a_ring_that_would_show_a_denied_topic_is_refused(self):
        for kind in (millrace_local.Reader, millrace_local.Latest):
            for filter_ in ("#", self.topic("+"), self.topic("secret")):
                with self.assertRaisesRegex(millrace_local.LocalError, "access rules"):
                    kind(filter_, socket=self.socket)
            kind(self.topic("open"), socket=self.socket).close()


if __name__ == "__main__":
    main()
