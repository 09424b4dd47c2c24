#!/bin/sh
# Writes into docs/ what is made elsewhere: the tables of keys and metrics, as the built program prints
# them, and the text of the examples that the pages show. deploy/update-docs.sh [PROGRAM]
set -eu
cd "$(dirname "$0")/.."
program=${1:-build/release/bin/millrace}

# table PAGE NAME OPTION: what stands between <!-- NAME:begin --> and <!-- NAME:end -->.
table() {
  text=$(mktemp)
  "$program" check "$3" >"$text"
  sed -i -e "/<!-- $2:begin -->/,/<!-- $2:end -->/{/<!-- $2:begin -->/{p;r $text
  };/<!-- $2:end -->/p;d}" "$1"
  rm -f "$text"
}
table docs/configuration.md config --print-table
table docs/metrics.md metrics --print-metrics

# A block of code behind a remark <!-- examples/FILE --> is that file.
for page in README.md docs/*.md; do
  new=$(mktemp)
  awk '
    inside && /^```$/ { inside = 0 }
    inside { next }
    { print }
    example && /^```/ {
      while ((getline line < example) > 0) print line
      close(example)
      inside = 1
    }
    { example = "" }
    /^<!-- examples\/[^ ]* -->$/ { example = $2 }
  ' "$page" >"$new"
  cat "$new" >"$page"
  rm -f "$new"
done
