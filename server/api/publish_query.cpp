#include "server/api/publish_query.hpp"

#include <utility>
#include <vector>

#include "core/broker/inbox.hpp"
#include "protocol/topic.hpp"
#include "protocol/utf8.hpp"
#include "server/auth/crypto.hpp"
#include "server/http/target.hpp"

namespace millrace::server {

namespace {

constexpr std::size_t property_bytes_max = 16 * 1024;

std::string fault_of(const std::string& name, const std::string& value, PublishQuery& query) {
  if (name == "qos") {
    if (value.size() != 1 || value[0] < '0' || value[0] > '2') return "qos: 0, 1 or 2";
    query.qos = static_cast<std::uint8_t>(value[0] - '0');
  } else if (name == "retain") {
    if (value != "true" && value != "false") return "retain: true or false";
    query.retain = value == "true";
  } else if (name == "content_type") {
    query.properties.content_type = value;
  } else if (name == "expiry_seconds") {
    const auto seconds = parse_number<std::uint32_t>(value);
    if (!seconds) return "expiry_seconds: not a number of seconds";
    query.properties.message_expiry_interval = seconds;
  } else if (name == "payload_format_indicator") {
    if (value != "0" && value != "1") return "payload_format_indicator: 0 or 1";
    query.properties.payload_format_indicator = static_cast<std::uint8_t>(value[0] - '0');
  } else if (name == "response_topic") {
    if (!protocol::valid_topic_name(value)) return "response_topic: not a topic name";
    query.properties.response_topic = value;
  } else if (name == "correlation_data") {
    query.properties.correlation_data = from_base64(value);
    if (!query.properties.correlation_data) return "correlation_data: not base64";
  } else if (name == "user_property") {
    const auto equals = value.find('=');
    if (equals == std::string::npos) return "user_property: name=value";
    query.properties.user_properties.emplace_back(value.substr(0, equals),
                                                  value.substr(equals + 1));
  } else {
    return "unknown parameter: " + name +
           " (there are qos, retain, content_type, expiry_seconds, payload_format_indicator, "
           "response_topic, correlation_data, user_property)";
  }
  return protocol::valid_utf8(value) ? "" : name + ": not UTF-8";
}

}  // namespace

std::optional<PublishQuery> parse_publish_query(const HttpRequest& request, bool retain,
                                                std::string& fault) {
  PublishQuery query;
  query.retain = retain;
  for (const auto& [name, value] : request.query) {
    fault = fault_of(name, value, query);
    if (!fault.empty()) return std::nullopt;
  }
  if (protocol::properties_bytes(query.properties) > property_bytes_max) {
    fault = "the properties are too long";
    return std::nullopt;
  }
  return query;
}

broker::Message make_message(const HttpRequest& request, const PublishQuery& query) {
  std::vector<std::uint8_t> properties;
  protocol::encode_properties(query.properties,
                              protocol::property_scope(protocol::PacketType::publish), properties);
  const std::size_t bytes = protocol::properties_bytes(query.properties);
  broker::MessageParts parts;
  parts.topic = request.rest;
  parts.payload = {reinterpret_cast<const std::uint8_t*>(request.body.data()), request.body.size()};
  parts.properties.bytes = std::span(properties).last(bytes);  // without their length
  parts.qos = query.qos;
  parts.packet_id = query.qos > 0 ? 1 : 0;
  parts.retain = query.retain;
  return broker::build_message(parts, broker::Inbox::now_ns());
}

}  // namespace millrace::server
