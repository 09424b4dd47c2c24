"""The newest value of a topic over HTTP, while stock clients publish it over MQTT."""

import json
import socket
import threading
import urllib.parse
import urllib.request

from case import Case, eventually, http_answer, main


class Topics(Case):
    def publish(self, topic, message, *arguments):
        self.program("mosquitto_pub", "-p", str(self.server.mqtt_port), "-V", "mqttv5", "-t", topic,
                     "-q", "1", "-m", message, *arguments).finish()

    def get(self, path, **headers):
        """Returns (status, headers, body); `-` in the names of headers is given as `_`."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.server.http_port}{path}",
            headers={name.replace("_", "-"): value for name, value in headers.items()})
        return http_answer(request)

    def value(self, topic, **headers):
        return self.get("/topics/" + urllib.parse.quote(topic), **headers)

    def waiting(self, count):
        eventually(lambda: self.server.metrics()["millrace_http_long_polls"] == count,
                   f"{count} requests wait")

    def test_the_newest_value_is_served_as_it_was_published(self):
        self.assertEqual(self.value(self.topic())[0], 404)
        self.publish(self.topic(), "old")
        self.publish(self.topic(), '{"t": 21}', "-r", "-D", "publish", "content-type",
                     "application/json")
        status, headers, body = self.value(self.topic())
        self.assertEqual((status, body), (200, b'{"t": 21}'))
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertEqual(headers["X-Millrace-Retained"], "true")
        status, _, body = self.value(self.topic(), If_None_Match=headers["ETag"])
        self.assertEqual((status, body), (304, b""))

    def test_a_message_that_expires_is_gone(self):
        self.publish(self.topic(), "x", "-D", "publish", "message-expiry-interval", "1")
        eventually(lambda: self.value(self.topic())[0] == 404, "it expires")

    def test_a_topic_may_be_called_anything(self):
        for name in ("/" + self.topic(), self.topic("//x"), self.topic("ä b?c%")):
            self.publish(name, name)
            self.assertEqual(self.value(name)[2].decode(), name)

    def test_the_list_is_ordered_and_filtered(self):
        for tail in ("b", "a", "c/d"):
            self.publish(self.topic(tail), "12345")
        query = urllib.parse.urlencode({"filter": self.topic("#")})
        status, headers, body = self.get("/topics?" + query)
        self.assertEqual((status, headers["Content-Type"]), (200, "application/json"))
        rows = json.loads(body)["topics"]
        self.assertEqual([row["topic"] for row in rows],
                         [self.topic(tail) for tail in ("a", "b", "c/d")])
        self.assertEqual({row["size"] for row in rows}, {5})
        cut = json.loads(self.get("/topics?limit=2&" + query)[2])
        self.assertTrue(cut["truncated"])
        rest = json.loads(self.get(f"/topics?{query}&after={urllib.parse.quote(cut['after'])}")[2])
        self.assertEqual([row["topic"] for row in rest["topics"]], [self.topic("c/d")])
        self.assertEqual(self.get("/topics?filter=a%23")[0], 400)

    def test_a_long_poll_gets_the_next_value(self):
        self.publish(self.topic(), "1")
        etag = self.value(self.topic())[1]["ETag"]
        got = []
        asks = threading.Thread(target=lambda: got.append(
            self.value(self.topic(), If_None_Match=etag, Prefer="wait=60")))
        asks.start()
        self.waiting(1)
        self.publish(self.topic(), "2")
        asks.join()
        self.assertEqual((got[0][0], got[0][2]), (200, b"2"))
        self.assertEqual(got[0][1]["Preference-Applied"], "wait=60")
        self.waiting(0)

    def test_a_long_poll_that_nothing_comes_for_ends_with_304(self):
        self.publish(self.topic(), "1")
        etag = self.value(self.topic())[1]["ETag"]
        self.assertEqual(self.value(self.topic(), If_None_Match=etag, Prefer="wait=1")[0], 304)

    def test_a_client_that_does_not_wait_for_its_answer_leaves_nothing(self):
        self.waiting(0)
        self.assertTrue(self.server.mqtt_port and self.server.ws_port)  # All listeners are open.
        before = self.server.descriptors()
        for _ in range(5):
            client = socket.create_connection(("127.0.0.1", self.server.http_port))
            client.sendall(f"GET /topics/{self.topic()} HTTP/1.1\r\nHost: localhost\r\n"
                           "Prefer: wait=60\r\n\r\n".encode())
            self.waiting(1)
            client.close()
            self.waiting(0)
        eventually(lambda: self.server.descriptors() <= before, "its sockets are closed")


    def test_a_page_whose_name_was_made_to_stand_for_this_machine_reads_nothing(self):
        self.publish(self.topic(), "x")
        for path in ("/topics", "/metrics", "/healthz", "/topics/" + self.topic()):
            for host in ("evil.example", f"evil.example:{self.server.http_port}"):
                self.assertEqual(self.get(path, Host=host)[0], 421, path)
            self.assertEqual(self.get(path, Host=f"localhost:{self.server.http_port}")[0], 200)


class Rules(Case):
    CONFIG = {"access": {"rules": [{"effect": "allow", "action": "publish", "filter": "#"},
                                   {"effect": "allow", "action": "subscribe", "filter": "open/#"}]}}
    get = Topics.get
    value = Topics.value

    def test_what_may_not_be_subscribed_to_is_not_read_over_http_either(self):
        peer = self.peer()
        for topic in ("open/x", "secret/x"):
            peer.publish(topic, b"x", qos=1)
        self.assertEqual(peer.subscribe("secret/x").codes, [0x87])
        self.assertEqual(self.value("secret/x")[0], 403)
        self.assertEqual(self.get("/topics")[0], 403)
        self.assertEqual(self.value("open/x")[2], b"x")


if __name__ == "__main__":
    main()
