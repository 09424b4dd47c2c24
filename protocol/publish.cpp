#include "protocol/publish.hpp"

#include <cstring>

#include "protocol/property_walk.hpp"
#include "protocol/utf8.hpp"
#include "protocol/writer.hpp"

namespace millrace::protocol {
namespace {

constexpr auto publish_scope = property_scope(PacketType::publish);
constexpr std::size_t alias_bytes = 3;   // as a property: identifier and two bytes
constexpr std::size_t expiry_bytes = 5;  // identifier and four bytes

ReasonCode read_properties(PublishView& view, Sender sender) noexcept {
  RawProperties& raw = view.properties;
  return detail::walk_properties(
      raw.bytes, publish_scope, sender, [&](const detail::PropertyItem& item) {
        switch (item.id) {
          case PropertyId::topic_alias:
            view.topic_alias = static_cast<std::uint16_t>(item.number);
            raw.topic_alias_at = item.offset;
            break;
          case PropertyId::message_expiry_interval:
            view.has_message_expiry = true;
            view.message_expiry_interval = item.number;
            raw.expiry_at = item.offset;
            break;
          case PropertyId::subscription_identifier:
            raw.subscription_identifiers_bytes +=
                static_cast<std::uint32_t>(1 + detail::variable_bytes(item.number));
            break;
          case PropertyId::payload_format_indicator:
            view.payload_format_indicator = static_cast<std::uint8_t>(item.number);
            break;
          case PropertyId::response_topic:
            view.has_response_topic = true;
            break;
          case PropertyId::correlation_data:
            view.has_correlation_data = true;
            break;
          case PropertyId::user_property:
            view.has_user_properties = true;
            break;
          default:
            break;
        }
      });
}

ReasonCode check_topic(const PublishView& view, Version version) noexcept {
  if (view.topic.empty()) {
    // [MQTT-4.7.3-1]; an alias may replace the name. (MQTT 5.0, 3.3.2.1)
    if (version != Version::v5) return ReasonCode::topic_name_invalid;
    return view.topic_alias != 0 ? ReasonCode::success : ReasonCode::protocol_error;
  }
  switch (check_topic_bytes(view.topic)) {
    case TopicBytes::valid:
      return ReasonCode::success;
    case TopicBytes::has_wildcard:
      return ReasonCode::topic_name_invalid;  // [MQTT-3.3.2-2]
    case TopicBytes::bad_utf8:
      break;  // [MQTT-3.3.2-1]
  }
  return ReasonCode::malformed_packet;
}

ReasonCode read_publish(const Frame& frame, std::span<const std::uint8_t> packet, Version version,
                        Sender sender, PublishView& view) noexcept {
  const unsigned qos = frame.flags >> 1 & 3;
  if (qos == 3) return ReasonCode::malformed_packet;  // [MQTT-3.3.1-4]
  view.qos = static_cast<QoS>(qos);
  view.retain = (frame.flags & 0x01) != 0;
  view.dup = (frame.flags & 0x08) != 0;

  detail::Reader reader(
      packet.subspan(frame.header_bytes, frame.packet_bytes - frame.header_bytes));
  view.topic = reader.binary();
  view.topic_offset = frame.header_bytes + 2u;
  if (qos != 0) view.packet_id = reader.packet_id();
  std::uint32_t properties_bytes = 0;
  if (version == Version::v5) properties_bytes = reader.variable();
  view.properties_offset = frame.header_bytes + static_cast<std::uint32_t>(reader.offset());
  view.properties.bytes = reader.bytes(properties_bytes);
  view.payload_offset = frame.header_bytes + static_cast<std::uint32_t>(reader.offset());
  view.payload = reader.rest();
  if (!reader.ok()) return reader.fault();

  if (properties_bytes != 0) {
    const ReasonCode fault = read_properties(view, sender);
    if (fault != ReasonCode::success) return fault;
  }
  return check_topic(view, version);
}

}  // namespace

Result<PublishView> decode_publish(const Frame& frame, std::span<const std::uint8_t> packet,
                                   Version version, Sender sender) noexcept {
  // The view is decoded directly into the result, not copied.
  Result<PublishView> result;
  const ReasonCode fault = read_publish(frame, packet, version, sender, *result);
  if (fault != ReasonCode::success) [[unlikely]]
    result = fault;
  return result;
}

std::uint32_t expiry_offset(std::span<const std::uint8_t> properties,
                            std::uint32_t bytes_max) noexcept {
  detail::Reader reader(properties);
  while (!reader.at_end() && reader.offset() < bytes_max) {
    const auto at = static_cast<std::uint32_t>(reader.offset());
    const std::uint32_t id = reader.variable();
    detail::require(id < detail::property_id_end, "properties come from decode_publish");
    if (static_cast<PropertyId>(id) == PropertyId::message_expiry_interval) return at;
    detail::read_property(reader, detail::property_rules[id].kind);
  }
  return RawProperties::nowhere;
}

std::optional<std::string_view> find_user_property(std::span<const std::uint8_t> properties,
                                                   std::string_view name) noexcept {
  detail::Reader reader(properties);
  while (!reader.at_end()) {
    const std::uint32_t id = reader.variable();
    if (id >= detail::property_id_end) return std::nullopt;
    const auto item = detail::read_property(reader, detail::property_rules[id].kind);
    if (!reader.ok()) return std::nullopt;
    if (static_cast<PropertyId>(id) == PropertyId::user_property && item.text == name) {
      return item.value;
    }
  }
  return std::nullopt;
}

// --- encode --------------------------------------------------------------------------------------

namespace {

bool has(std::uint32_t offset) noexcept {
  return offset != RawProperties::nowhere;
}

struct HeaderSizes {
  std::size_t properties;  // without their length
  std::size_t remaining;   // the Remaining Length of the fixed header
};

HeaderSizes sizes_of(const PublishHeader& header) noexcept {
  std::size_t remaining = 2 + header.topic.size() + header.payload_bytes;
  if (header.qos != QoS::at_most_once) remaining += 2;
  if (header.version != Version::v5) return {0, remaining};

  const RawProperties& raw = header.properties;
  std::size_t properties = raw.bytes.size() - raw.subscription_identifiers_bytes;
  if (has(raw.topic_alias_at)) properties -= alias_bytes;
  if (header.message_expiry_interval && !has(raw.expiry_at)) properties += expiry_bytes;
  if (header.topic_alias != 0) properties += alias_bytes;
  for (const std::uint32_t id : header.subscription_identifiers) {
    properties += 1 + detail::variable_bytes(id);
  }
  return {properties, remaining + detail::variable_bytes(properties) + properties};
}

// Copies the received properties except for alias and subscription identifiers, and replaces the
// received expiry interval by that of `header`.
std::uint8_t* put_kept(const PublishHeader& header, std::uint8_t* out) noexcept {
  const RawProperties& raw = header.properties;
  const auto piece = [&](std::size_t from, std::size_t to) {
    std::uint8_t* const end = detail::put_bytes(out, raw.bytes.data() + from, to - from);
    if (header.message_expiry_interval && raw.expiry_at >= from && raw.expiry_at < to) {
      detail::put_four_bytes(out + (raw.expiry_at - from) + 1, *header.message_expiry_interval);
    }
    out = end;
  };
  const std::size_t count = raw.bytes.size();
  if (raw.subscription_identifiers_bytes != 0) [[unlikely]] {
    // Only a server's PUBLISH has them, so this path is rare: copy property by property.
    detail::Reader reader(raw.bytes);
    while (!reader.at_end()) {
      const std::size_t from = reader.offset();
      const std::uint32_t id = reader.variable();
      detail::require(id < detail::property_id_end, "raw properties come from decode_publish");
      detail::read_property(reader, detail::property_rules[id].kind);
      const auto known = static_cast<PropertyId>(id);
      if (known != PropertyId::subscription_identifier && known != PropertyId::topic_alias) {
        piece(from, reader.offset());
      }
    }
  } else if (has(raw.topic_alias_at)) {
    piece(0, raw.topic_alias_at);
    piece(raw.topic_alias_at + alias_bytes, count);
  } else {
    piece(0, count);
  }
  return out;
}

// `unchanged`: so many received properties follow elsewhere.
std::uint8_t* put_properties(const PublishHeader& header, std::size_t properties_bytes,
                             std::size_t unchanged, std::uint8_t* out) noexcept {
  const auto id = [](PropertyId property) { return static_cast<unsigned>(property); };
  out = detail::put_variable(out, properties_bytes);
  if (properties_bytes == 0) return out;
  if (unchanged != 0) {
    PublishHeader first = header;
    first.properties.bytes = header.properties.bytes.first(unchanged_from(header));
    out = put_kept(first, out);
  } else if (!header.properties.bytes.empty()) {
    out = put_kept(header, out);
  }
  if (header.message_expiry_interval && !has(header.properties.expiry_at)) {
    out = detail::put_byte(out, id(PropertyId::message_expiry_interval));
    out = detail::put_four_bytes(out, *header.message_expiry_interval);
  }
  if (header.topic_alias != 0) {
    out = detail::put_byte(out, id(PropertyId::topic_alias));
    out = detail::put_two_bytes(out, header.topic_alias);
  }
  for (const std::uint32_t identifier : header.subscription_identifiers) {
    out = detail::put_byte(out, id(PropertyId::subscription_identifier));
    out = detail::put_variable(out, identifier);
  }
  return out;
}

std::uint8_t* put_header(const PublishHeader& header, const HeaderSizes& sizes,
                         std::size_t unchanged, std::uint8_t* out) noexcept {
  const unsigned flags =
      (header.dup ? 8u : 0u) | static_cast<unsigned>(header.qos) << 1 | (header.retain ? 1u : 0u);
  out = detail::put_byte(out, static_cast<unsigned>(PacketType::publish) << 4 | flags);
  out = detail::put_variable(out, sizes.remaining);
  out = detail::put_two_bytes(out, static_cast<unsigned>(header.topic.size()));
  out = detail::put_bytes(out, header.topic.data(), header.topic.size());
  if (header.qos != QoS::at_most_once) {
    detail::require(header.packet_id != 0, "a PUBLISH at QoS 1 or 2 has an identifier");
    out = detail::put_two_bytes(out, header.packet_id);
  }
  if (header.version != Version::v5) return out;
  return put_properties(header, sizes.properties, unchanged, out);
}

std::size_t header_bytes(const PublishHeader& header, const HeaderSizes& sizes) noexcept {
  return 1 + detail::variable_bytes(sizes.remaining) + sizes.remaining - header.payload_bytes;
}

}  // namespace

std::size_t publish_header_bytes(const PublishHeader& header) noexcept {
  return header_bytes(header, sizes_of(header));
}

std::uint8_t* encode_publish_header(const PublishHeader& header, std::uint8_t* out) noexcept {
  return put_header(header, sizes_of(header), 0, out);
}

std::uint32_t unchanged_from(const PublishHeader& header) noexcept {
  const RawProperties& raw = header.properties;
  detail::require(!has(raw.topic_alias_at) && raw.subscription_identifiers_bytes == 0,
                  "a message has neither alias nor subscription identifiers");
  return header.message_expiry_interval && has(raw.expiry_at)
             ? raw.expiry_at + static_cast<std::uint32_t>(expiry_bytes)
             : 0;
}

std::size_t publish_head_bytes(const PublishHeader& header) noexcept {
  return publish_header_bytes(header) - (header.properties.bytes.size() - unchanged_from(header));
}

std::uint8_t* encode_publish_head(const PublishHeader& header, std::uint8_t* out) noexcept {
  return put_header(header, sizes_of(header),
                    header.properties.bytes.size() - unchanged_from(header), out);
}

void encode_publish_header(const PublishHeader& header, std::vector<std::uint8_t>& out) {
  const HeaderSizes sizes = sizes_of(header);
  const std::size_t begin = out.size();
  out.resize(begin + header_bytes(header, sizes));
  put_header(header, sizes, 0, out.data() + begin);
}

}  // namespace millrace::protocol
