#include "protocol/decode.hpp"

#include "protocol/decode_parts.hpp"
#include "protocol/publish.hpp"

namespace millrace::protocol {
namespace {

using detail::DecodeContext;
using detail::Reader;

Reader reader_of(const Frame& frame, std::span<const std::uint8_t> packet) noexcept {
  return Reader(packet.subspan(frame.header_bytes, frame.packet_bytes - frame.header_bytes));
}

// The column "Direction of flow" of table 2-1; AUTH exists only in MQTT 5.
bool may_send(PacketType type, DecodeContext context) noexcept {
  const bool client = context.sender == Sender::client;
  switch (type) {
    case PacketType::connect:
    case PacketType::subscribe:
    case PacketType::unsubscribe:
    case PacketType::pingreq:
      return client;
    case PacketType::connack:
    case PacketType::suback:
    case PacketType::unsuback:
    case PacketType::pingresp:
      return !client;
    case PacketType::disconnect:
      return client || context.v5();
    case PacketType::auth:
      return context.v5();
    default:
      return true;
  }
}

Result<Packet> decode_owned_publish(const Frame& frame, std::span<const std::uint8_t> packet,
                                    DecodeContext context) {
  const auto view = decode_publish(frame, packet, context.version, context.sender);
  if (view.has_error()) return view.error();
  auto properties = decode_properties(view->properties.bytes, property_scope(PacketType::publish),
                                      context.sender);
  if (properties.has_error()) return properties.error();
  Publish publish;
  publish.topic = view->topic;
  publish.payload.assign(reinterpret_cast<const char*>(view->payload.data()), view->payload.size());
  publish.qos = view->qos;
  publish.retain = view->retain;
  publish.dup = view->dup;
  publish.packet_id = view->packet_id;
  publish.properties = *std::move(properties);
  return publish;
}

// Reads identifier and reason of an acknowledgement, and leaves the reader at the length of its
// properties, or at the end if there is none. (MQTT 5.0, 3.4.2.1: the reason may be omitted if it
// is 0 and there are no properties.)
Ack read_ack(PacketType type, Reader& reader, DecodeContext context) noexcept {
  Ack ack{type, reader.packet_id(), ReasonCode::success};
  if (reader.at_end()) return ack;
  if (!context.v5()) {
    reader.fail(ReasonCode::malformed_packet);
    return ack;
  }
  ack.reason = static_cast<ReasonCode>(reader.byte());
  // [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]
  if (!reason_allowed(type, ack.reason, context.sender)) reader.fail(ReasonCode::protocol_error);
  return ack;
}

template <class Packed>
Result<Packet> decode_owned_ack(Reader& reader, DecodeContext context) {
  const Ack ack = read_ack(Packed::type, reader, context);
  Packed packet;
  packet.packet_id = ack.packet_id;
  packet.reason = ack.reason;
  if (!reader.at_end()) {
    packet.properties = read_properties(reader, property_scope(Packed::type), context);
  }
  reader.expect_end();
  if (!reader.ok()) return reader.fault();
  return Packet{std::move(packet)};
}

template <class Empty>
Result<Packet> decode_empty(Reader& reader) {
  reader.expect_end();
  if (!reader.ok()) return reader.fault();
  return Packet{Empty{}};
}

}  // namespace

Result<Packet> decode(const Frame& frame, std::span<const std::uint8_t> packet, Version version,
                      Sender sender) {
  const DecodeContext context{version, sender};
  Reader reader = reader_of(frame, packet);
  if (!may_send(frame.type, context)) return ReasonCode::protocol_error;
  switch (frame.type) {
    case PacketType::connect:
      return detail::decode_connect(frame, reader);
    case PacketType::connack:
      return detail::decode_connack(reader, context);
    case PacketType::publish:
      return decode_owned_publish(frame, packet, context);
    case PacketType::puback:
      return decode_owned_ack<Puback>(reader, context);
    case PacketType::pubrec:
      return decode_owned_ack<Pubrec>(reader, context);
    case PacketType::pubrel:
      return decode_owned_ack<Pubrel>(reader, context);
    case PacketType::pubcomp:
      return decode_owned_ack<Pubcomp>(reader, context);
    case PacketType::subscribe:
      return detail::decode_subscribe(reader, context);
    case PacketType::suback:
      return detail::decode_suback(reader, context);
    case PacketType::unsubscribe:
      return detail::decode_unsubscribe(reader, context);
    case PacketType::unsuback:
      return detail::decode_unsuback(reader, context);
    case PacketType::pingreq:
      return decode_empty<Pingreq>(reader);
    case PacketType::pingresp:
      return decode_empty<Pingresp>(reader);
    case PacketType::disconnect:
      return detail::decode_disconnect(reader, context);
    case PacketType::auth:
      return detail::decode_auth(reader, context);
  }
  return ReasonCode::malformed_packet;
}

namespace detail {

Result<Ack> decode_long_ack(const Frame& frame, std::span<const std::uint8_t> packet,
                            Version version, Sender sender) noexcept {
  const DecodeContext context{version, sender};
  Reader reader = reader_of(frame, packet);
  const Ack ack = read_ack(frame.type, reader, context);
  if (!reader.at_end()) {
    const auto properties = reader.bytes(reader.variable());
    const ReasonCode fault = check_properties(properties, property_scope(frame.type), sender);
    if (fault != ReasonCode::success) reader.fail(fault);
  }
  reader.expect_end();
  if (!reader.ok()) return reader.fault();
  return ack;
}

}  // namespace detail
}  // namespace millrace::protocol
