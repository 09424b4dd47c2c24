// [2] decode: what each packet means. PUBLISH, CONNECT and SUBSCRIBE have files of their own.
#include <algorithm>
#include <utility>
#include <variant>

#include "protocol/decode.hpp"
#include "protocol/encode.hpp"
#include "server/mqtt/connection.hpp"

namespace millrace::server {

namespace command = broker::command;
using protocol::PacketType;

bool Connection::handle_packet(const protocol::Frame& frame, Bytes packet, Incoming& incoming) {
  if (frame.type == PacketType::Publish) [[likely]] {
    return handle_publish(frame, packet, incoming);
  }
  thread_.counters().packets_received[static_cast<std::size_t>(frame.type)].add();
  switch (frame.type) {
    case PacketType::Puback:
    case PacketType::Pubrec:
    case PacketType::Pubrel:
    case PacketType::Pubcomp:
      return handle_ack(frame, packet);
    case PacketType::Connect:
      if (state_ != State::awaiting_connect) return fault(ReasonCode::ProtocolError);
      return handle_connect(frame, packet);
    default:
      return handle_other(frame, packet);
  }
}

bool Connection::handle_ack(const protocol::Frame& frame, Bytes packet) {
  const auto ack = protocol::decode_ack(frame, packet, version_);
  if (!ack) return fault(ack.error());
  switch (ack->type) {
    case PacketType::Pubrec:
      add_command(command::Pubrec{ack->packet_id, ack->reason});
      break;
    case PacketType::Pubrel:
      add_command(command::Pubrel{ack->packet_id, ack->reason});
      break;
    case PacketType::Pubcomp:
      add_command(command::Pubcomp{ack->packet_id, ack->reason});
      break;
    default:
      add_command(command::Puback{ack->packet_id, ack->reason});
      break;
  }
  return true;
}

bool Connection::handle_other(const protocol::Frame& frame, Bytes packet) {
  auto decoded = protocol::decode(frame, packet, version_);
  if (!decoded) return fault(decoded.error());
  if (auto* subscribe = std::get_if<protocol::Subscribe>(&*decoded)) return handle(*subscribe);
  if (auto* unsubscribe = std::get_if<protocol::Unsubscribe>(&*decoded)) {
    return handle(*unsubscribe);
  }
  if (auto* disconnect = std::get_if<protocol::Disconnect>(&*decoded)) return handle(*disconnect);
  if (std::holds_alternative<protocol::Pingreq>(*decoded)) {
    protocol::encode_pingresp(writer_.control());
    thread_.counters().packets_sent[static_cast<std::size_t>(PacketType::Pingresp)].add();
    return true;
  }
  if (auto* auth = std::get_if<protocol::Auth>(&*decoded)) return handle(*auth);
  return fault(ReasonCode::ProtocolError);  // a server's packet
}

bool Connection::handle(protocol::Unsubscribe& packet) {
  auto request = std::make_unique<broker::UnsubscribeRequest>();
  request->packet_id = packet.packet_id;
  request->names = std::move(packet.filters);
  add_command(command::Unsubscribe{std::move(request)});
  return true;
}

bool Connection::handle(protocol::Disconnect& packet) {
  if (packet.properties.session_expiry_interval) {
    const std::uint32_t wanted = *packet.properties.session_expiry_interval;
    if (zero_expiry_ && wanted != 0) return fault(ReasonCode::ProtocolError);  // [MQTT-3.14.2-2]
    new_expiry_s_ = std::min(wanted, thread_.config().session.expiry_max_seconds);
  }
  close({packet.reason, CloseCause::client_disconnect});
  return false;
}

// The peer broke a rule: this connection ends, and no other.
bool Connection::fault(ReasonCode reason) {
  const bool tell = state_ != State::awaiting_connect;
  close({reason, CloseCause::protocol_fault, tell && version_ == protocol::Version::v5});
  return false;
}

}  // namespace millrace::server
