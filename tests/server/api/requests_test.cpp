// What the management API makes of requests: whose page asks, and what is to be published.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "protocol/properties.hpp"
#include "server/api/publish_query.hpp"
#include "server/api/rights.hpp"

namespace millrace::server {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

bool is_cross(Pairs headers) {
  HttpRequest request;
  request.headers = std::move(headers);
  request.headers.emplace_back("host", "localhost:9464");
  return is_cross_origin(request);
}

TEST(CrossOrigin, IsWhatABrowserSaysOfAPageFromElsewhere) {
  EXPECT_TRUE(is_cross({{"sec-fetch-site", "cross-site"}}));
  EXPECT_TRUE(is_cross({{"sec-fetch-site", "same-site"}}));
  EXPECT_TRUE(is_cross({{"origin", "http://evil.example"}}));
  EXPECT_TRUE(is_cross({{"origin", "http://localhost:9465"}}));
  EXPECT_TRUE(is_cross({{"origin", "null"}}));
  // Whatever else it says.
  EXPECT_TRUE(is_cross({{"sec-fetch-site", "cross-site"}, {"origin", "http://localhost:9464"}}));
}

TEST(CrossOrigin, IsNeitherTheServersOwnPageNorAProgram) {
  EXPECT_FALSE(is_cross({}));
  EXPECT_FALSE(is_cross({{"sec-fetch-site", "same-origin"}}));
  EXPECT_FALSE(is_cross({{"sec-fetch-site", "none"}}));
  EXPECT_FALSE(is_cross({{"origin", "http://localhost:9464"}}));
}

HttpRequest request_of(Pairs query) {
  HttpRequest request;
  request.rest = "a/b";
  request.body = "payload";
  request.query = std::move(query);
  return request;
}

TEST(PublishQuery, BecomesTheMessage) {
  const HttpRequest request = request_of({{"qos", "1"},
                                          {"retain", "true"},
                                          {"content_type", "text/plain"},
                                          {"expiry_seconds", "600"},
                                          {"payload_format_indicator", "1"},
                                          {"response_topic", "answers/here"},
                                          {"correlation_data", "AP8="},
                                          {"user_property", "k=v=w"}});
  std::string fault;
  const auto query = parse_publish_query(request, false, fault);
  ASSERT_TRUE(query) << fault;
  const broker::Message message = make_message(request, *query);
  EXPECT_EQ(message.topic(), "a/b");
  const auto payload = message.payload();
  EXPECT_EQ(std::string(payload.begin(), payload.end()), "payload");
  EXPECT_EQ(message.qos, 1);
  EXPECT_TRUE(message.retain);
  EXPECT_NE(message.expires_at_s, 0u);
  EXPECT_TRUE(message.has_properties);
  EXPECT_TRUE(message.request);
  const auto properties = protocol::decode_properties(
      message.properties().bytes, protocol::property_scope(protocol::PacketType::publish),
      protocol::Sender::client);
  ASSERT_TRUE(properties);
  EXPECT_EQ(properties->content_type, "text/plain");
  EXPECT_EQ(properties->payload_format_indicator, 1);
  EXPECT_EQ(properties->response_topic, "answers/here");
  EXPECT_EQ(properties->correlation_data, std::string("\0\xff", 2));
}

TEST(PublishQuery, IsAMessageWithoutPropertiesUnlessItNamesSome) {
  const HttpRequest request = request_of({});
  std::string fault;
  const auto query = parse_publish_query(request, true, fault);
  ASSERT_TRUE(query);
  EXPECT_TRUE(query->retain);
  const broker::Message message = make_message(request, *query);
  EXPECT_FALSE(message.has_properties);
  EXPECT_EQ(message.expires_at_s, 0u);
}

TEST(PublishQuery, NamesWhatMakesNoSense) {
  const Pairs faulty = {{"qos", "3"},
                        {"qos", ""},
                        {"retain", "yes"},
                        {"expiry_seconds", "-1"},
                        {"user_property", "x"},
                        {"content_type", "\xff"},
                        {"payload_format_indicator", "2"},
                        {"payload_format_indicator", "text"},
                        {"response_topic", ""},
                        {"response_topic", "a/+"},
                        {"correlation_data", "no base64"},
                        {"correlation_data", "AP8"},
                        {"nothing", "1"},
                        {"user_property", "=" + std::string(20'000, 'x')}};
  for (const auto& [name, value] : faulty) {
    std::string fault;
    EXPECT_FALSE(parse_publish_query(request_of({{name, value}}), false, fault)) << name;
    EXPECT_FALSE(fault.empty()) << name;
  }
}

}  // namespace
}  // namespace millrace::server
