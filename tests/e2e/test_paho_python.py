"""python3-paho-mqtt, 3.1.1 and 5.0."""

import queue
import unittest

from case import Case, EVENT_TIMEOUT_S, main

try:
    import paho.mqtt.client as paho
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.subscribeoptions import SubscribeOptions
except ImportError:
    paho = None


def properties(kind, **values):
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Client:
    """paho's callbacks as one queue of events."""

    def __init__(self, port, client_id, version, clean=True, expiry_s=None, will=None, alias=None,
                 transport="tcp", tls=None):
        self.events = queue.Queue()
        self.version = version
        more = {} if version == paho.MQTTv5 else {"clean_session": clean}
        self.client = paho.Client(client_id, protocol=version, transport=transport, **more)
        client = self.client
        if tls:
            client.tls_set(ca_certs=tls)
        client.on_connect = lambda c, u, flags, code, props=None: self.events.put(
            ("connected", flags, code))
        client.on_message = lambda c, u, message: self.events.put(("message", message))
        client.on_subscribe = lambda c, u, mid, codes, props=None: self.events.put(
            ("subscribed", codes))
        client.on_publish = lambda c, u, mid: self.events.put(("published", mid))
        client.on_disconnect = lambda c, u, code, props=None: self.events.put(("gone", code))
        if will:
            topic, payload, delay_s = will
            will_properties = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=delay_s) \
                if delay_s else None
            client.will_set(topic, payload, qos=1, properties=will_properties)
        arguments = {}
        if version == paho.MQTTv5:
            connect = Properties(PacketTypes.CONNECT)
            if expiry_s:
                connect.SessionExpiryInterval = expiry_s
            if alias:
                connect.TopicAliasMaximum = alias
            arguments = {"clean_start": clean, "properties": connect}
        client.connect("localhost" if tls else "127.0.0.1", port, **arguments)
        client.loop_start()
        _, self.flags, code = self.event("connected")
        assert code == 0, code

    def event(self, kind):
        """The next event of this kind; others are skipped."""
        while True:
            got = self.events.get(timeout=EVENT_TIMEOUT_S)
            if got[0] == kind:
                return got

    def subscribe(self, filter_, qos=0, options=None):
        if options is not None:
            self.client.subscribe(filter_, options=options)
        else:
            self.client.subscribe(filter_, qos)
        return self.event("subscribed")[1]

    def publish(self, topic, payload, qos=0, retain=False, **values):
        made = properties(PacketTypes.PUBLISH, **values) if values else None
        self.client.publish(topic, payload, qos, retain, made).wait_for_publish(EVENT_TIMEOUT_S)

    def message(self):
        return self.event("message")[1]

    def disconnect(self):
        self.client.disconnect()
        self.event("gone")
        self.client.loop_stop()

    def die(self):
        """Closes the socket without DISCONNECT."""
        self.client.loop_stop()
        self.client._sock_close()


@unittest.skipUnless(paho, "python3-paho-mqtt is not installed")
class Paho(Case):
    VERSIONS = (paho.MQTTv311, paho.MQTTv5) if paho else ()

    def client(self, version, client_id=None, **options):
        client = Client(self.server.mqtt_port, client_id or f"{self.unique}-{id(options)}", version,
                        **options)
        self.addCleanup(client.client.loop_stop)
        self.addCleanup(client.client.disconnect)
        return client

    def each(self):
        """Each version, with its own names."""
        for version in self.VERSIONS:
            self.unique += "v"
            yield version

    def test_every_qos_arrives(self):
        for version in self.each():
            client = self.client(version)
            for qos in (0, 1, 2):
                client.subscribe(self.topic(str(qos)), qos)
                client.publish(self.topic(str(qos)), f"hello {qos}", qos)
                got = client.message()
                self.assertEqual((got.topic, got.payload, got.qos),
                                 (self.topic(str(qos)), f"hello {qos}".encode(), qos))

    def test_retained_messages_come_to_later_subscribers(self):
        for version in self.each():
            client = self.client(version)
            client.publish(self.topic(), b"kept", 1, retain=True)
            client.subscribe(self.topic(), 1)
            got = client.message()
            self.assertEqual((got.payload, got.retain), (b"kept", True))

    def test_a_will_is_published_with_its_delay(self):
        for version in self.each():
            watcher = self.client(version)
            watcher.subscribe(self.topic("will"), 1)
            delay = 1 if version == paho.MQTTv5 else 0
            mortal = self.client(version, f"{self.unique}-mortal", expiry_s=60,
                                 will=(self.topic("will"), b"gone", delay))
            mortal.die()
            self.assertEqual(watcher.message().payload, b"gone")

    def test_a_session_is_resumed_with_what_was_queued(self):
        for version in self.each():
            name = self.unique
            sleeper = self.client(version, name, clean=False, expiry_s=60)
            sleeper.subscribe(self.topic(), 2)
            sleeper.disconnect()
            sender = self.client(version)
            for number in range(10):
                sender.publish(self.topic(), str(number), 1)
            sleeper = self.client(version, name, clean=False, expiry_s=60)
            self.assertTrue(sleeper.flags["session present"])
            self.assertEqual([sleeper.message().payload for _ in range(10)],
                             [str(n).encode() for n in range(10)])

    def test_a_latest_subscription_is_seeded_with_the_newest_value(self):
        for version in self.each():
            client = self.client(version)
            for number in range(5):
                client.publish(self.topic(str(number % 2)), str(number), 1)
            client.subscribe("$latest/" + self.topic("+"), 1)
            got = {m.topic: m.payload for m in (client.message(), client.message())}
            self.assertEqual(got, {self.topic("0"): b"4", self.topic("1"): b"3"})
            client.publish(self.topic("2"), b"new", 1)
            self.assertEqual(client.message().topic, self.topic("2"))

    def test_a_shared_subscription_gives_each_message_to_one_member(self):
        version = paho.MQTTv5
        members = [self.client(version, f"{self.unique}-{n}") for n in range(2)]
        for member in members:
            member.subscribe(f"$share/group/{self.topic()}", 1)
            member.subscribe(self.topic("end"), 1)
        sender = self.client(version)
        for number in range(20):
            sender.publish(self.topic(), str(number), 1)
        sender.publish(self.topic("end"), b"", 1)
        seen = []
        for member in members:
            while (got := member.message()).topic != self.topic("end"):
                seen.append(int(got.payload))
        self.assertEqual(sorted(seen), list(range(20)))

    def test_a_request_carries_what_its_response_needs(self):
        version = paho.MQTTv5
        asks, answers = self.client(version, f"{self.unique}-a"), self.client(version)
        answers.subscribe(self.topic("ask"), 1)
        asks.subscribe(self.topic("answer"), 1)
        asks.publish(self.topic("ask"), b"2+2", 1, ResponseTopic=self.topic("answer"),
                     CorrelationData=b"\x00\x07")
        request = answers.message().properties
        answers.publish(request.ResponseTopic, b"4", 1, CorrelationData=request.CorrelationData)
        response = asks.message()
        self.assertEqual((response.payload, response.properties.CorrelationData), (b"4", b"\x00\x07"))

    def test_user_properties_keep_their_order(self):
        client = self.client(paho.MQTTv5)
        client.subscribe(self.topic(), 1)
        pairs = [("b", "1"), ("a", "2"), ("b", "1")]
        client.publish(self.topic(), b"x", 1, UserProperty=pairs)
        self.assertEqual(client.message().properties.UserProperty, pairs)

    def test_the_server_uses_the_aliases_that_a_client_allows(self):
        """This client library does not resolve aliases; its user has to."""
        reader, sender = self.client(paho.MQTTv5, f"{self.unique}-r", alias=1), self.client(paho.MQTTv5)
        reader.subscribe(self.topic("#"), 1)
        for payload in (b"1", b"2"):
            sender.publish(self.topic("aliased"), payload, 1)
        first, second = reader.message(), reader.message()
        self.assertEqual((first.topic, first.payload), (self.topic("aliased"), b"1"))
        self.assertEqual((second.topic, second.payload), ("", b"2"))
        self.assertEqual([m.properties.TopicAlias for m in (first, second)], [1, 1])

    def test_topic_aliases_of_a_client_are_resolved(self):
        sender, plain = self.client(paho.MQTTv5, f"{self.unique}-s"), self.client(paho.MQTTv5)
        plain.subscribe(self.topic("#"), 1)
        sender.publish(self.topic("aliased"), b"1", 1, TopicAlias=3)
        sender.publish("", b"2", 1, TopicAlias=3)
        for payload in (b"1", b"2"):
            got = plain.message()
            self.assertEqual((got.topic, got.payload), (self.topic("aliased"), payload))

    def test_no_local_and_retain_as_published(self):
        client = self.client(paho.MQTTv5)
        client.subscribe(self.topic("#"), options=SubscribeOptions(
            qos=1, noLocal=True, retainAsPublished=True))
        client.publish(self.topic("mine"), b"x", 1)
        self.client(paho.MQTTv5, f"{self.unique}-o").publish(self.topic("theirs"), b"y", 1,
                                                             retain=True)
        got = client.message()
        self.assertEqual((got.topic, got.retain), (self.topic("theirs"), True))

    def test_it_works_over_websocket(self):
        for version in self.each():
            client = Client(self.server.ws_port, self.unique, version, transport="websockets")
            client.subscribe(self.topic(), 2)
            client.publish(self.topic(), b"x" * 100_000, 2)
            self.assertEqual(client.message().payload, b"x" * 100_000)
            client.disconnect()


if __name__ == "__main__":
    main()
