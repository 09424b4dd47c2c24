"""PUBLISH: its fields, retained messages, topic aliases, expiry and the properties that are forwarded
with a message (3.3)."""

import wire
from case import Case, main, shows


class Header(Case):
    @shows(v311="3.3.1-4", v5="3.3.1-4")
    def both_qos_bits_end_the_connection(self):
        peer = self.peer()
        peer.send(self.publish_bytes(self.topic(), b"", 3, 1))
        peer.expect_fault(0x81)

    @shows(v311="3.3.1-2", v5="3.3.1-2")
    def dup_is_never_set_on_qos_0(self):
        receiver = self.peer()
        receiver.subscribe((self.topic(), 0))
        sender = self.peer()
        sender.publish(self.topic(), b"x", qos=1, dup=True)
        receiver.receive(qos=0, dup=False)

    @shows(v311="3.3.1-3", v5="3.3.1-3")
    def a_publishers_dup_is_not_passed_on(self):
        receiver = self.peer()
        receiver.subscribe((self.topic(), 2))
        sender = self.peer()
        for qos in (1, 2):
            sender.publish(self.topic(), b"x", qos=qos, dup=True)
            receiver.receive(qos=qos, dup=False)

    @shows(v311="3.3.2-1", v5="3.3.2-1")
    def the_topic_name_comes_first_and_is_utf8(self):
        receiver = self.peer()
        topic = self.topic("\u00fc/\u4e16\u754c/\U0001f300")
        receiver.subscribe(topic)
        self.peer().publish(topic, b"x")
        receiver.receive(topic=topic)
        for body in (b"", b"\0", b"\0\x09abc"):
            faulty = self.peer()
            faulty.send(wire.packet(wire.PUBLISH, 0, body))
            faulty.expect_fault(0x81)

    @shows(v311="3.3.2-2 4.7.1-1", v5="3.3.2-2 4.7.0-1")
    def a_wildcard_in_a_topic_name_is_refused(self):
        watcher = self.peer()
        watcher.subscribe(self.topic("#"))
        for name in ("+", "#", "a/+/b", "a/#", "a+", "#a"):
            peer = self.peer()
            peer.send(self.publish_bytes(self.topic(name), b""))
            peer.expect_fault(0x81, 0x82, 0x90)
        watcher.expect_nothing_more()

    @shows(v311="3.3.2-3", v5="3.3.2-3")
    def a_delivered_topic_matches_the_filter(self):
        receiver = self.peer()
        receiver.subscribe(self.topic("+/b/#"))
        sender = self.peer()
        for tail in ("a/b", "a/c", "x/b/c/d", "b", "a/b/"):
            sender.publish(self.topic(tail), tail)
        for tail in ("a/b", "x/b/c/d", "a/b/"):
            receiver.receive(topic=self.topic(tail), payload=tail)
        receiver.expect_nothing_more()

    @shows(v311="3.3.4-1", v5="3.3.4-1")
    def each_qos_gets_its_answer(self):
        peer = self.peer()
        peer.send(self.publish_bytes(self.topic(), b"0"), self.publish_bytes(self.topic(), b"1", 1, 5),
                  self.publish_bytes(self.topic(), b"2", 2, 6))
        peer.expect(wire.PUBACK, pid=5)
        peer.expect(wire.PUBREC, pid=6)
        peer.send(wire.ack(wire.PUBREL, 6))
        peer.expect(wire.PUBCOMP, pid=6)

    @shows(v311="3.3.5-2")
    def a_publish_that_is_not_allowed_is_acknowledged_or_ends_the_connection(self):
        self.server = self.server_with("access")
        watcher = self.peer(username="writer", password="writer-secret")
        watcher.subscribe("denied/#")
        peer = self.peer(username="reader", password="reader-secret")
        peer.send(self.publish_bytes("denied/x", b"x", 1, 3))
        got = peer.next()
        self.assertTrue(got is None or (got.kind, got.pid) == (wire.PUBACK, 3), got)
        watcher.expect_nothing_more(sentinel=False)


class Retained(Case):
    def retain(self, payload, qos=1, tail="t"):
        self.peer().publish(self.topic(tail), payload, qos=qos, retain=True)

    def reader(self, options=0, tail="t"):
        peer = self.peer()
        peer.subscribe((self.topic(tail), options))
        return peer

    @shows(v311="3.3.1-5", v5="3.3.1-5")
    def a_retained_message_replaces_the_one_before(self):
        self.retain(b"old")
        self.retain(b"new", qos=2)
        reader = self.reader(options=2)
        reader.receive(topic=self.topic(), payload=b"new", retain=True, qos=2)
        reader.expect_nothing_more()

    @shows(v311="3.3.1-6", v5="3.3.1-9")
    def a_new_subscription_gets_the_retained_message_of_each_matching_topic(self):
        for tail in ("a", "b", "b/c"):
            self.retain(tail.encode(), tail=tail)
        reader = self.reader(tail="#")
        got = {p.topic: p.payload for p in (reader.receive(retain=True) for _ in range(3))}
        self.assertEqual(got, {self.topic(t): t.encode() for t in ("a", "b", "b/c")})
        reader.expect_nothing_more()

    @shows(v311="3.3.1-7")
    def a_retained_qos_0_message_replaces_the_one_before(self):
        self.retain(b"old", qos=1)
        self.retain(b"new", qos=0)
        reader = self.reader(options=1)
        got = reader.receive(retain=True)  # A server may discard the new one, but not keep the old one.
        self.assertEqual(got.payload, b"new")
        reader.expect_nothing_more()

    @shows(v311="3.3.1-8")
    def retain_is_set_on_what_a_new_subscription_gets(self):
        self.retain(b"x")
        self.reader().receive(retain=True)

    @shows(v311="3.3.1-9", v5="3.3.1-12")
    def retain_is_clear_on_what_an_established_subscription_gets(self):
        reader = self.reader()
        self.retain(b"x")
        reader.receive(retain=False)

    @shows(v311="3.3.1-10", v5="3.3.1-6")
    def an_empty_retained_message_removes_the_one_before(self):
        self.retain(b"old")
        reader = self.reader()
        reader.receive(payload=b"old", retain=True)
        self.retain(b"")
        reader.receive(payload=b"", retain=False)
        self.reader().expect_nothing_more()

    @shows(v311="3.3.1-11", v5="3.3.1-7")
    def an_empty_retained_message_is_not_kept(self):
        self.retain(b"")
        self.reader().expect_nothing_more()

    @shows(v311="3.3.1-12", v5="3.3.1-8")
    def a_message_without_retain_changes_nothing(self):
        self.peer().publish(self.topic(), b"passing", qos=1)
        self.reader().expect_nothing_more()
        self.retain(b"kept")
        self.peer().publish(self.topic(), b"passing", qos=1)
        self.peer().publish(self.topic(), b"", qos=1)
        reader = self.reader()
        reader.receive(payload=b"kept", retain=True)
        reader.expect_nothing_more()

    @shows(v5="3.3.1-10")
    def retain_handling_1_sends_only_to_a_subscription_that_is_new(self):
        self.retain(b"kept")
        reader = self.reader(options=0x10)
        reader.receive(payload=b"kept", retain=True)
        reader.subscribe((self.topic(), 0x10))
        reader.expect_nothing_more()

    @shows(v5="3.3.1-11")
    def retain_handling_2_sends_nothing(self):
        self.retain(b"kept")
        reader = self.reader(options=0x20)
        reader.expect_nothing_more()

    @shows(v5="3.3.1-13")
    def retain_as_published_keeps_the_flag(self):
        reader = self.reader(options=0x08)
        self.retain(b"x")
        reader.receive(payload=b"x", retain=True)
        self.peer().publish(self.topic(), b"y")
        reader.receive(payload=b"y", retain=False)


class Aliases(Case):
    def announced(self, peer):
        maximum = peer.connack.one(wire.ALIAS_MAXIMUM, 0)
        self.assertGreater(maximum, 0)
        return maximum

    @shows(v5="3.3.2-12")
    def every_announced_alias_is_accepted(self):
        reader = self.peer()
        reader.subscribe(self.topic("#"))
        sender = self.peer()
        top = self.announced(sender)
        for alias in (1, top):
            sender.publish(self.topic(str(alias)), b"set", properties=[(wire.ALIAS, alias)])
        for alias in (top, 1):
            sender.publish("", b"used", properties=[(wire.ALIAS, alias)])
        sender.publish(self.topic("moved"), b"set", properties=[(wire.ALIAS, 1)])
        sender.publish("", b"used", properties=[(wire.ALIAS, 1)])
        for tail, payload in (("1", "set"), (str(top), "set"), (str(top), "used"), ("1", "used"),
                              ("moved", "set"), ("moved", "used")):
            got = reader.receive(topic=self.topic(tail), payload=payload)
            self.assertNotIn(wire.ALIAS, got.props)

    @shows(v5="3.3.2-9 3.2.2-17")
    def an_alias_above_the_maximum_is_a_fault(self):
        peer = self.peer()
        peer.send(wire.publish(self.topic(), b"",
                               properties=[(wire.ALIAS, self.announced(peer) + 1)]))
        peer.expect_fault(0x94)

    @shows(v5="3.3.2-8")
    def alias_zero_is_a_fault_and_never_sent(self):
        peer = self.peer()
        peer.send(wire.publish(self.topic(), b"", properties=[(wire.ALIAS, 0)]))
        peer.expect_fault(0x94, 0x82, 0x81)
        reader = self.peer(properties=[(wire.ALIAS_MAXIMUM, 2)])
        reader.subscribe(self.topic("#"))
        sender = self.peer()
        for number in range(6):
            sender.publish(self.topic(str(number % 3)), b"x")
            got = reader.receive()  # The reader refuses an alias of 0.
            self.assertIn(got.one(wire.ALIAS, 1), (1, 2))

    @shows(v5="3.3.2-7")
    def an_alias_ends_with_its_connection(self):
        first = self.durable()
        first.publish(self.topic(), b"x", properties=[(wire.ALIAS, 1)])
        self.leave(first)
        again = self.durable(first.client_id)
        again.send(wire.publish("", b"x", properties=[(wire.ALIAS, 1)]))
        again.expect_fault(0x82, 0x94)

    def aliased(self, maximum):
        """Six messages on three topics to a reader with this alias maximum, with aliases resolved."""
        reader = self.peer(properties=[] if maximum is None else [(wire.ALIAS_MAXIMUM, maximum)])
        reader.subscribe(self.topic("#"))
        sender = self.peer()
        names, used = {}, []
        for number in range(6):
            topic = self.topic(str(number % 3))
            sender.publish(topic, str(number))
            got = reader.receive(payload=str(number))
            alias = got.one(wire.ALIAS)
            used.append(alias)
            if alias and got.topic:
                names[alias] = got.topic
            self.assertEqual(got.topic or names[alias], topic)
        return [alias for alias in used if alias is not None]

    @shows(v5="3.1.2-26 3.3.2-11")
    def no_alias_above_the_clients_maximum_is_sent(self):
        for maximum in (1, 2, 3):
            used = self.aliased(maximum)
            self.assertTrue(set(used) <= set(range(1, maximum + 1)), used)

    @shows(v5="3.1.2-27")
    def a_client_without_a_maximum_gets_no_alias(self):
        self.assertEqual(self.aliased(None), [])
        self.assertEqual(self.aliased(0), [])


class Expiry(Case):
    @shows(v5="3.3.2-5")
    def a_message_that_expires_while_it_waits_is_not_delivered(self):
        reader = self.durable()
        reader.subscribe(self.topic(), qos=1)
        self.leave(reader)
        sender = self.peer()
        sender.publish(self.topic(), b"short", qos=1, properties=[(wire.MESSAGE_EXPIRY, 1)])
        sender.publish(self.topic(), b"long", qos=1, properties=[(wire.MESSAGE_EXPIRY, 100)])
        sender.publish(self.topic("kept"), b"short", qos=1, retain=True,
                       properties=[(wire.MESSAGE_EXPIRY, 1)])
        self.let_pass(1.3)
        reader = self.durable(reader.client_id)
        reader.receive(payload=b"long")
        reader.subscribe(self.topic("kept"))
        reader.expect_nothing_more()

    @shows(v5="3.3.2-6")
    def the_time_that_a_message_waited_is_taken_off_its_expiry(self):
        reader = self.durable()
        reader.subscribe(self.topic(), qos=1)
        self.leave(reader)
        self.peer().publish(self.topic(), b"x", qos=1, properties=[(wire.MESSAGE_EXPIRY, 100)])
        self.let_pass(1.2)
        reader = self.durable(reader.client_id)
        self.assertIn(reader.receive(payload=b"x").one(wire.MESSAGE_EXPIRY), range(80, 100))


class Travelling(Case):
    """Properties that reach every subscriber as they were sent."""

    def through(self, *pairs, payload=b"x"):
        readers = [self.peer(), self.durable()]
        for reader in readers:
            reader.subscribe((self.topic(), 1))
        self.leave(readers[1])
        self.peer().publish(self.topic(), payload, qos=1, retain=True, properties=pairs)
        readers[1] = self.durable(readers[1].client_id)
        readers.append(self.peer())
        readers[2].subscribe((self.topic(), 1))  # One reader each: live, queued and retained.
        return [reader.receive(payload=payload).props for reader in readers]

    def arrives(self, identifier, value):
        for properties in self.through((identifier, value)):
            self.assertEqual(properties.get(identifier), [value])

    @shows(v5="3.3.2-4")
    def the_payload_format_indicator_is_passed_on(self):
        self.arrives(wire.FORMAT, 1)

    @shows(v5="3.3.2-15")
    def the_response_topic_is_passed_on(self):
        self.arrives(wire.RESPONSE_TOPIC, self.topic("answer"))

    @shows(v5="3.3.2-16")
    def correlation_data_is_passed_on(self):
        self.arrives(wire.CORRELATION, b"\x00\xff binary")

    @shows(v5="3.3.2-20")
    def the_content_type_is_passed_on(self):
        self.arrives(wire.CONTENT_TYPE, "text/plain; charset=\u00fc")

    @shows(v5="3.3.2-17 3.3.2-18")
    def user_properties_are_passed_on_in_their_order(self):
        pairs = [("z", "1"), ("a", "2"), ("z", "1"), ("", ""), ("a", "\u4e16")]
        for properties in self.through(*[(wire.USER, pair) for pair in pairs]):
            self.assertEqual(properties.get(wire.USER), pairs)

    @shows(v5="3.3.2-13 3.3.2-14")
    def a_response_topic_has_to_be_utf8_without_wildcards(self):
        for topic in (b"a\xff", b"a\0", b"a/+", b"#"):
            peer = self.peer()
            peer.send(wire.publish(self.topic(), b"", properties=[(wire.RESPONSE_TOPIC, topic)]))
            peer.expect_fault(0x81, 0x82, 0x90)

    @shows(v5="3.3.2-19")
    def a_content_type_has_to_be_utf8(self):
        peer = self.peer()
        peer.send(wire.publish(self.topic(), b"", properties=[(wire.CONTENT_TYPE, b"\xff")]))
        peer.expect_fault(0x81, 0x82)

    @shows(v5="3.3.4-6")
    def a_client_may_not_send_a_subscription_identifier(self):
        peer = self.peer()
        peer.send(wire.publish(self.topic(), b"", properties=[(wire.SUBSCRIPTION_ID, 1)]))
        peer.expect_fault(0x81, 0x82)


class Sizes(Case):
    @shows(v5="3.1.2-24 3.1.2-25")
    def a_message_above_the_clients_maximum_is_left_out_as_if_it_had_been_sent(self):
        reader = self.peer(properties=[(wire.MAXIMUM_PACKET, 200), (wire.RECEIVE_MAXIMUM, 1)])
        reader.subscribe((self.topic(), 1))
        other = self.peer()
        other.subscribe((self.topic(), 1))
        sender = self.peer()
        exactly = 200 - 2 - 1 - 2 - len(self.topic()) - 2 - 1
        for payload in (b"a", b"b" * (exactly + 1), b"c" * exactly, b"d"):
            sender.publish(self.topic(), payload, qos=1)
            other.receive(payload=payload)
        reader.receive(payload=b"a")
        self.assertEqual(reader.receive(payload=b"c" * exactly).size, 200)
        reader.receive(payload=b"d")
        reader.expect_nothing_more()


if __name__ == "__main__":
    main()
