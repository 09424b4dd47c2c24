// A link over real sockets, with the whole server behind it and a scripted upstream before it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "server/upstream/hops.hpp"
#include "tests/server/running_server.hpp"
#include "tests/server/upstream/scripted_broker.hpp"

namespace millrace::server {
namespace {

using protocol::Connack;
using protocol::Connect;
using protocol::Disconnect;
using protocol::Packet;
using protocol::Pingreq;
using protocol::Pingresp;
using protocol::Puback;
using protocol::Pubcomp;
using protocol::Publish;
using protocol::Pubrec;
using protocol::Pubrel;
using protocol::QoS;
using protocol::ReasonCode;
using protocol::Suback;
using protocol::Subscribe;
using protocol::Unsubscribe;
using protocol::Version;
using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

UpstreamRule rule(Direction direction, std::string filter = "#", std::string local = "",
                  std::string remote = "") {
  UpstreamRule made;
  made.direction = direction;
  made.filter = std::move(filter);
  made.local_prefix = std::move(local);
  made.remote_prefix = std::move(remote);
  if (direction == Direction::in) made.demand = false;
  return made;
}

struct LinkTest : testing::Test {
  void start(std::vector<UpstreamRule> rules) {
    upstream.name = "north";
    upstream.addresses = {broker.address()};
    upstream.rules = std::move(rules);
    upstream.retry_max_seconds = 1;
    config.upstreams = {upstream};
    server = start_server(config);
  }
  std::unique_ptr<LinkPeer> link(bool session_present = false,
                                 protocol::Properties properties = {}) {
    auto peer = broker.accept();
    connect = peer->greet(session_present, std::move(properties));
    return peer;
  }
  std::unique_ptr<Peer> client(const std::string& id, const std::string& filter = "") {
    auto peer = std::make_unique<Peer>(server->port("tcp"));
    peer->connect(id);
    if (!filter.empty()) peer->subscribe(filter, QoS::exactly_once);
    return peer;
  }
  void publish(std::string topic, std::string payload, int qos = 0, bool retain = false,
               protocol::Properties properties = {}) {
    if (!publisher) publisher = client("publisher");
    Publish packet = publisher->publish_packet(std::move(topic), std::move(payload));
    packet.qos = static_cast<QoS>(qos);
    packet.packet_id = qos > 0 ? 1 : 0;
    packet.retain = retain;
    packet.properties = std::move(properties);
    publisher->send(Packet(packet));
    if (qos == 1) publisher->expect<Puback>();
    if (qos != 2) return;
    publisher->expect<Pubrec>();
    Pubrel release;
    release.packet_id = 1;
    publisher->send(Packet(release));
    publisher->expect<Pubcomp>();
  }
  static protocol::Properties keep_alive_of_a_second() {
    protocol::Properties properties;
    properties.server_keep_alive = 1;
    return properties;
  }
  // Waits until the link has its session here: a client cannot see it, but for its state.
  void wait_until_up() {
    Peer watcher(server->port("tcp"));
    watcher.connect("watcher");
    watcher.subscribe("$SYS/broker/connection/north/state");
    while (watcher.expect<Publish>().payload != "1") {
    }
  }
  void reload(Config changed) {
    std::vector<ConfigFault> faults;
    auto settings = make_settings(changed, faults);
    ASSERT_NE(settings, nullptr);
    EXPECT_TRUE(server->reload(std::move(settings)));
  }

  ScriptedBroker broker;
  UpstreamConfig upstream;
  Config config = test_config();
  std::unique_ptr<Server> server;
  std::unique_ptr<Peer> publisher;
  Connect connect;  // of the last link()
};

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

// --- Down and up again ---------------------------------------------------------------------------

TEST_F(LinkTest, SendsAgainWhatWasNotAcknowledged) {
  start({rule(Direction::out)});
  {
    auto peer = link();
    wait_until_up();
    publish("t", "1", 1);
    EXPECT_FALSE(peer->expect<Publish>().dup);
  }
  auto peer = link(true);
  EXPECT_FALSE(connect.clean_start);
  const Publish again = peer->expect<Publish>();
  EXPECT_TRUE(again.dup);
  EXPECT_EQ(again.payload, "1");
}

TEST_F(LinkTest, KeepsWhatIsPublishedWhileItIsDown) {
  start({rule(Direction::out)});
  {
    auto peer = link();
    wait_until_up();
  }
  Peer watcher(server->port("tcp"));
  watcher.connect("state");
  watcher.subscribe("$SYS/broker/connection/north/state");
  while (watcher.expect<Publish>().payload != "0") {
  }
  for (const char* payload : {"1", "2", "3"}) publish("t", payload, 1);
  auto peer = link(true);
  for (const char* payload : {"1", "2", "3"}) EXPECT_EQ(peer->expect<Publish>().payload, payload);
}

TEST_F(LinkTest, KeepsWhatIsPublishedBeforeItFirstComesUp) {
  start({rule(Direction::out)});
  for (const char* payload : {"1", "2", "3"}) publish("t", payload, 1);
  auto peer = link();
  for (const char* payload : {"1", "2", "3"}) EXPECT_EQ(peer->expect<Publish>().payload, payload);
}

TEST_F(LinkTest, SendsTheNewestOfEachTopicWhenItComesUpInModeLatest) {
  auto latest = rule(Direction::out);
  latest.mode = DeliveryMode::latest;
  start({latest});
  for (const char* payload : {"1", "2", "3"}) publish("a", payload);
  publish("b", "4", 1);
  auto peer = link();
  const std::string first = peer->expect<Publish>().payload;
  const std::string second = peer->expect<Publish>().payload;
  EXPECT_THAT((std::vector{first, second}), UnorderedElementsAre("3", "4"));
}

TEST_F(LinkTest, FallsBackTo3_1_1WhereMqtt5IsRefused) {
  start({rule(Direction::both)});
  {
    auto peer = broker.accept();
    EXPECT_EQ(peer->expect<Connect>().version, Version::v5);
    peer->send(std::vector<std::uint8_t>{0x20, 2, 0, 1});  // as a server of 3.1.1 answers
    EXPECT_TRUE(peer->ended());
  }
  {
    auto peer = broker.accept();
    const Connect as_bridge = peer->expect<Connect>();
    EXPECT_EQ(as_bridge.version, Version::v3_1_1);
    EXPECT_TRUE(as_bridge.bridge);
    peer->send(std::vector<std::uint8_t>{0x20, 2, 0, 1});
  }
  auto peer = link();
  EXPECT_EQ(connect.version, Version::v3_1_1);
  EXPECT_FALSE(connect.bridge);
  // It has no way of keeping back what came from here: nothing is asked of it.
  wait_until_up();
  publish("t", "1");
  EXPECT_EQ(peer->expect<Publish>().payload, "1");
}

// The upstream may know more when it is back.
TEST_F(LinkTest, AsksForMqtt5AgainAfterALinkIn3_1_1) {
  start({rule(Direction::out)});
  {
    auto peer = broker.accept();
    peer->expect<Connect>();
    peer->send(std::vector<std::uint8_t>{0x20, 2, 0, 1});
    EXPECT_TRUE(peer->ended());
  }
  {
    auto peer = link();
    EXPECT_EQ(connect.version, Version::v3_1_1);
    wait_until_up();
  }
  link();
  EXPECT_EQ(connect.version, Version::v5);
}

TEST_F(LinkTest, AsksAgainForWhatWasRefused) {
  start({rule(Direction::both)});
  {
    auto peer = link();
    const auto subscribe = peer->expect<Subscribe>();
    Suback suback;
    suback.packet_id = subscribe.packet_id;
    suback.reasons = {ReasonCode::not_authorized};
    peer->send(Packet(suback));
    wait_until_up();
  }
  {
    auto peer = link(true);
    peer->grant();
    wait_until_up();
  }
  // What is granted is asked for once: a SUBSCRIBE would bring what is retained there once more.
  auto peer = link(true);
  wait_until_up();
  publish("t", "1");
  EXPECT_EQ(peer->expect<Publish>().payload, "1");
}

TEST_F(LinkTest, TriesItsAddressesInTurn) {
  ScriptedBroker second;
  upstream.name = "north";
  std::string nobody;
  {
    const ScriptedBroker gone;
    nobody = gone.address();
  }
  upstream.addresses = {nobody, second.address()};
  upstream.rules = {rule(Direction::out)};
  config.upstreams = {upstream};
  server = start_server(config);
  second.accept()->greet();
}

// --- Upstreams that do wrong ---------------------------------------------------------------------

// The link ends with that reason, and comes again.
void expect_fault(LinkTest& test, const std::vector<std::uint8_t>& bytes, ReasonCode reason) {
  auto peer = test.link();
  peer->grant();
  peer->send(bytes);
  EXPECT_EQ(peer->expect<Disconnect>().reason, reason);
  EXPECT_TRUE(peer->ended());
}

std::vector<std::uint8_t> publish_bytes(const std::string& topic) {
  std::string bytes = {0x30, static_cast<char>(topic.size() + 3), 0,
                       static_cast<char>(topic.size())};
  bytes += topic + '\0';
  return {bytes.begin(), bytes.end()};
}

TEST_F(LinkTest, EndsForWhateverBreaksTheProtocolAndComesAgain) {
  start({rule(Direction::in)});
  expect_fault(*this, {0x30, 0xFF, 0xFF, 0xFF, 0xFF}, ReasonCode::malformed_packet);
  expect_fault(*this, publish_bytes("a/+"), ReasonCode::topic_name_invalid);
  expect_fault(*this, {0x10, 2, 0, 0}, ReasonCode::protocol_error);  // CONNECT, from a server
  expect_fault(*this, {0x30, 0xFF, 0xFF, 0xFF, 0x7F}, ReasonCode::packet_too_large);
  expect_fault(*this, {0x90, 4, 0, 1, 0, 0}, ReasonCode::protocol_error);  // SUBACK to nothing
  // Everything else goes on.
  auto reader = client("reader", "t");
  publish("t", "1");
  EXPECT_EQ(reader->expect<Publish>().payload, "1");
}

TEST_F(LinkTest, TakesNothingBeforeConnack) {
  start({rule(Direction::in)});
  {
    auto peer = broker.accept();
    peer->expect<Connect>();
    peer->send(publish_bytes("t"));
    EXPECT_TRUE(peer->ended());
  }
  link();
}

TEST_F(LinkTest, TriesAgainAfterARefusal) {
  upstream.user = "edge";
  start({rule(Direction::in)});
  for (int i = 0; i < 2; ++i) {
    auto peer = broker.accept();
    EXPECT_EQ(peer->expect<Connect>().user_name, "edge");
    Connack connack;
    connack.reason = ReasonCode::bad_user_name_or_password;
    peer->send(Packet(connack));
    EXPECT_TRUE(peer->ended());
  }
  link();
}

// Ten seconds: the time that an upstream has for its CONNACK.
// Its answer to PINGREQ may stand behind all that it sent before, on a slow link for long.
TEST_F(LinkTest, StaysWithAnUpstreamThatSendsMuchBeforeItAnswers) {
  start({rule(Direction::in)});
  auto peer = link(false, keep_alive_of_a_second());
  peer->grant();
  auto reader = client("reader", "#");
  peer->expect<Pingreq>();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(7);
  while (std::chrono::steady_clock::now() < end) {
    peer->publish("t", "1");
    reader->expect<Publish>();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  peer->send(Packet(Pingresp{}));
  peer->expect<Pingreq>();
}

// So may the PINGREQ behind what was written before.
TEST_F(LinkTest, StaysWithAnUpstreamThatTakesLittle) {
  broker.take_little();
  start({rule(Direction::out)});
  auto peer = link(false, keep_alive_of_a_second());
  wait_until_up();
  constexpr int count = 100;
  for (int i = 0; i < count; ++i) publish("t", std::string(8192, 'x'));
  const auto fast_from = std::chrono::steady_clock::now() + std::chrono::seconds(9);
  for (int got = 0; got < count;) {
    const auto packet = peer->receive();
    ASSERT_TRUE(packet) << "the link ended after " << got;
    if (std::holds_alternative<Pingreq>(*packet)) peer->send(Packet(Pingresp{}));
    if (!std::holds_alternative<Publish>(*packet)) continue;
    ++got;
    if (std::chrono::steady_clock::now() < fast_from) {
      std::this_thread::sleep_for(std::chrono::milliseconds(400));
    }
  }
}

TEST_F(LinkTest, GivesUpAnUpstreamThatAnswersNoPingreq) {
  start({rule(Direction::out)});
  auto peer = link(false, keep_alive_of_a_second());
  peer->expect<Pingreq>();
  EXPECT_TRUE(peer->ended());
  link();
}

TEST_F(LinkTest, GivesUpAnUpstreamThatAcceptsAndSaysNothing) {
  start({rule(Direction::in)});
  {
    auto peer = broker.accept();
    peer->expect<Connect>();
    EXPECT_TRUE(peer->ended());
  }
  link();
}

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
