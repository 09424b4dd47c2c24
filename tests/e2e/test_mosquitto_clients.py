"""mosquitto_pub, mosquitto_sub and mosquitto_rr, used as from a shell."""

import wire
from case import Case, main

FORMAT = "got %t %q %r %p"  # topic, QoS, retain, payload


class Clients(Case):
    def options(self, version):
        return ["-h", "127.0.0.1", "-p", str(self.server.mqtt_port), "-V", version]

    def subscriber(self, *arguments, version="mqttv5"):
        program = self.program("mosquitto_sub", *self.options(version), "-d", "-F", FORMAT, *arguments)
        program.line("Subscribed")
        return program

    def run_pub(self, *arguments, version="mqttv5"):
        self.program("mosquitto_pub", *self.options(version), *arguments).finish()

    def test_every_qos_in_every_version(self):
        for version in ("mqttv31", "mqttv311", "mqttv5"):
            for qos in "012":
                with self.subTest(version=version, qos=qos):
                    topic = self.topic(f"{version}/{qos}")
                    reader = self.subscriber("-t", topic, "-q", qos, "-C", "1", version=version)
                    self.run_pub("-t", topic, "-m", "hello", "-q", qos, version=version)
                    self.assertEqual(reader.line("got"), f"got {topic} {qos} 0 hello")
                    reader.finish()

    def test_a_retained_message_comes_to_a_later_subscriber_until_it_is_cleared(self):
        self.run_pub("-t", self.topic(), "-m", "kept", "-r", "-q", "1")
        reader = self.subscriber("-t", self.topic(), "-q", "1")
        self.assertEqual(reader.line("got"), f"got {self.topic()} 1 1 kept")
        self.run_pub("-t", self.topic(), "-n", "-r")
        self.assertEqual(reader.line("got"), f"got {self.topic()} 0 0 ")
        later = self.subscriber("-t", self.topic("+"), "-t", self.topic("end"))
        self.run_pub("-t", self.topic("end"), "-m", "nothing before this")
        self.assertEqual(later.line("got"), f"got {self.topic('end')} 0 0 nothing before this")

    def test_a_will_comes_when_the_client_dies(self):
        for version, extra in (("mqttv311", []), ("mqttv5", ["-D", "will", "will-delay-interval", "1",
                                                             "-x", "60", "-c"])):
            watcher = self.subscriber("-t", self.topic(version), "-q", "1")
            mortal = self.subscriber("-t", self.topic("x"), "-i", self.unique + version,
                                     "--will-topic", self.topic(version), "--will-payload", "died",
                                     "--will-qos", "1", *extra, version=version)
            mortal.stop()  # By SIGKILL.
            self.assertEqual(watcher.line("got"), f"got {self.topic(version)} 1 0 died")

    def test_a_session_is_resumed_with_what_was_queued(self):
        for version, keep in (("mqttv311", ["-c"]), ("mqttv5", ["-c", "-x", "600"])):
            topic = self.topic(version)
            sleeper = ["-t", topic, "-q", "1", "-i", self.unique + version, *keep]
            self.subscriber(*sleeper, "-E", version=version).finish()
            for number in range(5):
                self.run_pub("-t", topic, "-m", str(number), "-q", "1", version=version)
            reader = self.program("mosquitto_sub", *self.options(version), *sleeper, "-F", FORMAT,
                                  "-C", "5")
            self.assertEqual(reader.finish(), [f"got {topic} 1 0 {n}" for n in range(5)])

    def test_a_latest_subscription_gets_the_newest_value_at_once(self):
        for number in range(3):
            self.run_pub("-t", self.topic("now"), "-m", str(number), "-q", "1")  # so that it is there when this ends
        reader = self.subscriber("-t", "$latest/" + self.topic("#"), version="mqttv311")
        self.assertEqual(reader.line("got"), f"got {self.topic('now')} 0 0 2")
        self.run_pub("-t", self.topic("now"), "-m", "3")
        self.assertEqual(reader.line("got"), f"got {self.topic('now')} 0 0 3")

    def test_a_shared_subscription_gives_each_message_to_one_member(self):
        filter_ = f"$share/{self.unique}/{self.topic()}"
        members = [self.subscriber("-t", filter_, "-t", self.topic("end"), "-q", "1")
                   for _ in range(2)]
        sender = self.peer()
        for number in range(20):
            sender.publish(self.topic(), str(number), qos=1)
        sender.publish(self.topic("end"), b"end", qos=1)
        seen = []
        for member in members:
            got = []
            while not (line := member.line("got")).endswith(" end"):
                got.append(int(line.split()[-1]))
            self.assertTrue(got, "one member got everything")
            seen += got
        self.assertEqual(sorted(seen), list(range(20)))

    def test_a_request_gets_its_response(self):
        answers = self.peer()
        answers.subscribe((self.topic("ask"), 1))
        request = self.program("mosquitto_rr", *self.options("mqttv5"), "-q", "1", "-t",
                               self.topic("ask"), "-e", self.topic("answer"), "-m", "ping",
                               "-D", "publish", "correlation-data", "42")
        got = answers.receive(payload=b"ping")
        self.assertEqual(got.props[wire.CORRELATION], [b"42"])
        answers.publish(got.one(wire.RESPONSE_TOPIC), "pong", qos=1,
                        properties=[(wire.CORRELATION, got.one(wire.CORRELATION))])
        self.assertEqual(request.finish(), ["pong"])

    def test_user_properties_and_topic_aliases_travel(self):
        reader = self.peer()
        reader.subscribe(self.topic())
        self.run_pub("-t", self.topic(), "-m", "x", "-D", "publish", "user-property", "b", "1",
                     "-D", "publish", "user-property", "a", "2", "-D", "publish", "topic-alias", "5",
                     "-D", "publish", "content-type", "text/plain", "--repeat", "3")
        for _ in range(3):
            got = reader.receive(topic=self.topic(), payload=b"x")
            self.assertEqual(got.props[wire.USER], [("b", "1"), ("a", "2")])
            self.assertEqual(got.one(wire.CONTENT_TYPE), "text/plain")


if __name__ == "__main__":
    main()
