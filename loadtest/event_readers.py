#!/usr/bin/env python3
"""What a value costs the processor that goes to readers of /events, and to as many clients of $latest/. Each kind
has a fresh server, in turn; prints medians, with the range in brackets, as a table in Markdown.

To clients of the publisher's version whose topics need no alias, and to readers of /events, several messages go as the
bytes that came in, all at once; a row of clients of $latest/ that have each message written for them shows what that saves.

    SERVER_BINARY=build/release/bin/millrace loadtest/event_readers.py
    SERVER_BINARY=... loadtest/event_readers.py --readers 100 --seconds 2 --rounds 1

Twenty times a second (--bursts) ten topics have a new value, which every reader is sent. The processor's time is that
of its batches (millrace_batch_seconds), whichever thread runs them, by the clock: where readers and server want more
than the machine has, it grows by the turns that others get. Beside it stands what the whole server takes, in which
events cost more, as they are JSON over HTTP. Readers and publisher are one process each, on the same machine.
"""

import argparse
import multiprocessing
import os
import resource
import selectors
import socket
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "peer"))
import wire  # noqa: E402
from server import Server  # noqa: E402

TOPICS = 10
PAYLOAD_BYTES = 64
TIMEOUT_S = 60
BEGUN_EVENTS = b"event: start"

def _latest_reader(port, number, version=5):
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    sock.sendall(wire.connect(f"reader-{number}", version, keep_alive=0) +
                 wire.subscribe(1, [("$latest/load/#", 0)], version))
    held = bytearray()
    while True:
        while found := wire.read(held, version):
            del held[:found[1]]
            if found[0].kind == wire.SUBACK:
                return sock
        held += _received(sock)


def _older_latest_reader(port, number):
    return _latest_reader(port, number, version=4)


def _events_reader(port, _):
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    sock.sendall(b"GET /events?filter=load/%23 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    held = b""
    while BEGUN_EVENTS not in held:
        held += _received(sock)
        if b" 200 " not in held.split(b"\r\n")[0]:
            raise SystemExit(held.decode(errors="replace"))
    return sock


def _received(sock):
    data = sock.recv(65536)
    if not data:
        raise ConnectionError("the server has closed the connection")
    return data


# By kind: how a reader begins, and what counts the values that it is sent.
KINDS = {"`$latest/` clients": (_latest_reader, "millrace_messages_sent_total"),
         "`$latest/` clients, each message written anew": (_older_latest_reader, "millrace_messages_sent_total"),
         "readers of `/events`": (_events_reader, "millrace_http_events_total")}


def _read_all(reader, port, count, pipe):
    """Says when all of them have begun, then throws away what they are sent until it is told to stop."""
    selector = selectors.DefaultSelector()
    for number in range(count):
        sock = reader(port, number)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
    selector.register(pipe, selectors.EVENT_READ)
    pipe.send("begun")
    while True:
        for key, _ in selector.select():
            if key.fileobj is pipe:
                return
            _received(key.fileobj)


def _publish(port, bursts, pipe):
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(wire.connect("publisher", keep_alive=0))
    next_at = time.monotonic()
    while not pipe.poll(max(0, next_at - time.monotonic())):
        text = f"{time.monotonic_ns()}".ljust(PAYLOAD_BYTES)
        sock.sendall(b"".join(wire.publish(f"load/{topic}", text) for topic in range(TOPICS)))
        next_at += 1 / bursts


def _start(function, *arguments):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=function, args=(*arguments, theirs))
    process.start()
    return process, ours


def _figures(server, values):
    metrics = server.metrics()
    sent = sum(value for name, value in metrics.items() if name == values or name.startswith(values + "{"))
    return sent, metrics["millrace_batch_seconds_sum"], metrics["process_cpu_seconds_total"]


def measure(kind, readers, seconds, bursts):
    """Microseconds of the processor and of the server for a value, and values a second."""
    config = {"http": {"connections_max": readers + 64, "event_streams_max": readers}}
    with Server(config) as server:
        reader, values = KINDS[kind]
        port = server.http_port if reader is _events_reader else server.mqtt_port
        reading, stop_reading = _start(_read_all, reader, port, readers)
        publishing = None
        try:
            if not stop_reading.poll(TIMEOUT_S) or stop_reading.recv() != "begun":
                raise SystemExit("the readers have not begun")
            publishing, stop_publishing = _start(_publish, server.mqtt_port, bursts)
            time.sleep(1)  # the readers have settled by then
            before = _figures(server, values)
            begun = time.monotonic()
            time.sleep(seconds)
            end = time.monotonic() + TIMEOUT_S
            while (after := _figures(server, values))[0] == before[0] and time.monotonic() < end:
                time.sleep(0.1)  # the publisher has stood still until now
            took = time.monotonic() - begun
            stop_publishing.send("stop")
            publishing.join()
            stop_reading.send("stop")
            reading.join()
        finally:
            for process in filter(None, (reading, publishing)):
                process.kill()
                process.join()
        sent, processor_s, server_s = (end - begin for begin, end in zip(before, after))
        if sent == 0:
            raise SystemExit(f"{kind}: nothing was sent")
        return processor_s / sent * 1e6, server_s / sent * 1e6, sent / took


def cell(figures, digits):
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--bursts", type=float, default=20, help="of one value for each topic, a second")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < options.readers + 256:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, options.readers + 256), hard))
    found = {kind: [] for kind in KINDS}
    for _ in range(options.rounds):
        for kind, figures in found.items():
            figures.append(measure(kind, options.readers, options.seconds, options.bursts))
    print("| to | processor's time for a value, us | server's time for a value, us | values a second |\n"
          "| --- | --- | --- | --- |")
    for kind, figures in found.items():
        processor_us, server_us, rates = zip(*figures)
        print(f"| {options.readers} {kind} | {cell(processor_us, 2)} | {cell(server_us, 2)} | {cell(rates, 0)} |")


if __name__ == "__main__":
    main()
