// A link over real sockets: what crosses it, both ways.
#include "server/upstream/hops.hpp"
#include "tests/server/upstream/link_case.hpp"

namespace millrace::server {
namespace {

// --- Both ways -----------------------------------------------------------------------------------

TEST_F(LinkTest, SubscribesToWhatItsRulesLetIn) {
  start({rule(Direction::in, "a/#"), rule(Direction::out, "b/#"),
         rule(Direction::both, "c", "here/", "there/")});
  auto peer = link();
  const Subscribe subscribe = peer->grant();
  ASSERT_EQ(subscribe.subscriptions.size(), 2u);
  EXPECT_EQ(subscribe.subscriptions[0].filter, "a/#");
  EXPECT_EQ(subscribe.subscriptions[1].filter, "there/c");
  for (const auto& one : subscribe.subscriptions) {
    EXPECT_TRUE(one.no_local);
    EXPECT_TRUE(one.retain_as_published);
    EXPECT_EQ(one.qos, QoS::exactly_once);
  }
}

TEST_F(LinkTest, CarriesMessagesInWithTheirLocalNames) {
  start({rule(Direction::in, "#", "here/", "there/")});
  auto peer = link();
  peer->grant();
  auto reader = client("reader", "#");
  protocol::Properties properties;
  properties.content_type = "text/plain";
  properties.subscription_identifiers = {7};
  peer->publish("there/a", "1", 0, 0, false, properties);
  const Publish got = reader->expect<Publish>();
  EXPECT_EQ(got.topic, "here/a");
  EXPECT_EQ(got.payload, "1");
  EXPECT_EQ(got.properties.content_type, "text/plain");
  EXPECT_TRUE(got.properties.subscription_identifiers.empty()) << "the upstream's are its own";
}

TEST_F(LinkTest, CarriesMessagesOutWithTheirRemoteNames) {
  start({rule(Direction::out, "#", "here/", "there/")});
  auto peer = link();
  wait_until_up();
  protocol::Properties properties;
  properties.content_type = "text/plain";
  properties.user_properties = {{"a", "b"}};
  publish("elsewhere", "0");
  publish("here/a", "1", 0, false, properties);
  const Publish got = peer->expect<Publish>();
  EXPECT_EQ(got.topic, "there/a");
  EXPECT_EQ(got.payload, "1");
  EXPECT_EQ(got.properties.content_type, "text/plain");
  EXPECT_THAT(got.properties.user_properties,
              ElementsAre(Pair("a", "b"), Pair(hops_property, "01")));
}

// Properties that are too long to be copied for each receiver are sent from where they stand; those
// that a link has changed stand elsewhere.
TEST_F(LinkTest, CarriesLongPropertiesOut) {
  start({rule(Direction::out, "#", "here/", "there/")});
  auto peer = link();
  wait_until_up();
  protocol::Properties properties;
  properties.content_type = std::string(3'000, 'c');
  properties.message_expiry_interval = 100;
  properties.user_properties = {{"a", std::string(60'000, 'b')}};
  for (const char* payload : {"1", "2"}) publish("here/a", payload, 0, false, properties);
  for (const char* payload : {"1", "2"}) {
    const Publish got = peer->expect<Publish>();
    EXPECT_EQ(got.topic, "there/a");
    EXPECT_EQ(got.payload, payload);
    EXPECT_EQ(got.properties.content_type, properties.content_type);
    EXPECT_THAT(got.properties.user_properties,
                ElementsAre(properties.user_properties[0], Pair(hops_property, "01")));
  }
}

TEST_F(LinkTest, CompletesEveryQosInward) {
  start({rule(Direction::in)});
  auto peer = link();
  peer->grant();
  auto reader = client("reader", "t");
  peer->publish("t", "1", 1, 1);
  EXPECT_EQ(peer->expect<Puback>().packet_id, 1);
  peer->publish("t", "2", 2, 2);
  EXPECT_EQ(peer->expect<Pubrec>().packet_id, 2);
  peer->publish("t", "2", 2, 2);  // sent again: taken once
  EXPECT_EQ(peer->expect<Pubrec>().packet_id, 2);
  Pubrel release;
  release.packet_id = 2;
  peer->send(Packet(release));
  EXPECT_EQ(peer->expect<Pubcomp>().reason, ReasonCode::success);
  peer->publish("t", "3");
  EXPECT_EQ(reader->expect<Publish>().payload, "1");
  EXPECT_EQ(reader->expect<Publish>().payload, "2");
  EXPECT_EQ(reader->expect<Publish>().payload, "3");
}

TEST_F(LinkTest, CompletesEveryQosOutward) {
  start({rule(Direction::out)});
  auto peer = link();
  wait_until_up();
  publish("t", "0", 0);
  publish("t", "1", 1);
  publish("t", "2", 2);
  EXPECT_EQ(peer->expect<Publish>().qos, QoS::at_most_once);
  const Publish one = peer->expect<Publish>();
  EXPECT_EQ(one.qos, QoS::at_least_once);
  Puback puback;
  puback.packet_id = one.packet_id;
  peer->send(Packet(puback));
  const Publish two = peer->expect<Publish>();
  EXPECT_EQ(two.qos, QoS::exactly_once);
  Pubrec pubrec;
  pubrec.packet_id = two.packet_id;
  peer->send(Packet(pubrec));
  EXPECT_EQ(peer->expect<Pubrel>().packet_id, two.packet_id);
}

TEST_F(LinkTest, CapsTheQosOfARule) {
  auto capped = rule(Direction::out);
  capped.qos_max = 1;
  start({capped});
  auto peer = link();
  wait_until_up();
  publish("t", "2", 2);
  EXPECT_EQ(peer->expect<Publish>().qos, QoS::at_least_once);
}

TEST_F(LinkTest, ResolvesTheUpstreamsTopicAliases) {
  start({rule(Direction::in)});
  auto peer = link();
  peer->grant();
  EXPECT_EQ(connect.properties.topic_alias_maximum, 256);
  auto reader = client("reader", "#");
  protocol::Properties alias;
  alias.topic_alias = 3;
  peer->publish("a/long/name", "1", 0, 0, false, alias);
  peer->publish("", "2", 0, 0, false, alias);
  EXPECT_EQ(reader->expect<Publish>().topic, "a/long/name");
  const Publish second = reader->expect<Publish>();
  EXPECT_EQ(second.topic, "a/long/name");
  EXPECT_EQ(second.payload, "2");
}

// --- Retained ------------------------------------------------------------------------------------

TEST_F(LinkTest, BringsRetainedMessagesAsSuch) {
  start({rule(Direction::in)});
  auto peer = link();
  peer->grant();
  peer->publish("kept", "1", 1, 1, true);
  peer->expect<Puback>();
  auto reader = client("reader", "kept");
  EXPECT_TRUE(reader->expect<Publish>().retain);
}

TEST_F(LinkTest, LeavesRetainOutWhereTheRuleSaysSo) {
  auto live = rule(Direction::both);
  live.retained = false;
  start({live});
  auto peer = link();
  const Subscribe subscribe = peer->grant();
  EXPECT_EQ(subscribe.subscriptions[0].retain_handling, protocol::RetainHandling::do_not_send);
  peer->publish("theirs", "1", 1, 1, true);
  peer->expect<Puback>();
  publish("ours", "2", 1, true);
  EXPECT_FALSE(peer->expect<Publish>().retain);
  auto reader = client("reader", "theirs");
  publish("theirs", "live");
  EXPECT_EQ(reader->expect<Publish>().payload, "live") << "theirs was not retained";
}

TEST_F(LinkTest, SendsWhatIsRetainedEachTimeItComesUp) {
  start({rule(Direction::out)});
  {
    auto peer = link();
    wait_until_up();
    publish("kept", "1", 0, true);
    EXPECT_TRUE(peer->expect<Publish>().retain);
  }
  auto peer = link();
  EXPECT_EQ(peer->expect<Publish>().payload, "1");
}

// --- Never back ----------------------------------------------------------------------------------

TEST_F(LinkTest, NeverSendsBackWhatItBrought) {
  start({rule(Direction::both)});
  {
    auto peer = link();
    peer->grant();
    for (int qos = 0; qos < 3; ++qos) {
      peer->publish("theirs/" + std::to_string(qos), "x", qos, static_cast<std::uint16_t>(qos),
                    true);
    }
    peer->expect<Puback>();
    peer->expect<Pubrec>();
    publish("ours", "1", 0, true);
    EXPECT_EQ(peer->expect<Publish>().topic, "ours");
  }
  // Nor what is retained of it, when the link comes up again.
  auto peer = link();
  std::vector<std::string> topics;
  for (;;) {
    auto packet = peer->receive();
    ASSERT_TRUE(packet);
    if (const auto* got = std::get_if<Publish>(&*packet)) {
      topics.push_back(got->topic);
      if (got->topic == "fence") break;
    } else if (std::holds_alternative<Subscribe>(*packet)) {
      wait_until_up();
      publish("fence", "");
    }
  }
  EXPECT_THAT(topics, ElementsAre("ours", "fence"));
}

TEST_F(LinkTest, DropsWhatHasCrossedTooManyLinks) {
  upstream.hops_max = 3;
  start({rule(Direction::both)});
  auto peer = link();
  peer->grant();
  auto reader = client("reader", "#");
  const auto crossed = [](const char* hops) {
    protocol::Properties properties;
    properties.user_properties = {{std::string(hops_property), hops}};
    return properties;
  };
  peer->publish("t", "three", 1, 1, false, crossed("03"));
  EXPECT_EQ(peer->expect<Puback>().reason, ReasonCode::implementation_specific_error);
  peer->publish("t", "two", 1, 2, false, crossed("02"));
  EXPECT_EQ(peer->expect<Puback>().reason, ReasonCode::success);
  const Publish brought = reader->expect<Publish>();
  EXPECT_EQ(brought.payload, "two");
  EXPECT_EQ(brought.properties.user_properties[0].second, "03") << "this link counts, too";
  // What would be refused there is not sent; and its place in the window is free again.
  publish("t", "three", 1, false, crossed("03"));
  publish("t", "two", 1, false, crossed("02"));
  const Publish got = peer->expect<Publish>();
  EXPECT_EQ(got.payload, "two");
  EXPECT_EQ(got.properties.user_properties[0].second, "03");
}

TEST_F(LinkTest, DropsWhatNoRuleLetsIn) {
  start({rule(Direction::in, "a/#")});
  auto peer = link();
  peer->grant();
  auto reader = client("reader", "#");
  peer->publish("b", "1", 1, 1);
  EXPECT_EQ(peer->expect<Puback>().reason, ReasonCode::topic_name_invalid);
  peer->publish("a/b", "2");
  EXPECT_EQ(reader->expect<Publish>().payload, "2");
}

}  // namespace
}  // namespace millrace::server
