#!/bin/sh
# A preset says every switch of the build: whatever a build folder was configured for before (the server
# without tests, the libraries without the server, a sanitizer), its preset builds everything again.
set -eu
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# All switches that the project declares, so that a new one cannot be forgotten in the presets.
declared=$(grep -h '^ *option(' CMakeLists.txt */CMakeLists.txt)
switches=$(echo "$declared" | sed -n 's/^option(\([A-Z_]*\) .* \(ON\|OFF\))$/\1=\2/p')
[ "$(echo "$switches" | wc -l)" -eq "$(echo "$declared" | wc -l)" ]

configure() {
  cmake --preset release -B "$folder" "$@" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
}

is_everything() {
  for state in $switches MILLRACE_SANITIZE=; do
    grep -q "^${state%%=*}:[A-Z]*=${state#*=}$" "$folder/CMakeCache.txt" || {
      echo "after $1: the preset leaves ${state%%=*} to what was there before"
      exit 1
    }
  done
  [ -f "$folder/tests/CTestTestfile.cmake" ]
}

configure -DMILLRACE_TESTS=OFF -DMILLRACE_BENCH=OFF -DMILLRACE_CONSOLE=OFF -DMILLRACE_SANITIZE=address
grep -q '^MILLRACE_TESTS:.*=OFF' "$folder/CMakeCache.txt"
configure
is_everything "the server without tests"

configure -DMILLRACE_SERVER=OFF -DMILLRACE_TESTS=OFF -DMILLRACE_BENCH=OFF
grep -q '^MILLRACE_SERVER:.*=OFF' "$folder/CMakeCache.txt"
configure
is_everything "the libraries without the server"
[ -d "$folder/server" ]

# A preset that builds something else says that itself (fuzz, and benchmarks under a sanitizer).
for state in $switches; do
  grep -q "\"${state%%=*}\": \"${state#*=}\"" CMakePresets.json || {
    echo "the presets do not say ${state%%=*}"
    exit 1
  }
done
