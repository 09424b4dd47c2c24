#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::ReasonCode;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

SubscriptionRequest named(std::string prefix, std::string filter) {
  SubscriptionRequest wanted;
  wanted.name = std::move(prefix) + filter;
  wanted.filter = std::move(filter);
  wanted.mode = wanted.name.starts_with("$latest/") ? Mode::latest : Mode::every;
  if (wanted.name.starts_with("$share/")) wanted.share_group = "g";
  return wanted;
}

std::vector<std::string> topics_of(const Peer& peer) {
  std::vector<std::string> topics;
  for (const Got& one : peer.got) topics.push_back(one.topic);
  return topics;
}

Peer& acknowledge_last(Peer& peer) {
  peer.send(command::Puback{peer.got.back().packet_id, {}});
  return peer.read();
}

// --- The set of a client's subscriptions ---

TEST(SubscriptionSet, KeepsNamesOfOneFilterApart) {
  World world;
  Peer& writer = world.peer("writer").connect();
  const std::vector<std::string> prefixes{"", "$latest/", "$share/g/"};
  for (const std::string& gone : prefixes) {
    Peer& reader = world.peer("reader").connect();
    for (const std::string& prefix : prefixes) reader.subscribe(named(prefix, "a/b"));
    ASSERT_EQ(world.processor.index().size(), 3u);
    reader.read().got.clear();
    writer.publish("a/b", "x");
    // One copy for the two that are not shared, one for the group.
    EXPECT_EQ(reader.read().got.size(), 2u);
    reader.unsubscribe(gone + "a/b").unsubscribe("b").unsubscribe("$queue/a/b").read();
    EXPECT_EQ(world.processor.index().size(), 2u) << gone;
    reader.got.clear();
    writer.publish("a/b", "y");
    EXPECT_EQ(reader.read().got.size(), gone == "$share/g/" ? 1u : 2u) << gone;
    reader.close();
    EXPECT_EQ(world.processor.index().size(), 0u);
  }
}

TEST(SubscriptionSet, FindsEachOfManyWhateverWentBefore) {
  World world;
  Peer& reader = world.peer("reader").connect();
  Peer& writer = world.peer("writer").connect();
  std::vector<std::string> names;
  for (int i = 0; i < 1000; ++i) names.push_back("a/" + std::to_string(i));
  for (const std::string& name : names) reader.subscribe(name, 0, Mode::every);
  std::ranges::shuffle(names, std::mt19937(5));
  for (std::size_t left = names.size(); left > 0; --left) {
    reader.unsubscribe(names[left - 1]);
    ASSERT_EQ(world.processor.index().size(), left - 1);
    writer.publish(names[left - 1], "gone");
    if (left > 1) writer.publish(names[left - 2], "there");
  }
  reader.read();
  ASSERT_EQ(reader.got.size(), names.size() - 1);
  for (const Got& one : reader.got) EXPECT_EQ(one.payload, "there");
  const auto answers = std::ranges::count_if(reader.control, [](const protocol::Packet& packet) {
    return std::holds_alternative<protocol::Unsuback>(packet);
  });
  EXPECT_EQ(answers, 1000);
}

TEST(SubscriptionSet, HoldsNoMoreThanItMay) {
  ProcessorLimits limits;
  limits.subscriptions_max = 2;
  World world(limits);
  Peer& reader = world.peer("reader", protocol::Version::v5).connect();
  reader.subscribe("a").subscribe("b").subscribe("c").subscribe("b");
  reader.unsubscribe("a").subscribe("c").read();
  std::vector<ReasonCode> reasons;
  for (const protocol::Packet& packet : reader.control) {
    if (const auto* suback = std::get_if<protocol::Suback>(&packet)) {
      reasons.push_back(suback->reasons.at(0));
    }
  }
  EXPECT_THAT(reasons, ElementsAre(ReasonCode::granted_qos0, ReasonCode::granted_qos0,
                                   ReasonCode::quota_exceeded, ReasonCode::granted_qos0,
                                   ReasonCode::granted_qos0));
}

// What few subscriptions have comes and goes with what the newest SUBSCRIBE says.
TEST(SubscriptionSet, TakesTheOptionsOfTheNewestSubscribe) {
  World world;
  Peer& writer = world.peer("writer").connect();
  Peer& reader = world.peer("reader", protocol::Version::v5).connect();
  for (const std::string prefix : {"", "$share/g/"}) {
    for (const std::uint32_t identifier : {0u, 7u, 9u, 0u}) {
      reader.subscribe(named(prefix, "a"), identifier).read().got.clear();
      writer.publish("a", "x");
      ASSERT_EQ(reader.read().got.size(), 1u);
      if (identifier == 0) {
        EXPECT_THAT(reader.got[0].identifiers, IsEmpty());
      } else {
        EXPECT_THAT(reader.got[0].identifiers, ElementsAre(identifier));
      }
    }
    reader.unsubscribe(prefix + "a");
  }
}

// --- Stored values on their way to a new subscription ---

// A reader that is sent one value at a time.
Peer& slow_reader(World& world) {
  Peer& writer = world.peer("writer").connect();
  for (const char* topic : {"a/1", "a/2", "b/1"}) writer.publish(topic, "v", 1, true);
  Peer& reader = world.peer("reader");
  reader.receive_maximum = 1;
  return reader.connect();
}

TEST(Snapshot, EndWithTheirSubscription) {
  World world;
  Peer& reader = slow_reader(world);
  reader.subscribe("a/#", 1).subscribe("b/#", 1).read();
  ASSERT_THAT(topics_of(reader), ElementsAre("a/1"));
  reader.unsubscribe("a/#");
  acknowledge_last(reader);
  EXPECT_THAT(topics_of(reader), ElementsAre("a/1", "b/1"));
  acknowledge_last(reader);
  EXPECT_EQ(reader.got.size(), 2u);
}

TEST(Snapshot, BeginAgainWhenOneSubscribesAgain) {
  World world;
  Peer& reader = slow_reader(world);
  reader.subscribe("a/#", 1).subscribe("b/#", 1).read();
  reader.subscribe("a/#", 1);
  for (int i = 0; i < 3; ++i) acknowledge_last(reader);
  EXPECT_THAT(topics_of(reader), ElementsAre("a/1", "b/1", "a/1", "a/2"));
  acknowledge_last(reader);
  EXPECT_EQ(reader.got.size(), 4u);
}

// In one packet.
void subscribe_to_all(Peer& peer, const std::vector<std::string>& filters) {
  auto request = std::make_unique<SubscribeRequest>();
  request->packet_id = peer.next_packet_id++;
  for (const std::string& filter : filters) {
    request->filters.push_back(named("", filter));
    request->filters.back().qos = 1;
  }
  peer.send(command::Subscribe{std::move(request)});
}

TEST(Snapshot, BeginAgainOnceForAFilterThatStandsTwiceInOneSubscribe) {
  World world;
  Peer& reader = slow_reader(world);
  subscribe_to_all(reader, {"a/#", "b/#", "a/#"});
  for (int i = 0; i < 3; ++i) acknowledge_last(reader.read());
  EXPECT_THAT(topics_of(reader), ElementsAre("b/1", "a/1", "a/2"));
}

TEST(Snapshot, EndWithEachSubscriptionOfOneUnsubscribe) {
  World world;
  Peer& reader = slow_reader(world);
  subscribe_to_all(reader, {"a/1", "a/2", "b/#", "a/#"});
  reader.read();
  auto request = std::make_unique<UnsubscribeRequest>();
  request->packet_id = reader.next_packet_id++;
  request->names = {"a/#", "a/2", "never"};
  reader.send(command::Unsubscribe{std::move(request)});
  for (int i = 0; i < 2; ++i) acknowledge_last(reader);
  EXPECT_THAT(topics_of(reader), ElementsAre("a/1", "b/1"));
}

TEST(Snapshot, GoOnWhenTheClientComesBack) {
  World world;
  Peer& first = slow_reader(world);
  first.close();
  Peer& before = world.peer("back");
  before.receive_maximum = 1;
  before.connect(false, 100).subscribe("a/#", 1).read();
  ASSERT_THAT(topics_of(before), ElementsAre("a/1"));
  before.close();
  Peer& after = world.peer("back").connect(false, 100).read();
  EXPECT_THAT(topics_of(after), ElementsAre("a/1", "a/2")) << "the first was not acknowledged";
}

// What a reader is sent as the snapshot of its subscription.
std::vector<std::string> retained_of(const Peer& peer) {
  std::vector<std::string> payloads;
  for (const Got& one : peer.got) {
    if (one.retain) payloads.push_back(one.payload);
  }
  return payloads;
}

constexpr int overtaken_count = 40;

// A world whose topics "ov/N" have retained values "old N".
Peer& writer_of_retained(World& world) {
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < overtaken_count; ++i) {
    writer.publish("ov/" + std::to_string(i), "old " + std::to_string(i), 1, true);
  }
  return writer;
}

// [MQTT-3.3.1-9]: every retained message that matches.
TEST(Snapshot, SendsEveryRetainedValueThoughLiveOnesOvertakeIt) {
  for (const int qos : {0, 1}) {
    ProcessorLimits limits;
    limits.credit_bytes = 60;  // some two messages
    World world(limits);
    Peer& writer = writer_of_retained(world);
    Peer& reader = world.peer("reader");
    reader.receive_maximum = 1;
    reader.connect().subscribe("ov/#", qos, Mode::every);
    for (int i = 0; i < overtaken_count; ++i) writer.publish("ov/" + std::to_string(i), "live", 1);
    for (std::size_t seen = 0; reader.read().got.size() > seen;) {
      for (; seen < reader.got.size(); ++seen) {
        if (qos == 1) reader.send(command::Puback{reader.got[seen].packet_id, {}});
      }
    }
    EXPECT_EQ(retained_of(reader).size(), static_cast<std::size_t>(overtaken_count)) << qos;
    EXPECT_EQ(reader.got.size(), 2u * overtaken_count) << qos;
  }
}

TEST(Snapshot, IsNotHiddenByWhatNoLocalKeepsBack) {
  ProcessorLimits limits;
  limits.credit_bytes = 60;
  World world(limits);
  writer_of_retained(world);
  Peer& reader = world.peer("reader", protocol::Version::v5).connect();
  SubscriptionRequest wanted = named("", "ov/#");
  wanted.no_local = true;
  reader.subscribe(wanted);
  for (int i = 0; i < overtaken_count; ++i) reader.publish("ov/" + std::to_string(i), "own");
  EXPECT_EQ(retained_of(reader.read()).size(), static_cast<std::size_t>(overtaken_count));
}

TEST(Snapshot, LeavesOutWhatALaterRetainedValueReplacedAndSent) {
  World world;
  Peer& reader = slow_reader(world);
  reader.subscribe("a/#", 1).read();
  ASSERT_THAT(topics_of(reader), ElementsAre("a/1"));
  world.peer("writer").connect().publish("a/2", "new", 1, true);
  for (int i = 0; i < 3; ++i) acknowledge_last(reader);
  EXPECT_THAT(topics_of(reader), ElementsAre("a/1", "a/2"));
  EXPECT_EQ(reader.got.back().payload, "new");
  EXPECT_FALSE(reader.got.back().retain);
}

// QoS 0 is not kept for the absent, so it has not reached them by itself.
TEST(Snapshot, HasWhatWasPublishedWhileItsClientWasAway) {
  World world;
  Peer& writer = world.peer("writer").connect();
  for (const char* topic : {"a/1", "a/2", "a/3"}) writer.publish(topic, "old", 0, true);
  for (const Mode mode : {Mode::every, Mode::latest}) {
    ProcessorLimits limits;
    limits.credit_bytes = limits.credit_latest_bytes = 1;  // one message
    world.apply({nullptr, command::Limits{std::make_unique<ProcessorLimits>(limits)}});
    Peer& before = world.peer("back").connect(true, 100).subscribe("a/#", 0, mode);
    before.take();
    ASSERT_EQ(before.got.size(), 1u);
    before.close();
    writer.publish("a/3", "while it was away", 0, true);
    Peer& after = world.peer("back").connect(false, 100);
    EXPECT_THAT(topics_of(after.read()), ElementsAre("a/2", "a/3"));
    EXPECT_EQ(after.got.back().payload, "while it was away");
    after.close();
  }
}

}  // namespace
}  // namespace millrace::broker
