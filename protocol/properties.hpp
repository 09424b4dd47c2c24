// The properties of MQTT 5: one struct for all of them, and the rules for which packet may contain
// which, how often, and with which values. Pure; any thread.
//
// Source: MQTT 5.0, section 2.2.2, and the property list of each packet in chapter 3.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/reason_code.hpp"
#include "protocol/version.hpp"

namespace millrace::protocol {

enum class PropertyId : std::uint8_t {
  payload_format_indicator = 0x01,
  message_expiry_interval = 0x02,
  content_type = 0x03,
  response_topic = 0x08,
  correlation_data = 0x09,
  subscription_identifier = 0x0B,
  session_expiry_interval = 0x11,
  assigned_client_identifier = 0x12,
  server_keep_alive = 0x13,
  authentication_method = 0x15,
  authentication_data = 0x16,
  request_problem_information = 0x17,
  will_delay_interval = 0x18,
  request_response_information = 0x19,
  response_information = 0x1A,
  server_reference = 0x1C,
  reason_string = 0x1F,
  receive_maximum = 0x21,
  topic_alias_maximum = 0x22,
  topic_alias = 0x23,
  maximum_qos = 0x24,
  retain_available = 0x25,
  user_property = 0x26,
  maximum_packet_size = 0x27,
  wildcard_subscription_available = 0x28,
  subscription_identifier_available = 0x29,
  shared_subscription_available = 0x2A,
};

// What properties belong to: a packet of some type, or the Will of a CONNECT. The values are those
// of PacketType, and 0 for the Will.
enum class PropertyScope : std::uint8_t { will = 0 };
[[nodiscard]] constexpr PropertyScope property_scope(PacketType type) noexcept {
  return static_cast<PropertyScope>(type);
}

using UserProperty = std::pair<std::string, std::string>;

// An absent property is nullopt: the caller applies the specification's defaults. Strings for
// binary data may contain any bytes.
struct Properties {
  std::optional<std::uint8_t> payload_format_indicator;
  std::optional<std::uint32_t> message_expiry_interval;
  std::optional<std::string> content_type;
  std::optional<std::string> response_topic;
  std::optional<std::string> correlation_data;
  std::vector<std::uint32_t> subscription_identifiers;  // several only in a server's PUBLISH
  std::optional<std::uint32_t> session_expiry_interval;
  std::optional<std::string> assigned_client_identifier;
  std::optional<std::uint16_t> server_keep_alive;
  std::optional<std::string> authentication_method;
  std::optional<std::string> authentication_data;
  std::optional<std::uint8_t> request_problem_information;
  std::optional<std::uint32_t> will_delay_interval;
  std::optional<std::uint8_t> request_response_information;
  std::optional<std::string> response_information;
  std::optional<std::string> server_reference;
  std::optional<std::string> reason_string;
  std::optional<std::uint16_t> receive_maximum;
  std::optional<std::uint16_t> topic_alias_maximum;
  std::optional<std::uint16_t> topic_alias;
  std::optional<std::uint8_t> maximum_qos;
  std::optional<std::uint8_t> retain_available;
  std::vector<UserProperty> user_properties;  // in the order of the packet [MQTT-3.3.2-18]
  std::optional<std::uint32_t> maximum_packet_size;
  std::optional<std::uint8_t> wildcard_subscription_available;
  std::optional<std::uint8_t> subscription_identifier_available;
  std::optional<std::uint8_t> shared_subscription_available;

  friend bool operator==(const Properties&, const Properties&) = default;
};

// Whether a packet of this scope may contain the property.
[[nodiscard]] bool property_allowed(PropertyId id, PropertyScope scope) noexcept;

// `bytes` are the properties without their length. Faults: MalformedPacket (an unknown identifier,
// a property not allowed in this packet, a wrong length, invalid UTF-8), ProtocolError (a repeated
// property, a forbidden value, Authentication Data without a method), TopicAliasInvalid (0),
// TopicNameInvalid (a Response Topic that is not a topic name).
[[nodiscard]] Result<Properties> decode_properties(std::span<const std::uint8_t> bytes,
                                                   PropertyScope scope, Sender sender);

// The same checks without storing the properties, and without allocation.
[[nodiscard]] ReasonCode check_properties(std::span<const std::uint8_t> bytes, PropertyScope scope,
                                          Sender sender) noexcept;

// The encoded size, without the length field.
[[nodiscard]] std::size_t properties_bytes(const Properties& properties) noexcept;

// Appends length and properties. A property that the scope does not allow is a broken invariant and
// aborts the program.
void encode_properties(const Properties& properties, PropertyScope scope,
                       std::vector<std::uint8_t>& out);

}  // namespace millrace::protocol
