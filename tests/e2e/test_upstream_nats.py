"""Links to NATS with the real nats-server: both directions, JetStream, its own MQTT clients, and faults of
every kind of topic, header, login and server."""

import signal
import tempfile
import unittest

import wire
from case import main
from nats import NATS, NatsPeer, NatsServer
from suite import eventually
from upstream_case import Edges, Relay, make_certificate, rule

WAYS = [rule("in", "in/#"), rule("out", "out/#"), rule("both", "both/#")]


@unittest.skipUnless(NATS, "nats-server is not installed")
class WithNats(Edges):
    def serve(self, *lines):
        self.nats = NatsServer(*lines)
        self.addCleanup(self.nats.stop)

    def link(self, rules=WAYS, port=None, scheme="nats", wait=True, **more):
        edge = self.edge(self.upstream(port or self.nats.port, rules, scheme=scheme, type="nats", **more))
        if wait:
            self.wait_until_up(edge)
        return edge

    def peer(self, *subjects, **options):
        peer = NatsPeer(self.nats.port, **options)
        self.addCleanup(peer.close)
        for subject in subjects:
            peer.subscribe(subject)
        return peer

    def wait_until_subscribed(self, edge, prefix="in"):
        """What is published there arrives here, and nothing of this is on its way any more."""
        here = self.client(edge.mqtt_port)
        here.subscribe(f"{prefix}/meet/#")
        there = self.peer()
        arrived = 'millrace_upstream_messages_total{upstream="north",direction="in"}'
        before = edge.metrics()[arrived]

        def arrives():
            there.publish(f"{prefix}.meet.any", b"")
            return edge.metrics()[arrived] > before
        eventually(arrives, "what is published there arrives")
        there.publish(f"{prefix}.meet.last", b"")
        while here.receive().topic != f"{prefix}/meet/last":
            pass
        here.close()
        there.close()

    def refused(self, edge, reason):
        return edge.metrics()[f'millrace_upstream_refused_total{{upstream="north",reason="{reason}"}}']

    def wait_until_refused(self, edge, reason, count=1):
        eventually(lambda: self.refused(edge, reason) == count, f"{count} refused for {reason}")


class Core(WithNats):
    def test_crosses_both_ways_and_never_back(self):
        self.serve()
        edge = self.link()
        self.wait_until_subscribed(edge)
        here, there = self.client(edge.mqtt_port), self.peer("out", "out.>", "both.>")
        here.subscribe("in/#", "both/#")
        for i in range(20):
            here.publish("out/a", str(i).encode())
            there.publish("in.a.b", str(i).encode())
        for i in range(20):
            got = there.next()
            self.assertEqual((got.subject, got.payload, got.headers), ("out.a", str(i).encode(), []))
            here.receive(topic="in/a/b", payload=str(i).encode())
        here.publish("both/x", b"from here")
        here.receive(topic="both/x", payload=b"from here")
        self.assertEqual(there.next().payload, b"from here")
        there.publish("both.x", b"from there")
        self.assertEqual(there.next().payload, b"from there")  # its own copy, and no second one
        here.receive(topic="both/x", payload=b"from there")
        there.publish("in", b"the parent level")
        here.receive(topic="in", payload=b"the parent level")
        here.publish("out", b"the parent level")
        self.assertEqual(there.next().subject, "out")
        there.publish("both.fence", b"")
        here.receive(topic="both/fence")

    def test_two_edges_carry_properties_and_retain(self):
        self.serve()
        sender, receiver = self.link([rule("both", "both/#")]), self.link([rule("both", "both/#")])
        self.wait_until_subscribed(receiver, "both")
        self.meet(sender.mqtt_port, receiver.mqtt_port, "both")
        here, there = self.client(sender.mqtt_port), self.client(receiver.mqtt_port)
        there.subscribe(("both/p", 8))  # Retain As Published
        here.publish("both/p", b"1", retain=True, properties=[
            (1, 1), (2, 60), (3, "text/plain; x"), (8, "answer/\u00e4"), (9, b"\x00\r\n%"),
            (38, ("name=", " value"))])
        got = there.receive(topic="both/p", payload=b"1")
        self.assertTrue(got.retain)
        expiry = got.props.pop(2)
        self.assertLessEqual(expiry[0], 60)
        self.assertEqual(got.props, {
            1: [1], 3: ["text/plain; x"], 8: ["answer/\u00e4"], 9: [b"\x00\r\n%"],
            38: [("name=", " value"), ("millrace-hops", "01")]})

    def test_topics_of_every_kind_arrive_as_they_were_or_are_counted(self):
        self.serve()
        sender, receiver = self.link([rule("out")]), self.link([rule("in", "t/#")])
        self.wait_until_subscribed(receiver, "t")
        here, there = self.client(sender.mqtt_port), self.client(receiver.mqtt_port)
        there.subscribe("t/#")
        topics = ["t/*", "t/>", "t/*/>/a*b", "t/50%/%2A", "t/a b", "t/a.b/./..", "t//a///b/", "t/",
                  "t/\t\r\nPUB t.x 0\r\n", "t/\u00e4/\x7f", "t/$JS/API", "t/" + "x" * 3990]
        for topic in topics:
            here.publish(topic, b"")
        for topic in topics:
            there.receive(topic=topic)
        here.publish("t/" + "x" * 4000, b"")
        here.publish("t/" + "x" * 65533, b"")
        self.wait_until_refused(sender, "too_long", 2)
        here.publish("t/end", b"")
        there.receive(topic="t/end")
        self.wait_until_up(sender)

    def test_names_of_nats_are_out_of_reach(self):
        self.serve()
        edge = self.link([rule("out", "#", local_prefix="a/")])
        admin = self.peer()
        admin.add_stream("S", "s")
        here = self.client(edge.mqtt_port)
        here.publish("a/$JS/API/STREAM/DELETE/S", b"")
        self.wait_until_refused(edge, "reserved")
        self.assertEqual(admin.stream_messages("S"), 0)

    def test_what_is_no_topic_or_has_no_properties_is_counted(self):
        self.serve()
        edge = self.link([rule("in", "in/#")])
        self.wait_until_subscribed(edge)
        here, there = self.client(edge.mqtt_port), self.peer(pedantic=False)
        here.subscribe("in/#")
        there.publish("in.a+.#", b"")
        there.publish("in.a/b", b"")
        self.wait_until_refused(edge, "topic", 2)
        there.publish("in.a", b"", [("Mqtt-Expiry", "soon")])
        self.wait_until_refused(edge, "headers")
        there.publish("in.a", b"", [("Mqtt-User", "millrace-hops=08")])
        self.wait_until_refused(edge, "hops")
        there.publish("in.a", b"last", [("Mqtt-User", "millrace-hops=07"), ("X-Other", "1")])
        got = here.receive(topic="in/a", payload=b"last")
        self.assertEqual(got.props, {38: [("millrace-hops", "08")]})

    def test_a_message_that_is_too_large_for_nats_is_counted_and_the_link_stays(self):
        self.serve("max_payload: 1000")
        edge = self.link()
        here, there = self.client(edge.mqtt_port), self.peer("out.>")
        here.publish("out/a", b"x" * 1001)
        here.publish("out/a", b"x" * 1000)
        self.assertEqual(len(there.next().payload), 1000)
        self.wait_until_refused(edge, "too_large")

    def test_is_asked_only_for_what_is_wanted(self):
        self.serve()
        edge = self.link([rule("in", "in/#", demand=True)])
        there = self.peer()
        arrived = 'millrace_upstream_messages_total{upstream="north",direction="in"}'
        here = self.client(edge.mqtt_port)
        here.subscribe("in/#")

        def arrives():
            there.publish("in.a", b"")
            return edge.metrics()[arrived] > 0
        eventually(arrives, "somebody wants it")
        here.close()

        def ends():
            before = edge.metrics()[arrived]
            there.publish("in.a", b"")
            round_trip = self.client(edge.mqtt_port)
            round_trip.publish("x", b"", qos=1)
            round_trip.close()
            return edge.metrics()[arrived] == before
        eventually(ends, "nobody wants it any more")

    def test_comes_back_after_the_server_and_has_the_newest_values(self):
        self.serve()
        self.peer().add_stream("S", "out.>")  # It sees what comes before any client is back.
        edge = self.link([rule("out", "out/#", mode="latest", qos_max=0), rule("in", "in/#")])
        self.wait_until_subscribed(edge)
        here = self.client(edge.mqtt_port)
        self.nats.end()
        self.wait_until_up(edge, up=0)
        for i in range(10):
            here.publish("out/a", str(i).encode())  # Nothing of it waits but the newest value.
        self.nats.start()
        there = self.peer()
        eventually(lambda: there.stream_messages("S") == 1, "one value arrives")
        self.assertEqual(there.last_of("S", "out.a"), b"9")
        self.wait_until_subscribed(edge)
        state = self.client(edge.mqtt_port)
        state.subscribe("$SYS/broker/connection/north/state")
        state.receive(payload=b"1", retain=True)

    def test_a_server_that_stands_still_holds_up_nobody(self):
        self.serve()
        edge = self.link(keep_alive_seconds=5)
        here = self.client(edge.mqtt_port)
        here.subscribe("out/#")
        self.nats.process.send_signal(signal.SIGSTOP)
        self.addCleanup(self.nats.process.send_signal, signal.SIGCONT)
        big = b"x" * 100_000
        for _ in range(100):  # more than all buffers on the way
            here.publish("out/a", big)
            here.receive(topic="out/a")
        self.wait_until_up(edge, up=0)
        self.nats.process.send_signal(signal.SIGCONT)
        self.wait_until_up(edge)

    def test_a_reload_changes_rules_and_removes_the_link(self):
        self.serve()
        edge = self.link([rule("in", "in/#")])
        config = {"listeners": [{"name": "tcp", "port": 0}], "upstreams": [
            self.upstream(self.nats.port, [rule("in", "other/#")], scheme="nats", type="nats",
                          retry_max_seconds=1)]}
        self.assertEqual(edge.reload(config), "reloaded")
        self.wait_until_subscribed(edge, "other")
        self.assertEqual(edge.reload({**config, "upstreams": []}), "reloaded")
        eventually(lambda: not any("millrace_upstream_up" in name for name in edge.metrics()), "it is gone")


class Logins(WithNats):
    def test_a_user_and_a_password(self):
        self.serve('authorization { user: edge, password: "the secret" }')
        file = self.nats.path("password")
        with open(file, "w") as out:
            out.write("the secret\n")
        edge = self.link(user="edge", password_file=file)
        wrong = self.link(user="other", password_file=file, wait=False)
        wrong.wait_for_log(r"upstream.unreachable .*[Aa]uthorization")
        self.wait_until_up(edge)

    def test_tls_checks_whose_certificate_it_is(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-nats-")
        self.addCleanup(folder.cleanup)
        certificate, key = make_certificate(folder.name, "nats.example")
        self.serve(f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}')
        edge = self.link(scheme="tls", tls={"ca_file": certificate, "server_name": "nats.example"})
        self.wait_until_up(edge)
        other = self.link(scheme="tls", wait=False, tls={"ca_file": certificate, "server_name": "other.example"})
        other.wait_for_log(r"upstream.unreachable .*other.example")
        unknown = self.link(scheme="tls", wait=False, tls={"server_name": "nats.example"})
        unknown.wait_for_log(r"upstream.unreachable ")
        plain = self.link(wait=False)
        plain.wait_for_log(r"upstream.unreachable .*(SSL|[Ss]ecure)")  # the server asks for TLS: no way around it
        self.link(scheme="tls", tls={"verify": "insecure"})

    def test_what_the_server_does_not_allow_is_told(self):
        self.serve('authorization { users: [{ user: edge, password: "p",'
                   ' permissions: { publish: "out.>", subscribe: "no" } }] }')
        file = self.nats.path("password")
        with open(file, "w") as out:
            out.write("p\n")
        edge = self.link(user="edge", password_file=file)
        self.client(edge.mqtt_port).subscribe("in/#")  # then the link asks for it
        edge.wait_for_log(r"upstream.rule .*[Pp]ermissions")
        self.wait_until_up(edge)


class Streams(WithNats):
    RULES = [rule("out", "js/#", jetstream=True, ack="upstream"), rule("out", "edge/#", jetstream=True)]

    def start(self):
        self.serve()
        self.admin = self.peer()
        self.admin.add_stream("S", "js.>", "edge.>")

    def test_a_stream_acknowledges_what_is_published(self):
        self.start()
        edge = self.link(self.RULES)
        here = self.client(edge.mqtt_port)
        for i in range(50):
            self.assertEqual(here.publish("js/a", str(i).encode(), qos=1 + i % 2).code, 0)
        self.assertEqual(self.admin.stream_messages("S"), 50)
        here.publish("edge/a", b"", qos=1)
        eventually(lambda: self.admin.stream_messages("S") == 51, "it waits for nobody here")

    def test_what_no_stream_takes_is_not_acknowledged_until_one_does(self):
        self.serve()
        edge = self.link(self.RULES)
        here = self.client(edge.mqtt_port)
        pid = here.pid()
        here.send(wire.publish("js/a", b"1", 1, pid, version=here.version))
        edge.wait_for_log(r"upstream.rule .*no stream takes it")
        here.send(wire.pingreq())
        here.expect(wire.PINGRESP)  # No PUBACK stands before it.
        admin = self.peer()
        admin.add_stream("S", "js.>")
        here.answer(wire.PUBACK, pid=pid, code=0)
        self.assertEqual(admin.stream_messages("S"), 1)

    def test_what_the_stream_refuses_is_refused(self):
        self.serve()
        self.peer().add_stream("S", "js.>", max_msgs=1, discard="new")
        edge = self.link(self.RULES)
        here = self.client(edge.mqtt_port)
        self.assertEqual(here.publish("js/a", b"1", qos=1).code, 0)
        self.assertGreaterEqual(here.publish("js/a", b"2", qos=1).code, 0x80)
        self.wait_until_refused(edge, "stream")

    def test_the_next_of_a_topic_leaves_when_the_one_before_is_acknowledged(self):
        self.serve()
        edge = self.link(self.RULES)
        stream = self.peer("js.>")  # This test is the stream.
        here = self.client(edge.mqtt_port)
        pids = self.send_to(here, "js/a", b"1", b"2", b"3")
        here.publish("js/a", b"4")  # at QoS 0: it waits for nothing but its turn
        other = self.send_to(here, "js/b", b"other")
        here.publish("js/fence", b"")
        got = {message.subject: message for message in (stream.next(), stream.next(), stream.next())}
        self.assertEqual([got[name].payload for name in ("js.a", "js.b", "js.fence")], [b"1", b"other", b""])
        self.take(stream, got["js.b"])
        here.answer(wire.PUBACK, pid=other[0], code=0)
        self.take(stream, got["js.a"])
        here.answer(wire.PUBACK, pid=pids[0], code=0)
        second = stream.next()
        here.publish("js/fence", b"")
        self.assertEqual((second.payload, stream.next().subject), (b"2", "js.fence"))
        self.take(stream, second)
        here.answer(wire.PUBACK, pid=pids[1], code=0)
        third, last = stream.next(), stream.next()
        self.assertEqual([(one.subject, one.payload) for one in (third, last)], [("js.a", b"3"), ("js.a", b"4")])
        self.take(stream, third)
        here.answer(wire.PUBACK, pid=pids[2], code=0)

    def test_what_is_too_large_or_refused_holds_up_nothing_of_its_topic(self):
        self.serve("max_payload: 1000")
        edge = self.link(self.RULES)
        stream = self.peer("js.>")
        here = self.client(edge.mqtt_port)
        pids = self.send_to(here, "js/a", b"1", b"x" * 1001, b"3", b"4")
        self.take(stream, stream.next())
        here.answer(wire.PUBACK, pid=pids[0], code=0)
        self.assertEqual(here.answer(wire.PUBACK, pid=pids[1]).code, 0x83)  # 0x95 is none of PUBACK's
        third = stream.next()
        self.assertEqual(third.payload, b"3")
        stream.publish(third.reply, b'{"error": {"code": 400, "description": "not this one"}}')
        self.assertGreaterEqual(here.answer(wire.PUBACK, pid=pids[2]).code, 0x80)
        fourth = stream.next()
        self.assertEqual(fourth.payload, b"4")
        self.take(stream, fourth)
        here.answer(wire.PUBACK, pid=pids[3], code=0)

    def test_what_a_stream_cannot_take_now_is_sent_again(self):
        self.serve()
        edge = self.link(self.RULES)
        stream = self.peer("js.>")
        here = self.client(edge.mqtt_port)
        [pid] = self.send_to(here, "js/a", b"1")
        first = stream.next()
        stream.publish(first.reply, b'{"error": {"code": 503, "err_code": 10023, "description": "insufficient resources"}}')
        again = stream.next()
        self.assertEqual((again.payload, again.headers), (b"1", first.headers))
        self.take(stream, again)
        here.answer(wire.PUBACK, pid=pid, code=0)

    def test_what_waits_for_its_turn_leaves_before_this_server_ends(self):
        self.serve()
        edge = self.link(self.RULES)
        stream = self.peer("edge.>", "js.>")
        here = self.client(edge.mqtt_port)
        for payload in (b"1", b"2", b"3"):
            here.publish("edge/a", payload, qos=1)  # Nobody would send it again.
        self.send_to(here, "js/a", b"1", b"2")  # Its publisher sends it again.
        here.publish("js/fence", b"")
        got = [stream.next() for _ in range(3)]
        self.assertEqual({message.subject: message.payload for message in got},
                         {"edge.a": b"1", "js.a": b"1", "js.fence": b""})
        self.assertEqual(edge.terminate(), 0)
        self.assertEqual([(message.subject, message.payload) for message in (stream.next(), stream.next())],
                         [("edge.a", b"2"), ("edge.a", b"3")])
        self.peer().publish("js.end", b"")
        self.assertEqual(stream.next().subject, "js.end")

    @staticmethod
    def send_to(here, topic, *payloads):
        """Publishes all of them at QoS 1 and waits for nothing; returns their packet identifiers."""
        pids = [here.pid() for _ in payloads]
        here.send(*(wire.publish(topic, payload, 1, pid, version=here.version)
                    for payload, pid in zip(payloads, pids)))
        return pids

    @staticmethod
    def take(stream, message):
        """As a stream does."""
        stream.publish(message.reply, b'{"stream": "S", "seq": 1}')

    def test_nothing_acknowledged_is_lost_while_the_link_flaps(self):
        self.start()
        relay = Relay(self.nats.port)
        self.addCleanup(relay.stop)
        edge = self.link(self.RULES, port=relay.port)
        connects = 'millrace_upstream_connects_total{upstream="north"}'
        here = self.client(edge.mqtt_port)
        count = 0
        for _ in range(10):
            before = edge.metrics()[connects]
            for _ in range(20):
                here.publish("edge/a", str(count).encode(), qos=1)
                count += 1
            relay.cut()
            eventually(lambda: edge.metrics()[connects] > before, "the link is back")
        here.publish("js/last", b"", qos=1)
        # The edge has acknowledged what is still on its way.
        eventually(lambda: self.admin.stream_messages("S") >= count + 1, "the stream has all of them")

    def test_what_waits_crosses_when_the_server_is_back(self):
        self.start()
        edge = self.link(self.RULES)
        self.nats.end()
        self.wait_until_up(edge, up=0)
        here = self.client(edge.mqtt_port)
        for i in range(100):
            here.publish("edge/a", str(i).encode(), qos=1)
        waits = 'millrace_upstream_spool_messages{upstream="north"}'
        eventually(lambda: edge.metrics()[waits] == 100, "all of it waits, and is seen to")
        self.nats.start()
        admin = self.peer()
        eventually(lambda: admin.stream_messages("S") == 100, "all of it arrives")


class OwnMqtt(WithNats):
    """MQTT clients of nats-server's own port and clients here mean the same."""

    def test_clients_of_either_side_understand_each_other(self):
        self.serve()
        edge = self.link([rule("both", "b/#")])
        self.wait_until_subscribed(edge, "b")
        here, there = self.client(edge.mqtt_port), self.client(self.nats.mqtt_port, version=4)
        here.subscribe("b/#")
        there.subscribe("b/#")
        there.publish("b/fence", b"")
        here.receive(topic="b/fence")
        there.receive(topic="b/fence")
        for topic in ("b/a/c", "b", "b/", "b//x", "b///", "b/a//c/", "b/\u00e4"):
            here.publish(topic, b"from here")
            here.receive(topic=topic, payload=b"from here")
            there.receive(topic=topic, payload=b"from here")
            for qos in (0, 1):
                there.publish(topic, b"from there", qos=qos)
                there.receive(topic=topic, payload=b"from there")
                here.receive(topic=topic, payload=b"from there")


if __name__ == "__main__":
    main()
