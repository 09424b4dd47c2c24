"""$SYS/broker/... with a stock client."""

from case import Case, main


class SysTopics(Case):
    CONFIG = {"sys": {"interval_seconds": 1}}

    def test_a_dashboard_gets_the_figures_and_their_changes(self):
        reader = self.program("mosquitto_sub", "-p", str(self.server.mqtt_port), "-v",
                              "-t", "$SYS/broker/#")
        reader.line("$SYS/broker/version millrace version ")
        self.peer(f"{self.unique}-second")
        reader.line("$SYS/broker/clients/connected 2")
        reader.line("$SYS/broker/uptime ")

    def test_a_client_does_not_publish_there_and_each_try_is_counted(self):
        peer = self.peer()
        before = self.server.metrics()["millrace_publish_denied_total"]
        self.assertEqual(peer.publish("$SYS/broker/version", b"mine", qos=1).code, 0x90)
        peer.publish("$SYS/broker/version", b"mine", qos=0)
        self.assertEqual(self.server.metrics()["millrace_publish_denied_total"], before + 2)

    def test_only_who_asks_for_them_by_name_gets_them(self):
        everything, status = self.peer(), self.peer()
        everything.subscribe("#", "+/broker/uptime")
        status.subscribe("$SYS/broker/uptime")
        for _ in range(2):  # The retained or an already received value, and then another one.
            self.assertRegex(status.receive(topic="$SYS/broker/uptime").payload, rb"^\d+ seconds$")
        everything.expect_nothing_more()


class Silent(Case):
    CONFIG = {"sys": {"interval_seconds": 0}}

    def test_an_interval_of_zero_publishes_nothing(self):
        reader = self.peer()
        reader.subscribe("$SYS/#")
        reader.expect_nothing_more()
        self.assertEqual(self.server.metrics()["millrace_retained_messages"], 0)


if __name__ == "__main__":
    main()
