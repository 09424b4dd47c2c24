#include "protocol/properties.hpp"

#include "protocol/property_walk.hpp"
#include "protocol/require.hpp"
#include "protocol/topic.hpp"
#include "protocol/writer.hpp"

namespace millrace::protocol {
namespace detail {
namespace {

constexpr std::uint16_t in_will = scope_bit(PropertyScope::Will);

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
  const std::uint16_t message = in(Publish) | in_will;
  const std::uint16_t connecting = in(Connect, Connack);
  const std::uint16_t with_reason =
      in(Connack, Puback, Pubrec, Pubrel, Pubcomp, Suback, Unsuback, Disconnect, Auth);
  const std::uint16_t everywhere = with_reason | message | in(Connect, Subscribe, Unsubscribe);
  set(Id::PayloadFormatIndicator, Kind::Boolean, message);
  set(Id::MessageExpiryInterval, Kind::FourBytes, message);
  set(Id::ContentType, Kind::Text, message);
  set(Id::ResponseTopic, Kind::Text, message);
  set(Id::CorrelationData, Kind::Binary, message);
  set(Id::SubscriptionIdentifier, Kind::Variable, in(Publish, Subscribe));
  set(Id::SessionExpiryInterval, Kind::FourBytes, in(Connect, Connack, Disconnect));
  set(Id::AssignedClientIdentifier, Kind::Text, in(Connack));
  set(Id::ServerKeepAlive, Kind::TwoBytes, in(Connack));
  set(Id::AuthenticationMethod, Kind::Text, in(Connect, Connack, Auth));
  set(Id::AuthenticationData, Kind::Binary, in(Connect, Connack, Auth));
  set(Id::RequestProblemInformation, Kind::Boolean, in(Connect));
  set(Id::WillDelayInterval, Kind::FourBytes, in_will);
  set(Id::RequestResponseInformation, Kind::Boolean, in(Connect));
  set(Id::ResponseInformation, Kind::Text, in(Connack));
  set(Id::ServerReference, Kind::Text, in(Connack, Disconnect));
  set(Id::ReasonString, Kind::Text, with_reason);
  set(Id::ReceiveMaximum, Kind::TwoBytes, connecting);
  set(Id::TopicAliasMaximum, Kind::TwoBytes, connecting);
  set(Id::TopicAlias, Kind::TwoBytes, in(Publish));
  set(Id::MaximumQoS, Kind::Boolean, in(Connack));
  set(Id::RetainAvailable, Kind::Boolean, in(Connack));
  set(Id::UserProperty, Kind::TextPair, everywhere);
  set(Id::MaximumPacketSize, Kind::FourBytes, connecting);
  set(Id::WildcardSubscriptionAvailable, Kind::Boolean, in(Connack));
  set(Id::SubscriptionIdentifierAvailable, Kind::Boolean, in(Connack));
  set(Id::SharedSubscriptionAvailable, Kind::Boolean, in(Connack));
  return rules;
}

}  // namespace

constexpr std::array<PropertyRule, property_id_end> property_rules = make_rules();

ReasonCode check_value(const PropertyItem& item, PropertyKind kind, PropertyScope scope,
                       Sender sender) noexcept {
  if (kind == PropertyKind::Boolean) {
    return item.number <= 1 ? ReasonCode::Success : ReasonCode::ProtocolError;
  }
  switch (item.id) {
    case PropertyId::ReceiveMaximum:
    case PropertyId::MaximumPacketSize:
      return item.number != 0 ? ReasonCode::Success : ReasonCode::ProtocolError;
    case PropertyId::TopicAlias:  // [MQTT-3.3.2-8]
      return item.number != 0 ? ReasonCode::Success : ReasonCode::TopicAliasInvalid;
    case PropertyId::SubscriptionIdentifier:
      if (item.number == 0) return ReasonCode::ProtocolError;
      // Not in a client's PUBLISH. [MQTT-3.3.4-6]
      return sender == Sender::Client && scope == property_scope(PacketType::Publish)
                 ? ReasonCode::ProtocolError
                 : ReasonCode::Success;
    case PropertyId::SessionExpiryInterval:  // [MQTT-3.14.2-2]
      return sender == Sender::Server && scope == property_scope(PacketType::Disconnect)
                 ? ReasonCode::ProtocolError
                 : ReasonCode::Success;
    case PropertyId::ResponseTopic:  // [MQTT-3.3.2-13], [MQTT-3.3.2-14]
      return valid_topic_name(item.text) ? ReasonCode::Success : ReasonCode::TopicNameInvalid;
    default:
      return ReasonCode::Success;
  }
}

}  // namespace detail

namespace {

// Calls visit(id, member) for every member, in the order of the identifiers.
template <class Self, class Visit>
void for_each_member(Self& p, Visit&& visit) {
  using Id = PropertyId;
  visit(Id::PayloadFormatIndicator, p.payload_format_indicator);
  visit(Id::MessageExpiryInterval, p.message_expiry_interval);
  visit(Id::ContentType, p.content_type);
  visit(Id::ResponseTopic, p.response_topic);
  visit(Id::CorrelationData, p.correlation_data);
  visit(Id::SubscriptionIdentifier, p.subscription_identifiers);
  visit(Id::SessionExpiryInterval, p.session_expiry_interval);
  visit(Id::AssignedClientIdentifier, p.assigned_client_identifier);
  visit(Id::ServerKeepAlive, p.server_keep_alive);
  visit(Id::AuthenticationMethod, p.authentication_method);
  visit(Id::AuthenticationData, p.authentication_data);
  visit(Id::RequestProblemInformation, p.request_problem_information);
  visit(Id::WillDelayInterval, p.will_delay_interval);
  visit(Id::RequestResponseInformation, p.request_response_information);
  visit(Id::ResponseInformation, p.response_information);
  visit(Id::ServerReference, p.server_reference);
  visit(Id::ReasonString, p.reason_string);
  visit(Id::ReceiveMaximum, p.receive_maximum);
  visit(Id::TopicAliasMaximum, p.topic_alias_maximum);
  visit(Id::TopicAlias, p.topic_alias);
  visit(Id::MaximumQoS, p.maximum_qos);
  visit(Id::RetainAvailable, p.retain_available);
  visit(Id::UserProperty, p.user_properties);
  visit(Id::MaximumPacketSize, p.maximum_packet_size);
  visit(Id::WildcardSubscriptionAvailable, p.wildcard_subscription_available);
  visit(Id::SubscriptionIdentifierAvailable, p.subscription_identifier_available);
  visit(Id::SharedSubscriptionAvailable, p.shared_subscription_available);
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
  if (fault != ReasonCode::Success) result = fault;
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
