#include "server/cli/mosquitto_bridges.hpp"

#include <algorithm>
#include <optional>
#include <string_view>

#include "server/cli/mosquitto_words.hpp"

namespace millrace::server::mosquitto {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view blanks = " \t";

struct TextWord {
  std::string_view name, key;
  bool of_tls;
};
constexpr TextWord texts[] = {
    {"clientid", "client_id", false},     {"remote_clientid", "client_id", false},
    {"username", "user", false},          {"remote_username", "user", false},
    {"bridge_cafile", "ca_file", true},   {"bridge_certfile", "certificate_file", true},
    {"bridge_keyfile", "key_file", true},
};

// What is so anyway, and what a bridge is called here, where it is no client.
constexpr std::string_view bridge_without_effect[] = {"bridge_attempt_unsubscribe",
                                                      "bridge_reload_type",
                                                      "local_cleansession",
                                                      "local_clientid",
                                                      "local_password",
                                                      "try_private"};

constexpr Reason bridge_without_counterpart[] = {
    {"bridge_alpn", "links name no protocol (ALPN)"},
    {"bridge_bind_address", "the system chooses the address that a link comes from"},
    {"bridge_capath", "put the authorities into one PEM file, tls.ca_file"},
    {"bridge_identity", "links are secured by certificates, not by pre-shared keys"},
    {"bridge_max_packet_size", "the broker says how large a packet it takes"},
    {"bridge_psk", "links are secured by certificates, not by pre-shared keys"},
    {"bridge_*", "links have no such setting"},
    {"idle_timeout", "a link is always up"},
    {"local_username",
     "a link is no client here: its rules say what crosses it, and access.rules do not"},
    {"notification_topic", "the state of a link is in `$SYS`, the metrics and the log"},
    {"notifications*", "the state of a link is in `$SYS`, the metrics and the log"},
    {"round_robin", "the addresses are tried in turn, from the first one"},
    {"threshold", "a link is always up"},
};

// About TLS, and noted as what has no counterpart. Without a line of these or of the files a link is
// plain; with one it must not become so, though mosquitto may want more lines before it uses TLS.
constexpr std::string_view noted_tls_words[] = {
    "bridge_alpn", "bridge_capath",       "bridge_ciphers*", "bridge_identity",
    "bridge_psk",  "bridge_require_ocsp", "bridge_tls_*"};

// The next word, and what is behind it.
std::string take_word(std::string_view& rest) {
  rest.remove_prefix(std::min(rest.find_first_not_of(blanks), rest.size()));
  const auto end = std::min(rest.find_first_of(blanks), rest.size());
  std::string word(rest.substr(0, end));
  rest.remove_prefix(end);
  return word == "\"\"" ? "" : word;
}

bool has_more(std::string_view rest) {
  return rest.find_first_not_of(blanks) != std::string_view::npos;
}

}  // namespace

bool Bridges::take(const Directive& line) {
  if (line.name == "connection") {
    all_.emplace_back();
    all_.back().began = line;
    if (line.value.empty()) note_(line, "has no name");
    return true;
  }
  if (all_.empty()) return false;
  return take_text(line) || take_other(line);
}

bool Bridges::take_text(const Directive& line) {
  for (const TextWord& word : texts) {
    if (word.name != line.name) continue;
    Bridge& bridge = all_.back();
    (word.of_tls ? bridge.tls : bridge.keys)[std::string(word.key)] = line.value;
    bridge.uses_tls = bridge.uses_tls || word.of_tls;
    return true;
  }
  return false;
}

bool Bridges::take_other(const Directive& line) {
  Bridge& bridge = all_.back();
  const auto is_named = [&](std::string_view word) { return names(word, line.name); };
  bridge.uses_tls = bridge.uses_tls || std::ranges::any_of(noted_tls_words, is_named);
  if (line.name == "address" || line.name == "addresses") {
    take_addresses(line);
  } else if (line.name == "topic") {
    take_topic(line);
  } else if (line.name == "password" || line.name == "remote_password") {
    note_(line, "put it into a file of its own, and name that in password_file");
  } else if (line.name == "cleansession") {
    if (const auto clean = boolean_of(line, note_)) bridge.keys["clean"] = *clean;
  } else if (line.name == "keepalive_interval") {
    take_number(line, "keep_alive_seconds", 5, 65'535);
  } else if (line.name == "restart_timeout") {
    take_number(line, "retry_max_seconds", 1, 3600);
  } else if (line.name == "bridge_protocol_version") {
    take_version(line);
  } else if (line.name == "bridge_insecure") {
    bridge.uses_tls = true;
    if (boolean_of(line, note_) == true) bridge.tls["verify"] = "signer";  // whatever its name is
  } else if (line.name == "bridge_outgoing_retain") {
    bridge.retained = boolean_of(line, note_).value_or(bridge.retained);
  } else if (line.name == "start_type") {
    if (line.value != "automatic") note_(line, "a link is always up");
  } else if (!std::ranges::any_of(bridge_without_effect, is_named)) {
    for (const auto& [word, why] : bridge_without_counterpart) {
      if (!is_named(word)) continue;
      note_(line, std::string(why));
      return true;
    }
    return false;
  }
  return true;
}

void Bridges::take_addresses(const Directive& line) {
  for (std::string_view rest = line.value; has_more(rest);) {
    std::string address = take_word(rest);
    // Only brackets keep an IPv6 address apart from its port.
    const auto close = address.rfind(']');
    const auto colon = address.rfind(':');
    const bool has_port =
        colon != std::string::npos && (close == std::string::npos || colon > close);
    if (!has_port) address += ":1883";
    all_.back().addresses.push_back(std::move(address));
  }
}

void Bridges::take_topic(const Directive& line) {
  std::string_view rest = line.value;
  const std::string pattern = take_word(rest);
  std::string direction = take_word(rest);
  if (direction.empty()) direction = "out";
  const std::string qos = has_more(rest) ? take_word(rest) : "0";
  const std::string local = take_word(rest), remote = take_word(rest);
  if (direction != "out" && direction != "in" && direction != "both") {
    return note_(line, "\"" + direction + "\" is neither out, in nor both");
  }
  const auto qos_max = number(qos);
  if (!qos_max || *qos_max < 0 || *qos_max > 2) return note_(line, "has no QoS of 0, 1 or 2");
  Json rule;
  rule["direction"] = direction;
  if (pattern.empty()) {
    // One topic, with a name here and another one there: what both end in stands for it.
    const auto slash = local.rfind('/'), other = remote.rfind('/');
    const std::string name = local.substr(slash == std::string::npos ? 0 : slash + 1);
    if (name.empty() || remote.substr(other == std::string::npos ? 0 : other + 1) != name) {
      return note_(line, "gives one topic two names that do not end in the same level");
    }
    rule["filter"] = name;
    rule["local_prefix"] = local.substr(0, local.size() - name.size());
    rule["remote_prefix"] = remote.substr(0, remote.size() - name.size());
  } else {
    rule["filter"] = pattern;
    if (!local.empty()) rule["local_prefix"] = local;
    if (!remote.empty()) rule["remote_prefix"] = remote;
  }
  if (*qos_max < 2) rule["qos_max"] = *qos_max;
  all_.back().rules.push_back(std::move(rule));
}

void Bridges::take_version(const Directive& line) {
  if (line.value == "mqttv50") {
    all_.back().keys["version"] = "5";
  } else if (line.value == "mqttv311") {
    all_.back().keys["version"] = "3.1.1";
  } else {
    note_(line, "MQTT 3.1.1 is the oldest that a link speaks");
  }
}

// Of several numbers the last one: it is the most.
void Bridges::take_number(const Directive& line, const char* key, std::int64_t min,
                          std::int64_t max) {
  std::optional<std::int64_t> value;
  for (std::string_view rest = line.value; has_more(rest);) value = number(take_word(rest));
  if (!value || *value < 0) return note_(line, "is no number");
  all_.back().keys[key] = std::clamp(*value, min, max);
}

Json Bridges::json_of(const Bridge& bridge) const {
  Json json;
  json["name"] = bridge.began.value;
  json["addresses"] = Json::array();
  for (const std::string& address : bridge.addresses) {
    json["addresses"].push_back((bridge.uses_tls ? "mqtts://" : "mqtt://") + address);
  }
  json.update(bridge.keys);
  if (bridge.uses_tls && !bridge.tls.empty()) json["tls"] = bridge.tls;
  json["rules"] = bridge.rules;
  for (Json& rule : json["rules"]) {
    if (!bridge.retained && rule["direction"] != "in") rule["retained"] = false;
  }
  return json;
}

Json Bridges::json() const {
  Json upstreams = Json::array();
  for (const Bridge& bridge : all_) {
    upstreams.push_back(json_of(bridge));
    if (bridge.addresses.empty()) note_(bridge.began, "has no address");
    if (bridge.rules.empty()) note_(bridge.began, "has no topic: nothing crosses the link");
  }
  return upstreams;
}

}  // namespace millrace::server::mosquitto
