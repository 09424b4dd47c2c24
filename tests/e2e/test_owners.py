"""Whose a session is, and what a reload takes away from users that are connected or have left."""

import os
import subprocess

import wire
from case import Case, main
from server import binary

LONG = [(wire.SESSION_EXPIRY, 1000)]


class Owners(Case):
    SESSION = {}

    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        cls.passwords = os.path.join(cls.folder.name, "passwords")
        cls.CONFIG = cls.config()
        for user in ("ann", "bob"):
            cls.passwd(user, "secret")
        super().setUpClass()

    @classmethod
    def passwd(cls, *arguments):
        subprocess.run([binary(), "passwd", "-b", "-I", "1", cls.passwords, *arguments], check=True)

    @classmethod
    def config(cls, *rules):
        return {"session": cls.SESSION,
                "access": {"password_file": cls.passwords, "allow_anonymous": True,
                           "otherwise": "allow", "rules": list(rules)}}

    def setUp(self):
        super().setUp()
        for user in ("ann", "bob"):
            self.passwd(user, "secret")
        self.assertEqual(self.server.reload(self.config()), "reloaded")

    def reload(self, *rules):
        self.assertEqual(self.server.reload(self.config(*rules)), "reloaded")

    def without(self, user):
        subprocess.run([binary(), "passwd", "-D", self.passwords, user], check=True)
        self.reload()

    def user(self, name, client_id, version=5, **options):
        if version == 5:
            options.setdefault("properties", LONG)
        options.setdefault("clean", False)
        return self.peer(client_id, version, username=name, password="secret", **options)

    def refused(self, name, client_id, version, *codes):
        peer = self.raw(version)
        peer.send(wire.connect(client_id, version=version, username=name,
                               password="secret" if name else None))
        peer.expect_refused(*codes)


class OneNameSpace(Owners):
    def test_another_user_gets_neither_the_session_nor_ends_the_connection(self):
        for version in (4, 5):
            name = f"{self.unique}-{version}"
            ann = self.user("ann", name, version)
            ann.subscribe(self.topic("#"), qos=1)
            for other in ("bob", None):
                for theirs, code in ((4, 0x02), (5, 0x85)):
                    self.refused(other, name, theirs, code)
            self.peer().publish(self.topic(), b"for ann", qos=1)
            ann.receive(payload=b"for ann")
            ann.disconnect()
            self.peer().publish(self.topic(), b"while away", qos=1)
            self.refused("bob", name, 5, 0x85)
            again = self.user("ann", name, version)
            self.assertTrue(again.connack.session_present)
            again.receive(payload=b"while away")

    def test_the_same_user_takes_over(self):
        first = self.user("ann", self.unique)
        second = self.user("ann", self.unique)
        self.assertTrue(second.connack.session_present)
        first.expect(wire.DISCONNECT, code=0x8E)


class NameSpaceOfEachUser(Owners):
    SESSION = {"scope": "user"}

    def test_each_user_has_a_session_of_that_name(self):
        everybody = [self.user(name, self.unique) for name in ("ann", "bob", None)]
        for number, peer in enumerate(everybody):
            self.assertFalse(peer.connack.session_present)
            peer.subscribe(self.topic(str(number)), qos=1)
        everybody[1].disconnect()
        for number in range(3):
            self.peer().publish(self.topic(str(number)), b"%d" % number, qos=1)
        bob = self.user("bob", self.unique)
        self.assertTrue(bob.connack.session_present)
        for number, peer in enumerate((everybody[0], bob, everybody[2])):
            peer.receive(payload=b"%d" % number)
            peer.expect_nothing_more()


class Reloads(Owners):
    def test_a_user_that_is_gone_is_disconnected_and_its_will_and_sessions_with_it(self):
        reader = self.user("bob", self.unique + "b")
        reader.subscribe(self.topic("#"), qos=1)
        peers = [self.user("ann", f"{self.unique}-{version}", version,
                           will=wire.will(self.topic("will"), b"gone")) for version in (4, 5)]
        absent = self.user("ann", self.unique)
        absent.subscribe(self.topic("#"), qos=1)
        absent.disconnect()
        before = self.server.metrics()["millrace_sessions_revoked_total"]
        self.without("ann")
        for peer in peers:
            peer.expect_fault(0x87)
        after = self.server.metrics()["millrace_sessions_revoked_total"]
        self.assertGreaterEqual(after, before + 3)  # and those of tests before this one
        reader.expect_nothing_more()
        self.refused("ann", self.unique, 5, 0x86)
        # The identifier is free.
        self.assertFalse(self.user("bob", self.unique).connack.session_present)

    def test_who_came_with_an_old_password_comes_again_and_finds_its_session(self):
        ann = self.user("ann", self.unique)
        ann.subscribe(self.topic(), qos=1)
        self.passwd("ann", "other")
        self.reload()
        ann.expect_fault(0x87)
        self.peer().publish(self.topic(), b"kept", qos=1)
        again = self.peer(self.unique, username="ann", password="other", clean=False,
                          properties=LONG)
        self.assertTrue(again.connack.session_present)
        again.receive(payload=b"kept")

    def test_nobody_without_a_name_stays_where_names_are_needed(self):
        anonymous, ann = self.peer(), self.user("ann", self.unique)
        config = self.config()
        config["access"]["allow_anonymous"] = False
        self.assertEqual(self.server.reload(config), "reloaded")
        anonymous.expect_fault(0x87)
        ann.expect_nothing_more()

    def test_what_is_not_allowed_any_more_is_not_delivered(self):
        for qos in (0, 1, 2):
            with self.subTest(qos=qos):
                self.unique += "x"
                ann = self.user("ann", self.unique)
                ann.subscribe((self.topic("a/#"), qos), (self.topic("b/#"), qos))
                wide = self.user("ann", self.unique + "wide")
                wide.subscribe((self.topic("#"), qos))
                self.reload({"effect": "deny", "user": "ann", "action": "subscribe",
                             "filter": self.topic("a/#")})
                for topic in ("a/1", "b/1"):
                    self.peer().publish(self.topic(topic), topic.encode(), qos=qos)
                for peer in (ann, wide):
                    peer.receive(payload=b"b/1")
                    peer.expect_nothing_more()
                self.assertEqual(ann.subscribe(self.topic("a/#")).codes, [0x87])

    def test_what_waits_is_judged_too(self):
        ann = self.user("ann", self.unique)
        ann.subscribe(self.topic("#"), qos=2)
        for topic in ("a", "b"):  # sent, and not acknowledged
            self.peer().publish(self.topic(topic), b"sent " + topic.encode(), qos=1)
            ann.expect(wire.PUBLISH)
        ann.abort()
        for topic in ("a", "b"):
            for qos in (1, 2):
                self.peer().publish(self.topic(topic), topic.encode(), qos=qos)
        self.reload({"effect": "deny", "user": "ann", "filter": self.topic("a")})
        again = self.user("ann", self.unique)
        self.assertTrue(again.connack.session_present)
        for payload in (b"sent b", b"b", b"b"):
            again.receive(payload=payload)
        again.expect_nothing_more()

    def test_a_publish_is_judged_at_once(self):
        for version in (4, 5):
            ann = self.user("ann", f"{self.unique}-{version}", version)
            reader = self.user("bob", f"{self.unique}-b{version}")
            reader.subscribe(self.topic("#"), qos=1)
            self.assertEqual(ann.publish(self.topic(), b"before", qos=1).code or 0, 0)
            self.reload({"effect": "deny", "user": "ann", "action": "publish", "filter": "#"})
            code = ann.publish(self.topic(), b"after", qos=1).code
            if version == 5:
                self.assertEqual(code, 0x87)
            reader.receive(payload=b"before")
            reader.expect_nothing_more()
            self.reload()

    def test_a_will_is_judged_too(self):
        reader = self.user("bob", self.unique + "b")
        reader.subscribe(self.topic("#"), qos=1)
        ann = self.user("ann", self.unique, will=wire.will(self.topic(), b"gone"))
        self.reload({"effect": "deny", "user": "ann", "action": "publish", "filter": self.topic()})
        ann.abort()
        other = self.user("bob", self.unique + "c", will=wire.will(self.topic("last"), b"last"))
        other.abort()
        reader.receive(payload=b"last")


if __name__ == "__main__":
    main()
