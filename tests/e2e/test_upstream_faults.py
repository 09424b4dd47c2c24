"""Three edges in front of one broker, in a network of the test's own, while links are cut, flap and
carry one way, and an edge is killed: a history of all that was published and delivered is kept, and
read at the end (tests/peer/history.py)."""

import itertools
import os
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import network
import wire
from history import History
from mosquitto import MOSQUITTO
from peer import Peer
from server import Server
from suite import eventually, main

WHY_NOT = network.why_not()
PORT = 1883
EDGES = ("one", "two", "three")
_unique = itertools.count(1)


class Mosquitto:
    def __init__(self, inside):
        self.folder = tempfile.TemporaryDirectory(prefix="millrace-faults-")
        file = os.path.join(self.folder.name, "mosquitto.conf")
        with open(file, "w") as out:
            out.write(f"listener {PORT}\nallow_anonymous true\nuser root\nmax_queued_messages 0\n")
        self.process = subprocess.Popen([*inside, MOSQUITTO, "-c", file],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def serve(inside, **config):
    """A server of this program there, for everybody."""
    return Server({"listeners": [{"name": "tcp", "host": "0.0.0.0", "port": PORT}],
                   "access": {"allow_anonymous": True}, **config}, inside=inside)


class Client:
    """A thread that speaks MQTT. What it runs into is kept for the test."""

    def __init__(self, net, node, work):
        self.name = f"{node}{next(_unique)}"
        self.peer = Peer(0, sock=net.connect(node, PORT))
        self.peer.sock.settimeout(None)
        self.peer.connect(self.name)
        self.is_over = False
        self.fault = None
        self.thread = threading.Thread(target=self.run, args=(work,), daemon=True)

    def run(self, work):
        try:
            work(self)
        except Exception as error:
            self.fault = error

    def end(self):
        """Its connection ends; what it ran into is nobody's fault."""
        self.is_over = True
        try:
            self.peer.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.thread.join()
        self.peer.close()


class Faults:
    """What is the same whatever the broker behind the edges is."""

    def setUp(self):
        self.net = network.Network("core", *EDGES)
        self.addCleanup(self.net.close)
        self.history = History()
        self.readers, self.writers = {}, []
        self.core = self.start_core(self.net.inside("core"))
        self.addCleanup(self.core.stop)
        self.edges = {}
        for node in EDGES:
            self.start_edge(node)
        for node in EDGES:
            self.read_at(node)
        for node in EDGES:
            for qos in (0, 1, 2):
                self.write_at(node, qos)
        self.wait_for_all()

    # ---- what runs

    def start_edge(self, node):
        edge = serve(self.net.inside(node), upstreams=[{
            "name": "core", "addresses": f"mqtt://{self.net.address('core')}:{PORT}",
            "client_id": node, "keep_alive_seconds": 5, "retry_max_seconds": 1,
            "rules": [{"direction": "both", "filter": "d/#"}]}])
        self.addCleanup(edge.stop)
        self.edges[node] = edge
        edge.wait_for_log(r"upstream.up ")

    def read_at(self, node):
        client = Client(self.net, node, self.read)
        self.readers[node] = client
        self.addCleanup(client.end)
        client.peer.subscribe(("d/#", 2))
        self.history.reader(client.name)
        client.thread.start()

    def read(self, client):
        answers = {wire.PUBREL: wire.PUBCOMP}
        while (got := client.peer.next()) is not None:
            if got.kind != wire.PUBLISH:
                client.peer.send(wire.ack(answers[got.kind], got.pid))
                continue
            self.history.delivered(client.name, got.topic, got.payload)
            if got.qos > 0:
                client.peer.send(wire.ack(wire.PUBACK if got.qos == 1 else wire.PUBREC, got.pid))

    def write_at(self, node, qos):
        client = Client(self.net, node, lambda client: self.write(client, qos))
        self.addCleanup(client.end)
        self.writers.append(client)
        client.thread.start()

    def write(self, client, qos):
        topic = f"d/{client.name}/{qos}"
        while not client.is_over:
            payload = self.history.publish(client.name, topic, qos)
            answer = client.peer.publish(topic, payload, qos=qos)
            if qos == 0 or answer.code < 0x80:
                self.history.acknowledged(payload)
            time.sleep(0.05)  # The volume is not what is tried here.

    # ---- what is waited for

    def wait_for_all(self):
        """Each reader gets something new of each writer."""
        marks = {writer.name: self.history.count_of_acknowledged(writer.name)
                 for writer in self.writers}
        for writer in self.writers:
            eventually(lambda: self.history.count_of_acknowledged(writer.name)
                       > marks[writer.name] + 5, "it writes on")
        writers = {writer.name for writer in self.writers}
        for reader in self.readers.values():
            eventually(lambda: writers <= self.history.publishers_at(reader.name),
                       f"everything arrives at {reader.name}")

    def wait_for_writers(self, node, count=10):
        for writer in self.writers:
            if writer.name.startswith(node):
                before = self.history.count_of_acknowledged(writer.name)
                eventually(lambda: self.history.count_of_acknowledged(writer.name)
                           >= before + count, f"{writer.name} writes on")

    def wait_until_down(self, node, seen):
        self.edges[node].wait_for_log(r"upstream.down ", seen)
        self.wait_for_writers(node)  # They notice nothing.

    def lines(self):
        return {node: len(edge.lines) for node, edge in self.edges.items()}

    def come_to_rest(self, of=None):
        """Ends the writers, waits until all that must not be lost has arrived, and reads the history."""
        for writer in self.writers:
            writer.is_over = True
            writer.thread.join()
            self.assertIsNone(writer.fault, writer.name)
        eventually(lambda: not self.history.missing(of=of), "what was acknowledged arrives")
        self.assertEqual(self.history.faults(of=of), [])
        for reader in self.readers.values():
            self.assertIsNone(reader.fault, reader.name)

    # ---- the faults

    def test_a_link_is_cut(self):
        seen = self.lines()
        self.net.cut("one")
        self.wait_until_down("one", seen["one"])
        self.net.join("one")
        self.edges["one"].wait_for_log(r"upstream.up ", seen["one"])
        self.wait_for_all()
        self.come_to_rest()

    def test_a_link_carries_one_way(self):
        for sender, receiver in (("one", "core"), ("core", "one")):
            seen = self.lines()
            self.net.cut_one_way(sender, receiver)
            self.wait_until_down("one", seen["one"])
            self.net.join_one_way(sender, receiver)
            self.edges["one"].wait_for_log(r"upstream.up ", seen["one"])
        self.wait_for_all()
        self.come_to_rest()

    def test_a_link_flaps(self):
        for _ in range(100):
            self.net.cut("two")
            self.wait_for_writers("two", count=1)
            self.net.join("two")
            self.wait_for_writers("one", count=1)
        self.wait_for_all()
        self.come_to_rest()

    def test_an_edge_is_killed(self):
        self.edges["three"].process.kill()
        self.edges["three"].process.wait()
        lost = [writer for writer in self.writers if writer.name.startswith("three")]
        reader = self.readers.pop("three")
        for client in (reader, *lost):
            client.end()
        self.history.reader_ends(reader.name)
        self.writers = [writer for writer in self.writers if writer not in lost]
        # What waited there is lost with it; what the others wrote is not.
        kept = {writer.name for writer in self.writers}
        self.wait_for_writers("one")
        self.start_edge("three")
        self.wait_for_writers("two")
        self.come_to_rest(of=kept)


@unittest.skipIf(WHY_NOT, WHY_NOT)
@unittest.skipUnless(MOSQUITTO, "mosquitto is not installed")
class BesideMosquitto(Faults, unittest.TestCase):
    def start_core(self, inside):
        return Mosquitto(inside)


@unittest.skipIf(WHY_NOT, WHY_NOT)
class BesideMillrace(Faults, unittest.TestCase):
    def start_core(self, inside):
        core = serve(inside)
        core.mqtt_port  # Waits until it listens.
        return core


if __name__ == "__main__":
    main()
