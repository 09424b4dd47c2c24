// A link that goes down and comes up again, and upstreams that do wrong.
#include <chrono>
#include <thread>

#include "tests/server/upstream/link_case.hpp"

namespace millrace::server {
namespace {

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
  const OwnPort nobody;
  ScriptedBroker second;
  upstream.name = "north";
  upstream.addresses = {nobody.address(), second.address()};
  upstream.rules = {rule(Direction::out)};
  config.upstreams = {upstream};
  server = start_server(config);
  second.accept()->greet();
}

TEST_F(LinkTest, GoesOnAtTheAddressAfterTheOneThatItLost) {
  ScriptedBroker second;
  start({rule(Direction::out)}, {second.address()});
  {
    auto peer = link();
    wait_until_up();
  }
  {
    auto peer = second.accept();  // not the first, which would answer again
    peer->greet();
    wait_until_up();
  }
  link();
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

// Ten seconds: the time that an upstream has for its CONNACK.
TEST_F(LinkTest, GivesUpAnUpstreamThatAcceptsAndSaysNothing) {
  start({rule(Direction::in)});
  {
    auto peer = broker.accept();
    peer->expect<Connect>();
    EXPECT_TRUE(peer->ended());
  }
  link();
}

}  // namespace
}  // namespace millrace::server
