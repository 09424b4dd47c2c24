#!/usr/bin/env python3
"""How old are the values that a slow reader gets?

One publisher sends 2,000 messages of 1 KB a second over 20 topics. Four clients subscribe to all of
them. One reads as fast as it can. Three read only 200 KB a second, a tenth of what is published:

  slow, in full   requests every message (MQTT 5 user property delivery=every), which is what MQTT
                  brokers usually do; other brokers ignore the property
  slow            an ordinary subscription at QoS 0
  slow, $latest   subscribes to $latest/race/#; for other brokers this is an ordinary filter, which
                  matches nothing here

Every two seconds it prints the age of the newest value that each of them has read. It needs only
Python, and works with any MQTT 5 broker:

  examples/slow_reader/slow_reader.py               Millrace, or any broker on port 1883
  examples/slow_reader/slow_reader.py --port 1884   another broker, to compare
"""
import argparse
import json
import socket
import struct
import threading
import time

TOPICS = 20
RATE_HZ = 2_000
PAYLOAD_BYTES = 1_000
SLOW_BYTES_PER_SECOND = 200_000
SLICES_PER_SECOND = 50  # publisher and slow readers work in so many portions


def text(value):
    return struct.pack(">H", len(value)) + value.encode()


def packet(first_byte, body):
    """An MQTT packet: its length is encoded in groups of seven bits, the lowest first."""
    length, rest = bytearray(), len(body)
    while True:
        rest, group = divmod(rest, 128)
        length.append(group | (0x80 if rest else 0))
        if not rest:
            return bytes([first_byte]) + bytes(length) + body


class Client:
    """One MQTT 5 connection, at QoS 0."""

    def __init__(self, args, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:  # small: messages in the kernel's buffer age too. Before connect().
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((args.host, args.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = bytearray()
        # CONNECT: version 5, clean start, no keep alive, no properties, any client identifier
        self.socket.sendall(packet(0x10, text("MQTT") + b"\x05\x02\0\0\0" + text("")))
        self.expect(0x20)

    def subscribe(self, topic_filter, properties=b""):
        self.socket.sendall(packet(0x82, b"\0\1" + bytes([len(properties)]) + properties +
                                   text(topic_filter) + b"\0"))
        self.expect(0x90)

    def expect(self, first_byte):
        while not (answers := list(self.packets(4096))):
            pass
        if answers[0][0] != first_byte or answers[0][-1] >= 0x80:
            raise SystemExit(f"slow_reader: the broker refused: {answers[0].hex()}")

    def packets(self, bytes_max):
        """Reads once, and yields the complete packets."""
        data = self.socket.recv(bytes_max)
        if not data:
            raise SystemExit("slow_reader: the broker closed the connection")
        self.held += data
        at = 0
        while at + 5 <= len(self.held):
            length, shift, head = 0, 0, at + 1
            while True:
                group = self.held[head]
                length |= (group & 0x7F) << shift
                shift, head = shift + 7, head + 1
                if group < 0x80:
                    break
            if head + length > len(self.held):
                break
            yield bytes(self.held[at:head + length])
            at = head + length
        del self.held[:at]


class Reader(threading.Thread):
    """Subscribes to everything, and stores when the newest value that it has read was published."""

    def __init__(self, args, bytes_per_second=None, topic_filter="race/#", properties=b""):
        super().__init__(daemon=True)
        self.client = Client(args, receive_buffer=32_768 if bytes_per_second else None)
        self.bytes_per_second = bytes_per_second
        self.published_at = None
        self.client.subscribe(topic_filter, properties)
        self.start()

    def run(self):
        while True:
            share = self.bytes_per_second and self.bytes_per_second // SLICES_PER_SECOND
            for message in self.client.packets(share or 1_000_000):
                # The time is at the beginning of the payload, which is the last part of the packet.
                self.published_at = struct.unpack_from(">d", message, len(message) - PAYLOAD_BYTES)[0]
            if share:
                time.sleep(1 / SLICES_PER_SECOND)

    def age(self):
        return time.monotonic() - self.published_at if self.published_at else None


class Publisher(threading.Thread):
    def __init__(self, args):
        super().__init__(daemon=True)
        self.client = Client(args)
        self.start()

    def run(self):
        number, padding = 0, bytes(PAYLOAD_BYTES - 8)
        begin = time.monotonic()
        while True:
            due = int((time.monotonic() - begin) * RATE_HZ)
            now = struct.pack(">d", time.monotonic())
            self.client.socket.sendall(b"".join(
                packet(0x30, text(f"race/{n % TOPICS:02}") + b"\0" + now + padding)
                for n in range(number, due)))
            number = due
            time.sleep(1 / SLICES_PER_SECOND)


def written(seconds):
    if seconds is None:
        return "-"
    return f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--out", help="write the ages to this file, one JSON object a line")
    args = parser.parse_args()

    every = b"\x26" + text("delivery") + text("every")  # a user property
    readers = {"fast": Reader(args),
               "slow, in full": Reader(args, SLOW_BYTES_PER_SECOND, properties=every),
               "slow": Reader(args, SLOW_BYTES_PER_SECOND),
               "slow, $latest": Reader(args, SLOW_BYTES_PER_SECOND, "$latest/race/#")}
    Publisher(args)

    print("age of the newest value that each reader has:")
    print(" ".join(f"{name:>14}" for name in ["after", *readers]))
    begin, rows = time.monotonic(), []
    for second in range(2, args.seconds + 1, 2):
        time.sleep(max(0, begin + second - time.monotonic()))
        ages = {name: reader.age() for name, reader in readers.items()}
        rows.append({"second": second, **ages})
        print(" ".join(f"{cell:>14}" for cell in [f"{second} s", *map(written, ages.values())]),
              flush=True)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
