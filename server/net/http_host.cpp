#include "server/net/http_host.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "server/config/config.hpp"

namespace millrace::server {

namespace {

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

bool is_port(std::string_view text) {
  return text.size() <= 5 && std::all_of(text.begin(), text.end(),
                                         [](unsigned char c) { return std::isdigit(c) != 0; });
}

}  // namespace

std::optional<std::string> host_of_authority(std::string_view authority) {
  std::string_view host, rest;
  if (authority.starts_with('[')) {
    const auto close = authority.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    host = authority.substr(1, close - 1);
    rest = authority.substr(close + 1);
  } else {
    const auto colon = std::min(authority.find(':'), authority.size());
    host = authority.substr(0, colon);
    rest = authority.substr(colon);
  }
  if (host.empty() || host.find_first_of("/?#@ \t") != std::string_view::npos) return std::nullopt;
  if (!rest.empty() && (rest.front() != ':' || !is_port(rest.substr(1)))) return std::nullopt;
  if (host.ends_with('.')) host.remove_suffix(1);  // the root of the DNS
  return lower_case(host);
}

RequestTarget split_target(std::string_view target) {
  constexpr std::array<std::string_view, 4> schemes = {"http://", "https://", "ws://", "wss://"};
  for (const std::string_view scheme : schemes) {
    if (lower_case(target.substr(0, scheme.size())) != scheme) continue;
    target.remove_prefix(scheme.size());
    const auto slash = std::min(target.find_first_of("/?"), target.size());
    const std::string_view path = target.substr(slash);
    return {target.substr(0, slash), path.empty() ? std::string_view("/") : path};
  }
  return {{}, target};
}

bool is_local_host(const std::string& host) {
  return host == "localhost" || is_loopback(host);
}

}  // namespace millrace::server
