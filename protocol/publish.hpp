// PUBLISH on the hot path: a view of a received one, and the header of one to be sent. Neither
// allocates (except for a vector that grows); the payload is never copied. Pure; any thread.
//
// A PublishView points into the packet and is valid as long as those bytes are. Offsets count from
// the first byte of the packet, so they stay valid if the whole packet is moved. Source: MQTT 5.0
// section 3.3, MQTT 3.1.1 section 3.3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "protocol/frame.hpp"

namespace millrace::protocol {

// The encoded properties of a PUBLISH, without their length, and the offsets of those that a server
// changes. decode_publish fills it in; a caller that copies the bytes elsewhere keeps the numbers
// and replaces `bytes`.
struct RawProperties {
  static constexpr std::uint32_t nowhere = 0xFFFFFFFF;

  std::span<const std::uint8_t> bytes;
  std::uint32_t topic_alias_at = nowhere;            // 3 bytes, at this offset in `bytes`
  std::uint32_t expiry_at = nowhere;                 // 5 bytes
  std::uint32_t subscription_identifiers_bytes = 0;  // only from a server
};

struct PublishView {
  // User-provided, so that value-initialisation does not zero the whole object before its members
  // are set: that costs more than decoding a small packet.
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
  QoS qos = QoS::at_most_once;
  bool retain = false;
  bool dup = false;
  bool has_message_expiry = false;
  bool has_response_topic = false;
  bool has_correlation_data = false;
  bool has_user_properties = false;
  std::uint8_t payload_format_indicator = 0;  // 1: the sender declares the payload to be UTF-8

  // The offset of the two bytes of the packet identifier, at QoS 1 and 2.
  [[nodiscard]] std::uint32_t packet_id_offset() const noexcept {
    return topic_offset + static_cast<std::uint32_t>(topic.size());
  }
};

// Where the Message Expiry Interval stands in properties that decode_publish accepted, if it is among
// the first `bytes_max`; else RawProperties::nowhere.
[[nodiscard]] std::uint32_t expiry_offset(std::span<const std::uint8_t> properties,
                                          std::uint32_t bytes_max) noexcept;

// `packet` is the whole packet that `frame` describes. Subscription Identifiers are a ProtocolError
// from a client [MQTT-3.3.4-6]. The payload is not checked, even if its format indicator is 1.
[[nodiscard]] Result<PublishView> decode_publish(const Frame& frame,
                                                 std::span<const std::uint8_t> packet,
                                                 Version version,
                                                 Sender sender = Sender::client) noexcept;

// The value of the first user property of that name, in place; nothing: there is none. `properties`
// are those of a decoded PUBLISH.
[[nodiscard]] std::optional<std::string_view> find_user_property(
    std::span<const std::uint8_t> properties, std::string_view name) noexcept;

// A PUBLISH to be sent: fixed header, topic, packet identifier, properties. The caller writes the
// payload after it.
struct PublishHeader {
  Version version = Version::v5;
  QoS qos = QoS::at_most_once;
  bool retain = false;
  bool dup = false;
  std::uint16_t packet_id = 0;  // required at QoS 1 and 2
  std::string_view topic;       // may be empty with an alias that the receiver knows
  std::size_t payload_bytes = 0;

  // The members below are for MQTT 5 and ignored in 3.x. Received properties are forwarded
  // unchanged and in order [MQTT-3.3.2-17], except for a received alias and received subscription
  // identifiers, which are dropped.
  RawProperties properties;
  std::optional<std::uint32_t> message_expiry_interval;  // replaces the received one, or adds one
  std::uint16_t topic_alias = 0;                         // 0: none
  std::span<const std::uint32_t> subscription_identifiers;
};

// The size of the header, without the payload. This and payload_bytes together are the packet size
// that a receiver's Maximum Packet Size limits. The packet must not exceed packet_bytes_limit.
[[nodiscard]] std::size_t publish_header_bytes(const PublishHeader& header) noexcept;

// Writes exactly publish_header_bytes(header) bytes and returns their end.
std::uint8_t* encode_publish_header(const PublishHeader& header, std::uint8_t* out) noexcept;

// The same in two parts, for properties that are too long to be copied for each receiver: a head, and
// behind it the received properties from unchanged_from() on, which stay where they are. None of
// them is an alias or a subscription identifier. The order of the others is kept; what the server
// adds comes before them.
[[nodiscard]] std::uint32_t unchanged_from(const PublishHeader& header) noexcept;
[[nodiscard]] std::size_t publish_head_bytes(const PublishHeader& header) noexcept;
std::uint8_t* encode_publish_head(const PublishHeader& header, std::uint8_t* out) noexcept;

// Appends what encode_publish_header writes.
void encode_publish_header(const PublishHeader& header, std::vector<std::uint8_t>& out);

}  // namespace millrace::protocol
