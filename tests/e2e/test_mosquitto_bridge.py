"""mosquitto's own bridge with its default settings, towards this server: in, out and both, every QoS,
retained, after either side restarted, and with no echo."""

import time
import unittest

import wire
from case import Case, main
from mosquitto import MOSQUITTO, Mosquitto
from peer import Peer
from server import Server
from suite import EVENT_TIMEOUT_S, eventually, free_port

DIRECTIONS = ("in", "out", "both")


@unittest.skipUnless(MOSQUITTO, "mosquitto is not installed")
class Bridge(Case):
    @classmethod
    def setUpClass(cls):
        pass  # Each test restarts its server.

    def start(self, version):
        self.port = free_port()
        self.start_server()
        self.broker = Mosquitto(
            "allow_anonymous true", "connection link", f"address 127.0.0.1:{self.port}",
            f"bridge_protocol_version {version}", "restart_timeout 1",
            *(f"topic {direction}/# {direction} 2" for direction in DIRECTIONS))
        self.addCleanup(self.broker.stop)
        self.meet()

    def start_server(self):
        self.server = Server({"listeners": [
            {"name": "tcp", "port": self.port, "host": "127.0.0.1"}]})
        self.addCleanup(self.server.stop)
        self.server.mqtt_port  # Waits until it listens.

    def there(self):
        """A client of mosquitto."""
        peer = Peer(self.broker.port, 5)
        self.addCleanup(peer.close)
        peer.connect(f"there{time.monotonic_ns()}")
        return peer

    def meet(self):
        """Waits until the bridge forwards probes in both directions."""
        here, there = self.peer(), self.there()

        def passes(sender, receiver, prefix):
            topic = f"{prefix}/probe/{time.monotonic_ns()}"
            receiver.subscribe(f"{prefix}/probe/#")
            deadline = time.monotonic() + EVENT_TIMEOUT_S
            receiver.sock.settimeout(0.2)
            while time.monotonic() < deadline:
                sender.publish(topic, b"probe", qos=0)
                try:
                    if receiver.next().topic == topic:
                        receiver.sock.settimeout(EVENT_TIMEOUT_S)
                        return receiver.close()
                except AssertionError:
                    continue
            self.fail("the bridge never came up:\n" + self.broker.said()[-4000:])

        passes(self.peer(), there, "in")
        passes(self.there(), here, "out")

    def check_all(self):
        """Live messages in each direction and QoS arrive once, at the QoS of the publish."""
        here, there = self.peer(), self.there()
        for peer in (here, there):
            peer.subscribe(*[(f"{d}/live/#", 2) for d in DIRECTIONS])
        for prefix, sender, receiver in (("in", here, there), ("out", there, here),
                                         ("both", here, there), ("both", there, here)):
            for qos in (0, 1, 2):
                topic = f"{prefix}/live/{qos}"
                payload = f"{time.monotonic_ns()}".encode()
                sender.publish(topic, payload, qos=qos)
                sender.receive(topic=topic, payload=payload)  # its own copy
                receiver.receive(topic=topic, payload=payload, qos=qos)
        # No echo: the next message to arrive is the one sent now.
        for peer in (here, there):
            peer.subscribe("fence/#")
            peer.publish("fence/x", b"last", qos=1)
            peer.receive(topic="fence/x", payload=b"last")

    def check_retained(self):
        here, there = self.peer(), self.there()
        for prefix, sender, far in (("in", here, self.there), ("out", there, self.peer),
                                    ("both", here, self.there), ("both", there, self.peer)):
            topic = f"{prefix}/kept/{time.monotonic_ns()}"
            sender.publish(topic, b"kept", qos=1, retain=True)

            def arrived():
                late = far()
                late.subscribe((topic, 1))
                late.send(wire.pingreq())
                got = late.next()
                late.close()
                return got.kind == wire.PUBLISH and got.retain and got.payload == b"kept"
            eventually(arrived, f"{topic} is retained on the other side")

    def check_state(self, payload):
        watcher = self.peer()
        watcher.subscribe("$SYS/broker/connection/+/state")
        while watcher.receive().payload != payload:
            pass
        watcher.close()

    def check(self, version):
        self.start(version)
        self.check_state(b"1")
        self.check_all()
        self.check_retained()
        self.broker.end()
        self.check_state(b"0")  # its will
        self.broker.start()
        self.meet()
        self.check_all()
        self.server.stop()
        self.start_server()
        self.meet()
        self.check_all()
        self.check_retained()
        said = self.broker.said()
        for fault in ("protocol error", "unacceptable protocol version", "malformed"):
            self.assertNotIn(fault, said.lower())

    def test_in_3_1_1(self):
        self.check("mqttv311")

    def test_in_5(self):
        self.check("mqttv50")


if __name__ == "__main__":
    main()
