"""Traces over the management API: what they tell, of whom, to whom, and how much."""

import json
import re

import wire
from api_case import ApiCase
from case import eventually, main
from peer import Peer


class ApiTraces(ApiCase):
    @staticmethod
    def must_ask(path):
        return path.startswith("/trace")

    def traced(self, server, query):
        status, _, trace = self.ask("POST", f"/trace?{query}", user="boss", server=server)
        self.assertEqual(status, 201)
        self.assertTrue(trace["running"])
        return trace["id"]

    def entries(self, server, trace, after=0):
        return self.get(f"/trace/{trace}?after={after}", user="boss", server=server)

    def test_a_trace_tells_what_a_client_says_and_is_told(self):
        server = self.with_users(administrators=["boss"], allow_anonymous=True)
        trace = self.traced(server, "client=traced&minutes=1")
        other = Peer(server.mqtt_port)
        self.addCleanup(other.close)
        other.connect("other")
        peer = Peer(server.mqtt_port)
        self.addCleanup(peer.close)
        peer.connect("traced")
        peer.subscribe("a/#", qos=1)
        other.publish("a/b", b"secret")
        other.publish("a/c", b"secret", qos=1)
        peer.receive(topic="a/b")
        peer.receive(topic="a/c")
        peer.publish("b", b"secret")
        # What it said is recorded before it is answered, what it got before it got it.
        answer = self.entries(server, trace)
        told = [(entry["kind"], entry["topic"], re.match(r"[\w ]+", entry["text"])[0]) for entry in answer["entries"]]
        for wanted in (("received", None, "CONNECT"), ("sent", None, "CONNACK"), ("received", None, "SUBSCRIBE"),
                       ("sent", None, "SUBACK"), ("sent", "a/b", "PUBLISH"), ("sent", "a/c", "PUBLISH"),
                       ("received", "b", "PUBLISH"), ("received", None, "PINGREQ"), ("sent", None, "PINGRESP")):
            self.assertIn(wanted, told)
        self.assertTrue(any(kind == "log" and text.startswith("info connected") for kind, _, text in told), told)
        self.assertTrue(all(entry["client"] == "traced" for entry in answer["entries"]))
        self.assertTrue(all(entry["address"] == "127.0.0.1" for entry in answer["entries"]))
        self.assertNotIn("secret", json.dumps(answer))
        self.assertEqual(self.entries(server, trace, answer["next"])["entries"], [])
        self.assertEqual(self.ask("DELETE", f"/trace/{trace}", user="boss", server=server)[0], 204)
        self.refused(404, "GET", f"/trace/{trace}", user="boss", server=server)
        self.refused(404, "DELETE", f"/trace/{trace}", user="boss", server=server)

    def test_no_secret_of_a_client_stands_in_a_trace_or_the_log(self):
        server = self.with_users(administrators=["boss"], login_delay_max_ms=0)
        trace = self.traced(server, "address=127.0.0.0/8")

        def connect(client_id, code, **options):
            peer = Peer(server.mqtt_port)
            self.addCleanup(peer.close)
            peer.send(wire.connect(client_id, **options))
            self.assertIn(peer.expect(wire.CONNACK).code, code)
            return peer
        peer = connect("right", (0,), username="user", password="u", will=wire.will("w", "hush-will"))
        connect("wrong", (0x86,), username="user", password="hush-hush")
        connect("other", (0x87, 0x8C), properties=[(wire.AUTH_METHOD, "JWT"), (wire.AUTH_DATA, b"hush-connect")])
        peer.send(wire.auth(0x19, [(wire.AUTH_METHOD, "JWT"), (wire.AUTH_DATA, b"hush-auth")]))
        peer.expect(wire.DISCONNECT)
        for client in ("right", "wrong", "other"):
            server.wait_for_log(rf"connection\.end.*client={client}\b")
        told = self.entries(server, trace)["entries"]
        for client in ("right", "wrong", "other"):
            self.assertTrue(any(entry["client"] == client for entry in told), (client, told))
        for text in (json.dumps(told), "\n".join(server.lines)):
            self.assertNotIn("hush", text)

    def test_a_trace_follows_a_topic_whoever_publishes_it(self):
        server = self.with_users(administrators=["boss"])
        trace = self.traced(server, "topic=a/%2B")
        self.ask("POST", "/topics/a/b", b"x", user="user", server=server)
        self.ask("POST", "/topics/b/b", b"x", user="user", server=server)
        answer = self.entries(server, trace)
        self.assertEqual([(entry["topic"], entry["text"]) for entry in answer["entries"]],
                         [("a/b", "published over HTTP, payload of 1 bytes")])
        (listed,) = self.get("/trace", user="boss", server=server)["traces"]
        self.assertEqual((listed["id"], listed["kind"], listed["subject"], listed["recorded"]), (trace, "topic", "a/+", 1))

    def test_a_trace_of_an_address_has_clients_that_are_not_let_in(self):
        server = self.with_users(administrators=["boss"])
        trace = self.traced(server, "address=127.0.0.0/8")
        stranger = Peer(server.mqtt_port)
        self.addCleanup(stranger.close)
        stranger.send(wire.connect("stranger"))
        stranger.expect_refused(0x87)
        eventually(lambda: any(entry["kind"] == "log" and "cause=refused" in entry["text"]
                               for entry in self.entries(server, trace)["entries"]), "the refusal is recorded")

    def test_who_gives_no_password_is_told_who_may_trace(self):
        server = self.with_users(administrators=["boss"], allow_anonymous=True)
        for method, path in (("GET", "/trace"), ("POST", "/trace?client=a"), ("GET", "/trace/1"), ("DELETE", "/trace/1")):
            detail = self.refused(401, method, path, server=server)["detail"]
            self.assertIn("only administrators", detail)
            self.assertNotIn("change", detail)
        self.assertIn("to publish", self.refused(401, "PUT", "/topics/a", server=server, body=b"x")["detail"])

    def test_traces_are_limited_and_the_administrators(self):
        server = self.with_users(administrators=["boss"])
        for method, path in (("GET", "/trace"), ("POST", "/trace?client=a"), ("GET", "/trace/1"), ("DELETE", "/trace/1")):
            self.refused(403, method, path, user="user", server=server)
            self.refused(401, method, path, server=server)
        for query in ("", "client=", "topic=a%23", "address=x", "client=a&topic=b", "client=a&minutes=0",
                      "client=a&minutes=61", "client=a&x=1", "topic=a&user=b"):
            self.refused(400, "POST", f"/trace?{query}", user="boss", server=server)
        self.refused(400, "GET", "/trace?x=1", user="boss", server=server)
        self.refused(404, "GET", "/trace/x", user="boss", server=server)
        for _ in range(8):
            last = self.traced(server, "client=a")
        self.refused(503, "POST", "/trace?client=a", user="boss", server=server)
        self.ask("DELETE", f"/trace/{last}", user="boss", server=server)
        self.refused(400, "GET", "/trace/1?after=x", user="boss", server=server)
        self.refused(400, "DELETE", "/trace/1?x=1", user="boss", server=server)
        self.traced(server, "client=a")


if __name__ == "__main__":
    main()
