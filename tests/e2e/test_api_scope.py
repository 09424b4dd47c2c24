"""Clients of users who each have client identifiers of their own (session.scope), and links to other brokers, over the
management API: how they are named, found and disconnected."""

import urllib.parse

import wire
from api_case import PASSWORDS, ApiCase
from case import eventually, main
from peer import Peer


class Scope(ApiCase):
    def setUp(self):
        super().setUp()
        link = {"name": "far", "addresses": [f"mqtt://127.0.0.1:{self.server.mqtt_port}"], "retry_max_seconds": 1,
                "rules": [{"direction": "out", "filter": self.topic("#")}]}
        self.scoped = self.with_users({"session": {"scope": "user"}, "upstreams": [link]}, administrators=["boss"],
                                      allow_anonymous=True)
        self.secret = f"{self.scoped.folder.name}/secret"
        with open(self.secret, "w") as file:
            file.write("b\n")

    def client(self, client_id, user=None):
        peer = Peer(self.scoped.mqtt_port)
        self.addCleanup(peer.close)
        login = {"username": user, "password": PASSWORDS[user]} if user else {}
        peer.connect(client_id, properties=[(wire.SESSION_EXPIRY, 1000)], **login)
        return peer

    def kick(self, *arguments, code=0):
        return self.run_program("kick", "--port", str(self.scoped.http_port), "--user", "boss", "--password-file",
                                self.secret, *arguments, code=code)

    def state(self, query, client_id="lamp"):
        return self.get(f"/clients/{client_id}?{query}", server=self.scoped)["state"]

    def names(self, query):
        return [(row["id"], row["user"], row["link"]) for row in self.get(f"/clients?{query}", server=self.scoped)["clients"]]

    def test_identifiers_are_told_without_the_user_who_stands_beside_them(self):
        clients = [self.client("lamp"), self.client("lamp", "boss"), self.client("lamp", "user"), self.client("user", "boss")]
        self.assertEqual(self.names("prefix=lamp"),
                         [("lamp", None, False), ("lamp", "boss", False), ("lamp", "user", False)])
        self.assertEqual(self.names("prefix=lamp&user=user"), [("lamp", "user", False)])
        first = self.get("/clients?prefix=lamp&limit=2", server=self.scoped)
        rest = self.names("prefix=lamp&limit=2&after=" + urllib.parse.quote(first["next"], safe=""))
        self.assertEqual(rest, [("lamp", "user", False)])
        clients[2].subscribe("a/#")
        [found] = self.get("/subscriptions?topic=a/b", server=self.scoped)["subscriptions"]
        self.assertEqual((found["client"], found["user"], found["link"]), ("lamp", "user", False))

    def test_a_client_is_found_by_its_user_and_without_one_where_there_is_no_other(self):
        first = self.client("lamp", "user")
        first.subscribe("a/#")
        for query in ("", "user=user"):
            detail = self.get(f"/clients/lamp?{query}", server=self.scoped)
            self.assertEqual((detail["id"], detail["user"]), ("lamp", "user"))
            self.assertEqual([one["filter"] for one in detail["subscribed"]], ["a/#"])
        self.assertIn("without a user", self.refused(404, "GET", "/clients/lamp?user=", server=self.scoped)["detail"])
        self.refused(404, "GET", "/clients/lamp?user=boss", server=self.scoped)
        others = [self.client("lamp", "boss"), self.client("lamp")]
        detail = self.refused(409, "GET", "/clients/lamp", server=self.scoped)["detail"]
        for said in ('"boss"', '"user"', "the anonymous", "?user="):
            self.assertIn(said, detail)
        for user in ("boss", "user"):
            self.assertEqual(self.get(f"/clients/lamp?user={user}", server=self.scoped)["user"], user)
        self.assertIsNone(self.get("/clients/lamp?user=", server=self.scoped)["user"])
        self.assertEqual(len(others), 2)

    def test_the_client_of_a_user_is_disconnected_and_its_session_ended(self):
        clients = {user: self.client("lamp", user) for user in (None, "boss", "user")}
        path = "/clients/lamp"
        self.refused(409, "DELETE", path, user="boss", server=self.scoped)
        self.assertEqual(self.ask("DELETE", path + "?user=user", user="boss", server=self.scoped)[0], 204)
        clients["user"].expect(wire.DISCONNECT)
        self.assertEqual([self.state(query) for query in ("user=", "user=boss", "user=user")],
                         ["connected", "connected", "away"])
        self.assertEqual(self.ask("DELETE", path + "?user=user&session=end", user="boss", server=self.scoped)[0], 204)
        self.refused(404, "GET", path + "?user=user", server=self.scoped)
        self.assertEqual(self.state("user=boss"), "connected")

    def test_the_program_disconnects_the_client_of_a_user(self):
        clients = {user: self.client("lamp", user) for user in (None, "user")}
        self.assertIn("several users", self.kick("lamp", code=1))
        self.kick("lamp", "--of-user", "user", "--end-session")
        clients["user"].expect(wire.DISCONNECT)
        self.refused(404, "GET", "/clients/lamp?user=user", server=self.scoped)
        self.assertEqual(self.state("user="), "connected")
        self.kick("lamp")  # the only one now
        clients[None].expect(wire.DISCONNECT)

    def test_a_trace_is_of_the_client_of_one_user(self):
        status, _, trace = self.ask("POST", "/trace?client=lamp&user=user&minutes=1", user="boss", server=self.scoped)
        self.assertEqual((status, trace["user"]), (201, "user"))
        mine, other = self.client("lamp", "user"), self.client("lamp", "boss")
        mine.subscribe("mine")
        other.subscribe("other")
        entries = self.get(f"/trace/{trace['id']}", user="boss", server=self.scoped)["entries"]
        texts = [entry["text"] for entry in entries]
        self.assertTrue(any(text.startswith("SUBSCRIBE: mine") for text in texts), texts)
        self.assertFalse(any("other" in text for text in texts), texts)
        self.assertEqual({(entry["client"], entry["user"]) for entry in entries}, {("lamp", "user")})

    def test_a_link_is_found_and_disconnected_and_never_ended(self):
        path = "/clients/upstream%2Ffar"

        def is_up():
            return self.ask("GET", path, server=self.scoped)[0] == 200 and self.state("", "upstream%2Ffar") == "connected"

        eventually(is_up, "the link is up")
        self.assertEqual(self.names("prefix=upstream/"), [("upstream/far", None, True)])

        def subscribers():
            found = self.get("/subscriptions?topic=" + self.topic("a"), server=self.scoped)["subscriptions"]
            return [(one["client"], one["link"]) for one in found]

        eventually(lambda: subscribers() == [("upstream/far", True)], "it subscribes")
        refused = self.refused(409, "DELETE", path + "?session=end", user="boss", server=self.scoped)
        self.assertIn("is a link", refused["detail"])
        self.assertIn("is a link", self.kick("upstream/far", "--end-session", code=1))
        self.assertEqual(self.state("", "upstream%2Ffar"), "connected")

        def connects():
            return self.get("/upstreams", server=self.scoped)["upstreams"][0]["connects"]

        before = connects()
        self.assertEqual(self.ask("DELETE", path, user="boss", server=self.scoped)[0], 204)
        eventually(lambda: connects() > before and is_up(), "it comes again")
        # A client may have any name.
        client = self.client("upstream/far")
        self.assertFalse(self.get(path, server=self.scoped)["link"])
        self.assertTrue(self.get(path + "?link=true", server=self.scoped)["link"])
        self.kick("upstream/far")
        client.expect(wire.DISCONNECT)
        self.refused(400, "GET", path + "?link=true&user=user", server=self.scoped)


if __name__ == "__main__":
    main()
