#!/bin/sh
# Builds Millrace if needed and runs it in the foreground: deploy/run.sh [millrace's own options].
set -eu
cd "$(dirname "$0")/.."
. deploy/packages.sh

install_missing $build_packages
cmake --preset release -DMILLRACE_TESTS=OFF -DMILLRACE_BENCH=OFF >/dev/null
cmake --build --preset release --target millrace
exec build/release/bin/millrace "$@"
