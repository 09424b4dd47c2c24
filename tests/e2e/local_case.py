"""The base class of the tests of local readers and publishers: a server with a control socket, and that
socket's wire format, to send requests that the client library never sends."""

import array
import mmap
import os
import re
import socket
import struct
import sys

from case import EVENT_TIMEOUT_S, Case, eventually

BINARY = os.environ["SERVER_BINARY"]
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILD = os.path.join(os.path.dirname(os.path.abspath(BINARY)), "..")
os.environ["LIBMILLRACE_LOCAL"] = os.path.join(BUILD, "lib", "libmillrace-local.so.0")
sys.path.insert(0, os.path.join(ROOT, "core", "shm", "python"))

# core/shm/wire/bytes.hpp, core/shm/wire/wire.hpp
ATTACH, MAPPED, PUBLISHER_RING, TABLE = 2, 3, 4, 5
ATTACHED, REFUSED, EVICTED, PUBLISHER_RING_OPENED = 0x82, 0x83, 0x84, 0x87
WAKE_UP = b"\x01"
LOSSY, LOSSLESS = 0, 1
MALFORMED, NOT_ALLOWED, LIMIT_REACHED = 1, 3, 4  # Refusal
BAD_POSITION = 3  # Eviction

# core/shm/ring/layout.hpp
VERSION = 2  # layout_version
PAGE = 4096
POSITION_AT = 128  # PositionPage
TAIL_AT = 128  # PublisherRingHeader


def text(value):
    return struct.pack("<H", len(value)) + value.encode()


def frame(topic, payload):
    """A message as a frame of a ring or a publisher ring."""
    head = struct.pack("<IHBBQQ", len(payload), len(topic), 0, 0, 1, 0)
    size = (24 + len(topic) + len(payload) + 7) // 8 * 8
    return (head + topic.encode() + payload).ljust(size, b"\0")


def attach_body(filter, policy=LOSSY):
    """Start now, no wake pipe, one filter, no name, no predecessors."""
    return struct.pack("<BBBH", policy, 0, 0, 1) + text(filter) + text("") + b"\0\0"


def writable(descriptor, size=PAGE):
    return mmap.mmap(descriptor, size, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def writable_publisher_ring(control):
    return writable(control.descriptors[0], os.fstat(control.descriptors[0]).st_size)


class ControlSocket:
    """One connection to the control socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(EVENT_TIMEOUT_S)
        self.socket.connect(path)
        self.descriptors = []

    def request(self, kind, body=b""):
        self.socket.sendall(struct.pack("<BBHI", kind, VERSION, 0, len(body)) + body)

    def ask_for_ring(self, filter, policy=LOSSY):
        self.request(ATTACH, attach_body(filter, policy))

    def attach(self, filter="#", policy=LOSSY):
        self.ask_for_ring(filter, policy)
        return self.expect(ATTACHED)

    def _receive(self, count):
        data = b""
        while len(data) < count:
            part, ancillary, _, _ = self.socket.recvmsg(count - len(data),
                                                        socket.CMSG_SPACE(24 * 4))
            for _, _, content in ancillary:
                received = array.array("i")
                received.frombytes(content)
                self.descriptors.extend(received)
            if not part:
                return None
            data += part
        return data

    def reply(self):
        """(type, body); None at the end of the connection."""
        head = self._receive(8)
        if head is None:
            return None
        kind, _, _, length = struct.unpack("<BBHI", head)
        return kind, self._receive(length) if length else b""

    def expect(self, kind):
        reply = self.reply()
        if reply is None or reply[0] != kind:
            raise AssertionError(f"expected {kind:#x}, got {reply}")
        return reply[1]

    def expect_refusal(self, reason):
        got = struct.unpack_from("<H", self.expect(REFUSED))[0]
        if got != reason:
            raise AssertionError(f"refused for {got}, not {reason}")

    def close(self):
        self.socket.close()
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []


class LocalCase(Case):
    """A server with LOCAL under `local` in its configuration, a socket in a temporary folder, and
    the keys of OTHERS."""

    LOCAL = {}
    OTHERS = {}

    @classmethod
    def setUpClass(cls):
        cls.make_folder()
        cls.socket = os.path.join(cls.folder.name, "local.sock")
        cls.CONFIG = {"local": {"socket": cls.socket, **cls.LOCAL}, **cls.OTHERS}
        super().setUpClass()
        cls.server.wait_for_log(r"listening.*listener=local")

    def control(self):
        control = ControlSocket(self.socket)
        self.addCleanup(control.close)
        return control

    def tap(self, *words):
        tap = self.program(BINARY, "tap", "--socket", self.socket, *words)
        tap.line("millrace: attached")
        return tap

    def pub(self, *words):
        return self.program(BINARY, "pub", "--socket", self.socket, *words)

    def total(self, name, **labels):
        """The sum over all label sets that contain these."""
        found = 0
        for key, value in self.server.metrics().items():
            wanted = all(f'{k}="{v}"' in key for k, v in labels.items())
            if wanted and re.split(r"\{", key)[0] == name:
                found += value
        return found

    def becomes(self, expected, name, **labels):
        eventually(lambda: self.total(name, **labels) == expected,
                   f"{name} {labels} is {expected}, not {self.total(name, **labels)}")
