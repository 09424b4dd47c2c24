"""nats-server as a process, and a small client of NATS's own protocol, for tests of what is between
Millrace and NATS."""

import base64
import json
import os
import shutil
import socket
import time

from broker_process import SERVERS, BrokerProcess
from suite import EVENT_TIMEOUT_S, eventually, free_port

NATS = shutil.which("nats-server", path=SERVERS)


class NatsServer(BrokerProcess):
    """With JetStream and its own MQTT. `lines`: more of its configuration."""

    def __init__(self, *lines):
        super().__init__("nats")
        self.port, self.mqtt_port = self.ports = free_port(), free_port()
        self.file = self.path("nats.conf")
        self.command = [NATS, "-c", self.file]
        self.lines = lines
        self.write()
        self.start()

    def write(self):
        with open(self.file, "w") as out:
            out.write("\n".join([
                "server_name: test", "host: 127.0.0.1", f"port: {self.port}",
                f'jetstream {{ store_dir: "{self.path("jetstream")}" }}',
                f"mqtt {{ host: 127.0.0.1, port: {self.mqtt_port} }}", *self.lines, ""]))


class NatsNode(BrokerProcess):
    """One of a cluster, on the node of this name of a network (network.py)."""

    def __init__(self, name, net):
        super().__init__(name)
        self.net, self.host = net, net.address(name)
        self.port, self.route_port = self.ports = free_port(), free_port()
        self.command = [*net.inside(name), NATS, "-c", self.path("nats.conf")]

    def write(self, nodes):
        routes = ", ".join(f'"nats-route://{node.host}:{node.route_port}"' for node in nodes if node is not self)
        with open(self.path("nats.conf"), "w") as out:
            out.write("\n".join([
                f"server_name: {self.name}", f"host: {self.host}", f"port: {self.port}",
                'ping_interval: "1s"', f'jetstream {{ store_dir: "{self.path("jetstream")}" }}',
                f"cluster {{ name: tests, host: {self.host}, port: {self.route_port}, routes: [{routes}] }}", ""]))

    def connect(self, port):
        return self.net.connect(self.name, port, host=self.host)

    def is_at_work(self):
        """It runs, and is not stopped."""
        if self.process.poll() is not None:
            return False
        with open(f"/proc/{self.process.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "TZ"


class NatsCluster:
    """Nodes with JetStream, and what is asked of whichever of them answers."""

    def __init__(self, net, *names):
        self.nodes = {name: NatsNode(name, net) for name in names}
        self.away = set()  # names of nodes that are cut off: nobody asks them
        for node in self.nodes.values():
            node.write(self.nodes.values())

    def start(self):
        for node in self.nodes.values():
            node.start()

    def stop(self):
        for node in self.nodes.values():
            if hasattr(node, "process"):
                node.stop()

    def ask(self, subject, payload=b""):
        """The answer of JetStream, or None: it has none now."""
        for name, node in self.nodes.items():
            if name in self.away or not node.is_at_work():
                continue
            try:
                peer = NatsPeer(node.port, sock=node.connect(node.port), patience_s=1)
            except (OSError, AssertionError):
                continue
            try:
                said = peer.request(subject, payload)
                if "error" not in said:
                    return said
            except (OSError, ValueError, AssertionError):  # no answer, none with content, the node ends
                pass
            finally:
                peer.close()
        return None

    def add_stream(self, name, *subjects, **more):
        asked = json.dumps({"name": name, "subjects": subjects, "storage": "file", "retention": "limits",
                            "num_replicas": len(self.nodes), **more}).encode()
        eventually(lambda: self.ask(f"$JS.API.STREAM.CREATE.{name}", asked), f"the stream {name} is made")

    def stream(self, name):
        """What is known of it, once it has a leader."""
        def known():
            said = self.ask(f"$JS.API.STREAM.INFO.{name}")
            return said if said and said["cluster"].get("leader") else None
        return eventually(known, f"the stream {name} has a leader")

    def leader(self, name):
        return self.nodes[self.stream(name)["cluster"]["leader"]]

    def wait_until_whole(self, name):
        """Each node has all of the stream."""
        def whole():
            cluster = self.stream(name)["cluster"]
            replicas = cluster.get("replicas", [])
            return len(replicas) == len(self.nodes) - 1 and all(
                one["current"] and not one.get("offline") for one in replicas)
        eventually(whole, f"each node has all of the stream {name}")

    def messages(self, name):
        """All of a stream that nothing is written to any more: [NatsMessage]."""
        state = self.stream(name)["state"]
        found = []

        def read():
            found[:] = self._read(name)
            # A node that has not got all of it yet may have answered.
            return len(found) >= state["messages"]
        eventually(read, f"all of the stream {name} is read")
        return found

    def _read(self, name):
        node = self.leader(name)
        there = f"read.{os.urandom(8).hex()}"
        asked = json.dumps({"stream_name": name, "config": {
            "deliver_subject": there, "deliver_policy": "all", "ack_policy": "none"}}).encode()
        found, pending = [], None
        peer = NatsPeer(node.port, sock=node.connect(node.port), patience_s=10)
        try:
            peer.subscribe(there)
            made = self.ask(f"$JS.API.CONSUMER.CREATE.{name}", asked)
            while made and pending != "0":
                found.append(peer.next())
                pending = found[-1].reply.rpartition(".")[2]
        except OSError:  # It reads once more.
            pass
        finally:
            peer.close()
        return found


class NatsMessage:
    def __init__(self, subject, reply, headers, payload):
        self.subject, self.reply, self.headers, self.payload = subject, reply, headers, payload


class NatsPeer:
    def __init__(self, port, sock=None, patience_s=EVENT_TIMEOUT_S, **options):
        self.sock = sock or socket.create_connection(("127.0.0.1", port))
        self.sock.settimeout(patience_s)
        self.patience_s = patience_s
        self.file = self.sock.makefile("rb")
        assert self.file.readline().startswith(b"INFO ")
        connect = {"verbose": False, "pedantic": True, "headers": True, "no_responders": True, **options}
        self.write(f"CONNECT {json.dumps(connect)}\r\n".encode())
        self.subscriptions = 0
        self.waiting = []
        self.flush()

    def write(self, data):
        self.sock.sendall(data)

    def close(self):
        self.file.close()
        self.sock.close()

    def flush(self):
        """The server has done all that it was asked for."""
        self.write(b"PING\r\n")
        while (message := self.read()) is not None:
            self.waiting.append(message)

    def subscribe(self, subject):
        self.subscriptions += 1
        self.write(f"SUB {subject} {self.subscriptions}\r\n".encode())
        self.flush()

    def publish(self, subject, payload=b"", headers=(), reply=""):
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        reply = f" {reply}" if reply else ""
        if head:
            head = f"NATS/1.0\r\n{head}\r\n".encode()
            self.write(f"HPUB {subject}{reply} {len(head)} {len(head) + len(payload)}\r\n".encode()
                       + head + payload + b"\r\n")
        else:
            self.write(f"PUB {subject}{reply} {len(payload)}\r\n".encode() + payload + b"\r\n")
        self.flush()

    def read(self):
        """The next message; None: a PONG."""
        end = time.monotonic() + self.patience_s
        while True:
            if time.monotonic() > end:  # Its PINGs come all the time.
                raise TimeoutError("nats-server has no answer")
            words = self.file.readline().decode().split()
            if not words or words[0] == "-ERR":
                raise AssertionError(f"nats-server says {words}")
            if words[0] == "PING":
                self.write(b"PONG\r\n")
            elif words[0] == "PONG":
                return None
            elif words[0] in ("MSG", "HMSG"):
                sizes = 1 if words[0] == "MSG" else 2
                total = int(words[-1])
                head = int(words[-2]) if sizes == 2 else 0
                data = self.file.read(total)
                self.file.readline()
                lines = data[:head].decode().split("\r\n")[1:]
                headers = [tuple(line.split(": ", 1)) for line in lines if ": " in line]
                names = words[1:len(words) - sizes]
                return NatsMessage(names[0], names[2] if len(names) > 2 else "", headers, data[head:])

    def next(self):
        if self.waiting:
            return self.waiting.pop(0)
        while (message := self.read()) is None:
            pass
        return message

    def request(self, subject, payload):
        inbox = f"_INBOX.{os.urandom(8).hex()}"
        self.subscribe(inbox)
        self.publish(subject, payload, reply=inbox)
        return json.loads(self.next().payload)

    def add_stream(self, name, *subjects, **more):
        said = self.request(f"$JS.API.STREAM.CREATE.{name}", json.dumps(
            {"name": name, "subjects": subjects, "storage": "file", "retention": "limits",
             "num_replicas": 1, **more}).encode())
        assert "error" not in said, said

    def stream_messages(self, name):
        return self.request(f"$JS.API.STREAM.INFO.{name}", b"")["state"]["messages"]

    def last_of(self, name, subject):
        said = self.request(f"$JS.API.STREAM.MSG.GET.{name}", json.dumps({"last_by_subj": subject}).encode())
        return base64.b64decode(said["message"].get("data", ""))
