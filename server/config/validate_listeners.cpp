// What only several keys together can get wrong about listeners, of MQTT and of HTTP.
#include <algorithm>
#include <map>
#include <set>

#include "server/config/schema.hpp"

namespace millrace::server {

namespace {

void check_host(const std::string& host, const FaultSink& faults) {
  if (!is_address(host)) {
    faults.at("host").add("must be an IP address or \"localhost\", not \"" + host + "\"");
  }
}

void check_client_certificates(const TlsConfig& tls, const FaultSink& faults) {
  if (faults.has_fault_of(faults.at("tls.client_certificate").path())) return;
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
      const bool same_family = is_ipv4_address(one.host) == is_ipv4_address(other.host);
      if (&one == &other || one.port == 0 || one.port != other.port || !same_family ||
          one.host == other.host || !is_any_address(other.host)) {
        continue;
      }
      faults.at(one.path).at("port").add("is taken by \"" + other.name + "\" on " + other.host +
                                         ", which is all addresses");
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
      faults.at("serves").add("must be metrics, topics or api, not \"" + part + "\"" +
                              suggestion(part, {"metrics", "topics", "api"}));
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

// What depends on the transport.
void check_transport(const ListenerConfig& listener, const FaultSink& faults) {
  if (faults.has_fault_of(faults.at("transport").path())) return;
  check_socket(listener, faults);
  check_tls(listener, faults);
  check_paths(listener, faults);
  if (!listener.forwarded_from.empty() && !listener.uses_websocket()) {
    faults.at("forwarded_from").add("has no meaning without WebSocket");
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

}  // namespace

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
    check_transport(listener, here);
    if (!listener.uses_unix()) check_host(listener.host, here);
    check_name(listener.name, config, here);
    if (!names.insert(listener.name).second) {
      here.at("name").add("\"" + listener.name + "\" is another listener's name already");
    }
    check_address_ranges(listener.proxy_protocol_from, here.at("proxy_protocol_from"));
    check_address_ranges(listener.forwarded_from, here.at("forwarded_from"));
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
  if (faults.has_fault_of("access.allow_anonymous") || !knows_who_is_verified(faults)) return;
  const auto check = [&](const std::string& host, const FaultSink& here) {
    if (!is_address(host) || is_loopback(host)) return;
    here.at("host").add(
        host +
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

std::string http_listener_label(std::size_t index) {
  return "http-" + std::to_string(index + 2);
}

}  // namespace millrace::server
