// Decoding: Frame -> Packet. Every rule of MQTT that can be checked with one packet alone is
// checked here; rules that need the session (identifiers in use, aliases, quotas, rights) are
// checked by the broker. Pure; any thread.
//
// `packet` is the whole packet from its first byte; bytes beyond frame.packet_bytes are ignored.
// The hot path has decode_publish (publish.hpp) and decode_ack, which do not allocate. Source: MQTT
// 5.0 and 3.1.1, chapter 3; MQTT 3.1 for `MQIsdp`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "protocol/frame.hpp"
#include "protocol/packet.hpp"

namespace millrace::protocol {

// For CONNECT the version is read from the packet, and the argument is ignored. A packet type that
// `sender` may not send is a ProtocolError. Faults of CONNECT that have their own CONNACK reason:
// UnsupportedProtocolVersion, ClientIdentifierNotValid.
[[nodiscard]] Result<Packet> decode(const Frame& frame, std::span<const std::uint8_t> packet,
                                    Version version, Sender sender = Sender::client);

// The version in which to answer a CONNECT, even a malformed one: its own, or 5 if its protocol
// level is above 5. nullopt if the CONNECT names no known protocol: then no answer would be
// understood.
[[nodiscard]] std::optional<Version> connect_version(const Frame& frame,
                                                     std::span<const std::uint8_t> packet) noexcept;

// PUBACK, PUBREC, PUBREL or PUBCOMP. Properties are checked and skipped.
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
                                            Sender sender = Sender::client) noexcept {
  // Without a reason code (always in 3.x, and on success in MQTT 5) the body is the identifier
  // only.
  if (frame.packet_bytes == 4u && frame.header_bytes == 2u) [[likely]] {
    const auto packet_id = static_cast<std::uint16_t>(packet[2] << 8 | packet[3]);
    if (packet_id == 0)
      return ReasonCode::protocol_error;  // [MQTT-2.2.1-3] (3.1.1: [MQTT-2.3.1-1])
    return Ack{frame.type, packet_id, ReasonCode::success};
  }
  return detail::decode_long_ack(frame, packet, version, sender);
}

}  // namespace millrace::protocol
