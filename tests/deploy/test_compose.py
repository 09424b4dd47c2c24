"""docker/compose.yaml: what the files say holds together; and, where the images can be built (image.py says what
that takes), that podman-compose brings it up, with compose.demo.yaml, and Prometheus sees what goes through.

No hub is asked: Prometheus is Debian's, in an image of this test, under the options that the hub's image has.
Grafana is no package of Debian, so that its service is left out here."""

import json
import re
import shlex
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request
from pathlib import Path

import yaml

from composed import Composed, parsed
from image import BASE, DOCKERFILE, ROOT, RUN_OPTIONS, build, build_millrace, missing, remove, run
from peer import Peer
from prometheus import ask, queries
from server import binary
from suite import eventually, main

PROMETHEUS = f"""FROM {BASE}
RUN apt-get update -qq \\
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus \\
    && install -d -o nobody -g nogroup /prometheus
USER nobody
VOLUME /prometheus
EXPOSE 9090
ENTRYPOINT ["/usr/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
"""


class Files(Composed, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.demo = parsed("docker/compose.demo.yaml")["services"]
        cls.compose = parsed("docker/compose.yaml")
        cls.services = {**cls.compose["services"], **cls.demo}
        cls.volumes = cls.compose["volumes"]

    def test_each_finds_the_next(self):
        [target] = parsed("deploy/prometheus/prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
        host, port = target.split(":")
        self.assertIn(host, self.compose["services"])
        self.assertIn(f"EXPOSE 1883 8083 {port}\n", DOCKERFILE)
        self.assertIn(f'"hosts": ["{host}"]', (ROOT / "docker" / "millrace.json").read_text())
        [source] = parsed("deploy/grafana/provisioning/datasources/prometheus.yaml")["datasources"]
        self.assertEqual(source["url"], "http://prometheus:9090")
        self.assertEqual(self.services["prometheus"]["ports"], ["127.0.0.1:9090:9090"])
        interval = parsed("deploy/prometheus/prometheus.yml")["global"]["scrape_interval"]
        self.assertEqual(source["jsonData"]["timeInterval"], interval)

    def test_grafana_reads_the_dashboard_from_where_it_is_mounted(self):
        [provider] = parsed("deploy/grafana/provisioning/dashboards/millrace.yaml")["providers"]
        folder = provider["options"]["path"]
        self.assertIn(f"../deploy/grafana/millrace.json:{folder}/millrace.json:ro", self.services["grafana"]["volumes"])

    def test_the_demonstration_uses_options_that_there_are(self):
        lines = [shlex.split(self.demo["publisher"]["command"][0].partition("| millrace ")[2]),
                 self.demo["reader"]["command"]]
        for command, *rest in lines:
            text = run(binary(), command, "--help")
            for option in rest:
                if option.startswith("--"):
                    self.assertRegex(text, rf"{option}\b")


@unittest.skipIf(missing("podman-compose"), missing("podman-compose"))
class Up(unittest.TestCase):
    """The services of both files but Grafana, with the images of this test."""
    PROJECT = "millrace-compose-test"  # one for all runs, as the ports are: what a killed one left is removed
    SERVICES = ("millrace", "prometheus", "publisher", "reader")

    @classmethod
    def setUpClass(cls):
        cls.remove_everything()
        cls.ports_are_free()
        folder = tempfile.TemporaryDirectory(prefix="millrace-compose-")
        cls.addClassCleanup(folder.cleanup)
        folder = Path(folder.name)
        images = {name: f"localhost/{cls.PROJECT}-{name}" for name in ("millrace", "prometheus")}
        for image in images.values():
            remove(image)
            cls.addClassCleanup(remove, image)
        (folder / "millrace").mkdir()
        build_millrace(images["millrace"], folder / "millrace")
        (folder / "prometheus").mkdir()
        (folder / "prometheus" / "Dockerfile").write_text(PROMETHEUS)
        build(images["prometheus"], folder / "prometheus")
        override = {"services": {name: {"image": images.get(name, images["millrace"])} for name in cls.SERVICES}}
        (folder / "override.yaml").write_text(yaml.safe_dump(override))
        cls.addClassCleanup(cls.remove_everything)
        run("podman-compose", "-p", cls.PROJECT, *(f"--podman-run-args={option}" for option in RUN_OPTIONS),
            "-f", str(ROOT / "docker" / "compose.yaml"), "-f", str(ROOT / "docker" / "compose.demo.yaml"),
            "-f", str(folder / "override.yaml"), "up", "-d", "--no-build", *cls.SERVICES)

    @classmethod
    def ports_are_free(cls):
        services = parsed("docker/compose.yaml")["services"]
        for port in [port for name in cls.SERVICES if name in services for port in services[name]["ports"]]:
            host, number, _ = port.split(":")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, int(number)))
                except OSError as error:
                    raise AssertionError(f"{host}:{number}, which docker/compose.yaml needs: {error}") from None

    @classmethod
    def made(cls, *kind):
        return run("podman", *kind, "-q", "--filter", f"label=io.podman.compose.project={cls.PROJECT}").split()

    @classmethod
    def remove_everything(cls):
        """Also what podman-compose down leaves: the network."""
        for lists, removes in ((("ps", "-a"), ("rm", "-f", "-v", "-t", "0")),
                               (("volume", "ls"), ("volume", "rm", "-f")),
                               (("network", "ls"), ("network", "rm", "-f"))):
            if there := cls.made(*lists):
                run("podman", "--runtime=runc", *removes, *there)
            if left := cls.made(*lists):
                raise AssertionError(f"podman {' '.join(lists)} still has {left}")

    @classmethod
    def logs(cls, service):
        done = subprocess.run(["podman", "logs", "--tail", "20", f"{cls.PROJECT}_{service}_1"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        return f"{service}:\n{done.stdout}"

    def eventually(self, question, what):
        try:
            return eventually(question, what)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *map(self.logs, self.SERVICES)])) from None

    def test_every_service_runs_and_the_server_is_well(self):
        for service in self.SERVICES:
            state = json.loads(run("podman", "inspect", "-f", "{{json .State}}", f"{self.PROJECT}_{service}_1"))
            self.assertTrue(state["Running"], self.logs(service))
        self.assertEqual(len(self.made("ps")), len(self.SERVICES))
        run("podman", "--runtime=runc", "healthcheck", "run", f"{self.PROJECT}_millrace_1")
        with urllib.request.urlopen("http://127.0.0.1:9464/readyz", timeout=30) as answer:
            self.assertEqual(answer.status, 200)

    def test_the_reader_of_the_demonstration_reads_what_its_publisher_sends(self):
        self.eventually(lambda: re.search(r"^[1-9]\d* msg/s  total \d+ ", self.logs("reader"), re.M),
                        "the reader counts messages")

    def test_prometheus_scrapes_it_and_has_what_the_dashboard_shows(self):
        def targets():
            return ask("127.0.0.1:9090", "targets").get("activeTargets", [])

        self.eventually(lambda: [target["health"] for target in targets()] == ["up"], "the one target is up")
        self.assertEqual(targets()[0]["scrapeUrl"], "http://millrace:9464/metrics")
        waiting = [(panel, text) for panel, text in queries("1m", job="millrace")
                   if panel in ("Servers that answer", "Messages in", "Messages out", "Messages to rings")]
        self.assertEqual(len(waiting), 4)
        writer, reader = Peer(1883), Peer(1883)
        self.addCleanup(writer.close)
        self.addCleanup(reader.close)
        writer.connect()
        reader.connect()
        reader.subscribe("compose/#")

        def each_has_a_value():
            writer.publish("compose/time", str(time.time()).encode())
            reader.receive(topic="compose/time")
            waiting[:] = [(panel, text) for panel, text in waiting if not self.value(text)]
            return not waiting

        self.eventually(each_has_a_value, "each query has a value")

    @staticmethod
    def value(expression):
        """The number that the query has now; 0 where it has none."""
        result = ask("127.0.0.1:9090", "query", query=expression).get("result", [])
        return sum(float(series["value"][1]) for series in result)

    def test_its_alerts_are_loaded_and_none_says_that_the_server_is_down(self):
        def rules():
            groups = ask("127.0.0.1:9090", "rules").get("groups", [])
            return {rule["name"]: rule for group in groups for rule in group["rules"]}

        self.eventually(lambda: rules() and all(rule["health"] == "ok" for rule in rules().values()),
                        "each alert was evaluated")
        self.assertEqual(rules()["MillraceDown"]["state"], "inactive")


if __name__ == "__main__":
    main()
