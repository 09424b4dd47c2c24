#include "server/upstream/nats_headers.hpp"

#include <algorithm>
#include <charconv>

#include "protocol/properties.hpp"

namespace millrace::server {

namespace {

using protocol::Properties;

enum Name : std::size_t {
  retain,
  payload_format,
  expiry,
  content_type,
  response_topic,
  correlation,
  user
};

constexpr std::size_t text_bytes_max = 65'535;
constexpr std::string_view hex_digits = "0123456789ABCDEF";
constexpr auto publish_scope = protocol::property_scope(protocol::PacketType::publish);

std::string escaped(std::string_view text, bool is_name = false) {
  std::string made;
  made.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte == 0x7F || c == '%' || (is_name && c == '=')) {
      made += '%';
      made += hex_digits[byte >> 4];
      made += hex_digits[byte & 15];
    } else {
      made += c;
    }
  }
  return made;
}

// What is no escape is taken as it is.
std::string plain(std::string_view text) {
  std::string made;
  made.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      const auto high = hex_digits.find(text[i + 1]);
      const auto low = hex_digits.find(text[i + 2]);
      if (high != std::string_view::npos && low != std::string_view::npos) {
        made += static_cast<char>(16 * high + low);
        i += 2;
        continue;
      }
    }
    made += text[i];
  }
  return made;
}

template <class Number>
bool read_number(const std::string& text, std::optional<Number>& number) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (number || error != std::errc() || end != text.data() + text.size()) return false;
  number = value;
  return true;
}

bool read_text(const std::string& text, std::optional<std::string>& into) {
  if (into) return false;
  into = plain(text);
  return into->size() <= text_bytes_max;
}

bool read_user(const std::string& text, std::vector<protocol::UserProperty>& users) {
  const auto equals = text.find('=');
  if (equals == std::string::npos) return false;
  users.emplace_back(plain(std::string_view(text).substr(0, equals)),
                     plain(std::string_view(text).substr(equals + 1)));
  return users.back().first.size() <= text_bytes_max &&
         users.back().second.size() <= text_bytes_max;
}

bool read_header(std::size_t name, const std::string& value, Properties& properties,
                 bool& retained) {
  switch (name) {
    case retain:
      retained = value == "1";
      return retained || value == "0";
    case payload_format:
      return read_number(value, properties.payload_format_indicator);
    case expiry:
      return read_number(value, properties.message_expiry_interval);
    case content_type:
      return read_text(value, properties.content_type);
    case response_topic:
      return read_text(value, properties.response_topic);
    case correlation:
      return read_text(value, properties.correlation_data);
    case user:
      return read_user(value, properties.user_properties);
    default:
      return true;
  }
}

}  // namespace

NatsHeaders to_nats_headers(std::span<const std::uint8_t> bytes,
                            std::optional<std::uint32_t> expiry_s, bool retained) {
  NatsHeaders headers;
  const auto add = [&](Name name, std::string value) {
    headers.emplace_back(nats_header_names[name], std::move(value));
  };
  if (retained) add(retain, "1");
  if (expiry_s) add(expiry, std::to_string(*expiry_s));
  if (bytes.empty()) return headers;
  // A server may have added Subscription Identifiers; they are not carried.
  const auto decoded = protocol::decode_properties(bytes, publish_scope, protocol::Sender::server);
  if (!decoded) return headers;
  if (decoded->payload_format_indicator) {
    add(payload_format, std::to_string(*decoded->payload_format_indicator));
  }
  if (decoded->content_type) add(content_type, escaped(*decoded->content_type));
  if (decoded->response_topic) add(response_topic, escaped(*decoded->response_topic));
  if (decoded->correlation_data) add(correlation, escaped(*decoded->correlation_data));
  for (const auto& [name, value] : decoded->user_properties) {
    add(user, escaped(name, true) + "=" + escaped(value));
  }
  return headers;
}

protocol::RawProperties FromNatsHeaders::raw() const {
  protocol::RawProperties made;
  made.bytes = properties;
  made.expiry_at =
      protocol::expiry_offset(properties, static_cast<std::uint32_t>(properties.size()));
  return made;
}

std::optional<FromNatsHeaders> from_nats_headers(const NatsHeaders& headers) {
  FromNatsHeaders made;
  Properties properties;
  for (const auto& [name, value] : headers) {
    const auto found = std::ranges::find(nats_header_names, std::string_view(name));
    const auto index = static_cast<std::size_t>(found - nats_header_names.begin());
    if (!read_header(index, value, properties, made.retain)) return std::nullopt;
  }
  if (properties == Properties{}) return made;
  std::vector<std::uint8_t> bytes;
  protocol::encode_properties(properties, publish_scope, bytes);
  // Without the length in front, which has a bit set in each byte but its last.
  const auto last = std::ranges::find_if(bytes, [](std::uint8_t byte) { return byte < 0x80; });
  made.properties.assign(last + 1, bytes.end());
  const auto reason =
      protocol::check_properties(made.properties, publish_scope, protocol::Sender::client);
  if (protocol::is_failure(reason)) return std::nullopt;
  return made;
}

}  // namespace millrace::server
