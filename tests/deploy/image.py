"""The container image, built of the program under test: for the cases that run it, and what these need.

Building needs root, buildah, podman with runc, an image docker.io/library/debian:bookworm-slim in their store,
and the package sources that this names; it is tried only with MILLRACE_HEAVY_TESTS=1 in the environment."""

import os
import shutil
import subprocess
from pathlib import Path

from server import binary

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
BASE = "docker.io/library/debian:bookworm-slim"
# How containers are run where the machine has few rights itself.
RUN_OPTIONS = ("--runtime=runc", "--ulimit=nofile=20000:20000", "--ulimit=nproc=4096:4096")


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout.decode()}{done.stderr.decode()}")
    return done.stdout.decode()


def missing(*programs):
    """Why no image can be built here and run by these programs, or ''."""
    if not os.environ.get("MILLRACE_HEAVY_TESTS"):
        return "MILLRACE_HEAVY_TESTS is not set"
    if os.geteuid() != 0:
        return "needs root"
    lacking = [name for name in ("buildah", "podman", "runc", *programs) if not shutil.which(name)]
    if lacking:
        return f"{', '.join(lacking)} not installed"
    if subprocess.run(["podman", "image", "exists", BASE]).returncode:
        return f"no image {BASE} in the store"
    return ""


def build(name, folder, *options):
    run("buildah", "build", "--isolation=chroot", "--pull-never", "--format", "docker", *options, "-t", name,
        str(folder))


def build_millrace(name, folder):
    """Everything of the Dockerfile but the stage that compiles."""
    shutil.copytree(ROOT / "docker", folder / "docker")
    run("strip", "-o", str(folder / "millrace"), binary())
    for path in (ROOT / "LICENSE", ROOT / "deploy" / "debian" / "copyright"):
        shutil.copy(path, folder)
    build_folder = Path(binary()).resolve().parents[1]
    (folder / "built-in.txt").write_text(run("sh", str(ROOT / "docker" / "built-in.sh"), str(build_folder)))
    stages = DOCKERFILE.partition("FROM debian:bookworm-slim AS runtime")
    (folder / "Dockerfile").write_text(
        f"FROM {BASE} AS build\nCOPY millrace /src/build/release/bin/millrace\n"
        "COPY built-in.txt LICENSE /src/\nCOPY copyright /src/deploy/debian/copyright\n" + "".join(stages[1:]))
    build(name, folder, "--build-arg", "REVISION=abc")


def remove(name):
    subprocess.run(["podman", "rmi", "-f", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if subprocess.run(["podman", "image", "exists", name]).returncode == 0:
        raise AssertionError(f"the image {name} is still there")
