#include "server/upstream/greeting.hpp"

#include <algorithm>

#include "protocol/encode.hpp"

namespace millrace::server {

using protocol::ReasonCode;

Dialect first_dialect(const UpstreamConfig& config) {
  return config.version == MqttVersion::v3_1_1 ? Dialect::v3_1_1_bridge : Dialect::v5;
}

Dialect next_dialect(const UpstreamConfig& config, Dialect refused) {
  switch (refused) {
    case Dialect::v5:
      return config.version == MqttVersion::v5 ? Dialect::v5 : Dialect::v3_1_1_bridge;
    case Dialect::v3_1_1_bridge:
      return Dialect::v3_1_1;
    case Dialect::v3_1_1:
      break;
  }
  return first_dialect(config);
}

const char* to_string(Dialect dialect) {
  switch (dialect) {
    case Dialect::v5:
      return "5.0";
    case Dialect::v3_1_1_bridge:
      return "3.1.1, as a bridge";
    case Dialect::v3_1_1:
      return "3.1.1";
  }
  return "";
}

std::vector<std::uint8_t> encode_link_connect(const UpstreamPlan& plan, const Config& config,
                                              Dialect dialect) {
  protocol::Connect connect;
  connect.version = version_of(dialect);
  connect.bridge = dialect == Dialect::v3_1_1_bridge;
  connect.clean_start = plan.config.clean;
  connect.keep_alive_seconds = static_cast<std::uint16_t>(plan.config.keep_alive_seconds);
  connect.client_id = plan.client_id;
  if (!plan.config.user.empty()) connect.user_name = plan.config.user;
  connect.password = plan.password;
  if (dialect == Dialect::v5) {
    protocol::Properties& properties = connect.properties;
    if (!plan.config.clean) {
      properties.session_expiry_interval = config.session.expiry_max_seconds;
    }
    if (config.receive_maximum < 65535) {
      properties.receive_maximum = static_cast<std::uint16_t>(config.receive_maximum);
    }
    properties.maximum_packet_size = config.packet_bytes_max;
    if (config.topic_alias_maximum.in > 0) {
      properties.topic_alias_maximum = static_cast<std::uint16_t>(config.topic_alias_maximum.in);
    }
  }
  std::vector<std::uint8_t> bytes;
  protocol::encode(protocol::Packet(std::move(connect)), version_of(dialect), bytes);
  return bytes;
}

LinkTerms terms_of(const protocol::Connack& connack, const UpstreamPlan& plan, const Config& config,
                   Dialect dialect) {
  const protocol::Properties& said = connack.properties;
  LinkTerms terms;
  terms.session_present = connack.session_present;
  terms.keep_alive_seconds =
      said.server_keep_alive.value_or(static_cast<std::uint16_t>(plan.config.keep_alive_seconds));
  // Without Receive Maximum, as in 3.1.1, the upstream would take any number.
  terms.receive_maximum = static_cast<std::uint16_t>(
      std::min<std::uint32_t>(said.receive_maximum.value_or(65535), config.inflight_max));
  if (dialect != Dialect::v5) return terms;
  terms.packet_bytes_max = said.maximum_packet_size.value_or(0);
  terms.qos_max = said.maximum_qos.value_or(2);
  terms.takes_retained = said.retain_available.value_or(1) != 0;
  terms.takes_wildcards = said.wildcard_subscription_available.value_or(1) != 0;
  // A packet that makes an alias known is larger by it, and could be too large.
  if (terms.packet_bytes_max == 0) {
    const std::uint32_t allowed = said.topic_alias_maximum.value_or(0);
    terms.aliases_max =
        static_cast<std::uint16_t>(std::min(allowed, config.topic_alias_maximum.out));
  }
  return terms;
}

bool refuses_version(ReasonCode reason) {
  return reason == ReasonCode::unsupported_protocol_version;
}

std::string refusal_text(const protocol::Connack& connack) {
  std::string text = "refused: " + std::string(protocol::to_string(connack.reason));
  if (connack.properties.reason_string) text += ": " + *connack.properties.reason_string;
  return text;
}

}  // namespace millrace::server
