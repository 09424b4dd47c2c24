"""docker/compose.nats.yaml, a NATS cluster of three nodes and two edges: what the files say holds together; and what
they mount is run with the real programs, in network namespaces."""

import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import network
from composed import Composed, parsed
from image import ROOT, run
from nats import NATS, NatsPeer
from peer import Peer
from server import Server, binary
from suite import eventually, main

WHY_NOT = network.why_not()


class ComposeNats(Composed, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        compose = parsed("docker/compose.nats.yaml")
        cls.services, cls.volumes = compose["services"], compose["volumes"]
        cls.nodes = [name for name, service in cls.services.items() if "/nats:" in service["image"]]
        cls.edges = [name for name, service in cls.services.items() if service["image"] == "millrace"]
        text = (ROOT / "docker" / "edge.json").read_text()
        cls.edge = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.M))

    def test_each_node_has_its_name_and_its_volume(self):
        self.assertEqual(len(self.nodes), 3)
        for name in self.nodes:
            service = self.services[name]
            self.assertEqual(service["command"], ["--config", "/etc/nats/nats.conf", "--name", name])
            self.assertEqual(service["volumes"], ["./nats.conf:/etc/nats/nats.conf:ro", f"{name}:/data"])

    def test_everybody_knows_all_nodes(self):
        text = (ROOT / "docker" / "nats.conf").read_text()
        self.assertEqual(re.findall(r"nats-route://(\w+):6222", text), self.nodes)
        self.assertIn("store_dir: /data\n", text)
        addresses = [f"nats://{name}:4222" for name in self.nodes]
        [upstream] = self.edge["upstreams"]
        self.assertEqual(upstream["addresses"], addresses)
        self.assertEqual(self.services["stream"]["entrypoint"], ["nats", "--server", ",".join(addresses)])

    def test_the_edges_differ_in_their_ports_alone(self):
        one, two = ({**self.services[name], "ports": None} for name in self.edges)
        self.assertEqual(one, two)
        self.assertEqual(one["volumes"], ["./edge.json:/etc/millrace/millrace.json:ro"])
        self.assertEqual(self.edge["http"]["hosts"], self.edges)
        inside = {str(self.edge["http"]["port"]), *(str(listener["port"]) for listener in self.edge["listeners"])}
        for name in self.edges:
            self.assertEqual({port.rpartition(":")[2] for port in self.services[name]["ports"]}, inside)

    def test_the_stream_is_that_of_the_rule(self):
        self.assertEqual(self.services["stream"]["restart"], "on-failure")
        [rule] = [rule for rule in self.edge["upstreams"][0]["rules"] if rule.get("jetstream")]
        [top, rest] = rule["filter"].split("/")
        self.assertEqual(rest, "#")
        self.assertEqual(self.stream(), (top, [top, f"{top}.>"], len(self.nodes)))

    def stream(self):
        """Its name, subjects and replicas."""
        verb, noun, name, *options = self.services["stream"]["command"]
        self.assertEqual((verb, noun, options.pop()), ("stream", "add", "--defaults"))
        options = dict(zip(options[::2], options[1::2]))
        return name, options["--subjects"].split(","), int(options["--replicas"])

    def test_the_programs_take_the_files(self):
        self.assertIn("the configuration is valid",
                      run(binary(), "check", "--config", ROOT / "docker" / "edge.json"))
        if not NATS:
            self.skipTest("nats-server is not installed")
        run(NATS, "-t", "--config", ROOT / "docker" / "nats.conf", "--name", self.nodes[0])

    @unittest.skipUnless(NATS, "nats-server is not installed")
    @unittest.skipIf(WHY_NOT, WHY_NOT)
    def test_the_cluster_and_its_edges_work(self):
        net = network.Network(*self.nodes, *self.edges)
        self.addCleanup(net.close)
        folder = tempfile.TemporaryDirectory(prefix="millrace-compose-")
        self.addCleanup(folder.cleanup)
        hosts = Path(folder.name) / "hosts"
        hosts.write_text("".join(f"{net.address(name)} {name}\n" for name in (*self.nodes, *self.edges)))
        # `ip netns exec` gives each a view of its own of what is mounted.
        named = ("sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts))
        for name in self.nodes:
            file = Path(folder.name) / f"{name}.conf"
            file.write_text((ROOT / "docker" / "nats.conf").read_text().replace("/data", f"{folder.name}/{name}"))
            command = [NATS, "--config", str(file), *self.services[name]["command"][2:]]
            process = subprocess.Popen([*net.inside(name), *named, *command], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
        self.make_stream(net)
        one, two = (self.connect(net, name, named) for name in self.edges)
        two.subscribe("sensors/#", "orders/#")

        def crosses():  # The rules have no demand: they stand soon after the link is up.
            one.publish("sensors/kitchen", b"21.5")
            two.sock.settimeout(0.2)
            try:
                return two.next().payload == b"21.5"
            except AssertionError:
                return False
        eventually(crosses, "what is published at the one edge is read at the other")
        two.sock.settimeout(60)
        self.assertEqual(one.publish("orders/1", b"two of them", qos=1).code, 0)
        while two.next().topic != "orders/1":
            pass

    def make_stream(self, net):
        name, subjects, replicas = self.stream()

        def made():
            try:
                admin = NatsPeer(4222, sock=net.connect(self.nodes[0], 4222), patience_s=1)
            except OSError:
                return False
            try:
                admin.add_stream(name, *subjects, num_replicas=replicas)
                return True
            except (OSError, ValueError, AssertionError):
                return False  # It has no leader yet.
            finally:
                admin.close()
        eventually(made, "the stream is made")

    def connect(self, net, name, named):
        edge = Server(self.edge, inside=(*net.inside(name), *named))
        self.addCleanup(edge.stop)
        edge.wait_for_log(r'"upstream\.up"')
        peer = Peer(0, sock=net.connect(name, self.edge["listeners"][0]["port"]))
        self.addCleanup(peer.close)
        peer.connect(name)
        return peer


if __name__ == "__main__":
    main()
