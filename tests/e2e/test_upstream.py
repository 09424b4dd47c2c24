"""Links to other brokers: mosquitto, nats-server and other servers of this program as upstreams, in MQTT 5
and 3.1.1, every direction and QoS, through restarts of either side, rings and faults."""

import os
import signal
import subprocess
import tempfile
import unittest
import urllib.error

import wire
from case import main
from mosquitto import MOSQUITTO, Mosquitto
from nats import NATS
from suite import eventually, free_port
from upstream_case import ALL_WAYS, Edges, Relay, rule


@unittest.skipUnless(MOSQUITTO, "mosquitto is not installed")
class WithMosquitto(Edges):
    def start(self, version="5", *lines):
        self.broker = Mosquitto("allow_anonymous true", *lines)
        self.addCleanup(self.broker.stop)
        self.port = free_port()
        self.config = self.upstream(self.broker.port, ALL_WAYS, version=version)
        self.server = self.edge(self.config, port=self.port)

    def check(self, version):
        self.start(version)
        self.meet_all_ways(self.port, self.broker.port)
        self.check_live(self.port, self.broker.port)
        self.check_retained(self.port, self.broker.port)
        # The upstream ends, and comes back.
        self.broker.end()
        self.wait_until_up(self.server, up=0)
        self.broker.start()
        self.meet_all_ways(self.port, self.broker.port)
        self.check_live(self.port, self.broker.port)
        # This server ends, and comes back.
        self.server.stop()
        self.server = self.edge(self.config, port=self.port)
        self.meet_all_ways(self.port, self.broker.port)
        self.check_live(self.port, self.broker.port)
        self.check_retained(self.port, self.broker.port)
        for fault in ("protocol error", "malformed", "exceeded"):
            self.assertNotIn(fault, self.broker.said().lower())

    def test_in_5(self):
        self.check("5")

    def test_in_3_1_1_as_a_bridge(self):
        self.check("3.1.1")

    def test_what_waits_crosses_when_the_link_is_back(self):
        self.start()
        relay = Relay(self.broker.port)
        self.addCleanup(relay.stop)
        server = self.edge(self.upstream(relay.port, ALL_WAYS, name="spool", client_id="spool"))
        self.meet(server.mqtt_port, self.broker.port, "out")
        watcher = self.client(self.broker.port)
        watcher.subscribe(("out/spool/#", 1))
        relay.down()
        self.wait_until_up(server, "spool", up=0)
        publisher = self.client(server.mqtt_port)
        for i in range(500):
            publisher.publish(f"out/spool/{i % 7}", str(i).encode(), qos=1 + i % 2)
        waits = 'millrace_upstream_spool_messages{upstream="spool"}'
        eventually(lambda: server.metrics()[waits] == 500, "all of it waits, and is seen to")
        self.assertGreater(server.metrics()['millrace_upstream_spool_age_seconds{upstream="spool"}'], 0)
        relay.up()
        got = [int(watcher.receive().payload) for _ in range(500)]
        # mosquitto publishes what came at QoS 2 with its PUBREL, so each QoS has an order of its own.
        for qos in (1, 2):
            self.assertEqual([i for i in got if 1 + i % 2 == qos], list(range(qos - 1, 500, 2)),
                             "in order, each once")

    def test_nothing_acknowledged_is_lost_while_the_link_flaps(self):
        self.start()
        self.meet_all_ways(self.port, self.broker.port)
        relay = Relay(self.broker.port)
        self.addCleanup(relay.stop)
        server = self.edge(self.upstream(relay.port, ALL_WAYS, name="flap", client_id="flap"))
        self.meet(server.mqtt_port, self.broker.port, "out")
        watcher = self.client(self.broker.port)
        watcher.subscribe(("out/flap", 1))
        publisher = self.client(server.mqtt_port)
        connects = 'millrace_upstream_connects_total{upstream="flap"}'
        count = 0
        for _ in range(15):
            before = server.metrics()[connects]
            for _ in range(20):
                publisher.publish("out/flap", str(count).encode(), qos=2)
                count += 1
            relay.cut()
            eventually(lambda: server.metrics()[connects] > before, "the link is back")
        got = [int(watcher.receive().payload) for _ in range(count)]
        self.assertEqual(got, list(range(count)), "in order, each exactly once")

    def start_with_acks(self):
        self.start()
        return self.edge(self.upstream(self.broker.port, [rule("out", "acked/#", ack="upstream")],
                                       name="ack", client_id="ack"))

    def test_no_acknowledgement_comes_before_the_upstreams(self):
        server = self.start_with_acks()
        publisher = self.client(server.mqtt_port)
        for qos in (1, 2):
            publisher.publish("acked/a", b"1", qos=qos)  # It waits for the link, and has its answer.
        self.broker.process.send_signal(signal.SIGSTOP)
        try:
            pid = publisher.pid()
            publisher.send(wire.publish("acked/a", b"2", 1, pid, version=publisher.version))
            publisher.publish("other", b"", qos=1)  # Its acknowledgement is the next packet.
        finally:
            self.broker.process.send_signal(signal.SIGCONT)
        publisher.answer(wire.PUBACK, pid=pid, code=0)

    def test_nothing_that_the_upstream_acknowledged_is_lost_with_the_edge(self):
        server = self.start_with_acks()
        watcher = self.client(self.broker.port)
        watcher.subscribe(("acked/#", 1))
        publisher = self.client(server.mqtt_port)
        pids = [publisher.pid() for _ in range(400)]
        for pid in pids:
            publisher.send(wire.publish("acked/a", str(pid).encode(), 1, pid,
                                        version=publisher.version))
        acked = {publisher.answer(wire.PUBACK).pid for _ in range(100)}
        server.process.kill()
        server.process.wait()
        while (got := publisher.next()) is not None:
            acked.add(got.pid)
        self.client(self.broker.port).publish("acked/fence", b"", qos=1)
        arrived = set()
        while (got := watcher.receive()).topic != "acked/fence":
            arrived.add(int(got.payload))
        self.assertEqual(acked - arrived, set())

    def test_an_upstream_that_stands_still_is_given_up_and_nothing_is_lost(self):
        self.start()
        server = self.edge(self.upstream(self.broker.port, ALL_WAYS, name="still", client_id="still",
                                         keep_alive_seconds=5))
        self.meet(server.mqtt_port, self.broker.port, "out")
        watcher = self.client(self.broker.port)
        watcher.subscribe(("out/still", 1))
        publisher, reader = self.client(server.mqtt_port), self.client(server.mqtt_port)
        reader.subscribe(("out/still", 0))
        self.broker.process.send_signal(signal.SIGSTOP)
        try:
            for i in range(100):
                publisher.publish("out/still", str(i).encode(), qos=1 + i % 2)
                reader.receive(payload=str(i).encode())  # here nobody notices
            server.wait_for_log(r"upstream.down .*no answer to PINGREQ in time")
        finally:
            self.broker.process.send_signal(signal.SIGCONT)
        got = []
        while len(set(got)) < 100:  # Nothing acknowledged is lost.
            got.append(int(watcher.receive().payload))
        twice = [i for i in got if i % 2 and got.count(i) > 1]
        self.assertEqual(twice, [], "nothing at QoS 2 came twice")

    def test_what_comes_in_waits_for_an_edge_that_was_killed(self):
        self.start()
        self.meet(self.broker.port, self.port, "in")
        watcher = self.client(self.port)
        self.server.process.kill()
        self.server.process.wait()
        publisher = self.client(self.broker.port)
        for i in range(50):
            publisher.publish("in/killed", str(i).encode(), qos=1 + i % 2)
        self.server.stop()
        watcher.close()
        # Its readers come back before the link does: mosquitto is let go on when they are there.
        self.broker.process.send_signal(signal.SIGSTOP)
        try:
            self.server = self.edge(self.config, port=self.port)
            watcher = self.client(self.port)
            watcher.subscribe(("in/killed", 1))
        finally:
            self.broker.process.send_signal(signal.SIGCONT)
        got = [int(watcher.receive().payload) for _ in range(50)]
        for qos in (1, 2):
            self.assertEqual([i for i in got if 1 + i % 2 == qos], list(range(qos - 1, 50, 2)),
                             "in order, each once")

    def test_a_wrong_password_is_refused_and_said_once(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-upstream-")
        self.addCleanup(folder.cleanup)
        users, right = os.path.join(folder.name, "users"), os.path.join(folder.name, "right")
        wrong = os.path.join(folder.name, "wrong")
        for path, text in ((users, "edge:secret\n"), (right, "secret\n"), (wrong, "guess\n")):
            with open(path, "w") as out:
                out.write(text)
        subprocess.run(["mosquitto_passwd", "-U", users], check=True)
        self.broker = Mosquitto("allow_anonymous false", f"password_file {users}")
        self.addCleanup(self.broker.stop)
        config = self.upstream(self.broker.port, ALL_WAYS, user="edge", password_file=wrong)
        server = self.edge(config)
        server.wait_for_log(r"upstream.unreachable .*refused: not authorized")
        failures = 'millrace_upstream_connect_failures_total{upstream="north"}'
        eventually(lambda: server.metrics().get(failures, 0) >= 3, "it tries again")
        said = [line for line in server.lines if "upstream.unreachable" in line]
        self.assertEqual(len(said), 1, said)
        # A reload with the right one.
        self.assertEqual(server.reload({
            "listeners": [{"name": "tcp", "port": 0}],
            "upstreams": [{**config, "password_file": right, "retry_max_seconds": 1}]}), "reloaded")
        self.wait_until_up(server)


class WithMillrace(Edges):
    def test_two_servers(self):
        core = self.edge()
        edge = self.edge(self.upstream(core.mqtt_port, ALL_WAYS))
        self.meet_all_ways(edge.mqtt_port, core.mqtt_port)
        self.check_live(edge.mqtt_port, core.mqtt_port)
        self.check_retained(edge.mqtt_port, core.mqtt_port)

    def test_two_servers_in_3_1_1(self):
        core = self.edge()
        edge = self.edge(self.upstream(core.mqtt_port, ALL_WAYS, version="3.1.1"))
        self.meet_all_ways(edge.mqtt_port, core.mqtt_port)
        self.check_live(edge.mqtt_port, core.mqtt_port)
        self.check_retained(edge.mqtt_port, core.mqtt_port)

    def test_properties_cross_two_links(self):
        core = self.edge()
        middle = self.edge(self.upstream(core.mqtt_port, [rule("both")]))
        edge = self.edge(self.upstream(middle.mqtt_port, [rule("both", local_prefix="site/")]))
        self.wait_until_up(middle)
        self.wait_until_up(edge)
        reader = self.client(core.mqtt_port)
        reader.subscribe(("a/#", 1))
        sender = self.client(edge.mqtt_port)
        sender.publish("site/a/b", b"x", qos=1, properties=[
            (wire.CONTENT_TYPE, "text/plain"), (wire.RESPONSE_TOPIC, "answer"),
            (wire.CORRELATION, b"7"), (wire.USER, ("k", "v")), (wire.MESSAGE_EXPIRY, 100)])
        got = reader.receive(topic="a/b", payload=b"x", qos=1)
        self.assertEqual(got.one(wire.CONTENT_TYPE), "text/plain")
        self.assertEqual(got.one(wire.RESPONSE_TOPIC), "answer")
        self.assertEqual(got.one(wire.CORRELATION), b"7")
        self.assertLessEqual(got.one(wire.MESSAGE_EXPIRY), 100)
        self.assertEqual(got.props[wire.USER], [("k", "v"), ("millrace-hops", "02")])

    def test_a_link_asks_for_what_somebody_subscribes_to(self):
        core = self.edge()
        edge = self.edge(self.upstream(core.mqtt_port, [rule("in", "wanted/#", demand=True)]))
        self.wait_until_up(edge)

        def subscriptions():
            return core.metrics()["millrace_subscriptions"]
        before = subscriptions()
        for _ in range(2):
            self.meet(core.mqtt_port, edge.mqtt_port, "wanted")  # Its reader has left afterwards.
            eventually(lambda: subscriptions() == before, "nobody subscribes there any more")

    def test_a_ring_of_three_comes_to_rest(self):
        ports = [free_port() for _ in range(3)]
        ring = [self.edge(self.upstream(ports[(i + 1) % 3], [rule("both")], name=f"next{i}",
                                        hops_max=4), port=ports[i]) for i in range(3)]
        for i, server in enumerate(ring):
            self.wait_until_up(server, f"next{i}")
        readers = [self.client(port) for port in ports]
        for reader in readers:
            reader.subscribe("news")
        self.client(ports[0]).publish("news", b"1", qos=1)
        for reader in readers:
            reader.receive(topic="news", payload=b"1")

        def refused(server, i):
            return server.metrics()[
                f'millrace_upstream_refused_total{{upstream="next{i}",reason="hops"}}']
        eventually(lambda: sum(refused(server, i) for i, server in enumerate(ring)) >= 1,
                   "it was stopped")

        def crossed():
            return sum(value for server in ring for name, value in server.metrics().items()
                       if name.startswith("millrace_upstream_messages_total"))

        def rests():
            """Nothing has crossed while an answer went through every server and back."""
            before = crossed()
            for _ in range(20):
                for port in ports:
                    self.client(port).close()
            return crossed() == before
        eventually(rests, "the ring comes to rest")

    def test_its_state_is_where_mosquittos_users_look(self):
        core_port = free_port()
        edge = self.edge(self.upstream(core_port, [rule("both")], name="hq"))
        watcher = self.client(edge.mqtt_port)
        watcher.subscribe("$SYS/broker/connection/hq/state")
        watcher.receive(payload=b"0")
        core = self.edge(port=core_port)
        watcher.receive(payload=b"1")
        core.stop()
        watcher.receive(payload=b"0")
        self.assertEqual(edge.reload({"listeners": [{"name": "tcp", "port": 0}]}), "reloaded")
        watcher.receive(payload=b"")

    def test_a_link_that_carries_nothing_any_more_is_given_up(self):
        core = self.edge()
        relay = Relay(core.mqtt_port)
        self.addCleanup(relay.stop)
        edge = self.edge(self.upstream(relay.port, ALL_WAYS, keep_alive_seconds=5))
        self.meet_all_ways(edge.mqtt_port, core.mqtt_port)
        for ways in (("up", "down"), ("up",), ("down",)):
            seen = len(edge.lines)
            relay.hold(*ways)
            publisher = self.client(edge.mqtt_port)
            publisher.publish("out/held", b"".join(name.encode() for name in ways), qos=2)
            publisher.close()
            edge.wait_for_log(r"upstream.down ", seen)
            relay.let_go()
            self.meet_all_ways(edge.mqtt_port, core.mqtt_port)
        self.check_live(edge.mqtt_port, core.mqtt_port)

    def test_a_server_is_not_ready_without_a_link_that_it_needs(self):
        core_port = free_port()
        needed = self.upstream(core_port, [rule("both")], name="hq", required=True)
        edge = self.edge(needed)

        def ready():
            try:
                return edge.http("/readyz")
            except urllib.error.HTTPError as error:
                self.assertEqual(error.code, 503)
                self.assertIn("the upstream hq is down", error.read().decode())
                return None
        self.assertIsNone(ready())
        core = self.edge(port=core_port)
        eventually(ready, "it is ready with the link")
        core.stop()
        eventually(lambda: ready() is None, "it is not ready without the link")
        self.assertEqual(edge.reload({
            "listeners": [{"name": "tcp", "port": 0}],
            "upstreams": [{**needed, "required": False, "retry_max_seconds": 1}]}), "reloaded")
        eventually(ready, "it is ready where nothing is needed")

    def test_a_slow_link_carries_the_newest_values(self):
        core = self.edge()
        relay = Relay(core.mqtt_port, bytes_per_second=200_000)
        self.addCleanup(relay.stop)
        edge = self.edge(self.upstream(relay.port, [
            rule("out", "v/#", mode="latest", qos_max=0), rule("out", "every/#")]))
        self.wait_until_up(edge)
        watcher = self.client(core.mqtt_port)
        watcher.subscribe(("v/#", 0), ("every/#", 1))
        publisher = self.client(edge.mqtt_port)
        topics, rounds = 20, 200
        for i in range(rounds):
            for topic in range(topics):
                publisher.send(wire.publish(f"v/{topic}", f"{i}".encode().ljust(1000)))
        publisher.publish("every/last", b"", qos=1)
        last, count = {}, 0
        while len(last) < topics or any(last[t] != rounds - 1 for t in last):
            got = watcher.next()
            if got.topic.startswith("v/"):
                value = int(got.payload)
                self.assertGreater(value, last.get(got.topic, -1), "never an older value")
                last[got.topic] = value
                count += 1
        self.assertLess(count, topics * rounds, "values were left out")
        conflated = edge.metrics()['millrace_upstream_conflated_total{upstream="north"}']
        self.assertEqual(count + conflated, topics * rounds)

    def test_a_server_that_ends_says_goodbye(self):
        core = self.edge()
        edge = self.edge(self.upstream(core.mqtt_port, [rule("both")]))
        self.wait_until_up(edge)
        self.assertEqual(edge.terminate(), 0)
        core.wait_for_log(r"connection.end cause=client_disconnect .*client=\S*north")


@unittest.skipUnless(NATS, "nats-server is not installed")
class WithNats(Edges):
    """By its MQTT port: a server of 3.1.1 that knows no bridges, and sends back what it was sent."""

    def test_topics_cross_in_one_direction_each(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-upstream-")
        self.addCleanup(folder.cleanup)
        port = free_port()
        file = os.path.join(folder.name, "nats.conf")
        with open(file, "w") as out:
            out.write(f"server_name: test\nhost: 127.0.0.1\nport: {free_port()}\n"
                      f'jetstream {{ store_dir: "{folder.name}/jetstream" }}\n'
                      f"mqtt {{ host: 127.0.0.1, port: {port} }}\n")
        nats = self.program(NATS, "-c", file)
        edge = self.edge(self.upstream(port, [rule("out", "out/#", qos_max=1), rule("in", "in/#", qos_max=1),
                                              rule("both", "both/#")]))
        self.wait_until_up(edge)
        self.assertIsNone(nats.process.poll())
        edge.wait_for_log(r"upstream.up .*version=3.1.1 ")
        edge.wait_for_log(r"upstream.rule .*both/#.*send back")
        self.meet(port, edge.mqtt_port, "in", version=4)
        here, there = self.client(edge.mqtt_port), self.client(port, version=4)
        here.subscribe(("in/a", 1))
        there.subscribe(("out/#", 1))
        for i in range(20):
            here.publish("out/a", str(i).encode(), qos=1)
            there.publish("in/a", str(i).encode(), qos=1)
        for i in range(20):
            there.receive(topic="out/a", payload=str(i).encode())
            here.receive(topic="in/a", payload=str(i).encode())


if __name__ == "__main__":
    main()
