#!/bin/sh
# clang-tidy over the sources that changed since the branch left main, or, on main itself, since the
# last version tag (without one: in the last commit); what is not committed yet belongs to it.
#
#     tests/tidy/check.sh BUILD [SECONDS]     BUILD: a configured build folder
#
# After SECONDS (40) no other file is begun; the newest changes come first, and what was left out is
# said. Exits 77 when there is nothing to compare with.
set -eu
build=$(cd "$1" && pwd)
seconds=${2:-40}
cd "$(dirname "$0")/../.."
skip() {
  echo "skipped: $1"
  exit 77
}
command -v clang-tidy >/dev/null || {
  echo "clang-tidy is missing: deploy/packages.sh names the packages that the tests need" >&2
  exit 1
}
git rev-parse HEAD >/dev/null 2>&1 || skip "this is no git clone"

head=$(git rev-parse HEAD)
base=""
for main in origin/main main; do
  base=$(git merge-base HEAD "$main" 2>/dev/null) && break
done
[ "$base" != "$head" ] || base=$(git describe --tags --abbrev=0 2>/dev/null) ||
  base=$(git rev-parse -q --verify HEAD~1) || base=""
[ -n "$base" ] || skip "the clone has no history to compare with"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What is not committed first, then the newest commits' files.
{
  git diff --name-only HEAD
  git log --name-only --format= "$base"..HEAD
} | grep -E '\.cpp$' | awk '!seen[$0]++' |
  while read -r file; do
    [ -f "$file" ] && grep -q "\"file\": \".*/$file\"" "$build/compile_commands.json" && echo "$file"
  done >"$work/files" || true
[ -s "$work/files" ] || { echo "no source changed since $(git rev-parse --short "$base")"; exit 0; }

# gcc's precompiled headers are nothing to clang.
sed -E 's/ -Winvalid-pch -include [^ ]+cmake_pch\.hxx//g; s/ -fpch-preprocess//g' "$build/compile_commands.json" \
  >"$work/compile_commands.json"
export work
export tidy_end=$(($(date +%s) + seconds))
xargs -P "$(nproc)" -n 1 sh -c '
  [ "$(date +%s)" -lt "$tidy_end" ] || { echo "$1" >>"$work/left"; exit 0; }
  # One write for each file, so that two do not mix.
  # The checks are the point: what clang warns of and gcc does not is no error here.
  said=$(clang-tidy --quiet -p "$work" --extra-arg=-Wno-error "$1" 2>/dev/null) && exit 0
  case "$said" in
    *clang-diagnostic-error*) echo "$1" >>"$work/unread" ;;
    *) echo "$1" >>"$work/bad"; printf "%s\n" "$said" ;;
  esac' sh <"$work/files"

total=$(wc -l <"$work/files")
left=0
[ ! -f "$work/left" ] || left=$(wc -l <"$work/left")
echo "$((total - left)) of the $total sources that changed since $(git rev-parse --short "$base")" \
  "were looked at"
[ "$left" -eq 0 ] || echo "for the others there was no time; tests/tidy/check.sh BUILD 3600 does all"
# Debian 12's clang does not know all of C++20 as gcc's library uses it.
[ ! -f "$work/unread" ] || echo "clang cannot read:" $(cat "$work/unread")
[ ! -f "$work/bad" ] || { echo "to mend:" $(cat "$work/bad"); exit 1; }
