"""Sessions, keep alive and wills (3.1.2, 3.1.3.2, 3.14, 4.1)."""

import suite
import wire
from case import Case, main, shows


class Sessions(Case):
    def kept_with_messages(self):
        """Returns the identifier of a session with a subscription and one queued message."""
        peer = self.durable()
        peer.subscribe(self.topic(), qos=1)
        self.leave(peer)
        self.peer().publish(self.topic(), b"kept", qos=1)
        return peer.client_id

    @shows(v311="3.1.2-4 3.1.2-5 4.1.0-1", v5="3.1.2-5 3.1.2-23")
    def a_kept_session_is_resumed_with_its_state(self):
        peer = self.durable(self.kept_with_messages())
        self.assertEqual(peer.connack.session_present, 1)
        peer.receive(topic=self.topic(), payload=b"kept", qos=1)
        peer.publish(self.topic(), b"still subscribed", qos=0)
        peer.receive(payload=b"still subscribed")

    @shows(v5="3.1.2-6")
    def without_a_session_a_new_one_is_made(self):
        peer = self.durable()
        self.assertEqual(peer.connack.session_present, 0)
        peer.subscribe(self.topic(), qos=1)
        self.leave(peer)
        self.assertEqual(self.durable(peer.client_id).connack.session_present, 1)

    @shows(v311="3.1.2-6 3.1.4-3", v5="3.1.2-4 3.1.4-4")
    def a_clean_start_discards_the_session(self):
        identifier = self.kept_with_messages()
        peer = self.peer(identifier, clean=True)
        self.assertEqual(peer.connack.session_present, 0)
        self.peer().publish(self.topic(), b"not subscribed", qos=1)
        peer.expect_nothing_more()
        self.leave(peer)
        self.assertEqual(self.durable(identifier).connack.session_present, 0)

    @shows(v311="3.1.2-7")
    def retained_messages_outlive_the_session(self):
        peer = self.peer()
        peer.publish(self.topic(), b"stays", retain=True, qos=1)
        self.leave(peer)
        self.peer(peer.client_id).disconnect()
        reader = self.peer()
        reader.subscribe(self.topic())
        reader.receive(payload=b"stays", retain=True)

    @shows(v311="3.2.2-1", v5="3.2.2-2")
    def session_present_is_0_for_a_clean_start(self):
        self.assertEqual(self.peer(self.kept_with_messages(), clean=True).connack.session_present, 0)

    @shows(v311="3.2.2-2", v5="3.2.2-3")
    def session_present_is_1_where_a_session_is_kept(self):
        self.assertEqual(self.durable(self.kept_with_messages()).connack.session_present, 1)

    @shows(v311="3.2.2-3", v5="3.2.2-3")
    def session_present_is_0_where_none_is_kept(self):
        self.assertEqual(self.durable().connack.session_present, 0)

    @shows(v311="4.1.0-2", v5="4.1.0-1")
    def a_session_lasts_as_long_as_its_connection(self):
        peer = self.durable(expiry_s=1)
        peer.subscribe(self.topic(), qos=1)
        if self.is_v5:
            self.let_pass(1.5)  # Longer than the expiry, which only counts without a connection.
        self.peer().publish(self.topic(), b"x", qos=1)
        peer.receive(payload=b"x")

    @shows(v5="4.1.0-2")
    def a_session_ends_when_its_expiry_has_passed(self):
        peer = self.durable(expiry_s=1)
        peer.subscribe(self.topic(), qos=1)
        self.leave(peer)

        def has_ended():  # The server may have had no turn to see to it meanwhile; each try begins the time anew.
            self.let_pass(1.6)
            again = self.durable(peer.client_id, expiry_s=1)
            self.leave(again)
            return again.connack.session_present == 0
        suite.eventually(has_ended, "the session ends")
        at_once = self.peer(self.name("none"), clean=False)
        self.leave(at_once)
        self.assertEqual(self.durable(at_once.client_id).connack.session_present, 0)


class KeepAlive(Case):
    @shows(v311="3.1.2-24", v5="3.1.2-22")
    def silence_for_one_and_a_half_keep_alives_ends_the_connection(self):
        watcher = self.peer()
        watcher.subscribe(self.topic("will"))
        peer = self.peer(keep_alive=1, will=wire.will(self.topic("will"), b"lost"))
        # The peer sends nothing; the server ends the connection, as for a network failure.
        if self.is_v5:
            got = peer.next()
            if got is not None:
                self.assertEqual((got.kind, got.code), (wire.DISCONNECT, 0x8D), got)
                peer.expect_end()
        else:
            peer.expect_end()
        watcher.receive(payload=b"lost")

    @shows(v5="3.2.2-22")
    def the_clients_keep_alive_holds_where_the_server_names_none(self):
        peer = self.peer(keep_alive=1)
        self.assertNotIn(wire.SERVER_KEEP_ALIVE, peer.connack.props)
        got = peer.next()
        self.assertTrue(got is None or got.code == 0x8D, got)
        kept = self.peer(keep_alive=0)
        kept.send(wire.pingreq())
        kept.expect(wire.PINGRESP)

    @shows(v311="3.12.4-1", v5="3.12.4-1")
    def a_ping_is_answered(self):
        peer = self.peer()
        peer.send(wire.pingreq() * 3)
        for _ in range(3):
            peer.expect(wire.PINGRESP)


class Wills(Case):
    def watcher(self, topic="will", **options):
        peer = self.peer()
        peer.subscribe((self.topic(topic), 2))
        return peer

    def mortal(self, **more):
        options = {"payload": b"last words", **more}
        return self.peer(will=wire.will(self.topic("will"), **options))

    @shows(v311="3.1.2-8", v5="3.1.2-7 3.1.2-8")
    def a_will_is_published_when_the_connection_is_lost(self):
        watcher = self.watcher()
        self.mortal(qos=1).abort()
        watcher.receive(topic=self.topic("will"), payload=b"last words", qos=1)
        self.mortal(qos=2).close()
        watcher.receive(payload=b"last words", qos=2)
        faulty = self.mortal()
        faulty.send(b"\x00\x00")
        watcher.receive(payload=b"last words", qos=0)

    @shows(v311="3.1.2-10 3.14.4-3", v5="3.1.2-10 3.14.4-3")
    def a_disconnect_removes_the_will(self):
        watcher = self.watcher()
        self.mortal().disconnect()
        watcher.expect_nothing_more()
        again = self.mortal()
        again.abort()
        watcher.receive(payload=b"last words")
        watcher.expect_nothing_more()  # A will is published once.

    @shows(v5="3.1.2-8")
    def a_disconnect_with_will_publishes_it(self):
        watcher = self.watcher()
        self.mortal().disconnect(code=0x04)
        watcher.receive(payload=b"last words")

    @shows(v311="3.1.2-12")
    def no_will_is_published_without_the_flag(self):
        watcher = self.watcher()
        client = self.mortal()
        self.peer(client.client_id).abort()  # Takes the session over, without a will.
        watcher.receive(payload=b"last words")
        watcher.expect_nothing_more()

    @shows(v311="3.1.2-16", v5="3.1.2-14")
    def a_will_without_retain_is_not_kept(self):
        watcher = self.watcher()
        self.mortal().abort()
        watcher.receive(payload=b"last words", retain=False)
        self.watcher().expect_nothing_more()

    @shows(v311="3.1.2-17", v5="3.1.2-15")
    def a_will_with_retain_is_kept(self):
        watcher = self.watcher()
        self.mortal(retain=True).abort()
        watcher.receive(payload=b"last words", retain=False)
        self.watcher().receive(payload=b"last words", retain=True)

    @shows(v5="3.1.3-9")
    def a_reconnect_within_the_delay_cancels_the_will(self):
        watcher = self.watcher()
        delayed = [(wire.WILL_DELAY, 4)]  # time enough to come again
        client = self.durable(will=wire.will(self.topic("will"), b"never", properties=delayed))
        client.abort()
        again = self.durable(client.client_id)
        self.assertEqual(again.connack.session_present, 1)
        other = self.durable(will=wire.will(self.topic("will"), b"late", properties=delayed))
        other.abort()
        watcher.receive(payload=b"late")  # Its delay began later, and no other will came before it.
        watcher.expect_nothing_more()

    @shows(v5="3.1.2-8")
    def a_will_comes_when_the_session_ends_before_the_delay(self):
        watcher = self.watcher()
        self.peer(will=wire.will(self.topic("will"), b"at once",
                                 properties=[(wire.WILL_DELAY, 3600)])).abort()
        watcher.receive(payload=b"at once")

    @shows(v5="3.1.3-10")
    def a_wills_user_properties_keep_their_order(self):
        watcher = self.watcher()
        pairs = [("b", "1"), ("a", "2"), ("b", "0"), ("a", "2")]
        self.mortal(properties=[(wire.USER, pair) for pair in pairs]).abort()
        self.assertEqual(watcher.receive().props[wire.USER], pairs)


class Disconnect(Case):
    @shows(v311="3.14.1-1", v5="3.14.1-1")
    def reserved_flags_in_disconnect_are_a_fault(self):
        watcher = self.peer()
        watcher.subscribe(self.topic("will"))
        peer = self.peer(will=wire.will(self.topic("will"), b"not normal"))
        peer.send(wire.disconnect(flags=2))
        peer.expect_fault(0x81)
        watcher.receive(payload=b"not normal")

    @shows(v311="3.14.4-1")
    def the_server_closes_after_a_clients_disconnect(self):
        peer = self.peer()
        peer.send(wire.disconnect())
        peer.expect_end()

    @shows(v311="3.14.4-2")
    def nothing_behind_a_disconnect_is_processed(self):
        watcher = self.peer()
        watcher.subscribe(self.topic())
        peer = self.peer()
        peer.send(wire.disconnect(), self.publish_bytes(self.topic(), b"too late"))
        peer.expect_end()
        watcher.expect_nothing_more()

    @shows(v5="3.14.4-1 3.14.4-2 4.13.2-1")
    def the_server_closes_behind_its_own_disconnect(self):
        peer = self.peer()
        peer.subscribe(self.topic())
        peer.send(wire.pingreq(), b"\xf0\x01\x18", wire.pingreq())
        peer.expect(wire.PINGRESP)
        peer.expect(wire.DISCONNECT, code={0x81, 0x82})
        self.peer().publish(self.topic(), b"x", qos=1)
        peer.expect_end()

    @shows(v5="3.14.2-1 3.14.2-2")
    def a_servers_disconnect_has_a_known_code_and_no_session_expiry(self):
        old = self.durable()
        self.durable(old.client_id)
        got = old.expect(wire.DISCONNECT, code=0x8E)
        self.assertNotIn(wire.SESSION_EXPIRY, got.props)
        faulty = self.peer()
        faulty.send(wire.disconnect(code=0x02))  # Not a DISCONNECT reason code.
        faulty.expect_fault(0x81, 0x82)
        raised = self.peer()  # An expiry of 0 must not be changed in DISCONNECT.
        raised.send(wire.disconnect(0, [(wire.SESSION_EXPIRY, 10)]))
        raised.expect_fault(0x82)

    @shows(v5="3.14.0-1")
    def no_disconnect_is_sent_before_connack(self):
        for packet in (wire.pingreq(), wire.connect(self.name(), flags=0x03), b"\x00\x00",
                       wire.connect(self.name(), level=5, name="MQTX")):
            peer = self.raw()
            peer.send(packet)
            got = peer.next()
            self.assertTrue(got is None or got.kind == wire.CONNACK, got)

    @shows(v5="3.14.2-3 3.14.2-4")
    def a_disconnect_fits_the_maximum_packet_size(self):
        peer = self.peer(properties=[(wire.MAXIMUM_PACKET, 100)])
        whole = len(peer.connack.body) + 2
        peer.send(wire.connect(peer.client_id))
        full = peer.expect(wire.DISCONNECT, code=0x82)
        self.assertLessEqual(full.size, 100)
        small = self.peer(properties=[(wire.MAXIMUM_PACKET, whole)])
        small.send(wire.connect(small.client_id))
        self.assertLessEqual(small.expect(wire.DISCONNECT, code=0x82).size, whole)


if __name__ == "__main__":
    main()
