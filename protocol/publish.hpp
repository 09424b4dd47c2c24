// PUBLISH on the hot path: a view of a received one, and the header of one that is sent. Neither
// allocates (but for the vector that may grow); the payload is never copied. Pure; any thread.
//
// A PublishView points into the packet: it lives as long as those bytes. Offsets count from the
// first byte of the packet, so that they stay good when the packet moves as a whole. Source:
// MQTT 5.0 section 3.3, MQTT 3.1.1 section 3.3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "protocol/frame.hpp"

namespace millrace::protocol {

// The properties of a PUBLISH as they stand in a packet, without their length, and where those are
// that a server changes. What decode_publish fills in holds by construction; a caller that copies
// the bytes elsewhere keeps the numbers and replaces `bytes`.
struct RawProperties {
  static constexpr std::uint32_t nowhere = 0xFFFFFFFF;

  std::span<const std::uint8_t> bytes;
  std::uint32_t topic_alias_at = nowhere;            // 3 bytes, at this offset in `bytes`
  std::uint32_t expiry_at = nowhere;                 // 5 bytes
  std::uint32_t subscription_identifiers_bytes = 0;  // only from a server
};

struct PublishView {
  // Of its own, so that no view is zeroed as a whole before its members are set: that costs more
  // than reading a small packet.
  PublishView() noexcept {}

  std::string_view topic;  // empty only with an alias
  std::span<const std::uint8_t> payload;
  RawProperties properties;
  std::uint32_t topic_offset = 0;
  std::uint32_t properties_offset = 0;  // of properties.bytes; equals payload_offset in 3.x
  std::uint32_t payload_offset = 0;
  std::uint32_t message_expiry_interval = 0;  // only if has_message_expiry
  std::uint16_t packet_id = 0;                // 0 exactly at QoS 0
  std::uint16_t topic_alias = 0;              // 0: none
  QoS qos = QoS::AtMostOnce;
  bool retain = false;
  bool dup = false;
  bool has_message_expiry = false;
  bool has_response_topic = false;
  bool has_correlation_data = false;
  bool has_user_properties = false;
  std::uint8_t payload_format_indicator = 0;  // 1: the sender says that the payload is UTF-8

  // Where the two bytes of the packet identifier stand, at QoS 1 and 2.
  [[nodiscard]] std::uint32_t packet_id_offset() const noexcept {
    return topic_offset + static_cast<std::uint32_t>(topic.size());
  }
};

// `packet` holds the whole packet, as `frame` found it. Subscription Identifiers are a
// ProtocolError from a client [MQTT-3.3.4-6]. The payload is not looked at, whatever its format
// indicator says.
[[nodiscard]] Result<PublishView> decode_publish(const Frame& frame,
                                                 std::span<const std::uint8_t> packet,
                                                 Version version,
                                                 Sender sender = Sender::Client) noexcept;

// One PUBLISH to be sent: fixed header, topic, packet identifier, properties. The payload follows
// it, written by the caller.
struct PublishHeader {
  Version version = Version::v5;
  QoS qos = QoS::AtMostOnce;
  bool retain = false;
  bool dup = false;
  std::uint16_t packet_id = 0;  // required at QoS 1 and 2
  std::string_view topic;       // may be empty with an alias that the receiver knows
  std::size_t payload_bytes = 0;

  // All of this is for MQTT 5; 3.x ignores it. The received properties go on as they are, in their
  // order [MQTT-3.3.2-17], but a received alias and received subscription identifiers never do.
  RawProperties properties;
  std::optional<std::uint32_t> message_expiry_interval;  // replaces the received one, or adds one
  std::uint16_t topic_alias = 0;                         // 0: none
  std::span<const std::uint32_t> subscription_identifiers;
};

// The bytes of the header, payload not counted. header + payload_bytes is the packet that a
// receiver's Maximum Packet Size is held against. The packet must not exceed packet_bytes_limit.
[[nodiscard]] std::size_t publish_header_bytes(const PublishHeader& header) noexcept;

// Writes exactly publish_header_bytes(header) bytes and returns their end.
std::uint8_t* encode_publish_header(const PublishHeader& header, std::uint8_t* out) noexcept;

// Appends them.
void encode_publish_header(const PublishHeader& header, std::vector<std::uint8_t>& out);

}  // namespace millrace::protocol
