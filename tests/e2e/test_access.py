"""Access rules: what they withhold, and their reason codes."""

import wire
from case import Case, main


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


if __name__ == "__main__":
    main()
