#include "server/config/upstream_address.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace millrace::server {

namespace {

struct Scheme {
  std::string_view name;
  UpstreamType type;
  Transport transport;
  std::uint16_t port;
};

constexpr std::array<Scheme, 6> schemes = {{{"mqtt", UpstreamType::mqtt, Transport::tcp, 1883},
                                            {"mqtts", UpstreamType::mqtt, Transport::tls, 8883},
                                            {"ws", UpstreamType::mqtt, Transport::ws, 80},
                                            {"wss", UpstreamType::mqtt, Transport::wss, 443},
                                            {"nats", UpstreamType::nats, Transport::tcp, 4222},
                                            {"tls", UpstreamType::nats, Transport::tls, 4222}}};

const Scheme* scheme_of(std::string_view name) {
  for (const Scheme& scheme : schemes) {
    if (scheme.name == name) return &scheme;
  }
  return nullptr;
}

bool parse_port(std::string_view text, std::uint16_t& port) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port != 0;
}

}  // namespace

std::optional<UpstreamAddress> parse_upstream_address(std::string_view text, std::string& fault) {
  const auto nothing = [&](std::string_view why) {
    fault = why;
    fault.append(": \"").append(text).append("\"");
    return std::optional<UpstreamAddress>();
  };
  const auto colon = text.find("://");
  const Scheme* scheme =
      colon == std::string_view::npos ? nullptr : scheme_of(text.substr(0, colon));
  if (scheme == nullptr) {
    return nothing("must begin with mqtt://, mqtts://, ws:// or wss://, of NATS nats:// or tls://");
  }
  if (std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) < ' '; })) {
    return nothing("has control characters");
  }
  std::string_view rest = text.substr(colon + 3);
  UpstreamAddress address{scheme->type, scheme->transport, {}, scheme->port, {}};
  const bool has_path = scheme->transport == Transport::ws || scheme->transport == Transport::wss;
  const auto slash = rest.find('/');
  if (has_path) {
    address.path = slash == std::string_view::npos ? "/mqtt" : rest.substr(slash);
    if (address.path.find_first_of("# \t\r\n") != std::string::npos) {
      return nothing("has a path with characters that it must not have");
    }
    rest = rest.substr(0, slash);
  } else if (rest.ends_with('/')) {
    rest.remove_suffix(1);
  }
  if (rest.find('@') != std::string_view::npos) {
    return nothing("must not contain a user; `user` and `password_file` are for that");
  }
  if (rest.find_first_of("/?# \t") != std::string_view::npos) {
    return nothing("must end after the host and its port");
  }
  std::string_view port;
  if (rest.starts_with('[')) {
    const auto close = rest.find(']');
    if (close == std::string_view::npos) return nothing("has no \"]\" after its address");
    address.host = rest.substr(1, close - 1);
    port = rest.substr(close + 1);
    if (!is_address(address.host)) return nothing("has no address between its brackets");
  } else {
    const auto end = rest.find(':');
    address.host = rest.substr(0, end);
    if (end != std::string_view::npos) port = rest.substr(end);
  }
  if (address.host.empty()) return nothing("names no host");
  if (!port.empty() && (port.front() != ':' || !parse_port(port.substr(1), address.port))) {
    return nothing("has no valid port after the host");
  }
  return address;
}

}  // namespace millrace::server
