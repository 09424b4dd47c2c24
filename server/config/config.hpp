// The configuration: one plain struct, filled once, read by everyone.
//
// Who may call it: `load_config` and `reload_config` touch files and the environment and belong to
// start-up and to the one reload path (SIGHUP). A `Config` that they returned without faults is
// valid as a whole: every number lies within its limits, every reference between keys holds.
// It is constant after construction; threads may share it.
//
// Where values come from, later wins: built-in defaults, the JSON file (comments allowed),
// MILLRACE_... variables, --set path=value, the common-case flags. Every key is described once, in
// keys.cpp; parsing, faults, --help and the table in docs/configuration.md all come from that
// description.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/config/choices.hpp"
#include "server/config/upstream_config.hpp"

namespace millrace::server {

struct TlsConfig {
  std::string certificate_file;   // PEM, the whole chain
  std::string key_file;           // PEM
  std::string key_password_file;  // its first line opens the key; empty: the key is not encrypted
  // Further pairs, for clients that ask for a name of theirs (SNI); the n-th key is the n-th
  // certificate's.
  std::vector<std::string> more_certificate_files;
  std::vector<std::string> more_key_files;
  bool session_tickets = true;
  TlsVersion version_min = TlsVersion::v1_2;
  std::string ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20";  // of TLS 1.2, in OpenSSL's words
  std::string cipher_suites;                            // of TLS 1.3; empty: OpenSSL's
  ClientCertificate client_certificate = ClientCertificate::none;
  std::string client_ca_file;  // PEM: who may have signed clients' certificates
  std::string crl_file;        // PEM: which of them are revoked; empty: not asked
  CertificateUser user_from = CertificateUser::none;
};

// Of everything that TlsConfig and UpstreamTlsConfig name.
struct TlsFilesConfig {
  std::uint32_t watch_seconds = 10;  // 0: they are read again on SIGHUP alone
};

struct ListenerConfig {
  std::string name;  // unique; what delivery rules, logs and metrics call it
  Transport transport = Transport::tcp;
  std::string host = "127.0.0.1";
  std::uint16_t port = 1883;                     // 0: any free port, named in the log
  std::vector<std::string> path = {"/mqtt"};     // ws and wss alone
  std::vector<std::string> origins;              // besides its own host: whose pages may connect
  std::vector<std::string> proxy_protocol_from;  // addresses; their connections begin with PROXY
  std::vector<std::string> forwarded_from;       // addresses whose X-Forwarded-For is believed
  std::uint32_t connections_max = 0;             // 0: no limit of its own, as for the next two
  std::uint32_t messages_per_second = 0;         // PUBLISH packets of all its clients
  std::uint64_t bytes_per_second = 0;            // in them
  bool drop_qos0_over_rate = false;              // over either of these two; else it waits
  TlsConfig tls;                                 // tls and wss alone
  std::string socket;                            // unix alone, as the next two: its path
  std::string socket_mode = "0660";              // octal
  bool peer_user = false;                        // whether "uid:N" of the peer is its user name

  bool uses_tls() const { return transport == Transport::tls || transport == Transport::wss; }
  bool uses_unix() const { return transport == Transport::unix_socket; }
  // Who a client is may be said by somebody in front of it.
  bool is_behind_proxies() const { return !proxy_protocol_from.empty() || !forwarded_from.empty(); }
  bool uses_websocket() const { return transport == Transport::ws || transport == Transport::wss; }
};

// A further address of HTTP.
struct HttpListenerConfig {
  std::string host = "127.0.0.1";
  std::uint16_t port = 9465;
  std::vector<std::string> serves = {"metrics", "topics", "api"};
  TlsConfig tls;  // in clear, unless it names a certificate

  bool uses_tls() const { return !tls.certificate_file.empty(); }
  ListenerConfig as_listener() const {
    ListenerConfig listener;
    listener.transport = uses_tls() ? Transport::wss : Transport::ws;  // they begin as HTTP does
    listener.host = host;
    listener.port = port;
    listener.tls = tls;
    return listener;
  }
};
// What logs and metrics call an entry of http.listeners: "http-2".
std::string http_listener_label(std::size_t index);

struct HttpConfig {
  std::string host = "127.0.0.1";
  std::uint16_t port = 9464;
  std::vector<std::string> serves = {"metrics", "topics", "api"};
  std::vector<HttpListenerConfig> listeners;
  bool metrics_public = true;
  std::uint32_t connections_max = 256;
  std::uint32_t connections_per_address_max = 0;  // 0: no limit
  std::uint32_t header_bytes_max = 16 * 1024;
  std::uint32_t body_bytes_max = 64 * 1024;
  std::vector<std::string> hosts;    // besides localhost and addresses: whose Host is ours
  std::vector<std::string> origins;  // whose pages may read topics
  std::uint32_t idle_seconds = 75;
  std::uint32_t header_seconds = 5;
  std::uint32_t timeout_seconds = 15;
  std::uint32_t long_polls_max = 128;
  std::uint32_t event_streams_max = 128;
  std::uint32_t wait_seconds_max = 60;
};

// Of all that is held for clients.
struct MemoryConfig {
  std::uint64_t bytes_max = 0;       // 0: three quarters of what there is; see memory_bytes_max()
  std::uint64_t user_bytes_max = 0;  // 0: no limit
  std::uint64_t routes_bytes_max = 256ull << 20;
};

struct ThreadsConfig {
  std::uint32_t io = 0;  // 0: cores - 1, at least 1; see io_threads()
};

struct ProcessorConfig {
  WaitStrategy wait = WaitStrategy::block;
  bool borrow_role = true;  // an I/O thread may apply its own batch while the processor sleeps
  std::uint32_t batch_max = 4096;
};

struct QueueConfig {
  std::uint64_t initial_capacity = 1024;
  std::uint64_t min_capacity = 512;
  std::uint64_t max_capacity = 1'048'576;
  double growth_factor = 2.0;
  double shrink_threshold = 0.25;
  std::uint64_t bytes_max = 256ull << 20;
  std::uint32_t control_reserve = 0;  // slots that control commands alone may use; 0: a 16th
};

// Limits of one connection's way in.
struct ConnectionConfig {
  std::uint64_t unapplied_bytes = 1ull << 20;
  std::uint32_t unapplied_commands = 8192;
  std::uint32_t read_bytes = 64 * 1024;
  std::uint32_t count_max = 100'000;
  std::uint32_t turned_away_max = 256;  // over count_max, until they were told
  std::uint32_t per_address_max = 0;    // 0: no limit, as for the next five
  std::uint32_t per_user_max = 0;
  std::uint32_t per_second_max = 0;              // new ones
  std::uint32_t per_second_and_address_max = 0;  // new ones
  std::uint32_t messages_per_second = 0;         // PUBLISH packets of one client
  std::uint64_t bytes_per_second = 0;            // in them
  bool drop_qos0_over_rate = false;              // over either of these two; else it waits
  std::uint32_t tcp_keep_alive_seconds = 60;     // 0: off
  std::uint32_t tcp_user_timeout_seconds = 300;  // 0: the system's
};

// Limits of one connection's way out.
struct OutboxConfig {
  std::uint64_t credit_bytes = 256 * 1024;
  std::uint64_t credit_max_bytes = 2ull << 20;
  std::uint64_t latest_credit_bytes = 16 * 1024;
  std::uint64_t unread_bytes = 8 * 1024;  // 0: what a reader has not read is not asked for
  std::uint64_t control_bytes_max = 256 * 1024;
  std::uint32_t notsent_lowat_bytes = 16 * 1024;
};

struct AdaptiveConfig {
  std::uint64_t backlog_bytes = 2ull << 20;
  std::uint32_t stale_after_ms = 1000;
};

struct SessionConfig {
  std::uint32_t queue_messages = 100'000;
  std::uint64_t queue_bytes = 64ull << 20;
  std::uint64_t bytes_max = 256ull << 20;
  std::uint32_t expiry_max_seconds = 7 * 24 * 3600;
  std::uint32_t subscriptions_max = 10'000;
  std::uint64_t all_subscriptions_max = 10'000'000;
  std::uint32_t count_max = 1'000'000;
  OverflowPolicy overflow = OverflowPolicy::drop_oldest;
  SessionScope scope = SessionScope::server;
};

// What outlives the process.
struct StoreConfig {
  std::string path;  // of its folder; empty: nothing is stored
  Durability durability = Durability::commit;
  std::uint32_t interval_ms = 1000;
  bool newest_values = false;  // not retained ones, too
  OnStoreFailure on_failure = OnStoreFailure::wait;
  std::uint64_t waiting_bytes_max = 256ull << 20;  // of changes, and again of answers
};

struct HistoryConfig {
  std::uint32_t depth = 0;  // values of a topic; 0: none are kept
  std::uint64_t bytes_max = 64ull << 20;
};
constexpr std::uint32_t history_depth_max = 10'000;

struct SlotsConfig {
  std::uint64_t count_max = 1'000'000;
  std::uint64_t bytes_max = 256ull << 20;
  std::uint64_t user_count_max = 0;  // of retained values; 0: three quarters of count_max
  std::uint64_t user_bytes_max = 0;  // of retained values; 0: three quarters of bytes_max
};

// What this server offers of MQTT, and says so in CONNACK.
struct MqttConfig {
  std::uint32_t qos_max = 2;
  bool retain_available = true;
  bool wildcard_available = true;
  bool shared_available = true;
  bool subscription_identifiers_available = true;
  bool identifiers_in_one_copy = false;
  std::uint32_t keep_alive_max_seconds = 0;  // 0: whatever the client asks for
  std::uint32_t topic_levels_max = 200;
  std::string response_prefix = "response";  // Response Information; empty: none
  std::string server_reference;              // when full or shutting down; empty: none
};

struct TopicAliasMaximumConfig {
  std::uint32_t in = 256;
  std::uint32_t out = 256;
};

struct AccessRule {
  AccessEffect effect = AccessEffect::deny;
  std::optional<std::string> user;  // none: everybody; "": the anonymous alone
  AccessAction action = AccessAction::all;
  std::string filter = "#";
  RefusalReason reason = RefusalReason::not_authorized;
  // Whom else it concerns; unset: whoever it may be.
  std::optional<std::string> client_id = {};  // "x*": all that begin with x
  std::vector<std::string> address = {};      // "10.0.0.0/8", "::1"
  std::optional<std::string> listener = {};   // its name
  // Which messages it concerns.
  std::uint32_t qos_max = 2;
  std::optional<bool> retained = {};
};

// Names that stand for what are no MQTT listeners, in rules.
inline constexpr const char* http_listener_name = "http";
inline constexpr const char* local_listener_name = "local";

// Tokens that say who a client is.
struct JwtConfig {
  std::string keys_file;    // PEM or JWK set
  std::string secret_file;  // for HS256
  std::string issuer;       // empty: any
  std::string audience;     // empty: none, so a token that is for somebody is refused
  std::uint32_t leeway_seconds = 30;
  bool expiry_required = true;
  std::string user_claim = "sub";
  std::string acl_claim;  // empty: tokens carry no rules

  bool is_set() const { return !keys_file.empty() || !secret_file.empty(); }
};

// Addresses that are not let in for a while, because they failed to log in.
struct BanConfig {
  std::uint32_t failures = 0;  // 0: nobody is banned for that
  std::uint32_t window_seconds = 60;
  std::uint32_t seconds = 300;
  std::uint32_t connections = 0;  // new ones; 0: nobody is banned for that
};

// What a program shows over HTTP.
struct HttpTokenConfig {
  std::string name;        // whose rights it has
  std::string token_file;  // its first line
  std::vector<std::string> scopes;
};

// A service of the operator's that says who a client of MQTT is.
struct HttpHookConfig {
  std::string authenticate_url;  // empty: there is none
  std::string authorize_url;     // empty: it says nothing of topics
  std::string ca_file;           // PEM: who may have signed its certificate; empty: the system's
  std::uint32_t timeout_ms = 2000;
  std::uint32_t connections_max = 8;
  std::uint32_t waiting_max = 1024;
  std::uint32_t cache_seconds = 30;
  std::uint32_t cache_max = 10'000;
  AccessEffect on_failure = AccessEffect::deny;

  bool is_set() const { return !authenticate_url.empty(); }
};

struct AccessConfig {
  std::optional<bool> allow_anonymous;  // unset: allowed as long as no file names users
  std::string password_file;            // mosquitto's format, made by `millrace passwd`
  std::string scram_file;               // made by `millrace passwd --scram`
  JwtConfig jwt;
  HttpHookConfig http;
  std::uint32_t password_checks_max = 1024;  // that wait at once
  std::uint32_t login_delay_max_ms = 5000;   // after failures; 0: none
  BanConfig ban;
  std::vector<std::string> administrators;  // users who may manage the server over HTTP
  std::vector<HttpTokenConfig> http_tokens;
  std::vector<AccessRule> rules;          // first match wins
  std::optional<AccessEffect> otherwise;  // when none matches; see unmatched()

  bool verifies_anyone() const {
    return !password_file.empty() || !scram_file.empty() || jwt.is_set() || http.is_set();
  }
  bool anonymous_allowed() const { return allow_anonymous.value_or(!verifies_anyone()); }
  // What no rule matches: unset, it is allowed only as long as there are no rules at all.
  AccessEffect unmatched() const {
    return otherwise.value_or(rules.empty() ? AccessEffect::allow : AccessEffect::deny);
  }
};

// An operator's word on how matching subscriptions are served; the first match wins. What is unset
// matches everything, or leaves things as they are.
struct DeliveryRule {
  std::optional<std::string> filter;    // covers the subscription's filter
  std::optional<std::string> user;      // "": the anonymous alone
  std::optional<std::string> listener;  // a listener's name
  std::optional<DeliveryMode> mode;
  std::optional<double> max_rate_hz;
  std::optional<std::uint32_t> budget_bytes_per_s;  // of the client that has such a subscription
  std::optional<UnchangedValues> unchanged;
  std::optional<double> delta;          // one of these two
  std::optional<double> delta_percent;  // at most
  std::optional<std::string> field;     // JSON Pointer
  std::optional<std::uint32_t> heartbeat_s;
  std::optional<std::uint32_t> tick_ms;  // of the client that has such a subscription
  std::optional<std::uint32_t> history;  // values of each topic to begin with
  std::optional<std::uint32_t> weight;   // of its topics among all that wait for the client

  bool says_anything() const {
    return mode || max_rate_hz || budget_bytes_per_s || unchanged || delta || delta_percent ||
           field || heartbeat_s || tick_ms || history || weight;
  }
};

// Of a JSON pointer that names what a change filter compares.
constexpr std::size_t field_bytes_max = 256;
constexpr std::uint32_t tick_ms_min = 10;
constexpr std::uint32_t tick_ms_max = 3'600'000;

// What is published under $SYS/broker/.
struct SysConfig {
  std::uint32_t interval_seconds = 10;  // 0: nothing
};

struct DeliveryConfig {
  std::vector<DeliveryRule> rules;
};

struct LogConfig {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::text;
  std::uint32_t repeat_seconds = 10;  // a peer's repeated fault is logged once in this time
};

// A process on the same host that may come in, and whose rights in the access rules it then has.
struct LocalPeer {
  std::optional<std::uint32_t> uid;  // either, or both
  std::optional<std::uint32_t> gid;  // its primary group
  std::string user;                  // "": the anonymous
};

// A ring that is there from the start and stays.
struct LocalRing {
  std::string filter = "#";
  RingPolicy policy = RingPolicy::lossy;
};

// Shared memory for processes on the same host.
struct LocalConfig {
  std::string socket;            // of the control socket; empty: no control socket
  std::vector<LocalPeer> allow;  // besides root and the server's own user
  std::vector<LocalRing> rings;
  std::uint64_t ring_bytes = 1ull << 20;
  std::uint32_t rings_max = 64;
  std::uint32_t consumers_max = 256;
  std::uint32_t publishers_max = 64;
  std::uint64_t publisher_ring_bytes = 256 * 1024;
  std::uint32_t publisher_frame_bytes_max = 64 * 1024;
  std::uint64_t overflow_bytes = 8ull << 20;
  std::uint32_t lease_ms = 5000;
  std::uint32_t linger_ms = 1000;
  std::uint32_t tables_max = 16;
  std::uint32_t table_cells = 4096;
  std::uint64_t snapshot_bytes_max = 64ull << 20;
};

struct Config {
  std::vector<ListenerConfig> listeners;  // default: MQTT on 1883, WebSocket on 8083, loopback
  HttpConfig http;
  TlsFilesConfig tls_files;
  MemoryConfig memory;
  ThreadsConfig threads;
  ProcessorConfig processor;
  QueueConfig queue;
  ConnectionConfig connection;
  OutboxConfig outbox;
  AdaptiveConfig adaptive;
  SessionConfig session;
  StoreConfig store;
  SlotsConfig slots;
  HistoryConfig history;
  MqttConfig mqtt;
  AccessConfig access;
  DeliveryConfig delivery;
  LogConfig log;
  SysConfig sys;
  LocalConfig local;
  std::vector<UpstreamConfig> upstreams;
  std::uint32_t packet_bytes_max = 2u << 20;
  std::uint32_t connect_bytes_max = 256 * 1024;
  std::uint32_t connect_timeout_seconds = 5;
  std::uint32_t receive_maximum = 1024;
  LimitPolicy receive_maximum_policy = LimitPolicy::enforce;
  std::uint32_t inflight_max = 1024;  // whatever Receive Maximum an MQTT 5 client allows
  TopicAliasMaximumConfig topic_alias_maximum;
  std::uint32_t drain_seconds = 10;

  Config();  // the defaults, default listeners included
  // threads.io and memory.bytes_max with 0 resolved against this machine.
  std::uint32_t io_threads() const;
  std::uint64_t memory_bytes_max() const;
};

// One thing wrong with the configuration, and where.
struct ConfigFault {
  std::string path;     // "queue.bytes_max", "listeners[1].port"; empty: the whole
  std::string message;  // what is wrong, and what would be right
  std::string origin;   // the file's name, "MILLRACE_QUEUE_BYTES_MAX", "--set", ...

  std::string to_string() const;
};

// Whether one of them is about this key, about what it stands in, or about an item of it: then its
// value is not known, or not good, and what is said of that value need not hold.
bool is_at_fault(const std::vector<ConfigFault>& faults, std::string_view path);

// Where this process was told to look. Kept by the app, since a reload looks there again.
struct ConfigSources {
  std::string file;                        // empty: none
  std::vector<std::string> environment;    // "NAME=value"; see process_environment()
  std::vector<std::string> sets;           // "path=value"
  std::optional<std::uint16_t> mqtt_port;  // the first tcp listener's
  std::optional<std::uint16_t> ws_port;    // the first ws listener's
  std::optional<std::uint16_t> http_port;
};

// This process's variables that begin with MILLRACE_.
std::vector<std::string> process_environment();
std::string config_variable(
    const std::string& path);  // "queue.bytes_max": MILLRACE_QUEUE_BYTES_MAX
inline constexpr const char* config_file_variable = "MILLRACE_CONFIG";  // names the file

struct LoadedConfig {
  Config config;
  // All but those of the files that it names (make_settings() in server/app); `config` may be used
  // only if this is empty.
  std::vector<ConfigFault> faults;

  bool ok() const { return faults.empty(); }
};

LoadedConfig load_config(const ConfigSources& sources);

// A reload as one step: everything is loaded and validated anew; with a fault nothing changes.
struct ReloadedConfig {
  Config config;  // what to run with now: keys that need a restart keep their running value
  std::vector<std::string> applied;        // paths whose new value is in `config`
  std::vector<std::string> needs_restart;  // paths that changed in the sources to no effect yet
  std::vector<ConfigFault> faults;

  bool ok() const { return faults.empty(); }
};

ReloadedConfig reload_config(const Config& running, const ConfigSources& sources);

// 127.0.0.0/8 and ::1.
bool is_loopback(const std::string& host);
// An IPv4 or IPv6 address, written in digits.
bool is_address(const std::string& host);
// 0.0.0.0 and ::.
bool is_any_address(const std::string& host);
// A socket on `::` takes IPv4 too, unless something else here listens for that on the same port.
bool takes_ipv4_too(const Config& config, const std::string& host, std::uint16_t port);
// "127.0.0.1:1883", "[::1]:1883".
std::string address_text(const std::string& host, std::uint16_t port);

// Renderings of the one description of all keys.
std::string config_help();                      // for a terminal
std::string config_json(const Config& config);  // every key by its path, as it is in force
std::string config_table_markdown();            // for docs/configuration.md

}  // namespace millrace::server
