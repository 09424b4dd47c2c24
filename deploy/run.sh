#!/bin/sh
# Builds Millrace if needed and runs it in the foreground: deploy/run.sh [millrace's own options].
set -eu
cd "$(dirname "$0")/.."
. deploy/packages.sh

install_missing $build_packages
# The build folder is the one that tests/run.sh uses, so each finds what the other has compiled.
# The tests and benchmarks are configured too where their packages are installed: leaving them out
# would throw away what is compiled of them. Only the server is built here.
rest=OFF
[ -n "$(missing_packages $test_packages)" ] || rest=ON
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake --preset release -DMILLRACE_TESTS=$rest -DMILLRACE_BENCH=$rest >"$log" 2>&1 ||
  { cat "$log" >&2; exit 1; }
with_progress "$log" cmake --build --preset release --target millrace
rm -f "$log"
exec build/release/bin/millrace "$@"
