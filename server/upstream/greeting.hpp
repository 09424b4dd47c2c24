// The greeting of a link: CONNECT as this server sends it, and what the upstream's CONNACK means.
// Source: MQTT 5.0 and 3.1.1, sections 3.1 and 3.2; the bridge bit is mosquitto's.
//
// Threads: any; pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/packet.hpp"
#include "server/config/config.hpp"
#include "server/upstream/plan.hpp"

namespace millrace::server {

// How the upstream is spoken to, in the order in which it is tried. Without No Local (MQTT 5) or the
// bridge bit, which stands for it, an upstream sends back what it was sent.
enum class Dialect : std::uint8_t { v5, v3_1_1_bridge, v3_1_1 };

constexpr protocol::Version version_of(Dialect dialect) {
  return dialect == Dialect::v5 ? protocol::Version::v5 : protocol::Version::v3_1_1;
}
constexpr bool has_no_local(Dialect dialect) {
  return dialect != Dialect::v3_1_1;
}
// The first one that the configuration allows; and the one to try when `refused` was refused as a
// version: the first one again after the last.
Dialect first_dialect(const UpstreamConfig& config);
Dialect next_dialect(const UpstreamConfig& config, Dialect refused);
const char* to_string(Dialect dialect);

std::vector<std::uint8_t> encode_link_connect(const UpstreamPlan& plan, const Config& config,
                                              Dialect dialect);

// What the upstream allows.
struct LinkTerms {
  bool session_present = false;
  std::uint16_t receive_maximum = 65535;
  std::uint32_t packet_bytes_max = 0;  // 0: no limit
  std::uint16_t aliases_max = 0;
  std::uint32_t qos_max = 2;
  bool takes_retained = true;
  bool takes_wildcards = true;
  std::uint32_t keep_alive_seconds = 0;
};
LinkTerms terms_of(const protocol::Connack& connack, const UpstreamPlan& plan, const Config& config,
                   Dialect dialect);

// It will not speak this dialect: try the next.
bool refuses_version(protocol::ReasonCode reason);
// Why it refuses, for a log.
std::string refusal_text(const protocol::Connack& connack);

}  // namespace millrace::server
