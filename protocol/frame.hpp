// Framing: bytes -> Frame. Finds the end of a packet from its fixed header.
//
// Called for every received packet, hence inline. Any thread. It never reads past `bytes`, and it
// reports a fault as soon as the header shows it: a packet that is too large is refused before its
// body arrives. Source: MQTT 3.1.1 and 5.0, section 2.1 (2.2 in 3.1.1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "protocol/reason_code.hpp"
#include "protocol/version.hpp"

namespace millrace::protocol {

// A packet at the front of the bytes. Invariants: 2 <= header_bytes <= 5 and
// header_bytes <= packet_bytes; from frame() also packet_bytes <= bytes.size().
struct Frame {
  PacketType type;
  std::uint8_t flags;          // the low four bits of the first byte
  std::uint8_t header_bytes;   // the fixed header
  std::uint32_t packet_bytes;  // the whole packet, fixed header included
};

constexpr std::size_t remaining_bytes_max = 268'435'455;
constexpr std::size_t packet_bytes_limit = 5 + remaining_bytes_max;

namespace detail {

// One entry for each packet type, one bit for each allowed value of the flags. [MQTT-2.1.3-1]
// (3.1.1: [MQTT-2.2.2-1], [MQTT-2.2.2-2]). PUBLISH: no QoS 3 [MQTT-3.3.1-4], no DUP at QoS 0
// [MQTT-3.3.1-2].
constexpr std::array<std::uint16_t, 16> allowed_flags = {
    0, 1, 1, 0x3C3F, 1, 1, 1 << 2, 1, 1 << 2, 1, 1 << 2, 1, 1, 1, 1, 1};

// In MQTT 3.1 a repeated PUBREL, SUBSCRIBE or UNSUBSCRIBE has DUP set, DUP at QoS 0 is not
// forbidden, and the flags of CONNECT are unused.
constexpr std::array<std::uint16_t, 16> allowed_flags_v3_1 = {
    0, 0xFFFF, 1, 0x3F3F, 1, 1, 0x0404, 1, 0x0404, 1, 0x0404, 1, 1, 1, 1, 0};

}  // namespace detail

// The version whose framing rules are the most lenient, for a packet whose version is not known
// yet.
constexpr Version first_packet_version = Version::v3_1;

namespace detail {
enum class Needs : std::uint8_t { header, packet };

template <Needs needs>
[[nodiscard]] inline Result<std::optional<Frame>> find_frame(std::span<const std::uint8_t> bytes,
                                                             std::size_t packet_bytes_max,
                                                             Version version) noexcept {
  // Constructed in place and never copied: gcc 12 warns about copies of an empty optional.
  constexpr auto in_place = boost::system::in_place_value;
  if (bytes.empty()) return {in_place, std::nullopt};
  const std::uint8_t first = bytes[0];
  const auto& allowed =
      version == Version::v3_1 ? detail::allowed_flags_v3_1 : detail::allowed_flags;
  if ((allowed[first >> 4] >> (first & 0x0F) & 1) == 0) return ReasonCode::malformed_packet;

  std::uint32_t remaining = 0;
  std::uint32_t header_bytes = 1;
  std::uint8_t byte = 0;
  do {
    if (header_bytes == bytes.size()) return {in_place, std::nullopt};
    byte = bytes[header_bytes];
    remaining |= static_cast<std::uint32_t>(byte & 0x7F) << 7 * (header_bytes - 1);
    ++header_bytes;
    // A length of five bytes; or, in MQTT 5, one that is not the shortest form. [MQTT-1.5.5-1]
    const bool fifth = header_bytes == 5 && (byte & 0x80) != 0;
    const bool padded = header_bytes > 2 && byte == 0 && version == Version::v5;
    if (fifth || padded) [[unlikely]]
      return ReasonCode::malformed_packet;
    // The missing bytes of the length can only increase it, so refuse at once.
    if (header_bytes + remaining > packet_bytes_max) [[unlikely]] {
      // A length of five bytes is malformed, whatever its value.
      if (bytes.size() >= 5 && (bytes[1] & bytes[2] & bytes[3] & bytes[4] & 0x80) != 0) {
        return ReasonCode::malformed_packet;
      }
      return ReasonCode::packet_too_large;
    }
  } while ((byte & 0x80) != 0);
  if (needs == Needs::packet && bytes.size() - header_bytes < remaining)
    return {in_place, std::nullopt};
  return {in_place,
          Frame{static_cast<PacketType>(first >> 4), static_cast<std::uint8_t>(first & 0x0F),
                static_cast<std::uint8_t>(header_bytes), header_bytes + remaining}};
}

}  // namespace detail

// nullopt: more bytes are needed. `packet_bytes_max` is for the whole packet, header included, as
// the property Maximum Packet Size is. For the first packet of a client use first_packet_version:
// the packet itself contains its version, and decode() checks the rest of that version's rules.
[[nodiscard]] inline Result<std::optional<Frame>> frame(std::span<const std::uint8_t> bytes,
                                                        std::size_t packet_bytes_max,
                                                        Version version = Version::v5) noexcept {
  return detail::find_frame<detail::Needs::packet>(bytes, packet_bytes_max, version);
}

// The same as soon as the fixed header is complete: packet_bytes may be more than bytes.size().
[[nodiscard]] inline Result<std::optional<Frame>> frame_header(std::span<const std::uint8_t> bytes,
                                                               std::size_t packet_bytes_max,
                                                               Version version) noexcept {
  return detail::find_frame<detail::Needs::header>(bytes, packet_bytes_max, version);
}

}  // namespace millrace::protocol
