#!/usr/bin/env bash
# bench/store/run.sh PROGRAM FOLDER [ROUNDS]: the store beside RocksDB, in turns, on the disk that
# FOLDER is on; then a million sessions. PROGRAM is millrace-store-bench.
set -euo pipefail
program=$1 rounds=${3:-3}
mkdir -p "$2"
folder=$(mktemp -d "$2/store-bench-XXXXXX")
trap 'rm -rf "$folder"' EXIT
engines=(log)
if "$program" rocksdb "$folder/probe" read >/dev/null 2>&1; then engines+=(rocksdb); fi
fresh() { rm -rf "$folder/store"; }

for ((round = 1; round <= rounds; ++round)); do
  for load in "1 3000" "16 48000" "256 500000"; do
    for engine in "${engines[@]}"; do
      fresh
      # shellcheck disable=SC2086
      "$program" "$engine" "$folder/store" messages $load
    done
  done
done
for engine in "${engines[@]}"; do
  fresh
  "$program" "$engine" "$folder/store" fill 1000000
  for ((round = 1; round <= rounds; ++round)); do "$program" "$engine" "$folder/store" read; done
done
fresh
"$program" "$folder/store" make 1000000
for ((round = 1; round <= rounds; ++round)); do "$program" "$folder/store" recover; done
