#!/bin/sh
# Writes the tables of keys and metrics, as the built program prints them, into README.md.
set -eu
cd "$(dirname "$0")/.."
program=${1:-build/release/bin/millrace}

replace() {
  table=$(mktemp)
  "$program" check "$2" >"$table"
  sed -i -e "/<!-- $1:begin -->/,/<!-- $1:end -->/{/<!-- $1:begin -->/{p;r $table
  };/<!-- $1:end -->/p;d}" README.md
  rm -f "$table"
}
replace config --print-table
replace metrics --print-metrics
