"""Three edges in front of a NATS cluster of three nodes, each with all of a JetStream stream, while nodes
and an edge are killed, nodes stand still and links are cut: a history of all that was published and
delivered is kept, the stream is read back, and both are held against each other (tests/peer/history.py).

By `ack: upstream` an acknowledgement means that the stream has the message: the stream is a reader that
misses nothing. What comes in from NATS is QoS 0: clients at the edges may miss what crosses during a
fault, but get it in order, and nothing comes back to where it was published.

A case takes some twenty seconds; most are tried only with MILLRACE_HEAVY_TESTS=1 in the environment."""

import os
import re
import signal
import unittest

import network
from fault_case import Faults
from nats import NATS, NatsCluster
from server import Server
from suite import main

WHY_NOT = network.why_not()
NODES = ("n1", "n2", "n3")
EDGES = ("one", "two", "three")
STREAM = "D"

heavy = unittest.skipUnless(os.environ.get("MILLRACE_HEAVY_TESTS") == "1", "MILLRACE_HEAVY_TESTS is not set")


class Edges(Faults):
    """Each edge has another node first among its addresses."""

    def setUp(self):
        self.net = self.make_network()
        self.addCleanup(self.net.close)
        self.start_history()
        self.cluster = NatsCluster(self.net, *NODES)
        self.addCleanup(self.cluster.stop)
        self.cluster.start()
        self.cluster.add_stream(STREAM, "d.>")
        self.edges = {}
        for node in EDGES:
            self.start_edge(node)
        for node in EDGES:
            self.read_at(node, may_miss=True, comes_back=True)
        for node in EDGES:
            self.write_at(node, 0, comes_back=True)
            self.write_at(node, 1, topics=10, comes_back=True)
            self.write_at(node, 2, recorded_qos=1, comes_back=True)  # 1 from the link on
        self.wait_for_all()

    def make_network(self):
        return network.Loopback()

    def start_edge(self, node):
        first = EDGES.index(node)
        nodes = [self.cluster.nodes[name] for name in NODES[first:] + NODES[:first]]
        edge = Server({"listeners": [{"name": "tcp", "port": 0}], "upstreams": [{
            "name": "cluster", "type": "nats",
            "addresses": [f"nats://{one.host}:{one.port}" for one in nodes],
            "keep_alive_seconds": 5, "retry_max_seconds": 1,
            "rules": [{"direction": "both", "filter": "d/#", "jetstream": True, "ack": "upstream"}]}]},
            inside=self.net.inside(node))
        self.addCleanup(edge.stop)
        self.edges[node] = edge
        edge.wait_for_log(r"upstream.up ")

    def write_ahead(self):
        """At each edge, ten messages of one topic are on their way at a time: nothing else says in which order they
        are to stand in the stream."""
        for node in EDGES:
            self.write_at(node, 1, ahead=10, comes_back=True)
        self.wait_for_all()

    # ---- what is waited for

    def node_of(self, edge, since=0):
        """The node that an edge is connected to, by its log from that line on: it may have been elsewhere before."""
        up = r"upstream.up .*address=\S+:(\d+)"
        self.edges[edge].wait_for_log(up, since)
        port = int([found[1] for line in self.edges[edge].lines[since:] if (found := re.search(up, line))][-1])
        [name] = [name for name, node in self.cluster.nodes.items() if node.port == port]
        return name

    def edge_of(self, node):
        [edge] = [edge for edge in EDGES if self.node_of(edge) == node]
        return edge

    def follower(self):
        """A node that is not the stream's leader."""
        leader = self.cluster.leader(STREAM).name
        return self.cluster.nodes[next(name for name in NODES if name != leader)]

    def wait_until_elsewhere(self, edge, seen, before):
        self.edges[edge].wait_for_log(r"upstream.down ", seen)
        self.assertNotEqual(self.node_of(edge, seen), before)

    def come_to_rest(self, **options):
        self.wait_for_all()
        self.end_writers()
        self.history.reader("stream")
        for message in self.cluster.messages(STREAM):
            self.history.delivered("stream", message.subject.replace(".", "/"), message.payload)
        super().come_to_rest(**options)


@unittest.skipUnless(NATS, "nats-server is not installed")
class Nodes(Edges, unittest.TestCase):
    def lose(self, node):
        """Its edge goes on by another address; then the node is back."""
        edge = self.edge_of(node.name)
        seen = self.lines()[edge]
        node.end()
        self.wait_until_elsewhere(edge, seen, node.name)
        for each in EDGES:
            self.wait_for_writers(each)
        node.start()
        self.cluster.wait_until_whole(STREAM)
        self.come_to_rest()

    @heavy
    def test_a_node_is_killed(self):
        self.lose(self.follower())

    def test_the_leader_is_killed(self):
        self.write_ahead()
        self.lose(self.cluster.leader(STREAM))

    def stop(self, node):
        """It stands still until its edge has gone elsewhere; then it goes on."""
        edge = self.edge_of(node.name)
        seen = self.lines()[edge]
        node.process.send_signal(signal.SIGSTOP)
        try:
            self.wait_until_elsewhere(edge, seen, node.name)
            for each in EDGES:
                self.wait_for_writers(each)
        finally:
            node.process.send_signal(signal.SIGCONT)
        self.cluster.wait_until_whole(STREAM)
        # Then it passes on what its edge had given it before, and the edge, which is another's client now, gets it
        # like anybody.
        self.come_to_rest(strays=True)

    @heavy
    def test_a_node_stands_still(self):
        self.stop(self.follower())

    @heavy
    def test_the_leader_stands_still(self):
        self.write_ahead()
        self.stop(self.cluster.leader(STREAM))

    @heavy
    def test_an_edge_is_killed(self):
        edge = self.edges["two"]
        edge.process.kill()
        edge.process.wait()
        for each in ("one", "three"):
            self.wait_for_writers(each)
        self.start_edge("two")  # Its clients come back, and publish again what had no answer.
        for each in EDGES:
            self.wait_for_writers(each)
        self.come_to_rest()


@unittest.skipIf(WHY_NOT, WHY_NOT)
@unittest.skipUnless(NATS, "nats-server is not installed")
class Links(Edges, unittest.TestCase):
    def make_network(self):
        return network.Network(*NODES, *EDGES)

    def test_a_link_flaps(self):
        for _ in range(20):
            self.net.cut("two")
            self.wait_for_writers("one", count=1)
            self.net.join("two")
            self.wait_for_writers("two", count=1)
        self.come_to_rest()

    @heavy
    def test_the_leader_is_cut_off(self):
        """Its edge goes on by another address; then it is among the others again."""
        self.write_ahead()
        node = self.cluster.leader(STREAM)
        edge = self.edge_of(node.name)
        seen = self.lines()[edge]
        self.cluster.away.add(node.name)
        self.net.cut(node.name)
        self.wait_until_elsewhere(edge, seen, node.name)
        for each in EDGES:
            self.wait_for_writers(each)
        self.net.join(node.name)
        self.cluster.away.clear()
        self.cluster.wait_until_whole(STREAM)
        self.come_to_rest()


if __name__ == "__main__":
    main()
