#include "protocol/properties.hpp"

#include "protocol/property_walk.hpp"
#include "protocol/require.hpp"
#include "protocol/topic.hpp"
#include "protocol/writer.hpp"

namespace millrace::protocol {
namespace detail {
namespace {

constexpr std::uint16_t in_will = scope_bit(PropertyScope::will);

template <class... Types>
constexpr std::uint16_t in(Types... types) noexcept {
  return static_cast<std::uint16_t>((scope_bit(property_scope(types)) | ...));
}

// Table 2-4 of the specification.
constexpr std::array<PropertyRule, property_id_end> make_rules() noexcept {
  using enum PacketType;
  using Kind = PropertyKind;
  using Id = PropertyId;
  std::array<PropertyRule, property_id_end> rules{};
  const auto set = [&rules](Id id, Kind kind, std::uint16_t scopes) {
    rules[static_cast<std::size_t>(id)] = {kind, scopes};
  };
  const std::uint16_t message = in(publish) | in_will;
  const std::uint16_t connecting = in(connect, connack);
  const std::uint16_t with_reason =
      in(connack, puback, pubrec, pubrel, pubcomp, suback, unsuback, disconnect, auth);
  const std::uint16_t everywhere = with_reason | message | in(connect, subscribe, unsubscribe);
  set(Id::payload_format_indicator, Kind::boolean, message);
  set(Id::message_expiry_interval, Kind::four_bytes, message);
  set(Id::content_type, Kind::text, message);
  set(Id::response_topic, Kind::text, message);
  set(Id::correlation_data, Kind::binary, message);
  set(Id::subscription_identifier, Kind::variable, in(publish, subscribe));
  set(Id::session_expiry_interval, Kind::four_bytes, in(connect, connack, disconnect));
  set(Id::assigned_client_identifier, Kind::text, in(connack));
  set(Id::server_keep_alive, Kind::two_bytes, in(connack));
  set(Id::authentication_method, Kind::text, in(connect, connack, auth));
  set(Id::authentication_data, Kind::binary, in(connect, connack, auth));
  set(Id::request_problem_information, Kind::boolean, in(connect));
  set(Id::will_delay_interval, Kind::four_bytes, in_will);
  set(Id::request_response_information, Kind::boolean, in(connect));
  set(Id::response_information, Kind::text, in(connack));
  set(Id::server_reference, Kind::text, in(connack, disconnect));
  set(Id::reason_string, Kind::text, with_reason);
  set(Id::receive_maximum, Kind::two_bytes, connecting);
  set(Id::topic_alias_maximum, Kind::two_bytes, connecting);
  set(Id::topic_alias, Kind::two_bytes, in(publish));
  set(Id::maximum_qos, Kind::boolean, in(connack));
  set(Id::retain_available, Kind::boolean, in(connack));
  set(Id::user_property, Kind::text_pair, everywhere);
  set(Id::maximum_packet_size, Kind::four_bytes, connecting);
  set(Id::wildcard_subscription_available, Kind::boolean, in(connack));
  set(Id::subscription_identifier_available, Kind::boolean, in(connack));
  set(Id::shared_subscription_available, Kind::boolean, in(connack));
  return rules;
}

}  // namespace

constexpr std::array<PropertyRule, property_id_end> property_rules = make_rules();

ReasonCode check_value(const PropertyItem& item, PropertyKind kind, PropertyScope scope,
                       Sender sender) noexcept {
  if (kind == PropertyKind::boolean) {
    return item.number <= 1 ? ReasonCode::success : ReasonCode::protocol_error;
  }
  switch (item.id) {
    case PropertyId::receive_maximum:
    case PropertyId::maximum_packet_size:
      return item.number != 0 ? ReasonCode::success : ReasonCode::protocol_error;
    case PropertyId::topic_alias:  // [MQTT-3.3.2-8]
      return item.number != 0 ? ReasonCode::success : ReasonCode::topic_alias_invalid;
    case PropertyId::subscription_identifier:
      if (item.number == 0) return ReasonCode::protocol_error;
      // Not in a client's PUBLISH. [MQTT-3.3.4-6]
      return sender == Sender::client && scope == property_scope(PacketType::publish)
                 ? ReasonCode::protocol_error
                 : ReasonCode::success;
    case PropertyId::session_expiry_interval:  // [MQTT-3.14.2-2]
      return sender == Sender::server && scope == property_scope(PacketType::disconnect)
                 ? ReasonCode::protocol_error
                 : ReasonCode::success;
    case PropertyId::response_topic:  // [MQTT-3.3.2-13], [MQTT-3.3.2-14]
      return valid_topic_name(item.text) ? ReasonCode::success : ReasonCode::topic_name_invalid;
    default:
      return ReasonCode::success;
  }
}

}  // namespace detail

namespace {

// Calls visit(id, member) for every member, in the order of the identifiers.
template <class Self, class Visit>
void for_each_member(Self& p, Visit&& visit) {
  using Id = PropertyId;
  visit(Id::payload_format_indicator, p.payload_format_indicator);
  visit(Id::message_expiry_interval, p.message_expiry_interval);
  visit(Id::content_type, p.content_type);
  visit(Id::response_topic, p.response_topic);
  visit(Id::correlation_data, p.correlation_data);
  visit(Id::subscription_identifier, p.subscription_identifiers);
  visit(Id::session_expiry_interval, p.session_expiry_interval);
  visit(Id::assigned_client_identifier, p.assigned_client_identifier);
  visit(Id::server_keep_alive, p.server_keep_alive);
  visit(Id::authentication_method, p.authentication_method);
  visit(Id::authentication_data, p.authentication_data);
  visit(Id::request_problem_information, p.request_problem_information);
  visit(Id::will_delay_interval, p.will_delay_interval);
  visit(Id::request_response_information, p.request_response_information);
  visit(Id::response_information, p.response_information);
  visit(Id::server_reference, p.server_reference);
  visit(Id::reason_string, p.reason_string);
  visit(Id::receive_maximum, p.receive_maximum);
  visit(Id::topic_alias_maximum, p.topic_alias_maximum);
  visit(Id::topic_alias, p.topic_alias);
  visit(Id::maximum_qos, p.maximum_qos);
  visit(Id::retain_available, p.retain_available);
  visit(Id::user_property, p.user_properties);
  visit(Id::maximum_packet_size, p.maximum_packet_size);
  visit(Id::wildcard_subscription_available, p.wildcard_subscription_available);
  visit(Id::subscription_identifier_available, p.subscription_identifier_available);
  visit(Id::shared_subscription_available, p.shared_subscription_available);
}

// Stores a decoded property in its member, by the member's type.
void store(std::optional<std::string>& member, const detail::PropertyItem& item) {
  member.emplace(item.text);
}
void store(std::vector<std::uint32_t>& member, const detail::PropertyItem& item) {
  member.push_back(item.number);
}
void store(std::vector<UserProperty>& member, const detail::PropertyItem& item) {
  member.emplace_back(item.text, item.value);
}
template <class Number>
void store(std::optional<Number>& member, const detail::PropertyItem& item) {
  member = static_cast<Number>(item.number);
}

// The encoded size of a member, property identifiers included; 0 if it is absent.
std::size_t member_bytes(const std::optional<std::string>& member) noexcept {
  return member ? 3 + member->size() : 0;
}
std::size_t member_bytes(const std::vector<std::uint32_t>& member) noexcept {
  std::size_t bytes = 0;
  for (const std::uint32_t id : member) bytes += 1 + detail::variable_bytes(id);
  return bytes;
}
std::size_t member_bytes(const std::vector<UserProperty>& member) noexcept {
  std::size_t bytes = 0;
  for (const auto& [name, value] : member) bytes += 5 + name.size() + value.size();
  return bytes;
}
template <class Number>
std::size_t member_bytes(const std::optional<Number>& member) noexcept {
  return member ? 1 + sizeof(Number) : 0;
}

void write(detail::Writer& writer, unsigned id, const std::optional<std::string>& member) {
  writer.byte(id);
  writer.text(*member);
}
void write(detail::Writer& writer, unsigned id, const std::vector<std::uint32_t>& member) {
  for (const std::uint32_t identifier : member) {
    writer.byte(id);
    writer.variable(identifier);
  }
}
void write(detail::Writer& writer, unsigned id, const std::vector<UserProperty>& member) {
  for (const auto& [name, value] : member) {
    writer.byte(id);
    writer.text(name);
    writer.text(value);
  }
}
template <class Number>
void write(detail::Writer& writer, unsigned id, const std::optional<Number>& member) {
  writer.byte(id);
  if constexpr (sizeof(Number) == 1) writer.byte(*member);
  if constexpr (sizeof(Number) == 2) writer.two_bytes(*member);
  if constexpr (sizeof(Number) == 4) writer.four_bytes(*member);
}

}  // namespace

bool property_allowed(PropertyId id, PropertyScope scope) noexcept {
  const auto index = static_cast<std::size_t>(id);
  return index < detail::property_id_end &&
         (detail::property_rules[index].scopes & detail::scope_bit(scope)) != 0;
}

Result<Properties> decode_properties(std::span<const std::uint8_t> bytes, PropertyScope scope,
                                     Sender sender) {
  Result<Properties> result;
  if (bytes.empty()) return result;
  const ReasonCode fault =
      detail::walk_properties(bytes, scope, sender, [&](const detail::PropertyItem& item) {
        for_each_member(*result, [&item](PropertyId id, auto& member) {
          if (id == item.id) store(member, item);
        });
      });
  if (fault != ReasonCode::success) result = fault;
  return result;
}

ReasonCode check_properties(std::span<const std::uint8_t> bytes, PropertyScope scope,
                            Sender sender) noexcept {
  return detail::walk_properties(bytes, scope, sender, [](const detail::PropertyItem&) {});
}

std::size_t properties_bytes(const Properties& properties) noexcept {
  std::size_t bytes = 0;
  for_each_member(properties,
                  [&bytes](PropertyId, const auto& member) { bytes += member_bytes(member); });
  return bytes;
}

void encode_properties(const Properties& properties, PropertyScope scope,
                       std::vector<std::uint8_t>& out) {
  detail::Writer writer(out);
  const std::size_t length = properties_bytes(properties);
  detail::require(length <= remaining_bytes_max, "the properties fit into an MQTT packet");
  writer.variable(length);
  if (length == 0) return;
  for_each_member(properties, [&](PropertyId id, const auto& member) {
    if (member_bytes(member) == 0) return;
    detail::require(property_allowed(id, scope), "the packet may contain the property");
    write(writer, static_cast<unsigned>(id), member);
  });
}

}  // namespace millrace::protocol
