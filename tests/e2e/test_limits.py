"""Limits and their reason codes, and what else the server announces to MQTT 5 clients."""

import signal

import wire
from case import Case, eventually, main
from server import Server


class Room(Case):
    CONFIG = {"connection": {"count_max": 2, "turned_away_max": 3}}

    def closed_for_the_limit(self):
        return self.server.metrics()['millrace_connections_closed_total{cause="limit"}']

    def test_who_comes_when_there_is_no_room_is_told_so(self):
        first, second = self.peer(), self.peer()
        for version, code in ((5, 0x97), (4, 3), (3, 3)):
            peer = self.raw(version)
            peer.send(wire.connect("late", version=version))
            peer.expect_refused(code)
        self.server.wait_for_log(r"listener\.limit listener=tcp connections=2")
        # Connections without CONNECT get no answer, and no more of them than the limit are kept.
        silent = [self.raw() for _ in range(8)]
        eventually(lambda: self.closed_for_the_limit() >= 3 + 5, "five were closed at once")
        for peer in silent:
            peer.abort()
        first.publish(self.topic(), b"", qos=1)
        first.disconnect()
        second.disconnect()

        def comes_in():
            peer = self.raw()
            peer.send(wire.connect(self.unique))
            got = peer.next()
            peer.close()
            return got is not None and got.code == 0
        eventually(comes_in, "there is room again")


class NoRoomToBeTold(Case):
    CONFIG = {"connection": {"count_max": 1, "turned_away_max": 0}}

    def test_the_connection_ends_and_is_counted(self):
        self.peer()
        peer = self.raw()
        peer.send(wire.connect("late"))
        peer.expect_end()
        self.assertEqual(
            self.server.metrics()['millrace_connections_closed_total{cause="limit"}'], 1)


class Elsewhere(Case):
    CONFIG = {"connection": {"count_max": 3}, "mqtt": {"server_reference": "other.example:1883"}}

    def test_clients_are_sent_to_another_server(self):
        five, small, three = self.peer(), self.peer(properties=[(wire.MAXIMUM_PACKET, 20)]), \
            self.peer(version=4)
        late = self.raw()
        late.send(wire.connect("late"))
        refused = late.expect(wire.CONNACK, code=0x9C)
        self.assertEqual(refused.one(wire.SERVER_REFERENCE), "other.example:1883")
        late.expect_end()
        late = self.raw(4)
        late.send(wire.connect("late", version=4))
        late.expect_refused(3)
        self.server.process.send_signal(signal.SIGTERM)
        ended = five.expect(wire.DISCONNECT, code=0x9C)
        self.assertEqual(ended.one(wire.SERVER_REFERENCE), "other.example:1883")
        small.expect(wire.DISCONNECT, code=0x8B)
        three.expect_end()


class Reload(Case):
    CONFIG = {"session": {"subscriptions_max": 1}}

    def test_the_processors_limits_change_under_its_clients(self):
        peer = self.peer()
        self.assertEqual(peer.subscribe(self.topic("1"), self.topic("2")).codes, [0, 0x97])
        self.assertEqual(self.server.reload({"session": {"subscriptions_max": 2}}), "reloaded")
        self.assertEqual(peer.subscribe(self.topic("2"), self.topic("3")).codes, [0, 0x97])
        # A lowered limit removes no existing subscription.
        self.assertEqual(self.server.reload({"session": {"subscriptions_max": 1}}), "reloaded")
        self.assertEqual(peer.subscribe(self.topic("1"), self.topic("3")).codes, [0, 0x97])
        peer.publish(self.topic("2"), b"still")
        peer.receive(topic=self.topic("2"), payload=b"still")


class AllSubscriptions(Case):
    CONFIG = {"session": {"all_subscriptions_max": 3, "subscriptions_max": 2}}

    def refused(self, limit):
        return self.server.metrics()[f'millrace_subscriptions_refused_total{{limit="{limit}"}}']

    def test_all_clients_have_so_many_together(self):
        one, two, old = self.peer(), self.peer(), self.peer(version=4)
        self.assertEqual(one.subscribe("a", "b").codes, [0, 0])
        self.assertEqual(one.subscribe("c").codes, [0x97])
        self.assertEqual(self.refused("client"), 1)
        self.assertEqual(two.subscribe("$share/g/a", "b").codes, [0, 0x97])
        self.assertEqual(old.subscribe("a").codes, [0x80])
        self.assertEqual(self.refused("all"), 2)
        self.assertEqual(two.subscribe("$share/g/a", qos=1).codes, [1])  # It is there already.
        one.unsubscribe("a")
        self.assertEqual(old.subscribe("a").codes, [0])


class ReceiveMaximum(Case):
    def excess(self, policy):
        server = Server({"receive_maximum": 2, "receive_maximum_policy": policy})
        self.addCleanup(server.stop)
        self.server = server
        peer = self.peer()
        self.assertEqual(peer.connack.one(wire.RECEIVE_MAXIMUM), 2)
        for pid in range(1, 6):
            peer.send(wire.publish(self.topic(), b"", 2, pid))
        return peer

    def exceeded(self):
        return self.server.metrics()["millrace_receive_maximum_exceeded_total"]

    def test_enforced_it_ends_the_connection(self):
        peer = self.excess("enforce")
        got = peer.next()
        while got.kind == wire.PUBREC:
            got = peer.next()
        self.assertEqual((got.kind, got.code), (wire.DISCONNECT, 0x93))
        peer.expect_end()
        self.assertEqual(self.exceeded(), 1)

    def test_warned_of_it_goes_on(self):
        peer = self.excess("warn")
        for pid in range(1, 6):
            peer.expect(wire.PUBREC, pid=pid)
        self.server.wait_for_log(r"connection\.receive_maximum listener=tcp peer=127\.0\.0\.1")
        self.assertEqual(self.exceeded(), 3)
        for pid in range(1, 6):
            peer.send(wire.ack(wire.PUBREL, pid))
            peer.expect(wire.PUBCOMP, pid=pid)
        for _ in range(3):
            peer.publish(self.topic(), b"", qos=2)
        self.assertEqual(self.exceeded(), 3)


class RetainedValues(Case):
    """Of one user; here of those without a name."""
    CONFIG = {"slots": {"user_count_max": 2}}

    def test_one_user_has_so_many(self):
        writer = self.peer()
        reader = self.peer()
        reader.subscribe(self.topic("#"), qos=1)
        for topic in "ab":
            writer.publish(self.topic(topic), b"1", qos=1, retain=True)
            reader.receive(topic=self.topic(topic))
        for qos in (1, 2):
            self.assertEqual(writer.publish(self.topic("c"), b"1", qos=qos, retain=True).code, 0x97)
        writer.publish(self.topic("a"), b"a longer one", qos=1, retain=True)
        reader.receive(topic=self.topic("a"), payload=b"a longer one")
        old = self.peer(version=4)  # Has no reason codes.
        old.publish(self.topic("c"), b"old", qos=1, retain=True)
        reader.receive(topic=self.topic("c"), payload=b"old")
        late = self.peer()
        late.subscribe(self.topic("c"), self.topic("b"))
        late.receive(topic=self.topic("b"), retain=True)
        dropped = self.server.metrics()['millrace_messages_dropped_total{reason="retained_refused"}']
        self.assertEqual(dropped, 3)
        writer.publish(self.topic("a"), b"", qos=1, retain=True)
        writer.publish(self.topic("c"), b"1", qos=1, retain=True)
        late.receive(topic=self.topic("c"), payload=b"1")


class ResponseInformation(Case):
    def information(self, client_id, config=None):
        server = Server(config or {})
        self.addCleanup(server.stop)
        self.server = server
        peer = self.peer(client_id, properties=[(wire.REQUEST_RESPONSE, 1)])
        return peer, peer.connack.one(wire.RESPONSE_INFO)

    def test_it_is_a_place_for_answers_to_this_client(self):
        requester, place = self.information("ann")
        self.assertEqual(place, "response/ann")
        requester.subscribe(f"{place}/#")
        responder = self.peer()
        responder.subscribe("do")
        requester.publish("do", b"it", properties=[(wire.RESPONSE_TOPIC, f"{place}/1")])
        request = responder.receive(topic="do")
        responder.publish(request.one(wire.RESPONSE_TOPIC), b"done")
        requester.receive(topic="response/ann/1", payload=b"done")

    def test_an_assigned_identifier_has_a_place_too(self):
        peer, place = self.information("")
        self.assertEqual(place, "response/" + peer.connack.one(wire.ASSIGNED_ID))

    def test_nobody_gets_another_ones_place_or_one_that_the_rules_forbid(self):
        for client_id in ("ann/1", "+", "#"):
            self.assertIsNone(self.information(client_id)[1])
        rules = [{"effect": "deny", "action": "subscribe", "filter": "response/ann/x"},
                 {"effect": "allow", "filter": "#"}]
        self.assertIsNone(self.information("ann", {"access": {"rules": rules}})[1])
        self.assertEqual(self.information("bob", {"access": {"rules": rules}})[1], "response/bob")

    def test_it_can_be_elsewhere_or_off(self):
        self.assertEqual(self.information("a", {"mqtt": {"response_prefix": "x/y"}})[1], "x/y/a")
        self.assertIsNone(self.information("a", {"mqtt": {"response_prefix": ""}})[1])


if __name__ == "__main__":
    main()
