// What only several keys together can get wrong.
#include <arpa/inet.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>

#include "core/broker/json_field.hpp"
#include "protocol/topic.hpp"
#include "server/config/address_range.hpp"
#include "server/config/hook_url.hpp"
#include "server/config/schema.hpp"

namespace millrace::server {

namespace {

bool is_ipv4(const std::string& host) {
  in_addr address{};
  return inet_pton(AF_INET, host.c_str(), &address) == 1;
}

constexpr std::size_t socket_bytes_max = 107;  // sockaddr_un

void check_host(const std::string& host, const FaultSink& faults) {
  if (!is_address(host)) {
    faults.at("host").add("must be an IP address or \"localhost\", not \"" + host + "\"");
  }
}

void check_client_certificates(const TlsConfig& tls, const FaultSink& faults) {
  const bool asked = tls.client_certificate != ClientCertificate::none;
  if (asked && tls.client_ca_file.empty()) {
    faults.at("tls.client_ca_file").add("is needed to verify clients' certificates");
  }
  const auto check = [&](bool is_set, std::string_view key) {
    if (is_set && !asked) {
      faults.at(key).add("has no meaning while tls.client_certificate is none");
    }
  };
  check(!tls.client_ca_file.empty(), "tls.client_ca_file");
  check(!tls.crl_file.empty(), "tls.crl_file");
  check(tls.user_from != CertificateUser::none, "tls.user_from");
}

// Whoever sets one of these expects that clients are held to it.
void check_without_tls(const ListenerConfig& listener, const FaultSink& faults) {
  const TlsConfig& tls = listener.tls;
  const TlsConfig defaults;
  const auto check = [&](bool is_set, std::string_view key) {
    if (!is_set) return;
    faults.at(key).add("has no meaning for " + std::string(word_of(listener.transport)) +
                       "; did you mean " + (listener.uses_websocket() ? "wss" : "tls") + "?");
  };
  check(!tls.certificate_file.empty(), "tls.certificate_file");
  check(!tls.key_file.empty(), "tls.key_file");
  check(!tls.key_password_file.empty(), "tls.key_password_file");
  check(!tls.more_certificate_files.empty(), "tls.more_certificate_files");
  check(!tls.more_key_files.empty(), "tls.more_key_files");
  check(tls.session_tickets != defaults.session_tickets, "tls.session_tickets");
  check(tls.version_min != defaults.version_min, "tls.version_min");
  check(tls.ciphers != defaults.ciphers, "tls.ciphers");
  check(tls.cipher_suites != defaults.cipher_suites, "tls.cipher_suites");
  check(tls.client_certificate != defaults.client_certificate, "tls.client_certificate");
  check(!tls.client_ca_file.empty(), "tls.client_ca_file");
  check(!tls.crl_file.empty(), "tls.crl_file");
  check(tls.user_from != defaults.user_from, "tls.user_from");
}

void check_tls(const ListenerConfig& listener, const FaultSink& faults) {
  if (!listener.uses_tls()) return check_without_tls(listener, faults);
  const TlsConfig& tls = listener.tls;
  const auto check = [&](const std::string& file, std::string_view key, bool is_needed) {
    if (!file.empty()) return check_readable(file, faults.at(key));
    if (is_needed) faults.at(key).add("is needed for TLS");
  };
  check(tls.certificate_file, "tls.certificate_file", true);
  check(tls.key_file, "tls.key_file", true);
  check(tls.key_password_file, "tls.key_password_file", false);
  const auto check_each = [&](const std::vector<std::string>& files, std::string_view key) {
    for (std::size_t i = 0; i < files.size(); ++i) check(files[i], item_path(key, i), true);
  };
  check_each(tls.more_certificate_files, "tls.more_certificate_files");
  check_each(tls.more_key_files, "tls.more_key_files");
  if (tls.more_certificate_files.size() != tls.more_key_files.size()) {
    faults.at("tls.more_key_files")
        .add("must name one key for each of tls.more_certificate_files (" +
             std::to_string(tls.more_certificate_files.size()) + "), but names " +
             std::to_string(tls.more_key_files.size()));
  }
  check(tls.client_ca_file, "tls.client_ca_file", false);
  check(tls.crl_file, "tls.crl_file", false);
  check_client_certificates(tls, faults);
}

// Two sockets of one family on one port need addresses of their own.
void check_any_addresses(const Config& config, const FaultSink& faults) {
  struct Place {
    std::string path, name, host;
    std::uint16_t port;
  };
  std::vector<Place> places = {{"http", "http", config.http.host, config.http.port}};
  for (std::size_t i = 0; i < config.http.listeners.size(); ++i) {
    const HttpListenerConfig& listener = config.http.listeners[i];
    places.push_back(
        {item_path("http.listeners", i), http_listener_label(i), listener.host, listener.port});
  }
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const ListenerConfig& listener = config.listeners[i];
    if (listener.uses_unix()) continue;
    places.push_back({item_path("listeners", i), listener.name, listener.host, listener.port});
  }
  for (const Place& one : places) {
    for (const Place& other : places) {
      const bool same_family = is_ipv4(one.host) == is_ipv4(other.host);
      if (&one == &other || one.port == 0 || one.port != other.port || !same_family ||
          one.host == other.host || !is_any_address(other.host)) {
        continue;
      }
      faults.at(one.path).at("port").add("is taken by \"" + other.name + "\" on " + other.host +
                                         ", which is all addresses");
    }
  }
}

void check_addresses(const std::vector<std::string>& addresses, const FaultSink& faults) {
  for (const std::string& address : addresses) {
    if (!AddressRange::parse(address)) {
      faults.add(
          "must be an address, or a range like \"10.0.0.0/8\" with no bits behind its "
          "length, not \"" +
          address + "\"");
    }
  }
}

void check_origins(const std::vector<std::string>& origins, const FaultSink& faults) {
  for (const std::string& origin : origins) {
    const auto scheme = origin.find("://");
    const bool has_path =
        scheme != std::string::npos && origin.find('/', scheme + 3) != std::string::npos;
    if (origin != "*" && origin != "null" && (scheme == std::string::npos || has_path)) {
      faults.at("origins").add("must look like \"https://example.com\", not \"" + origin + "\"");
    }
  }
}

void check_paths(const ListenerConfig& listener, const FaultSink& faults) {
  if (!listener.uses_websocket()) {
    if (!listener.origins.empty()) faults.at("origins").add("has no meaning without WebSocket");
    if (listener.path != ListenerConfig().path) {
      faults.at("path").add("has no meaning without WebSocket");
    }
    return;
  }
  check_origins(listener.origins, faults);
  if (listener.path.empty()) faults.at("path").add("at least one is needed");
  for (const std::string& path : listener.path) {
    if (!path.starts_with('/'))
      faults.at("path").add("must begin with \"/\", not \"" + path + "\"");
  }
}

void check_served(const std::vector<std::string>& parts, const FaultSink& faults) {
  if (parts.empty()) faults.at("serves").add("at least one is needed");
  for (const std::string& part : parts) {
    if (part != "metrics" && part != "topics" && part != "api") {
      faults.at("serves").add("must be metrics, topics or api, not \"" + part + "\"");
    }
  }
}

using Places = std::map<std::pair<std::string, std::uint16_t>, std::string>;

// Notes in `places` where HTTP listens.
void check_http(const HttpConfig& http, Places& places, const FaultSink& faults) {
  check_host(http.host, faults);
  check_origins(http.origins, faults);
  check_served(http.serves, faults);
  places[{http.host, http.port}] = "http";
  for (std::size_t i = 0; i < http.listeners.size(); ++i) {
    const HttpListenerConfig& listener = http.listeners[i];
    const TlsConfig& tls = listener.tls;
    const FaultSink here = faults.at(item_path("listeners", i));
    check_host(listener.host, here);
    check_served(listener.serves, here);
    if (listener.uses_tls()) {
      check_tls(listener.as_listener(), here);
    } else if (!tls.key_file.empty() || !tls.key_password_file.empty() ||
               !tls.client_ca_file.empty() || !tls.crl_file.empty() ||
               tls.client_certificate != ClientCertificate::none ||
               tls.version_min != TlsConfig().version_min) {
      here.at("tls.certificate_file").add("is needed for TLS");
    }
    const auto [place, is_new] =
        places.insert({{listener.host, listener.port}, http_listener_label(i)});
    if (!is_new && listener.port != 0) {
      here.at("port").add("is taken by \"" + place->second + "\" on the same host");
    }
  }
}

void check_socket(const ListenerConfig& listener, const FaultSink& faults) {
  if (!listener.uses_unix()) {
    if (!listener.socket.empty()) faults.at("socket").add("has a meaning for unix alone");
    if (listener.peer_user) faults.at("peer_user").add("has a meaning for unix alone");
    return;
  }
  if (listener.socket.empty()) faults.at("socket").add("is needed for unix");
  if (listener.socket.size() > socket_bytes_max) faults.at("socket").add("is too long a path");
  const std::string& mode = listener.socket_mode;
  if (mode.size() < 3 || mode.size() > 4 || (mode.size() == 4 && mode.front() != '0') ||
      mode.find_first_not_of("01234567") != std::string::npos) {
    faults.at("socket_mode").add("must be like \"0660\", not \"" + mode + "\"");
  }
  if (!listener.proxy_protocol_from.empty()) {
    faults.at("proxy_protocol_from").add("has no meaning for unix");
  }
}

// Rules, logs and metrics would take one for the other.
void check_name(const std::string& name, const Config& config, const FaultSink& faults) {
  const auto refuse = [&](const std::string& whose) {
    faults.at("name").add("\"" + name + "\" is what " + whose +
                          " is called; a listener of MQTT needs another name");
  };
  if (name == http_listener_name) refuse("HTTP");
  if (name == local_listener_name) refuse("local.socket");
  for (std::size_t i = 0; i < config.http.listeners.size(); ++i) {
    if (name == http_listener_label(i)) refuse(item_path("http.listeners", i));
  }
}

void check_listeners(const Config& config, const FaultSink& faults) {
  if (config.listeners.empty() && config.local.socket.empty()) {
    faults.at("listeners").add("at least one is needed, unless local.socket is set");
  }
  std::set<std::string> names;
  Places places;
  check_http(config.http, places, faults.at("http"));
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const ListenerConfig& listener = config.listeners[i];
    const FaultSink here = faults.at(item_path("listeners", i));
    check_socket(listener, here);
    if (!listener.uses_unix()) check_host(listener.host, here);
    check_tls(listener, here);
    check_name(listener.name, config, here);
    if (!names.insert(listener.name).second) {
      here.at("name").add("\"" + listener.name + "\" is another listener's name already");
    }
    check_paths(listener, here);
    check_addresses(listener.proxy_protocol_from, here.at("proxy_protocol_from"));
    check_addresses(listener.forwarded_from, here.at("forwarded_from"));
    if (!listener.forwarded_from.empty() && !listener.uses_websocket()) {
      here.at("forwarded_from").add("has no meaning without WebSocket");
    }
    if (listener.uses_unix() && !listener.socket.empty() &&
        listener.socket == config.local.socket) {
      here.at("socket").add("is local.socket too");
    }
    const std::string& where = listener.uses_unix() ? listener.socket : listener.host;
    const std::uint16_t port = listener.uses_unix() ? 0 : listener.port;
    const auto [place, is_new] = places.insert({{where, port}, listener.name});
    if (!is_new && listener.uses_unix()) {
      here.at("socket").add("is that of \"" + place->second + "\" too");
    } else if (!is_new && listener.port != 0) {
      here.at("port").add("is taken by \"" + place->second + "\" on the same host");
    }
  }
  check_any_addresses(config, faults);
}

// A listener beyond loopback needs a decision about who may connect.
void check_exposure(const Config& config, const FaultSink& faults) {
  const AccessConfig& access = config.access;
  if (access.allow_anonymous.value_or(false) || access.verifies_anyone()) return;
  const auto check = [&](const std::string& host, const FaultSink& here) {
    if (!is_address(host) || is_loopback(host)) return;
    here.at("host").add(host +
                        " is beyond loopback and there is no authentication: set "
                        "access.password_file, access.scram_file, keys of access.jwt or access.http, "
                        "or say access.allow_anonymous: true");
  };
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const ListenerConfig& listener = config.listeners[i];
    // A client of this listener has shown a certificate of an authority that the configuration trusts.
    if (listener.uses_tls() && listener.tls.client_certificate == ClientCertificate::required) {
      continue;
    }
    if (listener.uses_unix()) continue;
    check(listener.host, faults.at(item_path("listeners", i)));
  }
  check(config.http.host, faults.at("http"));
  for (std::size_t i = 0; i < config.http.listeners.size(); ++i) {
    const HttpListenerConfig& listener = config.http.listeners[i];
    if (listener.uses_tls() && listener.tls.client_certificate == ClientCertificate::required) {
      continue;
    }
    check(listener.host, faults.at("http").at(item_path("listeners", i)));
  }
}

void check_hook(const HttpHookConfig& hook, const FaultSink& faults) {
  const auto check = [&](const std::string& text, const char* key) {
    std::string fault;
    if (!text.empty() && !parse_hook_url(text, fault)) faults.at(key).add(fault);
  };
  check(hook.authenticate_url, "authenticate_url");
  check(hook.authorize_url, "authorize_url");
  if (!hook.authorize_url.empty() && !hook.is_set()) {
    faults.at("authenticate_url").add("is needed: clients are not known without it");
  }
  if (!hook.ca_file.empty()) check_readable(hook.ca_file, faults.at("ca_file"));
}

void check_filter(const std::string& filter, const Config& config, const FaultSink& faults) {
  if (!protocol::valid_topic_filter(filter, config.mqtt.topic_levels_max)) {
    faults.at("filter").add("is not a topic filter: \"" + filter + "\"");
  } else if (filter.starts_with("$share/") || filter.starts_with("$latest/")) {
    faults.at("filter").add("must be the plain filter, without its prefix");
  }
}

bool verifies_names(const Config& config) {
  const auto by_listener = [](const ListenerConfig& listener) {
    return listener.tls.user_from != CertificateUser::none || listener.peer_user;
  };
  return config.access.verifies_anyone() ||
         std::any_of(config.listeners.begin(), config.listeners.end(), by_listener);
}

void check_user(const std::optional<std::string>& user, const Config& config,
                const FaultSink& faults) {
  // A token for HTTP has a name, for which rules may be made.
  if (user && !user->empty() && !verifies_names(config) && config.access.http_tokens.empty()) {
    faults.at("user").add(
        "names a user, but without access.password_file, access.scram_file, keys of access.jwt, "
        "access.http, access.http_tokens or a listener's tls.user_from or peer_user no name is "
        "verified");
  }
}

void check_listener_name(const std::string& name, std::vector<std::string> others,
                         const Config& config, const FaultSink& faults) {
  std::vector<std::string> names = std::move(others);
  for (const ListenerConfig& listener : config.listeners) names.push_back(listener.name);
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  faults.at("listener").add("no listener is called \"" + name + "\"" + suggestion(name, names));
}

void check_rule(const AccessRule& rule, const Config& config, const FaultSink& faults) {
  // Placeholders stand for a text without wildcards.
  std::string filter = rule.filter;
  for (const std::string_view placeholder : {"%u", "%c"}) {
    for (std::size_t at; (at = filter.find(placeholder)) != std::string::npos;) {
      filter.replace(at, placeholder.size(), "x");
    }
  }
  check_filter(filter, config, faults);
  check_user(rule.user, config, faults);
  check_addresses(rule.address, faults.at("address"));
  if (rule.listener) {
    check_listener_name(*rule.listener, {http_listener_name, local_listener_name}, config, faults);
  }
  const bool denies = rule.effect == AccessEffect::deny;
  if (rule.reason != RefusalReason::not_authorized && !denies) {
    faults.at("reason").add("is what a rule that denies says; this one allows");
  }
  if (rule.qos_max < 2 && denies) {
    faults.at("qos_max").add("is what a rule that allows grants; this one denies");
  }
  if (rule.qos_max < 2 && rule.action == AccessAction::receive) {
    faults.at("qos_max").add("has no meaning for receive: it is granted with the subscription");
  }
  if (rule.retained && rule.action != AccessAction::publish) {
    faults.at("retained").add("has a meaning for the action publish alone");
  }
}

void check_jwt(const JwtConfig& jwt, const FaultSink& faults) {
  if (jwt.user_claim.empty()) faults.at("user_claim").add("must name a claim");
  const auto check = [&](bool is_set, std::string_view key) {
    if (is_set && !jwt.is_set()) {
      faults.at(key).add("has no meaning without access.jwt.keys_file or access.jwt.secret_file");
    }
  };
  check(!jwt.issuer.empty(), "issuer");
  check(!jwt.audience.empty(), "audience");
  check(!jwt.acl_claim.empty(), "acl_claim");
}

void check_access(const Config& config, const FaultSink& faults) {
  check_hook(config.access.http, faults.at("access").at("http"));
  const AccessConfig& access = config.access;
  check_jwt(access.jwt, faults.at("access.jwt"));
  const auto check_users = [&](const std::string& file, std::string_view key) {
    if (!file.empty()) check_readable(file, faults.at(key));
  };
  check_users(access.password_file, "access.password_file");
  check_users(access.scram_file, "access.scram_file");
  check_users(access.jwt.keys_file, "access.jwt.keys_file");
  check_users(access.jwt.secret_file, "access.jwt.secret_file");
  for (std::size_t i = 0; i < access.rules.size(); ++i) {
    check_rule(access.rules[i], config, faults.at(item_path("access.rules", i)));
  }
  if (access.allow_anonymous == false && !verifies_names(config)) {
    faults.at("access.allow_anonymous")
        .add(
            "is false and there is none of access.password_file, access.scram_file, keys of "
            "access.jwt, access.http and a listener's tls.user_from and peer_user: nobody could "
            "connect");
  }
}

void check_mqtt(const Config& config, const FaultSink& faults) {
  const MqttConfig& mqtt = config.mqtt;
  const bool is_topic = protocol::valid_topic_name(mqtt.response_prefix, mqtt.topic_levels_max);
  if (!mqtt.response_prefix.empty() && (!is_topic || mqtt.response_prefix.starts_with('$'))) {
    faults.at("mqtt.response_prefix").add("must be a topic that clients may publish to");
  }
  constexpr std::size_t text_bytes_max = 65'535;
  if (mqtt.server_reference.size() > text_bytes_max) {
    faults.at("mqtt.server_reference").add("is longer than 65,535 bytes");
  }
}

void check_local(const Config& config, const FaultSink& faults) {
  const LocalConfig& local = config.local;
  const auto check_power = [&](const char* name, std::uint64_t value) {
    if (!std::has_single_bit(value)) faults.at(name).add("must be a power of two");
  };
  check_power("local.ring_bytes", local.ring_bytes);
  check_power("local.publisher_ring_bytes", local.publisher_ring_bytes);
  check_power("local.table_cells", local.table_cells);
  if (local.publisher_frame_bytes_max > local.publisher_ring_bytes / 4) {
    faults.at("local.publisher_frame_bytes_max")
        .add("must not exceed a quarter of local.publisher_ring_bytes (" +
             std::to_string(local.publisher_ring_bytes / 4) + ")");
  }
  if (local.socket.size() > socket_bytes_max) faults.at("local.socket").add("is too long a path");
  for (std::size_t i = 0; i < local.allow.size(); ++i) {
    const FaultSink here = faults.at(item_path("local.allow", i));
    if (!local.allow[i].uid && !local.allow[i].gid) here.add("says neither uid nor gid");
  }
  for (std::size_t i = 0; i < local.rings.size(); ++i) {
    check_filter(local.rings[i].filter, config, faults.at(item_path("local.rings", i)));
  }
  if (local.rings.size() > local.rings_max) {
    faults.at("local.rings").add("has more rings than local.rings_max");
  }
}

void check_delivery(const Config& config, const FaultSink& faults) {
  for (std::size_t i = 0; i < config.delivery.rules.size(); ++i) {
    const DeliveryRule& rule = config.delivery.rules[i];
    const FaultSink here = faults.at(item_path("delivery.rules", i));
    if (rule.filter) check_filter(*rule.filter, config, here);
    check_user(rule.user, config, here);
    if (!rule.says_anything()) here.add("says nothing of how subscriptions are served");
    if (rule.delta && rule.delta_percent) here.at("delta_percent").add("stands beside delta");
    if (rule.field &&
        (!broker::is_json_pointer(*rule.field) || rule.field->size() > field_bytes_max)) {
      here.at("field").add("is no JSON pointer, such as /temperature, of at most " +
                           std::to_string(field_bytes_max) + " bytes");
    }
    if (!rule.listener) continue;
    check_listener_name(*rule.listener, {http_listener_name}, config, here);  // readers of /events
  }
}

// smaller <= larger, both named.
void check_order(double smaller, std::string_view smaller_path, double larger,
                 std::string_view larger_path, const FaultSink& faults) {
  if (smaller <= larger) return;
  faults.at(smaller_path)
      .add("must not exceed " + std::string(larger_path) + " (" + shown_number(larger) +
           "), but is " + shown_number(smaller));
}

void check_numbers(const Config& config, const FaultSink& faults) {
  const QueueConfig& queue = config.queue;
  check_order(queue.min_capacity, "queue.min_capacity", queue.initial_capacity,
              "queue.initial_capacity", faults);
  check_order(queue.initial_capacity, "queue.initial_capacity", queue.max_capacity,
              "queue.max_capacity", faults);
  check_order(queue.control_reserve, "queue.control_reserve", queue.max_capacity / 2,
              "half of queue.max_capacity", faults);
  check_order(config.packet_bytes_max, "packet_bytes_max", queue.bytes_max, "queue.bytes_max",
              faults);
  check_order(config.packet_bytes_max, "packet_bytes_max", config.store.waiting_bytes_max,
              "store.waiting_bytes_max", faults);
  check_order(config.outbox.latest_credit_bytes, "outbox.latest_credit_bytes",
              config.outbox.credit_bytes, "outbox.credit_bytes", faults);
  check_order(config.outbox.credit_bytes, "outbox.credit_bytes", config.outbox.credit_max_bytes,
              "outbox.credit_max_bytes", faults);
  if (queue.shrink_threshold * queue.growth_factor >= 1) {
    faults.at("queue.shrink_threshold")
        .add("must be below 1 / queue.growth_factor, else the queue shrinks right after it grew");
  }
}

}  // namespace

std::string item_path(std::string_view list, std::size_t index) {
  return std::string(list) + "[" + std::to_string(index) + "]";
}

void check_readable(const std::string& file, const FaultSink& faults) {
  if (::access(file.c_str(), R_OK) != 0) {
    faults.add("cannot read \"" + file + "\": " + std::strerror(errno));
  }
}

bool is_address(const std::string& host) {
  in6_addr address{};
  return is_ipv4(host) || inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

bool is_any_address(const std::string& host) {
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return v4.s_addr == INADDR_ANY;
  in6_addr v6{};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&v6);
}

std::string http_listener_label(std::size_t index) {
  return "http-" + std::to_string(index + 2);
}

bool takes_ipv4_too(const Config& config, const std::string& host, std::uint16_t port) {
  if (is_ipv4(host) || !is_any_address(host)) return false;
  if (port == 0) return true;
  const auto takes_it = [&](const auto& other) {
    return other.port == port && is_ipv4(other.host);
  };
  return !takes_it(config.http) && std::ranges::none_of(config.listeners, takes_it) &&
         std::ranges::none_of(config.http.listeners, takes_it);
}

bool is_loopback(const std::string& host) {
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

void validate_config(const Config& config, std::vector<ConfigFault>& faults) {
  const FaultSink sink(faults, "", "");
  check_listeners(config, sink);
  check_exposure(config, sink);
  check_access(config, sink);
  check_mqtt(config, sink);
  check_delivery(config, sink);
  check_local(config, sink);
  check_upstreams(config, sink);
  check_numbers(config, sink);
}

}  // namespace millrace::server
