#include "server/cli/mosquitto_listeners.hpp"

#include <algorithm>

#include "server/cli/mosquitto_words.hpp"
#include "server/config/config.hpp"

namespace millrace::server::mosquitto {

namespace {

using Json = nlohmann::ordered_json;

// The most that connection.count_max and listeners[i].connections_max may be.
constexpr std::int64_t connections_limit = 10'000'000;

}  // namespace

bool Listeners::take(const Directive& line) {
  const std::string& value = line.value;
  const auto text = [&](std::string_view name, std::string Listener::*field) {
    if (line.name != name) return false;
    now().*field = value;
    now().named = now().named || name == "certfile";
    return true;
  };
  if (text("certfile", &Listener::certificate) || text("keyfile", &Listener::key) ||
      text("cafile", &Listener::authorities) || text("crlfile", &Listener::crl) ||
      text("ciphers", &Listener::ciphers) || text("ciphers_tls1.3", &Listener::suites)) {
    return true;
  }
  if (line.name == "listener") {
    begin(line);
  } else if (line.name == "port") {
    take_port(line);
  } else if (line.name == "bind_address") {
    now().host = value;
    now().named = true;
  } else if (line.name == "protocol") {
    now().websocket = value == "websockets";
    if (!now().websocket && value != "mqtt") {
      now().named = false;
      note_(line, "is neither mqtt nor websockets; the listener is left out");
    }
  } else if (line.name == "require_certificate") {
    now().verifies = is_true(value);
  } else if (line.name == "use_identity_as_username") {
    if (is_true(value)) now().user_from = "common_name";
  } else if (line.name == "use_subject_as_username") {
    if (is_true(value)) now().user_from = "subject";
  } else if (line.name == "tls_version") {
    take_version(line);
  } else if (line.name == "max_connections") {
    take_connections_max(line);
  } else if (line.name == "max_qos") {
    now().qos_max = static_cast<int>(std::clamp<std::int64_t>(number(value).value_or(2), 0, 2));
  } else if (line.name == "socket_domain") {
    if (value == "ipv4" && now().host.empty()) now().host = "0.0.0.0";
  } else {
    return false;
  }
  return true;
}

// `listener PORT [ADDRESS]`, or `listener 0 PATH`.
void Listeners::begin(const Directive& line) {
  const auto space = line.value.find_first_of(" \t");
  const auto port = number(line.value.substr(0, space));
  if (!port || *port < 0 || *port > 65'535) return note_(line, "has no port");
  std::string address = space == std::string::npos ? "" : line.value.substr(space + 1);
  address.erase(0, address.find_first_not_of(" \t"));
  all_.emplace_back();
  now().began = line;
  now().named = true;
  if (*port == 0) {
    now().socket = address;
    return;
  }
  now().port = *port;
  now().host = address;
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

std::size_t Listeners::named_count() const {
  return static_cast<std::size_t>(
      std::count_if(all_.begin(), all_.end(), [](const Listener& one) { return one.named; }));
}

std::optional<std::int64_t> Listeners::connections_max() const {
  std::int64_t sum = 0;
  const bool any_named = named_count() > 0;
  for (const Listener& listener : all_) {
    if (any_named && !listener.named) continue;
    if (listener.connections_max < 0) return std::nullopt;
    sum += listener.connections_max;
  }
  return std::min(sum, connections_limit);
}

int Listeners::qos_max() const {
  int lowest = 2;
  for (const Listener& listener : all_) lowest = std::min(lowest, listener.qos_max);
  return lowest;
}

Json Listeners::json() {
  Json listeners = Json::array();
  for (const Listener& listener : all_) {
    if (listener.named) listeners.push_back(json_of(listener));
  }
  if (listeners.empty()) {
    Listener local = all_.front();
    local.host = "127.0.0.1";
    listeners.push_back(json_of(local));
  }
  return listeners;
}

Json Listeners::json_of(const Listener& listener) {
  const bool tls = !listener.certificate.empty() || !listener.key.empty();
  Json json;
  if (!listener.socket.empty()) {
    json["transport"] = "unix";
    json["socket"] = listener.socket;
    if (listener.connections_max > 0) json["connections_max"] = listener.connections_max;
    return json;
  }
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
  // Without require_certificate, mosquitto asks clients for none.
  if (!listener.verifies) return tls;
  tls["client_certificate"] = "required";
  tls["client_ca_file"] = listener.authorities;
  if (!listener.crl.empty()) tls["crl_file"] = listener.crl;
  if (!listener.user_from.empty()) tls["user_from"] = listener.user_from;
  return tls;
}

}  // namespace millrace::server::mosquitto
