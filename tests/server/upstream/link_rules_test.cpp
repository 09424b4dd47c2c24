// Of a link's rules: acknowledgements by the upstream, demand, and what a reload changes.
#include "tests/server/upstream/link_case.hpp"

namespace millrace::server {
namespace {

// --- Acknowledged by the upstream ----------------------------------------------------------------

UpstreamRule rule_with_ack(std::string filter = "#", std::string local = "",
                           std::string remote = "") {
  UpstreamRule made = rule(Direction::out, std::move(filter), std::move(local), std::move(remote));
  made.ack = AckBy::upstream;
  return made;
}

TEST_F(LinkTest, AcknowledgesWhenTheUpstreamDoes) {
  start({rule_with_ack("a/#")});
  publisher = client("publisher");
  Publish packet = publisher->publish_packet("a/1", "1");
  packet.qos = QoS::at_least_once;
  packet.packet_id = 7;
  publisher->send(Packet(packet));  // before there is a link
  packet.topic = "b";
  packet.packet_id = 8;
  publisher->send(Packet(packet));
  EXPECT_EQ(publisher->expect<Puback>().packet_id, 8) << "no rule is about it";
  auto peer = link();
  Puback puback;
  puback.packet_id = peer->expect<Publish>().packet_id;
  peer->send(Packet(puback));
  const Puback got = publisher->expect<Puback>();
  EXPECT_EQ(got.packet_id, 7);
  EXPECT_EQ(got.reason, ReasonCode::success);
}

TEST_F(LinkTest, TellsThePublisherWhatTheUpstreamRefuses) {
  start({rule_with_ack()});
  auto peer = link();
  publisher = client("publisher");
  Publish packet = publisher->publish_packet("t", "1");
  packet.qos = QoS::exactly_once;
  packet.packet_id = 7;
  publisher->send(Packet(packet));
  Pubrec refusal;
  refusal.packet_id = peer->expect<Publish>().packet_id;
  refusal.reason = ReasonCode::not_authorized;
  peer->send(Packet(refusal));
  EXPECT_EQ(publisher->expect<Pubrec>().reason, ReasonCode::not_authorized);
}

TEST_F(LinkTest, AcknowledgesNothingThatHasNoNameThere) {
  start({rule_with_ack("#", "", std::string(60'000, 'x') + "/")});
  auto peer = link();
  wait_until_up();
  publisher = client("publisher");
  Publish packet = publisher->publish_packet(std::string(6'000, 'y'), "1");
  packet.qos = QoS::at_least_once;
  packet.packet_id = 7;
  publisher->send(Packet(packet));
  EXPECT_EQ(publisher->expect<Puback>().reason, ReasonCode::implementation_specific_error);
}

TEST_F(LinkTest, HasNoUseForAnUpstreamThatNeverAcknowledges) {
  start({rule_with_ack()});
  protocol::Properties properties;
  properties.maximum_qos = 0;
  auto peer = link(false, properties);
  EXPECT_TRUE(peer->ended());
}

// --- Demand --------------------------------------------------------------------------------------

UpstreamRule rule_on_demand(std::string filter, std::string local = "", std::string remote = "") {
  UpstreamRule made = rule(Direction::in, std::move(filter), std::move(local), std::move(remote));
  made.demand.reset();
  return made;
}

TEST_F(LinkTest, AsksForARuleWhileSomebodyHereSubscribesToSomethingOfIt) {
  start({rule_on_demand("a/#", "here/", "there/"), rule_on_demand("b/#")});
  auto peer = link();
  wait_until_up();
  auto one = client("one", "here/a/1");
  EXPECT_EQ(peer->grant().subscriptions.at(0).filter, "there/a/#");
  peer->publish("there/a/1", "1");
  EXPECT_EQ(one->expect<Publish>().payload, "1");
  auto two = client("two", "here/+/2");
  one.reset();
  two.reset();
  EXPECT_THAT(peer->expect<Unsubscribe>().filters, ElementsAre("there/a/#"));
  auto all = client("all", "#");  // before the answer: it is asked for again after it
  protocol::Unsuback unsuback;
  unsuback.packet_id = 65535;
  unsuback.reasons = {ReasonCode::success};
  peer->send(Packet(unsuback));
  const Subscribe again = peer->grant();
  ASSERT_EQ(again.subscriptions.size(), 2u);
  EXPECT_EQ(again.subscriptions[0].filter, "there/a/#");
  EXPECT_EQ(again.subscriptions[1].filter, "b/#");
}

TEST_F(LinkTest, AsksForWhatWasWantedBeforeItCameUp) {
  start({rule_on_demand("a/#"), rule_on_demand("b/#")});
  auto reader = client("reader", "b/1");
  auto peer = link();
  const Subscribe subscribe = peer->grant();
  ASSERT_EQ(subscribe.subscriptions.size(), 1u);
  EXPECT_EQ(subscribe.subscriptions[0].filter, "b/#");
}

TEST_F(LinkTest, GivesUpWhatItsSessionThereHasAndNobodyHereWants) {
  start({rule_on_demand("a/#")});
  auto peer = link(true);
  EXPECT_THAT(peer->expect<Unsubscribe>().filters, ElementsAre("a/#"));
}

TEST_F(LinkTest, IsNotAskedByItsOwnSubscriptions) {
  start({rule_on_demand("a/#", "", "there/"), rule(Direction::out, "#", "", "out/")});
  auto peer = link();
  wait_until_up();
  publish("t", "1");
  peer->expect<Publish>();  // and not SUBSCRIBE
  auto reader = client("reader", "a/1");
  EXPECT_EQ(peer->grant().subscriptions.at(0).filter, "there/a/#");
}

TEST_F(LinkTest, WatchesTheDemandForItsNewRules) {
  start({rule_on_demand("a/#")});
  auto peer = link();
  auto reader = client("reader", "b/1");
  wait_until_up();
  config.upstreams[0].rules = {rule_on_demand("b/#")};
  reload(config);
  peer->expect<Disconnect>();
  peer = link();
  for (;;) {  // what the rules before it had asked for goes
    const auto packet = peer->receive();
    ASSERT_TRUE(packet);
    if (const auto* subscribe = std::get_if<Subscribe>(&*packet)) {
      EXPECT_EQ(subscribe->subscriptions.at(0).filter, "b/#");
      break;
    }
    protocol::Unsuback unsuback;
    unsuback.packet_id = std::get<Unsubscribe>(*packet).packet_id;
    unsuback.reasons = {ReasonCode::success};
    peer->send(Packet(unsuback));
  }
}

// --- Reload --------------------------------------------------------------------------------------

TEST_F(LinkTest, GoesWithItsUpstreamAndSaysGoodbye) {
  start({rule(Direction::out)});
  auto peer = link();
  wait_until_up();
  config.upstreams.clear();
  reload(config);
  EXPECT_EQ(peer->expect<Disconnect>().reason, ReasonCode::normal_disconnection);
  EXPECT_TRUE(peer->ended());
}

TEST_F(LinkTest, ComesBackAfterTheLinkThatWasRemovedHasLeft) {
  start({rule(Direction::out)});
  auto first = link();
  wait_until_up();
  const auto upstreams = std::exchange(config.upstreams, {});
  reload(config);
  first->expect<Disconnect>();
  config.upstreams = upstreams;
  reload(config);
  auto second = link();
  wait_until_up();
  first.reset();  // whatever of the first one is left goes now
  publish("t", "1", 1);
  EXPECT_EQ(second->expect<Publish>().payload, "1");
  wait_until_up();
}

TEST_F(LinkTest, StaysWhereAReloadChangesAnotherUpstream) {
  start({rule(Direction::out)});
  auto peer = link();
  wait_until_up();
  ScriptedBroker second;
  UpstreamConfig south = upstream;
  south.name = "south";
  south.addresses = {second.address()};
  config.upstreams.push_back(south);
  reload(config);
  second.accept()->greet();
  publish("t", "1");
  EXPECT_EQ(peer->expect<Publish>().payload, "1");
}

TEST_F(LinkTest, TakesItsNewRulesAndKeepsWhatWaits) {
  start({rule(Direction::both, "a/#")});
  auto peer = link();
  peer->grant();
  wait_until_up();
  publish("a/1", "spooled", 1);
  peer->expect<Publish>();
  config.upstreams[0].rules = {rule(Direction::out, "a/1"), rule(Direction::both, "b/#")};
  reload(config);
  peer->expect<Disconnect>();
  peer = link(true);
  EXPECT_THAT(peer->expect<Unsubscribe>().filters, ElementsAre("a/#"));
  const Publish again = peer->expect<Publish>();
  EXPECT_EQ(again.payload, "spooled");
  // Nobody has answered: the next link asks again.
  peer.reset();
  peer = link(true);
  EXPECT_THAT(peer->expect<Unsubscribe>().filters, ElementsAre("a/#"));
}

struct LinkWhoseRulesChange : LinkTest {
  void check(MqttVersion version) {
    upstream.version = version;
    start({rule(Direction::out, "a/#")});
    auto peer = link();
    wait_until_up();
    publish("a/1", "1", 1);
    peer->expect<Publish>();  // it is not acknowledged there
    config.upstreams[0].rules = {rule(Direction::out, "b/#")};
    reload(config);
    peer.reset();
    peer = link(true);
    publish("b/1", "2", 1);
    EXPECT_EQ(peer->expect<Publish>().topic, "b/1");
  }
};

TEST_F(LinkWhoseRulesChange, SendsNothingOfARuleThatIsGoneIn5) {
  check(MqttVersion::v5);
}

TEST_F(LinkWhoseRulesChange, SendsNothingOfARuleThatIsGoneIn3_1_1) {
  check(MqttVersion::v3_1_1);
}

}  // namespace
}  // namespace millrace::server
