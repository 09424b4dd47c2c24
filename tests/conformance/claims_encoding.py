"""Strings, integers, header flags, packet identifiers and properties (chapters 1 and 2)."""

import wire
from case import Case, main, shows

# One field for each packet in which a client sends a string; {} is the string's bytes.
BAD_UTF8 = [b"\xff", b"\xc0\x80", b"\xe2\x82", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf5\x80\x80\x80",
            b"\xf4\x90\x80\x80", b"\x80"]


class Strings(Case):
    def string_faults(self, text):
        """Sends `text` as topic name, filters, client identifier and will topic: each ends its
        connection."""
        for build in (lambda p: self.publish_bytes(text, b"x"),
                      lambda p: self.subscribe_bytes(p.pid(), [(text, 0)]),
                      lambda p: self.unsubscribe_bytes(p.pid(), [text])):
            peer = self.peer()
            peer.send(build(peer))
            peer.expect_fault(0x81, 0x82, 0x8F, 0x90)
        for packet in (self.connect_bytes(text), self.connect_bytes(self.name(), will=wire.will(text)),
                       self.connect_bytes(self.name(), username=text)):
            peer = self.raw()
            peer.send(packet)
            peer.expect_refused(0x81, 0x82, 0x85, 0x90, 0x01, 0x02)

    @shows(v311="1.5.3-1", v5="1.5.4-1")
    def ill_formed_utf8_ends_the_connection(self):
        for text in BAD_UTF8:
            with self.subTest(text=text.hex()):
                self.string_faults(b"a" + text + b"b")

    @shows(v311="1.5.3-2", v5="1.5.4-2")
    def a_null_character_ends_the_connection(self):
        self.string_faults(b"a\0b")

    @shows(v311="1.5.3-3", v5="1.5.4-3")
    def a_byte_order_mark_is_kept_as_a_character(self):
        marked = "\ufeff" + self.topic("\ufeffx")
        peer = self.peer()
        peer.subscribe(marked, qos=0)
        peer.subscribe(self.topic("\ufeffx"), qos=1)
        peer.publish(marked, "\ufeffpayload")
        peer.receive(topic=marked, qos=0, payload="\ufeffpayload".encode())
        peer.expect_nothing_more()

    @shows(v5="1.5.7-1")
    def both_halves_of_a_user_property_have_to_be_utf8(self):
        for pair in ((b"\xff", b"v"), (b"k", b"\xff"), (b"k\0", b"v"), (b"k", b"\0")):
            peer = self.peer()
            peer.send(wire.publish(self.topic(), b"", properties=[(wire.USER, pair)]))
            peer.expect_fault(0x81, 0x82)


class Integers(Case):
    @shows(v5="1.5.5-1")
    def variable_byte_integers_are_sent_in_their_shortest_form(self):
        # The peer's reader refuses any longer form; these lengths are at each boundary.
        receiver = self.peer()
        receiver.subscribe(self.topic())
        sender = self.peer()
        overhead = 2 + len(self.topic()) + 1
        for length in (127, 128, 16383, 16384):
            payload = b"x" * (length - overhead)
            sender.publish(self.topic(), payload)
            self.assertEqual(len(receiver.receive(payload=payload).body), length)


class HeaderFlags(Case):
    """Flag bits that the standards reserve."""

    def exchange(self, inspect):
        """Passes one packet of each kind that a server sends in a session to `inspect`."""
        peer = self.peer()
        inspect(peer.connack)
        inspect(peer.subscribe((self.topic(), 2)))
        for qos in (0, 1, 2):
            pid = peer.pid() if qos else None
            peer.send(self.publish_bytes(self.topic(), b"x", qos, pid))
            wanted = {wire.PUBLISH} | ({wire.PUBACK} if qos == 1 else {wire.PUBREC} if qos else set())
            while wanted:
                got = peer.next()
                inspect(got)
                wanted.discard(got.kind)
                if got.kind == wire.PUBLISH and got.qos:
                    peer.send(wire.ack(wire.PUBACK if qos == 1 else wire.PUBREC, got.pid))
                    if qos == 2:
                        wanted.add(wire.PUBREL)
                elif got.kind == wire.PUBREC:
                    peer.send(wire.ack(wire.PUBREL, pid))
                    wanted.add(wire.PUBCOMP)
                elif got.kind == wire.PUBREL:
                    peer.send(wire.ack(wire.PUBCOMP, got.pid))
        peer.send(wire.pingreq())
        inspect(peer.expect(wire.PINGRESP))
        inspect(peer.unsubscribe(self.topic()))

    @shows(v311="2.2.2-1", v5="2.1.3-1")
    def the_server_sends_reserved_flags_as_listed(self):
        kinds = set()

        def inspect(packet):
            kinds.add(packet.kind)
            if packet.kind != wire.PUBLISH:
                self.assertEqual(packet.flags, 2 if packet.kind == wire.PUBREL else 0, packet)
        self.exchange(inspect)
        self.assertEqual(kinds, {wire.CONNACK, wire.PUBLISH, wire.PUBACK, wire.PUBREC, wire.PUBREL,
                                 wire.PUBCOMP, wire.SUBACK, wire.UNSUBACK, wire.PINGRESP})

    @shows(v311="2.2.2-2", v5="2.1.3-1")
    def reserved_flags_with_other_values_end_the_connection(self):
        for build in (lambda: wire.packet(wire.PINGREQ, 1),
                      lambda: wire.ack(wire.PUBACK, 1, flags=2),
                      lambda: wire.ack(wire.PUBREC, 1, flags=1),
                      lambda: wire.ack(wire.PUBCOMP, 1, flags=8),
                      lambda: wire.ack(wire.PUBREL, 1, flags=0),
                      lambda: self.subscribe_bytes(1, [("a", 0)], flags=0),
                      lambda: self.unsubscribe_bytes(1, ["a"], flags=3),
                      lambda: wire.disconnect(flags=1)):
            peer = self.peer()
            peer.send(build())
            peer.expect_fault(0x81)
        peer = self.raw()
        packet = bytearray(self.connect_bytes(self.name()))
        packet[0] |= 1
        peer.send(bytes(packet))
        peer.expect_refused(0x81)


class PacketIdentifiers(Case):
    @shows(v311="2.3.1-1", v5="2.2.1-3")
    def identifier_zero_ends_the_connection(self):
        for build in (lambda: self.publish_bytes(self.topic(), b"", 1, 0),
                      lambda: self.publish_bytes(self.topic(), b"", 2, 0),
                      lambda: self.subscribe_bytes(0, [("a", 0)]),
                      lambda: self.unsubscribe_bytes(0, ["a"])):
            peer = self.peer()
            peer.send(build())
            peer.expect_fault(0x81, 0x82)

    @shows(v311="2.3.1-4", v5="2.2.1-4")
    def the_server_gives_each_message_an_identifier_that_is_not_in_use(self):
        receiver = self.peer()
        receiver.subscribe(self.topic(), qos=2)
        sender = self.peer()
        for number in range(20):
            sender.publish(self.topic(), str(number), qos=1 + number % 2)
        used = [receiver.expect(wire.PUBLISH).pid for _ in range(20)]
        self.assertEqual(len(set(used)), 20)
        self.assertNotIn(0, used)

    @shows(v311="2.3.1-5", v5="2.2.1-2")
    def a_qos_0_publish_carries_no_identifier(self):
        peer = self.peer()
        peer.subscribe(self.topic())
        peer.publish(self.topic(), b"\0\1\0\2")
        got = peer.receive(qos=0, payload=b"\0\1\0\2")
        self.assertEqual(len(got.body), 2 + len(self.topic()) + (1 if self.is_v5 else 0) + 4)

    @shows(v311="2.3.1-6", v5="2.2.1-5")
    def acknowledgements_carry_the_identifier_of_the_publish(self):
        peer = self.peer()
        peer.subscribe((self.topic("out"), 2))
        peer.send(self.publish_bytes(self.topic(), b"", 1, 0xABCD))
        peer.expect(wire.PUBACK, pid=0xABCD)
        peer.send(self.publish_bytes(self.topic(), b"", 2, 0xFFFF))
        peer.expect(wire.PUBREC, pid=0xFFFF)
        peer.send(wire.ack(wire.PUBREL, 0xFFFF))
        peer.expect(wire.PUBCOMP, pid=0xFFFF)
        self.peer().publish(self.topic("out"), b"x", qos=2)
        got = peer.expect(wire.PUBLISH, qos=2)
        peer.send(wire.ack(wire.PUBREC, got.pid))
        peer.expect(wire.PUBREL, pid=got.pid)

    @shows(v311="2.3.1-7", v5="2.2.1-6")
    def suback_and_unsuback_carry_the_identifier_of_the_request(self):
        peer = self.peer()
        for pid in (1, 0x1234, 0xFFFF):
            peer.send(self.subscribe_bytes(pid, [(self.topic(), 0)]))
            peer.expect(wire.SUBACK, pid=pid)
            peer.send(self.unsubscribe_bytes(pid, [self.topic()]))
            peer.expect(wire.UNSUBACK, pid=pid)


class Properties(Case):
    @shows(v5="2.2.2-1")
    def no_properties_are_told_by_a_length_of_zero(self):
        peer = self.peer()
        suback = peer.subscribe(self.topic())
        self.assertEqual(suback.body[2], 0)
        peer.publish(self.topic(), b"x")
        got = peer.receive()
        self.assertEqual(got.body[2 + len(self.topic())], 0)

    @shows(v5="4.13.1-1")
    def a_property_out_of_place_ends_the_connection(self):
        """Unknown, in the wrong packet, repeated, or longer than the property length."""
        for body in (b"\x7f\x00", wire.prop(wire.SESSION_EXPIRY, 1),
                     wire.prop(wire.FORMAT, 1) * 2, wire.prop(wire.MESSAGE_EXPIRY, 1)[:-1],
                     wire.prop(wire.FORMAT, 2)):
            peer = self.peer()
            peer.send(wire.publish(self.topic(), b"", properties=body))
            peer.expect_fault(0x81, 0x82)


if __name__ == "__main__":
    main()
