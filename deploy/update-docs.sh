#!/bin/sh
# Writes into docs/ what is made elsewhere: the tables of keys and metrics, as the built program prints
# them, that of attacks, and the text of the examples that the pages show.
# deploy/update-docs.sh [PROGRAM]
set -eu
cd "$(dirname "$0")/.."
program=${1:-build/release/bin/millrace}

# table PAGE NAME COMMAND...: what stands between <!-- NAME:begin --> and <!-- NAME:end -->.
table() {
  page=$1 name=$2
  shift 2
  text=$(mktemp)
  "$@" >"$text"
  sed -i -e "/<!-- $name:begin -->/,/<!-- $name:end -->/{/<!-- $name:begin -->/{p;r $text
  };/<!-- $name:end -->/p;d}" "$page"
  rm -f "$text"
}
table docs/configuration.md config "$program" check --print-table
table docs/metrics.md metrics "$program" check --print-metrics
table docs/security.md attacks loadtest/attacks.py --table docs/figures/attacks.json

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
