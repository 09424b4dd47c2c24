// What bridges of other brokers, and clients that read the standards more freely, rely on.
#include <gtest/gtest.h>

#include "tests/server/running_server.hpp"

namespace millrace::server {
namespace {

using protocol::Connack;
using protocol::Connect;
using protocol::Packet;
using protocol::Pingreq;
using protocol::Pingresp;
using protocol::Puback;
using protocol::Publish;
using protocol::Pubrec;
using protocol::QoS;
using protocol::ReasonCode;
using protocol::Version;
using Bytes = std::vector<std::uint8_t>;

struct BridgeTest : testing::Test {
  std::unique_ptr<Server> server = start_server();
  std::uint16_t port = server->port("tcp");
};

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

// Exactly the bytes that come.
Bytes received(Peer& peer, std::size_t count) {
  Bytes bytes(count);
  const ssize_t got = ::recv(peer.socket(), bytes.data(), count, MSG_WAITALL);
  bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return bytes;
}

Connack connect_bridge(Peer& peer, const std::string& client_id, bool bridge_bit) {
  Connect connect = peer.connect_packet(client_id);
  connect.bridge = bridge_bit;
  connect.will = protocol::Will{
      "$SYS/broker/connection/" + client_id + "/state", "0", QoS::at_least_once, true, {}};
  peer.send(Packet(connect));
  return peer.expect<Connack>();
}

TEST_F(BridgeTest, ABridgeGetsNoEchoAndKeepsTheRetainFlag) {
  for (const Version version : {Version::v3_1, Version::v3_1_1}) {
    Peer bridge(port, version), other(port);
    other.connect("other");
    EXPECT_EQ(connect_bridge(bridge, "bridge", true).reason, ReasonCode::success);
    bridge.subscribe("t/#");
    bridge.send(Packet(bridge.publish_packet("t/own", "echo")));
    Publish retained = other.publish_packet("t/other", "live");
    retained.retain = true;
    other.send(Packet(retained));
    const Publish got = bridge.expect<Publish>();
    EXPECT_EQ(got.topic, "t/other");
    EXPECT_TRUE(got.retain);
  }
}

TEST_F(BridgeTest, ABridgeWritesItsOwnStateBelowSysAndNothingElseThere) {
  Peer watcher(port);
  watcher.connect("watcher");
  watcher.subscribe("$SYS/broker/connection/#");
  for (const Version version : {Version::v3_1_1, Version::v5}) {
    Peer bridge(port, version);
    ASSERT_EQ(connect_bridge(bridge, "host.link", version != Version::v5).reason,
              ReasonCode::success);
    for (const char* name : {"other", "host.link"}) {
      Publish state =
          bridge.publish_packet(std::string("$SYS/broker/connection/") + name + "/state", "1");
      state.retain = true;
      bridge.send(Packet(state));
    }
    const Publish up = watcher.expect<Publish>();
    EXPECT_EQ(up.topic, "$SYS/broker/connection/host.link/state");
    EXPECT_EQ(up.payload, "1");
    ::shutdown(bridge.socket(), SHUT_RDWR);
    EXPECT_EQ(watcher.expect<Publish>().payload, "0");  // the will
  }
  Peer later(port);
  later.connect("later");
  later.subscribe("$SYS/broker/connection/+/state");
  const Publish kept = later.expect<Publish>();
  EXPECT_EQ(kept.payload, "0");
  EXPECT_TRUE(kept.retain);
}

TEST_F(BridgeTest, AWillElsewhereBelowSysDoesNotRefuseTheConnectionAndIsDropped) {
  Peer watcher(port);
  watcher.connect("watcher");
  watcher.subscribe("$SYS/broker/mine/#");
  watcher.subscribe("t");
  {
    Peer client(port, Version::v3_1_1);
    Connect connect = client.connect_packet("client");
    connect.will = protocol::Will{"$SYS/broker/mine/x", "no", QoS::at_most_once, false, {}};
    client.send(Packet(connect));
    EXPECT_EQ(client.expect<Connack>().reason, ReasonCode::success);
  }
  Peer takes_over(port);  // by then the will would be published
  takes_over.connect("client");
  takes_over.send(Packet(takes_over.publish_packet("t", "after")));
  EXPECT_EQ(watcher.expect<Publish>().payload, "after");
}

TEST_F(BridgeTest, AnAcknowledgementBelow0x80IsSuccess) {
  Peer subscriber(port), publisher(port);
  subscriber.connect("s");
  subscriber.subscribe("t", QoS::exactly_once);
  publisher.connect("p");
  for (const QoS qos : {QoS::at_least_once, QoS::exactly_once}) {
    Publish publish = publisher.publish_packet("t", "x");
    publish.qos = qos;
    publish.packet_id = 1;
    publisher.send(Packet(publish));
    const Publish got = subscriber.expect<Publish>();
    if (qos == QoS::at_least_once) {
      subscriber.send(Packet(Puback{got.packet_id, ReasonCode::no_matching_subscribers, {}}));
      subscriber.send(Packet(Pingreq{}));
      subscriber.expect<Pingresp>();
    } else {
      subscriber.send(Packet(Pubrec{got.packet_id, ReasonCode::no_matching_subscribers, {}}));
      EXPECT_EQ(subscriber.expect<protocol::Pubrel>().reason, ReasonCode::success);
    }
  }
}

TEST_F(BridgeTest, ALevelAbove5IsRefusedAsMqtt5Does) {
  Peer peer(port);
  peer.send(Bytes{0x10, 0x0F, 0, 4, 'M', 'Q', 'T', 'T', 6, 2, 0, 0, 0, 0, 2, 'i', 'd'});
  EXPECT_EQ(peer.expect<Connack>().reason, ReasonCode::unsupported_protocol_version);
  EXPECT_TRUE(peer.ended());
}

TEST_F(BridgeTest, LowBitsOf31sConnectAndPaddedLengthsAreTaken) {
  Peer bits(port, Version::v3_1);
  bits.send(Bytes{0x1B, 0x10, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 0, 0, 2, 'i', 'd'});
  EXPECT_EQ(bits.expect<Connack>().reason, ReasonCode::success);
  Peer padded(port, Version::v3_1_1);
  padded.send(Bytes{0x10, 0x8E, 0x80, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 2, 'i', 'e'});
  EXPECT_EQ(padded.expect<Connack>().reason, ReasonCode::success);
}

TEST_F(BridgeTest, WhatIsNotCanonicalIsNotPassedOnAsItCame) {
  Peer subscriber(port, Version::v3_1_1), publisher(port, Version::v3_1);
  subscriber.connect("s");
  subscriber.subscribe("#");
  publisher.connect("p");
  publisher.send(Bytes{0x30, 0x85, 0x80, 0x00, 0, 1, 't', 'x', 'y'});         // padded
  publisher.send(Bytes{0x38, 0x05, 0, 1, 't', 'z', 'z'});                     // DUP at QoS 0
  EXPECT_EQ(received(subscriber, 14), (Bytes{0x30, 5, 0, 1, 't', 'x', 'y'} +  //
                                       Bytes{0x30, 5, 0, 1, 't', 'z', 'z'}));
}

TEST_F(BridgeTest, TooManyLevelsAreAnsweredAsTheVersionCan) {
  const std::string deep(200, '/');  // 201 levels
  Peer five(port), three(port, Version::v3_1_1);
  five.connect("five");
  three.connect("three");
  for (Peer* peer : {&five, &three}) {
    Publish publish = peer->publish_packet(deep, "x");
    publish.qos = QoS::at_least_once;
    publish.packet_id = 5;
    peer->send(Packet(publish));
  }
  EXPECT_EQ(five.expect<Puback>().reason, ReasonCode::topic_name_invalid);
  EXPECT_TRUE(three.ended());
  Peer whole(port);
  whole.connect("whole");
  whole.subscribe(deep.substr(1));
  whole.send(Packet(whole.publish_packet(deep.substr(1), "200 levels")));
  EXPECT_EQ(whole.expect<Publish>().payload, "200 levels");
}

TEST_F(BridgeTest, ARefusedSubscriptionIsAnsweredPositivelyIn31) {
  Peer old(port, Version::v3_1);
  old.connect("old");
  old.send(Bytes{0x82, 0x12, 0,   7,   0,   13,  '$', 'l', 'a', 't',
                 'e',  's',  't', '/', '+', '+', '/', 'x', '#', 1});
  EXPECT_EQ(received(old, 5), (Bytes{0x90, 3, 0, 7, 0}));
}

}  // namespace
}  // namespace millrace::server
