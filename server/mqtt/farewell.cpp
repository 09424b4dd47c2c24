#include "server/mqtt/farewell.hpp"

#include <utility>

#include "protocol/encode.hpp"
#include "protocol/packet.hpp"

namespace millrace::server {

using protocol::ReasonCode;
using protocol::Version;

namespace {

// [MQTT-3.1.2-24], [MQTT-3.14.2-3]
bool has_room(const Farewell& farewell, const std::string& text) {
  constexpr std::size_t other_bytes = 16;  // of CONNACK or DISCONNECT, at most
  const std::uint32_t max = farewell.packet_bytes_max;
  return max == 0 || text.size() + other_bytes <= max;
}

// A server that is full or shuts down names another one, if it is configured. (MQTT 5.0, section 4.11)
ReasonCode redirect(const Farewell& farewell, protocol::Properties& properties) {
  const std::string& server = farewell.server_reference;
  if (farewell.version != Version::v5 || server.empty()) return farewell.reason;
  if (!has_room(farewell, server)) return farewell.reason;
  properties.server_reference = server;
  return ReasonCode::use_another_server;
}

}  // namespace

std::vector<std::uint8_t> encode_refusal(const Farewell& farewell) {
  protocol::Connack connack;
  const ReasonCode reason = redirect(farewell, connack.properties);
  // Some reasons stand in DISCONNECT alone.
  const bool has_word =
      protocol::reason_allowed(protocol::PacketType::connack, reason, protocol::Sender::server);
  connack.reason = has_word ? reason : ReasonCode::server_unavailable;
  std::vector<std::uint8_t> bytes;
  protocol::encode(protocol::Packet(std::move(connack)), farewell.version, bytes);
  return bytes;
}

std::vector<std::uint8_t> encode_disconnect(const Farewell& farewell) {
  std::vector<std::uint8_t> bytes;
  if (farewell.version != Version::v5) return bytes;
  protocol::Disconnect disconnect;
  disconnect.reason = redirect(farewell, disconnect.properties);
  if (!farewell.reason_string.empty() && has_room(farewell, farewell.reason_string)) {
    disconnect.properties.reason_string = farewell.reason_string;
  }
  protocol::encode(protocol::Packet(std::move(disconnect)), farewell.version, bytes);
  return bytes;
}

}  // namespace millrace::server
