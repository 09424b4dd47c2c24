#!/bin/sh
# The whole test suite, from a fresh clone: the release build and all its tests; the same under
# AddressSanitizer and UndefinedBehaviorSanitizer; what is concurrent under ThreadSanitizer.
# The last line says how many tests passed and failed in all.
set -u
cd "$(dirname "$0")/.."
. deploy/packages.sh
install_missing $test_packages || exit 1

passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# suite NAME PRESET TARGET [ctest options]: builds the target, runs the tests, adds up what ctest
# says.
suite() {
  name=$1
  preset=$2
  target=$3
  shift 3
  echo "== $name: building"
  # What to build is said whole: an earlier configuration of the same folder may have said less.
  if ! cmake --preset "$preset" >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "== $name: the configuration failed"
    failed=$((failed + 1))
    return
  fi
  if ! with_progress "$log" cmake --build --preset "$preset" --target "$target"; then
    echo "== $name: the build failed"
    failed=$((failed + 1))
    return
  fi
  echo "== $name: running"
  # Failures are printed as they come; what passed is counted.
  watch_log "$log"
  ctest --preset "$preset" -j "$(nproc)" "$@" 2>&1 | tee -a "$log" |
    grep --line-buffered -v -E '^ *Start +[0-9]+:|Passed +[0-9.]+ sec$'
  unwatch_log
  total=$(sed -n 's/.* tests failed out of \([0-9]*\)$/\1/p' "$log" | tail -n 1)
  bad=$(sed -n 's/.*tests passed, \([0-9]*\) tests failed out of .*/\1/p' "$log" | tail -n 1)
  if [ -z "$total" ]; then
    echo "== $name: no tests ran"
    failed=$((failed + 1))
    return
  fi
  passed=$((passed + total - bad))
  failed=$((failed + bad))
}

suite "release" release all
suite "address and undefined behaviour" asan all -LE 'e2e|conformance|stress'
suite "threads" tsan concurrent_tests -L concurrent

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
