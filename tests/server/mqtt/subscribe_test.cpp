// What a SUBSCRIBE asks for of its deliveries, and what SUBACK says of that, over real sockets.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/server/running_server.hpp"

namespace millrace::server {
namespace {

using protocol::Packet;
using protocol::QoS;
using protocol::ReasonCode;
using protocol::Suback;
using protocol::UserProperty;
using protocol::Version;
using Properties = std::vector<UserProperty>;

struct SubscribeTest : testing::Test {
  std::unique_ptr<Server> server;
  std::uint16_t port = 0;

  SubscribeTest() { start(test_config()); }
  void start(const Config& config) {
    server.reset();
    server = start_server(config);
    port = server->port("tcp");
  }
  static protocol::Subscribe subscribe_packet(const std::vector<std::string>& filters,
                                              Properties properties = {}) {
    protocol::Subscribe subscribe;
    subscribe.packet_id = 7;
    for (const std::string& filter : filters) {
      subscribe.subscriptions.push_back({filter, QoS::at_most_once, false, false, {}});
    }
    subscribe.properties.user_properties = std::move(properties);
    return subscribe;
  }
  Suback suback_to(const std::vector<std::string>& filters, Properties properties = {},
                   Version version = Version::v5) const {
    Peer peer(port, version);
    peer.connect("reader");
    peer.send(Packet(subscribe_packet(filters, std::move(properties))));
    return peer.expect<Suback>();
  }
};

TEST_F(SubscribeTest, SaysWhatWasGranted) {
  const Suback suback =
      suback_to({"a", "b/#"}, {{"max-rate-hz", "2"}, {"budget-bytes-per-s", "20000"}});
  EXPECT_EQ(suback.properties.user_properties,
            (Properties{{"granted", "delivery=latest;max-rate-hz=2;budget-bytes-per-s=20000"}}));
  EXPECT_FALSE(suback.properties.reason_string);
}

TEST_F(SubscribeTest, SaysItForEachFilterWhereThatDiffers) {
  const Suback suback = suback_to({"$latest;max-rate-hz=4/a", "b", "$share/g/c", "$latest/#/d"},
                                  {{"budget-bytes-per-s", "1000"}});
  EXPECT_EQ(suback.properties.user_properties,
            (Properties{{"granted", "delivery=latest;max-rate-hz=4;budget-bytes-per-s=1000"},
                        {"granted", "delivery=adaptive;budget-bytes-per-s=1000"},
                        {"granted", "delivery=every"},
                        {"granted", ""}}));
}

TEST_F(SubscribeTest, SaysWhatAnOperatorGrantsInstead) {
  Config config = test_config();
  config.delivery.rules.emplace_back();
  config.delivery.rules.back().budget_bytes_per_s = 500;
  start(config);
  EXPECT_EQ(suback_to({"a"}, {{"budget-bytes-per-s", "9000"}}).properties.user_properties,
            (Properties{{"granted", "delivery=adaptive;budget-bytes-per-s=500"}}));
}

TEST_F(SubscribeTest, FiltersWhatIsUnchangedByAFieldForMqtt311) {
  Peer reader(port, Version::v3_1_1);
  reader.connect("reader");
  reader.subscribe("$latest;delta=1;field=%2Ft/a");
  Peer publisher(port);
  publisher.connect("publisher");
  for (const char* payload : {R"({"t":1})", R"({"t":1.5})", R"({"t":2})", R"({"x":2})"}) {
    auto publish = publisher.publish_packet("a", payload);
    publish.qos = QoS::at_least_once;
    publish.packet_id = 1;
    publisher.send(Packet(publish));
    publisher.expect<protocol::Puback>();
  }
  for (const char* payload : {R"({"t":1})", R"({"t":2})", R"({"x":2})"}) {
    EXPECT_EQ(reader.expect<protocol::Publish>().payload, payload);
  }
}

TEST_F(SubscribeTest, SaysNothingToWhoAskedForNothing) {
  const Suback suback = suback_to({"a", "$latest/b"}, {{"some", "property"}});
  EXPECT_EQ(suback.properties, protocol::Properties{});
}

TEST_F(SubscribeTest, RefusesAValueThatMeansNothingAndSaysWhy) {
  const Suback suback = suback_to({"a", "b"}, {{"budget-bytes-per-s", "much"}});
  EXPECT_EQ(suback.reasons,
            (std::vector<ReasonCode>(2, ReasonCode::implementation_specific_error)));
  EXPECT_EQ(suback.properties.reason_string, "budget-bytes-per-s must be a whole number above 0");
}

TEST_F(SubscribeTest, RefusesAFilterWithOptionsThatThereAreNot) {
  const Suback suback = suback_to({"$latest;speed=9/a", "b"});
  EXPECT_EQ(suback.reasons,
            (std::vector<ReasonCode>{ReasonCode::topic_filter_invalid, ReasonCode::success}));
  EXPECT_EQ(suback.properties.reason_string, "there is no such option of the prefix: speed=9");
  EXPECT_TRUE(suback_to({"$latest;speed=9/a"}, {}, Version::v3_1_1).reasons.front() >=
              ReasonCode::unspecified_error);
}

TEST_F(SubscribeTest, GivesNoReasonsToAClientThatWantsNone) {
  Peer peer(port);
  auto connect = peer.connect_packet("reader");
  connect.properties.request_problem_information = 0;
  peer.send(Packet(connect));
  peer.expect<protocol::Connack>();
  peer.send(Packet(subscribe_packet({"a"}, {{"max-rate-hz", "2"}})));
  EXPECT_EQ(peer.expect<Suback>().properties, protocol::Properties{});
  peer.send(Packet(subscribe_packet({"a"}, {{"max-rate-hz", "x"}})));
  EXPECT_EQ(peer.expect<Suback>().properties, protocol::Properties{});
}

TEST_F(SubscribeTest, LeavesOutWhatTheClientHasNoRoomFor) {
  Peer peer(port);
  auto connect = peer.connect_packet("reader");
  connect.properties.maximum_packet_size = 40;
  peer.send(Packet(connect));
  peer.expect<protocol::Connack>();
  peer.send(Packet(subscribe_packet({"a"}, {{"max-rate-hz", "2"}})));
  const Suback suback = peer.expect<Suback>();
  EXPECT_EQ(suback.reasons, std::vector<ReasonCode>{ReasonCode::success});
  EXPECT_EQ(suback.properties, protocol::Properties{});
}

TEST_F(SubscribeTest, TakesOptionsOfAPrefixFromMqtt311) {
  Peer reader(port, Version::v3_1_1);
  reader.connect("reader");
  reader.subscribe("$latest;max-rate-hz=0.001/a");
  Peer publisher(port);
  publisher.connect("publisher");
  for (int i = 0; i < 10; ++i) {
    auto publish = publisher.publish_packet("a", std::to_string(i));
    publish.qos = QoS::at_least_once;
    publish.packet_id = 1;
    publisher.send(Packet(publish));
    publisher.expect<protocol::Puback>();
  }
  EXPECT_EQ(reader.expect<protocol::Publish>().payload, "0");
  reader.send(Packet(protocol::Pingreq{}));
  reader.expect<protocol::Pingresp>();  // and not the others
}

TEST_F(SubscribeTest, TakesNoPublishToAPrefixWithOptions) {
  Peer peer(port);
  peer.connect("publisher");
  auto publish = peer.publish_packet("$latest;max-rate-hz=1/a", "x");
  publish.qos = QoS::at_least_once;
  publish.packet_id = 1;
  peer.send(Packet(publish));
  EXPECT_EQ(peer.expect<protocol::Puback>().reason, ReasonCode::topic_name_invalid);
}

}  // namespace
}  // namespace millrace::server
