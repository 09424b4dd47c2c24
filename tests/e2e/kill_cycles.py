#!/usr/bin/env python3
"""Kills the server under load, thousands of times: rounds of KillCycles in test_store.py, each with a seed
of its own. The file STATE has a line for each round that is over, so that a run can be interrupted at any
time and goes on with the next call.

    SERVER_BINARY=build/release/bin/millrace PYTHONPATH=tests/peer tests/e2e/kill_cycles.py STATE
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TEST = Path(__file__).with_name("test_store.py")


def finished(state):
    """The cycles of each round that is over, by its seed. A line that was cut off does not count."""
    if not state.exists():
        return {}
    lines = [line.split() for line in state.read_text().splitlines(keepends=True)
             if line.endswith("\n")]
    return {int(words[0]): int(words[1]) for words in lines if words}


def end_cut_line(state):
    """What comes next begins a line of its own."""
    if state.exists() and not state.read_text().endswith("\n"):
        whole = state.read_text().rpartition("\n")
        state.write_text(whole[0] + whole[1])


def run_round(seed, cycles):
    """Whether it passed, and what it said. It has an end whatever stands still."""
    environment = {**os.environ, "MILLRACE_SEED": str(seed), "MILLRACE_KILL_CYCLES": str(cycles)}
    test = subprocess.Popen([sys.executable, str(TEST), "KillCycles"], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            start_new_session=True)
    try:
        output, _ = test.communicate(timeout=120 + 20 * cycles)
        return test.returncode == 0, output
    except subprocess.TimeoutExpired:
        os.killpg(test.pid, signal.SIGKILL)  # its server, too
        return False, test.communicate()[0] + "\nthe round stands still"
    except BaseException:  # interrupted
        os.killpg(test.pid, signal.SIGKILL)
        raise


def main():
    parser = argparse.ArgumentParser(description="Kills the server under load, many times.")
    parser.add_argument("state", type=Path, metavar="STATE", help="what is over; it is made if need be")
    parser.add_argument("--cycles", type=int, default=15_000, help="in all (%(default)s)")
    parser.add_argument("--round", type=int, default=60, help="kills of one store (%(default)s)")
    parser.add_argument("--seconds", type=float, default=float("inf"),
                        help="begin no round after so long; a later call goes on")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the round that is under way ends, too
    end = time.monotonic() + options.seconds
    over = finished(options.state)
    end_cut_line(options.state)
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
