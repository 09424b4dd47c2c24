"""docs/upstreams.md: what it shows crosses the link as it says."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from case import main
from mosquitto import MOSQUITTO, Mosquitto
from suite import eventually, free_port
from upstream_case import Edges, Relay, make_certificate

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "upstreams.md"


@unittest.skipUnless(MOSQUITTO, "mosquitto is not installed")
class OfThePage(Edges):
    """Each configuration runs as it stands there, but for where the broker is."""

    def configuration(self, name, *addresses, **more):
        for text in re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
            (upstream,) = json.loads(text)["upstreams"]
            if upstream["name"] == name:
                return {**upstream, "addresses": list(addresses), **more}
        raise AssertionError(f"{PAGE} has no upstream {name}")

    def crosses(self, sender_port, topic, receiver_port, filter, qos=1):
        receiver = self.client(receiver_port)
        receiver.subscribe((filter, qos))
        self.client(sender_port).publish(topic, b"1", qos=1)
        receiver.receive(topic=filter, payload=b"1", qos=qos)

    def test_in_front_of_a_broker(self):
        broker = Mosquitto("allow_anonymous true")
        self.addCleanup(broker.stop)
        edge = self.edge(self.configuration("hq", f"mqtt://127.0.0.1:{broker.port}"))
        self.meet(broker.port, edge.mqtt_port, "commands", "site7/")
        self.crosses(edge.mqtt_port, "sensors/kitchen/temperature", broker.port,
                     "site7/sensors/kitchen/temperature")
        self.crosses(broker.port, "site7/commands/door", edge.mqtt_port, "commands/door")

    def test_over_the_internet(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-upstream-")
        self.addCleanup(folder.cleanup)
        certificate, key = make_certificate(folder.name, "broker.example")
        users, password = (os.path.join(folder.name, name) for name in ("users", "password"))
        for path, text in ((users, "site7:the password\n"), (password, "the password\n")):
            with open(path, "w") as out:
                out.write(text)
        subprocess.run(["mosquitto_passwd", "-U", users], check=True)
        broker = Mosquitto(f"certfile {certificate}", f"keyfile {key}", f"password_file {users}",
                           "allow_anonymous true")
        self.addCleanup(broker.stop)
        plain = free_port()
        edge = self.edge(self.configuration(
            "cloud", f"mqtts://127.0.0.1:{plain}", f"mqtts://127.0.0.1:{broker.port}",
            password_file=password, tls={"ca_file": certificate, "server_name": "broker.example"}))
        self.wait_until_up(edge, "cloud")
        eventually(lambda: "site7" in broker.said() and "plant/#" in broker.said(),
                   "it came with its name, and subscribed")
        edge.wait_for_log(rf"upstream.unreachable .*{plain}")

    def test_two_sites_over_a_slow_link(self):
        core = self.edge()
        relay = Relay(core.mqtt_port, bytes_per_second=400_000)
        self.addCleanup(relay.stop)
        edge = self.edge(self.configuration("ship", f"mqtt://127.0.0.1:{relay.port}"))
        self.meet(core.mqtt_port, edge.mqtt_port, "orders")
        watcher = self.client(core.mqtt_port)
        watcher.subscribe(("telemetry/speed", 1), ("alarms/#", 1))
        publisher = self.client(edge.mqtt_port)
        for i in range(100):
            publisher.publish("telemetry/speed", str(i).encode(), qos=1)
            publisher.publish("alarms/fire", str(i).encode(), qos=2)
        speeds, alarms = [], []
        while len(alarms) < 100 or speeds[-1:] != [99]:
            got = watcher.receive()
            (speeds if got.topic.startswith("telemetry") else alarms).append(int(got.payload))
        self.assertEqual(alarms, list(range(100)), "each alarm, in order")
        self.assertEqual(speeds, sorted(speeds), "never an older value")
        self.assertLess(len(speeds), 100, "twice a second at most")


if __name__ == "__main__":
    main()
