// Decoding: Frame -> Packet. Every rule of MQTT that one packet alone can break is checked here;
// what needs the session (identifiers in use, aliases, quotas, rights) is the broker's. Pure; any
// thread.
//
// `packet` is the whole packet from its first byte; what lies beyond frame.packet_bytes is ignored.
// The hot packets have functions of their own: decode_publish (publish.hpp) and decode_ack, which do
// not allocate. Source: MQTT 5.0 and 3.1.1, chapter 3; MQTT 3.1 for `MQIsdp`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "protocol/frame.hpp"
#include "protocol/packet.hpp"

namespace millrace::protocol {

// For CONNECT the version is the packet's own, and the argument is ignored. A packet that `sender`
// may not send at all is a ProtocolError. Faults of CONNECT that have a CONNACK of their own:
// UnsupportedProtocolVersion, ClientIdentifierNotValid.
[[nodiscard]] Result<Packet> decode(const Frame& frame, std::span<const std::uint8_t> packet,
                                    Version version, Sender sender = Sender::Client);

// In which version to answer a CONNECT, however broken it is: its own; 5 for a level above 5, which
// is where MQTT goes on from. nullopt: none that its sender can be expected to understand.
[[nodiscard]] std::optional<Version> connect_version(const Frame& frame,
                                                     std::span<const std::uint8_t> packet) noexcept;

// PUBACK, PUBREC, PUBREL or PUBCOMP. Properties are checked and passed over.
struct Ack {
  PacketType type;
  std::uint16_t packet_id;
  ReasonCode reason;

  friend bool operator==(const Ack&, const Ack&) = default;
};

namespace detail {
[[nodiscard]] Result<Ack> decode_long_ack(const Frame& frame, std::span<const std::uint8_t> packet,
                                          Version version, Sender sender) noexcept;
}  // namespace detail

[[nodiscard]] inline Result<Ack> decode_ack(const Frame& frame,
                                            std::span<const std::uint8_t> packet, Version version,
                                            Sender sender = Sender::Client) noexcept {
  // Two bytes are the whole of it in 3.x, and in MQTT 5 when all is well.
  if (frame.packet_bytes == 4u && frame.header_bytes == 2u) [[likely]] {
    const auto packet_id = static_cast<std::uint16_t>(packet[2] << 8 | packet[3]);
    if (packet_id == 0) return ReasonCode::ProtocolError;  // [MQTT-2.2.1-3] (3.1.1: [MQTT-2.3.1-1])
    return Ack{frame.type, packet_id, ReasonCode::Success};
  }
  return detail::decode_long_ack(frame, packet, version, sender);
}

}  // namespace millrace::protocol
