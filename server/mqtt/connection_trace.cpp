// What a connection tells of its packets to the traces that run. Packets to the client are told when
// they are handed over to be written, before the socket has taken them.
#include "protocol/frame.hpp"
#include "server/mqtt/connection.hpp"

namespace millrace::server {

using protocol::PacketType;

namespace {

std::string text_of_publish(std::uint8_t qos, bool retain, bool duplicate, std::uint16_t packet_id,
                            std::size_t payload_bytes) {
  std::string text = "PUBLISH, QoS " + std::to_string(qos);
  if (retain) text += ", retain";
  if (duplicate) text += ", duplicate";
  if (packet_id != 0) text += ", packet " + std::to_string(packet_id);
  return text + ", payload of " + std::to_string(payload_bytes) + " bytes";
}

}  // namespace

void Connection::trace_packet(TraceKind kind, PacketType type, std::size_t bytes) const {
  trace(kind, "",
        [&] { return std::string(to_string(type)) + ", " + std::to_string(bytes) + " bytes"; });
}

void Connection::trace_publish(TraceKind kind, const protocol::PublishView& view) const {
  trace(kind, view.topic, [&] {
    return text_of_publish(static_cast<std::uint8_t>(view.qos), view.retain, view.dup,
                           view.packet_id, view.payload.size());
  });
}

void Connection::trace_filter(std::string_view packet, std::string_view filter) const {
  trace(TraceKind::received, "", [&] { return std::string(packet).append(": ").append(filter); });
}

// Whole packets of this client's version.
void Connection::trace_packets(TraceKind kind, Bytes packets) const {
  while (!packets.empty()) {
    const auto found = protocol::frame(packets, packets.size(), version_);
    if (!found || !*found) return;
    const protocol::Frame& frame = **found;
    const Bytes packet = packets.first(frame.packet_bytes);
    packets = packets.subspan(frame.packet_bytes);
    if (frame.type != PacketType::publish) {
      trace_packet(kind, frame.type, packet.size());
    } else if (const auto view = protocol::decode_publish(frame, packet, version_)) {
      trace_publish(kind, *view);
    }
  }
}

void Connection::trace_handover(const broker::Handover& handover) const {
  trace_packets(TraceKind::sent, handover.control.bytes());
  for (const broker::HandoverItem& item : handover.deliveries) {
    if (const auto* run = boost::variant2::get_if<broker::PacketRun>(&item)) {
      trace_packets(TraceKind::sent, run->packets());
      continue;
    }
    const auto& delivery = boost::variant2::unsafe_get<0>(item);
    const broker::Message& message = delivery.message;
    trace(TraceKind::sent, message.topic(), [&] {
      return text_of_publish(delivery.qos, delivery.retain, delivery.duplicate, delivery.packet_id,
                             message.payload_bytes());
    });
  }
}

}  // namespace millrace::server
