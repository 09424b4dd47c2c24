#!/bin/sh
# deploy/progress.sh: what a long command prints when nobody watches it on a terminal.
set -u
cd "$(dirname "$0")/../.."
. deploy/progress.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
faults=0
expect() {  # expect CLAIM COMMAND...
  claim=$1
  shift
  "$@" && return
  echo "not so: $claim"
  faults=$((faults + 1))
}

# The command ends only once its last count has been seen on the other side of the pipe.
mkfifo "$folder/seen"
progress_seconds=1
with_progress "$folder/log" sh -c "echo '[3/70] a file'; echo a warning; read seen <'$folder/seen'" |
  while read -r line; do
    echo "$line"
    case $line in *'[3/70] a file'*) echo yes >"$folder/seen" ;; esac
  done >"$folder/printed"
expect "the last count is printed while the command runs" grep -q '3/70' "$folder/printed"
expect "the rest of the output is not printed" test -z "$(grep warning "$folder/printed")"
expect "the log has it all" grep -q 'a warning' "$folder/log"

with_progress "$folder/log" sh -c 'echo why; exit 3' >"$folder/printed"
expect "the command's code is returned" test "$?" -eq 3
expect "the output of a failed command is printed" grep -q why "$folder/printed"

sh -ec ". deploy/progress.sh; with_progress '$folder/log' true; echo on" >"$folder/printed"
expect "a script that ends at errors goes on after a command that had none" \
  grep -q on "$folder/printed"

# A pipe's reader sees its end when the script ends, not when a sleep in the background does.
(watch_log "$folder/log"; echo "$watch_pid" >"$folder/pid"; unwatch_log) | cat >"$folder/printed"
expect "nothing is left running" sh -c "! kill -0 $(cat "$folder/pid") 2>/dev/null"

[ "$faults" -eq 0 ]
