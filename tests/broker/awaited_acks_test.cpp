// Publishes whose acknowledgement waits for that of a link's peer.
#include "core/broker/awaited_acks.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::PacketType;
using protocol::ReasonCode;
using protocol::Version;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Peer& link(World& world, std::string id = "link", std::uint16_t origin = 3) {
  Peer& peer = world.peer(std::move(id), Version::v5);
  peer.origin = origin;
  return peer;
}

SubscriptionRequest confirming(std::string filter = "#", int qos = 2) {
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = std::move(filter);
  wanted.mode = Mode::every;
  wanted.qos = static_cast<std::uint8_t>(qos);
  wanted.no_local = true;
  wanted.confirms = true;
  return wanted;
}

// What a publisher was told, since the last call: by packet type and reason.
std::vector<std::pair<PacketType, ReasonCode>> told(Peer& peer) {
  peer.read();
  std::vector<std::pair<PacketType, ReasonCode>> result;
  for (const protocol::Packet& packet : std::exchange(peer.control, {})) {
    if (const auto* puback = std::get_if<protocol::Puback>(&packet)) {
      result.emplace_back(PacketType::puback, puback->reason);
    } else if (const auto* pubrec = std::get_if<protocol::Pubrec>(&packet)) {
      result.emplace_back(PacketType::pubrec, pubrec->reason);
    }
  }
  return result;
}

using ::testing::Pair;
const auto puback_success = Pair(PacketType::puback, ReasonCode::success);
const auto pubrec_success = Pair(PacketType::pubrec, ReasonCode::success);

Peer& publisher(World& world, Version version = Version::v5) {
  return world.peer("publisher", version).connect();
}

TEST(AwaitedAcks, FollowThoseOfTheLinksPeer) {
  for (const int qos : {1, 2}) {
    World world;
    Peer& there = link(world).connect(true, 100).subscribe(confirming());
    Peer& from = publisher(world).publish("t", "1", qos);
    there.read();
    EXPECT_THAT(told(from), IsEmpty());
    const auto type = qos == 1 ? PacketType::puback : PacketType::pubrec;
    there.acknowledge(type, there.got.at(0).packet_id);
    EXPECT_THAT(told(from), ElementsAre(Pair(type, ReasonCode::success)));
    there.read();
    if (qos == 2) there.acknowledge(PacketType::pubcomp, there.got.at(0).packet_id);
    EXPECT_THAT(told(from), IsEmpty()) << "once";
  }
}

TEST(AwaitedAcks, AreOfTheQosAtWhichTheMessageWasPublished) {
  World world;
  Peer& there = link(world).connect(true, 100).subscribe(confirming("#", 1));
  Peer& from = publisher(world).publish("t", "1", 2);
  there.read().acknowledge(PacketType::puback, there.got.at(0).packet_id);
  EXPECT_THAT(told(from), ElementsAre(pubrec_success));
}

TEST(AwaitedAcks, WaitWhileTheLinkIsDown) {
  World world;
  link(world).connect(true, 100).subscribe(confirming()).close();
  Peer& from = publisher(world).publish("t", "1", 1);
  EXPECT_THAT(told(from), IsEmpty());
  Peer& back = link(world).connect(false, 100).read();
  EXPECT_THAT(told(from), IsEmpty());
  back.close();  // before it was acknowledged: it is sent again
  Peer& again = link(world).connect(false, 100).read();
  again.acknowledge(PacketType::puback, again.got.at(0).packet_id);
  EXPECT_THAT(told(from), ElementsAre(puback_success));
}

TEST(AwaitedAcks, AreNotThoseOfOtherMessages) {
  World world;
  link(world).connect(true, 100).subscribe(confirming("a/#"));
  Peer& from = publisher(world).publish("b", "1", 1).publish("a/1", "2", 0);
  EXPECT_THAT(told(from),
              ElementsAre(Pair(PacketType::puback, ReasonCode::no_matching_subscribers)));
}

TEST(AwaitedAcks, WaitForEachOfTheLinks) {
  World world;
  Peer& one = link(world, "one", 3).connect(true, 100).subscribe(confirming());
  Peer& two = link(world, "two", 4).connect(true, 100).subscribe(confirming());
  Peer& from = publisher(world).publish("t", "1", 1);
  one.read().acknowledge(PacketType::puback, one.got.at(0).packet_id);
  EXPECT_THAT(told(from), IsEmpty());
  two.read().acknowledge(PacketType::puback, two.got.at(0).packet_id);
  EXPECT_THAT(told(from), ElementsAre(puback_success));
}

TEST(AwaitedAcks, AreWhatTheLinksPeerSays) {
  World world;
  Peer& there = link(world).connect(true, 100).subscribe(confirming());
  Peer& from = publisher(world).publish("t", "1", 1).publish("t", "2", 2);
  there.read();
  there.send(command::Puback{there.got.at(0).packet_id, ReasonCode::not_authorized});
  there.send(command::Pubrec{there.got.at(1).packet_id, ReasonCode::quota_exceeded});
  EXPECT_THAT(told(from), ElementsAre(Pair(PacketType::puback, ReasonCode::not_authorized),
                                      Pair(PacketType::pubrec, ReasonCode::quota_exceeded)));
  // The exchange is over: the identifier stands for another message.
  const auto messages = world.processor.stats().delivered[2].value();
  from.next_packet_id -= 1;
  from.publish("t", "3", 2);
  EXPECT_EQ(world.processor.stats().delivered[2].value(), messages + 1);
}

TEST(AwaitedAcks, SayThatThereWasNoRoom) {
  for (const auto overflow : {Overflow::drop_oldest, Overflow::drop_newest}) {
    World world;
    Peer& there = link(world);
    there.queue = QueueLimits{1, 1 << 20, overflow};
    there.connect(true, 100).subscribe(confirming()).close();
    Peer& from = publisher(world).publish("t", "1", 1).publish("t", "2", 1);
    EXPECT_THAT(told(from), ElementsAre(Pair(PacketType::puback, ReasonCode::quota_exceeded)));
  }
}

TEST(AwaitedAcks, SayThatThereWasNoRoomForARequestBesideValues) {
  World world;
  Peer& there = link(world);
  there.queue = QueueLimits{1, 1 << 20, Overflow::drop_oldest};
  SubscriptionRequest wanted = confirming();
  wanted.mode = Mode::latest;
  there.connect(true, 100).subscribe(wanted).close();
  Peer& from = publisher(world);
  static constexpr std::uint8_t response_topic[] = {0x08, 0, 1, 'r'};
  for (std::uint16_t packet_id = 1; packet_id <= 2; ++packet_id) {
    MessageParts parts;
    parts.topic = "t";
    parts.properties.bytes = response_topic;
    parts.qos = 1;
    parts.packet_id = packet_id;
    world.apply(publish_command(build_message(parts, world.now_ns), from.outbox.get()));
  }
  EXPECT_THAT(told(from), ElementsAre(Pair(PacketType::puback, ReasonCode::quota_exceeded)));
}

TEST(AwaitedAcks, EndTheConnectionOfAClientThatCannotBeTold) {
  World world;
  Peer& there = link(world).connect(true, 100).subscribe(confirming());
  Peer& from = publisher(world, Version::v3_1_1).publish("t", "1", 1);
  there.read();
  there.send(command::Puback{there.got.at(0).packet_id, ReasonCode::not_authorized});
  EXPECT_THAT(told(from), IsEmpty());
  EXPECT_TRUE(from.closed);
}

TEST(AwaitedAcks, OfAMessageThatComesAgainAreThoseOfTheFirst) {
  World world;
  Peer& there = link(world).connect(true, 100).subscribe(confirming());
  Peer& before = world.peer("publisher", Version::v5).connect(true, 100);
  const std::uint16_t packet_id = before.next_packet_id;
  before.publish("t", "1", 2).close();
  Peer& back = world.peer("publisher", Version::v5).connect(false, 100);
  back.next_packet_id = packet_id;
  back.publish("t", "1", 2);
  EXPECT_THAT(told(back), IsEmpty());
  there.read();
  EXPECT_EQ(there.got.size(), 1u) << "it was taken before";
  there.acknowledge(PacketType::pubrec, there.got.at(0).packet_id);
  EXPECT_THAT(told(back), ElementsAre(pubrec_success));
}

TEST(AwaitedAcks, ThatCameWhileThePublisherWasAwayAreToldWhenItSendsAgain) {
  for (const auto reason : {ReasonCode::success, ReasonCode::not_authorized}) {
    World world;
    Peer& there = link(world).connect(true, 100).subscribe(confirming());
    Peer& before = world.peer("publisher", Version::v5).connect(true, 100);
    const std::uint16_t packet_id = before.next_packet_id;
    before.publish("t", "1", 2).close();
    there.read();
    there.send(command::Pubrec{there.got.at(0).packet_id, reason});
    Peer& back = world.peer("publisher", Version::v5).connect(false, 100);
    back.next_packet_id = packet_id;
    back.publish("t", "1", 2);
    EXPECT_THAT(told(back), ElementsAre(Pair(PacketType::pubrec, reason)));
  }
}

TEST(AwaitedAcks, AreRefusedWhenTheSessionOfTheLinkEnds) {
  World world;
  Peer& there = link(world).connect(true, 100).subscribe(confirming());
  Peer& from = publisher(world).publish("t", "1", 1);
  there.read();  // one is inflight, one waits
  there.close();
  from.publish("t", "2", 1);
  link(world).connect(true).close();
  EXPECT_THAT(told(from),
              ElementsAre(Pair(PacketType::puback, ReasonCode::implementation_specific_error),
                          Pair(PacketType::puback, ReasonCode::implementation_specific_error)));
}

TEST(AwaitedAcks, AreNoMoreThanAPublisherMayHaveUnacknowledged) {
  ProcessorLimits limits;
  limits.receive_maximum = 2;
  World world(limits);
  link(world).connect(true, 100).subscribe(confirming()).close();
  Peer& from = publisher(world, Version::v3_1_1);
  from.publish("t", "1", 1).publish("t", "2", 1);
  EXPECT_THAT(told(from), IsEmpty());
  EXPECT_FALSE(from.closed);
  from.publish("t", "3", 1).read();
  EXPECT_EQ(from.closed, ReasonCode::receive_maximum_exceeded);
}

TEST(AwaitedAcks, OfAMessageThatIsTooLargeAreRefused) {
  World world;
  Peer& there = link(world);
  there.packet_bytes_max = 64;
  there.connect(true, 100).subscribe(confirming());
  Peer& from = publisher(world).publish("t", std::string(100, 'x'), 1);
  there.read();
  EXPECT_THAT(there.got, IsEmpty()) << "it is too large";
  EXPECT_THAT(told(from),
              ElementsAre(Pair(PacketType::puback, ReasonCode::implementation_specific_error)));
}

TEST(AwaitedAcks, AreNotForgottenWithTheProcessThatHadThem) {
  World world;
  world.open_store();
  link(world).connect(true, 100).subscribe(confirming()).close();
  Peer& before = world.peer("publisher", Version::v5).connect(true, 100);
  const std::uint16_t packet_id = before.next_packet_id;
  before.publish("t", "1", 2);
  world.restart();
  Peer& there = link(world).connect(true, 100).subscribe(confirming());
  Peer& back = world.peer("publisher", Version::v5).connect(false, 100);
  back.next_packet_id = packet_id;
  back.publish("t", "1", 2);
  EXPECT_THAT(told(back), IsEmpty()) << "what waited for the link is gone";
  there.read().acknowledge(PacketType::pubrec, there.got.at(0).packet_id);
  EXPECT_THAT(told(back), ElementsAre(pubrec_success));
}

}  // namespace
}  // namespace millrace::broker
