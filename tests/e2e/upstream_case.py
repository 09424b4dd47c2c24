"""What the tests of upstreams share: servers with links, clients of either side, and a relay that a link
goes through."""

import itertools
import os
import socket
import threading
import time

import wire
from case import Case
from certificate import self_signed
from peer import Peer
from server import Server
from suite import EVENT_TIMEOUT_S, eventually, free_port

_unique = itertools.count(1)


def rule(direction, filter="#", **more):
    # What comes in is there whether anybody has subscribed yet or not, but where the test says else.
    always = {"demand": False} if direction == "in" else {}
    return {"direction": direction, "filter": filter, **always, **more}


ALL_WAYS = [rule("in", "in/#"), rule("out", "out/#"), rule("both", "both/#")]


class Edges(Case):
    """Servers with upstreams, and clients of either side."""

    @classmethod
    def setUpClass(cls):
        pass  # Each test starts its own.

    def edge(self, *upstreams, port=0, **config):
        server = Server({"listeners": [{"name": "tcp", "port": port}], "upstreams": [
            {"retry_max_seconds": 1, **upstream} for upstream in upstreams], **config})
        self.addCleanup(server.stop)
        server.mqtt_port  # Waits until it listens.
        return server

    def upstream(self, port, rules, name="north", scheme="mqtt", host="127.0.0.1", **more):
        return {"name": name, "addresses": f"{scheme}://{host}:{port}", "rules": rules, **more}

    def client(self, port, version=5, **options):
        peer = Peer(port, version)
        self.addCleanup(peer.close)
        peer.connect(f"{self.unique}n{next(_unique)}", **options)
        return peer

    def wait_until_up(self, edge, name="north", up=1):
        metric = f'millrace_upstream_up{{upstream="{name}"}}'
        eventually(lambda: edge.metrics().get(metric) == up, f"{name} is {'up' if up else 'down'}")

    def meet(self, sender_port, receiver_port, prefix, there="", version=5):
        """Waits until what is published there arrives here: the subscriptions of the link stand. `version`: that of
        the sender."""
        receiver = self.client(receiver_port)
        receiver.subscribe(f"{prefix}/meet/#")
        receiver.sock.settimeout(0.2)
        sender = self.client(sender_port, version)
        end = time.monotonic() + EVENT_TIMEOUT_S
        while time.monotonic() < end:
            sender.publish(f"{there}{prefix}/meet/{next(_unique)}", b"")
            try:
                if receiver.next().kind == wire.PUBLISH:
                    receiver.close()
                    return sender.close()
            except AssertionError:
                continue
        raise AssertionError(f"nothing crosses below {prefix}")

    def meet_all_ways(self, here, there):
        self.meet(there, here, "in")
        self.meet(here, there, "out")
        self.meet(here, there, "both")
        self.meet(there, here, "both")

    def check_live(self, here_port, there_port):
        """A message in each direction and QoS arrives once, at its QoS, and does not come back."""
        here, there = self.client(here_port), self.client(there_port)
        watch = [(f"{way}/live/#", 2) for way in ("in", "out", "both")]
        for peer in (here, there):
            peer.subscribe(*watch)
        for prefix, sender, receiver in (("in", there, here), ("out", here, there),
                                         ("both", here, there), ("both", there, here)):
            for qos in (0, 1, 2):
                topic = f"{prefix}/live/{qos}"
                payload = f"{next(_unique)}".encode()
                sender.publish(topic, payload, qos=qos)
                sender.receive(topic=topic, payload=payload)  # its own copy
                receiver.receive(topic=topic, payload=payload, qos=qos)
        # No echo: by way of the other side, and back, the next to arrive is the one sent now.
        here.subscribe(("both/fence", 1))
        there.publish("both/fence", b"", qos=1)
        here.receive(topic="both/fence")
        there.subscribe(("out/fence", 1))
        here.publish("out/fence", b"", qos=1)
        there.receive(topic="out/fence")
        here.close()
        there.close()

    def check_retained(self, here_port, there_port):
        for prefix, sender, receiver in (("in", there_port, here_port), ("out", here_port, there_port),
                                         ("both", here_port, there_port)):
            topic = f"{prefix}/kept/{next(_unique)}"
            publisher = self.client(sender)
            publisher.publish(topic, b"kept", qos=1, retain=True)
            publisher.close()

            def arrived():
                late = self.client(receiver)
                late.subscribe((topic, 1))
                late.send(wire.pingreq())
                got = late.next()
                late.close()
                return got.kind == wire.PUBLISH and got.retain and got.payload == b"kept"
            eventually(arrived, f"{topic} is retained on the other side")


class Relay:
    """Between a link and its upstream. cut() ends the connections that pass through; hold() carries
    nothing any more, `up` towards the upstream or `down` from it, and lets nobody know."""

    def __init__(self, port, bytes_per_second=None):
        self.target = port
        self.rate = bytes_per_second
        self.held = {"up": threading.Event(), "down": threading.Event()}
        self.let_go()
        self.open = []
        self.lock = threading.Lock()
        self.port = free_port()
        self.up()

    def up(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def down(self):
        # Else the thread that waits in it keeps it open.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()

    def accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            with self.lock:
                self.open += [near, far]
            if self.rate:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            for way, source, sink in (("up", near, far), ("down", far, near)):
                threading.Thread(target=self.pass_on, args=(way, source, sink), daemon=True).start()

    def hold(self, *ways):
        for way in ways:
            self.held[way].clear()

    def let_go(self):
        for passes in self.held.values():
            passes.set()

    def pass_on(self, way, source, sink):
        passes = self.held[way]
        try:
            while data := source.recv(8192):
                passes.wait()
                sink.sendall(data)
                if self.rate:
                    time.sleep(len(data) / self.rate)
        except OSError:
            pass
        for end in (source, sink):
            self.end(end)

    @staticmethod
    def end(end):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()

    def cut(self):
        with self.lock:
            ends, self.open = self.open, []
        for end in ends:
            self.end(end)

    def stop(self):
        self.down()


def make_certificate(folder, name):
    paths = [os.path.join(folder, name + end) for end in (".pem", ".key")]
    self_signed(*paths, name, f"DNS:{name}")
    return paths
