"""Runs the test cases of a program, prints how many there were, and ends what they shared."""

import os
import sys
import time
import unittest

at_end = []  # Called in turn when all cases have run, whatever came of them.

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
    """Asks until the answer is true, and returns it: for what can only be seen by looking, such as
    another process's descriptors. The limit is there for a server that never gets there."""
    end = time.monotonic() + EVENT_TIMEOUT_S
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"never came true: {what}")
        time.sleep(0.02)
