"""Local processes and MQTT clients, through the real server: tap, pub and the Python module."""

import os
import sys
import tempfile

from case import Case, eventually, main

BINARY = os.environ["SERVER_BINARY"]
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
os.environ["LIBMILLRACE_LOCAL"] = os.path.join(os.path.dirname(BINARY), "..", "lib",
                                               "libmillrace-local.so.0")
sys.path.insert(0, os.path.join(ROOT, "core", "shm", "python"))
import millrace_local  # noqa: E402

DIRECTORY = tempfile.TemporaryDirectory()
SOCKET = os.path.join(DIRECTORY.name, "door")


class Local(Case):
    CONFIG = {"local": {"socket": SOCKET}}

    def setUp(self):
        super().setUp()
        eventually(lambda: os.path.exists(SOCKET), "the door opens")

    def test_tap_prints_every_message_in_order(self):
        tap = self.program(BINARY, "tap", self.topic("#"), "--socket", SOCKET, "--lossless",
                           "--count", "5000")
        tap.line("millrace: attached")
        publisher = self.peer()
        for i in range(5000):
            publisher.publish(self.topic("a"), str(i).encode())
        for i in range(5000):
            self.assertEqual(tap.line(self.topic("a")), f"{self.topic('a')} {i}")

    def test_pub_reaches_an_mqtt_subscriber(self):
        subscriber = self.peer()
        subscriber.subscribe(self.topic())
        self.program(BINARY, "pub", self.topic(), "-m", "from shared memory", "--socket", SOCKET)
        subscriber.receive(topic=self.topic(), payload=b"from shared memory")

    def test_the_newest_value_comes_first_and_by_a_look(self):
        publisher = self.peer()
        for payload in (b"old", b"newest"):
            publisher.publish(self.topic(), payload, qos=1)
        with millrace_local.Reader(self.topic(), socket=SOCKET,
                                   start=millrace_local.LATEST) as reader:
            self.assertEqual(reader.next(30).payload, b"newest")
        with millrace_local.Latest("#", socket=SOCKET) as latest:
            self.assertEqual(latest.get(self.topic()).payload, b"newest")
            self.assertIsNone(latest.get(self.topic("nothing")))

    def test_a_local_publisher_is_bound_by_topic_rules(self):
        with millrace_local.Publisher(socket=SOCKET) as publisher:
            self.assertEqual(publisher.publish("not/#/a/topic", "x"), millrace_local.TAKEN)
            self.assertTrue(publisher.drain(30))
            self.assertEqual(publisher.refused, 1)


class LocalRules(Case):
    SOCKET = SOCKET + "-rules"
    CONFIG = {"local": {"socket": SOCKET}, "access": {"otherwise": "allow", "rules": [
        {"effect": "deny", "action": "subscribe", "filter": "+/secret"}]}}

    def test_a_ring_that_would_show_a_denied_topic_is_refused(self):
        eventually(lambda: os.path.exists(self.SOCKET), "the door opens")
        for kind in (millrace_local.Reader, millrace_local.Latest):
            for filter_ in ("#", self.topic("+"), self.topic("secret")):
                with self.assertRaisesRegex(millrace_local.LocalError, "access rules"):
                    kind(filter_, socket=self.SOCKET)
            kind(self.topic("open"), socket=self.SOCKET).close()


if __name__ == "__main__":
    main()
