"""What is published over HTTP is within the limits of MQTT: 204 says that it is published and kept, and whoever exceeds
a limit is told which one."""

import time

import wire
from api_case import PASSWORDS, ApiCase
from case import eventually, main
from peer import Peer

REFUSED = 'millrace_messages_dropped_total{reason="retained_refused"}'


class Limits(ApiCase):
    def by_mqtt(self, server, user):
        peer = Peer(server.mqtt_port)
        self.addCleanup(peer.close)
        peer.connect(f"{self.unique}{user}", username=user, password=PASSWORDS[user])
        return peer

    def put(self, server, topic, body=b"1", user="user", query="?qos=1"):
        """Returns (status, detail)."""
        status, _, problem = self.ask("PUT", f"/topics/{topic}{query}", body, user=user, server=server)
        return status, (problem or {}).get("detail", "")

    def retained(self, server):
        return {value["topic"] for value in self.values("#", user="user", server=server) if value["retained"]}

    def test_a_user_keeps_as_many_retained_values_as_he_may(self):
        server = self.with_users({"slots": {"user_count_max": 5}})
        answers = [self.put(server, f"a/{number}") for number in range(30)]
        self.assertEqual([status for status, _ in answers], [204] * 5 + [507] * 25)
        self.assertIn("slots.user_count_max", answers[5][1])
        self.assertEqual(self.retained(server), {f"a/{number}" for number in range(5)})
        self.assertEqual(server.metrics()[REFUSED], 25)
        # By MQTT the same user has no more than that, either.
        user = self.by_mqtt(server, "user")
        self.assertEqual(user.publish("a/5", b"1", qos=1, retain=True).code, 0x97)
        # Others have theirs, and whoever clears one has room for another.
        self.assertEqual(self.put(server, "boss", user="boss")[0], 204)
        self.assertEqual(self.put(server, "a/0", b"a longer one")[0], 204)
        self.assertEqual(self.ask("DELETE", "/topics/a/0", user="user", server=server)[0], 204)
        self.assertEqual(self.put(server, "a/5")[0], 204)
        # What is not retained is nobody's.
        self.assertEqual(self.ask("POST", "/topics/a/6", b"1", user="user", server=server)[0], 204)

    def test_what_a_user_keeps_by_mqtt_counts_too(self):
        server = self.with_users({"slots": {"user_count_max": 2}})
        user = self.by_mqtt(server, "user")
        for topic in "ab":
            self.assertIn(user.publish(topic, b"1", qos=1, retain=True).code, (0, 0x10, None))
        self.assertEqual(self.put(server, "c")[0], 507)

    def test_a_user_keeps_as_many_bytes_as_he_may(self):
        server = self.with_users({"slots": {"user_bytes_max": 10_000}})
        answers = [self.put(server, f"a/{number}", b"x" * 3000) for number in range(5)]
        self.assertEqual([status for status, _ in answers], [204, 204, 204, 507, 507])
        self.assertIn("slots.user_bytes_max", answers[3][1])

    def test_a_refused_publish_is_not_delivered(self):
        server = self.with_users({"slots": {"user_count_max": 1}})
        reader = self.by_mqtt(server, "boss")
        reader.subscribe("a/#")
        for topic in ("a/1", "a/2"):
            self.put(server, topic)
        reader.receive(topic="a/1")
        reader.expect_nothing_more()

    def test_a_retained_value_without_a_slot_is_refused(self):
        server = self.with_users({"slots": {"count_max": 10, "user_count_max": 10}})
        boss = self.by_mqtt(server, "boss")
        for number in range(10):
            boss.publish(f"full/{number}", b"1", qos=1, retain=True)
        before = server.metrics()[REFUSED]
        answers = [self.put(server, f"a/{number}") for number in range(20)]
        self.assertEqual({status for status, _ in answers}, {507})
        self.assertIn("slots.count_max", answers[0][1])
        self.assertEqual({topic for topic in self.retained(server) if topic.startswith("a/")}, set())
        self.assertGreaterEqual(server.metrics()[REFUSED], before + 20)

    def test_what_memory_has_no_room_for_is_not_said_to_be_kept(self):
        server = self.with_users({"memory": {"bytes_max": 64 << 20}, "http": {"body_bytes_max": 1 << 20},
                                  "slots": {"user_bytes_max": 1 << 40, "user_count_max": 1_000_000}})
        kept, detail = set(), ""
        for number in range(400):  # 100 MiB
            status, detail = self.put(server, f"a/{number}", b"x" * (256 << 10))
            if status == 507:
                break
            self.assertEqual(status, 204)
            kept.add(f"a/{number}")
        self.assertIn("memory.bytes_max", detail)
        filter_ = "/topics?filter=a/%23&payload=none"
        values = self.get(filter_, user="user", server=server)["topics"]
        self.assertEqual({value["topic"] for value in values}, kept)
        self.assertEqual(self.put(server, "a/0", b"shorter")[0], 204)
        self.assertGreaterEqual(server.metrics()["millrace_memory_refusals_total"], 1)

    def test_who_publishes_too_fast_is_refused_and_told_when_to_come_again(self):
        server = self.with_users({"connection": {"messages_per_second": 2}})
        answers, refused, begun = [], [], time.monotonic()

        def three_are_refused():
            answers.append(self.ask("PUT", f"/topics/a/{len(answers)}", b"1", user="user", server=server))
            refused[:] = [headers for status, headers, _ in answers if status == 429]
            return len(refused) == 3

        eventually(three_are_refused, "who publishes too fast is refused")
        self.assertEqual({status for status, _, _ in answers}, {204, 429})
        self.assertLessEqual(len(answers) - len(refused), 3 + 2 * (time.monotonic() - begun))
        for headers in refused:
            self.assertEqual(headers["Retry-After"], "1")
        self.assertEqual(len(self.retained(server)), len(answers) - len(refused))
        self.assertEqual(server.metrics()["millrace_http_publishes_over_rate_total"], len(refused))
        # Others have their own.
        self.assertEqual(self.put(server, "b", user="boss")[0], 204)

    def test_a_rate_of_bytes_holds_too(self):
        server = self.with_users({"connection": {"bytes_per_second": 10}})
        self.assertEqual(self.put(server, "a", b"x" * 20_000)[0], 204)
        for method in ("PUT", "POST", "DELETE"):
            status, headers, problem = self.ask(method, "/topics/a", b"" if method != "DELETE" else None,
                                                user="user", server=server)
            self.assertEqual(status, 429)
            self.assertGreater(int(headers["Retry-After"]), 1000)
            self.assertIn("connection.bytes_per_second", problem["detail"])

    def test_properties_reach_subscribers(self):
        server = self.with_users()
        reader = self.by_mqtt(server, "boss")
        reader.subscribe("a")
        self.assertEqual(self.ask("POST", "/topics/a?payload_format_indicator=1&response_topic=b%2Fc"
                                  "&correlation_data=AP8%3D", b"x", user="user", server=server)[0], 204)
        got = reader.receive(topic="a")
        self.assertEqual(got.one(wire.RESPONSE_TOPIC), "b/c")
        self.assertEqual(got.one(wire.CORRELATION), b"\x00\xff")
        self.assertEqual(got.one(wire.FORMAT), 1)
        for query in ("payload_format_indicator=2", "response_topic=%23", "correlation_data=x"):
            self.refused(400, "POST", f"/topics/a?{query}", body=b"x", user="user", server=server)


if __name__ == "__main__":
    main()
