#include "server/upstream/nats_headers.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "protocol/properties.hpp"

namespace millrace::server {
namespace {

using protocol::Properties;

constexpr auto scope = protocol::property_scope(protocol::PacketType::publish);

std::vector<std::uint8_t> encoded(const Properties& properties) {
  std::vector<std::uint8_t> bytes;
  protocol::encode_properties(properties, scope, bytes);
  const auto last = std::ranges::find_if(bytes, [](std::uint8_t byte) { return byte < 0x80; });
  return {last + 1, bytes.end()};
}

Properties decoded(const std::vector<std::uint8_t>& bytes) {
  const auto properties = protocol::decode_properties(bytes, scope, protocol::Sender::client);
  EXPECT_TRUE(properties);
  return properties ? *properties : Properties{};
}

TEST(NatsHeaders, CarryEachPropertyOfAPublish) {
  Properties properties;
  properties.payload_format_indicator = 1;
  properties.content_type = "text/plain; charset=utf-8";
  properties.response_topic = "answers/\xC3\xA4 b";
  properties.correlation_data = std::string("\0\r\n%\xFF", 5);
  properties.user_properties = {{"a", "1"}, {"b=c", "x = y"}, {"a", "2"}, {"", ""}};
  const NatsHeaders headers = to_nats_headers(encoded(properties), 30, true);
  for (const auto& [name, value] : headers) {
    EXPECT_TRUE(std::ranges::none_of(value, [](char c) {
      return static_cast<unsigned char>(c) <= ' ' || c == 0x7F;
    })) << value;
  }
  const auto back = from_nats_headers(headers);
  ASSERT_TRUE(back);
  EXPECT_TRUE(back->retain);
  properties.message_expiry_interval = 30;
  EXPECT_EQ(decoded(back->properties), properties);
  EXPECT_NE(back->raw().expiry_at, protocol::RawProperties::nowhere);
}

TEST(NatsHeaders, AreNoneForAMessageThatSaysNoMore) {
  EXPECT_TRUE(to_nats_headers({}, std::nullopt, false).empty());
  const auto nothing = from_nats_headers({});
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(nothing->retain);
  EXPECT_TRUE(nothing->properties.empty());
}

TEST(NatsHeaders, LeaveOutWhatIsOfOneConnection) {
  Properties properties;
  properties.subscription_identifiers = {7};
  properties.content_type = "t";
  std::vector<std::uint8_t> bytes;
  const NatsHeaders headers = to_nats_headers(encoded(properties), std::nullopt, false);
  ASSERT_EQ(headers.size(), 1u);
  EXPECT_EQ(headers[0].second, "t");
}

TEST(NatsHeaders, RefuseWhatIsNoProperty) {
  const std::vector<NatsHeaders> faulty = {
      {{"Mqtt-Retain", "yes"}},
      {{"Mqtt-Payload-Format", "2"}},
      {{"Mqtt-Payload-Format", "1"}, {"Mqtt-Payload-Format", "1"}},
      {{"Mqtt-Expiry", "4294967296"}},
      {{"Mqtt-Expiry", "-1"}},
      {{"Mqtt-Expiry", ""}},
      {{"Mqtt-Content-Type", "\xFF"}},
      {{"Mqtt-Content-Type", std::string(65'536, 'x')}},
      {{"Mqtt-Response-Topic", "a/#"}},
      {{"Mqtt-Response-Topic", ""}},
      {{"Mqtt-User", "no equals sign"}},
      {{"Mqtt-User", "a=%00"}},
      {{"Mqtt-User", "a=" + std::string(65'536, 'x')}},
  };
  for (const NatsHeaders& headers : faulty) {
    EXPECT_FALSE(from_nats_headers(headers)) << headers[0].first << ": " << headers[0].second;
  }
}

}  // namespace
}  // namespace millrace::server
