#include "server/cli/mosquitto_listeners.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "server/cli/mosquitto_words.hpp"
#include "server/config/config.hpp"

namespace millrace::server::mosquitto {

namespace {

using Json = nlohmann::ordered_json;

// The most that connection.count_max and listeners[i].connections_max may be.
constexpr std::int64_t connections_limit = 10'000'000;

// About TLS, and noted among the words without a counterpart.
constexpr std::string_view noted_tls_words[] = {"capath", "dhparamfile", "psk_hint", "tls_engine*",
                                                "tls_keyform"};

}  // namespace

bool Listeners::take(const Directive& line) {
  if (take_tls(line)) return true;
  if (line.name == "listener") {
    begin(line);
    return true;
  }
  if (line.name == "port") {
    take_port(line);
    return true;
  }
  if (line.name == "bind_address") {
    now().host = line.value;
    now().named = true;
    return true;
  }
  if (line.name == "max_qos") {
    take_qos_max(line);
  } else if (line.name == "protocol") {
    take_protocol(line);
  } else if (line.name == "max_connections") {
    take_connections_max(line);
  } else if (line.name == "socket_domain") {
    take_socket_domain(line);
  } else {
    return false;
  }
  now().other_lines.push_back(line);
  return true;
}

bool Listeners::take_tls(const Directive& line) {
  constexpr std::pair<std::string_view, std::string Listener::*> texts[] = {
      {"certfile", &Listener::certificate}, {"keyfile", &Listener::key},
      {"cafile", &Listener::authorities},   {"crlfile", &Listener::crl},
      {"ciphers", &Listener::ciphers},      {"ciphers_tls1.3", &Listener::suites}};
  Listener& listener = now();
  for (const std::string_view word : noted_tls_words) {
    if (!names(word, line.name)) continue;
    listener.uses_tls = true;
    return false;
  }
  if (take_tls_flag(line)) return true;
  const auto found =
      std::ranges::find_if(texts, [&](const auto& text) { return text.first == line.name; });
  if (found != std::end(texts)) {
    listener.*(found->second) = line.value;
    listener.named = listener.named || line.name == "certfile";
  } else if (line.name == "tls_version") {
    take_version(line);
  } else {
    return false;
  }
  listener.uses_tls = true;
  listener.tls_lines.push_back(line);
  return true;
}

bool Listeners::take_tls_flag(const Directive& line) {
  constexpr std::pair<std::string_view, bool Listener::*> flags[] = {
      {"require_certificate", &Listener::verifies},
      {"use_identity_as_username", &Listener::by_identity},
      {"use_subject_as_username", &Listener::by_subject}};
  Listener& listener = now();
  for (const auto& [name, flag] : flags) {
    if (line.name != name) continue;
    const auto value = boolean(line.value);
    if (!value) note_(line, std::string(no_boolean) + "; it is taken for true, which is stricter");
    listener.*flag = value.value_or(true);
    if (listener.*flag) {
      listener.uses_tls = true;
      listener.tls_lines.push_back(line);
    }
    return true;
  }
  return false;
}

// `listener PORT [ADDRESS]`, or `listener 0 PATH`.
void Listeners::begin(const Directive& line) {
  const auto space = line.value.find_first_of(" \t");
  const auto port = number(line.value);
  std::string address = space == std::string::npos ? "" : line.value.substr(space + 1);
  address.erase(0, address.find_first_not_of(" \t"));
  // Also one that cannot be had: the lines that follow are about no other.
  all_.emplace_back();
  now().began = line;
  now().named = true;
  if (!port || *port < 0 || *port > 65'535) {
    now().left_out = true;
    return note_(line, "has no port; the listener is left out");
  }
  if (*port == 0) {
    now().socket = address;
    now().left_out = address.empty();
    if (address.empty()) note_(line, "has port 0, and no path of a socket; it is left out");
    return;
  }
  now().port = *port;
  now().host = address;
}

void Listeners::take_protocol(const Directive& line) {
  now().websocket = line.value == "websockets";
  if (now().websocket || line.value == "mqtt") return;
  now().left_out = true;
  note_(line, "is neither mqtt nor websockets; the listener is left out");
}

void Listeners::take_port(const Directive& line) {
  const auto port = number(line.value);
  if (!port || *port < 1 || *port > 65'535) return note_(line, "is no port");
  all_.front().port = *port;
  all_.front().named = true;
  all_.front().began = line;
}

void Listeners::take_version(const Directive& line) {
  if (line.value == "tlsv1.3") {
    now().version = "1.3";
  } else if (line.value == "tlsv1.2") {
    now().version = "1.2";
  } else {
    note_(line, "TLS 1.2 is the oldest that is offered");
  }
}

void Listeners::take_connections_max(const Directive& line) {
  const auto count = number(line.value);
  if (!count) return note_(line, "is no number");
  now().connections_max = *count > 0 ? std::min(*count, connections_limit) : -1;
}

void Listeners::take_qos_max(const Directive& line) {
  const auto qos = number(line.value);
  if (!qos || *qos < 0 || *qos > 2) return note_(line, "is none of 0, 1 and 2");
  now().qos_max = static_cast<int>(*qos);
  now().qos = line;
}

void Listeners::take_socket_domain(const Directive& line) {
  if (line.value == "ipv4") {
    if (now().host.empty()) now().host = "0.0.0.0";
  } else if (line.value == "ipv6") {
    note_(line, "without an address, IPv4 comes in as well: name one of IPv6 in host");
  } else {
    note_(line, "is neither ipv4 nor ipv6");
  }
}

std::vector<std::size_t> Listeners::places() const {
  if (is_local()) return {0};
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < all_.size(); ++i) {
    if (all_[i].exists()) places.push_back(i);
  }
  return places;
}

std::optional<std::int64_t> Listeners::connections_max() const {
  std::int64_t sum = 0;
  for (const std::size_t place : places()) {
    if (all_[place].connections_max < 0) return std::nullopt;
    sum += all_[place].connections_max;
  }
  return std::min(sum, connections_limit);
}

int Listeners::qos_max() const {
  int lowest = 2;
  for (const std::size_t place : places()) lowest = std::min(lowest, all_[place].qos_max);
  return lowest;
}

Json Listeners::json() {
  Json listeners = Json::array();
  if (is_local()) {
    Listener local = all_.front();
    local.host = "127.0.0.1";
    listeners.push_back(json_of(local));
    return listeners;
  }
  note_stray_lines();
  note_qos();
  for (const std::size_t place : places()) listeners.push_back(json_of(all_[place]));
  return listeners;
}

// Of the first, where nothing says that there is one.
void Listeners::note_stray_lines() {
  const Listener& first = all_.front();
  if (first.exists() || first.left_out) return;
  for (const auto& lines : {first.tls_lines, first.other_lines}) {
    for (const Directive& line : lines) {
      note_(line,
            "stands before the first `listener`: in mosquitto it is about one more, at port 1883, "
            "which is left out, and not about those that follow");
    }
  }
}

void Listeners::note_qos() {
  for (const std::size_t place : places()) {
    if (all_[place].qos_max == qos_max()) continue;
    const Listener& listener = all_[place];
    note_(listener.qos ? *listener.qos : listener.began,
          "there is one mqtt.qos_max for all listeners; the lowest is taken");
  }
}

// What of these lines is not as it was.
void Listeners::note_tls(const Listener& listener) {
  for (const Directive& line : listener.tls_lines) {
    if (!listener.socket.empty()) {
      note_(line, "a Unix socket has no TLS here; socket_mode says who may connect");
    } else if (!listener.has_pair()) {
      note_(line,
            "is about TLS, which needs certfile and keyfile: the listener uses TLS here, and has "
            "to be given both");
    } else if (line.name == "use_subject_as_username" && listener.by_identity) {
      note_(line, "use_identity_as_username is used instead");
    } else if (line.name.starts_with("use_") && !listener.verifies) {
      note_(line,
            "asks each client for its certificate here; without require_certificate mosquitto asks "
            "for none, and lets nobody in");
    } else if (line.name == "cafile" && !listener.asks_for_certificates()) {
      note_(line,
            "without require_certificate clients are asked for no certificate; authorities "
            "between the server's certificate and a known one belong into its file");
    } else if (line.name == "crlfile" && !listener.asks_for_certificates()) {
      note_(line, "without require_certificate clients are asked for no certificate");
    }
  }
}

Json Listeners::json_of_socket(const Listener& listener) {
  if (listener.websocket) note_(listener.began, "a Unix socket carries MQTT without WebSocket");
  Json json;
  json["transport"] = "unix";
  json["socket"] = listener.socket;
  if (listener.connections_max > 0) json["connections_max"] = listener.connections_max;
  return json;
}

Json Listeners::json_of(const Listener& listener) {
  note_tls(listener);
  if (!listener.socket.empty()) return json_of_socket(listener);
  const bool tls = listener.uses_tls;
  Json json;
  json["transport"] = listener.websocket ? (tls ? "wss" : "ws") : (tls ? "tls" : "tcp");
  // No address: every one, of both families.
  json["host"] = listener.host.empty() ? "::" : listener.host;
  json["port"] = listener.port;
  if (!listener.host.empty() && !is_address(listener.host) && listener.host != "localhost") {
    note_(listener.began, "\"" + listener.host + "\" is a name: put its address there");
  }
  if (listener.connections_max > 0) json["connections_max"] = listener.connections_max;
  if (listener.websocket) json["path"] = {"/", "/mqtt"};  // mosquitto takes any
  if (tls) json["tls"] = tls_of(listener);
  return json;
}

Json Listeners::tls_of(const Listener& listener) {
  Json tls;
  tls["certificate_file"] = listener.certificate;
  tls["key_file"] = listener.key;
  if (!listener.version.empty()) tls["version_min"] = listener.version;
  if (!listener.ciphers.empty()) tls["ciphers"] = listener.ciphers;
  if (!listener.suites.empty()) tls["cipher_suites"] = listener.suites;
  // Without any of these, mosquitto asks clients for none.
  if (!listener.asks_for_certificates()) return tls;
  tls["client_certificate"] = "required";
  tls["client_ca_file"] = listener.authorities;
  if (!listener.crl.empty()) tls["crl_file"] = listener.crl;
  if (listener.by_identity) {
    tls["user_from"] = "common_name";
  } else if (listener.by_subject) {
    tls["user_from"] = "subject";
  }
  return tls;
}

}  // namespace millrace::server::mosquitto
