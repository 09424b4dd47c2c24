"""Access rules: what they withhold, and their reason codes."""

import base64
import hmac
import json
import os
import tempfile
import time

import wire
from case import Case, main
from peer import Peer
from server import Server


class Rules(Case):
    CONFIG = {"access": {"otherwise": "allow", "rules": [
        {"effect": "deny", "action": "subscribe", "filter": "+/secret"},
        {"effect": "deny", "filter": "hidden/#", "reason": "unspecified"}]}}

    def publish_all(self, **options):
        writer = self.peer()
        for tail in ("secret", "open"):
            writer.publish(self.topic(tail), b"x", qos=1, **options)
        writer.publish(self.topic("end"), b"x", qos=1, **options)

    def expect_open_alone(self, reader, **fields):
        for tail in ("open", "end"):
            reader.receive(topic=self.topic(tail), **fields)
        reader.expect_nothing_more()

    def test_a_filter_that_is_denied_is_refused_with_the_reason_of_its_rule(self):
        filters = (self.topic("secret"), "hidden/#", "hidden/x", "hidden/+")
        self.assertEqual(self.peer().subscribe(*filters).codes, [0x87, 0x80, 0x80, 0x80])
        self.assertEqual(self.peer(version=4).subscribe(*filters).codes, [0x80] * 4)
        self.assertEqual(self.peer().publish("hidden/x", b"", qos=1).code, 0x80)

    def test_a_wider_filter_brings_everything_else(self):
        for version in (4, 5):
            for prefix, tail in (("", "#"), ("", "+"), ("$latest/", "+")):
                with self.subTest(version=version, prefix=prefix, tail=tail):
                    self.unique += "x"
                    reader = self.peer(version=version)
                    self.assertEqual(reader.subscribe(prefix + self.topic(tail), qos=1).codes, [1])
                    self.publish_all()
                    self.expect_open_alone(reader)

    def test_retained_and_newest_values_are_kept_back_too(self):
        self.publish_all(retain=True)
        for filter_ in (self.topic("+"), "$latest/" + self.topic("+")):
            reader = self.peer()
            reader.subscribe(filter_, qos=1)
            got = sorted(reader.receive().topic for _ in range(2))
            self.assertEqual(got, [self.topic("end"), self.topic("open")])
            reader.expect_nothing_more()

    def test_a_session_does_not_collect_them(self):
        name = self.unique
        sleeper = self.peer(name, properties=[(wire.SESSION_EXPIRY, 100)])
        sleeper.subscribe(self.topic("#"), qos=1)
        sleeper.disconnect()
        self.publish_all()
        sleeper = self.peer(name, clean=False, properties=[(wire.SESSION_EXPIRY, 100)])
        self.assertTrue(sleeper.connack.session_present)
        self.expect_open_alone(sleeper)

    def test_a_shared_subscription_does_not_bring_them_either(self):
        reader = self.peer()
        reader.subscribe("$share/group/" + self.topic("#"), qos=1)
        self.publish_all()
        self.expect_open_alone(reader)


class OwnTopics(Case):
    CONFIG = {
        "listeners": [{"name": "tcp", "port": 0}, {"name": "plant", "port": 0}],
        "access": {"rules": [
            {"effect": "deny", "action": "receive", "filter": "+/+/hidden"},
            {"effect": "allow", "filter": "own/%c/#"},
            {"effect": "allow", "listener": "plant", "filter": "plant/#"},
            {"effect": "allow", "address": "127.0.0.0/8", "filter": "near/#"},
            {"effect": "allow", "address": "10.0.0.0/8", "filter": "far/#"},
            {"effect": "allow", "client_id": "chief*", "filter": "#"},
            {"effect": "allow", "action": "publish", "retained": False, "qos_max": 1,
             "filter": "event/#"},
            {"effect": "allow", "action": "subscribe", "qos_max": 0, "filter": "event/#"}]}}

    def may(self, peer, topic, **options):
        return peer.publish(topic, b"", **{"qos": 1, **options}).code < 0x80

    def test_each_client_has_topics_of_its_own(self):
        for version in (4, 5):
            one = self.peer(f"{self.unique}{version}", version=version)
            own = f"own/{self.unique}{version}"
            self.assertEqual(one.subscribe(own + "/#", "own/other/#", "own/+/#").codes[0], 0)
            self.assertEqual([code >= 0x80 for code in one.subscribe("own/other/#", "own/+/#").codes],
                             [True, True])
        self.assertTrue(self.may(one, own + "/x"))
        self.assertFalse(self.may(one, "own/other/x"))

    def test_a_name_with_a_wildcard_in_it_reaches_nobody_elses(self):
        for name in ("+", "#", "a/b", "$share"):
            one = self.peer(name)
            for filter_ in ("own/#", "own/+", "own/+/#", "own/a/b/#", "own/$share/#",
                            "$share/g/own/#", "$latest/own/+"):
                codes = one.subscribe(filter_).codes
                self.assertGreaterEqual(codes[0], 0x80, (name, filter_))
            self.assertFalse(self.may(one, "own/a/b/x"))

    def test_one_without_an_identifier_has_those_of_the_one_that_it_gets(self):
        raw = self.raw()
        name = raw.connect("").one(wire.ASSIGNED_ID)
        self.assertTrue(self.may(raw, f"own/{name}/x"))
        self.assertFalse(self.may(raw, "own//x"))

    def test_the_listener_and_the_address_count(self):
        here = self.peer()
        self.assertFalse(self.may(here, "plant/x"))
        self.assertTrue(self.may(here, "near/x"))
        self.assertFalse(self.may(here, "far/x"))
        there = Peer(self.server.port("plant"))
        self.addCleanup(there.close)
        there.connect(f"{self.unique}plant")
        self.assertTrue(self.may(there, "plant/x"))

    def test_wills_shared_and_latest_subscriptions_follow_the_same_rules(self):
        raw = self.raw()
        raw.send(wire.connect(f"{self.unique}w", will=wire.will("own/other/x")))
        raw.expect_refused(0x87)
        raw = self.raw()
        raw.send(wire.connect(f"{self.unique}w", will=wire.will("event/x", b"", 1, True)))
        raw.expect_refused(0x87)  # It would be retained.
        self.peer(f"{self.unique}ok", will=wire.will("event/x", b"", 1, False))
        one = self.peer(f"{self.unique}s")
        self.assertEqual(one.subscribe("$share/g/own/other/#", "$latest/own/other/+",
                                       f"$share/g/own/{self.unique}s/#").codes, [0x87, 0x87, 0])

    def test_a_response_topic_gives_nobody_a_right(self):
        """Who is asked to answer there may publish there by its own rules, or not at all."""
        asker, answerer = self.peer(f"{self.unique}asks"), self.peer(f"{self.unique}answers")
        answerer.subscribe("near/do", qos=1)
        own = f"own/{self.unique}asks/answer"
        self.assertEqual(asker.subscribe(own, "own/other/answer").codes, [0, 0x87])
        for wanted in (own, "own/other/answer"):
            asker.publish("near/do", b"", qos=1, properties=[(wire.RESPONSE_TOPIC, wanted)])
            request = answerer.receive(topic="near/do")
            self.assertEqual(request.one(wire.RESPONSE_TOPIC), wanted)
            self.assertFalse(self.may(answerer, wanted))
        asker.publish("near/do", b"", qos=1, properties=[(wire.RESPONSE_TOPIC, "near/answer")])
        self.assertTrue(self.may(answerer, answerer.receive().one(wire.RESPONSE_TOPIC)))

    def test_what_may_not_be_received_is_left_out_of_any_subscription(self):
        chief = self.peer(f"chief{self.unique}")
        for prefix in ("", "$latest/", "$share/g/"):
            part = str(len(prefix))
            reader = self.peer(f"chief{self.unique}{part}")
            self.assertEqual(reader.subscribe(f"{prefix}{self.topic(part)}/+", qos=1).codes, [1])
            for tail in ("hidden", "open"):
                chief.publish(self.topic(f"{part}/{tail}"), b"x", qos=1)
            reader.receive(topic=self.topic(f"{part}/open"))
            reader.disconnect()

    def test_qos_and_retain_count(self):
        one = self.peer()
        self.assertTrue(self.may(one, "event/x"))
        self.assertFalse(self.may(one, "event/x", qos=2))
        self.assertFalse(self.may(one, "event/x", retain=True))
        self.assertEqual(one.subscribe("event/x", qos=2).codes, [0])

    def test_a_reload_judges_by_how_a_client_came(self):
        with Server({"access": {"otherwise": "allow", "rules": [
                {"effect": "deny", "filter": "nothing"}]}}) as server:
            one = Peer(server.mqtt_port)
            self.addCleanup(one.close)
            one.connect("one")
            one.subscribe("own/one/x", "own/two/x")
            self.assertEqual(server.reload({"access": {"rules": [
                {"effect": "allow", "address": "127.0.0.1", "filter": "own/%c/#"}]}}), "reloaded")
            self.assertEqual(one.publish("own/two/x", b"", qos=1).code, 0x87)
            self.assertEqual(one.publish("own/one/x", b"mine", qos=1).code, 0)
            one.receive(topic="own/one/x")
            self.assertEqual(server.reload({"access": {"rules": [
                {"effect": "allow", "address": "10.0.0.0/8", "filter": "own/%c/#"}]}}), "reloaded")
            self.assertEqual(one.publish("own/one/x", b"", qos=1).code, 0x87)


class OwnTopicsOfUsers(Case):
    """Users that are named by a token, since a file of passwords has none that is called `#`."""

    SECRET = b"a secret of thirty-two bytes, or more"

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="millrace-access-")
        cls.addClassCleanup(folder.cleanup)
        secret_file = os.path.join(folder.name, "secret")
        with open(secret_file, "wb") as out:
            out.write(cls.SECRET)
        cls.CONFIG = {"access": {"jwt": {"secret_file": secret_file}, "otherwise": "allow", "rules": [
            {"effect": "deny", "filter": "mail/%u/sealed"},
            {"effect": "allow", "filter": "mail/%u/#"},
            {"effect": "deny", "filter": "mail/#"}]}}
        super().setUpClass()

    def of(self, user):
        def encoded(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
        text = ".".join(encoded(json.dumps(part).encode()) for part in
                        ({"alg": "HS256"}, {"sub": user, "exp": int(time.time()) + 1000}))
        signature = encoded(hmac.digest(self.SECRET, text.encode(), "sha256"))
        return self.peer(username=user, password=f"{text}.{signature}")

    def may(self, peer, topic):
        code = peer.publish(topic, b"", qos=1).code
        self.assertIn(code, (0x00, 0x10, 0x87))
        return code != 0x87

    def test_each_user_has_topics_of_its_own(self):
        ann = self.of("ann")
        self.assertEqual(ann.subscribe("mail/ann/#", "mail/bob/#", "mail/+/in", "other/#").codes,
                         [0, 0x87, 0x87, 0])
        self.assertEqual([self.may(ann, f"mail/{tail}") for tail in ("ann/in", "ann/sealed", "bob/in")],
                         [True, False, False])

    def test_a_name_with_a_wildcard_in_it_reaches_nobody_elses(self):
        for user in ("+", "#", "a/b", "+/x", "$share", "%u", "%c"):
            with self.subTest(user):
                one = self.of(user)
                for filter_ in ("mail/#", "mail/+", "mail/+/#", "mail/+/in", "mail/a/#", "mail/a/b/#", "mail/ann/#",
                                "$share/g/mail/#", "$latest/mail/+/in"):
                    self.assertEqual(one.subscribe(filter_).codes, [0x87], filter_)
                for topic in ("mail/ann/in", "mail/a/b/in", "mail/a/b/sealed", "mail/in", "mail//in"):
                    self.assertFalse(self.may(one, topic), topic)
                self.assertTrue(self.may(one, "other/x"))


if __name__ == "__main__":
    main()
