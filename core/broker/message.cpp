#include "core/broker/message.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/broker/check.hpp"
#include "core/broker/topic_hash.hpp"
#include "protocol/frame.hpp"

namespace millrace::broker {

namespace {

// The Message Expiry Interval begins within so many bytes of the properties, or is moved to their
// front: it is looked for with each delivery.
constexpr std::uint32_t expiry_within_bytes = 64;
constexpr std::ptrdiff_t expiry_bytes = 5;  // identifier and four bytes

// A 3.x client may set DUP at QoS 0, and pad the Remaining Length; neither is passed on
// [MQTT-3.3.1-2], [MQTT-3.3.1-3]. (The lengths within a packet are in their shortest form, or it was
// refused.)
bool may_pass_unchanged(const protocol::PublishView& view, std::uint32_t packet_bytes) {
  if (view.qos != protocol::QoS::at_most_once || view.dup || view.has_message_expiry) return false;
  // The least length that takes so many bytes. [MQTT-1.5.5-1]
  static constexpr std::uint32_t least[] = {0, 0, 128, 16'384, 2'097'152};
  const std::uint32_t length_bytes = view.topic_offset - 3;
  return packet_bytes - 1 - length_bytes >= least[length_bytes];
}

void fill_from_view(Message& message, const protocol::PublishView& view, protocol::Version version,
                    std::uint32_t received_s) {
  message.payload_offset = view.payload_offset;
  // An interval of zero is expired at once; the clock starts at 1, so that 0 can mean never.
  message.expires_at_s = view.has_message_expiry ? received_s + view.message_expiry_interval : 0;
  if (view.has_message_expiry && message.expires_at_s < received_s) {
    message.expires_at_s = 0;  // beyond the clock's range: as good as never
  }
  message.topic_bytes = static_cast<std::uint16_t>(view.topic.size());
  message.packet_id = view.packet_id;
  message.topic_offset = static_cast<std::uint8_t>(view.topic_offset);
  message.qos = static_cast<std::uint8_t>(view.qos);
  const bool request = view.has_response_topic || view.has_correlation_data;
  const bool unchanged = may_pass_unchanged(view, message.packet_bytes);
  // In a row, so that they are one store.
  message.retain = view.retain;
  message.duplicate = view.dup;
  message.is_v5 = version == protocol::Version::v5;
  message.has_properties = !view.properties.bytes.empty();
  message.request = request;
  message.may_pass_unchanged = unchanged;
}

// The frame of a packet that is known to be whole and well formed: it was framed once already.
protocol::Frame frame_of(std::span<const std::uint8_t> packet) {
  std::uint8_t header_bytes = 2;
  while ((packet[header_bytes - 1] & 0x80) != 0) ++header_bytes;
  MILLRACE_CHECK(header_bytes <= 5 && header_bytes <= packet.size());  // [MQTT-1.5.5-1]
  return {protocol::PacketType::publish, static_cast<std::uint8_t>(packet[0] & 0x0F), header_bytes,
          static_cast<std::uint32_t>(packet.size())};
}

protocol::PublishView view_of(std::span<const std::uint8_t> packet, bool is_v5) {
  const auto version = is_v5 ? protocol::Version::v5 : protocol::Version::v3_1_1;
  const auto view = protocol::decode_publish(frame_of(packet), packet, version);
  if (!view) std::abort();  // it was decoded once already
  return *view;
}

}  // namespace

protocol::RawProperties Message::properties() const {
  protocol::RawProperties properties;
  if (!has_properties) return properties;
  const std::uint8_t* const bytes = packet();
  const bool has_packet_id = (bytes[0] & 0x06) != 0;
  std::uint32_t at = std::uint32_t{topic_offset} + topic_bytes + (has_packet_id ? 2 : 0);
  while ((bytes[at] & 0x80) != 0) ++at;  // their length
  ++at;
  MILLRACE_CHECK(at <= payload_offset);
  properties.bytes = {bytes + at, payload_offset - at};
  if (expires_at_s != 0) {
    properties.expiry_at = protocol::expiry_offset(properties.bytes, expiry_within_bytes);
    MILLRACE_CHECK(properties.expiry_at != protocol::RawProperties::nowhere);
  }
  return properties;
}

Message Message::copy_to_keep() const {
  MILLRACE_CHECK(packet_bytes <= buffer->capacity() &&
                 packet_offset <= buffer->capacity() - packet_bytes);
  Message copy = *this;
  copy.buffer = Buffer::allocate(packet_bytes);
  std::memcpy(copy.buffer->data(), packet(), packet_bytes);
  copy.buffer->received_ns = buffer->received_ns;
  copy.buffer->holds_v5 = is_v5;
  copy.buffer->origin = buffer->origin;
  copy.packet_offset = 0;
  return copy;
}

Message make_message(BufferRef buffer, std::uint32_t packet_offset, std::uint32_t packet_bytes,
                     const protocol::PublishView& view, protocol::Version version) {
  MILLRACE_CHECK(!view.topic.empty() && view.payload_offset <= packet_bytes);
  MILLRACE_CHECK(view.topic_offset >= 4 && view.topic_offset <= 7);
  MILLRACE_CHECK(view.topic_offset + view.topic.size() <= view.payload_offset);
  MILLRACE_CHECK(packet_bytes <= buffer->capacity() &&
                 packet_offset <= buffer->capacity() - packet_bytes);
  if (view.has_message_expiry && view.properties.expiry_at > expiry_within_bytes) {
    // Nobody else has these bytes yet. The order of the other properties stays [MQTT-3.3.2-18].
    std::uint8_t* const first = buffer->data() + packet_offset + view.properties_offset;
    std::uint8_t* const expiry = first + view.properties.expiry_at;
    std::rotate(first, expiry, expiry + expiry_bytes);
  }
  const std::uint64_t hash = topic_hash(view.topic);
  const std::uint32_t received_s = clock_seconds(buffer->received_ns);
  Message message{{}, std::move(buffer)};
  message.topic_hash = hash;
  message.packet_offset = packet_offset;
  message.packet_bytes = packet_bytes;
  fill_from_view(message, view, version, received_s);
  return message;
}

Message build_message(const MessageParts& parts, std::int64_t now_ns) {
  protocol::PublishHeader header;
  header.version = parts.version;
  header.qos = static_cast<protocol::QoS>(parts.qos);
  header.retain = parts.retain;
  header.dup = parts.duplicate;
  header.packet_id = parts.packet_id;
  header.topic = parts.topic;
  header.payload_bytes = parts.payload.size();
  header.properties = parts.properties;
  const std::size_t header_bytes = protocol::publish_header_bytes(header);
  const auto packet_bytes = static_cast<std::uint32_t>(header_bytes + parts.payload.size());
  BufferRef buffer = Buffer::allocate(packet_bytes);
  buffer->received_ns = now_ns;
  buffer->holds_v5 = parts.version == protocol::Version::v5;
  buffer->origin = parts.origin;
  std::uint8_t* end = protocol::encode_publish_header(header, buffer->data());
  assert(end == buffer->data() + header_bytes);  // else the payload overruns the buffer
  if (!parts.payload.empty()) std::memcpy(end, parts.payload.data(), parts.payload.size());
  return message_of(std::move(buffer));
}

BufferRef restore_packet(std::span<const std::uint8_t> packet, bool is_v5, std::int64_t now_ns,
                         std::uint64_t elapsed_s) {
  const auto version = is_v5 ? protocol::Version::v5 : protocol::Version::v3_1_1;
  const auto frame = protocol::frame(packet, protocol::packet_bytes_limit, version);
  if (!frame || !*frame || (*frame)->packet_bytes != packet.size()) return nullptr;
  const auto view = protocol::decode_publish(**frame, packet, version);
  if (!view || view->topic.empty()) return nullptr;
  BufferRef buffer = Buffer::allocate(static_cast<std::uint32_t>(packet.size()));
  std::memcpy(buffer->data(), packet.data(), packet.size());
  buffer->received_ns = now_ns;
  buffer->holds_v5 = is_v5;
  if (view->has_message_expiry) {
    const std::uint32_t interval_s = view->message_expiry_interval;
    const auto left_s =
        elapsed_s < interval_s ? static_cast<std::uint32_t>(interval_s - elapsed_s) : 0;
    std::uint8_t* at = buffer->data() + view->properties_offset + view->properties.expiry_at + 1;
    for (int shift = 24; shift >= 0; shift -= 8) {
      *at++ = static_cast<std::uint8_t>(left_s >> shift);
    }
  }
  return buffer;
}

Message message_of(BufferRef kept) {
  MILLRACE_CHECK(kept);
  const std::span<const std::uint8_t> packet(kept->data(), kept->capacity());
  const bool is_v5 = kept->holds_v5;
  const protocol::PublishView view = view_of(packet, is_v5);
  return make_message(std::move(kept), 0, static_cast<std::uint32_t>(packet.size()), view,
                      is_v5 ? protocol::Version::v5 : protocol::Version::v3_1_1);
}

}  // namespace millrace::broker
