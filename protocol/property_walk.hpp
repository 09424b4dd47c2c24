// The parser of property lists, used by all decoders of protocol/. Pure; any thread.
//
// walk_properties checks all rules of MQTT 5 for a property list and passes each property to a
// sink. No allocation. Source: MQTT 5.0, section 2.2.2.2 (table of types and packets) and the
// property lists of chapter 3.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "protocol/properties.hpp"
#include "protocol/reader.hpp"

namespace millrace::protocol::detail {

enum class PropertyKind : std::uint8_t {
  unknown,
  boolean,  // a byte that is 0 or 1
  two_bytes,
  four_bytes,
  variable,
  text,
  binary,
  text_pair,
};

struct PropertyRule {
  PropertyKind kind = PropertyKind::unknown;
  std::uint16_t scopes = 0;  // one bit for each PropertyScope
};

constexpr std::uint16_t scope_bit(PropertyScope scope) noexcept {
  return static_cast<std::uint16_t>(1u << static_cast<unsigned>(scope));
}

constexpr std::size_t property_id_end = 0x2B;

extern const std::array<PropertyRule, property_id_end> property_rules;

// One property. The views point into the packet.
struct PropertyItem {
  PropertyId id;
  std::uint32_t offset;    // of its identifier, from the start of the list
  std::uint32_t number;    // of the four numeric kinds
  std::string_view text;   // of Text and Binary; the name of a TextPair
  std::string_view value;  // of a TextPair
};

inline PropertyItem read_property(Reader& reader, PropertyKind kind) noexcept {
  PropertyItem item{};
  switch (kind) {
    case PropertyKind::boolean:
      item.number = reader.byte();
      break;
    case PropertyKind::two_bytes:
      item.number = reader.two_bytes();
      break;
    case PropertyKind::four_bytes:
      item.number = reader.four_bytes();
      break;
    case PropertyKind::variable:
      item.number = reader.variable();
      break;
    case PropertyKind::text:
      item.text = reader.text();
      break;
    case PropertyKind::binary:
      item.text = reader.binary();
      break;
    case PropertyKind::text_pair:
      item.text = reader.text();
      item.value = reader.text();
      break;
    case PropertyKind::unknown:
      break;
  }
  return item;
}

// Success, or why the property may not have this value here.
[[nodiscard]] ReasonCode check_value(const PropertyItem& item, PropertyKind kind,
                                     PropertyScope scope, Sender sender) noexcept;

// Only these may be repeated: User Property anywhere [MQTT-3.3.2-18], and in a server's PUBLISH one
// Subscription Identifier for each matching subscription [MQTT-3.3.4-4].
constexpr bool may_repeat(PropertyId id, PropertyScope scope) noexcept {
  return id == PropertyId::user_property || (id == PropertyId::subscription_identifier &&
                                             scope == property_scope(PacketType::publish));
}

template <class Sink>
[[nodiscard]] ReasonCode walk_properties(std::span<const std::uint8_t> bytes, PropertyScope scope,
                                         Sender sender, Sink&& sink) {
  Reader reader(bytes);
  std::uint64_t seen = 0;
  while (!reader.at_end()) {
    const auto offset = static_cast<std::uint32_t>(reader.offset());
    const std::uint32_t id = reader.variable();
    if (!reader.ok()) return reader.fault();
    if (id >= property_id_end) return ReasonCode::malformed_packet;
    const PropertyRule rule = property_rules[id];
    // Unknown or not allowed in this packet: malformed in both cases. (MQTT 5.0, 2.2.2.2)
    if ((rule.scopes & scope_bit(scope)) == 0) return ReasonCode::malformed_packet;
    PropertyItem item = read_property(reader, rule.kind);
    if (!reader.ok()) return reader.fault();
    item.id = static_cast<PropertyId>(id);
    item.offset = offset;
    if ((seen >> id & 1) != 0 && !may_repeat(item.id, scope)) return ReasonCode::protocol_error;
    seen |= std::uint64_t{1} << id;
    const ReasonCode fault = check_value(item, rule.kind, scope, sender);
    if (fault != ReasonCode::success) return fault;
    sink(item);
  }
  // Authentication Data needs a method. (MQTT 5.0, 3.1.2.11.10)
  const auto has = [seen](PropertyId id) { return (seen >> static_cast<unsigned>(id) & 1) != 0; };
  if (has(PropertyId::authentication_data) && !has(PropertyId::authentication_method)) {
    return ReasonCode::protocol_error;
  }
  return ReasonCode::success;
}

}  // namespace millrace::protocol::detail
