# Long commands that say how far they are. Sourced, not run.

# with_progress LOG COMMAND...: runs COMMAND and returns what it returned. On a terminal its output
# is shown as it comes, with its own progress. Anywhere else (a pipe, a CI log, a container build)
# its output goes to LOG, and a line every $progress_seconds (20) says where it is; when it fails, the end
# of LOG is printed.
with_progress() {
  progress_log=$1
  shift
  if [ -t 1 ]; then
    "$@"
    return "$?"
  fi
  watch_log "$progress_log"
  progress_code=0
  "$@" >"$progress_log" 2>&1 || progress_code=$?
  unwatch_log
  [ "$progress_code" -eq 0 ] || tail -n 60 "$progress_log"
  return "$progress_code"
}

# watch_log LOG: from now on a line every twenty seconds with the seconds that have passed and the
# last count ("[3/70] ...", "3/70 Test ...") in LOG, or its last line. Ends with unwatch_log, or
# with the script.
watch_log() {
  : >"$1"
  (
    watch_start=$(date +%s)
    watch_ticks=0
    # Short sleeps, whose output is closed: whoever reads this script's output through a pipe must
    # not wait for a sleep that is left over.
    while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
      watch_ticks=$((watch_ticks + 1))
      [ $((watch_ticks % ${progress_seconds:-20})) -eq 0 ] || continue
      watch_line=$(grep -E '^ *\[?[0-9]+/[0-9]+' "$1" | tail -n 1)
      [ -n "$watch_line" ] || watch_line=$(tail -n 1 "$1")
      printf '   %4d s  %.110s\n' $(($(date +%s) - watch_start)) "$watch_line"
    done
  ) &
  watch_pid=$!
}

unwatch_log() {
  kill "$watch_pid" 2>/dev/null || true
  wait "$watch_pid" 2>/dev/null || true
}
