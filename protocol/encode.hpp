// Packet -> bytes, appended to a buffer. Pure; any thread. The hot path has its own encoders:
// encode_publish_header (publish.hpp), and encode_ack and encode_pingresp here.
//
// A packet that cannot be encoded (a text of more than 65,535 bytes, a property in the wrong
// packet, a PUBLISH at QoS 1 without an identifier, AUTH in 3.x) is a broken invariant of the
// caller and aborts the program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "protocol/packet.hpp"

namespace millrace::protocol {

// CONNECT is written in its own version, every other packet in `version`. In 3.x properties are not
// written, CONNACK contains connack_return_code, a failed SUBACK entry is 0x80.
void encode(const Packet& packet, Version version, std::vector<std::uint8_t>& out);

constexpr std::size_t ack_bytes_max = 5;

// Writes PUBACK, PUBREC, PUBREL or PUBCOMP to `out`, which has room for ack_bytes_max; returns the
// bytes written: 4, or in MQTT 5 with a reason other than Success 5.
[[nodiscard]] inline std::size_t encode_ack(PacketType type, std::uint16_t packet_id,
                                            ReasonCode reason, Version version,
                                            std::uint8_t* out) noexcept {
  const bool with_reason = reason != ReasonCode::success && version == Version::v5;
  const std::uint8_t flags = type == PacketType::pubrel ? 0x02 : 0x00;  // [MQTT-3.6.1-1]
  out[0] = static_cast<std::uint8_t>(static_cast<std::uint8_t>(type) << 4 | flags);
  out[1] = with_reason ? 3 : 2;
  out[2] = static_cast<std::uint8_t>(packet_id >> 8);
  out[3] = static_cast<std::uint8_t>(packet_id);
  if (with_reason) out[4] = static_cast<std::uint8_t>(reason);
  return with_reason ? 5 : 4;
}

inline void encode_ack(PacketType type, std::uint16_t packet_id, ReasonCode reason, Version version,
                       std::vector<std::uint8_t>& out) {
  std::uint8_t bytes[ack_bytes_max];
  const std::size_t count = encode_ack(type, packet_id, reason, version, bytes);
  out.insert(out.end(), bytes, bytes + count);
}

inline void encode_pingresp(std::vector<std::uint8_t>& out) {
  out.push_back(0xD0);
  out.push_back(0x00);
}

}  // namespace millrace::protocol
