// Where an upstream is, as its address says: mqtt://broker.example:1883, mqtts://[::1],
// wss://broker.example/mqtt, nats://[::1]:4222. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/config/config.hpp"

namespace millrace::server {

struct UpstreamAddress {
  UpstreamType type = UpstreamType::mqtt;
  Transport transport = Transport::tcp;
  std::string host;  // a name or an address, without brackets
  std::uint16_t port = 1883;
  std::string path;  // of ws and wss

  bool uses_tls() const { return transport == Transport::tls || transport == Transport::wss; }
};

// Nothing: `fault` says what is wrong with it.
std::optional<UpstreamAddress> parse_upstream_address(std::string_view text, std::string& fault);

}  // namespace millrace::server
