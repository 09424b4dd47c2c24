"""A server without authentication methods and clients that name one (3.15, 4.12)."""

import wire
from case import Case, main, shows


class Authentication(Case):
    def refused(self, method):
        peer = self.raw()
        peer.send(wire.connect(self.name(), properties=[(wire.AUTH_METHOD, method),
                                                        (wire.AUTH_DATA, b"n,,n=user,r=nonce")]))
        peer.expect(wire.CONNACK, code={0x8C, 0x87}, session_present=0)
        peer.expect_end()

    @shows(v5="4.12.0-1 4.12.0-4")
    def an_unknown_method_is_refused_by_connack(self):
        self.refused("UNKNOWN")

    @shows(v5="4.12.0-6")
    def without_a_method_there_is_no_auth(self):
        self.server = self.server_with("access")
        peer = self.peer(username="reader", password="reader-secret")
        self.assertNotIn(wire.AUTH_METHOD, peer.connack.props)
        self.assertNotIn(wire.AUTH_DATA, peer.connack.props)

    @shows(v5="4.12.0-7")
    def an_auth_without_a_method_in_connect_is_a_fault(self):
        peer = self.peer()
        peer.send(wire.auth(0x19, [(wire.AUTH_METHOD, "UNKNOWN"), (wire.AUTH_DATA, b"x")]))
        peer.expect_fault(0x82, 0x8C)

    @shows(v5="3.15.1-1")
    def reserved_flags_in_auth_are_a_fault(self):
        for flags in (1, 2, 8):
            peer = self.peer()
            peer.send(wire.auth(0x19, [(wire.AUTH_METHOD, "UNKNOWN")], flags=flags))
            peer.expect_fault(0x81)


if __name__ == "__main__":
    main()
