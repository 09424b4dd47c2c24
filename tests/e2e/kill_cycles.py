#!/usr/bin/env python3
"""Kills the server under load, thousands of times: rounds of KillCycles in test_store.py, each with a seed
of its own. The file STATE has a line for each round that is over, so that a run can be interrupted at any
time and goes on with the next call.

    SERVER_BINARY=build/release/bin/millrace PYTHONPATH=tests/peer tests/e2e/kill_cycles.py STATE
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

TEST = Path(__file__).with_name("test_store.py")


def finished(state):
    """The cycles of each round that is over, by its seed."""
    if not state.exists():
        return {}
    return {int(seed): int(cycles) for seed, cycles in
            (line.split()[:2] for line in state.read_text().splitlines())}


def run_round(seed, cycles):
    environment = {**os.environ, "MILLRACE_SEED": str(seed), "MILLRACE_KILL_CYCLES": str(cycles)}
    done = subprocess.run([sys.executable, str(TEST), "KillCycles"], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode == 0, done.stdout


def main():
    parser = argparse.ArgumentParser(description="Kills the server under load, many times.")
    parser.add_argument("state", type=Path, metavar="STATE", help="what is over; it is made if need be")
    parser.add_argument("--cycles", type=int, default=15_000, help="in all (%(default)s)")
    parser.add_argument("--round", type=int, default=60, help="kills of one store (%(default)s)")
    parser.add_argument("--seconds", type=float, default=float("inf"),
                        help="begin no round after so long; a later call goes on")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    over = finished(options.state)
    seed = 0
    while sum(over.values()) < options.cycles and time.monotonic() < end:
        seed += 1
        if seed in over:
            continue
        cycles = min(options.round, options.cycles - sum(over.values()))
        passed, output = run_round(seed, cycles)
        if not passed:
            print(output)
            print(f"failed: MILLRACE_SEED={seed} MILLRACE_KILL_CYCLES={cycles} {TEST} KillCycles")
            return 1
        result = next(line for line in output.splitlines() if "none lost" in line)
        over[seed] = cycles
        with options.state.open("a") as state:
            state.write(f"{seed} {cycles} {result}\n")
        print(f"{sum(over.values())} of {options.cycles}: {result}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
