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

from image import BASE, DOCKERFILE, build_millrace, missing, remove, run
from server import binary
from suite import eventually, main

IMAGE_BYTES_MAX = 40_000_000
HUB_BASE_BYTES = 28_300_000  # the base image, compressed, as the hub serves it


class Labels(unittest.TestCase):
    def test_the_version_is_the_programs(self):
        version = re.search(r'image\.version="([^"]*)"', DOCKERFILE)[1]
        self.assertEqual(run(binary(), "--version").split()[1], version)


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
