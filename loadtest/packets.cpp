#include "loadtest/packets.hpp"

namespace millrace::loadtest {
namespace {

constexpr std::uint8_t kReceiveMaximum = 0x21;
constexpr std::uint8_t kMaximumQos = 0x24;
constexpr std::uint8_t kUserProperty = 0x26;

void append_u16(std::string& out, std::size_t value) {
  out.push_back(static_cast<char>(value >> 8));
  out.push_back(static_cast<char>(value));
}

void append_text(std::string& out, std::string_view text) {
  append_u16(out, text.size());
  out.append(text);
}

std::string packet(std::uint8_t first_byte, std::string_view body) {
  std::string out(1, static_cast<char>(first_byte));
  append_varint(out, static_cast<std::uint32_t>(body.size()));
  out.append(body);
  return out;
}

// The length of a CONNACK property's value; nullopt if the property is unknown or truncated.
std::optional<std::size_t> value_bytes(std::uint8_t property, std::string_view rest) {
  const auto text_at = [&](std::size_t at) -> std::optional<std::size_t> {
    if (rest.size() < at + 2) return std::nullopt;
    return at + 2 + read_u16(rest.data() + at);
  };
  switch (property) {
    case 0x24:
    case 0x25:
    case 0x28:
    case 0x29:
    case 0x2A:
      return 1;
    case 0x13:
    case 0x21:
    case 0x22:
      return 2;
    case 0x11:
    case 0x27:
      return 4;
    case 0x12:
    case 0x15:
    case 0x16:
    case 0x1A:
    case 0x1C:
    case 0x1F:
      return text_at(0);
    case kUserProperty:
      if (const auto key = text_at(0)) return text_at(*key);
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

bool read_connack_properties(std::string_view bytes, Connack& out) {
  while (!bytes.empty()) {
    const auto property = static_cast<std::uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    const auto size = value_bytes(property, bytes);
    if (!size || *size > bytes.size()) return false;
    if (property == kReceiveMaximum) out.receive_maximum = read_u16(bytes.data());
    if (property == kMaximumQos) out.maximum_qos = static_cast<std::uint8_t>(bytes.front());
    bytes.remove_prefix(*size);
  }
  return true;
}

}  // namespace

void append_varint(std::string& out, std::uint32_t value) {
  do {
    std::uint8_t byte = value & 0x7F;
    value >>= 7;
    if (value != 0) byte |= 0x80;
    out.push_back(static_cast<char>(byte));
  } while (value != 0);
}

std::optional<std::uint32_t> take_varint(std::string_view& bytes) {
  std::uint32_t value = 0;
  for (unsigned i = 0; i < 4 && i < bytes.size(); ++i) {
    const auto byte = static_cast<std::uint8_t>(bytes[i]);
    value |= static_cast<std::uint32_t>(byte & 0x7F) << (7 * i);
    if (byte < 0x80) {
      bytes.remove_prefix(i + 1);
      return value;
    }
  }
  return std::nullopt;
}

std::string encode_connect(const ConnectFields& fields) {
  std::uint8_t flags = fields.is_kept ? 0 : 0x02;  // a clean session: no state from earlier runs
  if (!fields.username.empty()) flags |= 0x80;
  if (!fields.password.empty()) flags |= 0x40;
  std::string body;
  append_text(body, "MQTT");
  body.push_back(static_cast<char>(fields.version));
  body.push_back(static_cast<char>(flags));
  append_u16(body, fields.keepalive_s);
  if (fields.version == MqttVersion::v5) {
    using namespace std::string_literals;
    body += fields.is_kept ? "\5\x11\0\0\x0E\x10"s : "\0"s;  // Session Expiry Interval: 3600
  }
  append_text(body, fields.client_id);
  if (!fields.username.empty()) append_text(body, fields.username);
  if (!fields.password.empty()) append_text(body, fields.password);
  return packet(0x10, body);
}

std::string encode_subscribe(const SubscribeFields& fields) {
  std::string body;
  append_u16(body, fields.packet_id);
  if (fields.version == MqttVersion::v5) {
    std::string properties;
    for (const auto& [key, value] : fields.user_properties) {
      properties.push_back(static_cast<char>(kUserProperty));
      append_text(properties, key);
      append_text(properties, value);
    }
    append_varint(body, static_cast<std::uint32_t>(properties.size()));
    body += properties;
  }
  for (const std::string& filter : fields.filters) {
    append_text(body, filter);
    body.push_back(static_cast<char>(fields.qos));
  }
  return packet(0x82, body);
}

std::string encode_pingreq() {
  return packet(0xC0, {});
}

std::string encode_disconnect() {
  return packet(0xE0, {});
}

void append_ack(std::vector<char>& out, PacketType type, std::uint16_t packet_id) {
  const unsigned flags = type == PacketType::pubrel ? 0x02 : 0x00;  // [MQTT-3.6.1-1]
  const char bytes[4] = {static_cast<char>(static_cast<unsigned>(type) << 4 | flags), 2,
                         static_cast<char>(packet_id >> 8), static_cast<char>(packet_id)};
  out.insert(out.end(), bytes, bytes + 4);
}

std::string encode_publish(MqttVersion version, std::string_view topic, std::string_view payload,
                           std::uint8_t qos, std::uint16_t packet_id) {
  std::string body;
  append_text(body, topic);
  if (qos > 0) append_u16(body, packet_id);
  if (version == MqttVersion::v5) body.push_back(0);
  body.append(payload);
  return packet(static_cast<std::uint8_t>(0x30 | qos << 1), body);
}

std::optional<Connack> read_connack(MqttVersion version, std::string_view body) {
  if (body.size() < 2) return std::nullopt;
  Connack out{(body[0] & 1) != 0, static_cast<std::uint8_t>(body[1]), 65'535, 2};
  // A broker that refuses the version answers in the format of 3.1.1, without properties.
  if (version == MqttVersion::v5 && body.size() > 2) {
    body.remove_prefix(2);
    const auto length = take_varint(body);
    if (!length || *length != body.size()) return std::nullopt;
    if (!read_connack_properties(body, out)) return std::nullopt;
  }
  return out;
}

std::optional<Suback> read_suback(MqttVersion version, std::string_view body) {
  if (body.size() < 3) return std::nullopt;
  Suback out{read_u16(body.data()), {}};
  body.remove_prefix(2);
  if (version == MqttVersion::v5) {
    const auto length = take_varint(body);
    if (!length || *length > body.size()) return std::nullopt;
    body.remove_prefix(*length);
  }
  out.codes.assign(body.begin(), body.end());
  return out;
}

std::optional<Ack> read_ack(std::string_view body) {
  if (body.size() < 2) return std::nullopt;
  return Ack{read_u16(body.data()),
             body.size() > 2 ? static_cast<std::uint8_t>(body[2]) : std::uint8_t{0}};
}

}  // namespace millrace::loadtest
