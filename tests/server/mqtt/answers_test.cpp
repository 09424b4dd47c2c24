// Answers keep the order of their questions, and CONNECT is answered first, whatever shares its
// segment. Over real sockets, with the whole server behind them.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

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
using protocol::Unsuback;
using protocol::Version;
using Bytes = std::vector<std::uint8_t>;

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

const Bytes malformed_subscribe = {0x82, 0x02, 0x00, 0x01};

struct AnswersTest : testing::Test {
  std::unique_ptr<Server> server = start_server();
  std::uint16_t port = server->port("tcp");

  static Bytes subscribe(Peer& peer, std::string filter, std::uint16_t packet_id) {
    protocol::Subscribe packet;
    packet.packet_id = packet_id;
    packet.subscriptions.push_back({std::move(filter), QoS::at_least_once, false, false, {}});
    return peer.encode(Packet(packet));
  }
  static Bytes unsubscribe(Peer& peer, std::string filter, std::uint16_t packet_id) {
    protocol::Unsubscribe packet;
    packet.packet_id = packet_id;
    packet.filters = {std::move(filter)};
    return peer.encode(Packet(packet));
  }
  static Bytes publish(Peer& peer, std::string topic, std::uint16_t packet_id = 0) {
    Publish packet = peer.publish_packet(std::move(topic), "x");
    packet.packet_id = packet_id;
    if (packet_id != 0) packet.qos = QoS::at_least_once;
    return peer.encode(Packet(packet));
  }
  static Bytes ping(Peer& peer) { return peer.encode(Packet(Pingreq{})); }
  static Bytes connect(Peer& peer, std::string client_id) {
    return peer.encode(Packet(peer.connect_packet(std::move(client_id))));
  }
};

TEST_F(AnswersTest, PingrespStaysBehindWhatWasAskedForBeforeIt) {
  Peer peer(port);
  peer.connect("c");
  for (int round = 0; round < 50; ++round) {
    peer.send(subscribe(peer, "t", 1) + ping(peer) + publish(peer, "t", 2) + ping(peer) +
              unsubscribe(peer, "t", 3) + ping(peer));
    // Which answers have come by each PINGRESP. (They may overtake it, not it them.)
    const std::vector<std::set<std::string_view>> needed_by_ping = {
        {"SUBACK"}, {"SUBACK", "PUBACK", "PUBLISH"}, {"SUBACK", "PUBACK", "PUBLISH", "UNSUBACK"}};
    std::set<std::string_view> seen;
    for (const auto& needed : needed_by_ping) {
      for (;;) {
        const auto packet = peer.receive();
        ASSERT_TRUE(packet);
        if (std::holds_alternative<Pingresp>(*packet)) break;
        seen.insert(to_string(protocol::packet_type(*packet)));
        if (const auto* got = std::get_if<Publish>(&*packet)) {
          peer.send(Packet(Puback{got->packet_id, {}, {}}));
        }
      }
      EXPECT_TRUE(std::ranges::includes(seen, needed)) << needed.size() << " answers come first";
    }
  }
}

TEST_F(AnswersTest, PingrespStaysBehindAllOfTheMessagesThatItsSegmentBrought) {
  Peer peer(port);
  peer.connect("c");
  peer.subscribe("t");
  Bytes all;
  for (int i = 0; i < 300; ++i) all = std::move(all) + publish(peer, "t");
  peer.send(all + ping(peer));
  for (int i = 0; i < 300; ++i) peer.expect<Publish>();
  peer.expect<Pingresp>();
}

TEST_F(AnswersTest, ConnectAndPingAndDisconnectInOneSegmentAreAnsweredInOrder) {
  for (const Version version : {Version::v3_1_1, Version::v5}) {
    Peer peer(port, version);
    peer.send(connect(peer, "c") + ping(peer) + peer.encode(Packet(Disconnect{})));
    EXPECT_EQ(peer.expect<Connack>().reason, ReasonCode::success);
    peer.expect<Pingresp>();
    EXPECT_TRUE(peer.ended());
  }
}

// [MQTT-3.1.4-4]: the CONNECT was good, and the PUBLISH too; the fault comes after both.
TEST_F(AnswersTest, AGoodConnectGetsItsConnackHoweverSoonAFaultFollows) {
  Peer watcher(port);
  watcher.connect("watcher");
  watcher.subscribe("seg");
  Peer five(port);
  five.send(connect(five, "five") + publish(five, "seg", 7) + malformed_subscribe);
  EXPECT_EQ(five.expect<Connack>().reason, ReasonCode::success);
  EXPECT_EQ(five.expect<Puback>().packet_id, 7);
  EXPECT_EQ(five.expect<Disconnect>().reason, ReasonCode::malformed_packet);
  EXPECT_TRUE(five.ended());
  watcher.expect<Publish>();
  Peer three(port, Version::v3_1_1);
  three.send(connect(three, "three") + malformed_subscribe);
  EXPECT_EQ(three.expect<Connack>().reason, ReasonCode::success);
  EXPECT_TRUE(three.ended());
}

// [MQTT-3.1.4-6]
TEST_F(AnswersTest, NothingBehindARefusedConnectIsDelivered) {
  Peer watcher(port);
  watcher.connect("watcher");
  watcher.subscribe("#");
  Peer small(port);
  protocol::Connect packet = small.connect_packet("small");
  packet.properties.maximum_packet_size = 10;  // CONNACK does not fit
  small.send(small.encode(Packet(packet)) + publish(small, "refused"));
  EXPECT_EQ(small.expect<Connack>().reason, ReasonCode::packet_too_large);
  EXPECT_TRUE(small.ended());
  Peer will(port);
  packet = will.connect_packet("will");
  packet.will = protocol::Will{"$latest/x", "x", QoS::at_most_once, false, {}};
  will.send(will.encode(Packet(packet)) + publish(will, "refused"));
  EXPECT_EQ(will.expect<Connack>().reason, ReasonCode::topic_name_invalid);
  watcher.send(publish(watcher, "fence"));
  EXPECT_EQ(watcher.expect<Publish>().topic, "fence");
}

TEST_F(AnswersTest, WhatWasAskedForBeforeDisconnectIsAnswered) {
  Peer peer(port);
  peer.connect("c");
  peer.send(subscribe(peer, "t", 1) + publish(peer, "u", 2) + ping(peer) +
            peer.encode(Packet(Disconnect{})));
  peer.expect<Suback>();
  peer.expect<Puback>();
  peer.expect<Pingresp>();
  EXPECT_TRUE(peer.ended());
}

TEST(AnswersLimits, ARefusalByTheProcessorIsAnsweredAndTheRestIsNotDelivered) {
  Config config = test_config();
  config.session.count_max = 1;
  const auto server = start_server(config);
  Peer watcher(server->port("tcp"));
  watcher.connect("watcher");
  watcher.subscribe("#");
  for (const Bytes& last : {Bytes{0xC0, 0}, malformed_subscribe, Bytes{0xE0, 0}}) {
    Peer peer(server->port("tcp"));
    peer.send(peer.encode(Packet(peer.connect_packet("second"))) +
              peer.encode(Packet(peer.publish_packet("refused", "x"))) + last);
    EXPECT_EQ(peer.expect<Connack>().reason, ReasonCode::quota_exceeded);
    EXPECT_TRUE(peer.ended());
  }
  watcher.send(Packet(watcher.publish_packet("fence", "x")));
  EXPECT_EQ(watcher.expect<Publish>().topic, "fence");
}

}  // namespace
}  // namespace millrace::server
