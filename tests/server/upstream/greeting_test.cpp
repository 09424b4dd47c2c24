#include "server/upstream/greeting.hpp"

#include <gtest/gtest.h>

#include "protocol/decode.hpp"

namespace millrace::server {
namespace {

using protocol::Connack;
using protocol::Connect;
using protocol::Version;

UpstreamPlanRef plan_of(UpstreamConfig config, std::optional<std::string> password = {}) {
  config.name = "north";
  config.addresses = {"mqtt://127.0.0.1"};
  UpstreamFiles files;
  files.password = std::move(password);
  return make_upstream_plan(config, files, 1);
}

Connect sent(const UpstreamPlanRef& plan, Dialect dialect) {
  const auto bytes = encode_link_connect(*plan, Config(), dialect);
  const auto frame = **protocol::frame(bytes, bytes.size(), protocol::first_packet_version);
  return std::get<Connect>(*protocol::decode(frame, bytes, Version::v5));
}

TEST(Greeting, AsksForASessionThatOutlivesTheLink) {
  const Connect connect = sent(plan_of({}), Dialect::v5);
  EXPECT_EQ(connect.version, Version::v5);
  EXPECT_FALSE(connect.clean_start);
  EXPECT_EQ(connect.properties.session_expiry_interval, Config().session.expiry_max_seconds);
  EXPECT_EQ(connect.properties.maximum_packet_size, Config().packet_bytes_max);
  EXPECT_TRUE(connect.client_id.ends_with(".north"));

  UpstreamConfig clean;
  clean.clean = true;
  EXPECT_TRUE(sent(plan_of(clean), Dialect::v5).clean_start);
  EXPECT_FALSE(sent(plan_of(clean), Dialect::v5).properties.session_expiry_interval);
}

TEST(Greeting, SaysIn3_1_1ThatItIsABridge) {
  EXPECT_TRUE(sent(plan_of({}), Dialect::v3_1_1_bridge).bridge);
  EXPECT_EQ(sent(plan_of({}), Dialect::v3_1_1_bridge).version, Version::v3_1_1);
  EXPECT_FALSE(sent(plan_of({}), Dialect::v3_1_1).bridge);
}

TEST(Greeting, ShowsUserAndPassword) {
  UpstreamConfig config;
  config.user = "edge";
  config.client_id = "me";
  config.keep_alive_seconds = 17;
  for (const auto dialect : {Dialect::v5, Dialect::v3_1_1_bridge, Dialect::v3_1_1}) {
    const Connect connect = sent(plan_of(config, "secret"), dialect);
    EXPECT_EQ(connect.user_name, "edge");
    EXPECT_EQ(connect.password, "secret");
    EXPECT_EQ(connect.client_id, "me");
    EXPECT_EQ(connect.keep_alive_seconds, 17);
  }
}

TEST(Greeting, TriesTheDialectsInTurn) {
  UpstreamConfig any;
  EXPECT_EQ(first_dialect(any), Dialect::v5);
  EXPECT_EQ(next_dialect(any, Dialect::v5), Dialect::v3_1_1_bridge);
  EXPECT_EQ(next_dialect(any, Dialect::v3_1_1_bridge), Dialect::v3_1_1);
  EXPECT_EQ(next_dialect(any, Dialect::v3_1_1), Dialect::v5);
  UpstreamConfig old;
  old.version = MqttVersion::v3_1_1;
  EXPECT_EQ(first_dialect(old), Dialect::v3_1_1_bridge);
  EXPECT_EQ(next_dialect(old, Dialect::v3_1_1), Dialect::v3_1_1_bridge);
  UpstreamConfig only_5;
  only_5.version = MqttVersion::v5;
  EXPECT_EQ(next_dialect(only_5, Dialect::v5), Dialect::v5);
}

TEST(Greeting, KeepsToWhatTheUpstreamAnnounces) {
  Connack connack;
  connack.session_present = true;
  connack.properties.receive_maximum = 20;
  connack.properties.maximum_qos = 1;
  connack.properties.retain_available = 0;
  connack.properties.wildcard_subscription_available = 0;
  connack.properties.server_keep_alive = 9;
  connack.properties.topic_alias_maximum = 5;
  LinkTerms terms = terms_of(connack, *plan_of({}), Config(), Dialect::v5);
  EXPECT_TRUE(terms.session_present);
  EXPECT_EQ(terms.receive_maximum, 20);
  EXPECT_EQ(terms.qos_max, 1u);
  EXPECT_FALSE(terms.takes_retained);
  EXPECT_FALSE(terms.takes_wildcards);
  EXPECT_EQ(terms.keep_alive_seconds, 9u);
  EXPECT_EQ(terms.aliases_max, 5);
  // A packet that makes an alias known is larger by it.
  connack.properties.maximum_packet_size = 1000;
  terms = terms_of(connack, *plan_of({}), Config(), Dialect::v5);
  EXPECT_EQ(terms.packet_bytes_max, 1000u);
  EXPECT_EQ(terms.aliases_max, 0);
}

TEST(Greeting, HasNoMoreInflightThanTheServerAllows) {
  for (const auto dialect : {Dialect::v5, Dialect::v3_1_1_bridge, Dialect::v3_1_1}) {
    const LinkTerms terms = terms_of(Connack(), *plan_of({}), Config(), dialect);
    EXPECT_EQ(terms.receive_maximum, Config().inflight_max);
  }
}

TEST(Greeting, HasASessionThatNoClientCanName) {
  const auto plan = plan_of({});
  EXPECT_NE(plan->session.find('\0'), std::string::npos);
  EXPECT_NE(plan->session.front(), 'n');
}

}  // namespace
}  // namespace millrace::server
