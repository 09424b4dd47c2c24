"""The management API against the real server: every route but traces, and every answer held against the OpenAPI
document that the server serves."""

import http.client
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from random import Random

import wire
from api_case import ApiCase
from case import EVENT_TIMEOUT_S, basic, eventually, main
from peer import Peer
from server import Server, binary


class Api(ApiCase):
    @staticmethod
    def must_ask(path):
        return not path.startswith("/trace")  # test_api_traces.py

    # ---- clients ------------------------------------------------------------------------------------

    def test_a_client_is_listed_with_its_connection(self):
        client = self.peer(self.topic("id"))
        client.subscribe(self.topic("#"), qos=1)
        prefix = urllib.parse.quote(self.topic("id"))
        [row] = self.get(f"/clients?prefix={prefix}")["clients"]
        self.assertGreaterEqual(row["credit_bytes"], row["unwritten_bytes"])
        self.assertGreater(row["credit_bytes"], 0)
        self.assertEqual((row["id"], row["state"], row["subscriptions"]), (self.topic("id"), "connected", 1))
        self.assertEqual(row["connection"]["address"], "127.0.0.1")
        self.assertEqual(row["connection"]["listener"], "tcp")
        self.assertGreater(row["connection"]["bytes_received"], 0)
        detail = self.get(f"/clients/{prefix}")
        self.assertEqual([one["filter"] for one in detail["subscribed"]], [self.topic("#")])
        self.refused(404, "GET", f"/clients/{prefix}-not")

    def test_a_client_is_told_with_what_went_each_way(self):
        client, other = self.peer(self.topic("id")), self.peer(self.topic("other"))
        client.subscribe(self.topic("#"), qos=0)
        # Three at once become one run of packets for the client; those at QoS 1 come one by one.
        other.send(*[wire.publish(self.topic(), b"x") for _ in range(3)])
        for _ in range(2):
            other.publish(self.topic(), b"x", qos=1)
        client.publish(self.topic("own"), b"x", qos=1)
        for _ in range(6):
            client.receive()
        detail = self.get("/clients/" + urllib.parse.quote(self.topic("id")))["connection"]
        self.assertEqual((detail["messages_received"], detail["messages_sent"]), (1, 6))
        self.assertGreater(detail["bytes_received"], 0)
        self.assertGreater(detail["bytes_sent"], 0)
        self.assertLess(detail["last_sent_seconds"], EVENT_TIMEOUT_S)
        self.assertLess(detail["silent_seconds"], EVENT_TIMEOUT_S)
        giver = self.get("/clients/" + urllib.parse.quote(self.topic("other")))["connection"]
        self.assertEqual((giver["messages_received"], giver["messages_sent"]), (5, 0))

    def test_clients_come_in_pages_that_hold_each_once(self):
        peers = [self.peer(self.topic(f"{number:02}")) for number in range(25)]
        prefix = urllib.parse.quote(self.topic(''))
        for sort in ("id", "waiting", "waiting_bytes", "age"):
            ids, after = [], ""
            while True:
                page = self.get(f"/clients?prefix={prefix}&sort={sort}&limit=10{after}")
                ids += [row["id"] for row in page["clients"]]
                if page["next"] is None:
                    break
                after = "&after=" + urllib.parse.quote(page["next"], safe="")
            self.assertEqual(ids, [self.topic(f"{number:02}") for number in range(len(peers))])

    def test_clients_are_picked_and_ordered_by_their_connections(self):
        peers = [self.peer(self.topic(f"{number:02}")) for number in range(5)]
        prefix = urllib.parse.quote(self.topic(''))
        wanted = [peer.client_id for peer in peers]

        def ids(query):
            return [row["id"] for row in self.get(f"/clients?prefix={prefix}&{query}")["clients"]]

        self.assertEqual(ids("address=127.0.0.1"), wanted)
        self.assertEqual(ids("address=127.0.0.0/8&listener=tcp"), wanted)
        self.assertEqual(ids("address=10.0.0.0/8"), [])
        self.assertEqual(ids("listener=ws"), [])
        self.assertEqual(ids("listener=tcp&state=away"), [])
        for _ in range(3):
            peers[3].publish(self.topic(), b"x" * 1000, qos=1)
        peers[1].publish(self.topic(), b"x" * 1000, qos=1)
        self.assertEqual(ids("sort=received")[:2], [peers[3].client_id, peers[1].client_id])
        self.assertEqual(set(ids("sort=sent")), set(wanted))
        ids_of_pages, after = [], ""
        while True:
            page = self.get(f"/clients?prefix={prefix}&sort=received&limit=2{after}")
            ids_of_pages += [row["id"] for row in page["clients"]]
            if page["next"] is None:
                break
            after = "&after=" + urllib.parse.quote(page["next"], safe="")
        self.assertEqual(ids_of_pages, ids("sort=received"))

    def test_states_tell_clients_apart(self):
        away = self.peer(self.topic("away"), properties=[(0x11, 600)])
        away.disconnect()
        here = self.peer(self.topic("here"))
        prefix = urllib.parse.quote(self.topic(''))
        eventually(lambda: self.get(f"/clients?prefix={prefix}&state=away")["clients"], "it is away")
        for state, name in (("away", "away"), ("connected", "here")):
            rows = self.get(f"/clients?prefix={prefix}&state={state}")["clients"]
            self.assertEqual([row["id"] for row in rows], [self.topic(name)])
        self.assertEqual(self.get(f"/clients?prefix={prefix}&state=slow")["clients"], [])
        self.assertEqual(self.get(f"/clients?prefix={prefix}&user=nobody")["clients"], [])
        self.assertEqual(len(self.get(f"/clients?prefix={prefix}&user=")["clients"]), 2)
        self.get("/slow")
        del here

    def test_a_slow_client_is_listed_with_the_age_of_what_it_gets_and_what_it_skips(self):
        slow, publisher = self.peer(receive_buffer=4096), self.peer()
        slow.subscribe("$latest/" + self.topic("#"))

        def skips():
            for number in range(20):
                publisher.publish(self.topic(str(number)), b"x" * 50_000)
            rows = [row for row in self.get("/slow")["clients"] if row["id"] == slow.client_id]
            return [row for row in rows if row["conflated"] > 0 and row["oldest_waiting_ms"] is not None]

        [row] = eventually(skips, "it is slow")
        self.assertTrue(row["slow"])
        self.assertGreater(row["waiting_bytes"], 0)
        self.assertNotIn(publisher.client_id, [row["id"] for row in self.get("/slow")["clients"]])

    def test_whoever_is_listed_as_slow_is_counted(self):
        server = Server()
        self.addCleanup(server.stop)
        readers, publisher = [Peer(server.mqtt_port, receive_buffer=4096) for _ in range(2)], Peer(server.mqtt_port)
        for peer in (*readers, publisher):
            self.addCleanup(peer.close)
            peer.connect()

        def counts():
            return (len(self.get("/slow", server=server)["clients"]), self.get("/server", server=server)["sessions_slow"],
                    server.metrics()["millrace_slow_sessions"])

        self.assertEqual(counts(), (0, 0, 0))
        # Neither reads: one has the newest values alone, the other each message as long as it keeps up.
        for reader, filter_ in zip(readers, ("$latest/#", "#")):
            reader.subscribe(filter_)
        for number in range(200):
            publisher.publish(str(number), b"x" * 50_000)
        publisher.publish("last", b"x", qos=1)
        eventually(lambda: counts() == (2, 2, 2), "both are listed and counted")
        readers[0].close()
        eventually(lambda: counts() == (1, 1, 1), "the client that left is neither listed nor counted")

    def test_clients_are_ordered_by_the_age_and_the_bytes_of_what_waits_for_them(self):
        self.server = Server({"threads": {"io": 1}})
        self.addCleanup(self.server.stop)
        reads, early, late = (self.peer(self.topic(name), **options) for name, options in
                              (("a", {}), ("b", {"receive_buffer": 4096}), ("c", {"receive_buffer": 4096})))
        publisher = self.peer()
        prefix = urllib.parse.quote(self.topic(''))

        def rows(sort):
            return self.get(f"/clients?prefix={prefix}&sort={sort}")["clients"]

        def takes_nothing(peer):
            """Whether a value has waited for this one since before others were published, and acknowledged by the
            thread that would have sent it: then its socket is full."""
            begun = time.monotonic()
            for number in range(20):
                publisher.publish(self.topic(f"{number % 2}/{number}"), b"x" * 50_000, qos=1)
            [row] = [row for row in rows("id") if row["id"] == peer.client_id]
            return (row["oldest_waiting_ms"] or 0) > (time.monotonic() - begun) * 1000

        def read():
            while reads.next().payload != b"the last":
                pass

        reads.subscribe("$latest/" + self.topic("#"))
        reader = threading.Thread(target=read)
        reader.start()
        # Neither of these reads: the one that waits for longer has half as many topics.
        early.subscribe("$latest/" + self.topic("1/#"))
        eventually(lambda: takes_nothing(early), "values wait for the first")
        late.subscribe("$latest/" + self.topic("#"))
        eventually(lambda: takes_nothing(late), "values wait for the second")
        publisher.publish(self.topic("0/0"), b"the last", qos=1)
        reader.join()
        eventually(lambda: rows("id")[0]["waiting"] == 0, "nothing waits for the third")
        by_age = rows("age")
        self.assertEqual([row["id"] for row in by_age], [early.client_id, late.client_id, reads.client_id])
        self.assertGreater(by_age[0]["oldest_waiting_ms"], by_age[1]["oldest_waiting_ms"])
        self.assertIsNone(by_age[2]["oldest_waiting_ms"])
        by_bytes = rows("waiting_bytes")
        self.assertEqual([row["id"] for row in by_bytes], [late.client_id, early.client_id, reads.client_id])
        self.assertGreater(by_bytes[0]["waiting_bytes"], by_bytes[1]["waiting_bytes"])
        self.assertGreater(by_bytes[1]["waiting_bytes"], 0)

    def test_a_reader_of_events_is_a_client(self):
        url = f"http://127.0.0.1:{self.server.http_port}/events?filter={urllib.parse.quote(self.topic(''))}"
        with urllib.request.urlopen(url, timeout=EVENT_TIMEOUT_S) as events:
            events.readline()
            rows = self.get("/clients?prefix=events-")["clients"]
            self.assertIn("http", [row["connection"] and row["connection"]["transport"] for row in rows])
            rows = self.get("/clients?prefix=events-&listener=http&address=127.0.0.1")["clients"]
            self.assertTrue(rows)

    def test_an_administrator_ends_a_connection_and_a_session(self):
        server = self.with_users(administrators=["boss"])
        victim = self.victim(server, "victim", "-c", "-q", "1")

        def state():
            status, _, row = self.ask("GET", "/clients/victim", user="boss", server=server)
            return row["state"] if status == 200 else None

        eventually(lambda: state() == "connected", "it connects")
        self.refused(403, "DELETE", "/clients/victim", user="user", server=server)
        self.refused(401, "DELETE", "/clients/victim", server=server)
        self.refused(400, "DELETE", "/clients/victim?session=maybe", user="boss", server=server)
        self.refused(404, "DELETE", "/clients/nobody", user="boss", server=server)
        victim.send_signal(signal.SIGSTOP)
        status, _, _ = self.ask("DELETE", "/clients/victim", user="boss", server=server)
        self.assertEqual(status, 204)
        eventually(lambda: state() == "away", "it is away")
        status, _, _ = self.ask("DELETE", "/clients/victim?session=end", user="boss", server=server)
        self.assertEqual(status, 204)
        self.assertIsNone(state())

    # ---- who would get it ---------------------------------------------------------------------------

    def test_subscribers_of_a_topic_are_told(self):
        plain, shared = self.peer(self.topic("plain")), self.peer(self.topic("shared"))
        plain.subscribe(self.topic("+"), qos=1)
        shared.subscribe(f"$share/g/{self.topic('a')}")
        found = self.get("/subscriptions?" + urllib.parse.urlencode({"topic": self.topic("a")}))
        rows = {row["kind"]: row for row in found["subscriptions"]}
        self.assertEqual((rows["client"]["client"], rows["client"]["qos"]), (self.topic("plain"), 1))
        self.assertEqual((rows["group"]["group"], rows["group"]["members"]), ("g", 1))
        self.assertEqual((found["count"], found["more"]), (2, False))
        self.assertEqual(self.get("/subscriptions?" + urllib.parse.urlencode({"topic": self.topic("b")}))["count"], 1)
        self.assertEqual(self.get("/subscriptions?topic=" + self.topic("b/c"))["count"], 0)

    # ---- topics -------------------------------------------------------------------------------------

    def test_thousands_of_values_come_in_one_answer(self):
        publisher = self.peer()
        for number in range(5000):
            publisher.publish(self.topic(str(number)), b"%d" % number)
        publisher.publish(self.topic("last"), b"x", qos=1)
        eventually(lambda: self.values(self.topic("last")), "all are stored")
        values = self.values(self.topic("+"))
        self.assertEqual(len(values), 5001)
        self.assertEqual({value["payload"] for value in values}, {*(str(n) for n in range(5000)), "x"})

    def test_a_long_answer_breaks_off_when_the_rules_change(self):
        server = self.with_users(administrators=["boss"])
        for number in range(400):
            self.ask("PUT", f"/topics/long/{number}", b"x" * 60_000, user="user", server=server)
        request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/api/v1/topics",
                                         headers={"Authorization": basic("user", "u")})
        with urllib.request.urlopen(request, timeout=EVENT_TIMEOUT_S) as answer:
            answer.read(1000)  # far more is on its way than the sockets hold
            self.assertEqual(self.ask("POST", "/reload", user="boss", server=server)[0], 200)
            with self.assertRaises((http.client.IncompleteRead, ConnectionError)):
                answer.read()

    def test_payloads_come_as_asked_for(self):
        self.peer().publish(self.topic(), b"\xffab", qos=1)
        [value] = self.values(self.topic())
        self.assertEqual(value["payload_base64"], "/2Fi")
        query = urllib.parse.urlencode({"filter": self.topic(), "payload": "base64", "payload_bytes_max": 1})
        [value] = self.get("/topics?" + query)["topics"]
        self.assertEqual((value["payload_base64"], value["truncated"], value["size"]), ("/w==", True, 3))
        query = urllib.parse.urlencode({"filter": self.topic(), "payload": "none"})
        [value] = self.get("/topics?" + query)["topics"]
        self.assertNotIn("payload", value)

    def test_a_user_publishes_where_the_rules_let_him(self):
        server = self.with_users(rules=[{"effect": "allow", "action": "publish", "filter": "open/#", "user": "user"},
                                        {"effect": "allow", "action": "subscribe", "filter": "#"}])
        arguments = {"user": "user", "server": server}
        self.assertEqual(self.ask("PUT", "/topics/open/a?qos=1&content_type=text/plain&user_property=a%3Db"
                                  "&expiry_seconds=600", b"21.5", **arguments)[0], 204)
        [value] = self.values("open/a", **arguments)
        self.assertEqual((value["payload"], value["retained"], value["qos"]), ("21.5", True, 1))
        self.assertEqual(self.ask("POST", "/topics/open/b", b"x", **arguments)[0], 204)
        self.assertFalse(self.values("open/b", **arguments)[0]["retained"])
        self.assertEqual(self.ask("DELETE", "/topics/open/a", **arguments)[0], 204)
        self.assertEqual(self.values("open/a", **arguments), [])
        for method in ("PUT", "POST", "DELETE"):
            self.refused(403, method, "/topics/shut/a", **arguments)
            self.refused(403, method, "/topics/$SYS/a", **arguments)
            self.refused(401, method, "/topics/open/a", server=server)
            self.refused(400, method, "/topics/open/%2B", **arguments)
        self.refused(400, "PUT", "/topics/open/a?qos=3", **arguments)

    def test_what_is_published_there_reaches_subscribers(self):
        server = self.with_users()
        with subprocess.Popen(["mosquitto_sub", "-p", str(server.mqtt_port), "-u", "user", "-P", "u", "-V", "mqttv5",
                               "-t", "t", "-C", "1", "-F", "%C %P %p"], stdout=subprocess.PIPE, text=True) as reader:
            eventually(lambda: self.get("/server", user="user", server=server)["subscriptions"], "it subscribes")
            self.ask("POST", "/topics/t?content_type=a/b&user_property=k%3Dv", b"hello", user="user", server=server)
            self.assertEqual(reader.communicate(timeout=EVENT_TIMEOUT_S)[0], "a/b k:v hello\n")

    # ---- rights -------------------------------------------------------------------------------------

    def test_without_a_password_there_is_only_reading(self):
        for method, path in (("PUT", "/topics/a"), ("POST", "/topics/a"), ("DELETE", "/topics/a"),
                             ("DELETE", "/clients/a"), ("DELETE", "/bans/a"), ("POST", "/reload"), ("POST", "/drain")):
            self.refused(401, method, path)

    def test_only_administrators_manage_the_server(self):
        server = self.with_users(administrators=["boss"])
        for method, path in (("DELETE", "/clients/a"), ("DELETE", "/bans/a"), ("POST", "/reload"), ("POST", "/drain")):
            self.refused(403, method, path, user="user", server=server)

    def test_rules_about_qos_and_retaining_hold_here_too(self):
        server = self.with_users(rules=[{"effect": "allow", "action": "publish", "filter": "#", "qos_max": 1,
                                         "retained": False},
                                        {"effect": "allow", "action": "subscribe", "filter": "#"}])
        arguments = {"user": "user", "server": server}
        self.assertEqual(self.ask("POST", "/topics/a?qos=1", b"x", **arguments)[0], 204)
        self.refused(403, "POST", "/topics/a?qos=2", body=b"x", **arguments)
        self.refused(403, "PUT", "/topics/a", body=b"x", **arguments)
        self.refused(403, "DELETE", "/topics/a", **arguments)

    def test_what_no_client_may_publish_is_not_taken_here_either(self):
        server = Server({"access": {"password_file": self.password_file()}, "packet_bytes_max": 1000,
                         "mqtt": {"qos_max": 1, "retain_available": False}})
        self.addCleanup(server.stop)
        arguments = {"user": "user", "server": server}
        self.assertEqual(self.ask("POST", "/topics/a?qos=1", b"x", **arguments)[0], 204)
        self.assertIn("mqtt.qos_max", self.refused(403, "POST", "/topics/a?qos=2", body=b"x", **arguments)["detail"])
        self.assertIn("retain", self.refused(403, "PUT", "/topics/a", body=b"x", **arguments)["detail"])
        self.assertIn("packet_bytes_max", self.refused(413, "POST", "/topics/a", body=b"x" * 1000, **arguments)["detail"])

    def test_who_may_not_come_in_reads_nothing(self):
        server = self.with_users()
        for path in ("/server", "/clients", "/slow", "/clients/a", "/subscriptions?topic=a", "/topics", "/queue", "/rings",
                     "/limits", "/config", "/upstreams", "/bans"):
            problem = self.refused(401, "GET", path, server=server)
            self.assertIn("password", problem["detail"])
            self.ask("GET", path, user="user", server=server)

    def test_reading_needs_the_right_to_read_the_figures(self):
        server = self.with_users(rules=[{"effect": "allow", "filter": "a/#"}])
        self.refused(403, "GET", "/clients", user="user", server=server)
        self.refused(403, "GET", "/topics", user="user", server=server)
        self.assertEqual(self.values("a/#", user="user", server=server), [])

    def test_a_page_of_another_origin_changes_nothing(self):
        server = self.with_users(administrators=["boss"])
        arguments = {"user": "boss", "server": server}
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"},
                        {"Sec_Fetch_Site": "same-site"}):
            self.refused(403, "POST", "/topics/a", body=b"x", **headers, **arguments)
            self.refused(403, "POST", "/reload", **headers, **arguments)
            self.refused(403, "DELETE", "/clients/a", **headers, **arguments)
            self.refused(403, "POST", "/drain", **headers, **arguments)
        own = f"http://127.0.0.1:{server.http_port}"
        self.assertEqual(self.ask("POST", "/topics/a", b"x", Origin=own, **arguments)[0], 204)

    # ---- the server ---------------------------------------------------------------------------------

    def test_figures_are_told(self):
        self.assertGreater(self.get("/queue")["capacity"], 0)
        self.assertEqual(self.get("/server")["version"], subprocess.run(
            [binary(), "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[1])
        keys = [row["key"] for row in self.get("/limits")["limits"]]
        config = self.get("/config")
        self.assertEqual([key for key in keys if key not in config], [])
        self.assertIn("session.all_subscriptions_max", keys)
        self.assertEqual([key for key in keys if key.startswith("local.")], [])  # without local.socket
        self.get("/rings")

    def test_rings_are_told_with_their_readers(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-test-")
        self.addCleanup(folder.cleanup)
        socket = f"{folder.name}/local.sock"
        server = Server({"local": {"socket": socket}})
        self.addCleanup(server.stop)
        server.wait_for_log(r"listening.*listener=local")
        tap = self.program(binary(), "tap", "--socket", socket, "a/#")
        tap.line("millrace: attached")
        eventually(lambda: self.get("/rings", server=server)["rings"], "the ring is told")
        [ring] = self.get("/rings", server=server)["rings"]
        self.assertEqual((ring["filter"], ring["readers"]), ("a/#", 1))
        self.assertEqual(self.get("/rings", server=server)["readers"], 1)
        used = {row["key"]: row["used"] for row in self.get("/limits", server=server)["limits"]}
        self.assertEqual({key: used[key] for key in used if key.startswith("local.")},
                         {"local.rings_max": 1, "local.tables_max": 0, "local.consumers_max": 1, "local.publishers_max": 0})

    def test_the_configuration_names_files_of_secrets_and_holds_none(self):
        names = []

        def collect(value, name=""):
            if isinstance(value, dict):
                for key, one in value.items():
                    collect(one, key)
            elif isinstance(value, list):
                for one in value:
                    collect(one, name)
            else:
                names.append(name)

        link = {"name": "far", "addresses": ["mqtt://127.0.0.1:1"], "rules": [{"direction": "in", "filter": "x/#"}]}
        server = Server({"upstreams": [link]})
        self.addCleanup(server.stop)
        collect(self.get("/config", server=server))
        telling = [name for name in names if re.search("password|secret|token|key|credential", name)]
        self.assertIn("access.password_file", telling)
        self.assertIn("password_file", telling)  # of the link
        allowed = ("_file", "_files", "password_checks_max", "keep_alive_seconds")
        self.assertEqual([name for name in telling if not name.endswith(allowed)], [])

    def test_links_to_other_brokers_are_told(self):
        link = {"name": "far", "addresses": [f"mqtt://127.0.0.1:{self.server.mqtt_port}"],
                "rules": [{"direction": "in", "filter": self.topic("#"), "demand": False}]}
        server = Server({"upstreams": [link]})
        self.addCleanup(server.stop)
        self.assertEqual(self.get("/upstreams")["upstreams"], [])

        def far():
            return self.get("/upstreams", server=server)["upstreams"][0]

        eventually(lambda: self.get("/upstreams", server=server)["upstreams"], "it is begun")
        eventually(lambda: far()["up"], "the link is up")
        publisher = self.peer()

        def comes_through():  # What the link subscribes to stands soon after it is up.
            publisher.publish(self.topic("a"), b"x", qos=1)
            return far()["messages_in"] > 0
        eventually(comes_through, "a message comes through it")
        self.assertEqual(far()["name"], "far")

    def test_a_ban_is_told_and_lifted(self):
        server = Server({"listeners": [{"name": "tcp", "port": 0, "proxy_protocol_from": ["127.0.0.1"]}],
                         "access": {"password_file": self.password_file(), "administrators": ["boss"],
                                    "ban": {"failures": 1, "seconds": 600}}})
        self.addCleanup(server.stop)
        arguments = {"user": "boss", "server": server}
        self.refused(404, "DELETE", "/bans/192.0.2.1", **arguments)
        guess = Peer(server.mqtt_port)
        self.addCleanup(guess.close)
        guess.send(b"PROXY TCP4 192.0.2.1 127.0.0.1 1 1\r\n" + wire.connect("guess", username="user", password="wrong"))
        guess.expect_refused(0x86)
        [ban] = self.get("/bans", **arguments)["bans"]
        self.assertEqual(ban["address"], "192.0.2.1")
        self.assertGreater(ban["seconds_left"], 500)
        self.refused(403, "DELETE", "/bans/192.0.2.1", user="user", server=server)
        self.assertEqual(self.ask("DELETE", "/bans/192.0.2.1", **arguments)[0], 204)
        self.assertEqual(self.get("/bans", **arguments)["bans"], [])

    def test_the_server_ends_when_it_is_told_to(self):
        server = self.with_users(administrators=["boss"])
        self.ask("PUT", "/topics/a", b"x", user="boss", server=server)
        status, _, answer = self.ask("POST", "/drain", user="boss", server=server)
        self.assertEqual((status, answer), (202, {"draining": True}))
        self.assertEqual(server.process.wait(EVENT_TIMEOUT_S), 0)

    def test_a_reload_says_what_it_changed_or_why_it_did_not(self):
        config = {"access": {"password_file": self.password_file(), "administrators": ["boss"]}}
        server = Server(config)
        self.addCleanup(server.stop)
        arguments = {"user": "boss", "server": server}
        self.get("/server", **arguments)  # it has read its file
        server._write({**config, "log": {"level": "debug"}, "http": {"idle_seconds": 9}})
        status, _, result = self.ask("POST", "/reload", **arguments)
        self.assertEqual((status, result["changed"], result["needs_restart"]),
                         (200, ["log.level"], ["http.idle_seconds"]))
        self.assertEqual(self.get("/config", **arguments)["log.level"], "debug")
        server._write({**config, "log": {"level": "loud"}})
        status, _, result = self.ask("POST", "/reload", **arguments)
        self.assertEqual(status, 422)
        self.assertIn("log.level", result["faults"][0])
        self.refused(403, "POST", "/reload", user="user", server=server)

    # ---- what makes no sense ------------------------------------------------------------------------

    def test_faulty_queries_are_problems(self):
        for path in ("/clients?limit=0", "/clients?limit=1001", "/clients?limit=x", "/clients?sort=x", "/clients?address=10", "/clients?state=x",
                     "/clients?after=x", "/clients?after=x/y", "/clients?x=1", "/topics?filter=a%23", "/topics?payload=x",
                     "/topics?filter=$share/g/a", "/topics?payload_bytes_max=-1", "/topics?x=1", "/queue?x=1",
                     "/server?x=1", "/rings?x=1", "/limits?x=1", "/config?x=1", "/slow?x=1", "/clients/a?x=1",
                     "/upstreams?x=1", "/bans?x=1", "/subscriptions", "/subscriptions?topic=", "/subscriptions?topic=%23",
                     "/subscriptions?topic=a&topic=b", "/subscriptions?topic=a&x=1"):
            self.refused(400, "GET", path)
        for method, path in (("POST", "/reload?x=1"), ("POST", "/drain?x=1"), ("DELETE", "/bans/a?x=1")):
            self.refused(400, method, path)
        self.refused(404, "GET", "/nothing")
        self.refused(405, "DELETE", "/clients")
        self.refused(405, "PUT", "/queue")
        self.refused(413, "PUT", "/topics/a", body=b"x" * 100_000)
        self.refused(421, "GET", "/queue", Host="evil.example")
        self.refused(400, "GET", "/clients?prefix=%00")

    def test_whatever_is_asked_is_answered_by_the_document(self):
        random = Random(18)
        names = ["prefix", "user", "address", "listener", "topic", "state", "sort", "limit", "after", "filter", "payload", "payload_bytes_max", "x", ""]
        values = ["", "a", "#", "+", "a/#", "0", "1", "-1", "99999999999999999999", "id", "waiting", "sent", "slow", "127.0.0.1", "::/0", "http", "text", "none",
                  "18446744073709551615/", "1/a", "/", "\u202e", "\x01", "\x7f", "%", "$share/a/b", "é" * 500]
        for _ in range(300):
            query = [(random.choice(names), random.choice(values)) for _ in range(random.randint(0, 4))]
            path = random.choice(["/clients", "/topics", "/slow", "/queue", "/clients/a%2Fb", "/subscriptions"])
            status, _, _ = self.ask("GET", f"{path}?{urllib.parse.urlencode(query)}")
            self.assertIn(status, (200, 400, 404), query)

    def test_many_ask_at_once(self):
        peers = [self.peer(self.topic(str(number))) for number in range(20)]
        prefix = urllib.parse.quote(self.topic(''))

        count = 256
        everybody = threading.Barrier(count)

        def ask(_):
            everybody.wait(EVENT_TIMEOUT_S)
            return len(self.get(f"/clients?prefix={prefix}&limit=1000")["clients"])

        with ThreadPoolExecutor(count) as pool:
            self.assertEqual(set(pool.map(ask, range(count))), {len(peers)})


if __name__ == "__main__":
    main()
