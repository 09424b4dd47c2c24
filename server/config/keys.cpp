// Every key of the configuration, described once.
#include "server/config/schema.hpp"

namespace millrace::server {

namespace {

constexpr double kib = 1024;
constexpr double mib = 1024 * kib;
constexpr double gib = 1024 * mib;

// A key's path is the path of its field.
#define FIELD(path)                  \
#path, [](auto& config) -> auto& { \
    return config.path;              \
  }

Schema<ListenerConfig> listener_schema() {
  Schema<ListenerConfig> schema;
  schema
      .key(FIELD(name),
           "What rules and logs call it. If unset, its transport, from the second on with a "
           "number: `tcp`, `tcp-2`")
      .key(FIELD(transport), "`wss` is WebSocket inside TLS")
      .key(FIELD(host), "An address of this machine, or `localhost`")
      .key(FIELD(port), Limits{0, 65535},
           "0: any free port, named in the log. If unset, by transport: 1883, 8883 (`tls`), 8083 "
           "(`ws`), 8084 (`wss`)")
      .key(FIELD(path), "WebSocket alone: the path that is upgraded")
      .key(FIELD(tls.certificate_file),
           "`tls` and `wss`: the certificate chain, PEM; the file is read again on SIGHUP")
      .key(FIELD(tls.key_file), "`tls` and `wss`: the private key, PEM; read again with it");
  return schema;
}

Schema<AccessRule> access_rule_schema() {
  Schema<AccessRule> schema;
  schema.key(FIELD(effect), "What the rule does")
      .key(FIELD(user), "Whom it concerns; unset: everybody; empty: the anonymous alone")
      .key(FIELD(action), "What it concerns")
      .key(FIELD(filter), "The topics it concerns, as a topic filter")
      .key(FIELD(reason),
           "Of `deny`: what an MQTT 5 client is told. `unspecified` (0x80) does not reveal that "
           "there is a rule, so that names cannot be tried out by their answers; it is also what "
           "an MQTT 3.1.1 client gets");
  return schema;
}

Schema<DeliveryRule> delivery_rule_schema() {
  Schema<DeliveryRule> schema;
  schema.key(FIELD(filter), "Subscriptions whose filter this one covers; unset: all")
      .key(FIELD(user), "Subscriptions of this user; unset: all; empty: the anonymous alone")
      .key(FIELD(listener), "Subscriptions through the listener of this name; unset: all")
      .key(FIELD(mode), "How they are served; unset: as the client asked")
      .key(FIELD(max_rate_hz), Limits{0.001, 100'000},
           "At most so many values of a topic in a second; unset: as the client asked");
  return schema;
}

void add_front_end(Schema<Config>& schema) {
  schema
      .list(FIELD(listeners), listener_schema(), 64,
            "Where MQTT is spoken. A list given here replaces the default one: `tcp` on 1883 "
            "and `ws` on 8083, both on 127.0.0.1")
      .key(FIELD(http.host), "Where metrics, health and topics are served")
      .key(FIELD(http.port), Limits{0, 65535}, "0: any free port, named in the log")
      .key(FIELD(http.connections_max), Limits{1, 65535}, "Connections at once; more are closed")
      .key(FIELD(http.header_bytes_max), Limits{256, mib}, "Of a request; more is answered 431")
      .key(FIELD(http.body_bytes_max), Limits{0, 64 * mib}, "Of a request; more is answered 413")
      .key(FIELD(http.timeout_seconds), Limits{1, 3600},
           "For a request to arrive, and for its answer to be taken")
      .key(FIELD(http.long_polls_max), Limits{0, 65535},
           "Requests at once that wait for a newer value; more are answered 503")
      .key(FIELD(http.wait_seconds_max), Limits{1, 3600},
           "How long one of those waits at most, whatever `Prefer: wait` asks for")
      .key(FIELD(threads.io), Limits{0, 256}, "Threads for the sockets; 0: cores - 1, at least 1")
      .key(FIELD(connection.count_max), Limits{1, 10'000'000},
           "MQTT connections at once; more are told `quota exceeded`", Takes::reload)
      .key(FIELD(connection.turned_away_max), Limits{0, 1'000'000},
           "Connections over that, at once, that wait to be told so; more are closed",
           Takes::reload)
      .key(FIELD(connection.unapplied_bytes), Limits{4 * kib, gib},
           "What one connection may have submitted and not yet applied; at it, it is not read")
      .key(FIELD(connection.unapplied_commands), Limits{16, 1'048'576}, "The same, as a count")
      .key(FIELD(connection.read_bytes), Limits{4 * kib, 16 * mib}, "Read at once from a socket")
      .key(FIELD(packet_bytes_max), Limits{128, 268'435'460},
           "Of a packet from a client; announced as Maximum Packet Size")
      .key(FIELD(connect_bytes_max), Limits{128, 16 * mib}, "Of a CONNECT packet")
      .key(FIELD(connect_timeout_seconds), Limits{1, 3600},
           "From accepting a connection to its CONNECT")
      .key(FIELD(drain_seconds), Limits{0, 3600}, "What SIGTERM leaves for flushing");
}

void add_core(Schema<Config>& schema) {
  schema.key(FIELD(processor.wait), "How the processor waits while there is nothing to do")
      .key(FIELD(processor.borrow_role),
           "Whether an I/O thread may apply its own batch while the processor sleeps (`block`)")
      .key(FIELD(processor.batch_max), Limits{1, 1'048'576}, "Commands that it applies at once")
      .key(FIELD(queue.initial_capacity), Limits{2, 1'073'741'824},
           "Of the queue to the processor, in commands")
      .key(FIELD(queue.min_capacity), Limits{2, 1'073'741'824}, "It never shrinks below")
      .key(FIELD(queue.max_capacity), Limits{2, 1'073'741'824},
           "It never grows beyond; when full, publishers are not read")
      .key(FIELD(queue.growth_factor), Limits{1.1, 16}, "How much it grows when full")
      .key(FIELD(queue.shrink_threshold), Limits{0.001, 0.9}, "It shrinks when less of it is used")
      .key(FIELD(queue.bytes_max), Limits{mib, 1024 * gib},
           "Receive buffers that what is queued may pin")
      .key(FIELD(queue.control_reserve), Limits{0, 1'048'576},
           "Places that publishes leave to other commands; 0: a sixteenth of max_capacity")
      .key(FIELD(outbox.credit_bytes), Limits{kib, gib}, "What may be on its way to one connection")
      .key(FIELD(outbox.credit_max_bytes), Limits{kib, gib},
           "The same for one that takes it all at once while more waits")
      .key(FIELD(outbox.latest_credit_bytes), Limits{kib, gib}, "The same while it conflates")
      .key(FIELD(outbox.control_bytes_max), Limits{4 * kib, gib},
           "Acknowledgements and pings that wait for one connection; at it, it is not read")
      .key(FIELD(outbox.notsent_lowat_bytes), Limits{kib, gib},
           "TCP_NOTSENT_LOWAT of conflating connections: what the kernel holds unsent")
      .key(FIELD(adaptive.backlog_bytes), Limits{0, gib},
           "More than this waiting collapses an `adaptive` subscription to the newest values",
           Takes::reload)
      .key(FIELD(adaptive.stale_after_ms), Limits{1, 3'600'000},
           "So does a message older than this", Takes::reload)
      .key(FIELD(slots.count_max), Limits{1, 100'000'000}, "Topics whose newest value is kept",
           Takes::reload)
      .key(FIELD(slots.bytes_max), Limits{64 * kib, 1024 * gib}, "Memory for them", Takes::reload);
}

void add_protocol(Schema<Config>& schema) {
  schema
      .key(FIELD(session.count_max), Limits{1, 100'000'000}, "Sessions, connected or not",
           Takes::reload)
      .key(FIELD(session.expiry_max_seconds), Limits{0, 4'294'967'295},
           "A client's Session Expiry Interval is cut to this; 4294967295: never expires",
           Takes::reload)
      .key(FIELD(session.queue_messages), Limits{1, 100'000'000},
           "Messages that wait for one session (`every`)", Takes::reload)
      .key(FIELD(session.queue_bytes), Limits{kib, 1024 * gib}, "The same in bytes", Takes::reload)
      .key(FIELD(session.overflow), "What happens at either limit", Takes::reload)
      .key(FIELD(session.subscriptions_max), Limits{1, 10'000'000}, "Of one client", Takes::reload)
      .key(FIELD(receive_maximum), Limits{1, 65535},
           "QoS 1 and 2 messages that an MQTT 5 client may have unacknowledged")
      .key(FIELD(receive_maximum_policy),
           "A client that sends more: `enforce` disconnects it, `warn` lets it, and says so in the "
           "log")
      .key(FIELD(inflight_max), Limits{1, 65535},
           "QoS 1 and 2 messages unacknowledged towards one client")
      .key(FIELD(topic_alias_maximum.in), Limits{0, 65535}, "Aliases that a client may use")
      .key(FIELD(topic_alias_maximum.out), Limits{0, 65535},
           "Aliases used towards a client that allows them")
      .key(FIELD(mqtt.qos_max), Limits{0, 2}, "The highest QoS offered")
      .key(FIELD(mqtt.retain_available), "Whether messages may be retained")
      .key(FIELD(mqtt.wildcard_available), "Whether filters may have wildcards")
      .key(FIELD(mqtt.shared_available), "Whether `$share/group/filter` is offered")
      .key(FIELD(mqtt.subscription_identifiers_available),
           "Whether subscriptions may have identifiers")
      .key(FIELD(mqtt.identifiers_in_one_copy),
           "Of a message that several subscriptions of an MQTT 5 client match, by their "
           "identifiers: `false` sends a copy for each, `true` one that carries them all")
      .key(FIELD(mqtt.keep_alive_max_seconds), Limits{0, 65535},
           "The longest keep alive; MQTT 5 clients are told. 0: whatever the client asks for")
      .key(FIELD(mqtt.topic_levels_max), Limits{1, 65535}, "Levels of a topic or filter")
      .key(FIELD(mqtt.response_prefix),
           "An MQTT 5 client that asks for Response Information gets this, `/` and its client "
           "identifier, if it may subscribe to what is below; empty: nothing")
      .key(FIELD(mqtt.server_reference),
           "Other servers, as `host` or `host:port` with spaces between: MQTT 5 clients are sent "
           "there while this one is full or shuts down; empty: nowhere",
           Takes::reload);
}

Schema<LocalPeer> local_peer_schema() {
  Schema<LocalPeer> schema;
  schema.key(FIELD(uid), Limits{0, 4'294'967'294}, "Of a user; unset: any")
      .key(FIELD(gid), Limits{0, 4'294'967'294}, "Of its primary group; unset: any")
      .key(FIELD(user), "Whose rights in access.rules it has; empty: the anonymous one's");
  return schema;
}

Schema<LocalRing> local_ring_schema() {
  Schema<LocalRing> schema;
  schema.key(FIELD(filter), "What it carries, as a topic filter")
      .key(FIELD(policy), "`lossy` never waits; `lossless` keeps what is unread, within limits");
  return schema;
}

void add_local(Schema<Config>& schema) {
  schema
      .key(FIELD(local.socket),
           "The Unix socket at which processes of this host attach to shared memory; empty: none")
      .list(
          FIELD(local.allow), local_peer_schema(), 1'000,
          "Who may, besides root and the server's own user; the first that fits decides; taken by "
          "those who attach from then on",
          Takes::reload)
      .list(FIELD(local.rings), local_ring_schema(), 1'000,
            "Rings that are there from the start; others come with their first reader and go after "
            "their last")
      .key(FIELD(local.ring_bytes), Limits{4096, gib}, "Of one ring; a power of two")
      .key(FIELD(local.rings_max), Limits{1, 10'000}, "Rings at once")
      .key(FIELD(local.consumers_max), Limits{1, 100'000}, "Readers at once, and tables' users")
      .key(FIELD(local.publishers_max), Limits{0, 10'000}, "Publishing processes at once")
      .key(FIELD(local.overflow_bytes), Limits{4096, 64 * gib},
           "Of a `lossless` ring: what waits for its slowest reader; beyond, that one is evicted")
      .key(FIELD(local.lease_ms), Limits{1, 3'600'000},
           "How long a `lossless` reader may hold up its ring without moving on")
      .key(FIELD(local.linger_ms), Limits{0, 3'600'000}, "How long a ring outlives its last reader")
      .key(FIELD(local.table_cells), Limits{8, 16'777'216},
           "Topics in one table of newest values; a power of two");
}

void add_operator(Schema<Config>& schema) {
  schema
      .key(FIELD(access.allow_anonymous),
           "Whether a client without a user name may connect. Unset: as long as neither file below "
           "is set and nothing listens beyond loopback",
           Takes::reload)
      .key(FIELD(access.password_file), "Made by `millrace passwd` or `mosquitto_passwd`",
           Takes::reload)
      .key(FIELD(access.scram_file),
           "Made by `millrace passwd --scram`; set, it offers MQTT 5 clients SCRAM-SHA-256",
           Takes::reload)
      .key(FIELD(access.password_checks_max), Limits{1, 1'000'000},
           "Clients at once whose password waits to be checked, at most half of them over HTTP; "
           "more "
           "are told `server busy`, or 503",
           Takes::reload)
      .list(FIELD(access.rules), access_rule_schema(), 10'000,
            "Who may do what; the first rule that matches decides. A subscription is allowed by a "
            "rule that covers its whole filter. It is refused by one that covers it; one that it "
            "merely overlaps keeps back what it denies: `#` brings everything else",
            Takes::reload)
      .key(FIELD(access.otherwise), "When there are rules and none matches", Takes::reload)
      .list(FIELD(delivery.rules), delivery_rule_schema(), 1'000,
            "How subscriptions are served, whatever their clients ask for; the first rule that "
            "matches decides; taken by subscriptions made from then on",
            Takes::reload)
      .key(FIELD(log.level), "What is logged, to standard error", Takes::reload)
      .key(FIELD(log.format), "`json`: one object a line", Takes::reload)
      .key(FIELD(log.repeat_seconds), Limits{0, 86'400},
           "A peer's repeated fault is logged once in this time, with a count; 0: each time",
           Takes::reload)
      .key(FIELD(sys.interval_seconds), Limits{0, 86'400},
           "How often `$SYS/broker/...` is published: figures under mosquitto's names, retained; "
           "0: never");
}

#undef FIELD

}  // namespace

void prepare_item(ListenerConfig& listener, const Json& value) {
  const auto transport = value.is_object() ? value.find("transport") : value.end();
  if (transport == value.end()) return;
  if (*transport == "tls") listener.port = 8883;
  if (*transport == "ws") listener.port = 8083;
  if (*transport == "wss") listener.port = 8084;
}

const Schema<Config>& config_schema() {
  static const Schema<Config> schema = [] {
    Schema<Config> all;
    add_front_end(all);
    add_operator(all);
    add_protocol(all);
    add_core(all);
    add_local(all);
    return all;
  }();
  return schema;
}

}  // namespace millrace::server
