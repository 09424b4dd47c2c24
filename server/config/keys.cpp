// Every key of the configuration, described once.
#include "core/broker/shape.hpp"
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
           "The listener's name in rules, logs and metrics. If unset, its transport, with a number "
           "from the second one on: `tcp`, `tcp-2`")
      .key(FIELD(transport),
           "What MQTT is carried by: TCP, TLS, WebSocket, WebSocket inside TLS (`wss`), or a Unix "
           "socket for processes of this machine (`unix`)")
      .key(FIELD(host), "The address to listen on: one of this machine, or `localhost`")
      .key(FIELD(port), Limits{0, 65535},
           "The port to listen on; 0: any free port, which the log names. If unset, by transport: "
           "1883, 8883 (`tls`), 8083 (`ws`), 8084 (`wss`)")
      .key(FIELD(socket),
           "For `unix`: the path of the socket's file; host and port have no meaning")
      .key(FIELD(socket_mode), "For `unix`: the file's mode, which says who may connect")
      .key(FIELD(peer_user),
           "For `unix`: whether the user whose process connects is the client's user name, as the "
           "kernel says it: `uid:1000`. It then counts as verified")
      .key(FIELD(path),
           "For `ws` and `wss`: the paths at which a request is upgraded to WebSocket, with or "
           "without a `/` at the end")
      .key(FIELD(origins),
           "For `ws` and `wss`: the origins (`https://example.com`) of web pages that may connect, "
           "besides pages of the host that is asked for; `*`: all. Clients that are no browsers "
           "send no origin and are not restricted")
      .key(FIELD(proxy_protocol_from),
           "The addresses (`10.0.0.0/8`) of proxies. Their connections, and theirs alone, have to "
           "begin with a header of the PROXY protocol, version 1 or 2; the address that it names "
           "is then the client's, in rules, limits and the log")
      .key(FIELD(forwarded_from),
           "For `ws` and `wss`: the addresses of proxies whose `X-Forwarded-For` is believed; read "
           "from its end, the first address that is none of them is the client's")
      .key(FIELD(connections_max), Limits{0, 10'000'000},
           "The most connections of this listener at once; further ones are told `quota exceeded`. "
           "0: as many as connection.count_max allows")
      .key(FIELD(messages_per_second), Limits{0, 100'000'000},
           "The most PUBLISH packets in a second from all clients of this listener; who exceeds it "
           "is not read until the second is over. 0: no limit")
      .key(FIELD(bytes_per_second), Limits{0, 1024 * gib}, "The same limit for the bytes in them")
      .key(FIELD(drop_qos0_over_rate),
           "Whether messages of QoS 0 that exceed these two limits are dropped, and counted, "
           "instead "
           "of waiting; those of QoS 1 and 2 wait either way")
      .key(FIELD(tls.certificate_file),
           "For `tls` and `wss`: the certificate chain, PEM; the file is read again on SIGHUP")
      .key(FIELD(tls.key_file),
           "For `tls` and `wss`: the private key of the certificate, PEM; the file is read again "
           "on SIGHUP")
      .key(FIELD(tls.key_password_file),
           "A file whose first line is the pass phrase of an encrypted key; the file is read again "
           "on SIGHUP")
      .key(FIELD(tls.more_certificate_files),
           "Further certificate chains, PEM. A client that asks for a name (SNI) gets the first "
           "certificate that has it, and `tls.certificate_file` if none has; the files are read "
           "again on SIGHUP")
      .key(FIELD(tls.more_key_files),
           "The private keys of these certificates, PEM, in the same order. "
           "`tls.key_password_file` opens them too")
      .key(FIELD(tls.session_tickets),
           "Whether clients may resume their TLS sessions. Tickets are sealed with a key that is "
           "replaced each hour and on SIGHUP. Where client certificates are asked for there are "
           "none, since a resumed session shows no certificate")
      .key(FIELD(tls.version_min), "The oldest version of TLS that a client may use")
      .key(FIELD(tls.ciphers),
           "The ciphers of TLS 1.2, as an OpenSSL cipher list; ciphers without ECDHE or AEAD are "
           "refused")
      .key(FIELD(tls.cipher_suites),
           "The cipher suites of TLS 1.3, by OpenSSL's names; empty: OpenSSL's default")
      .key(FIELD(tls.client_certificate),
           "Whether clients are asked for a certificate: `optional` also accepts clients without "
           "one, `required` does not")
      .key(FIELD(tls.client_ca_file),
           "The certificates of the authorities that sign clients' certificates, PEM; the file is "
           "read again on SIGHUP")
      .key(
          FIELD(tls.crl_file),
          "The lists of revoked client certificates (CRL), PEM, one of each authority; the file is "
          "read again on SIGHUP")
      .key(FIELD(tls.user_from),
           "The part of a client's certificate that is its user name, which then counts as "
           "verified without a password: `common_name`, `alternative_name` (the first DNS name, "
           "e-mail address or URI) or `subject` (the whole subject as RFC 2253 writes it)");
  return schema;
}

Schema<HttpListenerConfig> http_listener_schema() {
  Schema<HttpListenerConfig> schema;
  schema.key(FIELD(host), "The address to listen on: one of this machine, or `localhost`")
      .key(FIELD(port), Limits{0, 65535}, "The port; 0: any free port, which the log names")
      .key(FIELD(serves), "What is served there, as `http.serves` has it")
      .key(FIELD(tls.certificate_file),
           "The certificate chain, PEM; with it, HTTP is inside TLS there. The file is read again "
           "on SIGHUP, as are the other ones of this entry")
      .key(FIELD(tls.key_file), "The private key of the certificate, PEM")
      .key(FIELD(tls.key_password_file),
           "A file whose first line is the pass phrase of an encrypted key")
      .key(FIELD(tls.version_min), "The oldest version of TLS that a client may use")
      .key(FIELD(tls.client_certificate),
           "Whether clients are asked for a certificate: `optional` also accepts clients without "
           "one, `required` does not. It lets them in, but gives them no name")
      .key(FIELD(tls.client_ca_file),
           "The certificates of the authorities that sign clients' certificates, PEM")
      .key(FIELD(tls.crl_file),
           "The lists of revoked client certificates (CRL), PEM, one of each authority");
  return schema;
}

Schema<HttpTokenConfig> http_token_schema() {
  Schema<HttpTokenConfig> schema;
  schema
      .key(FIELD(name),
           "The token's name, which access.rules take for a user's: they say which topics it may "
           "read and publish to")
      .key(FIELD(token_file),
           "A file whose first line is the token: at least 32 characters of `A-Z a-z 0-9 -._~+/=`, "
           "as `openssl rand -hex 32` makes it")
      .key(FIELD(scopes),
           "What it may be used for: `metrics`; `read` topics and what the API shows; `publish`; "
           "`manage`, as access.administrators do");
  return schema;
}

Schema<AccessRule> access_rule_schema() {
  Schema<AccessRule> schema;
  schema.key(FIELD(effect), "Whether the rule allows or denies")
      .key(FIELD(user),
           "The user whom the rule concerns. Unset: everybody; empty: clients without a user name")
      .key(FIELD(client_id),
           "The client identifier that the rule concerns; with `*` at its end, all that begin so. "
           "Unset: any. A client may call itself what it likes, unless something else binds it")
      .key(FIELD(address),
           "The addresses that the rule concerns: `10.1.2.3`, `10.0.0.0/8`, `fd00::/8`. Empty: all")
      .key(FIELD(listener),
           "The name of the listener that the rule concerns; `http` is HTTP, `local` are processes "
           "at `local.socket`. Unset: all")
      .key(
          FIELD(action),
          "The action that the rule concerns. `all` is `publish` and `subscribe`; `receive` limits "
          "further which topics a subscription brings, and what no such rule matches is brought")
      .key(FIELD(filter),
           "The topics that the rule concerns, as a topic filter. `%u` stands for the user name, "
           "`%c` for the client identifier. Where that is empty, begins with `$` or contains `+`, "
           "`#` or `/`, a rule that allows matches nothing, and one that denies has `+` for the "
           "level, or `#` from there on if it contains `/`: it denies more, and never less")
      .key(FIELD(qos_max), Limits{0, 2},
           "For `allow`: the rule does not concern messages that are published at a higher QoS, "
           "and grants subscriptions no higher one")
      .key(FIELD(retained),
           "For `publish`: whether the rule concerns messages that are to be retained (`true`) or "
           "the others (`false`). Unset: both")
      .key(FIELD(reason),
           "For `deny`: the reason code that an MQTT 5 client gets. `unspecified` (0x80) does not "
           "reveal that there is a rule, so topic names cannot be found out by trying. MQTT 3.1.1 "
           "clients always get 0x80");
  return schema;
}

Schema<DeliveryRule> delivery_rule_schema() {
  Schema<DeliveryRule> schema;
  schema
      .key(FIELD(filter),
           "Applies to subscriptions whose filter is covered by this one. Unset: to all")
      .key(FIELD(user),
           "Applies to subscriptions of this user. Unset: to those of all; empty: of clients "
           "without a user name")
      .key(FIELD(listener),
           "Applies to subscriptions made through the listener of this name. Unset: through any")
      .key(FIELD(mode),
           "The delivery mode of these subscriptions. Unset: what the client asked for")
      .key(FIELD(max_rate_hz), Limits{0.001, 100'000},
           "The most values of one topic that are sent in a second. Unset: what the client asked "
           "for")
      .key(
          FIELD(budget_bytes_per_s), Limits{1, gib},
          "The most bytes a second of values that may be replaced (`latest` and `adaptive`) that a "
          "client with such a subscription is sent; it may ask for less. Unset: what it asked for")
      .key(FIELD(unchanged),
           "`skip`: a value that is what this subscriber was sent last of its topic is not sent "
           "again. Unset: what the client asked for")
      .key(FIELD(delta), Limits{1e-9, 1e12},
           "A number is sent when it differs by this or more from the one that was sent last; what "
           "is no number, when it is another. Unset: what the client asked for")
      .key(FIELD(delta_percent), Limits{1e-9, 1e12}, "The same, in per cent of what was sent last")
      .key(FIELD(field),
           "What `unchanged` and `delta` compare of a JSON payload, as a JSON pointer "
           "(`/sensor/temperature`); for payloads of up to 64 KiB. Unset: what the client asked "
           "for, "
           "or the whole payload")
      .key(FIELD(heartbeat_s), Limits{1, 4'294'967'295},
           "For so many seconds at most, values that are unchanged are not sent. Unset: what the "
           "client asked for, or for good")
      .key(FIELD(tick_ms), Limits{tick_ms_min, tick_ms_max},
           "A client with such a subscription is sent what may be replaced (`latest` and "
           "`adaptive`) "
           "once in so many milliseconds: all that is new then, at once. Unset: what it asked for")
      .key(
          FIELD(history), Limits{0, history_depth_max},
          "So many of the last values of each topic, of those that are kept (`history.depth`), are "
          "what such a subscription of an MQTT client begins with; 0: none. Unset: what the client "
          "asked for")
      .key(
          FIELD(weight), Limits{1, broker::weight_max},
          "How often the topics of these subscriptions are served, in proportion to others, while "
          "more waits for their client than it takes; other topics have 10. Unset: what the client "
          "asked for");
  return schema;
}

void add_front_end(Schema<Config>& schema) {
  schema
      .list(FIELD(listeners), listener_schema(), 64,
            "Addresses and ports at which the server accepts MQTT. A list given here replaces the "
            "default one: `tcp` on 1883 and `ws` on 8083, both on 127.0.0.1")
      .key(FIELD(tls_files.watch_seconds), Limits{0, 86'400},
           "How often it is looked whether the files of TLS have changed: certificates, keys, "
           "authorities, revocation lists, and the passwords of upstreams. They are then read "
           "again, together, and nothing else. 0: on SIGHUP alone")
      .key(FIELD(http.host), "The address at which HTTP (metrics, health, topics) is served")
      .key(FIELD(http.port), Limits{0, 65535},
           "The port of HTTP; 0: any free port, which the log names")
      .key(FIELD(http.serves),
           "What is served there: `metrics` (with health), `topics` (with `/events`), `api` (with "
           "the page). What is not served is answered with 404")
      .list(FIELD(http.listeners), http_listener_schema(), 16,
            "Further addresses and ports of HTTP, each with TLS or without")
      .key(FIELD(http.metrics_public),
           "Whether anybody may read `/metrics`. `false`: a token with the scope `metrics`, or a "
           "user who may subscribe to `$SYS/#`. Health asks nobody")
      .key(FIELD(http.hosts),
           "The host names that a request may be addressed to (`Host`), besides `localhost` and "
           "numeric addresses; `*`: any name. Requests to other names are answered with 421, since "
           "a web page can make a name of its own resolve to this server")
      .key(FIELD(http.origins),
           "The origins (`https://example.com`) of web pages that may read `/topics` and `/events` "
           "from another host (CORS); `*`: all. Pages send no password of their own accord; theirs "
           "are asked for as anybody's")
      .key(FIELD(http.connections_max), Limits{1, 65535},
           "The most HTTP connections at once. For a further one the connection is closed that has "
           "asked for nothing for longest; if all are busy, the further one gets health and "
           "metrics alone")
      .key(FIELD(http.header_bytes_max), Limits{256, mib},
           "The largest header of a request; a larger one is answered with 431")
      .key(FIELD(http.body_bytes_max), Limits{0, 64 * mib},
           "The largest body of a request; a larger one is answered with 413")
      .key(FIELD(http.idle_seconds), Limits{1, 3600},
           "The longest time that a connection waits for its first or next request")
      .key(FIELD(http.header_seconds), Limits{1, 3600},
           "The time in which the header of a request has to arrive, from its first byte")
      .key(FIELD(http.timeout_seconds), Limits{1, 3600},
           "The time in which the body of a request has to arrive, and in which its answer has to "
           "be read")
      .key(FIELD(http.long_polls_max), Limits{0, 65535},
           "The most requests that wait for a newer value at once (`Prefer: wait`); further ones "
           "are answered with 503")
      .key(FIELD(http.wait_seconds_max), Limits{1, 3600},
           "The longest time that such a request waits, whatever it asks for")
      .key(FIELD(http.event_streams_max), Limits{0, 65535},
           "The most readers of `/events` at once; further ones are answered with 503. Each takes "
           "one of `http.connections_max`")
      .key(FIELD(threads.io), Limits{0, 256},
           "The number of threads that serve MQTT connections; 0: cores - 1, at least 1")
      .key(FIELD(connection.count_max), Limits{1, 10'000'000},
           "The most MQTT connections at once; further ones are told `quota exceeded`",
           Takes::reload)
      .key(FIELD(connection.turned_away_max), Limits{0, 1'000'000},
           "The most connections beyond that limit that are kept until they have been told so, and "
           "as many beyond the limits below; further ones are closed at once",
           Takes::reload)
      .key(FIELD(connection.per_address_max), Limits{0, 10'000'000},
           "The most connections of one address (of IPv6: one /64) at once; further ones are told "
           "`quota exceeded`, or closed before TLS begins. 0: no limit")
      .key(FIELD(connection.per_user_max), Limits{0, 10'000'000},
           "The most clients of one user at once, those without a user name excepted; further "
           "ones are told `quota exceeded`. 0: no limit")
      .key(
          FIELD(connection.per_second_max), Limits{0, 10'000'000},
          "The most new connections in a second; further ones are told `connection rate exceeded`, "
          "or closed before TLS begins. 0: no limit")
      .key(FIELD(connection.per_second_and_address_max), Limits{0, 10'000'000},
           "The same limit for those of one address (of IPv6: one /64)")
      .key(FIELD(connection.messages_per_second), Limits{0, 100'000'000},
           "The most PUBLISH packets in a second from one client; who exceeds it is not read until "
           "the second is over. 0: no limit")
      .key(FIELD(connection.bytes_per_second), Limits{0, 1024 * gib},
           "The same limit for the bytes in them")
      .key(FIELD(connection.drop_qos0_over_rate),
           "Whether a client's messages of QoS 0 that exceed these two limits are dropped, and "
           "counted, instead of waiting; those of QoS 1 and 2 wait either way")
      .key(FIELD(connection.unapplied_bytes), Limits{4 * kib, gib},
           "The most bytes that one connection has submitted and the processor has not yet "
           "applied; a connection that reaches this is not read until they have become fewer")
      .key(FIELD(connection.unapplied_commands), Limits{16, 1'048'576},
           "The same limit as a number of commands")
      .key(FIELD(connection.read_bytes), Limits{4 * kib, 16 * mib},
           "The most bytes that are read from a socket at once")
      .key(FIELD(connection.tcp_keep_alive_seconds), Limits{0, 32'767},
           "The time without any byte after which TCP keep-alive probes ask whether the client's "
           "machine is still there; 0: no probes")
      .key(FIELD(connection.tcp_user_timeout_seconds), Limits{0, 86'400},
           "The time after which a connection ends when the client's machine acknowledges nothing, "
           "or takes none of the bytes that wait (TCP_USER_TIMEOUT); 0: the system's default")
      .key(FIELD(packet_bytes_max), Limits{128, 255 * mib},
           "The largest packet that a client may send; MQTT 5 clients are told it as Maximum "
           "Packet Size. It may become larger inside: an alias is replaced by its topic")
      .key(FIELD(connect_bytes_max), Limits{128, 16 * mib}, "The largest CONNECT packet")
      .key(FIELD(connect_timeout_seconds), Limits{1, 3600},
           "The time from accepting a connection to its whole CONNECT packet")
      .key(FIELD(drain_seconds), Limits{0, 3600},
           "The longest time from SIGTERM to the end of the process, in which what is queued is "
           "still delivered");
}

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
           "and messages of others are delivered, but not retained",
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
           "MQTT 3.1.1 client, which cannot be told, waits")
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

Schema<UpstreamRule> upstream_rule_schema() {
  Schema<UpstreamRule> schema;
  schema
      .key(FIELD(direction),
           "`out`: messages published here go to the upstream; `in`: the upstream's come here; "
           "`both`. Must be set")
      .key(FIELD(filter),
           "The topics that the rule covers, as a topic filter, without the prefixes")
      .key(FIELD(local_prefix), "What stands in front of such a topic here, `/` included")
      .key(FIELD(remote_prefix), "What stands in front of such a topic there, `/` included")
      .key(FIELD(qos_max), Limits{0, 2},
           "The highest QoS at which messages cross; those of a higher one cross at this one")
      .key(FIELD(retained),
           "Whether retained messages cross when the link comes up, and RETAIN is kept; otherwise "
           "messages arrive with RETAIN 0")
      .key(FIELD(demand),
           "For the direction `in`: whether the upstream is asked for these topics only while "
           "somebody here subscribes to some of them. Unset: `true`")
      .key(FIELD(ack),
           "When somebody who publishes at QoS 1 or 2 what goes out has its acknowledgement: "
           "`edge`: "
           "when the message is taken here; `upstream`: when the upstream has acknowledged it, "
           "however long that takes")
      .key(FIELD(mode),
           "How what goes out is delivered, as for a client's subscription (docs/delivery.md). "
           "Unset: `latest` if there is a `max_rate_hz`, else `adaptive` if `qos_max` is 0, else "
           "`every`")
      .key(FIELD(max_rate_hz), Limits{0.001, 100'000},
           "The most values of one topic that go out each second; the newest one is always sent. "
           "Unset: no limit");
  return schema;
}

Schema<UpstreamConfig> upstream_schema() {
  Schema<UpstreamConfig> schema;
  schema
      .key(FIELD(name),
           "The upstream's name in logs, metrics and `$SYS`: letters, digits, `.`, `_` and `-`")
      .key(FIELD(type), "What it speaks; there is one value")
      .key(FIELD(addresses),
           "Where it is: `mqtt://host:port`, `mqtts://host:port` for TLS, `ws://host:port/path` or "
           "`wss://host:port/path` for WebSocket. Several are tried in turn")
      .key(FIELD(version),
           "The version of MQTT that is spoken. Unset: 5, or 3.1.1 if the upstream refuses 5")
      .key(FIELD(client_id),
           "The client identifier of this server there. Empty: this machine's name, a dot and the "
           "upstream's name")
      .key(FIELD(user), "The user name of this server there")
      .key(FIELD(password_file), "The file whose first line is the password of that user")
      .key(FIELD(keep_alive_seconds), Limits{5, 65535},
           "The keep alive. A link that does not answer is given up after at most one and a half "
           "times this")
      .key(FIELD(clean),
           "`true`: the upstream keeps nothing for this server while the link is down; `false`: it "
           "keeps the session, for as long as `session.expiry_max_seconds` says")
      .key(FIELD(retry_max_seconds), Limits{1, 3600},
           "The longest time between two attempts to connect; the first ones follow sooner")
      .key(
          FIELD(hops_max), Limits{1, 64},
          "How many links between brokers a message may cross; one more would drop it. Only MQTT 5 "
          "can count them")
      .key(FIELD(required), "`true`: `/readyz` answers 503 while the link is down")
      .key(
          FIELD(spool.messages), Limits{1, 100'000'000},
          "The most messages of rules of the mode `every` that wait while the link is slow, or, at "
          "QoS 1 and 2, down")
      .key(FIELD(spool.bytes), Limits{kib, 1024 * gib}, "The same limit in bytes")
      .key(FIELD(spool.overflow),
           "What happens when either limit is reached: `drop_oldest` or `drop_newest`")
      .key(FIELD(tls.ca_file),
           "The certificates (PEM) of those who may have signed the upstream's. Empty: those that "
           "the system trusts")
      .key(FIELD(tls.certificate_file),
           "This server's certificate chain (PEM), for an upstream that asks for one")
      .key(FIELD(tls.key_file), "The key (PEM) of that certificate")
      .key(FIELD(tls.key_password_file),
           "The file whose first line is the pass phrase of the key. Empty: the key is not "
           "encrypted")
      .key(FIELD(tls.server_name),
           "The name that the upstream's certificate must be for. Empty: the host of the address")
      .key(FIELD(tls.verify),
           "What is checked of the upstream's certificate: `full`: who signed it and whose it is; "
           "`signer`: only who signed it; `insecure`: nothing, so that anyone in between may read "
           "and change everything")
      .list(FIELD(rules), upstream_rule_schema(), 1'000,
            "Which topics cross the link. No two rules of one direction may match the same topic");
  return schema;
}

void add_upstreams(Schema<Config>& schema) {
  schema.list(
      FIELD(upstreams), upstream_schema(), 100,
      "Other brokers that this server is connected to as a client. SIGHUP adds, removes and "
      "changes each without touching the others",
      Takes::reload);
}

void add_local(Schema<Config>& schema) {
  schema
      .key(FIELD(local.socket),
           "The path of the Unix socket at which processes on this host attach to shared memory. "
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

void add_operator(Schema<Config>& schema) {
  schema
      .key(FIELD(access.allow_anonymous),
           "Whether a client without a user name may connect. Unset: yes, as long as none of "
           "access.password_file, access.scram_file, keys of access.jwt and access.http is set and "
           "nothing listens beyond loopback",
           Takes::reload)
      .key(FIELD(access.password_file),
           "The file with users and password hashes, made by `millrace passwd` or "
           "`mosquitto_passwd`",
           Takes::reload)
      .key(FIELD(access.scram_file),
           "The file with users and SCRAM keys, made by `millrace passwd --scram`; if it is set, "
           "MQTT 5 clients can authenticate by SCRAM-SHA-256",
           Takes::reload)
      .key(FIELD(access.jwt.keys_file),
           "The public keys by which tokens (JWT) are verified: PEM, or a JWK set. A key's kind is "
           "its algorithm: RSA RS256, P-256 ES256, Ed25519 EdDSA, a secret (`oct`) HS256. If it is "
           "set, clients can send a token as their password, or by the authentication method `JWT`",
           Takes::reload)
      .key(FIELD(access.jwt.secret_file),
           "A file whose content, without a line end, is a secret of at least 32 bytes for HS256",
           Takes::reload)
      .key(FIELD(access.jwt.issuer), "What a token's `iss` must be. Empty: it is not asked",
           Takes::reload)
      .key(FIELD(access.jwt.audience),
           "What a token's `aud` must be or contain. Empty: tokens that name an audience are "
           "refused",
           Takes::reload)
      .key(FIELD(access.jwt.leeway_seconds), Limits{0, 3600},
           "How far the clocks of issuer and server may differ, for `exp`, `nbf` and `iat`",
           Takes::reload)
      .key(FIELD(access.jwt.expiry_required), "Whether a token without `exp` is refused",
           Takes::reload)
      .key(FIELD(access.jwt.user_claim), "The claim that is the user name", Takes::reload)
      .key(FIELD(access.jwt.acl_claim),
           "The claim with the client's own rules, `{\"publish\": [filters], \"subscribe\": "
           "[filters], \"all\": [filters]}`: what it does not name is denied, and so is what "
           "access.rules deny. A token without it is refused. Empty: tokens carry no rules",
           Takes::reload)
      .key(FIELD(access.http.authenticate_url),
           "The URL (`http://127.0.0.1:8080/login`, or https) of a service that is asked whether "
           "name "
           "and password of a client of MQTT are right, by a POST of JSON. It is not asked for "
           "users of access.password_file, nor for tokens")
      .key(FIELD(access.http.authorize_url),
           "The URL that is then asked what the client may publish and subscribe to. Empty: "
           "access.rules alone say it; else they say it too, and what either denies is denied")
      .key(
          FIELD(access.http.ca_file),
          "For https: the certificates of the authorities that may have signed the service's, PEM; "
          "the file is read again on SIGHUP. Empty: the system's")
      .key(FIELD(access.http.timeout_ms), Limits{10, 60'000},
           "The time in which the service has to answer, waiting included")
      .key(FIELD(access.http.connections_max), Limits{1, 1000},
           "The most requests to the service at once; further ones wait")
      .key(
          FIELD(access.http.waiting_max), Limits{1, 1'000'000},
          "The most clients that wait for the service, a quarter of them from one address; further "
          "ones are told `server busy`")
      .key(FIELD(access.http.cache_seconds), Limits{0, 86'400},
           "How long an answer is remembered, for the same client with the same password from the "
           "same address; SIGHUP forgets all. 0: not at all")
      .key(FIELD(access.http.cache_max), Limits{0, 1'000'000},
           "The most answers that are remembered")
      .key(FIELD(access.http.on_failure),
           "What happens to a client if the service does not answer as it should: `deny` refuses "
           "it; `allow` lets it in as whom it says it is, unproven")
      .key(FIELD(access.password_checks_max), Limits{1, 1'000'000},
           "The most clients whose password waits to be checked, at most half of them over HTTP, "
           "and three quarters from one address; further ones are told `server busy`, or 503",
           Takes::reload)
      .key(FIELD(access.login_delay_max_ms), Limits{0, 600'000},
           "The longest time that a login waits after failed ones from its address or with its "
           "user name; the first few wait for nothing, then each doubles the time; 0: none waits",
           Takes::reload)
      .key(
          FIELD(access.ban.failures), Limits{0, 1'000'000},
          "How many failed logins over MQTT and HTTP within access.ban.window_seconds ban an "
          "address (of IPv6: a /64) that is not loopback: its MQTT connections are closed as soon "
          "as it is known, its HTTP requests answered with 403, but for health and public metrics. "
          "SIGHUP lifts all bans. 0: nobody is banned")
      .key(
          FIELD(access.ban.connections), Limits{0, 10'000'000},
          "How many new MQTT connections within access.ban.window_seconds an address may make; one "
          "more bans it likewise: its clients connect and leave again and again. It has to be well "
          "above the clients of an address, which may all return at once. 0: any number")
      .key(FIELD(access.ban.window_seconds), Limits{1, 86'400},
           "The time in which they are counted")
      .key(FIELD(access.ban.seconds), Limits{1, 2'592'000}, "How long a ban lasts")
      .key(FIELD(access.administrators),
           "The users who may disconnect clients, lift bans, reload the configuration and end the "
           "server over HTTP, by their password or by a token that carries no rules. None: nobody "
           "may",
           Takes::reload)
      .list(
          FIELD(access.http_tokens), http_token_schema(), 100,
          "Tokens that programs show over HTTP (`Authorization: Bearer`), each for some purposes. "
          "They are no way into MQTT",
          Takes::reload)
      .list(FIELD(access.rules), access_rule_schema(), 10'000,
            "Who may do what; the first rule that matches decides. A rule matches a subscription "
            "if it covers its whole filter. A denying rule that covers only a part of it takes out "
            "that part: `#` is granted and brings everything else",
            Takes::reload)
      .key(FIELD(access.otherwise),
           "What applies if no rule matches. Unset: `deny`, or `allow` if there are no rules",
           Takes::reload)
      .list(FIELD(delivery.rules), delivery_rule_schema(), 1'000,
            "How subscriptions are served, whatever their clients ask for; the first rule that "
            "matches decides. A change applies to subscriptions that are made later",
            Takes::reload)
      .key(FIELD(log.level), "The lowest level that is logged; the log goes to standard error",
           Takes::reload)
      .key(FIELD(log.format), "The form of the log: lines of text, or one JSON object a line",
           Takes::reload)
      .key(FIELD(log.repeat_seconds), Limits{0, 86'400},
           "The time in which a fault that a peer repeats is logged once, with a count; 0: it is "
           "logged each time",
           Takes::reload)
      .key(FIELD(sys.interval_seconds), Limits{0, 86'400},
           "How often the figures below `$SYS/broker/` are published (mosquitto's names, "
           "retained); 0: never");
}

#undef FIELD

}  // namespace

void prepare_item(ListenerConfig& listener, const Json& value) {
  const auto transport = value.is_object() ? value.find("transport") : value.end();
  if (transport == value.end()) return;
  if (*transport == "tls") listener.port = 8883;
  if (*transport == "ws") listener.port = 8083;
  if (*transport == "wss") listener.port = 8084;
  if (*transport == "unix") listener.port = 0;
}

const Schema<Config>& config_schema() {
  static const Schema<Config> schema = [] {
    Schema<Config> all;
    add_front_end(all);
    add_operator(all);
    add_protocol(all);
    add_core(all);
    add_local(all);
    add_upstreams(all);
    return all;
  }();
  return schema;
}

}  // namespace millrace::server
