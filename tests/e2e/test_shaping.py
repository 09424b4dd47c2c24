"""Readers that say how they want to be sent what they subscribe to: byte budgets, ticks, change filters; by
user properties, by options of the prefix, and by rules. What comes is asserted, never when."""

import wire
from case import Case, main

TOPICS, MESSAGES, PAYLOAD_BYTES = 10, 2000, 200


class Shaping(Case):
    CONFIG = {"history": {"depth": 5}, "delivery": {"rules": [
        {"filter": "+/ruled/#", "delta": 0.5, "field": "/t"},
        {"filter": "+/capped/#", "budget_bytes_per_s": 1000},
        {"filter": "+/charted/#", "history": 2},
    ]}}

    def publish_numbers(self, folder):
        """MESSAGES values over TOPICS topics in turn; returns the last one of each."""
        sender = self.peer(version=4)
        for first in range(0, MESSAGES, 100):
            sender.send(*[wire.publish(self.topic(f"{folder}/{n % TOPICS}"),
                                       str(n).rjust(PAYLOAD_BYTES).encode(), version=4)
                          for n in range(first, first + 100)])
            sender.send(wire.pingreq())
            sender.expect(wire.PINGRESP)
        return {self.topic(f"{folder}/{n % TOPICS}"): n for n in range(MESSAGES - TOPICS, MESSAGES)}

    def read_until(self, reader, newest):
        """Reads until the last value of each topic was seen; returns how many came."""
        seen, count = {}, 0
        while seen != newest:
            got = reader.expect(wire.PUBLISH)
            count += 1
            number = int(got.payload)
            self.assertGreater(number, seen.get(got.topic, -1), "an older value behind a newer one")
            seen[got.topic] = number
        return count

    def send(self, *values, folder="t", code=0):
        sender = self.peer()
        for value in values:
            self.assertEqual(sender.publish(self.topic(folder), value, qos=1).code, code)

    def expect_values(self, reader, *values):
        for value in values:
            reader.expect(wire.PUBLISH, payload=value)
        reader.expect_nothing_more()

    def test_a_budget_brings_the_last_value_of_each_topic(self):
        reader = self.peer()
        suback = reader.subscribe(self.topic("t/#"), properties=[
            (wire.USER, ("delivery", "latest")), (wire.USER, ("budget-bytes-per-s", "2000"))])
        self.assertEqual(suback.props[wire.USER], [("granted", "delivery=latest;budget-bytes-per-s=2000")])
        count = self.read_until(reader, self.publish_numbers("t"))
        self.assertLess(count, MESSAGES // 2)
        self.assertGreater(self.server.metrics()["millrace_messages_conflated_total"], 0)

    def test_a_budget_of_a_311_client_by_the_prefix(self):
        reader = self.peer(version=4)
        reader.subscribe("$latest;budget-bytes-per-s=2000/" + self.topic("t/#"))
        self.assertLess(self.read_until(reader, self.publish_numbers("t")), MESSAGES // 2)

    def test_a_budget_by_rule_caps_what_the_client_asks_for(self):
        reader = self.peer()
        suback = reader.subscribe(self.topic("capped/#"), properties=[
            (wire.USER, ("delivery", "latest")), (wire.USER, ("budget-bytes-per-s", "1000000"))])
        self.assertEqual(suback.props[wire.USER], [("granted", "delivery=latest;budget-bytes-per-s=1000")])
        self.assertLess(self.read_until(reader, self.publish_numbers("capped")), MESSAGES // 2)

    def test_ticks_bring_the_last_value_of_each_topic(self):
        reader = self.peer()
        reader.subscribe(self.topic("t/#"), properties=[(wire.USER, ("tick-ms", "100"))])
        self.read_until(reader, self.publish_numbers("t"))

    def test_a_subscription_begins_with_history(self):
        self.send(b"1", b"2", b"3", b"4", b"5", b"6", b"7", code=0x10)  # nobody subscribes yet
        old, reader, greedy = self.peer(version=4), self.peer(), self.peer()
        old.subscribe("$history/3/" + self.topic())
        suback = reader.subscribe(self.topic("#"), properties=[(wire.USER, ("history", "2"))])
        self.assertEqual(suback.props[wire.USER], [("granted", "delivery=adaptive;history=2")])
        suback = greedy.subscribe("$latest;history=100/" + self.topic())
        self.assertEqual(suback.props[wire.USER], [("granted", "delivery=latest;history=5")])
        self.send(b"live")
        self.expect_values(old, b"5", b"6", b"7", b"live")
        self.expect_values(reader, b"6", b"7", b"live")
        self.expect_values(greedy, b"3", b"4", b"5", b"6", b"7", b"live")
        metrics = self.server.metrics()
        self.assertGreaterEqual(metrics["millrace_history_sent_total"], 10)
        self.assertGreater(metrics["millrace_history_bytes"], 0)

    def test_a_weight_is_granted_and_brings_the_last_value_of_each_topic(self):
        reader = self.peer()
        suback = reader.subscribe(self.topic("t/#"), properties=[
            (wire.USER, ("weight", "50")), (wire.USER, ("budget-bytes-per-s", "20000"))])
        self.assertEqual(suback.props[wire.USER],
                         [("granted", "delivery=latest;budget-bytes-per-s=20000;weight=50")])
        self.read_until(reader, self.publish_numbers("t"))

    def test_what_connect_asks_for_applies_to_what_is_subscribed_to(self):
        reader = self.peer(properties=[(wire.USER, ("unchanged", "skip")), (wire.USER, ("weight", "20"))])
        self.assertEqual(reader.connack.props[wire.USER], [("granted", "weight=20;unchanged=skip")])
        suback = reader.subscribe(self.topic("a"))
        self.assertEqual(suback.props[wire.USER], [("granted", "delivery=latest;weight=20;unchanged=skip")])
        reader.subscribe(self.topic("b"), properties=[(wire.USER, ("unchanged", "send"))])
        self.send(b"1", b"1", folder="a")
        self.send(b"2", b"2", folder="b")
        self.expect_values(reader, b"1", b"2", b"2")

    def test_connect_without_shaping_is_told_nothing_and_a_fault_in_words(self):
        plain = self.peer(properties=[(wire.USER, ("site", "hall"))])
        self.assertNotIn(wire.USER, plain.connack.props)
        wrong = self.peer(properties=[(wire.USER, ("delta", "nan")), (wire.USER, ("weight", "20"))])
        self.assertIn("delta", wrong.connack.one(wire.REASON_STRING))
        self.assertNotIn(wire.USER, wrong.connack.props)
        self.assertNotIn(wire.USER, wrong.subscribe(self.topic()).props)

    def test_history_by_rule(self):
        self.send(b"1", b"2", b"3", folder="charted/x", code=0x10)
        reader = self.peer(version=4)
        reader.subscribe(self.topic("charted/x"))
        self.expect_values(reader, b"2", b"3")

    def test_nobody_publishes_where_history_is_asked_for(self):
        self.assertEqual(self.peer().publish("$history/5/a", b"x", qos=1).code, 0x90)

    def test_unchanged_values_are_not_sent_again(self):
        reader, other = self.peer(), self.peer()
        reader.subscribe(self.topic(), properties=[(wire.USER, ("unchanged", "skip"))])
        other.subscribe(self.topic())
        self.send(b"on", b"on", b"off", b"off", b"on")
        self.expect_values(reader, b"on", b"off", b"on")
        self.expect_values(other, b"on", b"on", b"off", b"off", b"on")
        self.assertGreaterEqual(self.server.metrics()["millrace_messages_unchanged_total"], 2)

    def test_small_changes_of_a_field_are_not_sent_by_rule(self):
        reader = self.peer(version=4)
        reader.subscribe(self.topic("ruled/x"))
        self.send(b'{"t":20,"n":1}', b'{"t":20.4,"n":2}', b'{"t":20.5,"n":3}', b'{"t":"off"}',
                  folder="ruled/x")
        self.expect_values(reader, b'{"t":20,"n":1}', b'{"t":20.5,"n":3}', b'{"t":"off"}')

    def test_an_unchanged_value_comes_with_its_heartbeat(self):
        reader = self.peer()
        reader.subscribe(self.topic(), properties=[
            (wire.USER, ("unchanged", "skip")), (wire.USER, ("heartbeat-s", "1"))])
        self.send(b"on", b"on")
        reader.expect(wire.PUBLISH, payload=b"on")
        reader.expect(wire.PUBLISH, payload=b"on")

    def test_a_payload_nested_to_the_hilt_is_compared_as_a_whole(self):
        reader = self.peer()
        reader.subscribe(self.topic(), properties=[(wire.USER, ("field", "/0/0/0/1"))])
        deep = b"[" * 1_000_000
        self.send(deep, deep, deep + b"1")
        for size in (len(deep), len(deep) + 1):
            self.assertEqual(len(reader.expect(wire.PUBLISH).payload), size)
        reader.expect_nothing_more()

    def test_what_means_nothing_is_refused_with_a_reason(self):
        reader = self.peer()
        for name, value in (("delta", "nan"), ("delta", "-1"), ("field", "t"), ("unchanged", "drop"),
                            ("heartbeat-s", "0"), ("weight", "0"), ("history", "0"), ("tick-ms", "1"), ("budget-bytes-per-s", "0")):
            suback = reader.subscribe(self.topic(), properties=[(wire.USER, (name, value))])
            self.assertEqual(suback.codes, [0x83])
            self.assertIn(name, suback.one(wire.REASON_STRING))
        for name in ("$history/0/", "$history/x/", "$history/5/$latest/"):
            self.assertEqual(reader.subscribe(name + self.topic()).codes, [0x8F])
        for options in ("unchanged=send;delta=0.5", "weight=101", "speed=9", "delta=1;delta=1", "delta=0", "delivery=every"):
            self.assertEqual(reader.subscribe(f"$latest;{options}/" + self.topic()).codes, [0x8F])
            old = self.peer(version=4)
            self.assertEqual(old.subscribe(f"$latest;{options}/" + self.topic()).codes, [0x80])


class WithoutHistory(Case):
    def test_history_is_refused_with_a_reason(self):
        reader = self.peer()
        for code, suback in (
                (0x83, reader.subscribe(self.topic(), properties=[(wire.USER, ("history", "5"))])),
                (0x8F, reader.subscribe("$history/5/" + self.topic()))):
            self.assertEqual(suback.codes, [code])
            self.assertIn("history.depth", suback.one(wire.REASON_STRING))
        self.assertEqual(self.peer(version=4).subscribe("$history/5/" + self.topic()).codes, [0x80])


if __name__ == "__main__":
    main()
