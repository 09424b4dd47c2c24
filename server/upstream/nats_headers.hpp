// What MQTT says beside topic and payload, as headers of a NATS message, and back.
//
//     Mqtt-Retain: 1                    Mqtt-Response-Topic: a/b
//     Mqtt-Expiry: 30 (seconds)         Mqtt-Correlation-Data: %00%01
//     Mqtt-Payload-Format: 1            Mqtt-User: name=value       one for each, in order
//     Mqtt-Content-Type: text/plain
//
// In values `%`, spaces, control characters, and in a user property's name `=` are escaped as %25 and so
// on. The hop count (hops.hpp) is a user property like any other.
//
// Threads: any; pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/publish.hpp"

namespace millrace::server {

// All names that are read or written.
inline constexpr std::array<const char*, 7> nats_header_names = {
    "Mqtt-Retain",         "Mqtt-Payload-Format",   "Mqtt-Expiry", "Mqtt-Content-Type",
    "Mqtt-Response-Topic", "Mqtt-Correlation-Data", "Mqtt-User"};

// Names are of nats_header_names.
using NatsHeaders = std::vector<std::pair<const char*, std::string>>;

// `properties`: those of a decoded PUBLISH. `expiry_s`: what is left of its Message Expiry Interval.
NatsHeaders to_nats_headers(std::span<const std::uint8_t> properties,
                            std::optional<std::uint32_t> expiry_s, bool retain);

struct FromNatsHeaders {
  bool retain = false;
  std::vector<std::uint8_t> properties;  // of a PUBLISH, without their length

  // Refers to this object.
  protocol::RawProperties raw() const;
};
// Nothing: they are no valid properties.
std::optional<FromNatsHeaders> from_nats_headers(const NatsHeaders& headers);

}  // namespace millrace::server
