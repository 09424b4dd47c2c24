"""Alerts and dashboard: their expressions name metrics that there are, alerts come when they should, and a
real Prometheus that scrapes a loaded server has an answer to every query."""

import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

from peer import Peer
from prometheus import DASHBOARD, ask, panels, queries
from server import Server, binary
from suite import eventually, main

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
os.environ["LIBMILLRACE_LOCAL"] = str(Path(binary()).resolve().parent.parent / "lib" / "libmillrace-local.so.0")
sys.path.insert(0, str(ROOT / "core" / "shm" / "python"))
METRIC = re.compile(r"\b((?:millrace|process)_[a-z0-9_]+)\b")
NEEDS_PROMETHEUS = unittest.skipUnless(
    shutil.which("prometheus") and shutil.which("promtool"), "the package prometheus is not installed")


def alerts():
    """{name: expression}"""
    text = (PROMETHEUS / "alerts.yml").read_text()
    return dict(re.findall(r"- alert: (\w+)\n +expr: (.*?)\n +(?:for|labels):", text, re.S))


def printed(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


class Files(unittest.TestCase):
    """What can be said without Prometheus."""

    def test_every_metric_that_is_asked_for_exists(self):
        table = printed(binary(), "check", "--print-metrics")
        known = set(re.findall(r"^\| `(\w+)` \|", table, re.M))
        for histogram in re.findall(r"^\| `(\w+)` \| histogram", table, re.M):
            known |= {histogram + tail for tail in ("_bucket", "_sum", "_count")}
        for name, expression in queries("10s") + list(alerts().items()):
            self.assertEqual([metric for metric in METRIC.findall(expression) if metric not in known], [], name)

    def test_the_rows_follow_the_walk_of_a_message(self):
        page = (ROOT / "docs" / "architecture.md").read_text()
        steps = re.findall(r"^\| (\d [a-z, ]+) \|", page, re.M)
        self.assertEqual(len(steps), 9)
        rows = [panel["title"].partition(":")[0] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
        self.assertEqual([row for row in rows if row[0].isdigit()], steps)

    def test_panels_have_identifiers_of_their_own_and_do_not_overlap(self):
        everything = DASHBOARD["panels"]
        self.assertEqual(len({panel["id"] for panel in everything}), len(everything))
        cells = set()
        for panel in everything:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            for cell in ((place["x"] + column, place["y"] + line)
                         for column in range(place["w"]) for line in range(place["h"])):
                self.assertNotIn(cell, cells, panel["title"])
                cells.add(cell)

    def test_every_panel_asks_the_chosen_data_source_for_the_chosen_servers(self):
        for panel in panels():
            self.assertEqual(panel["datasource"]["uid"], "${datasource}", panel["title"])
            for target in panel["targets"]:
                for selector in re.findall(r"(?:millrace|process)_\w+|\bup\b", target["expr"]):
                    self.assertIn(selector + '{job=~"$job",instance=~"$instance"', target["expr"], panel["title"])

    def test_every_alert_is_explained_and_has_a_test(self):
        page = (ROOT / "docs" / "operations.md").read_text()
        tested = (PROMETHEUS / "alerts.test.yml").read_text()
        self.assertGreater(len(alerts()), 15)
        for name in alerts():
            self.assertIn(f"`{name}`", page)
            self.assertIn(name, tested)


@NEEDS_PROMETHEUS
class Promtool(unittest.TestCase):
    def test_alerts_come_when_they_should(self):
        self.assertIn("SUCCESS", printed("promtool", "test", "rules", str(PROMETHEUS / "alerts.test.yml")))

    def test_the_configuration_is_valid(self):
        self.assertIn("SUCCESS", printed("promtool", "check", "config", str(PROMETHEUS / "prometheus.yml")))


class Load:
    """Something of everything that the server counts, again and again until it is stopped."""

    def __init__(self, server, folder):
        self.server, self.socket = server, str(folder / "local.sock")
        self.stack, self.stopped, self.fault = contextlib.ExitStack(), threading.Event(), None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.tap(("a/#", "--stats"))
        self.thread.start()

    def tap(self, arguments):
        process = subprocess.Popen([binary(), "tap", *arguments, "--socket", self.socket],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.stack.callback(process.stderr.close)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        assert "attached" in process.stderr.readline()
        return process

    def peer(self, **options):
        peer = Peer(self.server.mqtt_port)
        self.stack.callback(peer.close)
        peer.connect(**options)
        return peer

    def run(self):
        try:
            self.rounds()
        except Exception as error:  # noqa: BLE001 - the test shows it
            self.fault = error

    def rounds(self):
        import millrace_local
        reader, writer = self.peer(), self.peer()
        reader.subscribe("a/#", qos=2)
        local_writer = self.stack.enter_context(millrace_local.Publisher(socket=self.socket))
        table = self.stack.enter_context(millrace_local.Latest("a/#", socket=self.socket))
        evicted = False
        while not self.stopped.is_set():
            for qos in (0, 1, 2):
                writer.publish(f"a/{qos}", b"x" * 100, qos=qos, retain=True)
                reader.receive(topic=f"a/{qos}")
            writer.publish("nobody", b"")
            writer.publish("denied", b"", qos=1)
            local_writer.publish("a/local", b"from this machine")
            reader.receive(topic="a/local")
            table.get("a/0")
            with contextlib.closing(Peer(self.server.mqtt_port)) as stranger:
                stranger.send(b"\xf0\x00")  # AUTH before CONNECT
                stranger.next()
            with contextlib.closing(Peer(self.server.mqtt_port)) as passing:
                passing.connect()
                passing.disconnect()
            if not evicted:
                self.evict_a_reader(writer)
                evicted = True

    def evict_a_reader(self, writer):
        """One that stands still, from a ring without loss."""
        stopped = self.tap(("ring", "--lossless", "--stats"))
        stopped.send_signal(signal.SIGSTOP)
        writer.publish("ring", b"unread")

    def stop(self):
        self.stopped.set()
        self.thread.join()
        self.stack.close()
        if self.fault:
            raise self.fault


class Prometheus:
    """One that scrapes every second and evaluates the alerts."""

    def __init__(self, folder, target):
        text = (PROMETHEUS / "prometheus.yml").read_text()
        self.text = text.replace("millrace:9464", target).replace("15s", "1s")
        assert target in self.text and "interval: 1s" in self.text
        (folder / "prometheus.yml").write_text(self.text)
        shutil.copy(PROMETHEUS / "alerts.yml", folder)
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             "--web.listen-address=127.0.0.1:0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r'msg="Listening on" address=(\S+)', line):
                self.address = found[1]
                break
        else:
            raise AssertionError("".join(self.log))
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def ask(self, path, **parameters):
        return ask(self.address, path, **parameters)

    def numbers(self, expression):
        """How many numbers the query has for the last ten seconds, as a graph would draw them."""
        now = time.time()
        result = self.ask("query_range", query=expression, start=now - 10, end=now, step=1).get("result", [])
        return sum(not math.isnan(float(value)) for series in result for _, value in series["values"])

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()


@NEEDS_PROMETHEUS
class RealPrometheus(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-monitoring-")
        self.addCleanup(folder.cleanup)
        folder = Path(folder.name)
        key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
        printed("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate)
        self.server = Server({
            "listeners": [
                {"name": "tcp", "transport": "tcp", "port": 0},
                {"name": "tls", "transport": "tls", "port": 0,
                 "tls": {"certificate_file": certificate, "key_file": key}}],
            # The clients of this test have no names, so that nobody asks the service.
            "access": {"rules": [{"effect": "deny", "filter": "denied"}], "otherwise": "allow",
                       "allow_anonymous": True, "http": {"authenticate_url": "http://127.0.0.1:1/"}},
            "local": {"socket": str(folder / "local.sock"), "lease_ms": 50}})
        self.addCleanup(self.server.stop)
        self.server.http_port
        self.load = Load(self.server, folder)
        self.addCleanup(self.load.stop)
        self.prometheus = Prometheus(folder, f"127.0.0.1:{self.server.http_port}")
        self.addCleanup(self.prometheus.stop)

    def test_every_query_of_the_dashboard_has_an_answer(self):
        waiting = queries("10s")
        self.assertGreater(len(waiting), 100)

        def nothing_waits():
            self.assertIsNone(self.load.fault)
            waiting[:] = [(panel, text) for panel, text in waiting if not self.prometheus.numbers(text)]
            return not waiting

        try:
            eventually(nothing_waits, "each query has numbers")
        except AssertionError:
            self.fail("without an answer:\n" + "\n".join(f"{panel}: {text}" for panel, text in waiting))
        self.the_alerts_are_evaluated()

    def the_alerts_are_evaluated(self):
        def states():
            groups = self.prometheus.ask("rules").get("groups", [])
            return {rule["name"]: rule for group in groups for rule in group["rules"]}

        eventually(lambda: states() and all(rule["health"] != "unknown" for rule in states().values()),
                   "each alert was evaluated")
        self.assertEqual(sorted(states()), sorted(alerts()))
        self.assertEqual([rule for rule in states().values() if rule["health"] != "ok"], [])
        # The certificate of this test ends in two days.
        self.assertEqual(states()["MillraceCertificateExpires"]["state"], "firing")


if __name__ == "__main__":
    main()
