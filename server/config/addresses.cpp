// Addresses, as configuration and peers write them.
#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "server/config/schema.hpp"

namespace millrace::server {

bool is_ipv4_address(const std::string& host) {
  in_addr address{};
  return inet_pton(AF_INET, host.c_str(), &address) == 1;
}

bool is_address(const std::string& host) {
  in6_addr address{};
  return is_ipv4_address(host) || inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

bool is_any_address(const std::string& host) {
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return v4.s_addr == INADDR_ANY;
  in6_addr v6{};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&v6);
}

bool takes_ipv4_too(const Config& config, const std::string& host, std::uint16_t port) {
  if (is_ipv4_address(host) || !is_any_address(host)) return false;
  if (port == 0) return true;
  const auto takes_it = [&](const auto& other) {
    return other.port == port && is_ipv4_address(other.host);
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

}  // namespace millrace::server
