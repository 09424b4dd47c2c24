"""The container image: its labels; and, where it can be built (image.py says what that takes), that it runs
without rights, on a root that it cannot write, and is as small and as described as promised."""

import gzip
import json
import os
import re
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path

from image import BASE, DOCKERFILE, ROOT, build_millrace, missing, remove, run
from server import binary
from suite import eventually, main

IMAGE_BYTES_MAX = 40_000_000
HUB_BASE_BYTES = 28_300_000  # the base image, compressed, as the hub serves it


class Labels(unittest.TestCase):
    def test_the_version_is_the_programs(self):
        version = re.search(r'image\.version="([^"]*)"', DOCKERFILE)[1]
        self.assertEqual(run(binary(), "--version").split()[1], version)


class Bill(unittest.TestCase):
    """The bill of materials, made outside of the image, where a program stands for dpkg-query."""

    DPKG_QUERY = """#!/bin/sh
shift 3  # -W -f FORMAT
[ $# -gt 0 ] || echo 'libssl3 3.0.19-1~deb12u2 amd64'
for name; do echo "deb $name 1:1.0+b1 amd64"; done
"""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-bill-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.console = self.folder / "build" / "server" / "console"
        self.console.mkdir(parents=True)
        query = self.folder / "dpkg-query"
        query.write_text(self.DPKG_QUERY)
        query.chmod(0o755)

    def made(self):
        environment = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}
        built_in = self.folder / "built-in.txt"
        built_in.write_text(run("sh", str(ROOT / "docker" / "built-in.sh"), str(self.folder / "build"), env=environment))
        bill = json.loads(run("sh", str(ROOT / "docker" / "sbom.sh"), binary(), str(built_in), env=environment))
        names = [package["SPDXID"] for package in bill["packages"]]
        self.assertEqual(len(names), len(set(names)))
        for relation in bill["relationships"]:
            self.assertLessEqual({relation["spdxElementId"], relation["relatedSpdxElement"]}, {*names, "SPDXRef-DOCUMENT"})
        return bill

    @staticmethod
    def purls(bill):
        return {package["externalRefs"][0]["referenceLocator"]: package["SPDXID"] for package in bill["packages"]
                if "externalRefs" in package}

    @staticmethod
    def relations(bill):
        return [(one["spdxElementId"], one["relationshipType"], one["relatedSpdxElement"]) for one in bill["relationships"]]

    def test_it_has_the_libraries_and_the_packages_of_npm_inside_the_program(self):
        (self.console / "built").touch()
        (self.console / "bundled.txt").write_text("@scope/part 2.0.0\nuplot 1.6.31\n")
        bill = self.made()
        purls = self.purls(bill)
        for name in ("libboost1.81-dev", "nlohmann-json3-dev", "libspdlog-dev", "libfmt-dev", "prometheus-cpp-dev"):
            built_in = purls[f"pkg:deb/debian/{name}@1%3A1.0%2Bb1?arch=amd64&distro=debian-12"]
            self.assertIn((built_in, "STATIC_LINK", "SPDXRef-millrace"), self.relations(bill))
        for purl in ("pkg:npm/uplot@1.6.31", "pkg:npm/%40scope/part@2.0.0"):
            self.assertIn(("SPDXRef-millrace", "CONTAINS", purls[purl]), self.relations(bill))
        self.assertIn(("SPDXRef-image", "CONTAINS", "SPDXRef-libssl3"), self.relations(bill))

    def test_without_the_page_there_is_nothing_of_npm(self):
        (self.console / "bundled.txt").write_text("uplot 1.6.31\n")  # of a page that is not in the program
        self.assertEqual([purl for purl in self.purls(self.made()) if "npm" in purl], [])


@unittest.skipIf(missing(), missing())
class Image(unittest.TestCase):
    NAME = f"localhost/millrace-test-{os.getpid()}"

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="millrace-image-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.addClassCleanup(remove, cls.NAME)
        build_millrace(cls.NAME, cls.folder)

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
        self.addCleanup(run, "podman", "--runtime=runc", "rm", "-f", "-v", "-t", "0", name)
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
        for name in ("libboost1.81-dev", "libfmt-dev", "uplot"):
            self.assertIn(name, {package["name"] for package in bill["packages"]})
        for name, path in (("copyright", "deploy/debian/copyright"), ("LICENSE", "LICENSE")):
            self.assertEqual(run(*inside, "cat", self.NAME, f"/usr/share/doc/millrace/{name}"), (ROOT / path).read_text())
        names = [package["SPDXID"] for package in bill["packages"]]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertRegex(name, r"^SPDXRef-[A-Za-z0-9.-]+$")
        for relation in bill["relationships"]:
            self.assertIn(relation["relatedSpdxElement"], names)
        self.assertEqual(bill["spdxVersion"], "SPDX-2.3")


if __name__ == "__main__":
    main()
