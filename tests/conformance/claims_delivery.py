"""The QoS flows in both directions, redelivery, order and flow control (3.4 to 3.7, 4.3 to 4.6, 4.9)."""

import wire
from case import Case, main, shows


class Flows(Case):
    """From a client to the server."""

    def watched(self):
        watcher, sender = self.peer(), self.peer()
        watcher.subscribe(self.topic())
        return watcher, sender

    @shows(v311="4.3.2-2", v5="4.3.2-4 4.3.2-5")
    def a_qos_1_message_is_acknowledged_and_its_identifier_is_free_again(self):
        watcher, sender = self.watched()
        for number in range(3):  # DUP does not matter once the PUBACK has been sent.
            sender.send(self.publish_bytes(self.topic(), str(number), 1, 77, dup=number == 2))
            sender.expect(wire.PUBACK, pid=77)
            watcher.receive(payload=str(number))

    @shows(v311="4.3.3-2", v5="4.3.3-8 4.3.3-10")
    def a_repeated_qos_2_publish_is_delivered_once(self):
        watcher, sender = self.watched()
        for dup in (False, True, True):
            sender.send(self.publish_bytes(self.topic(), b"once", 2, 9, dup=dup))
            sender.expect(wire.PUBREC, pid=9, code=0)
        sender.send(wire.ack(wire.PUBREL, 9))
        sender.expect(wire.PUBCOMP, pid=9, code=0)
        watcher.receive(payload=b"once")
        watcher.expect_nothing_more()

    @shows(v311="4.3.3-2", v5="4.3.3-10")
    def a_qos_2_publish_repeated_after_a_reconnect_is_delivered_once(self):
        watcher = self.peer()
        watcher.subscribe(self.topic())
        sender = self.durable()
        sender.send(self.publish_bytes(self.topic(), b"once", 2, 9))
        sender.expect(wire.PUBREC, pid=9)
        sender.abort()
        sender = self.durable(sender.client_id)
        sender.send(self.publish_bytes(self.topic(), b"once", 2, 9, dup=True))
        sender.expect(wire.PUBREC, pid=9)
        sender.send(wire.ack(wire.PUBREL, 9))
        sender.expect(wire.PUBCOMP, pid=9)
        watcher.receive(payload=b"once")
        watcher.expect_nothing_more()

    @shows(v5="4.3.3-11")
    def a_pubrel_is_answered_by_a_pubcomp(self):
        peer = self.peer()
        peer.send(self.publish_bytes(self.topic(), b"", 2, 3), wire.ack(wire.PUBREL, 3))
        peer.expect(wire.PUBREC, pid=3)
        peer.expect(wire.PUBCOMP, pid=3, code=0)
        peer.send(wire.ack(wire.PUBREL, 3))
        peer.expect(wire.PUBCOMP, pid=3, code={0, 0x92})

    @shows(v5="4.3.3-12")
    def behind_pubcomp_the_identifier_names_a_new_message(self):
        watcher, sender = self.watched()
        for number in range(3):
            sender.send(self.publish_bytes(self.topic(), str(number), 2, 5, dup=number == 1))
            sender.expect(wire.PUBREC, pid=5)
            sender.send(wire.ack(wire.PUBREL, 5))
            sender.expect(wire.PUBCOMP, pid=5)
            watcher.receive(payload=str(number))

    @shows(v5="4.3.3-9")
    def behind_a_refusing_pubrec_the_identifier_names_a_new_message(self):
        self.server = self.server_with("access")
        watcher = self.peer(username="reader", password="reader-secret")
        watcher.subscribe("open/" + self.name())
        sender = self.peer(username="reader", password="reader-secret")
        sender.send(wire.publish("denied/x", b"no", 2, 8))
        self.assertEqual(sender.expect(wire.PUBREC, pid=8).code, 0x87)
        sender.send(wire.publish("open/" + self.name(), b"yes", 2, 8))
        sender.expect(wire.PUBREC, pid=8, code=0)
        sender.send(wire.ack(wire.PUBREL, 8))
        sender.expect(wire.PUBCOMP, pid=8, code=0)
        watcher.receive(payload=b"yes")

    @shows(v5="4.3.3-13")
    def an_expired_message_is_still_acknowledged_to_the_end(self):
        peer = self.peer()
        peer.send(wire.publish(self.topic(), b"", 2, 3, properties=[(wire.MESSAGE_EXPIRY, 1)]))
        peer.expect(wire.PUBREC, pid=3)
        self.let_pass(1.2)
        peer.send(wire.ack(wire.PUBREL, 3))
        peer.expect(wire.PUBCOMP, pid=3, code=0)

    @shows(v311="3.6.1-1", v5="3.6.1-1")
    def other_header_flags_in_pubrel_end_the_connection(self):
        for flags in (0, 1, 3, 6, 10):
            peer = self.peer()
            peer.send(self.publish_bytes(self.topic(), b"", 2, 3))
            peer.expect(wire.PUBREC, pid=3)
            peer.send(wire.ack(wire.PUBREL, 3, flags=flags))
            peer.expect_fault(0x81)

    @shows(v311="4.5.0-1", v5="4.5.0-1")
    def every_matching_session_gets_an_acknowledged_message(self):
        sleepers = [self.durable() for _ in range(3)]
        for sleeper in sleepers:
            sleeper.subscribe((self.topic("+"), 1))
        for sleeper in sleepers[:2]:
            self.leave(sleeper)
        self.peer().publish(self.topic("x"), b"owned", qos=1)
        sleepers[2].receive(payload=b"owned")
        for sleeper in sleepers[:2]:
            self.durable(sleeper.client_id).receive(payload=b"owned")


class Deliveries(Case):
    """From the server to a client."""

    def receiver(self, qos=2, **options):
        peer = self.durable(**options)
        peer.subscribe((self.topic(), qos))
        return peer

    def again(self, peer, **options):
        """The same client after a crash. Waits for PINGRESP first: the server has then read the acknowledgements, and
        does not send those messages again."""
        peer.send(wire.pingreq())
        peer.expect(wire.PINGRESP)
        peer.abort()
        back = self.durable(peer.client_id, **options)
        self.assertEqual(back.connack.session_present, 1)
        return back

    def sent(self, *payloads, qos=1):
        sender = self.peer()
        for payload in payloads:
            sender.publish(self.topic(), payload, qos=qos)
        return sender

    @shows(v311="4.3.1-1", v5="4.3.1-1")
    def qos_0_goes_out_once_without_dup(self):
        peer = self.receiver(qos=0)
        self.sent(b"x", qos=2)
        peer.receive(qos=0, dup=False, payload=b"x")
        self.again(peer).expect_nothing_more()

    @shows(v311="4.3.2-1", v5="4.3.2-1 4.3.2-2")
    def qos_1_goes_out_with_a_fresh_identifier_and_without_dup(self):
        peer = self.receiver(qos=1)
        self.sent(b"a", b"b", b"c")
        used = [peer.expect(wire.PUBLISH, qos=1, dup=False).pid for _ in range(3)]
        self.assertEqual(len(set(used)), 3)
        for pid in used:
            peer.send(wire.ack(wire.PUBACK, pid))
        self.again(peer).expect_nothing_more()

    @shows(v311="3.3.1-1 4.4.0-1", v5="3.3.1-1 4.3.2-3 4.4.0-1")
    def an_unacknowledged_qos_1_message_is_sent_again_with_dup(self):
        peer = self.receiver(qos=1)
        self.sent(b"a", b"b")
        first = peer.expect(wire.PUBLISH, payload=b"a", dup=False)
        second = peer.expect(wire.PUBLISH, payload=b"b", dup=False)
        peer.send(wire.ack(wire.PUBACK, first.pid))
        peer.expect_nothing_more()  # There is no redelivery within a connection.
        peer = self.again(peer)
        peer.expect(wire.PUBLISH, payload=b"b", dup=True, pid=second.pid)
        peer.send(wire.ack(wire.PUBACK, second.pid))
        peer.expect_nothing_more()
        self.again(peer).expect_nothing_more()

    @shows(v311="4.3.3-1", v5="4.3.3-1 4.3.3-2")
    def qos_2_goes_out_with_a_fresh_identifier_and_without_dup(self):
        peer = self.receiver()
        self.sent(b"a", b"b", b"c", qos=2)
        used = [peer.expect(wire.PUBLISH, qos=2, dup=False).pid for _ in range(3)]
        self.assertEqual(len(set(used)), 3)

    @shows(v5="4.3.3-3")
    def a_qos_2_message_without_pubrec_is_sent_again(self):
        peer = self.receiver()
        self.sent(b"x", qos=2)
        pid = peer.expect(wire.PUBLISH, payload=b"x", dup=False).pid
        self.again(peer).expect(wire.PUBLISH, payload=b"x", dup=True, pid=pid)

    @shows(v311="4.3.3-1 4.4.0-1", v5="4.3.3-4 4.3.3-5 4.3.3-6 4.4.0-1")
    def behind_pubrec_only_the_pubrel_is_sent_again(self):
        peer = self.receiver()
        self.sent(b"x", qos=2)
        pid = peer.expect(wire.PUBLISH).pid
        peer.send(wire.ack(wire.PUBREC, pid))
        peer.expect(wire.PUBREL, pid=pid, code=0)
        for _ in range(2):
            peer = self.again(peer)
            peer.expect(wire.PUBREL, pid=pid)
        peer.send(wire.ack(wire.PUBCOMP, pid))
        peer.expect_nothing_more()
        self.again(peer).expect_nothing_more()

    @shows(v5="4.4.0-2")
    def a_message_that_the_client_rejects_is_not_sent_again(self):
        peer = self.receiver()
        for qos, kind in ((1, wire.PUBACK), (2, wire.PUBREC)):
            self.sent(b"no", qos=qos)
            got = peer.expect(wire.PUBLISH, qos=qos)
            peer.send(wire.ack(kind, got.pid, 0x80, ()))
            peer.expect_nothing_more()  # No PUBREL for a rejected message.
        self.again(peer).expect_nothing_more()

    @shows(v5="4.3.3-7")
    def a_message_that_has_been_sent_does_not_expire(self):
        peer = self.receiver()
        # Time enough to be sent.
        self.peer().publish(self.topic(), b"x", qos=2, properties=[(wire.MESSAGE_EXPIRY, 4)])
        pid = peer.expect(wire.PUBLISH, payload=b"x").pid
        self.let_pass(4.2)
        peer = self.again(peer)
        peer.expect(wire.PUBLISH, payload=b"x", pid=pid, dup=True)

    @shows(v311="4.6.0-1")
    def what_is_sent_again_keeps_its_order(self):
        peer = self.receiver()
        numbers = [str(n).encode() for n in range(12)]
        sender = self.peer()
        for number in numbers:
            sender.publish(self.topic(), number, qos=1 + int(number) % 2)
        first = [peer.expect(wire.PUBLISH, dup=False) for _ in numbers]
        peer = self.again(peer)
        second = [peer.expect(wire.PUBLISH, dup=True) for _ in numbers]
        self.assertEqual([(p.pid, p.payload) for p in second], [(p.pid, p.payload) for p in first])


class Order(Case):
    @shows(v311="4.6.0-2")
    def pubacks_keep_the_order_of_the_publishes(self):
        peer = self.peer()
        pids = [9, 3, 700, 1, 65535, 2]
        peer.send(*[self.publish_bytes(self.topic(), b"", 1, pid) for pid in pids])
        for pid in pids:
            peer.expect(wire.PUBACK, pid=pid)

    @shows(v311="4.6.0-3")
    def pubrecs_keep_the_order_of_the_publishes(self):
        peer = self.peer()
        pids = [9, 3, 700, 1, 65535, 2]
        peer.send(*[self.publish_bytes(self.topic(), b"", 2, pid) for pid in pids])
        for pid in pids:
            peer.expect(wire.PUBREC, pid=pid)

    @shows(v311="4.6.0-2")
    def a_refused_message_is_acknowledged_in_its_turn(self):
        self.server = self.server_with("access")
        peer = self.peer(username="reader", password="reader-secret")
        for start in range(1, 200, 4):
            topics = ["open/x", "denied/x", "open/x", "denied/x"]
            peer.send(*[self.publish_bytes(topic, b"", 1, start + at)
                        for at, topic in enumerate(topics)])
            for at in range(4):
                peer.expect(wire.PUBACK, pid=start + at)

    @shows(v311="4.6.0-4")
    def pubrels_keep_the_order_of_the_pubrecs(self):
        peer = self.peer()
        peer.subscribe((self.topic(), 2))
        sender = self.peer()
        for _ in range(6):
            sender.publish(self.topic(), b"x", qos=2)
        pids = [peer.expect(wire.PUBLISH).pid for _ in range(6)]
        shuffled = [pids[at] for at in (3, 0, 5, 1, 4, 2)]
        peer.send(*[wire.ack(wire.PUBREC, pid) for pid in shuffled])
        for pid in shuffled:
            peer.expect(wire.PUBREL, pid=pid)

    @shows(v311="4.6.0-5 4.6.0-6", v5="4.6.0-5 4.6.0-6")
    def messages_of_a_topic_and_qos_arrive_in_the_order_they_were_sent(self):
        readers = {qos: self.peer() for qos in (0, 1, 2)}
        for qos, reader in readers.items():
            reader.subscribe((self.topic("+"), qos))
        sender = self.peer()
        count, at_once = 60, 15
        for start in range(0, count, at_once):
            numbers = range(start, start + at_once)
            sender.send(*[self.publish_bytes(self.topic(str(n % 3)), str(n), 2, n + 1)
                          for n in numbers])
            for kind in (wire.PUBREC, wire.PUBCOMP):
                for number in numbers:
                    sender.expect(kind, pid=number + 1)
                    if kind == wire.PUBREC:
                        sender.send(wire.ack(wire.PUBREL, number + 1))
        for qos, reader in readers.items():
            seen = {}
            for _ in range(count):
                got = reader.expect(wire.PUBLISH, qos=qos)
                seen.setdefault(got.topic, []).append(int(got.payload))
            self.assertEqual(len(seen), 3)
            for numbers in seen.values():
                self.assertEqual(numbers, sorted(numbers))


class Quota(Case):
    """Receive Maximum in both directions."""

    def limited(self, maximum, count, qos=1):
        topic = self.topic(f"q{qos}")
        peer = self.peer(properties=[(wire.RECEIVE_MAXIMUM, maximum)])
        peer.subscribe((topic, 2))
        sender = self.peer()
        for number in range(count):
            sender.publish(topic, str(number), qos=qos)
        return peer

    @shows(v5="3.3.4-9 4.9.0-1 4.9.0-2")
    def no_more_than_the_clients_maximum_is_unacknowledged(self):
        for qos, first, last in ((1, wire.PUBACK, None), (2, wire.PUBREC, wire.PUBCOMP)):
            peer = self.limited(2, 5, qos)
            open_ = [peer.expect(wire.PUBLISH, payload=str(n)).pid for n in range(2)]
            peer.expect_nothing_more(sentinel=False)
            for number in range(2, 5):
                pid = open_.pop(0)
                peer.send(wire.ack(first, pid))
                if last:
                    peer.expect(wire.PUBREL, pid=pid)
                    peer.expect_nothing_more(sentinel=False)
                    peer.send(wire.ack(last, pid))
                open_.append(peer.expect(wire.PUBLISH, payload=str(number)).pid)
                peer.expect_nothing_more(sentinel=False)

    @shows(v5="3.3.4-10 4.9.0-3")
    def other_packets_are_answered_while_the_quota_is_used_up(self):
        peer = self.limited(1, 3)
        held = peer.expect(wire.PUBLISH)
        peer.send(wire.pingreq())
        peer.expect(wire.PINGRESP)
        peer.subscribe(self.topic("other"))
        peer.unsubscribe(self.topic("other"))
        peer.publish(self.topic("elsewhere"), b"", qos=1)
        peer.publish(self.topic("elsewhere"), b"", qos=2)
        peer.send(wire.ack(wire.PUBACK, held.pid))
        peer.receive(payload=b"1")

    @shows(v5="3.3.4-7")
    def a_client_that_exceeds_the_servers_maximum_is_disconnected(self):
        self.server = self.server_with("small")
        peer = self.peer()
        maximum = peer.connack.one(wire.RECEIVE_MAXIMUM, 65535)
        self.assertEqual(maximum, 10)
        for pid in range(1, maximum + 1):
            peer.send(wire.publish(self.topic(), b"", 2, pid))
            peer.expect(wire.PUBREC, pid=pid)
        peer.send(wire.publish(self.topic(), b"", 2, maximum + 1))
        peer.expect_fault(0x93)


class Answers(Case):
    """The codes of acknowledgements, and the short forms."""

    def refused(self, peer, qos, pid=4):
        peer.send(wire.publish("denied/x", b"", qos, pid))
        return peer.expect(wire.PUBACK if qos == 1 else wire.PUBREC, pid=pid)

    @shows(v5="3.4.2-1")
    def puback_has_a_known_code(self):
        self.assertIn(self.peer().publish(self.topic(), b"", qos=1).code, (0, 0x10))
        self.server = self.server_with("access")
        peer = self.peer(username="reader", password="reader-secret")
        self.assertEqual(self.refused(peer, 1).code, 0x87)

    @shows(v5="3.5.2-1")
    def pubrec_has_a_known_code(self):
        peer = self.peer()
        peer.send(wire.publish(self.topic(), b"", 2, 2))
        self.assertIn(peer.expect(wire.PUBREC).code, (0, 0x10))
        self.server = self.server_with("access")
        peer = self.peer(username="reader", password="reader-secret")
        self.assertEqual(self.refused(peer, 2).code, 0x87)

    @shows(v5="3.6.2-1")
    def pubrel_has_a_known_code(self):
        peer = self.peer()
        peer.send(wire.ack(wire.PUBREC, 4711))  # For a message that was never sent.
        peer.expect(wire.PUBREL, pid=4711, code={0, 0x92})

    @shows(v5="3.7.2-1")
    def pubcomp_has_a_known_code(self):
        peer = self.peer()
        peer.send(wire.ack(wire.PUBREL, 4711))
        peer.expect(wire.PUBCOMP, pid=4711, code={0, 0x92})

    def fits(self, provoke):
        limit = 40
        for properties in ((), [(wire.MAXIMUM_PACKET, limit)]):
            peer = self.peer(username="reader", password="reader-secret", properties=properties)
            got = provoke(peer)
            self.assertNotIn(wire.USER, got.props)
        self.assertLessEqual(got.size, limit)
        peer.send(wire.pingreq())
        peer.expect(wire.PINGRESP)

    @shows(v5="3.4.2-2 3.4.2-3")
    def puback_fits_the_maximum_packet_size(self):
        self.server = self.server_with("access")
        self.fits(lambda peer: self.refused(peer, 1))

    @shows(v5="3.5.2-2 3.5.2-3")
    def pubrec_fits_the_maximum_packet_size(self):
        self.server = self.server_with("access")
        self.fits(lambda peer: self.refused(peer, 2))

    @shows(v5="3.6.2-2 3.6.2-3")
    def pubrel_fits_the_maximum_packet_size(self):
        def unknown(peer):
            peer.send(wire.ack(wire.PUBREC, 4711))
            return peer.expect(wire.PUBREL, pid=4711)
        self.server = self.server_with("access")
        self.fits(unknown)

    @shows(v5="3.7.2-2 3.7.2-3")
    def pubcomp_fits_the_maximum_packet_size(self):
        def unknown(peer):
            peer.send(wire.ack(wire.PUBREL, 4711))
            return peer.expect(wire.PUBCOMP, pid=4711)
        self.server = self.server_with("access")
        self.fits(unknown)

    @shows(v5="3.1.2-29")
    def no_reason_is_given_to_a_client_that_does_not_want_it(self):
        self.server = self.server_with("access")
        peer = self.peer(username="reader", password="reader-secret",
                         properties=[(wire.REQUEST_PROBLEM, 0)])
        answers = [self.refused(peer, 1), self.refused(peer, 2), peer.subscribe("test/nosubscribe"),
                   peer.unsubscribe("never")]
        peer.send(wire.ack(wire.PUBREC, 4711))
        answers.append(peer.expect(wire.PUBREL))
        peer.send(wire.ack(wire.PUBREL, 4711))
        answers.append(peer.expect(wire.PUBCOMP))
        for answer in answers:
            self.assertEqual(answer.props, {}, answer)


class Streams(Case):
    @shows(v311="7.1.1-1 7.0.0-2", v5="4.2.0-1")
    def packets_may_arrive_in_any_pieces(self):
        peer = self.raw()
        peer.send(*[bytes([octet]) for octet in self.connect_bytes(self.name())])
        peer.expect(wire.CONNACK, code=0)
        script = self.subscribe_bytes(1, [(self.topic(), 0)]) + \
            b"".join(self.publish_bytes(self.topic(), str(n)) for n in range(50))
        for octet in script:
            peer.sock.send(bytes([octet]))
        peer.expect(wire.SUBACK, pid=1)
        for number in range(50):
            peer.receive(payload=str(number))

    @shows(v311="4.8.0-2", v5="3.2.2-15")
    def a_packet_above_the_servers_limit_ends_its_connection_alone(self):
        other, peer = self.peer(), self.peer()
        peer.send(bytes([wire.PUBLISH << 4]) + wire.varint(268435455) + b"\0\1x")
        peer.expect_fault(0x95)
        other.send(wire.pingreq())
        other.expect(wire.PINGRESP)

    @shows(v311="4.8.0-1", v5="4.13.1-1")
    def a_malformed_packet_ends_its_connection_alone(self):
        for bad in (b"\x00\x00", b"\x30\x80\x80\x80\x80\x01", b"\x40\x01\x00", b"\x20\x02\x00\x00",
                    b"\xd0\x00", b"\xc0\x01\x00", b"\x82\x02\x00\x01", b"\xb0\x02\x00\x01"):
            with self.subTest(bad=bad.hex()):
                other, peer = self.peer(), self.peer()
                peer.send(bad)
                peer.expect_fault(0x81, 0x82)
                other.send(wire.pingreq())
                other.expect(wire.PINGRESP)


if __name__ == "__main__":
    main()
