#!/usr/bin/env python3
"""Runs Eclipse's interoperability suites (github.com/eclipse/paho.mqtt.testing) against the server.

    SERVER_BINARY=build/release/bin/millrace PYTHONPATH=tests/peer \\
        tests/conformance/paho/run.py FOLDER [RUNS]

FOLDER is a copy of that repository, which is not part of this one; RUNS is how often each suite
runs, by default once. Each run starts a new server, configured by millrace.json in this folder.
Prints the counts and exits with 1 if a test failed.
"""

import os
import re
import subprocess
import sys

from server import Server

SUITES = {"client_test.py": "3.1.1", "client_test5.py": "5.0"}
TIMEOUT_S = 900
CONFIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "millrace.json")

# The suites pass their own arguments on to unittest, which does not accept them.
START = """
import runpy, sys, unittest
main = unittest.main
unittest.main = lambda: main(argv=sys.argv[:1])
sys.argv = sys.argv[1:]
sys.path.insert(0, ".")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(folder, suite):
    """(tests run, whether all passed, what it printed)"""
    with Server(arguments=["--config", CONFIG]) as server:
        done = subprocess.run(
            [sys.executable, "-c", START, suite, "--hostname", "127.0.0.1", "--port",
             str(server.mqtt_port)], cwd=os.path.join(folder, "interoperability"),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S)
    count = re.search(r"^Ran (\d+) tests", done.stdout, re.M)
    return int(count[1]) if count else 0, bool(count) and done.returncode == 0, done.stdout


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    folder, runs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 1
    failed = False
    for suite, version in SUITES.items():
        for number in range(1, runs + 1):
            count, passed, output = run(folder, suite)
            print(f"{suite} (MQTT {version}), run {number}: {count} tests, "
                  f"{'all passed' if passed else 'FAILED'}", flush=True)
            if not passed:
                failed = True
                print(output, flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
