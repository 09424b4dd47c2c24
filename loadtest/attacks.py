#!/usr/bin/env python3
"""Attacks on a server, one after the other, each on a fresh one and beside a healthy client, which
publishes to itself 50 times a second. Prints what the healthy client saw and what the server held, as a
table in Markdown.

    SERVER_BINARY=build/release/bin/millrace loadtest/attacks.py            # all, 30 s each
    SERVER_BINARY=... loadtest/attacks.py --seconds 5 wills partial_packets
    SERVER_BINARY=... loadtest/attacks.py --save docs/figures/attacks.json  # then deploy/update-docs.sh
    loadtest/attacks.py --list

The server has its default configuration, but memory.bytes_max (1 GiB) and what an attack needs besides.
Attackers run in processes of their own, on the same machine: the times are those of a server that shares
its cores with them. With --check nothing is timed: the exit status says whether memory stayed within the
limit, nothing of the attackers is left, the server ended in order, and every message of the healthy client
came, none of them so late that it was not served meanwhile.
"""

import argparse
import json
import multiprocessing
import os
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "peer"))
import wire  # noqa: E402
from attack import ATTACKS, KIB, MIB, Attacker  # noqa: E402
from server import Server, binary  # noqa: E402

GIB = 1 << 30
MEMORY_LIMIT = GIB
# Beside what clients make it hold: the program, its threads' stacks and scratch, and what comes
# between two looks at what the process has.
PROCESS = 192 * MIB
INTERVAL_S = 0.02
# A message that takes longer was not delivered late, its client was not served.
PATIENCE_S = 10


# ---- the healthy client ----------------------------------------------------------------------------

def _received(sock):
    data = sock.recv(64 * KIB)
    if not data:
        raise ConnectionError("the server has closed the connection")
    return data


def healthy_client(port, pipe):
    """Says when it is subscribed, then publishes to itself until it is told to stop, and waits for what has
    not come yet. A time counts from when a message was to be sent; one that does not come counts until the
    end. Says its times, whether it lost its connection, and how many messages never came."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(wire.connect("healthy") + wire.subscribe(1, [("healthy", 0)]))
    held = bytearray()
    while not (found := wire.read(held, 5)) or found[0].kind != wire.SUBACK:
        if found:
            del held[:found[1]]
        else:
            held += _received(sock)
    del held[:found[1]]
    pipe.send("subscribed")
    waits, times, lost = {}, [], False
    number, next_at, end_at = 0, time.monotonic(), None
    while not lost:
        now = time.monotonic()
        if end_at is None and number and pipe.poll():
            end_at = now + PATIENCE_S
        if end_at is not None and (not waits or now >= end_at):
            break
        while end_at is None and now >= next_at and not lost:
            waits[number] = next_at
            try:
                sock.sendall(wire.publish("healthy", str(number)))
            except OSError:
                lost = True
            number, next_at = number + 1, next_at + INTERVAL_S
        if lost or not select.select([sock], [], [], max(0, (end_at or next_at) - now))[0]:
            continue
        try:
            held += _received(sock)
        except OSError:
            lost = True
        arrived = time.monotonic()
        while found := wire.read(held, 5):
            del held[:found[1]]
            if found[0].kind == wire.PUBLISH:
                sent = waits.pop(int(found[0].payload), None)
                if sent is not None:
                    times.append(arrived - sent)
    pipe.recv()
    ended = time.monotonic()
    sock.close()
    times += [ended - sent for sent in waits.values()]
    times.sort()
    pipe.send((times[int(len(times) * 0.99)], times[-1], lost, len(waits)))


def faults_of(worst, lost, missing):
    """What is wrong with what the healthy client saw."""
    faults = []
    if lost:
        faults.append("the healthy client lost its connection")
    if missing:
        faults.append(f"{missing} messages of the healthy client never came")
    elif worst > PATIENCE_S:
        faults.append(f"the healthy client waited for {worst:.0f} s for a message")
    return faults


# ---- one attack ------------------------------------------------------------------------------------

def _peak_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * KIB for line in file if line.startswith("VmHWM:"))


def _start(function, server, seconds):
    def run(number):
        me = Attacker(server.mqtt_port, server.http_port, seconds, number)
        while me.going():
            try:
                function(me)
            except (OSError, ValueError):
                me.rest()  # the server has closed what was in use, or has ended: once more
        os._exit(0)
    ports = (server.mqtt_port, server.http_port)  # known before the fork
    assert all(ports)
    processes = [multiprocessing.Process(target=run, args=(number,))
                 for number in range(function.processes)]
    for process in processes:
        process.start()
    return processes


def _end(processes):
    for process in processes:
        process.join(timeout=20)
        if process.is_alive():
            process.kill()
            process.join()


def _metric(server, name):
    return sum(value for key, value in server.metrics().items()
               if key == name or key.startswith(name + "{"))


def _connections(server):
    return int(_metric(server, "millrace_connections_open"))


class Result:
    def __init__(self, name):
        self.name, self.faults = name, []

    def figures(self):
        return {"p99_ms": round(self.p99 * 1e3, 1), "worst_ms": round(self.worst * 1e3),
                "peak_mib": round(self.peak / MIB), "after_mib": round(self.after / MIB),
                "charged_mib": round(self.charged / MIB), "connections": self.connections,
                "sessions": self.sessions, "end_s": round(self.end_s, 1)}

    def row(self):
        return f"| {self.name} | " + " | ".join(str(one) for one in self.figures().values()) + " |"


COLUMNS = ("healthy p99, ms", "worst, ms", "peak, MiB", "10 s after, MiB", "of it in the ledger, MiB",
           "connections left", "sessions left", "SIGTERM, s")
HEAD = f"| attack | {' | '.join(COLUMNS)} |\n|{' --- |' * (1 + len(COLUMNS))}"


def table(path):
    """What each attack does, and what came of it where that was saved."""
    saved = {}
    if os.path.exists(path):
        with open(path) as file:
            saved = json.load(file)
    columns = COLUMNS if saved else ()
    print(f"| attack | {' | '.join(('what it is', *columns))} |\n|{' --- |' * (2 + len(columns))}")
    for name, function in ATTACKS.items():
        cells = [" ".join(function.__doc__.split())]
        if saved:
            figures = saved["attacks"].get(name)
            cells += [str(one) for one in figures.values()] if figures else [""] * len(COLUMNS)
        print(f"| `{name}` | {' | '.join(cells)} |")
    if saved:
        print(f"\nEach for {saved['seconds']:g} s, on a machine of {saved['machine']} that the attackers share "
              f"with the server, version {saved['version']}.")


def save(path, results, seconds):
    """Adds to what was saved before, if that was measured in the same way."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    version = subprocess.run([binary(), "--version"], check=True, capture_output=True, text=True).stdout
    saved = {"machine": f"{os.cpu_count()} cores and {gib:.0f} GiB", "seconds": seconds,
             "version": version.split()[-1], "attacks": {}}
    if os.path.exists(path):
        with open(path) as file:
            before = json.load(file)
        if {**before, "attacks": {}} == saved:
            saved = before
    saved["attacks"].update({one.name: one.figures() for one in results})
    with open(path, "w") as file:
        json.dump(saved, file, indent=1)
        file.write("\n")


def _configuration(function, folder):
    config = {"memory": {"bytes_max": MEMORY_LIMIT}}
    if function.passwords:
        path = os.path.join(folder, "passwords")
        subprocess.run([binary(), "passwd", "-b", path, "ann", "secret"], check=True)
        config["access"] = {"password_file": path, "allow_anonymous": True}
    for key, value in function.config.items():
        config[key] = {**config.get(key, {}), **value}
    return config


def run(function, seconds, settle_s, check):
    result = Result(function.__name__)
    with tempfile.TemporaryDirectory(prefix="millrace-attack-") as folder, \
            Server(_configuration(function, folder)) as server:
        ours, theirs = multiprocessing.Pipe()
        healthy = multiprocessing.Process(target=healthy_client, args=(server.mqtt_port, theirs))
        healthy.start()
        theirs.close()  # the other process's alone, so that its end is seen
        ours.recv()
        attackers = _start(function, server, seconds)
        _end(attackers)
        result.peak = _peak_bytes(server.pid)
        ours.send("stop")
        result.p99, result.worst, lost, missing = ours.recv()
        healthy.join()
        result.faults += faults_of(result.worst, lost, missing)
        _settle(server, settle_s, function, check)
        result.after = server.resident_bytes()
        result.charged = int(_metric(server, "millrace_memory_bytes"))
        result.connections = _connections(server)
        result.sessions = int(_metric(server, "millrace_sessions"))
        if result.peak > MEMORY_LIMIT + PROCESS:
            result.faults.append(f"{result.peak // MIB} MiB were used")
        if result.connections:
            result.faults.append(f"{result.connections} connections are left")
        if result.sessions and not function.leaves_sessions:
            result.faults.append(f"{result.sessions} sessions are left")
        # Once more, and in the middle of it the server is to end.
        attackers = _start(function, server, min(seconds, 3))
        time.sleep(min(seconds, 3) / 2)
        before = time.monotonic()
        status = server.terminate()
        result.end_s = time.monotonic() - before
        _end(attackers)
        if status != 0:
            result.faults.append(f"the server ended with {status}")
        if not any("stopped" in line and "clean=true" in line for line in server.lines):
            result.faults.append("the server did not end by itself in time")
    return result


def _settle(server, settle_s, function, check):
    """Waits for `settle_s`, after which memory is measured; for a check, until nothing is left."""
    if not check:
        time.sleep(settle_s)
        return
    end = time.monotonic() + 60
    while time.monotonic() < end and (
            _connections(server) or
            (_metric(server, "millrace_sessions") and not function.leaves_sessions)):
        time.sleep(0.25)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--table", metavar="FILE", help="print the table of docs/security.md")
    parser.add_argument("--save", metavar="FILE", help="keep the figures for the table")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--settle", type=float, default=10, metavar="SECONDS")
    given = parser.parse_args()
    unknown = [name for name in given.attacks if name not in ATTACKS]
    if unknown:
        parser.error(f"no such attack: {', '.join(unknown)} (see --list)")
    if given.list:
        for name, function in ATTACKS.items():
            print(f"{name:24} {' '.join(function.__doc__.split())}")
        return 0
    if given.table:
        table(given.table)
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    multiprocessing.set_start_method("fork")
    print(HEAD, flush=True)
    faults, results = [], []
    for name in given.attacks or ATTACKS:
        result = run(ATTACKS[name], given.seconds, given.settle, given.check)
        print(result.row(), flush=True)
        results.append(result)
        if given.save:
            save(given.save, results, given.seconds)
        faults += [f"{name}: {fault}" for fault in result.faults]
    for fault in faults:
        print(f"fault: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
