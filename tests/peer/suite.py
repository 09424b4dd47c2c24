"""Runs the test cases of a program, prints their number, and ends the servers that they shared."""

import os
import random
import socket
import sys
import time
import unittest

at_end = []  # Functions to call in order when all cases have run, passed or not.

EVENT_TIMEOUT_S = 60


def main():
    try:
        result = unittest.main(module="__main__", exit=False).result
    finally:
        for end in at_end:
            end()
    bad = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(f"{os.path.basename(sys.argv[0])}: {result.testsRun} tests, {bad} failed, "
          f"{len(result.skipped)} skipped")
    sys.exit(1 if bad or not result.testsRun else 0)


def eventually(question, what):
    """Calls `question` until its answer is true, and returns that: for a state without an event, such
    as another process's descriptors. The time limit is only for a broken server."""
    end = time.monotonic() + EVENT_TIMEOUT_S
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"never came true: {what}")
        time.sleep(0.02)


_taken = []  # Sockets whose names say which ports this process has for itself; they end with it.


def free_port():
    """A port outside the range that the system assigns by itself (bind to port 0, local ends of connections). An
    abstract socket marks it, so no other test takes it until this process ends. Those from 10,000 to 11,999 are for
    tests/console/server.mjs, which has no marks."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first, last = map(int, file.read().split())
    ports = [port for port in range(12_000, 65_536) if not first <= port <= last]
    random.shuffle(ports)
    for port in ports:
        mark = socket.socket(socket.AF_UNIX)
        try:
            mark.bind(f"\0millrace-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
            continue
        _taken.append(mark)
        return port
    with socket.socket() as probe:  # The system has all of them to give.
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
