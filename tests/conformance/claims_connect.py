"""CONNECT and CONNACK: what is accepted, what is refused, and how (3.1, 3.2)."""

import wire
from case import Case, main, shows

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class FirstPacket(Case):
    @shows(v311="3.1.0-1", v5="3.1.0-1")
    def a_first_packet_other_than_connect_ends_the_connection(self):
        for packet in (wire.pingreq(), self.publish_bytes(self.topic(), b"x"),
                       self.subscribe_bytes(1, [("#", 0)]), wire.disconnect()):
            peer = self.raw()
            peer.send(packet)
            peer.expect_end()

    @shows(v311="3.1.0-2 4.8.0-1", v5="3.1.0-2")
    def a_second_connect_ends_the_connection(self):
        peer = self.peer()
        peer.send(self.connect_bytes(peer.client_id))
        peer.expect_fault(0x82)

    @shows(v311="3.2.0-1", v5="3.2.0-1")
    def connack_comes_before_anything_else(self):
        # A session with a message waiting, and requests sent in the same segment as CONNECT.
        first = self.durable()
        first.subscribe(self.topic(), qos=1)
        self.leave(first)
        self.peer().publish(self.topic(), b"waiting", qos=1)
        peer = self.raw()
        peer.send(self.connect_bytes(first.client_id, clean=False), wire.pingreq(),
                  self.subscribe_bytes(9, [(self.topic("more"), 0)]))
        peer.expect(wire.CONNACK, code=0, session_present=1)
        self.assertEqual({peer.next().kind for _ in range(3)},
                         {wire.PINGRESP, wire.SUBACK, wire.PUBLISH})

    @shows(v5="3.2.0-2")
    def there_is_one_connack_in_a_connection(self):
        peer = self.peer()
        peer.send(wire.connect(peer.client_id), wire.pingreq())
        peer.expect_fault(0x82)  # And no second CONNACK before it.


class Protocol(Case):
    @shows(v311="3.1.2-1", v5="3.1.2-1")
    def a_wrong_protocol_name_is_not_served(self):
        for name in ("MQTX", "mqtt", "MQTTX", "HTTP"):
            peer = self.raw()
            peer.send(self.connect_bytes(self.name(), name=name))
            peer.expect_refused(0x84, 0x81, 0x01)

    @shows(v311="3.2.2-6")
    def a_fault_without_a_return_code_gets_no_connack(self):
        for packet in (self.connect_bytes(self.name(), flags=0x03), wire.packet(wire.CONNECT, 0, b"")):
            peer = self.raw()
            peer.send(packet)
            peer.expect_end()

    @shows(v311="3.1.2-2", v5="3.1.2-2")
    def an_unknown_protocol_level_is_refused_by_its_code(self):
        for level in (0, 2, 6, 127):
            peer = self.raw(version=5 if level > 5 else 4)  # Levels above 5 get a CONNACK of 5.0.
            packet = wire.connect(self.name(), version=4, level=level)
            peer.send(packet)
            got = peer.next()
            if got is not None:
                self.assertEqual((got.kind, got.ack_flags), (wire.CONNACK, 0), got)
                self.assertIn(got.code, (0x01, 0x84), got)
                peer.expect_end()
            elif not self.is_v5:
                self.fail("3.1.1 asks for CONNACK 0x01 before the end")

    @shows(v311="3.1.2-3", v5="3.1.2-3")
    def the_reserved_connect_flag_has_to_be_zero(self):
        peer = self.raw()
        peer.send(self.connect_bytes(self.name(), flags=0x03))
        peer.expect_refused(0x81)

    @shows(v311="3.1.4-1", v5="3.1.4-1")
    def a_connect_that_does_not_conform_ends_the_connection(self):
        faulty = [wire.packet(wire.CONNECT, 0, b""), wire.packet(wire.CONNECT, 0, wire.raw("MQTT")),
                  self.connect_bytes(self.name(), tail=b"surplus")]
        if self.is_v5:
            faulty += [wire.connect(self.name(), properties=[(wire.RECEIVE_MAXIMUM, 0)]),
                       wire.connect(self.name(), properties=[(wire.MAXIMUM_PACKET, 0)]),
                       wire.connect(self.name(), properties=[(wire.REQUEST_PROBLEM, 2)]),
                       wire.connect(self.name(), properties=[(wire.AUTH_DATA, b"x")]),
                       wire.connect(self.name(), properties=[(wire.ALIAS, 1)])]
        for packet in faulty:
            with self.subTest(packet=packet.hex()):
                peer = self.raw()
                peer.send(packet)
                if self.is_v5:
                    peer.expect_refused(0x81, 0x82)
                else:
                    peer.expect_end()


class Fields(Case):
    def refused(self, *options, **named):
        peer = self.raw()
        peer.send(self.connect_bytes(self.name(), *options, **named))
        peer.expect_refused(0x81, 0x82, 0x85, 0x86, 0x90, 0x9B)

    @shows(v311="3.1.2-9", v5="3.1.2-9")
    def a_will_flag_without_topic_and_payload_is_refused(self):
        self.refused(flags=0x06)
        self.refused(flags=0x06, tail=(b"\0" if self.is_v5 else b"") + wire.raw("only/topic"))

    @shows(v311="3.1.2-11")
    def will_fields_without_a_will_flag_are_refused(self):
        self.refused(flags=0x0A)
        self.refused(flags=0x22)
        self.refused(flags=0x02, tail=wire.raw("topic") + wire.raw("payload"))

    @shows(v311="3.1.2-13", v5="3.1.2-11")
    def a_will_qos_without_a_will_flag_is_refused(self):
        self.refused(flags=0x0A)
        self.refused(flags=0x12)

    @shows(v311="3.1.2-14", v5="3.1.2-12")
    def will_qos_three_is_refused_and_the_others_are_not(self):
        for qos in (0, 1, 2):
            self.peer(will=wire.will(self.topic(), qos=qos)).disconnect()
        self.refused(will=wire.will(self.topic(), qos=3))

    @shows(v311="3.1.2-15", v5="3.1.2-13")
    def will_retain_without_a_will_flag_is_refused(self):
        self.refused(flags=0x22)

    @shows(v311="3.1.2-18", v5="3.1.2-16")
    def a_user_name_without_its_flag_is_refused(self):
        self.refused(flags=0x02, tail=wire.raw("user"))

    @shows(v311="3.1.2-19", v5="3.1.2-17")
    def a_user_name_flag_without_the_name_is_refused(self):
        self.refused(flags=0x82)

    @shows(v311="3.1.2-20", v5="3.1.2-18")
    def a_password_without_its_flag_is_refused(self):
        self.refused(flags=0x82, tail=wire.raw("user") + wire.raw("secret"))

    @shows(v311="3.1.2-21", v5="3.1.2-19")
    def a_password_flag_without_the_password_is_refused(self):
        self.refused(flags=0xC2, tail=wire.raw("user"))

    @shows(v311="3.1.2-22")
    def a_password_without_a_user_name_is_refused(self):
        self.refused(flags=0x42, tail=wire.raw("secret"))

    @shows(v311="3.1.3-1", v5="3.1.3-1")
    def payload_fields_are_read_in_their_order(self):
        """The server reads identifier, will topic and payload in this order, before a user name and a
        password: the will is published complete."""
        watcher = self.peer()
        watcher.subscribe(self.topic("will"))
        peer = self.peer(self.name("ordered"), will=wire.will(self.topic("will"), b"the payload"),
                         username="name", password=b"\x00\xffword")
        peer.abort()
        watcher.receive(topic=self.topic("will"), payload=b"the payload")

    @shows(v311="3.1.3-10", v5="3.1.3-11")
    def the_will_topic_has_to_be_utf8(self):
        self.refused(will=wire.will(b"a\xff"))
        self.refused(will=wire.will(b"a\xed\xa0\x80"))
        self.peer(will=wire.will("w/\u00fc\u4e16")).disconnect()

    @shows(v311="3.1.3-11", v5="3.1.3-12")
    def the_user_name_has_to_be_utf8(self):
        self.refused(username=b"\xc3\x28", password=b"")
        self.peer(username="n\u00fcller").disconnect()


class ClientIdentifier(Case):
    @shows(v311="3.1.3-2", v5="3.1.3-2")
    def state_belongs_to_the_client_identifier(self):
        one, other = self.durable(self.name("one")), self.durable(self.name("other"))
        one.subscribe(self.topic(), qos=1)
        self.leave(one)
        self.leave(other)
        self.peer().publish(self.topic(), b"for one", qos=1)
        other = self.durable(self.name("other"))
        other.expect_nothing_more()
        one = self.durable(self.name("one"))
        one.receive(payload=b"for one")

    @shows(v311="3.1.3-3", v5="3.1.3-3")
    def a_connect_without_the_identifier_field_is_refused(self):
        whole = self.connect_bytes("")
        peer = self.raw()
        peer.send(bytes([whole[0], whole[1] - 2]) + whole[2:-2])
        peer.expect_refused(0x81, 0x82)

    @shows(v311="3.1.3-4", v5="3.1.3-4")
    def the_identifier_has_to_be_utf8(self):
        peer = self.raw()
        peer.send(self.connect_bytes(b"id\xff"))
        peer.expect_refused(0x81, 0x85, 0x02)
        self.peer(self.name("\u00fc\u4e16\U0001f300")).disconnect()

    @shows(v311="3.1.3-5", v5="3.1.3-5")
    def identifiers_of_1_to_23_letters_and_digits_are_accepted(self):
        identifiers = [ALPHABET[at:at + 23] for at in range(0, len(ALPHABET), 23)]
        for identifier in identifiers + ["Z"]:
            peer = self.peer(identifier)
            self.assertNotIn(wire.ASSIGNED_ID, peer.connack.props)
            peer.disconnect()

    @shows(v311="3.1.3-6", v5="3.1.3-6 3.2.2-16")
    def empty_identifiers_become_unique_ones(self):
        peers = [self.peer("") for _ in range(3)]
        for number, peer in enumerate(peers):  # None has taken over another's session.
            peer.subscribe(self.topic(str(number)))
            peer.publish(self.topic(str(number)), b"mine")
            peer.receive(payload=b"mine")
        if self.is_v5:
            given = [peer.connack.one(wire.ASSIGNED_ID) for peer in peers]
            self.assertEqual(len(set(given)), 3)
            self.assertTrue(all(given))

    @shows(v5="3.1.3-7")
    def an_assigned_identifier_is_told_and_names_the_session(self):
        peer = self.durable("")
        given = peer.connack.one(wire.ASSIGNED_ID)
        self.assertTrue(given)
        peer.subscribe(self.topic(), qos=1)
        self.leave(peer)
        again = self.durable(given)
        self.assertEqual(again.connack.session_present, 1)
        again.publish(self.topic(), b"x")
        again.receive(payload=b"x")

    @shows(v311="3.1.3-8")
    def an_empty_identifier_with_a_kept_session_is_refused(self):
        peer = self.raw()
        peer.send(self.connect_bytes("", clean=False))
        peer.expect(wire.CONNACK, code=2, session_present=0)
        peer.expect_end()

    @shows(v311="3.1.3-9", v5="3.1.3-8")
    def a_rejected_identifier_is_answered_by_its_code(self):
        """A server may choose what it rejects; this one rejects an empty identifier with clean session
        0 (3.1.1) and ill-formed identifiers (5.0)."""
        peer = self.raw()
        peer.send(self.connect_bytes(b"\xff" if self.is_v5 else b"", clean=self.is_v5))
        if self.is_v5:
            peer.expect_refused(0x81, 0x85)
        else:
            peer.expect(wire.CONNACK, code=2)
            peer.expect_end()


class Answer(Case):
    @shows(v311="3.1.4-2", v5="3.1.4-3")
    def a_connected_client_of_the_same_name_is_disconnected(self):
        old = self.peer(self.name())
        new = self.peer(self.name())
        old.expect_fault(0x8E)
        new.send(wire.pingreq())
        new.expect(wire.PINGRESP)

    @shows(v311="3.1.4-4", v5="3.1.4-5")
    def an_accepted_connect_is_answered_by_connack_zero(self):
        peer = self.raw()
        peer.send(self.connect_bytes(self.name()))
        peer.expect(wire.CONNACK, code=0, session_present=0)

    @shows(v311="3.1.4-5", v5="3.1.4-6")
    def nothing_behind_a_refused_connect_is_processed(self):
        watcher = self.peer()
        watcher.subscribe(self.topic("#"))
        peer = self.raw()
        peer.send(self.connect_bytes(self.name(), flags=0x03),
                  self.publish_bytes(self.topic("refused"), b"x"))
        peer.expect_refused()
        self.server = self.server_with("access")
        stranger = self.raw()
        guest = self.peer(username="reader", password="reader-secret")
        guest.subscribe(self.topic("#"))
        stranger.send(self.connect_bytes(self.name(), username="reader", password="wrong"),
                      self.publish_bytes(self.topic("refused"), b"x", retain=True))
        stranger.expect_refused(0x86, 0x87, 0x04, 0x05)
        guest.expect_nothing_more(sentinel=False)
        watcher.expect_nothing_more()

    @shows(v311="3.2.2-4 3.2.2-5", v5="3.1.4-2 3.2.2-6 3.2.2-7")
    def a_refusal_says_no_session_and_ends_the_connection(self):
        self.server = self.server_with("access")
        peer = self.raw()
        peer.send(self.connect_bytes(self.name(), username="reader", password="wrong"))
        peer.expect(wire.CONNACK, code={0x86, 0x87} if self.is_v5 else {4, 5}, session_present=0)
        peer.expect_end()

    @shows(v5="3.2.2-1 3.2.2-8")
    def connack_has_no_reserved_flags_and_a_known_code(self):
        peer = self.raw()
        peer.send(wire.connect(self.name()))
        got = peer.expect(wire.CONNACK, code=0, ack_flags=0)
        self.assertEqual(got.flags, 0)
        self.server = self.server_with("access")
        peer = self.raw()
        peer.send(wire.connect(self.name(), username="reader", password="wrong"))
        peer.expect(wire.CONNACK, ack_flags=0, code={0x86, 0x87})


class Announcements(Case):
    @shows(v5="3.2.2-9 3.2.2-10 3.2.2-12")
    def every_qos_is_supported_and_so_no_maximum_is_announced(self):
        peer = self.peer(will=wire.will(self.topic("will"), b"w", qos=2))
        self.assertNotIn(wire.MAXIMUM_QOS, peer.connack.props)
        got = peer.subscribe((self.topic("0"), 0), (self.topic("1"), 1), (self.topic("2"), 2))
        self.assertEqual(got.codes, [0, 1, 2])
        peer.publish(self.topic("x"), b"", qos=2)

    @shows(v5="3.2.2-9")
    def a_lower_maximum_qos_is_announced(self):
        self.server = self.server_with("qos0")
        self.assertEqual(self.peer().connack.one(wire.MAXIMUM_QOS), 0)

    @shows(v5="3.2.2-10")
    def a_lower_maximum_qos_accepts_every_requested_qos(self):
        self.server = self.server_with("qos0")
        got = self.peer().subscribe((self.topic("0"), 0), (self.topic("1"), 1), (self.topic("2"), 2))
        self.assertEqual(got.codes, [0, 0, 0])

    @shows(v5="3.2.2-12")
    def a_will_above_the_maximum_qos_is_refused(self):
        self.server = self.server_with("qos0")
        peer = self.raw()
        peer.send(wire.connect(self.name(), will=wire.will(self.topic(), qos=1)))
        peer.expect(wire.CONNACK, code=0x9B, session_present=0)
        peer.expect_end()

    @shows(v5="3.2.2-13")
    def a_retained_will_is_refused_where_retaining_is_off(self):
        self.server = self.server_with("qos0")
        self.assertEqual(self.peer().connack.one(wire.RETAIN_AVAILABLE), 0)
        peer = self.raw()
        peer.send(wire.connect(self.name(), will=wire.will(self.topic(), retain=True)))
        peer.expect(wire.CONNACK, code=0x9A, session_present=0)
        peer.expect_end()

    @shows(v5="3.2.2-19 3.2.2-20")
    def a_refusal_fits_the_maximum_packet_size(self):
        """A CONNACK of five bytes always fits; a reason string or user properties would not."""
        peer = self.raw()
        self.server = self.server_with("access")
        peer = self.raw()
        peer.send(wire.connect(self.name(), username="reader", password="wrong",
                               properties=[(wire.MAXIMUM_PACKET, 5)]))
        got = peer.expect_refused(0x86, 0x87)
        if got is not None:
            self.assertEqual(got.size, 5)

    @shows(v5="3.1.2-28")
    def response_information_is_sent_only_when_asked_for(self):
        for asked in (None, 0):
            pairs = [] if asked is None else [(wire.REQUEST_RESPONSE, asked)]
            self.assertNotIn(wire.RESPONSE_INFO, self.peer(properties=pairs).connack.props)
        asking = self.peer(properties=[(wire.REQUEST_RESPONSE, 1)])
        self.assertIn(wire.RESPONSE_INFO, asking.connack.props)


if __name__ == "__main__":
    main()
