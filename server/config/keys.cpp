// Every key of the configuration, described once: those of the core, of the protocol and of processes on
// this host here, the others by subject in keys_front_end.cpp, keys_access.cpp and keys_upstreams.cpp.
#include "server/config/keys.hpp"

namespace millrace::server {

namespace {

void add_core(Schema<Config>& schema) {
  schema
      .key(
          FIELD(memory.bytes_max), Limits{0, 1024 * gib},
          "The most memory for all that is held for clients: messages that arrive, wait, are sent "
          "or are stored, sessions, subscriptions, topics. From four fifths of it on new sessions, "
          "subscriptions and retained messages are refused, and what waits for clients that are "
          "not connected is dropped, the most of one client first; at the limit the session that "
          "holds most ends. 0: three quarters of the memory of the machine, or of the control "
          "group if that is less",
          Takes::reload)
      .key(FIELD(memory.user_bytes_max), Limits{0, 1024 * gib},
           "The most memory that all sessions of one user can make the server hold together, where "
           "clients without a user name are one; beyond it new sessions and subscriptions of that "
           "user are refused, and what waits for its clients makes room for what comes. 0: no "
           "limit",
           Takes::reload)
      .key(FIELD(memory.routes_bytes_max), Limits{mib, 1024 * gib},
           "The most memory for the cached lists of topics' subscribers; beyond it those go that "
           "were not used for longest",
           Takes::reload)
      .key(FIELD(processor.wait),
           "How the processor waits for work: `block` sleeps in the kernel, `yield` and `spin` "
           "keep a core busy")
      .key(FIELD(processor.borrow_role),
           "Whether an I/O thread applies its commands itself while the processor's thread sleeps; "
           "only with `block`")
      .key(FIELD(processor.batch_max), Limits{1, 1'048'576},
           "The most commands in one batch of the processor")
      .key(FIELD(queue.initial_capacity), Limits{2, 1'073'741'824},
           "The capacity, in commands, that the queue to the processor starts with")
      .key(FIELD(queue.min_capacity), Limits{2, 1'073'741'824},
           "The capacity below which the queue does not shrink")
      .key(FIELD(queue.max_capacity), Limits{2, 1'073'741'824},
           "The capacity beyond which the queue does not grow; while it is full, publishers are "
           "not read")
      .key(FIELD(queue.growth_factor), Limits{1.1, 16},
           "The factor by which the queue grows when it is full")
      .key(FIELD(queue.shrink_threshold), Limits{0.001, 0.9},
           "The share of its capacity below which the queue shrinks")
      .key(FIELD(queue.bytes_max), Limits{mib, 1024 * gib},
           "The most bytes of receive buffers that messages in the queue keep in use")
      .key(FIELD(queue.control_reserve), Limits{0, 1'048'576},
           "The places in the queue that are kept for commands other than PUBLISH; 0: a sixteenth "
           "of queue.max_capacity")
      .key(
          FIELD(outbox.credit_bytes), Limits{kib, gib},
          "The most bytes that are handed over to one connection and not yet written to its socket")
      .key(FIELD(outbox.credit_max_bytes), Limits{kib, gib},
           "The most bytes to which that limit grows for a connection that takes everything at "
           "once while more waits")
      .key(FIELD(outbox.latest_credit_bytes), Limits{kib, gib},
           "The same limit for a connection that conflates; with outbox.unread_bytes, where the "
           "kernel does not tell what its reader has not read yet")
      .key(FIELD(outbox.unread_bytes), Limits{0, gib},
           "The bytes that may wait in the receive buffer of a reader that conflates, beyond what "
           "its network path holds; more if it would read faster with more. 0: as many as it "
           "holds, but 8 KiB for readers of /events")
      .key(FIELD(outbox.control_bytes_max), Limits{4 * kib, gib},
           "The most bytes of acknowledgements and ping responses that wait for one connection; a "
           "connection that reaches this is not read")
      .key(FIELD(outbox.notsent_lowat_bytes), Limits{kib, gib},
           "The unsent bytes that the kernel holds for a connection that conflates "
           "(TCP_NOTSENT_LOWAT)")
      .key(FIELD(adaptive.backlog_bytes), Limits{0, gib},
           "An `adaptive` subscription with more waiting bytes than this is conflated: only the "
           "newest value of each topic is kept",
           Takes::reload)
      .key(FIELD(adaptive.stale_after_ms), Limits{1, 3'600'000},
           "An `adaptive` subscription is also conflated when its oldest message has waited for "
           "longer than this",
           Takes::reload)
      .key(FIELD(slots.count_max), Limits{1, 100'000'000},
           "The most topics whose newest value is kept", Takes::reload)
      .key(FIELD(slots.bytes_max), Limits{64 * kib, 1024 * gib}, "The most memory for these values",
           Takes::reload)
      .key(FIELD(slots.user_count_max), Limits{0, 100'000'000},
           "The most retained values of one user, where clients without a user name are one; 0: "
           "three quarters of slots.count_max. Beyond it MQTT 5 clients are told `quota exceeded`, "
           "whoever publishes over HTTP is answered 507, and messages of others are delivered, but "
           "not retained",
           Takes::reload)
      .key(FIELD(slots.user_bytes_max), Limits{0, 1024 * gib},
           "The same limit for the memory of these values; 0: three quarters of slots.bytes_max",
           Takes::reload)
      .key(FIELD(history.depth), Limits{0, history_depth_max},
           "So many of the last values of each topic are kept, for subscriptions that ask to begin "
           "with them; 0: none",
           Takes::reload)
      .key(FIELD(history.bytes_max), Limits{64 * kib, 1024 * gib},
           "The most memory for these values. Beyond it the oldest values of the topic that was "
           "published longest ago go first",
           Takes::reload);
}

void add_protocol(Schema<Config>& schema) {
  schema
      .key(FIELD(session.count_max), Limits{1, 100'000'000},
           "The most sessions, connected or not; a client that needs one more is refused",
           Takes::reload)
      .key(FIELD(session.expiry_max_seconds), Limits{0, 4'294'967'295},
           "The longest Session Expiry Interval; a longer one is reduced to this. 4294967295: "
           "sessions never expire",
           Takes::reload)
      .key(FIELD(session.queue_messages), Limits{1, 100'000'000},
           "The most messages of `every` subscriptions that wait for one session", Takes::reload)
      .key(FIELD(session.queue_bytes), Limits{kib, 1024 * gib}, "The same limit in bytes",
           Takes::reload)
      .key(FIELD(session.bytes_max), Limits{64 * kib, 1024 * gib},
           "The most memory that one session can make the server hold: a half of it for messages "
           "that are sent and not acknowledged, a half for values that wait (`latest` and "
           "`adaptive`), a quarter for subscriptions",
           Takes::reload)
      .key(FIELD(session.overflow), "What happens when a session's queue has reached either limit",
           Takes::reload)
      .key(FIELD(session.subscriptions_max), Limits{1, 10'000'000},
           "The most subscriptions of one client; further ones are refused with `quota exceeded`",
           Takes::reload)
      .key(FIELD(session.all_subscriptions_max), Limits{1, 1'000'000'000},
           "The same limit for all clients and local readers together", Takes::reload)
      .key(
          FIELD(session.scope),
          "Among which clients an identifier must be unique. `server`: among all; a client that "
          "names the session of another user is refused (0x85), but the session of a client "
          "without a user name ends when a user names it. `user`: among those of one user; clients "
          "without a user name count as one user")
      .key(FIELD(store.path),
           "The folder that keeps sessions and retained messages when the server ends; it is made "
           "if it is not there. Unset: they end with the server")
      .key(
          FIELD(store.durability),
          "When an acknowledgement leaves: with `commit` when what it acknowledges is on the disk, "
          "with `interval` at once; what came since the last interval may then be lost. `off`: the "
          "store is written at a clean end alone; all that came since the one before may be lost")
      .key(FIELD(store.interval_ms), Limits{1, 3'600'000},
           "With `interval`: how often the store is written and flushed")
      .key(FIELD(store.newest_values),
           "Whether the newest value of each topic is kept though it is not retained, within the "
           "limits of `slots`; it is written at most once a second, however often it changes")
      .key(FIELD(store.on_failure),
           "What happens to messages at QoS 1 and 2 while the store cannot write. `wait`: they are "
           "taken in, and acknowledged when it works again. `refuse`: an MQTT 5 client is told at "
           "once, 0x97 while the disk is full, else 0x83, and nothing of its message happens; an "
           "MQTT 3.1.1 client, which cannot be told, waits. Over HTTP such a message, and a "
           "retained one, is refused either way (507)")
      .key(FIELD(store.waiting_bytes_max), Limits{16 * mib, 64 * gib},
           "The most changes that wait in memory while the store cannot write, and four times that "
           "while it takes long: beyond it the store has failed until the server is started again. "
           "And the most answers that wait: beyond it the connections end for which most of them "
           "wait (0x97). At least packet_bytes_max")
      .key(FIELD(receive_maximum), Limits{1, 65535},
           "The most QoS 1 and 2 messages that an MQTT 5 client may have sent and not yet got "
           "acknowledged; it is told this as Receive Maximum")
      .key(FIELD(receive_maximum_policy),
           "What happens to a client that exceeds receive_maximum: `enforce` disconnects it, "
           "`warn` only logs it")
      .key(FIELD(inflight_max), Limits{1, 65535},
           "The most QoS 1 and 2 messages that are sent to one client and not yet acknowledged; an "
           "MQTT 5 client may allow fewer by its Receive Maximum")
      .key(FIELD(topic_alias_maximum.in), Limits{0, 65535},
           "The highest topic alias that a client may use")
      .key(FIELD(topic_alias_maximum.out), Limits{0, 65535},
           "The highest topic alias that is used towards a client that allows aliases")
      .key(FIELD(mqtt.qos_max), Limits{0, 2}, "The highest QoS offered")
      .key(FIELD(mqtt.retain_available), "Whether messages may be retained")
      .key(FIELD(mqtt.wildcard_available), "Whether filters may have wildcards")
      .key(FIELD(mqtt.shared_available), "Whether `$share/group/filter` is offered")
      .key(FIELD(mqtt.subscription_identifiers_available),
           "Whether subscriptions may have identifiers")
      .key(FIELD(mqtt.identifiers_in_one_copy),
           "How an MQTT 5 client gets a message that several of its subscriptions match: `false` "
           "sends a copy for each, `true` one copy with all their subscription identifiers")
      .key(
          FIELD(mqtt.keep_alive_max_seconds), Limits{0, 65535},
          "The longest keep alive; MQTT 5 clients that ask for more are told this one. 0: no limit")
      .key(FIELD(mqtt.topic_levels_max), Limits{1, 65535},
           "The most levels of a topic name or filter")
      .key(FIELD(mqtt.response_prefix),
           "The start of the Response Information that an MQTT 5 client gets if it asks for it and "
           "may subscribe below it; `/` and its client identifier follow (with session.scope "
           "`user`, `/` and the user's name before that). Empty: none is given")
      .key(FIELD(mqtt.server_reference),
           "Other servers, as `host` or `host:port` with spaces between, that MQTT 5 clients are "
           "told to use while this one is full or shuts down. Empty: none",
           Takes::reload);
}

Schema<LocalPeer> local_peer_schema() {
  Schema<LocalPeer> schema;
  schema
      .key(FIELD(uid), Limits{0, 4'294'967'294}, "The user id that a process must have. Unset: any")
      .key(FIELD(gid), Limits{0, 4'294'967'294},
           "The primary group id that a process must have. Unset: any")
      .key(FIELD(user),
           "The user of access.rules whose rights the process gets. Empty: those of clients "
           "without a user name");
  return schema;
}

Schema<LocalRing> local_ring_schema() {
  Schema<LocalRing> schema;
  schema.key(FIELD(filter), "The topics that the ring carries, as a topic filter")
      .key(FIELD(policy),
           "`lossy`: messages that a slow reader has not read are overwritten; `lossless`: they "
           "are kept, within local.overflow_bytes and local.lease_ms");
  return schema;
}

void add_local(Schema<Config>& schema) {
  schema
      .key(FIELD(local.socket),
           "The path of the Unix socket at which processes on this host attach to shared memory. "
           "A lock file stands beside it, named alike with `.lock` at the end, and stays when the "
           "server ends. "
           "Empty: none")
      .list(FIELD(local.allow), local_peer_schema(), 1'000,
            "Which processes may attach, besides those of root and of the server's own user; the "
            "first entry that fits decides. A change applies to those that attach later",
            Takes::reload)
      .list(FIELD(local.rings), local_ring_schema(), 1'000,
            "Rings that exist from the start; others are made for their first reader and removed "
            "after their last")
      .key(FIELD(local.ring_bytes), Limits{4096, gib}, "The size of a ring; a power of two")
      .key(FIELD(local.rings_max), Limits{1, 10'000}, "The most rings at once")
      .key(FIELD(local.consumers_max), Limits{1, 100'000},
           "The most readers of rings and tables at once")
      .key(FIELD(local.publishers_max), Limits{0, 10'000}, "The most publishing processes at once")
      .key(
          FIELD(local.publisher_ring_bytes), Limits{4096, gib},
          "The size of each publisher's ring, from which the server takes its messages; a power of "
          "two")
      .key(FIELD(local.publisher_frame_bytes_max), Limits{64, gib / 4},
           "The longest message of a local publisher, with its topic and 24 bytes of header; at "
           "most a quarter of `local.publisher_ring_bytes`")
      .key(FIELD(local.overflow_bytes), Limits{4096, 64 * gib},
           "The most bytes that wait outside a `lossless` ring for its slowest reader; beyond this "
           "the reader is evicted")
      .key(FIELD(local.lease_ms), Limits{1, 3'600'000},
           "The longest time that a reader of a `lossless` ring may go without reading while "
           "messages wait for it; then it is evicted")
      .key(FIELD(local.linger_ms), Limits{0, 3'600'000},
           "How long a ring is kept after its last reader has left")
      .key(FIELD(local.tables_max), Limits{0, 10'000}, "The most tables of newest values at once")
      .key(FIELD(local.table_cells), Limits{8, 16'777'216},
           "The most topics in a table of newest values; a power of two")
      .key(FIELD(local.snapshot_bytes_max), Limits{4096, 64 * gib},
           "The most bytes of newest values that a reader gets when it attaches; one that needs "
           "more is refused");
}

}  // namespace

const Schema<Config>& config_schema() {
  static const Schema<Config> schema = [] {
    Schema<Config> all;
    add_front_end(all);
    add_access(all);
    add_protocol(all);
    add_core(all);
    add_local(all);
    add_upstreams(all);
    return all;
  }();
  return schema;
}

}  // namespace millrace::server
