"""SUBSCRIBE and UNSUBSCRIBE, topic filters, options and shared subscriptions (3.8 to 3.11, 4.7, 4.8)."""

import select

import wire
from case import Case, main, shows
from peer import TIMEOUT_S


class Subscribe(Case):
    @shows(v311="3.8.1-1", v5="3.8.1-1")
    def other_header_flags_end_the_connection(self):
        for flags in (0, 1, 3, 6, 10):
            peer = self.peer()
            peer.send(self.subscribe_bytes(1, [(self.topic(), 0)], flags=flags))
            peer.expect_fault(0x81)

    @shows(v311="3.8.3-1", v5="3.8.3-1")
    def a_filter_has_to_be_utf8(self):
        for filter_ in (b"a\xff", b"a\0b", b"\xed\xa0\x80"):
            peer = self.peer()
            peer.send(self.subscribe_bytes(1, [(filter_, 0)]))
            peer.expect_fault(0x81, 0x82, 0x8F)

    @shows(v311="3.8.3-3", v5="3.8.3-2")
    def a_subscribe_without_a_filter_ends_the_connection(self):
        peer = self.peer()
        peer.send(self.subscribe_bytes(1, []))
        peer.expect_fault(0x81, 0x82)

    @shows(v311="3.8.3-4", v5="3.8.3-5")
    def reserved_option_bits_end_the_connection(self):
        options = (0x40, 0x80, 0x03) + (() if self.is_v5 else (0x04, 0x08, 0x10))
        for bits in options:
            peer = self.peer()
            peer.send(self.subscribe_bytes(1, [(self.topic(), bits)]))
            peer.expect_fault(0x81, 0x82)
        if self.is_v5:
            peer = self.peer()
            peer.send(self.subscribe_bytes(1, [(self.topic(), 0x30)]))  # Retain handling 3
            peer.expect_fault(0x81, 0x82)

    @shows(v311="3.8.3-2")
    def wildcards_are_supported(self):
        peer = self.peer()
        self.assertEqual(peer.subscribe(self.topic("+/x"), self.topic("a/#")).codes, [0, 0])
        peer.publish(self.topic("b/x"), b"1")
        peer.receive(topic=self.topic("b/x"))
        peer.publish(self.topic("a/y/z"), b"2")
        peer.receive(topic=self.topic("a/y/z"))

    @shows(v311="3.8.4-1 3.8.4-2", v5="3.8.4-1 3.8.4-2")
    def a_subscribe_is_answered_by_a_suback_of_its_identifier(self):
        peer = self.peer()
        for pid in (7, 7, 65535):  # An identifier is free again after its SUBACK.
            peer.send(self.subscribe_bytes(pid, [(self.topic(), 1)]))
            peer.expect(wire.SUBACK, pid=pid, codes=[1])

    @shows(v311="3.8.4-3", v5="3.8.4-3")
    def an_identical_filter_replaces_the_subscription(self):
        peer = self.peer()
        peer.subscribe((self.topic(), 2))
        peer.subscribe((self.topic(), 0))
        self.peer().publish(self.topic(), b"once", qos=2)
        peer.receive(payload=b"once", qos=0)
        peer.expect_nothing_more()

    @shows(v311="3.8.4-3", v5="3.8.4-4")
    def a_replacement_sends_retained_messages_again_and_loses_none(self):
        peer = self.peer()
        sender = self.peer()
        sender.publish(self.topic(), b"kept", qos=1, retain=True)
        peer.subscribe((self.topic(), 1))
        peer.receive(payload=b"kept", retain=True)
        peer.send(self.publish_bytes(self.topic(), b"before", 1, 50001),
                  self.subscribe_bytes(50002, [(self.topic(), 1)]))
        live, again, acknowledged = [], [], 0
        while acknowledged < 3 or len(live) < 2 or not again:
            got = peer.next()
            if got.kind == wire.PUBLISH:
                (again if got.retain else live).append(got.payload)
                peer.send(wire.ack(wire.PUBACK, got.pid))
            else:
                acknowledged += 1
                if got.kind == wire.SUBACK:
                    peer.send(self.publish_bytes(self.topic(), b"after", 1, 50003))
        self.assertEqual((live, again), ([b"before", b"after"], [b"kept"]))

    @shows(v311="3.8.4-4", v5="3.8.4-5")
    def many_filters_in_one_packet_are_as_many_subscriptions(self):
        peer = self.peer()
        got = peer.subscribe(*[(self.topic(str(n)), n % 3) for n in range(9)])
        self.assertEqual(len(got.codes), 9)
        sender = self.peer()
        for number in range(9):
            sender.publish(self.topic(str(number)), str(number), qos=2)
            peer.receive(topic=self.topic(str(number)), qos=number % 3)
        peer.unsubscribe(self.topic("4"))
        sender.publish(self.topic("4"), b"x", qos=1)
        peer.expect_nothing_more()

    @shows(v311="3.8.4-5 3.9.3-1", v5="3.8.4-6 3.9.3-1")
    def a_suback_has_one_code_a_filter_in_their_order(self):
        codes = self.peer().subscribe((self.topic("a"), 2), (self.topic("b"), 0), (self.topic("c"), 1),
                                      (self.topic("a"), 0)).codes
        self.assertEqual(codes, [2, 0, 1, 0])

    @shows(v311="3.8.4-6 3.9.3-2", v5="3.8.4-7 3.9.3-2")
    def a_code_is_the_granted_qos_or_a_failure(self):
        self.assertEqual(self.peer().subscribe((self.topic(), 1)).codes, [1])
        self.server = self.server_with("access")
        peer = self.peer(username="reader", password="reader-secret")
        codes = peer.subscribe((self.topic(), 2), ("test/nosubscribe", 2)).codes
        self.assertEqual(codes[0], 2)
        self.assertIn(codes[1], (0x80, 0x87) if self.is_v5 else (0x80,))

    @shows(v311="3.8.4-6", v5="3.8.4-8")
    def the_delivered_qos_is_the_lower_of_both(self):
        sender = self.peer()
        for granted in (0, 1, 2):
            reader = self.peer()
            reader.subscribe((self.topic(str(granted)), granted))
            for sent in (0, 1, 2):
                sender.publish(self.topic(str(granted)), str(sent), qos=sent)
                reader.receive(payload=str(sent), qos=min(sent, granted))

    @shows(v311="3.3.5-1", v5="3.3.4-2")
    def overlapping_subscriptions_are_served_at_the_highest_qos(self):
        reader = self.peer()
        reader.subscribe((self.topic("#"), 1), (self.topic("+"), 0), (self.topic("t"), 2))
        self.peer().publish(self.topic("t"), b"x", qos=2)
        if not self.is_v5:
            reader.receive(payload=b"x", qos=2)
            reader.expect_nothing_more()
            return
        # In 5.0 a server may send one copy, or one for each subscription: one has the highest QoS.
        got = [reader.expect(wire.PUBLISH, payload=b"x").qos]
        while got[-1] != 2 and len(got) < 3:
            got.append(reader.expect(wire.PUBLISH, payload=b"x").qos)
        self.assertEqual(max(got), 2)


class Options(Case):
    @shows(v5="3.8.3-3")
    def no_local_keeps_a_clients_own_messages_from_it(self):
        peer = self.peer()
        peer.subscribe((self.topic(), 0x04))
        peer.publish(self.topic(), b"mine", qos=1)
        self.peer().publish(self.topic(), b"of another", qos=1)
        peer.receive(payload=b"of another")
        peer.expect_nothing_more()

    @shows(v5="3.8.3-4")
    def no_local_on_a_shared_subscription_is_a_fault(self):
        peer = self.peer()
        peer.send(wire.subscribe(1, [(f"$share/{self.name()}/t", 0x04)]))
        peer.expect_fault(0x82)

    @shows(v5="3.3.4-3")
    def a_message_carries_its_subscriptions_identifier(self):
        peer = self.peer()
        peer.subscribe(self.topic("+"), properties=[(wire.SUBSCRIPTION_ID, 268435455)])
        peer.subscribe(self.topic("other/#"), properties=[(wire.SUBSCRIPTION_ID, 1)])
        peer.publish(self.topic("a"), b"x")
        self.assertEqual(peer.receive().props[wire.SUBSCRIPTION_ID], [268435455])
        for bad in (b"\x0b\x00", b"\x0b\x01\x0b\x02"):
            faulty = self.peer()
            faulty.send(wire.subscribe(1, [(self.topic(), 0)], properties=bad))
            faulty.expect_fault(0x81, 0x82)

    @shows(v5="3.3.4-4 3.3.4-5")
    def overlapping_subscriptions_all_give_their_identifiers(self):
        """One copy with all identifiers, or several copies, each with its own."""
        peer = self.peer()
        for filter_, identifier in (("#", 11), ("+", 12), ("t", 13)):
            peer.subscribe((self.topic(filter_), 1), properties=[(wire.SUBSCRIPTION_ID, identifier)])
        self.peer().publish(self.topic("t"), b"x", qos=1)
        seen = []
        while len(seen) < 3:
            identifiers = peer.receive(payload=b"x").props.get(wire.SUBSCRIPTION_ID, [])
            self.assertTrue(identifiers)
            seen += identifiers
        self.assertEqual(sorted(seen), [11, 12, 13])
        peer.expect_nothing_more()


class Unsubscribe(Case):
    @shows(v311="3.10.1-1", v5="3.10.1-1")
    def other_header_flags_end_the_connection(self):
        for flags in (0, 1, 3, 10):
            peer = self.peer()
            peer.send(self.unsubscribe_bytes(1, [self.topic()], flags=flags))
            peer.expect_fault(0x81)

    @shows(v311="3.10.3-1", v5="3.10.3-1")
    def a_filter_has_to_be_utf8(self):
        peer = self.peer()
        peer.send(self.unsubscribe_bytes(1, [b"a\xff"]))
        peer.expect_fault(0x81, 0x82, 0x8F)

    @shows(v311="3.10.3-2", v5="3.10.3-2")
    def an_unsubscribe_without_a_filter_ends_the_connection(self):
        peer = self.peer()
        peer.send(self.unsubscribe_bytes(1, []))
        peer.expect_fault(0x81, 0x82)

    @shows(v311="3.10.4-1", v5="3.10.4-1")
    def only_the_identical_filter_is_removed(self):
        peer = self.peer()
        peer.subscribe(self.topic("a/+"))
        for filter_ in ("a/b", "a/#", "A/+", "a/+/"):
            peer.unsubscribe(self.topic(filter_))
        peer.publish(self.topic("a/b"), b"still")
        peer.receive(payload=b"still")
        peer.unsubscribe(self.topic("a/+"))
        peer.publish(self.topic("a/b"), b"gone")
        peer.expect_nothing_more()

    @shows(v311="3.10.4-2", v5="3.10.4-2")
    def after_an_unsubscribe_nothing_new_is_added(self):
        peer = self.peer()
        peer.subscribe((self.topic(), 1))
        peer.unsubscribe(self.topic())
        self.peer().publish(self.topic(), b"x", qos=1)
        peer.expect_nothing_more()

    @shows(v311="3.10.4-3", v5="3.10.4-3")
    def deliveries_that_have_begun_are_completed(self):
        peer = self.durable()
        peer.subscribe((self.topic(), 2))
        sender = self.peer()
        sender.publish(self.topic(), b"one", qos=1)
        sender.publish(self.topic(), b"two", qos=2)
        one, two = (peer.expect(wire.PUBLISH) for _ in range(2))
        peer.unsubscribe(self.topic())
        peer.send(wire.ack(wire.PUBREC, two.pid))
        peer.expect(wire.PUBREL, pid=two.pid)
        peer.abort()
        peer = self.durable(peer.client_id)
        got = {p.kind: p for p in (peer.next(), peer.next())}
        self.assertEqual((got[wire.PUBLISH].pid, got[wire.PUBLISH].dup), (one.pid, True))
        self.assertEqual(got[wire.PUBREL].pid, two.pid)
        peer.send(wire.ack(wire.PUBACK, one.pid), wire.ack(wire.PUBCOMP, two.pid))
        peer.expect_nothing_more()

    @shows(v311="3.10.4-4 3.10.4-5", v5="3.10.4-4 3.10.4-5")
    def an_unsubscribe_is_answered_even_when_nothing_is_removed(self):
        peer = self.peer()
        peer.send(self.unsubscribe_bytes(4711, [self.topic("never")]))
        got = peer.expect(wire.UNSUBACK, pid=4711)
        if self.is_v5:
            self.assertEqual(got.codes, [0x11])

    @shows(v311="3.10.4-6", v5="3.10.4-6")
    def many_filters_in_one_packet_are_as_many_removals(self):
        peer = self.peer()
        peer.subscribe(*[self.topic(str(n)) for n in range(4)])
        peer.unsubscribe(self.topic("0"), self.topic("2"), self.topic("3"))
        for number in range(4):
            peer.publish(self.topic(str(number)), str(number))
            if number == 1:
                peer.receive(payload=b"1")
        peer.expect_nothing_more()

    @shows(v5="3.11.3-1 3.11.3-2")
    def an_unsuback_has_one_code_a_filter_in_their_order(self):
        peer = self.peer()
        peer.subscribe(self.topic("a"), self.topic("b"))
        got = peer.unsubscribe(self.topic("x"), self.topic("b"), self.topic("y"), self.topic("a"))
        self.assertEqual(got.codes, [0x11, 0, 0x11, 0])


class Filters(Case):
    @shows(v311="4.7.1-2", v5="4.7.1-1")
    def a_hash_stands_alone_at_the_end(self):
        for filter_ in ("a/#/b", "a#", "#a", "#/", "a/b#", "##"):
            with self.subTest(filter=filter_):
                self.expect_filter_refused(self.peer(), filter_)
        peer = self.peer()
        self.assertEqual(peer.subscribe(self.topic("a/#")).codes, [0])
        peer.publish(self.topic("a"), b"parent")
        peer.receive(payload=b"parent")

    @shows(v311="4.7.1-3", v5="4.7.1-2")
    def a_plus_fills_a_whole_level(self):
        for filter_ in ("a+", "+a", "a/b+/c", "++", "a/+b"):
            with self.subTest(filter=filter_):
                self.expect_filter_refused(self.peer(), filter_)
        peer = self.peer()
        peer.subscribe(self.topic("+/+"))
        for tail in ("x", "x/y", "x/", "/y", "x/y/z"):
            peer.publish(self.topic(tail), tail)
        for tail in ("x/y", "x/", "/y"):
            peer.receive(payload=tail)
        peer.expect_nothing_more()

    @shows(v311="4.7.2-1", v5="4.7.2-1")
    def a_leading_wildcard_does_not_match_a_dollar_topic(self):
        self.server = self.server_with("quiet")  # A server without other publishers.
        reader, insider = self.peer(), self.peer()
        reader.subscribe("#", "+/" + self.name())
        insider.subscribe("$other/#")
        sender = self.peer()
        sender.publish("$other/" + self.name(), b"hidden", qos=1)
        sender.publish(self.topic(), b"seen", qos=1)
        insider.receive(topic="$other/" + self.name(), payload=b"hidden")
        reader.receive(topic=self.topic(), payload=b"seen")

    @shows(v311="4.7.3-1", v5="4.7.3-1")
    def names_and_filters_have_at_least_one_character(self):
        self.expect_filter_refused(self.peer(), "")
        peer = self.peer()
        peer.send(self.publish_bytes("", b"x"))
        peer.expect_fault(0x81, 0x82, 0x90)

    @shows(v311="4.7.3-2", v5="4.7.3-2")
    def names_and_filters_have_no_null_character(self):
        for build in (lambda p: self.publish_bytes("a\0b", b""),
                      lambda p: self.subscribe_bytes(p.pid(), [("a\0b", 0)]),
                      lambda p: self.unsubscribe_bytes(p.pid(), ["a\0b"])):
            peer = self.peer()
            peer.send(build(peer))
            peer.expect_fault(0x81, 0x82, 0x8F, 0x90)

    @shows(v311="4.7.3-3", v5="4.7.3-3")
    def a_name_of_the_greatest_length_is_taken_whole(self):
        peer = self.peer()
        name = self.topic("x" * (65535 - len(self.topic(""))))
        self.assertEqual(len(name.encode()), 65535)
        self.assertEqual(peer.subscribe(name).codes, [0])
        peer.publish(name, b"x")
        peer.receive(topic=name)

    @shows(v311="4.7.3-4", v5="4.7.3-4")
    def names_are_compared_byte_by_byte(self):
        peer = self.peer()
        composed, decomposed = self.topic("\u00e5"), self.topic("a\u030a")
        peer.subscribe(composed, self.topic("Case"), self.topic("/"), self.topic("a b"))
        for topic in (decomposed, self.topic("case"), self.topic(""), self.topic("//"),
                      self.topic("a  b")):
            peer.publish(topic, b"no")
        peer.publish(composed, b"yes")
        peer.receive(topic=composed, payload=b"yes")
        peer.publish(self.topic("/"), b"yes")
        peer.receive(topic=self.topic("/"))
        peer.expect_nothing_more()


class Shared(Case):
    def share(self, tail="t"):
        return f"$share/{self.name()}/{self.topic(tail)}"

    @shows(v5="4.8.2-1 4.8.2-2")
    def a_share_name_is_needed_and_has_no_wildcards(self):
        for filter_ in ("$share//t", "$share/a+b/t", "$share/a#/t", "$share/+/t", "$share/group",
                        "$share/group/", "$share/"):
            with self.subTest(filter=filter_):
                self.expect_filter_refused(self.peer(), filter_)
        self.assertEqual(self.peer().subscribe(self.share()).codes, [0])

    @shows(v5="4.8.2-3")
    def each_member_gets_messages_at_its_own_qos(self):
        low, high = self.peer(), self.peer()
        low.subscribe((self.share(), 0), (self.topic("end"), 0))
        high.subscribe((self.share(), 2), (self.topic("end"), 0))
        sender = self.peer()
        jobs = [str(number).encode() for number in range(20)]
        for job in jobs:
            sender.publish(self.topic(), job, qos=2)
        sender.publish(self.topic("end"), b"")
        seen = {}
        for peer, qos in ((low, 0), (high, 2)):
            seen[qos] = []
            while (packet := peer.expect(wire.PUBLISH)).topic != self.topic("end"):
                self.assertEqual(packet.qos, qos)
                seen[qos].append(packet.payload)
        self.assertEqual(sorted(seen[0] + seen[2], key=int), jobs)
        self.assertTrue(seen[0] and seen[2], "one member got everything")

    def member_that_holds(self, qos):
        """Returns (the member that got the job and has not acknowledged it, the other one, the job)."""
        members = [self.durable(), self.durable()]
        for member in members:
            member.subscribe((self.share(), 2))
        self.peer().publish(self.topic(), b"job", qos=qos)
        ready = select.select([member.sock for member in members], [], [], TIMEOUT_S)[0]
        self.assertEqual(len(ready), 1)
        holder, other = sorted(members, key=lambda member: member.sock is not ready[0])
        return holder, other, holder.expect(wire.PUBLISH, qos=qos)

    @shows(v5="4.8.2-4")
    def a_qos_2_delivery_is_completed_with_the_member_it_began_with(self):
        holder, other, job = self.member_that_holds(2)
        holder.send(wire.ack(wire.PUBREC, job.pid))
        holder.expect(wire.PUBREL, pid=job.pid)
        holder.abort()
        other.expect_nothing_more()
        holder = self.durable(holder.client_id)
        holder.expect(wire.PUBREL, pid=job.pid)
        holder.send(wire.ack(wire.PUBCOMP, job.pid))
        holder.expect_nothing_more()

    @shows(v5="4.8.2-5")
    def a_qos_2_message_of_an_ended_session_goes_to_nobody_else(self):
        holder, other, job = self.member_that_holds(2)
        holder.abort()
        self.peer(holder.client_id, clean=True).disconnect()
        other.expect_nothing_more()

    @shows(v5="4.8.2-6")
    def a_message_that_a_member_rejects_goes_to_nobody_else(self):
        for qos, kind in ((1, wire.PUBACK), (2, wire.PUBREC)):
            holder, other, job = self.member_that_holds(qos)
            holder.send(wire.ack(kind, job.pid, 0x80, ()))
            holder.expect_nothing_more()
            other.expect_nothing_more()
            self.leave(holder)
            self.leave(other)
            for peer in (holder, other):
                self.peer(peer.client_id, clean=True).disconnect()


class AnswerSizes(Case):
    """Reason strings and user properties are omitted from a packet that would become too large."""

    @shows(v5="3.9.2-1 3.9.2-2")
    def a_suback_fits_the_maximum_packet_size(self):
        self.server = self.server_with("access")
        filters = [("test/nosubscribe", 0)] * 60
        peer = self.peer(username="reader", password="reader-secret")
        full = peer.subscribe(*filters)
        self.assertEqual(len(full.codes), 60)
        bare = 2 + 2 + 1 + 60
        small = self.peer(username="reader", password="reader-secret",
                          properties=[(wire.MAXIMUM_PACKET, bare)])
        self.assertEqual(small.subscribe(*filters).size, bare)

    @shows(v5="3.1.2-24")
    def a_client_that_cannot_be_answered_is_told_so(self):
        for number, packet in enumerate((wire.subscribe(1, [(self.topic(), 0)] * 60),
                                         wire.unsubscribe(1, [self.topic()] * 60))):
            peer = self.peer(client_id=f"{self.unique}small{number}",
                             properties=[(wire.MAXIMUM_PACKET, 60)])
            peer.send(packet)
            peer.expect_fault(0x95)

    @shows(v5="3.1.2-24")
    def no_alias_makes_a_message_too_large(self):
        payload = b"x" * 40
        fits = len(wire.publish(self.topic(), payload))
        peer = self.peer(properties=[(wire.MAXIMUM_PACKET, fits), (wire.ALIAS_MAXIMUM, 4)])
        peer.subscribe(self.topic())
        self.peer().publish(self.topic(), payload)
        self.assertEqual(peer.receive(topic=self.topic(), payload=payload).size, fits)

    @shows(v5="3.1.2-24")
    def a_connack_that_does_not_fit_is_not_sent(self):
        peer = self.raw()
        peer.send(wire.connect(self.unique, properties=[(wire.MAXIMUM_PACKET, 8)]))
        self.assertEqual(peer.expect_refused(0x95).size, 5)
        peer = self.raw()
        peer.send(wire.connect(self.unique, properties=[(wire.MAXIMUM_PACKET, 4)]))
        peer.expect_end()

    @shows(v5="3.11.2-1 3.11.2-2")
    def an_unsuback_fits_the_maximum_packet_size(self):
        filters = [self.topic(str(n)) for n in range(60)]
        bare = 2 + 2 + 1 + 60
        small = self.peer(properties=[(wire.MAXIMUM_PACKET, bare)])
        got = small.unsubscribe(*filters)
        self.assertEqual((got.size, len(got.codes)), (bare, 60))


if __name__ == "__main__":
    main()
