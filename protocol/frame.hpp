// [1] framing: bytes -> Frame. Finds where a packet ends, from its fixed header alone.
//
// Called for every packet that is received, so all of it is inline. Any thread. It never reads past
// `bytes`, and it reports a fault as soon as the header shows it: a packet that is too large is
// refused before its body arrives. Source: MQTT 3.1.1 and 5.0, section 2.1 (2.2 in 3.1.1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "protocol/reason_code.hpp"
#include "protocol/version.hpp"

namespace millrace::protocol {

// A whole packet is at the front of the bytes. Always: 2 <= header_bytes <= 5 and
// header_bytes <= packet_bytes <= bytes.size().
struct Frame {
  PacketType type;
  std::uint8_t flags;          // the low four bits of the first byte
  std::uint8_t header_bytes;   // the fixed header
  std::uint32_t packet_bytes;  // the fixed header and all that follows it
};

constexpr std::size_t remaining_bytes_max = 268'435'455;
constexpr std::size_t packet_bytes_limit = 5 + remaining_bytes_max;

namespace detail {

// One row a packet type, one bit for each allowed value of the flags. [MQTT-2.1.3-1] (3.1.1:
// [MQTT-2.2.2-1], [MQTT-2.2.2-2]). PUBLISH: no QoS 3 [MQTT-3.3.1-4], no DUP at QoS 0
// [MQTT-3.3.1-2].
constexpr std::array<std::uint16_t, 16> allowed_flags = {
    0, 1, 1, 0x3C3F, 1, 1, 1 << 2, 1, 1 << 2, 1, 1 << 2, 1, 1, 1, 1, 1};

// MQTT 3.1 marks a repeated PUBREL, SUBSCRIBE or UNSUBSCRIBE by DUP, and does not forbid DUP at QoS
// 0.
constexpr std::array<std::uint16_t, 16> allowed_flags_v3_1 = {
    0, 1, 1, 0x3F3F, 1, 1, 0x0404, 1, 0x0404, 1, 0x0404, 1, 1, 1, 1, 0};

}  // namespace detail

// nullopt: more bytes are needed. `packet_bytes_max` counts the whole packet, header included, as
// the property Maximum Packet Size does. Before CONNECT has told the version, leave the default.
[[nodiscard]] inline Result<std::optional<Frame>> frame(std::span<const std::uint8_t> bytes,
                                                        std::size_t packet_bytes_max,
                                                        Version version = Version::v5) noexcept {
  using Found = std::optional<Frame>;
  if (bytes.empty()) return Found{};
  const std::uint8_t first = bytes[0];
  const auto& allowed =
      version == Version::v3_1 ? detail::allowed_flags_v3_1 : detail::allowed_flags;
  if (((allowed[first >> 4] >> (first & 0x0F)) & 1) == 0) return ReasonCode::MalformedPacket;

  std::uint32_t remaining = 0;
  std::uint32_t length_bytes = 0;
  for (;;) {
    if (length_bytes == 4) return ReasonCode::MalformedPacket;
    if (1 + length_bytes == bytes.size()) return Found{};
    const std::uint8_t byte = bytes[1 + length_bytes];
    remaining |= static_cast<std::uint32_t>(byte & 0x7F) << (7 * length_bytes);
    ++length_bytes;
    // The bytes so far can only grow: a refusal need not wait for the last of them.
    if (remaining + 1 + length_bytes > packet_bytes_max) [[unlikely]] {
      if (length_bytes < 4 || (byte & 0x80) == 0) return ReasonCode::PacketTooLarge;
    }
    if ((byte & 0x80) == 0) {
      // The shortest form is the only one in MQTT 5. [MQTT-1.5.5-1]
      if (byte == 0 && length_bytes > 1 && version == Version::v5) {
        return ReasonCode::MalformedPacket;
      }
      break;
    }
  }
  const std::uint32_t header_bytes = 1 + length_bytes;
  if (bytes.size() - header_bytes < remaining) return Found{};
  return Found{Frame{static_cast<PacketType>(first >> 4), static_cast<std::uint8_t>(first & 0x0F),
                     static_cast<std::uint8_t>(header_bytes), header_bytes + remaining}};
}

}  // namespace millrace::protocol
