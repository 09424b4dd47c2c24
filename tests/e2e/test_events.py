"""Live values over HTTP with curl, beside stock MQTT clients."""

import json
import signal
import urllib.parse

import wire
from case import Case, eventually, main
from peer import Peer
from server import Server


class Events(Case):
    def follow(self, filter_, *arguments, server=None):
        url = f"http://127.0.0.1:{(server or self.server).http_port}/events?filter={urllib.parse.quote(filter_, safe='')}"
        return self.program("curl", "-sS", "-N", *arguments, url)

    @staticmethod
    def value(curl):
        while True:
            event = json.loads(curl.line("data: ")[6:])
            if "topic" in event:
                return event

    def test_the_newest_value_comes_first_and_then_what_changes(self):
        self.program("mosquitto_pub", "-p", str(self.server.mqtt_port), "-t", self.topic("a"), "-m", "21.5", "-r",
                     "-q", "1").finish()  # At QoS 0 it would not know that it is there.
        curl = self.follow(self.topic("#"))
        value = self.value(curl)
        self.assertEqual((value["topic"], value["payload"], value["retained"]), (self.topic("a"), "21.5", True))
        self.program("mosquitto_pub", "-p", str(self.server.mqtt_port), "-t", self.topic("b"), "-m", "22").finish()
        self.assertEqual(self.value(curl)["payload"], "22")

    def test_a_slow_reader_gets_the_last_value_and_not_all_before_it(self):
        curl = self.follow(self.topic("#"), "--limit-rate", "200k")
        curl.line("data: ")
        publisher = self.peer()
        count, padding = 3000, b"." * 5000
        publisher.send(*[wire.publish(self.topic("v"), b"%d " % number + padding) for number in range(1, count + 1)])
        publisher.publish(self.topic("end"), b"x", qos=1)
        received, newest = 0, 0
        while (value := self.value(curl))["topic"] != self.topic("end"):
            received, newest = received + 1, int(value["payload"].split()[0])
        if newest != count:  # the two topics take turns
            newest = int(self.value(curl)["payload"].split()[0])
        self.assertEqual(newest, count)
        self.assertLess(received, count // 2)

    def test_a_rule_may_have_every_value_sent(self):
        server = Server({"delivery": {"rules": [{"filter": "all/#", "listener": "http", "mode": "every"}]}})
        self.addCleanup(server.stop)
        count, got = 3000, {}
        # Of the second, more than the sockets hold.
        for topic, padding in (("all/v", b"." * 1000), ("newest/v", b"." * 5000)):
            curl = self.follow(topic, server=server)
            curl.line("data: ")
            curl.process.send_signal(signal.SIGSTOP)
            publisher = Peer(server.mqtt_port)
            self.addCleanup(publisher.close)
            publisher.connect()
            publisher.send(*[wire.publish(topic, b"%d " % number + padding) for number in range(count)])
            publisher.publish(topic, b"%d " % count + padding, qos=1)
            curl.process.send_signal(signal.SIGCONT)
            got[topic] = []
            while not got[topic] or got[topic][-1] != count:
                got[topic].append(int(self.value(curl)["payload"].split()[0]))
        self.assertEqual(got["all/v"], list(range(count + 1)))
        self.assertLess(len(got["newest/v"]), count)

    def test_a_stream_does_not_hold_up_the_end_of_the_server(self):
        server = Server()
        self.addCleanup(server.stop)
        curl = self.follow("#", server=server)
        curl.line("data: ")
        self.assertEqual(server.terminate(), 0)
        curl.process.wait()

    def test_nothing_is_left_of_a_reader_that_goes(self):
        curl = self.follow(self.topic("#"))
        curl.line("data: ")
        curl.stop()
        eventually(lambda: self.server.metrics()["millrace_http_event_streams"] == 0, "it is gone")
        eventually(lambda: self.server.metrics()["millrace_subscriptions"] == 0, "its subscription, too")


if __name__ == "__main__":
    main()
