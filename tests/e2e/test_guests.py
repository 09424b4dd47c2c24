"""What one address, one user, one client and one listener may take, and who is banned. Addresses are
stated by the PROXY protocol, so that there are several."""

import base64
import hashlib
import http.client
import json
import os
import re
import socket
import tempfile
import unittest

import network
import wire
from case import Case, basic, eventually, main
from http_connection import HttpConnection
from peer import TIMEOUT_S, Peer
from server import Server
from websocket import WebSocket

NEAR = {"port": 0, "proxy_protocol_from": ["127.0.0.1"]}
WHY_NOT = network.why_not()

def _sha512(password, salt):
    return base64.b64encode(hashlib.sha512(password.encode() + salt).digest()).decode()


ANN = "ann:$6$c2FsdHNhbHRzYWx0$" + _sha512("secret", b"saltsaltsalt") + "\n"


class Guests(Case):
    CONFIG = {
        "connection": {"per_address_max": 2, "per_second_and_address_max": 1000},
        "listeners": [{**NEAR, "name": "tcp"}, {**NEAR, "name": "small", "connections_max": 1}]}

    def at(self, address, listener="tcp", server=None, version=5):
        peer = Peer((server or self.server).port(listener), version)
        self.addCleanup(peer.close)
        peer.send(f"PROXY TCP4 {address} 127.0.0.1 1 1\r\n".encode())
        return peer

    def refused(self, reason, server=None):
        return (server or self.server).metrics()[f'millrace_connections_refused_total{{reason="{reason}"}}']

    def test_one_address_has_so_many_connections(self):
        for version, code in ((5, 0x97), (4, 3)):
            address = f"192.0.2.{version}"
            here = [self.at(address), self.at(address)]
            for number, peer in enumerate(here):
                peer.connect(f"{self.unique}{version}{number}")
            before = self.refused("too_many_of_address")
            more = self.at(address, version=version)
            more.send(wire.connect("more", version=version))
            more.expect_refused(code)
            self.assertEqual(self.refused("too_many_of_address"), before + 1)
            self.at("192.0.2.100").connect(f"{self.unique}{version}other")
            here[0].disconnect()

            def has_room():
                one = self.at(address)
                one.send(wire.connect(f"{self.unique}{version}again"))
                return one.next().code == 0
            eventually(has_room, "its place is free")

    def test_who_is_no_proxy_is_counted_from_its_first_byte(self):
        far = {"port": 0, "proxy_protocol_from": ["10.0.0.0/8"]}
        with Server({"connection": {"per_address_max": 2}, "listeners": [
                {**far, "name": "tcp"},
                {**far, "name": "ws", "transport": "ws", "forwarded_from": ["10.0.0.0/8"]}]}) as server:
            for listener in ("tcp", "ws"):
                silent = [Peer(server.port(listener)) for _ in range(2)]
                for peer in silent:
                    self.addCleanup(peer.close)
                eventually(lambda: told(server) == 0x97, "they have all the places")
                for peer in silent:
                    peer.close()
                eventually(lambda: told(server) == 0, "their places are free")

    def test_whoever_is_refused_keeps_no_place(self):
        """Not even the little time until its CONNECT: there are only so many such places."""
        with Server({"listeners": [{**NEAR, "name": "tcp"}],
                     "connection": {"per_address_max": 1, "turned_away_max": 2}}) as server:
            self.at("192.0.2.1", server=server).connect("here")
            silent = [self.at("192.0.2.1", server=server) for _ in range(20)]

            def closed():
                return server.metrics().get('millrace_connections_closed_total{cause="limit"}', 0)
            eventually(lambda: closed() >= len(silent) - 2, "the others are closed at once")
            self.at("192.0.2.2", server=server).connect("other")

    def test_one_user_reconnects_at_its_limit(self):
        config = {"connection": {"per_user_max": 1},
                  "access": {"password_file": self.users(), "allow_anonymous": True}}
        with Server(config) as server:
            old, new = Peer(server.mqtt_port), Peer(server.mqtt_port)
            self.addCleanup(old.close)
            self.addCleanup(new.close)
            old.connect("one", username="ann", password="secret")
            new.connect("one", username="ann", password="secret")
            old.expect(wire.DISCONNECT, code=0x8E)

    def test_one_listener_has_so_many(self):
        one = self.at("192.0.2.20", "small")
        one.connect(self.unique)
        before = self.refused("too_many_of_listener"), self.refused("too_many_of_address")
        two = self.at("192.0.2.21", "small")
        two.send(wire.connect("two"))
        two.expect_refused(0x97)
        self.assertEqual((self.refused("too_many_of_listener"), self.refused("too_many_of_address")),
                         (before[0] + 1, before[1]))

    def test_one_user_has_so_many(self):
        config = {"connection": {"per_user_max": 1},
                  "access": {"password_file": self.users(), "allow_anonymous": True}}
        with Server(config) as server:
            one, two, three = (Peer(server.mqtt_port) for _ in range(3))
            for peer in (one, two, three):
                self.addCleanup(peer.close)
            one.connect("one", username="ann", password="secret")
            two.send(wire.connect("two", username="ann", password="secret"))
            two.expect_refused(0x97)
            self.assertEqual(self.refused("too_many_of_user", server), 1)
            three.connect("three")

    def codes_until_too_fast(self, server, address_of):
        """What CONNECT is told by one connection after the other, until one came too fast: how many that takes is
        a matter of how fast the test is."""
        codes = []

        def is_too_fast():
            peer = self.at(address_of(len(codes)), server=server)
            peer.send(wire.connect(f"n{len(codes)}"))
            codes.append(peer.next().code)
            return codes[-1] == 0x9F
        eventually(is_too_fast, "one comes too fast")
        return codes

    def test_one_address_comes_so_often(self):
        with Server({"listeners": [{**NEAR, "name": "tcp"}],
                     "connection": {"per_second_and_address_max": 5}}) as server:
            codes = self.codes_until_too_fast(server, lambda _: "192.0.2.1")
            self.assertEqual(codes[:5], [0] * 5)
            self.at("192.0.2.2", server=server).connect("other")

    def test_all_addresses_together_come_so_often(self):
        with Server({"listeners": [{**NEAR, "name": "tcp"}],
                     "connection": {"per_second_max": 5}}) as server:
            codes = self.codes_until_too_fast(server, lambda number: f"192.0.2.{number % 250}")
            self.assertEqual(codes[:5], [0] * 5)
            self.assertGreaterEqual(self.refused("too_fast", server), codes.count(0x9F))

    def test_an_address_whose_logins_fail_is_banned_until_sighup(self):
        config = {"listeners": [{**NEAR, "name": "tcp"}],
                  "access": {"allow_anonymous": True, "login_delay_max_ms": 0,
                             "jwt": {"secret_file": self.secret()},
                             "ban": {"failures": 3, "seconds": 3600}}}
        with Server(config) as server:
            for _ in range(3):
                peer = self.at("192.0.2.1", server=server)
                peer.send(wire.connect("guess", password="wrong"))
                peer.expect_refused(0x86)
            banned = self.at("192.0.2.1", server=server)
            banned.send(wire.connect("honest"))
            banned.expect_end()
            self.assertEqual(self.refused("banned", server), 1)
            self.at("192.0.2.2", server=server).connect("other")
            self.assertEqual(server.metrics()["millrace_addresses_banned"], 1)
            server.wait_for_log(r"address\.banned peer=192\.0\.2\.1")
            self.assertEqual(server.reload(), "reloaded")
            self.at("192.0.2.1", server=server).connect("honest")

    def test_an_address_that_comes_again_and_again_is_banned(self):
        config = {"listeners": [{**NEAR, "name": "tcp"}],
                  "access": {"ban": {"connections": 3, "seconds": 3600}}}
        with Server(config) as server:
            for _ in range(3):
                self.at("192.0.2.1", server=server).connect("flaps")
            banned = self.at("192.0.2.1", server=server)
            banned.send(wire.connect("flaps"))
            banned.expect_end()
            server.wait_for_log(r"address\.banned peer=192\.0\.2\.1")
            self.at("192.0.2.2", server=server).connect("other")
            self.assertEqual(server.metrics()["millrace_addresses_banned"], 1)

    def forwarded(self, server, address):
        """A client that a proxy says is at that address, over WebSocket."""
        sock = socket.create_connection(("127.0.0.1", server.port("ws")), TIMEOUT_S)
        self.addCleanup(sock.close)
        return Peer(None, sock=WebSocket(server.port("ws"), sock=sock,
                                         fields=[f"X-Forwarded-For: {address}"]))

    def test_who_is_named_by_x_forwarded_for_is_counted_and_banned_by_that_address(self):
        config = {"listeners": [{"name": "ws", "transport": "ws", "port": 0,
                                 "forwarded_from": ["127.0.0.1"]}],
                  "connection": {"per_address_max": 1}}
        with Server(config) as server:
            self.forwarded(server, "192.0.2.1").connect("here")
            more = self.forwarded(server, "192.0.2.1")
            more.send(wire.connect("more"))
            more.expect_refused(0x97)
            self.forwarded(server, "192.0.2.2").connect("other")
        config["connection"] = {}
        config["access"] = {"ban": {"connections": 3, "seconds": 3600}}
        with Server(config) as server:
            for _ in range(3):
                self.forwarded(server, "192.0.2.1").connect("flaps")
            banned = self.forwarded(server, "192.0.2.1")
            banned.send(wire.connect("flaps"))
            banned.expect_end()
            server.wait_for_log(r"address\.banned peer=192\.0\.2\.1")
            self.forwarded(server, "192.0.2.2").connect("other")

    def file(self, text):
        folder = tempfile.TemporaryDirectory(prefix="millrace-guests-")
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "file")
        with open(path, "w") as out:
            out.write(text)
        return path

    def secret(self):
        return self.file("s" * 32)

    def users(self):
        return self.file(ANN)

    def publish_too_fast(self, config, count=300, qos=1):
        """Sends more than a second's share at once: the rest waits, and all comes in order."""
        with Server(config) as server:
            reader, writer = Peer(server.mqtt_port), Peer(server.mqtt_port)
            self.addCleanup(reader.close)
            self.addCleanup(writer.close)
            reader.connect("reader")
            reader.subscribe("t", qos=1)
            writer.connect("writer")
            writer.send(b"".join(wire.publish("t", str(number).encode(), qos, number + 1 if qos else None)
                                 for number in range(count)))
            for number in range(count):
                reader.receive(payload=str(number).encode())
            for number in range(count if qos else 0):
                writer.answer(wire.PUBACK, pid=number + 1)
            writer.publish("other", b"", qos=1)
            self.assertGreaterEqual(server.metrics()["millrace_rate_pauses_total"], 1)

    def test_who_publishes_too_fast_is_read_later_and_loses_nothing(self):
        self.publish_too_fast({"connection": {"messages_per_second": 100}})
        self.publish_too_fast({"connection": {"bytes_per_second": 1000}})

    def test_who_is_within_its_rate_again_at_once_is_read_on(self):
        self.publish_too_fast({"connection": {"messages_per_second": 5000}}, count=20_000, qos=0)

    def test_the_clients_of_a_listener_have_a_rate_together(self):
        listener = {"name": "tcp", "port": 0, "messages_per_second": 100}
        self.publish_too_fast({"listeners": [listener]})

    def in_debt(self, **config):
        """A server whose listener `tcp` is over its rate for hours. There is `other` beside it."""
        server = Server({"listeners": [{"name": "tcp", "port": 0, "bytes_per_second": 1},
                                       {"name": "other", "port": 0}], **config})
        self.addCleanup(server.stop)
        writer = self.on("tcp", server)
        writer.connect("debtor")
        writer.publish("debt", b"x" * 20_000, qos=1)
        return server

    def on(self, listener, server):
        peer = Peer(server.port(listener))
        self.addCleanup(peer.close)
        return peer

    def test_who_publishes_nothing_does_not_wait_for_the_rate_of_its_listener(self):
        server = self.in_debt()
        writer = self.on("other", server)
        writer.connect("writer")
        reader = self.on("tcp", server)
        reader.connect("reader", properties=[(wire.RECEIVE_MAXIMUM, 1)])
        for topic in ("a", "b"):  # More than one read of it.
            reader.subscribe(topic, qos=1)
        for number in range(3):
            writer.publish("a", str(number).encode(), qos=1)
        for number in range(3):  # The next one comes when the PUBACK before it was read.
            reader.receive(payload=str(number).encode())
        reader.unsubscribe("b")
        self.assertEqual(server.metrics()["millrace_rate_pauses_total"], 0)
        # Whoever publishes waits for it, and is not helped by coming anew.
        for name in ("late", "later"):
            one = self.on("tcp", server)
            one.connect(name)
            one.send(wire.publish("a", b"waits", 1, 1), wire.pingreq())
        eventually(lambda: server.metrics()["millrace_rate_pauses_total"] == 2, "they wait")
        reader.expect_nothing_more(sentinel=False)

    def test_half_a_connect_is_not_waited_for_while_its_listener_is_over_its_rate(self):
        server = self.in_debt(connect_timeout_seconds=3)  # time for the debtor's CONNECT
        half = self.on("tcp", server)
        half.send(wire.connect("half")[:7])
        half.expect_end()

    def test_what_exceeds_a_rate_at_qos_0_is_dropped_by_setting(self):
        """The first message leaves a debt of hours."""
        drop = {"bytes_per_second": 1, "drop_qos0_over_rate": True}
        for config in ({"connection": drop}, {"listeners": [{"name": "tcp", "port": 0, **drop}]}):
            with Server(config) as server:
                reader, writer = Peer(server.mqtt_port), Peer(server.mqtt_port)
                self.addCleanup(reader.close)
                self.addCleanup(writer.close)
                reader.connect("reader")
                reader.subscribe("t", qos=1)
                writer.connect("writer")
                writer.send(wire.publish("t", b"x" * 20_000))
                for _ in range(100):
                    writer.send(wire.publish("t", b"dropped"))
                alias = [(wire.ALIAS, 1)]
                writer.send(wire.publish("t", b"dropped", properties=alias),
                            wire.publish("", b"dropped", properties=alias))  # Else that were a fault.
                writer.send(wire.pingreq())
                writer.expect(wire.PINGRESP)  # It is read on.
                reader.receive(payload=b"x" * 20_000)
                self.assertEqual(server.metrics()["millrace_rate_drops_total"], 102)
                self.assertEqual(server.metrics()["millrace_rate_pauses_total"], 0)
                writer.send(wire.publish("t", b"waits", 1, 1))
                eventually(lambda: server.metrics()["millrace_rate_pauses_total"] == 1,
                           "at QoS 1 it waits")
                reader.expect_nothing_more(sentinel=False)


class HttpPlaces(Case):
    """Addresses of loopback stand for several machines."""

    CONFIG = {"http": {"connections_per_address_max": 2}}

    def line(self, source, target=None, *fields):
        line = HttpConnection(self.server.http_port, source=source)
        self.addCleanup(line.close)
        if target:
            line.ask(target, *fields)
        return line

    def answered(self, source, target):
        """(status, type, body)."""
        status, headers, body = self.line(source, target, "Connection: close").answer()
        return status, headers["content-type"], body

    def reader(self, source):
        line = self.line(source, "/events?filter=%23")
        line.receive(b"event: start")
        return line

    def turned_away(self):
        name = 'millrace_http_connections_turned_away_total{reason="too_many_of_address"}'
        return self.server.metrics()[name]

    def test_one_address_does_not_take_the_places_of_others(self):
        reader = self.reader("127.0.0.2")
        self.line("127.0.0.2", "/topics/" + self.topic(), "Prefer: wait=60")
        eventually(lambda: self.server.metrics()["millrace_http_long_polls"] == 1, "it waits")
        before = self.turned_away()
        status, kind, body = self.answered("127.0.0.2", "/events?filter=%23")
        self.assertEqual((status, kind), (429, "text/plain; charset=utf-8"))
        self.assertIn(b"http.connections_per_address_max", body)
        status, kind, body = self.answered("127.0.0.2", "/api/v1/server")
        self.assertEqual((status, kind), (429, "application/problem+json"))
        self.assertEqual(json.loads(body)["status"], 429)
        for path in ("/healthz", "/readyz", "/metrics"):
            self.assertEqual(self.answered("127.0.0.2", path)[0], 200, path)
        self.assertEqual(self.turned_away(), before + 5)
        self.reader("127.0.0.3")
        self.assertEqual(self.answered("127.0.0.3", "/topics")[0], 200)
        reader.close()
        eventually(lambda: self.answered("127.0.0.2", "/topics")[0] == 200, "its place is free")

    def test_connections_of_an_address_that_ask_for_nothing_make_room_for_its_own(self):
        lines = []
        for _ in range(4):
            lines.append(self.line("127.0.0.4", "/topics"))
            self.assertEqual(lines[-1].answer()[0], 200)
        for silent in lines[:2]:
            self.assertEqual(silent.expect_end(), b"")
        for open_ in lines[2:]:
            open_.ask("/topics")
            self.assertEqual(open_.answer()[0], 200)

    def test_without_the_limit_one_address_may_have_many(self):
        with Server() as server:
            for _ in range(20):
                line = HttpConnection(server.http_port)
                self.addCleanup(line.close)
                line.ask("/events?filter=%23")
                line.receive(b"event: start")


@unittest.skipIf(WHY_NOT, WHY_NOT)
class HttpGuests(unittest.TestCase):
    """A network of its own: over HTTP nobody states another address, and this machine's is not banned."""

    def setUp(self):
        self.net = network.Network("server", "guesser", "other")
        self.addCleanup(self.net.close)
        folder = tempfile.TemporaryDirectory(prefix="millrace-guests-")
        self.addCleanup(folder.cleanup)
        self.users = os.path.join(folder.name, "users")
        with open(self.users, "w") as out:
            out.write(ANN)
        self.server = self.start()

    def start(self, **access):
        server = Server({
            "listeners": [{"name": "tcp", "port": 0, "host": "0.0.0.0"}],
            "http": {"host": "0.0.0.0"},
            "access": {"password_file": self.users, "login_delay_max_ms": 0, "otherwise": "allow",
                       "administrators": ["ann"], "ban": {"failures": 3, "seconds": 3600}, **access}},
            inside=self.net.inside("server"))
        self.addCleanup(server.stop)
        return server

    def ask(self, node, path, password=None, method="GET"):
        """Returns (status, body)."""
        line = http.client.HTTPConnection(self.net.address("server"), self.server.http_port)
        line.sock = self.net.connect(node, self.server.http_port, self.net.address("server"))
        try:
            line.request(method, path, headers={} if password is None else {
                "Authorization": basic("ann", password)})
            answer = line.getresponse()
            return answer.status, answer.read()
        finally:
            line.close()

    def status(self, *arguments):
        return self.ask(*arguments)[0]

    def code(self, node):
        """What a CONNECT from there is told; None: the connection is closed."""
        peer = self.mqtt(node)
        peer.send(wire.connect(node, username="ann", password="secret"))
        got = peer.next()
        return got and got.code

    def mqtt(self, node):
        peer = Peer(0, sock=self.net.connect(node, self.server.mqtt_port, self.net.address("server")))
        self.addCleanup(peer.close)
        return peer

    def test_who_guesses_passwords_over_http_is_banned_there_and_over_mqtt(self):
        for _ in range(10):
            self.assertEqual(self.status("guesser", "/topics"), 401)  # Asking is no guess.
        self.assertEqual(self.status("guesser", "/topics", "secret"), 200)
        for guess in ("a", "b", "c"):
            self.assertEqual(self.status("guesser", "/topics", guess), 401)
        for path, password in (("/topics", "secret"), ("/topics", "d"), ("/topics", None),
                               ("/topics/a", None), ("/api/v1/server", "secret")):
            self.assertEqual(self.status("guesser", path, password), 403, path)
        self.assertEqual(self.status("guesser", "/healthz"), 200)
        self.assertIsNone(self.code("guesser"))
        self.server.wait_for_log(r"address\.banned peer=" + self.net.address("guesser"))
        self.assertEqual(self.status("other", "/topics", "secret"), 200)
        self.assertEqual(self.code("other"), 0)
        metrics = self.ask("other", "/metrics")[1].decode()
        for name, value in (("addresses_banned", 1), ("http_requests_banned_total", 5)):
            found = re.search(rf"^millrace_{name} (\S+)$", metrics, re.MULTILINE)
            self.assertEqual(float(found[1]), value, name)

    def test_who_is_unknown_reads_topics_from_another_machine_and_nothing_of_clients(self):
        self.server = self.start(allow_anonymous=True)
        self.assertEqual(self.status("other", "/topics"), 200)
        self.assertEqual(self.status("other", "/api/v1/topics"), 200)
        for path in ("/clients", "/clients/x", "/slow", "/subscriptions?topic=a", "/server", "/queue", "/rings",
                     "/upstreams", "/limits", "/bans", "/config"):
            self.assertEqual(self.status("other", "/api/v1" + path), 401, path)
        self.assertEqual(self.status("other", "/api/v1/clients", "secret"), 200)

    def test_its_ban_is_told_and_lifted_and_one_of_mqtt_holds_over_http(self):
        for number in range(3):
            peer = self.mqtt("guesser")
            peer.send(wire.connect(f"guess{number}", username="ann", password="wrong"))
            peer.expect_refused(0x86)
        self.assertEqual(self.status("guesser", "/topics", "secret"), 403)
        bans = json.loads(self.ask("other", "/api/v1/bans", "secret")[1])["bans"]
        self.assertEqual([ban["address"] for ban in bans], [self.net.address("guesser")])
        lifted = self.ask("other", "/api/v1/bans/" + self.net.address("guesser"), "secret", "DELETE")
        self.assertEqual(lifted[0], 204)
        self.assertEqual(self.status("guesser", "/topics", "secret"), 200)
        self.assertEqual(self.code("guesser"), 0)


def told(server):
    """The code that a CONNECT gets."""
    peer = Peer(server.port("tcp"))
    peer.send(wire.connect("one"))
    code = peer.next().code
    peer.close()
    return code


if __name__ == "__main__":
    main()
