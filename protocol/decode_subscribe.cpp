// Decodes SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK.
#include <utility>

#include "protocol/decode_parts.hpp"
#include "protocol/topic.hpp"

namespace millrace::protocol::detail {
namespace {

std::string read_filter(Reader& reader) {
  const std::string_view filter = reader.text();  // [MQTT-3.8.3-1], [MQTT-3.10.3-1]
  // The filter after such a prefix is checked by parse_filter, which can refuse a single entry.
  if (reader.ok() && !is_latest_topic(filter) && !valid_topic_filter(filter)) {
    reader.fail(ReasonCode::topic_filter_invalid);
  }
  return std::string(filter);
}

// 3.x: QoS only. MQTT 5: QoS, No Local, Retain As Published, Retain Handling. (3.8.3.1)
Subscription read_subscription(Reader& reader, DecodeContext context) {
  Subscription subscription;
  subscription.filter = read_filter(reader);
  const unsigned options = reader.byte();
  const unsigned qos = options & 0x03;
  const unsigned retain_handling = options >> 4 & 0x03;
  const unsigned reserved = context.v5() ? 0xC0 : 0xFC;
  if ((options & reserved) != 0) {
    reader.fail(ReasonCode::malformed_packet);  // [MQTT-3.8.3-5] (3.1.1: [MQTT-3-8.3-4])
  } else if (qos == 3) {
    reader.fail(context.v5() ? ReasonCode::protocol_error : ReasonCode::malformed_packet);
  } else if (retain_handling == 3) {
    reader.fail(ReasonCode::protocol_error);
  } else {
    subscription.qos = static_cast<QoS>(qos);
    subscription.no_local = (options & 0x04) != 0;
    subscription.retain_as_published = (options & 0x08) != 0;
    subscription.retain_handling = static_cast<RetainHandling>(retain_handling);
    // [MQTT-3.8.3-4]
    if (subscription.no_local && subscription.filter.starts_with("$share/")) {
      reader.fail(ReasonCode::protocol_error);
    }
  }
  return subscription;
}

// The codes of a SUBACK in 3.x; 3.1 has none for a failure.
bool return_code_allowed(ReasonCode code, Version version) noexcept {
  return code <= ReasonCode::granted_qos2 ||
         (code == ReasonCode::unspecified_error && version != Version::v3_1);
}

// Reads one reason for each entry, to the end of the packet.
std::vector<ReasonCode> read_reasons(PacketType type, Reader& reader, DecodeContext context) {
  std::vector<ReasonCode> reasons;
  reasons.reserve(reader.left());
  while (!reader.at_end()) {
    const auto reason = static_cast<ReasonCode>(reader.byte());
    const bool allowed = context.v5() ? reason_allowed(type, reason, context.sender)
                                      : return_code_allowed(reason, context.version);
    if (!allowed) reader.fail(ReasonCode::protocol_error);  // [MQTT-3.9.3-2], [MQTT-3.11.3-2]
    reasons.push_back(reason);
  }
  if (reasons.empty()) reader.fail(ReasonCode::protocol_error);
  return reasons;
}

}  // namespace

Result<Packet> decode_subscribe(Reader& reader, DecodeContext context) {
  Subscribe subscribe;
  subscribe.packet_id = reader.packet_id();
  subscribe.properties = read_properties(reader, property_scope(PacketType::subscribe), context);
  while (!reader.at_end()) {
    subscribe.subscriptions.push_back(read_subscription(reader, context));
  }
  if (!reader.ok()) return reader.fault();
  // [MQTT-3.8.3-2] (3.1.1: [MQTT-3.8.3-3])
  if (subscribe.subscriptions.empty()) return ReasonCode::protocol_error;
  return Packet{std::move(subscribe)};
}

Result<Packet> decode_suback(Reader& reader, DecodeContext context) {
  Suback suback;
  suback.packet_id = reader.packet_id();
  suback.properties = read_properties(reader, property_scope(PacketType::suback), context);
  suback.reasons = read_reasons(PacketType::suback, reader, context);
  if (!reader.ok()) return reader.fault();
  return Packet{std::move(suback)};
}

Result<Packet> decode_unsubscribe(Reader& reader, DecodeContext context) {
  Unsubscribe unsubscribe;
  unsubscribe.packet_id = reader.packet_id();
  unsubscribe.properties =
      read_properties(reader, property_scope(PacketType::unsubscribe), context);
  while (!reader.at_end()) unsubscribe.filters.push_back(read_filter(reader));
  if (!reader.ok()) return reader.fault();
  // [MQTT-3.10.3-2]
  if (unsubscribe.filters.empty()) return ReasonCode::protocol_error;
  return Packet{std::move(unsubscribe)};
}

Result<Packet> decode_unsuback(Reader& reader, DecodeContext context) {
  Unsuback unsuback;
  unsuback.packet_id = reader.packet_id();
  if (context.v5()) {
    unsuback.properties = read_properties(reader, property_scope(PacketType::unsuback), context);
    unsuback.reasons = read_reasons(PacketType::unsuback, reader, context);
  }
  reader.expect_end();
  if (!reader.ok()) return reader.fault();
  return Packet{std::move(unsuback)};
}

}  // namespace millrace::protocol::detail
