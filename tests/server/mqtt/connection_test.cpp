// Connections over real sockets, with the whole server behind them.
#include <gtest/gtest.h>

#include "server/observe/log.hpp"
#include "tests/server/running_server.hpp"

namespace millrace::server {
namespace {

using protocol::Connack;
using protocol::Disconnect;
using protocol::Packet;
using protocol::Pingreq;
using protocol::Pingresp;
using protocol::Puback;
using protocol::Publish;
using protocol::QoS;
using protocol::ReasonCode;
using protocol::Suback;
using protocol::Version;
using Bytes = std::vector<std::uint8_t>;

struct ConnectionTest : testing::Test {
  std::unique_ptr<Server> server = start_server();
  std::uint16_t port = server->port("tcp");
};

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

TEST_F(ConnectionTest, CarriesAMessageFromPublisherToSubscriber) {
  Peer subscriber(port), publisher(port, Version::v3_1_1);
  subscriber.connect("s");
  subscriber.subscribe("a/+");
  publisher.connect("p");
  publisher.send(Packet(publisher.publish_packet("a/b", "hi")));
  const Publish got = subscriber.expect<Publish>();
  EXPECT_EQ(got.topic, "a/b");
  EXPECT_EQ(got.payload, "hi");
}

TEST_F(ConnectionTest, TakesPacketsByteByByte) {
  Peer peer(port);
  const Bytes all = peer.encode(Packet(peer.connect_packet("c"))) + peer.encode(Packet(Pingreq{}));
  for (const std::uint8_t byte : all) peer.send(Bytes{byte});
  EXPECT_EQ(peer.expect<Connack>().reason, ReasonCode::success);
  peer.expect<Pingresp>();
}

TEST_F(ConnectionTest, AnswersWhatCameWithConnectAfterConnack) {
  Peer peer(port);
  protocol::Subscribe subscribe;
  subscribe.packet_id = 9;
  subscribe.subscriptions.push_back({"t", QoS::at_most_once, false, false, {}});
  peer.send(peer.encode(Packet(peer.connect_packet("c"))) + peer.encode(Packet(Pingreq{})) +
            peer.encode(Packet(subscribe)) + peer.encode(Packet(peer.publish_packet("t", "x"))));
  peer.expect<Connack>();
  EXPECT_EQ(peer.expect<Suback>().packet_id, 9);
  EXPECT_EQ(peer.expect<Publish>().payload, "x");
  peer.expect<Pingresp>();
}

TEST_F(ConnectionTest, AssemblesPacketsLargerThanTheReceiveBuffer) {
  Peer subscriber(port), publisher(port);
  subscriber.connect("s");
  subscriber.subscribe("big");
  publisher.connect("p");
  for (const std::size_t bytes : {10'000u, 40'000u, 65'530u, 200'000u, 1'000'000u}) {
    std::string payload(bytes, 'x');
    payload += std::to_string(bytes);
    publisher.send(Packet(publisher.publish_packet("big", payload)));
    EXPECT_EQ(subscriber.expect<Publish>().payload, payload);
  }
}

TEST_F(ConnectionTest, KeepsTheOrderOfManyMessagesOfAllSizes) {
  Peer subscriber(port), publisher(port);
  subscriber.connect("s");
  subscriber.subscribe("t", QoS::at_least_once);
  publisher.connect("p");
  Bytes all;
  constexpr int count = 500;
  for (int i = 1; i <= count; ++i) {
    Publish publish =
        publisher.publish_packet("t", std::to_string(i) + std::string((i * 37) % 600, '.'));
    publish.qos = QoS::at_least_once;
    publish.packet_id = static_cast<std::uint16_t>(i);
    all = std::move(all) + publisher.encode(Packet(publish));
  }
  publisher.send(all);
  for (int i = 1; i <= count; ++i) {
    const Publish got = subscriber.expect<Publish>();
    ASSERT_EQ(std::stoi(got.payload), i);
    Puback ack;
    ack.packet_id = got.packet_id;
    subscriber.send(Packet(ack));
  }
}

TEST_F(ConnectionTest, EndsAPeerThatDoesNotBeginWithConnect) {
  Peer peer(port);
  peer.send(Packet(Pingreq{}));
  EXPECT_TRUE(peer.ended());
}

TEST_F(ConnectionTest, EndsASecondConnectWithProtocolError) {
  Peer peer(port);
  peer.connect("c");
  peer.send(Packet(peer.connect_packet("c")));
  EXPECT_EQ(peer.expect<Disconnect>().reason, ReasonCode::protocol_error);
  EXPECT_TRUE(peer.ended());
}

TEST_F(ConnectionTest, NamesTheFaultToAVersion5PeerAndNothingToOthers) {
  const Bytes publish_qos3 = {0x36, 0x03, 0x00, 0x01, 'a'};
  Peer five(port), three(port, Version::v3_1_1);
  five.connect("five");
  three.connect("three");
  five.send(publish_qos3);
  three.send(publish_qos3);
  EXPECT_EQ(five.expect<Disconnect>().reason, ReasonCode::malformed_packet);
  EXPECT_TRUE(five.ended());
  EXPECT_TRUE(three.ended());
}

TEST_F(ConnectionTest, RefusesAPacketThatIsTooLargeByItsHeader) {
  Peer peer(port);
  peer.connect("c");
  peer.send(Bytes{0x30, 0xFF, 0xFF, 0xFF, 0x7F});
  EXPECT_EQ(peer.expect<Disconnect>().reason, ReasonCode::packet_too_large);
  EXPECT_TRUE(peer.ended());
}

TEST_F(ConnectionTest, TellsTheEarlierConnectionOfATakeover) {
  Peer earlier(port), later(port);
  earlier.connect("same");
  EXPECT_EQ(later.connect("same").reason, ReasonCode::success);
  EXPECT_EQ(earlier.expect<Disconnect>().reason, ReasonCode::session_taken_over);
  EXPECT_TRUE(earlier.ended());
}

TEST_F(ConnectionTest, AssignsAClientIdentifierWhereThereIsNone) {
  Peer one(port), other(port);
  const auto first = one.connect("").properties.assigned_client_identifier;
  const auto second = other.connect("").properties.assigned_client_identifier;
  ASSERT_TRUE(first && second);
  EXPECT_NE(*first, *second);
}

TEST_F(ConnectionTest, ResolvesTopicAliases) {
  Peer subscriber(port), publisher(port);
  subscriber.connect("s");
  subscriber.subscribe("a");
  ASSERT_GT(publisher.connect("p").properties.topic_alias_maximum.value_or(0), 0);
  Publish publish = publisher.publish_packet("a", "1");
  publish.properties.topic_alias = 1;
  publisher.send(Packet(publish));
  publish.topic.clear();
  publish.payload = "2";
  publisher.send(Packet(publish));
  EXPECT_EQ(subscriber.expect<Publish>().payload, "1");
  const Publish second = subscriber.expect<Publish>();
  EXPECT_EQ(second.topic, "a");
  EXPECT_EQ(second.payload, "2");
  publish.properties.topic_alias = 9999;
  publisher.send(Packet(publish));
  EXPECT_EQ(publisher.expect<Disconnect>().reason, ReasonCode::topic_alias_invalid);
}

TEST_F(ConnectionTest, AcknowledgesAndDropsWhatIsPublishedToLatest) {
  Peer five(port), three(port, Version::v3_1_1);
  five.connect("five");
  three.connect("three");
  for (Peer* peer : {&five, &three}) {
    Publish publish = peer->publish_packet("$latest/a", "x");
    publish.qos = QoS::at_least_once;
    publish.packet_id = 5;
    peer->send(Packet(publish));
  }
  EXPECT_EQ(five.expect<Puback>().reason, ReasonCode::topic_name_invalid);
  EXPECT_EQ(three.expect<Puback>().packet_id, 5);
}

TEST_F(ConnectionTest, PublishesTheWillOfALostConnectionAlone) {
  Peer watcher(port);
  watcher.connect("watcher");
  watcher.subscribe("will/#");
  const auto with_will = [](Peer& peer, std::string topic) {
    protocol::Connect connect = peer.connect_packet(topic);
    connect.will = protocol::Will{topic, "gone", QoS::at_most_once, false, {}};
    peer.send(Packet(connect));
    peer.expect<Connack>();
  };
  {
    Peer polite(port), lost(port);
    with_will(polite, "will/polite");
    with_will(lost, "will/lost");
    polite.send(Packet(Disconnect{}));
    EXPECT_TRUE(polite.ended());
  }
  EXPECT_EQ(watcher.expect<Publish>().topic, "will/lost");
}

TEST_F(ConnectionTest, RefusesToKeepASessionThatWasToEndWithItsConnection) {
  Peer peer(port);
  peer.connect("c");
  Disconnect disconnect;
  disconnect.properties.session_expiry_interval = 10;
  peer.send(Packet(disconnect));
  EXPECT_EQ(peer.expect<Disconnect>().reason, ReasonCode::protocol_error);
}

TEST_F(ConnectionTest, EndsAtOnceAfterDisconnect) {
  Peer peer(port);
  peer.connect("c");
  peer.send(Packet(Pingreq{}));
  peer.send(Packet(Disconnect{}));
  peer.expect<Pingresp>();
  EXPECT_TRUE(peer.ended());
  EXPECT_TRUE(peer.is_reset());  // both halves of it
}

TEST_F(ConnectionTest, TellsItsClientsWhenTheServerEnds) {
  Peer five(port), three(port, Version::v3_1_1);
  five.connect("five");
  three.connect("three");
  std::thread draining([&] { EXPECT_TRUE(server->drain()); });
  EXPECT_EQ(five.expect<Disconnect>().reason, ReasonCode::server_shutting_down);
  EXPECT_TRUE(five.ended());
  EXPECT_TRUE(three.ended());
  ::shutdown(five.socket(), SHUT_WR);
  ::shutdown(three.socket(), SHUT_WR);
  draining.join();
  EXPECT_EQ(server->connection_count(), 0u);
}

TEST(ConnectionLimits, NeverReadsAheadOfTheProcessorWithoutEnd) {
  Config config = test_config();
  config.connection.unapplied_commands = 4;
  config.connection.unapplied_bytes = 256;
  const auto server = start_server(config);
  Peer subscriber(server->port("tcp")), publisher(server->port("tcp"));
  subscriber.connect("s");
  subscriber.subscribe("t", QoS::at_least_once);
  publisher.connect("p");
  for (int i = 0; i < 200; ++i) {
    publisher.send(Packet(publisher.publish_packet("t", std::to_string(i))));
  }
  for (int i = 0; i < 200; ++i) EXPECT_EQ(subscriber.expect<Publish>().payload, std::to_string(i));
}

TEST(ConnectionLimits, CountsUnacknowledgedMessagesAgainstReceiveMaximum) {
  Config config = test_config();
  config.receive_maximum = 2;
  const auto server = start_server(config);
  Peer peer(server->port("tcp"));
  EXPECT_EQ(peer.connect("c").properties.receive_maximum, 2);
  Bytes all;
  for (std::uint16_t id = 1; id <= 3; ++id) {
    Publish publish = peer.publish_packet("t", "x");
    publish.qos = QoS::exactly_once;
    publish.packet_id = id;
    all = std::move(all) + peer.encode(Packet(publish));
  }
  peer.send(all);
  for (;;) {
    auto packet = peer.receive();
    ASSERT_TRUE(packet);
    if (std::holds_alternative<protocol::Pubrec>(*packet)) continue;
    ASSERT_TRUE(std::holds_alternative<Disconnect>(*packet));
    EXPECT_EQ(std::get<Disconnect>(*packet).reason, ReasonCode::receive_maximum_exceeded);
    break;
  }
}

TEST(ConnectionLimits, EndsAPeerThatNeverSaysConnect) {
  Config config = test_config();
  config.connect_timeout_seconds = 1;
  const auto server = start_server(config);
  Peer silent(server->port("tcp"));
  EXPECT_TRUE(silent.ended());
}

TEST(ConnectionLimits, EndsAClientThatIsSilentForOneAndAHalfKeepAlives) {
  const auto server = start_server();
  Peer peer(server->port("tcp"));
  protocol::Connect connect = peer.connect_packet("c");
  connect.keep_alive_seconds = 1;
  peer.send(Packet(connect));
  peer.expect<Connack>();
  EXPECT_EQ(peer.expect<Disconnect>().reason, ReasonCode::keep_alive_timeout);
}

TEST(ListenerTest, SaysWhichPortIsTaken) {
  const auto server = start_server();
  Config second = test_config();
  second.listeners[0].port = server->port("tcp");
  try {
    start_server(second);
    FAIL() << "the port is taken";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find(std::to_string(second.listeners[0].port)),
              std::string::npos);
  }
}

}  // namespace
}  // namespace millrace::server
