#!/usr/bin/env bash
# Runs the same scenarios against Millrace and each broker found on this machine, alternating and
# repeatedly, and prints medians and ratios side by side. Every measurement has a new server
# process.
set -euo pipefail

usage() {
  cat <<'END'
loadtest/compare.sh [options]

  --repeat N           rounds, over which medians are computed (3)
  --duration S         measured seconds of each run (3)
  --servers "A B"      only these (default: all that are found)
  --scenarios "A B"    only these (default: all but tls, ws, ws-packet, link, link-qos1, link-lat5k,
                       link-slow, link-nats, qos1-250-kept, qos1-1-kept, fresh-1k-latest, and
                       wan-..., which need root and iproute2)
  --disk DIR           where `durable` has its store: on the disk to measure (the results' folder)
  --tmpfs DIR          also the server `durable-tmpfs`, with its store in DIR, on a tmpfs
  --out DIR            write every result here (default: a new folder under /tmp); existing results in
                       the folder are kept and included
  --port P             the servers use P to P+5 (21883)
  --list               print the servers found and the scenarios, and exit

Servers are searched in the PATH; these variables override that:
  MILLRACE, MILLRACE_LOAD   (default: build/release/bin/ of this repository)
  MOSQUITTO, NATS_SERVER, FLASHMQ, NANOMQ
  BEFORE                    another build of Millrace, to see what a change did: the server `before`
The server `early` is Millrace without late binding (outbox.unread_bytes = 0), and takes part in slow, slow-latest,
fresh... and wan-... alone.
  FORWARDER, SHAPE          reference programs, which take a port as their argument

In the scenarios ...-kept the reader's session outlives its connection, and in them alone two more
servers take part: `durable` and `durable-tmpfs`, which are Millrace with store.path, and acknowledge
what is on the disk. The others keep it in memory.

All servers run with TCP_NODELAY and without queue limits, so that none drops messages of a healthy
reader.
Close other programs first: the servers and the generator share this machine's cores.
END
}

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
load=${MILLRACE_LOAD:-$root/build/release/bin/millrace-load}
repeat=3
duration=3
out=
only_servers=
list_only=
disk=
tmpfs=
port_base=21883
scenarios="one2one fanin fanin-1k fanout10 fanout100 qos1 qos1-250 lat5k lat-fan10 slow slow-latest
           fresh fresh-latest idle connect connect8"

while [ $# -gt 0 ]; do
  case $1 in
    --repeat) repeat=$2; shift 2 ;;
    --duration) duration=$2; shift 2 ;;
    --servers) only_servers=$2; shift 2 ;;
    --scenarios) scenarios=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --port) port_base=$2; shift 2 ;;
    --disk) disk=$2; shift 2 ;;
    --tmpfs) tmpfs=$2; shift 2 ;;
    --list) list_only=1; shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done

program_of() {
  case $1 in
    millrace | durable | early) echo "${MILLRACE:-$root/build/release/bin/millrace}" ;;
    durable-tmpfs) [ -z "$tmpfs" ] || program_of millrace ;;
    mosquitto) echo "${MOSQUITTO:-$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v mosquitto)}" ;;
    nats) echo "${NATS_SERVER:-$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nats-server)}" ;;
    flashmq) echo "${FLASHMQ:-$(command -v flashmq)}" ;;
    nanomq) echo "${NANOMQ:-$(command -v nanomq)}" ;;
    before) echo "${BEFORE:-}" ;;
    forwarder) echo "${FORWARDER:-}" ;;
    shape) echo "${SHAPE:-}" ;;
  esac
}

servers=
all_servers="forwarder shape before millrace early durable durable-tmpfs flashmq nats nanomq mosquitto"
for server in ${only_servers:-$all_servers}; do
  program=$(program_of "$server" || true)
  if [ -n "$program" ] && [ -x "$program" ]; then
    servers="$servers $server"
  elif [ -n "$only_servers" ]; then
    echo "compare.sh: no program for '$server'" >&2
    exit 1
  fi
done
if [ -n "$list_only" ]; then
  echo "servers:$servers"
  # shellcheck disable=SC2086
  echo "scenarios:" $scenarios tls ws ws-packet link link-qos1 link-lat5k link-slow link-nats qos1-250-kept \
    qos1-1-kept fresh-1k-latest wan-80ms wan-80ms-latest wan-3m wan-3m-latest
  exit 0
fi
[ -x "$load" ] || { echo "compare.sh: $load does not exist: build it first" >&2; exit 1; }

out=${out:-$(mktemp -d /tmp/millrace-compare-XXXXXX)}
mkdir -p "$out"
disk_store=$(mktemp -d "${disk:-$out}/millrace-compare-store-XXXXXX")
tmpfs_store=
if [ -n "$tmpfs" ]; then tmpfs_store=$(mktemp -d "$tmpfs/millrace-compare-store-XXXXXX"); fi
work=$(mktemp -d /tmp/millrace-compare-work-XXXXXX)
server_pid=
far_pid=   # of the link scenarios: the server behind the other one
line_pid=  # of link-slow and wan-...: what carries the link; of link-nats: the NATS server between
near=      # of wan-...: the namespace of the server, at this end of it; and that of the readers
reader=
stop_process() {
  [ -n "$1" ] || return 0
  kill "$1" 2>/dev/null || true
  # A server that does not end on SIGTERM is killed: the next one needs its core.
  for _ in $(seq 50); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  kill -9 "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
stop_server() {
  stop_process "$server_pid"
  stop_process "$far_pid"
  stop_process "$line_pid"
  server_pid=
  far_pid=
  line_pid=
  near=
  reader=
}
trap 'stop_server; rm -rf "$work" "$disk_store" ${tmpfs_store:+"$tmpfs_store"}' EXIT

tcp=$port_base
tls=$((port_base + 1))
ws=$((port_base + 2))
far=$((port_base + 4))
line=$((port_base + 5))
line_bytes_per_second=400000

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
  -addext subjectAltName=IP:127.0.0.1 -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null

# What a link scenario adds: everything that is published at one server goes out to the other. Over
# the slow line at QoS 0, and as newest values where the server can.
millrace_link() {
  local port=$far rule='{"direction": "out"}'
  if [ "$1" = nats ]; then
    nats_link '{"direction": "out", "mode": "every"}'
    return
  fi
  if [ "$1" = slow ]; then
    port=$line
    rule='{"direction": "out", "mode": "latest", "qos_max": 0}'
  fi
  cat <<END
, "upstreams": [{"name": "far", "addresses": "mqtt://127.0.0.1:$port", "rules": [$rule]}]
END
}
nats_link() {
  cat <<END
, "upstreams": [{"name": "nats", "type": "nats", "addresses": "nats://127.0.0.1:$line", "rules": [$1]}]
END
}
mosquitto_link() {
  local port=$far qos=2
  if [ "$1" = slow ]; then
    port=$line
    qos=0
  fi
  cat <<END
connection far
address 127.0.0.1:$port
topic # out $qos
bridge_protocol_version mqttv50
notifications false
END
}

# The part of a durable server's configuration that no other has. Its store is new each time.
millrace_store() {
  local folder=
  case $1 in
    durable) folder=$disk_store ;;
    durable-tmpfs) folder=$tmpfs_store ;;
    *) return 0 ;;
  esac
  rm -rf "$folder/store"
  echo ", \"store\": {\"path\": \"$folder/store\"}"
}

# configure SERVER link|slow|nats|wan...|"": with the link, and the server at its other end, in far.*.
configure() {
  local host=127.0.0.1 outbox= peer=$2
  case $2 in wan*) host=0.0.0.0 peer= ;; esac
  if [ "$1" = early ]; then outbox='"outbox": {"unread_bytes": 0}, '; fi
  case $1 in
    before | millrace | early | durable*)
      cat >"$work/millrace.json" <<END
{"listeners": [
  {"transport": "tcp", "host": "$host", "port": $tcp},
  {"transport": "tls", "port": $tls,
   "tls": {"certificate_file": "$work/cert.pem", "key_file": "$work/key.pem"}},
  {"transport": "ws", "port": $ws}],
 $outbox"access": {"allow_anonymous": true},
 "http": {"port": 0}$(if [ -n "$peer" ]; then millrace_link "$peer"; fi; millrace_store "$1")}
END
      cat >"$work/far.json" <<END
{"listeners": [{"transport": "tcp", "port": $far}],
 "http": {"port": 0}$(if [ "$2" = nats ]; then nats_link '{"direction": "in"}'; fi)}
END
      ;;
    mosquitto)
      # Without a limit its bridge says Receive Maximum 0 in CONNECT, which no server accepts.
      local inflight_max=0
      if [ -n "$peer" ]; then inflight_max=60000; fi
      cat >"$work/mosquitto.conf" <<END
user root
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_queued_bytes 0
max_inflight_messages $inflight_max
persistence false
log_type error
listener $tcp $host
listener $tls 127.0.0.1
certfile $work/cert.pem
keyfile $work/key.pem
listener $ws 127.0.0.1
protocol websockets
END
      sed -n '/^listener/q;p' "$work/mosquitto.conf" >"$work/far.conf"
      echo "listener $far 127.0.0.1" >>"$work/far.conf"
      if [ -n "$peer" ]; then mosquitto_link "$peer" >>"$work/mosquitto.conf"; fi
      ;;
    nats)
      rm -rf "$work/jetstream"
      cat >"$work/nats.conf" <<END
server_name: bench
host: 127.0.0.1
port: $((port_base + 3))
max_pending: 1073741824
jetstream { store_dir: "$work/jetstream" }
mqtt { host: 127.0.0.1, port: $tcp, max_ack_pending: 20000 }
END
      ;;
    flashmq)
      mkdir -p "$work/flashmq"
      cat >"$work/flashmq.conf" <<END
allow_anonymous true
log_file $work/flashmq.log
storage_dir $work/flashmq
max_qos_msg_pending_per_client 60000
max_qos_bytes_pending_per_client 1073741824
client_max_write_buffer_size 1073741824
listen {
  protocol mqtt
  port $tcp
  inet_protocol ip4
  inet4_bind_address 127.0.0.1
}
END
      ;;
    nanomq)
      cat >"$work/nanomq.conf" <<END
mqtt { max_packet_size = 256MB, max_mqueue_len = 65535, max_inflight_window = 65535 }
listeners.tcp { bind = "127.0.0.1:$tcp" }
auth { allow_anonymous = true, no_match = allow }
END
      ;;
  esac
}

command_of() {
  local program
  program=$(program_of "$1")
  case $1 in
    # The server would take MILLRACE_LOAD for a configuration key.
    before | millrace | early | durable*)
      echo "env -u MILLRACE_LOAD MILLRACE_CONFIG=$work/millrace.json $program serve"
      ;;
    mosquitto) echo "$program -c $work/mosquitto.conf" ;;
    nats) echo "$program -c $work/nats.conf" ;;
    flashmq) echo "$program --config-file $work/flashmq.conf" ;;
    nanomq) echo "$program start --conf $work/nanomq.conf" ;;
    *) echo "$program $tcp" ;;
  esac
}

# The server at the other end of the link.
far_command_of() {
  local program
  program=$(program_of "$1")
  case $1 in
    before | millrace) echo "env -u MILLRACE_LOAD MILLRACE_CONFIG=$work/far.json $program serve" ;;
    mosquitto) echo "$program -c $work/far.conf" ;;
  esac
}

# Where the server is.
beside_server() {
  if [ -n "$near" ]; then
    ip netns exec "$near" "$@"
  else
    "$@"
  fi
}

# shellcheck disable=SC2016  # it is the inner shell's
is_listening() { beside_server bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1"' _ "$1" 2>/dev/null; }

# start_long_link wan-80ms|wan-3m: two namespaces, and the link between them.
start_long_link() {
  local limits="--round-trip-ms 80"
  if [ "$1" = wan-3m ]; then limits="$limits --kbit-per-s 3200 --queue-ms 200"; fi
  # shellcheck disable=SC2086
  "$here/long-link" "millrace-near-$$" "millrace-far-$$" $limits >"$work/line.log" 2>&1 &
  line_pid=$!
  for _ in $(seq 100); do
    if grep -q ready "$work/line.log"; then
      near="millrace-near-$$"
      reader="millrace-far-$$"
      return 0
    fi
    sleep 0.1
  done
  echo "compare.sh: the long link did not come up: $(tail -1 "$work/line.log")" >&2
  return 1
}

# Until what is published at one server arrives at the other.
wait_for_link() {
  for _ in $(seq 100); do
    if "$load" latency -p "$far" --publish-port "$tcp" --rate 100 --warmup 0 --duration 0.2 \
      --drain 0.5 --strict >"$work/run.log" 2>&1; then
      return 0
    fi
    sleep 0.1
  done
  echo "compare.sh: the link did not come up" >&2
  return 1
}

# start_server SERVER link|slow|nats|wan-80ms|wan-3m|""
start_server() {
  local port
  case $2 in wan*) start_long_link "$2" || return 1 ;; esac
  for port in $tcp $tls $ws $far $line; do
    if is_listening "$port"; then
      echo "compare.sh: port $port is in use: choose others with --port" >&2
      exit 1
    fi
  done
  configure "$1" "$2"
  local command
  if [ "$2" = nats ]; then
    "$(program_of nats)" -a 127.0.0.1 -p "$line" >"$work/line.log" 2>&1 &
    line_pid=$!
    for _ in $(seq 100); do
      if is_listening "$line"; then break; fi
      sleep 0.1
    done
  fi
  if [ "$2" = link ] || [ "$2" = slow ] || [ "$2" = nats ]; then
    read -ra command < <(far_command_of "$1")
    "${command[@]}" >"$work/far.log" 2>&1 &
    far_pid=$!
    for _ in $(seq 100); do
      if is_listening "$far"; then break; fi
      sleep 0.1
    done
  fi
  if [ "$2" = slow ]; then
    "$here/slow-link" "$line" "$far" "$line_bytes_per_second" >"$work/line.log" 2>&1 &
    line_pid=$!
    for _ in $(seq 100); do
      if is_listening "$line"; then break; fi
      sleep 0.1
    done
  fi
  read -ra command < <(command_of "$1")
  if [ -n "$near" ]; then command=(ip netns exec "$near" "${command[@]}"); fi
  "${command[@]}" >"$work/$1.log" 2>&1 &
  server_pid=$!
  for _ in $(seq 100); do
    kill -0 "$server_pid" 2>/dev/null || break
    if is_listening "$tcp"; then
      case $2 in link | slow) wait_for_link || return 1 ;; esac
      return 0
    fi
    sleep 0.1
  done
  echo "compare.sh: $1 did not start; the end of its log:" >&2
  tail -5 "$work/$1.log" >&2
  return 1
}

# Whether a server supports a scenario: the reference programs have neither QoS nor WebSocket nor
# `$latest/`.
takes_part() {
  case $1 in
    durable*) [[ $2 == *-kept ]] || return 1 ;;
    early)
      case $2 in slow | slow-latest | fresh* | wan*) return 0 ;; *) return 1 ;; esac
      ;;
  esac
  case $2 in
    wan-80ms | wan-3m) [ "$1" = millrace ] || [ "$1" = before ] || [ "$1" = mosquitto ] ;;
    slow-latest | fresh-latest | fresh-1k-latest | wan*) [ "$1" = millrace ] || [ "$1" = before ] ;;
    link-nats) [ "$1" = millrace ] && [ -n "$(program_of nats)" ] ;;
    link*) [ "$1" = millrace ] || [ "$1" = mosquitto ] ;;
    tls | ws | ws-packet) [ "$1" = millrace ] || [ "$1" = before ] || [ "$1" = mosquitto ] ;;
    qos1* | idle | fresh) [ "$1" != forwarder ] && [ "$1" != shape ] ;;
    slow | connect | connect8) [ "$1" != shape ] ;;
  esac
}

arguments_of() {
  local timed="-p $tcp --duration $duration"
  local across="-p $tcp --host 10.91.1.1 --publish-host 10.91.2.1"
  case $1 in
    one2one) echo "one2one $timed" ;;
    fanin) echo "fanin $timed" ;;
    fanin-1k) echo "fanin $timed --payload 1024 --in-flight 2000" ;;
    fanout10) echo "fanout $timed --subscribers 10 --in-flight 500" ;;
    fanout100) echo "fanout $timed --subscribers 100 --in-flight 100" ;;
    qos1) echo "qos1 $timed --unacked 20" ;;
    qos1-250) echo "qos1 $timed --unacked 250" ;;
    qos1-250-kept) echo "qos1 $timed --unacked 250 --kept" ;;
    qos1-1-kept) echo "qos1 $timed --publishers 1 --topics 1 --unacked 1 --kept" ;;
    lat5k) echo "latency $timed --rate 5000" ;;
    lat-fan10) echo "latency $timed --rate 2000 --subscribers 10" ;;
    slow) echo "slow -p $tcp" ;;
    slow-latest) echo "slow -p $tcp --filter-prefix \$latest/" ;;
    fresh) echo "fresh -p $tcp --duration 8" ;;
    fresh-latest) echo "fresh -p $tcp --duration 8 --filter-prefix \$latest/" ;;
    # Each reader takes a tenth of what is published.
    fresh-1k-latest)
      echo "fresh -p $tcp --duration 8 --filter-prefix \$latest/ --subscribers 1000 --rate 500 --read-rate 14000" ;;
    # The publishers are beside the server: the short way is theirs.
    wan-80ms) echo "fresh $across --duration 20" ;;
    wan-80ms-latest) echo "fresh $across --duration 20 --filter-prefix \$latest/" ;;
    # It is the link that is limited, not the reader.
    wan-3m) echo "fresh $across --duration 20 --read-rate 100000000" ;;
    wan-3m-latest) echo "fresh $across --duration 20 --read-rate 100000000 --filter-prefix \$latest/" ;;
    idle) echo "idle -p $tcp --connections 10000" ;;
    connect) echo "connect $timed --diallers 1" ;;
    connect8) echo "connect $timed --diallers 8" ;;
    link | link-nats) echo "one2one -p $far --publish-port $tcp --duration $duration" ;;
    link-qos1) echo "qos1 -p $far --publish-port $tcp --duration $duration --unacked 250" ;;
    link-lat5k) echo "latency -p $far --publish-port $tcp --duration $duration --rate 5000" ;;
    # It is the line that is limited, not the reader; --duration would be too short to see it grow.
    link-slow) echo "fresh -p $far --publish-port $tcp --duration 20 --read-rate 100000000 --healthy 0" ;;
    tls) echo "one2one -p $tls --duration $duration --transport tls --cafile $work/cert.pem" ;;
    ws) echo "one2one -p $ws --duration $duration --transport ws" ;;
    ws-packet) echo "one2one -p $ws --duration $duration --transport ws --ws-frame-bytes 0" ;;
    *) echo "compare.sh: no scenario '$1'" >&2; return 1 ;;
  esac
}

# A reference program that forwards bytes unparsed may split a packet or fail at a closed reader, so
# it is tried several times.
measure() {
  local server=$1 scenario=$2 round=$3 file tries=1 link=
  file="$out/$scenario.$server.$round.json"
  case $server in forwarder | shape) tries=4 ;; esac
  case $scenario in
    link-slow) link="slow" ;;
    link-nats) link="nats" ;;
    link*) link="link" ;;
    wan*) link=${scenario%-latest} ;;
  esac
  local at_reader=()
  for _ in $(seq $tries); do
    if ! start_server "$server" "$link"; then
      stop_server  # the other one, and the line, may run
      return 0
    fi
    if [ -n "$reader" ]; then at_reader=(ip netns exec "$reader"); fi
    # shellcheck disable=SC2046
    if "${at_reader[@]}" "$load" $(arguments_of "$scenario") --pid "$server_pid" --label "$server" --out "$file" \
      >"$work/run.log" 2>&1 && { [ $tries = 1 ] || ! grep -q "ended early" "$file"; }; then
      stop_server
      return 0
    fi
    stop_server
    rm -f "$file"
  done
  echo "compare.sh: $scenario against $server failed: $(tail -1 "$work/run.log")" >&2
}

for scenario in $scenarios; do arguments_of "$scenario" >/dev/null; done
echo "results: $out" >&2
for round in $(seq "$repeat"); do
  for scenario in $scenarios; do
    for server in $servers; do
      takes_part "$server" "$scenario" || continue
      echo "round $round/$repeat: $scenario, $server" >&2
      measure "$server" "$scenario" "$round"
    done
  done
done

echo "$(nproc) cores, $(uname -sr), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)"
echo
"$here/summarise" "$out"
