"""nats-server as a process, and a small client of NATS's own protocol, for tests of what is between
Millrace and NATS."""

import base64
import json
import os
import shutil
import socket

from broker_process import SERVERS, BrokerProcess
from suite import EVENT_TIMEOUT_S, free_port

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


class NatsMessage:
    def __init__(self, subject, reply, headers, payload):
        self.subject, self.reply, self.headers, self.payload = subject, reply, headers, payload


class NatsPeer:
    def __init__(self, port, **options):
        self.sock = socket.create_connection(("127.0.0.1", port), EVENT_TIMEOUT_S)
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
        while True:
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
