"""Enhanced authentication (3.15, 4.12) with SCRAM-SHA-256 (RFC 5802, 7677)."""

import wire
from case import Case, main, shows
from scram import METHOD, Scram


class Authentication(Case):
    def setUp(self):
        super().setUp()
        self.server = self.server_with("access")

    def start(self, password="reader-secret", extra=()):
        """CONNECT with SCRAM; returns (peer, client side, the server's challenge)."""
        scram = Scram("reader", password)
        peer = self.raw()
        peer.send(wire.connect(self.name(), properties=[
            (wire.AUTH_METHOD, METHOD), (wire.AUTH_DATA, scram.first()), *extra]))
        return peer, scram, peer.expect(wire.AUTH, code=0x18)

    def answer(self, peer, scram, challenge, code=0x18):
        peer.send(wire.auth(code, [(wire.AUTH_METHOD, METHOD),
                                   (wire.AUTH_DATA, scram.final(challenge.one(wire.AUTH_DATA)))]))

    def accepted(self, extra=()):
        peer, scram, challenge = self.start(extra=extra)
        self.answer(peer, scram, challenge)
        connack = peer.expect(wire.CONNACK, code=0)
        self.assertTrue(scram.proves(connack.one(wire.AUTH_DATA)))
        return peer, challenge, connack

    @shows(v5="4.12.0-1")
    def a_method_that_is_not_offered_is_refused_by_connack(self):
        peer = self.raw()
        peer.send(wire.connect(self.name(), properties=[
            (wire.AUTH_METHOD, METHOD + "-PLUS"), (wire.AUTH_DATA, b"p=tls-unique,,n=reader,r=x")]))
        peer.expect(wire.CONNACK, code=0x8C, session_present=0)
        peer.expect_end()

    @shows(v5="4.12.0-2 3.15.2-1")
    def a_server_that_needs_more_says_continue(self):
        peer, _, connack = self.accepted()
        self.assertEqual(connack.one(wire.AUTH_METHOD), METHOD)
        peer.send(wire.pingreq())
        peer.expect(wire.PINGRESP)

    @shows(v5="4.12.0-3")
    def a_client_that_does_not_continue_is_refused(self):
        peer, scram, challenge = self.start()
        self.answer(peer, scram, challenge, code=0x00)
        peer.expect_refused(0x82, 0x81, 0x87)

    @shows(v5="4.12.0-4")
    def a_failed_exchange_is_refused(self):
        peer, scram, challenge = self.start(password="wrong")
        self.answer(peer, scram, challenge)
        self.assertIn(peer.expect(wire.CONNACK).code, (0x86, 0x87))
        peer.expect_end()

    @shows(v5="4.12.0-5")
    def the_method_stands_in_every_auth_and_in_connack(self):
        _, challenge, connack = self.accepted()
        self.assertEqual(challenge.one(wire.AUTH_METHOD), METHOD)
        self.assertEqual(connack.one(wire.AUTH_METHOD), METHOD)

    @shows(v5="3.1.2-30")
    def other_packets_during_the_exchange_end_it(self):
        for other in (wire.publish("open/x", b""), wire.pingreq(), wire.subscribe(1, [("x", 0)])):
            peer, _, _ = self.start()
            peer.send(other)
            peer.expect_refused(0x82)

    @shows(v5="3.15.1-1")
    def reserved_flags_in_auth_are_a_fault(self):
        peer, _, _ = self.accepted()
        peer.send(wire.auth(0x19, [(wire.AUTH_METHOD, METHOD)], flags=1))
        peer.expect_fault(0x81)

    def again(self, password="reader-secret", method=METHOD):
        peer, _, _ = self.accepted()
        scram = Scram("reader", password)
        peer.send(wire.auth(0x19, [(wire.AUTH_METHOD, method), (wire.AUTH_DATA, scram.first())]))
        return peer, scram

    @shows(v5="4.12.0-5")
    def a_client_may_authenticate_again(self):
        peer, scram = self.again()
        challenge = peer.expect(wire.AUTH, code=0x18)
        peer.send(wire.pingreq())  # The connection stays usable meanwhile.
        peer.expect(wire.PINGRESP)
        self.answer(peer, scram, challenge)
        done = peer.expect(wire.AUTH, code=0)
        self.assertEqual(done.one(wire.AUTH_METHOD), METHOD)
        self.assertTrue(scram.proves(done.one(wire.AUTH_DATA)))

    @shows(v5="4.12.1-1")
    def another_method_for_authenticating_again_is_a_fault(self):
        peer, _ = self.again(method="OTHER")
        peer.expect_fault(0x82, 0x8C)

    @shows(v5="4.12.1-2")
    def failing_to_authenticate_again_ends_the_connection(self):
        peer, scram = self.again(password="wrong")
        self.answer(peer, scram, peer.expect(wire.AUTH, code=0x18))
        peer.expect_fault(0x87, 0x86)

    @shows(v5="3.15.2-2 3.15.2-3")
    def auth_fits_the_maximum_packet_size(self):
        _, challenge, _ = self.accepted()
        peer, _, small = self.start(extra=[(wire.MAXIMUM_PACKET, challenge.size)])
        self.assertLessEqual(small.size, challenge.size)
        self.assertNotIn(wire.REASON_STRING, small.props)
        self.assertNotIn(wire.USER, small.props)

    @shows(v5="3.1.2-24")
    def an_auth_above_the_maximum_packet_size_is_not_sent(self):
        _, challenge, _ = self.accepted()
        peer, scram = self.raw(), Scram("reader", "reader-secret")
        peer.send(wire.connect(self.name(), properties=[
            (wire.AUTH_METHOD, METHOD), (wire.AUTH_DATA, scram.first()),
            (wire.MAXIMUM_PACKET, challenge.size - 1)]))
        peer.expect_refused(0x95)


if __name__ == "__main__":
    main()
