"""The container and docker/compose.yaml: what the files say holds together; and, where it can be built, that
the image runs without rights, on a root that it cannot write, and is as small and as described as promised.

Building needs root, buildah, podman with runc, an image docker.io/library/debian:bookworm-slim in their store,
and the package sources that this names; it is tried only with MILLRACE_HEAVY_TESTS=1 in the environment."""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path

import yaml

from server import binary
from suite import eventually, main

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
BASE = "docker.io/library/debian:bookworm-slim"
IMAGE_BYTES_MAX = 40_000_000
HUB_BASE_BYTES = 28_300_000  # the base image, compressed, as the hub serves it


def parsed(path):
    return yaml.safe_load((ROOT / path).read_text())


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout.decode()}{done.stderr.decode()}")
    return done.stdout.decode()


class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.demo = parsed("docker/compose.demo.yaml")["services"]
        cls.compose = parsed("docker/compose.yaml")
        cls.services = {**cls.compose["services"], **cls.demo}

    def test_no_container_has_rights_or_writes_to_its_root(self):
        for name, service in self.services.items():
            self.assertTrue(service["read_only"], name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)

    def test_ports_are_on_loopback(self):
        for name, service in self.services.items():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), f"{name}: {port}")

    def test_what_is_mounted_exists(self):
        for name, service in self.services.items():
            for volume in service["volumes"]:
                source, target, *mode = volume.split(":")
                self.assertTrue(target.startswith("/"), volume)
                if source.startswith("."):
                    self.assertTrue((ROOT / "docker" / source).exists(), f"{name}: {source}")
                    self.assertEqual(mode, ["ro"], volume)
                else:
                    self.assertIn(source, self.compose["volumes"], name)

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


class Labels(unittest.TestCase):
    def test_the_version_is_the_programs(self):
        version = re.search(r'image\.version="([^"]*)"', DOCKERFILE)[1]
        self.assertEqual(run(binary(), "--version").split()[1], version)


def missing():
    if not os.environ.get("MILLRACE_HEAVY_TESTS"):
        return "MILLRACE_HEAVY_TESTS is not set"
    if os.geteuid() != 0:
        return "needs root"
    lacking = [name for name in ("buildah", "podman", "runc") if not shutil.which(name)]
    if lacking:
        return f"{', '.join(lacking)} not installed"
    if subprocess.run(["podman", "image", "exists", BASE]).returncode:
        return f"no image {BASE} in the store"
    return ""


@unittest.skipIf(missing(), missing())
class Image(unittest.TestCase):
    """Everything of the Dockerfile but the stage that compiles: the program is the one under test."""
    NAME = f"localhost/millrace-test-{os.getpid()}"

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="millrace-image-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        shutil.copytree(ROOT / "docker", cls.folder / "docker")
        run("strip", "-o", str(cls.folder / "millrace"), binary())
        (cls.folder / "built-in.txt").write_text("libboost1.81-dev 1.81.0-5+deb12u1 amd64\n")
        stages = DOCKERFILE.partition("FROM debian:bookworm-slim AS runtime")
        (cls.folder / "Dockerfile").write_text(
            f"FROM {BASE} AS build\nCOPY millrace /src/build/release/bin/millrace\n"
            f"COPY built-in.txt /src/built-in.txt\n" + "".join(stages[1:]))
        cls.addClassCleanup(subprocess.run, ["podman", "rmi", "-f", cls.NAME], stdout=subprocess.DEVNULL)
        run("buildah", "build", "--isolation=chroot", "--pull-never", "--format", "docker",
            "--build-arg", "REVISION=abc", "-t", cls.NAME, str(cls.folder))

    def start(self):
        """Without a network; it and those who attach to its memory share a folder."""
        shared = tempfile.TemporaryDirectory(prefix="millrace-shared-")
        self.addCleanup(shared.cleanup)
        os.chown(shared.name, 10001, 10001)
        name = run("podman", "--runtime=runc", "run", "-d", "--network=none", "--read-only", "--cap-drop=all",
                   "--security-opt=no-new-privileges", "--ulimit=nofile=20000:20000", "--ulimit=nproc=4096:4096",
                   "-e", "MILLRACE_ACCESS_ALLOW_ANONYMOUS=true", "-e",
                   "MILLRACE_LOCAL_SOCKET=/run/millrace/local.sock", "-v", f"{shared.name}:/run/millrace",
                   self.NAME).strip()
        self.addCleanup(run, "podman", "--runtime=runc", "rm", "-f", "-t", "0", name)
        eventually(lambda: subprocess.run(["podman", "--runtime=runc", "exec", name, "millrace", "check", "--health"],
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0,
                   "the server in the container is ready")
        return name, shared.name

    def test_it_runs_without_rights_and_says_that_it_is_well(self):
        name, _ = self.start()
        run("podman", "--runtime=runc", "healthcheck", "run", name)
        status = run("podman", "--runtime=runc", "exec", name, "cat", "/proc/1/status")
        self.assertRegex(status, r"Uid:\t10001\t10001\t10001\t10001\n")
        self.assertRegex(status, r"CapBnd:\t0+\n")
        self.assertRegex(status, r"NoNewPrivs:\t1\n")
        written = subprocess.run(["podman", "--runtime=runc", "exec", name, "sh", "-c", "echo x >/etc/millrace/x"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.assertNotEqual(written.returncode, 0)
        run("podman", "--runtime=runc", "stop", "-t", "30", name)
        self.assertEqual(run("podman", "inspect", "-f", "{{.State.ExitCode}}", name).strip(), "0")

    def test_another_container_reads_its_memory_through_the_shared_folder(self):
        _, shared = self.start()
        other = ("podman", "--runtime=runc", "run", "--rm", "--no-healthcheck", "--network=none", "--read-only",
                 "--cap-drop=all", "--ulimit=nofile=20000:20000", "--ulimit=nproc=4096:4096",
                 "-v", f"{shared}:/run/millrace", self.NAME)
        with subprocess.Popen([*other, "tap", "a/#", "--count", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as reader:
            self.assertIn("attached", reader.stderr.readline())
            run(*other, "pub", "a/b", "-m", "from a third one")
            self.assertEqual(reader.communicate(timeout=60)[0], "a/b from a third one\n")

    def test_a_configuration_that_would_let_everybody_in_is_refused(self):
        done = subprocess.run(["podman", "--runtime=runc", "run", "--rm", "--network=none",
                               "--ulimit=nofile=20000:20000", "--ulimit=nproc=4096:4096", self.NAME],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("allow_anonymous", done.stdout)

    def test_it_is_small(self):
        archive = self.folder / "image.tar"
        run("podman", "save", "--format", "docker-archive", "-o", str(archive), self.NAME)
        [[base]] = [json.loads(run("podman", "image", "inspect", "-f", "{{json .RootFS.Layers}}", BASE))]
        own = 0
        with tarfile.open(archive) as tar:
            [manifest] = json.load(tar.extractfile("manifest.json"))
            layers = json.loads(run("podman", "image", "inspect", "-f", "{{json .RootFS.Layers}}", self.NAME))
            for digest, layer in zip(layers, manifest["Layers"]):
                if digest != base:
                    own += len(gzip.compress(tar.extractfile(layer).read(), 6))
        print(f"layers above the base image: {own} bytes compressed")
        self.assertLess(HUB_BASE_BYTES + own, IMAGE_BYTES_MAX)

    def test_labels_say_what_it_is(self):
        labels = json.loads(run("podman", "image", "inspect", "-f", "{{json .Labels}}", self.NAME))
        self.assertEqual(labels["org.opencontainers.image.title"], "millrace")
        self.assertEqual(labels["org.opencontainers.image.revision"], "abc")
        self.assertEqual(labels["org.opencontainers.image.licenses"], "Apache-2.0")

    def test_the_bill_of_materials_names_every_package(self):
        inside = ("podman", "--runtime=runc", "run", "--rm", "--network=none", "--ulimit=nofile=20000:20000",
                  "--ulimit=nproc=4096:4096", "--entrypoint")
        bill = json.loads(run(*inside, "cat", self.NAME, "/usr/share/doc/millrace/sbom.spdx.json"))
        installed = run(*inside, "dpkg-query", self.NAME, "-W", "-f", "${Package} ${Version}\n").splitlines()
        listed = {f'{package["name"]} {package["versionInfo"]}' for package in bill["packages"]}
        self.assertEqual([line for line in installed if line not in listed], [])
        self.assertIn("libboost1.81-dev 1.81.0-5+deb12u1", listed)
        names = [package["SPDXID"] for package in bill["packages"]]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertRegex(name, r"^SPDXRef-[A-Za-z0-9.-]+$")
        for relation in bill["relationships"]:
            self.assertIn(relation["relatedSpdxElement"], names)
        self.assertEqual(bill["spdxVersion"], "SPDX-2.3")


if __name__ == "__main__":
    main()
