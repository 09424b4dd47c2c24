"""Enhanced authentication (3.15, 4.12) with SCRAM-SHA-256 (RFC 5802, 7677)."""

import base64
import hashlib
import hmac
import os

import wire
from case import Case, main, shows

METHOD = "SCRAM-SHA-256"

# The server offers no authentication method yet: these claims are not run, and do not count.
WAITS_FOR = "an authentication method"


class Scram:
    """The client's side; it may lie."""

    def __init__(self, user, password):
        self.password = password
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.bare = f"n={user},r={self.nonce}"

    def first(self):
        return ("n,," + self.bare).encode()

    def final(self, challenge):
        challenge = challenge.decode()
        fields = dict(part.split("=", 1) for part in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(),
                                     base64.b64decode(fields["s"]), int(fields["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c=biws,r={fields['r']}"
        message = ",".join([self.bare, challenge, without_proof]).encode()
        proof = bytes(a ^ b for a, b in zip(
            key, hmac.digest(hashlib.sha256(key).digest(), message, "sha256")))
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self.signature = hmac.digest(server_key, message, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def proves(self, last):
        return last.decode() == "v=" + base64.b64encode(self.signature).decode()


class Authentication(Case):
    def setUp(self):
        super().setUp()
        self.server = self.server_with("access")

    def start(self, password="reader-secret", extra=()):
        """CONNECT with SCRAM; (peer, client side, the server's challenge)."""
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
        peer, _, _ = self.start()
        peer.send(wire.publish("open/x", b""))
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
        peer.send(wire.pingreq())  # The connection goes on meanwhile.
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
        self.assertNotIn(wire.USER, small.props)


if __name__ == "__main__":
    main()
