// The words of mosquitto.conf (2.0) that tables convert: those that are a key here, those that have no
// counterpart, with the reason, and those that ask for what is always so here. Each of the others has
// a function in mosquitto_conf.cpp. And how numbers are read in it.
//
// Threads: constant.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "server/cli/mosquitto_conf.hpp"

namespace millrace::server::mosquitto {

struct NumberWord {
  std::string_view name, path;
  std::int64_t min, max;
  std::int64_t zero;  // what 0 means here: in mosquitto mostly "no limit"
};

inline constexpr std::int64_t packet_bytes_max = 255ll << 20;

inline constexpr NumberWord numbers[] = {
    {"max_inflight_messages", "inflight_max", 1, 65'535, 65'535},
    {"max_keepalive", "mqtt.keep_alive_max_seconds", 0, 65'535, 0},
    {"max_packet_size", "packet_bytes_max", 128, packet_bytes_max, packet_bytes_max},
    {"max_queued_messages", "session.queue_messages", 1, 100'000'000, 100'000'000},
    {"max_topic_alias", "topic_alias_maximum.in", 0, 65'535, 0},
    {"max_topic_alias_broker", "topic_alias_maximum.out", 0, 65'535, 0},
    {"sys_interval", "sys.interval_seconds", 0, 86'400, 0},
};

struct Reason {
  std::string_view name, why;
};

inline constexpr std::string_view outside_a_bridge =
    "belongs to a bridge, and no `connection` stands before it";

// Names that end in * stand for all that begin so.
inline constexpr Reason without_counterpart[] = {
    {"auth_opt_*", "there are no plugins"},
    {"auth_plugin*",
     "there are no plugins; access.password_file, access.http and access.rules say who may do "
     "what"},
    {"auto_id_prefix", "assigned client identifiers have no prefix of choice"},
    {"bind_interface",
     "name the interface's address in the listener's host, which is all addresses until then"},
    {"capath", "put the authorities into one PEM file, tls.client_ca_file"},
    {"clientid_prefixes", "client identifiers are not compared with a list"},
    {"dhparamfile", "the key exchange is by elliptic curves"},
    {"enable_control_api", "there are no plugins"},
    {"global_plugin", "there are no plugins"},
    {"http_dir", "no files are served; a web server in front can"},
    {"max_inflight_bytes", "the limit is inflight_max, in messages"},
    {"mount_point", "listeners do not put a prefix before topics"},
    {"pid_file", "systemd and containers know the process"},
    {"plugin",
     "there are no plugins; access.password_file, access.http and access.rules say who may do "
     "what"},
    {"plugin_*", "there are no plugins"},
    {"psk_*", "clients are known by certificates or passwords, not by pre-shared keys"},
    {"queue_qos0_messages", "messages at QoS 0 do not wait for clients that are not connected"},
    {"retry_interval",
     "messages are sent again when a client returns, as MQTT 5 says; mosquitto 2 does so too"},
    {"store_clean_interval", "nothing needs to be cleaned; mosquitto 2 ignores it too"},
    {"tls_engine*", "keys are read from files"},
    {"tls_keyform", "keys are read from PEM files"},
    {"upgrade_outgoing_qos",
     "a message keeps its own QoS where that is lower than the subscription's"},
    {"use_psk*", "clients are known by certificates or passwords, not by pre-shared keys"},
    {"use_username_as_clientid",
     "session.scope \"user\" gives each user client identifiers of its own"},
    {"user", "the service's unit, or the container, says whose process it is"},
    {"websockets_headers_size", "the size of a WebSocket's request has a fixed limit"},
    {"websockets_log_level", "log.level is for all"},
    // Of bridges (mosquitto_bridges.hpp).
    {"address", outside_a_bridge},
    {"addresses", outside_a_bridge},
    {"bridge_*", outside_a_bridge},
    {"cleansession", outside_a_bridge},
    {"clientid", outside_a_bridge},
    {"idle_timeout", outside_a_bridge},
    {"keepalive_interval", outside_a_bridge},
    {"local_*", outside_a_bridge},
    {"notification*", outside_a_bridge},
    {"password", outside_a_bridge},
    {"remote_*", outside_a_bridge},
    {"restart_timeout", outside_a_bridge},
    {"round_robin", outside_a_bridge},
    {"start_type", outside_a_bridge},
    {"threshold", outside_a_bridge},
    {"topic", outside_a_bridge},
    {"try_private", outside_a_bridge},
    {"username", outside_a_bridge},
};

// So anyway, or without anything that could be lost.
inline constexpr std::string_view without_effect[] = {
    "allow_duplicate_messages", "autosave_interval", "autosave_on_changes",
    "connection_messages",      "log_facility",      "log_timestamp",
    "log_timestamp_format",     "persistence_file",  "set_tcp_nodelay",
};

// Of numbers and of true and false mosquitto reads the first word alone, whatever stands behind it.
inline std::string_view first_word(std::string_view text) {
  return text.substr(0, text.find_first_of(" \t"));
}

// Nothing: it is none.
inline std::optional<std::int64_t> number(std::string_view text) {
  const std::string_view word = first_word(text);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

inline std::optional<bool> boolean(std::string_view text) {
  const std::string_view word = first_word(text);
  if (word == "true" || word == "1") return true;
  if (word == "false" || word == "0") return false;
  return std::nullopt;
}

inline constexpr std::string_view no_boolean = "is neither true nor false";

// Nothing: the line's value is none, and that is noted.
inline std::optional<bool> boolean_of(const Directive& line, const Note& note) {
  const auto value = boolean(line.value);
  if (!value) note(line, std::string(no_boolean));
  return value;
}

constexpr bool names(std::string_view entry, std::string_view word) {
  if (!entry.ends_with('*')) return entry == word;
  return word.starts_with(entry.substr(0, entry.size() - 1));
}

}  // namespace millrace::server::mosquitto
