#!/bin/sh
# What tests/run.sh leaves out, since it needs root, images of others or a machine to itself: the container
# image, docker/compose.yaml as far as its images can be built here, the life of the Debian packages on a bare
# root, ten thousand connections on each listener that begin and never go on, and most faults of a NATS
# cluster. As root, on Debian 12; it takes some twenty minutes after the build.
set -eu
cd "$(dirname "$0")/.."
. deploy/packages.sh
install_missing $heavy_packages
podman image exists docker.io/library/debian:bookworm-slim || podman pull docker.io/library/debian:bookworm-slim
cmake --preset release
cmake --build --preset release --target all
ulimit -n "$(ulimit -Hn)"
# -V: what was skipped, and why, is to be seen.
MILLRACE_HEAVY_TESTS=1 ctest --preset release -V -R '^(deploy\.(compose|container|packages)|e2e\.(strangers|upstream_nats_cluster))$'
