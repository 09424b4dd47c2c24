"""A network of its own: nodes that are network namespaces on one switch, made by the test and gone
with it. Its links can be cut, both ways or one way. It needs root and ip(8); nothing of the machine's own
network is touched."""

import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import threading

CLONE_NEWNET = 0x40000000
_count = itertools.count(1)


def _ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True)


def why_not():
    """Why there can be no such network on this machine; empty: there can."""
    if not shutil.which("ip"):
        return "ip(8) is not installed"
    name = f"millrace-{os.getpid()}-probe"
    made = _ip("netns", "add", name)
    if made.returncode == 0:
        made = _ip("-n", name, "link", "add", "name", "probe0", "type", "veth", "peer",
                   "name", "probe1")
        if made.returncode == 0:
            made = _ip("-n", name, "link", "add", "name", "probe2", "type", "bridge")
        _ip("netns", "del", name)
    return "" if made.returncode == 0 else f"no network namespaces: {made.stderr.strip()}"


class Loopback:
    """In place of a Network, where no link is to be cut: all nodes are this machine."""

    def close(self):
        pass

    def address(self, node):
        return "127.0.0.1"

    def inside(self, node):
        return ()

    def connect(self, node, port, host="127.0.0.1"):
        return socket.create_connection((host, port))


class Network:
    def __init__(self, *nodes):
        self._prefix = f"millrace-{os.getpid()}-{next(_count)}"
        self._switch = f"{self._prefix}-switch"
        self._numbers = {node: number for number, node in enumerate(nodes, 1)}
        self._do("netns", "add", self._switch)
        self._on(self._switch, "link", "add", "name", "switch", "type", "bridge")
        self._on(self._switch, "link", "set", "switch", "up")
        for node in nodes:
            self._add(node)

    def _add(self, node):
        name, port = self.namespace(node), self._port(node)
        self._do("netns", "add", name)
        self._on(self._switch, "link", "add", "name", port, "type", "veth", "peer", "name", "net0",
                 "netns", name)
        self._on(self._switch, "link", "set", port, "master", "switch", "up")
        self._on(name, "address", "add", f"{self.address(node)}/24", "dev", "net0")
        for device in ("lo", "net0"):
            self._on(name, "link", "set", device, "up")

    def close(self):
        for node in self._numbers:
            _ip("netns", "del", self.namespace(node))
        _ip("netns", "del", self._switch)

    @staticmethod
    def _do(*arguments):
        done = _ip(*arguments)
        if done.returncode != 0:
            raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")

    def _on(self, namespace, *arguments):
        self._do("-n", namespace, *arguments)

    def namespace(self, node):
        return f"{self._prefix}-{node}"

    def _port(self, node):
        return f"port{self._numbers[node]}"

    def address(self, node):
        return f"10.77.0.{self._numbers[node]}"

    def inside(self, node):
        """The command that runs another one there."""
        return ("ip", "netns", "exec", self.namespace(node))

    def connect(self, node, port, host="127.0.0.1"):
        """A connection that is made from there. To a server there, it is not cut with the node."""
        found = []

        def make():  # A thread has a network namespace of its own, and ends with this.
            with open(f"/run/netns/{self.namespace(node)}") as namespace:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    found.append(OSError(ctypes.get_errno(), "setns"))
                    return
            try:
                found.append(socket.create_connection((host, port)))
            except OSError as error:
                found.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if isinstance(found[0], OSError):
            raise found[0]
        return found[0]

    # ---- faults

    def cut(self, node):
        """Nothing reaches the node, and nothing leaves it."""
        self._on(self._switch, "link", "set", self._port(node), "down")

    def join(self, node):
        self._on(self._switch, "link", "set", self._port(node), "up")

    def cut_one_way(self, sender, receiver):
        """What the one sends to the other is lost; the other way it arrives."""
        self._on(self.namespace(sender), "neighbour", "replace", self.address(receiver), "lladdr",
                 "02:00:00:00:00:01", "nud", "permanent", "dev", "net0")

    def join_one_way(self, sender, receiver):
        self._on(self.namespace(sender), "neighbour", "del", self.address(receiver), "dev", "net0")
