"""Runs the test cases of a program, prints their number, and ends the servers that they shared."""

import os
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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
