#!/bin/sh
# A build folder that was configured for the server alone has the tests and the benchmarks again as
# soon as its preset is used, whoever uses it, and no sanitizer that somebody tried.
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --preset release -B "$folder" -DMILLRACE_TESTS=OFF -DMILLRACE_BENCH=OFF \
  -DMILLRACE_SANITIZE=address >"$folder/log" || { cat "$folder/log"; exit 1; }
grep -q '^MILLRACE_TESTS:.*=OFF' "$folder/CMakeCache.txt"
cmake --preset release -B "$folder" >"$folder/log" || { cat "$folder/log"; exit 1; }
for state in MILLRACE_TESTS=ON MILLRACE_BENCH=ON MILLRACE_SANITIZE= MILLRACE_FUZZ=OFF; do
  grep -q "^${state%%=*}:[A-Z]*=${state#*=}$" "$folder/CMakeCache.txt" || {
    echo "the preset leaves $state to what was there before"
    exit 1
  }
done
[ -f "$folder/tests/CTestTestfile.cmake" ]
