#include "core/broker/processor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/messages.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::ReasonCode;
using protocol::Version;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

TEST(Processor, DeliversToAMatchingSubscriber) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("a/#");
  world.peer("writer").connect().publish("a/b", "hi").publish("c", "no");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("hi"));
  EXPECT_EQ(reader.got[0].topic, "a/b");
}

TEST(Processor, MergesNeighbouringPacketsIntoOneRun) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("#");
  Peer& writer = world.peer("writer").connect();
  const Message first = message("a", "1");
  BufferRef both = Buffer::allocate(first.packet_bytes * 2);
  std::memcpy(both->data(), first.packet(), first.packet_bytes);
  std::memcpy(both->data() + first.packet_bytes, first.packet(), first.packet_bytes);
  world.processor.begin(world.now_ns);
  for (std::uint32_t i = 0; i < 2; ++i) {
    Message slice = first;
    slice.buffer = both;
    slice.packet_offset = i * first.packet_bytes;
    Command command = publish_command(std::move(slice), writer.outbox.get());
    world.processor.apply(command);
  }
  world.processor.finish();
  auto handover = reader.outbox->take();
  ASSERT_TRUE(handover);
  ASSERT_EQ(handover->deliveries.size(), 1u);
  const auto* run = boost::variant2::get_if<PacketRun>(&handover->deliveries[0]);
  ASSERT_NE(run, nullptr);
  EXPECT_EQ(run->count, 2u);
  EXPECT_EQ(run->bytes, 2 * first.packet_bytes);
  EXPECT_EQ(run->payload_bytes, 2u);
}

TEST(Processor, GrantsTheLowerQoS) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "0", 0).publish("a", "1", 1).publish("a", "2", 2);
  reader.read();
  ASSERT_EQ(reader.got.size(), 3u);
  EXPECT_EQ(reader.got[0].qos, 0);
  EXPECT_EQ(reader.got[1].qos, 1);
  EXPECT_EQ(reader.got[2].qos, 1);
  EXPECT_EQ(reader.got[1].packet_id, 1);
  EXPECT_EQ(reader.got[2].packet_id, 2);
}

TEST(Processor, RetainsTheLastValueAndClearsIt) {
  World world;
  Peer& writer = world.peer("writer").connect();
  writer.publish("a/b", "old", 0, true).publish("a/b", "new", 1, true).publish("a/b", "live");
  Peer& reader = world.peer("reader").connect().subscribe("a/#", 1, Mode::every);
  reader.read();
  ASSERT_THAT(reader.payloads(), ElementsAre("new"));
  EXPECT_TRUE(reader.got[0].retain);
  EXPECT_EQ(reader.got[0].qos, 1);
  writer.publish("a/b", "", 0, true);
  EXPECT_THAT(world.peer("late").connect().subscribe("#").read().payloads(), IsEmpty());
}

TEST(Processor, SendsARetainedValueAheadOfWhatTheSameBatchStillBrings) {
  World world;
  Peer& client = world.peer("client").connect();
  client.publish("a", "kept", 0, true);
  const auto publish = [&](std::string_view payload, bool retain) {
    Command command = publish_command(message("a", payload, 0, retain), client.outbox.get());
    world.processor.apply(command);
  };
  auto request = std::make_unique<SubscribeRequest>();
  request->packet_id = 1;
  request->filters.emplace_back();
  request->filters[0].name = request->filters[0].filter = "a";
  Command subscribe{client.outbox.get(), command::Subscribe{std::move(request)}};
  world.processor.begin(world.now_ns);
  publish("kept anew", true);
  publish("before", false);
  world.processor.apply(subscribe);
  publish("after", false);
  world.processor.finish();
  EXPECT_THAT(client.read().payloads(), ElementsAre("kept anew", "after"));
}

TEST(Processor, WalksAllStoredValuesWithinABudget) {
  ProcessorLimits limits;
  limits.snapshot_topics_per_batch = 10;
  World world(limits);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 500; ++i) writer.publish("t/" + std::to_string(i), "v", 0, true);
  writer.publish("t", "parent", 0, true).publish("tx", "other", 0, true);
  Peer& reader = world.peer("reader").connect().subscribe("t/#");
  EXPECT_EQ(reader.read().got.size(), 501u);
}

TEST(Processor, CountsAgainstTheBudgetWhatMatchesButIsNotSent) {
  ProcessorLimits limits;
  limits.snapshot_topics_per_batch = 10;
  World world(limits);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 100; ++i) writer.publish("t/" + std::to_string(i), "not retained");
  writer.publish("t/z", "retained", 0, true);
  Peer& reader = world.peer("reader").connect().subscribe("t/#");
  EXPECT_TRUE(world.processor.has_more());
  reader.take();
  EXPECT_THAT(reader.payloads(), IsEmpty()) << "101 topics with one batch's budget for 10";
  EXPECT_THAT(reader.read().payloads(), ElementsAre("retained"));
}

TEST(Processor, ForgetsAClientThatLeavesInTheBatchOfItsSubscribe) {
  ProcessorLimits limits;
  limits.snapshot_topics_per_batch = 1;
  World world(limits);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 5; ++i) writer.publish("t/" + std::to_string(i), "v", 0, true);
  Peer& hasty = world.peer("hasty").connect();
  world.joins = [] { return true; };
  hasty.subscribe("t/#").close();  // there are more stored values than the batch may look at
  world.run_until_idle();
  EXPECT_FALSE(world.processor.has_more());
  EXPECT_EQ(world.processor.stats().sessions.value(), 1u);
}

TEST(Processor, MergesOverlappingSubscriptionsAtTheHighestQoS) {
  World world;
  Peer& reader = world.peer("reader").connect();
  reader.subscribe("a/+").subscribe("a/b", 1, Mode::every).subscribe("#");
  world.peer("writer").connect().publish("a/b", "once", 2);
  reader.read();
  ASSERT_EQ(reader.got.size(), 1u);
  EXPECT_EQ(reader.got[0].qos, 1);
}

TEST(Processor, KeepsSubscriptionIdentifiersApart) {
  World world;
  Peer& reader = world.peer("reader", Version::v5).connect();
  for (std::uint32_t identifier : {7u, 9u}) {
    SubscriptionRequest wanted;
    wanted.name = wanted.filter = identifier == 7 ? "a/+" : "a/b";
    reader.subscribe(wanted, identifier);
  }
  world.peer("writer").connect().publish("a/b", "x");
  reader.read();
  ASSERT_EQ(reader.got.size(), 2u);
  EXPECT_THAT(reader.got[0].identifiers, ElementsAre(9u));
  EXPECT_THAT(reader.got[1].identifiers, ElementsAre(7u));
}

TEST(Processor, GivesAllIdentifiersInOneCopyIfItIsTo) {
  ProcessorLimits limits;
  limits.identifiers_in_one_copy = true;
  World world(limits);
  Peer& reader = world.peer("reader", Version::v5).connect();
  const auto subscribe = [&](std::string filter, int qos, std::uint32_t identifier) {
    SubscriptionRequest wanted;
    wanted.name = wanted.filter = std::move(filter);
    wanted.qos = static_cast<std::uint8_t>(qos);
    reader.subscribe(wanted, identifier);
  };
  subscribe("#", 0, 0);
  subscribe("a/+", 1, 7);
  subscribe("a/b", 0, 9);
  subscribe("+/b", 0, 9);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a/b", "x", 1).publish("a/c", "y", 1);
  reader.read();
  ASSERT_EQ(reader.got.size(), 2u);
  EXPECT_EQ(reader.got[0].qos, 1);
  EXPECT_THAT(reader.got[0].identifiers, UnorderedElementsAre(7u, 9u));
  EXPECT_THAT(reader.got[1].identifiers, ElementsAre(7u));
}

TEST(Processor, HonoursNoLocalAndRetainAsPublished) {
  World world;
  Peer& client = world.peer("client", Version::v5).connect();
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = "a";
  wanted.no_local = true;
  wanted.retain_as_published = true;
  client.subscribe(wanted);
  client.publish("a", "own", 0, true);
  world.peer("other").connect().publish("a", "theirs", 0, true);
  client.read();
  ASSERT_THAT(client.payloads(), ElementsAre("theirs"));
  EXPECT_TRUE(client.got[0].retain);
}

TEST(Processor, SharesASubscriptionAmongItsMembers) {
  World world;
  Peer& one = world.peer("one").connect().subscribe(shared("g", "a", 1));
  Peer& two = world.peer("two").connect().subscribe(shared("g", "a", 1));
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 10; ++i) writer.publish("a", std::to_string(i), 1);
  EXPECT_EQ(one.read().got.size(), 5u);
  EXPECT_EQ(two.read().got.size(), 5u);
  // What one had not acknowledged goes to the other when its session ends.
  one.close();
  EXPECT_EQ(two.read().got.size(), 10u);
}

// The other member is disconnected by what it inherits, and its session ends within the end of the
// first: the group, which both have left by then, ends once.
TEST(Processor, EndsAGroupOnceWhenItsLastMemberOverflows) {
  ProcessorLimits limits;
  limits.queue_messages = 2;
  limits.overflow = Overflow::disconnect;
  World world(limits);
  Peer& one = world.peer("one");
  Peer& two = world.peer("two");
  for (Peer* member : {&one, &two}) {
    member->receive_maximum = 1;
    member->connect().subscribe(shared("g", "a", 1));
  }
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 6; ++i) writer.publish("a", std::to_string(i), 1);
  EXPECT_EQ(world.processor.stats().shared_groups.value(), 1u);
  one.close();
  two.take();
  EXPECT_EQ(two.closed, ReasonCode::quota_exceeded);
  EXPECT_EQ(world.processor.stats().shared_groups.value(), 0u);
  EXPECT_EQ(world.processor.stats().sessions.value(), 1u);
}

// Each is disconnected by what the one before has left: they are a list, not one within the other.
TEST(Processor, EndsThousandsOfFullMembersInSlices) {
  constexpr std::uint64_t count = 5000;
  ProcessorLimits limits;
  limits.queue_messages = 1;
  limits.overflow = Overflow::disconnect;
  World world(limits);
  for (std::uint64_t i = 0; i < count; ++i) {
    Peer& member = world.peer("member" + std::to_string(i));
    member.receive_maximum = 1;
    member.connect().subscribe(shared("g", "a", 1));
  }
  Peer& writer = world.peer("writer").connect();
  for (std::uint64_t i = 0; i < 2 * count; ++i) writer.publish("a", "v", 1);
  const ProcessorStats& stats = world.processor.stats();
  ASSERT_EQ(stats.inflight.value(), count);
  ASSERT_EQ(stats.pending.value(), count);
  writer.publish("a", "one more", 1);
  EXPECT_TRUE(world.processor.has_more());
  EXPECT_GT(stats.sessions.value(), count / 2);
  world.run_until_idle();
  EXPECT_EQ(stats.sessions.value(), 1u);
  EXPECT_EQ(stats.shared_groups.value(), 0u);
  EXPECT_EQ(stats.inflight.value(), 0u);
  EXPECT_EQ(stats.pending.value(), 0u);
  world.processor.update_ledger();
  EXPECT_EQ(world.processor.ledger().bytes(Holding::queues), 0u);
}

TEST(Processor, HandsOnWhatWasSentBeforeWhatWaits) {
  ProcessorLimits limits;
  limits.queue_messages = 2;
  limits.overflow = Overflow::disconnect;
  World world(limits);
  world.peer("heir").connect(false, 100).subscribe(shared("g", "a", 1)).close();
  Peer& full = world.peer("full");
  full.receive_maximum = 1;
  full.connect().subscribe(shared("g", "a", 1));
  Peer& writer = world.peer("writer").connect();
  for (const char* payload : {"sent", "waits", "waits, too"}) writer.publish("a", payload, 1);
  Peer& leaves = world.peer("leaves").connect().subscribe(shared("g", "a", 1));
  writer.publish("a", "one too many", 1);
  leaves.close();  // and the other member with it
  full.take();
  ASSERT_EQ(full.closed, ReasonCode::quota_exceeded);
  // Without a connection the heir keeps the newest.
  Peer& heir = world.peer("heir").connect(false, 100).read();
  EXPECT_THAT(heir.payloads(), ElementsAre("waits", "waits, too"));
}

TEST(Processor, GivesASharedMessageToALiveMember) {
  World world;
  Peer& gone = world.peer("gone").connect(false, 100).subscribe(shared("g", "a", 1));
  Peer& live = world.peer("live").connect().subscribe(shared("g", "a", 1));
  gone.close();
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 4; ++i) writer.publish("a", "x", 1);
  EXPECT_EQ(live.read().got.size(), 4u);
}

TEST(Processor, DropsAnExpiredMessage) {
  World world;
  Peer& reader = world.peer("reader").connect(false, 100).subscribe("a", 1, Mode::every);
  reader.close();
  world.apply(publish_command(expiring("a", 5, 1, world.now_ns)));
  world.advance_ms(6000);
  EXPECT_THAT(world.peer("reader").connect(false, 100).read().got, IsEmpty());
  EXPECT_EQ(world.processor.stats().dropped[static_cast<int>(Drop::expired)].value(), 1u);
}

TEST(Processor, SkipsAMessageThatTheClientCannotTake) {
  World world;
  Peer& reader = world.peer("reader", Version::v5);
  reader.packet_bytes_max = 30;
  reader.connect().subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", std::string(100, 'x'), 1).publish("a", "small", 1);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("small"));
  EXPECT_EQ(world.processor.stats().dropped[static_cast<int>(Drop::too_large)].value(), 1u);
}

TEST(Processor, EvictsTheLeastRecentlyPublishedTopicButNoRetainedOne) {
  ProcessorLimits limits;
  limits.slots.count_max = 3;
  World world(limits);
  Peer& writer = world.peer("writer").connect();
  writer.publish("kept", "v", 0, true).publish("1", "v").publish("2", "v").publish("1", "w");
  writer.publish("3", "v");
  EXPECT_EQ(world.processor.topics().size(), 3u);
  Peer& reader = world.peer("reader").connect().subscribe("#", 0, Mode::latest);
  reader.read();
  std::vector<std::string> topics;
  for (const Got& one : reader.got) topics.push_back(one.topic);
  EXPECT_THAT(topics, ElementsAre("1", "3", "kept"));
}

TEST(Processor, LeavesNothingBehindWhenAllHaveGone) {
  World world;
  for (int i = 0; i < 50; ++i) {
    Peer& peer = world.peer("c" + std::to_string(i)).connect(i % 2 == 0, i % 2);
    peer.subscribe("a/" + std::to_string(i), 1, Mode::every).subscribe("#");
    peer.subscribe(shared("g", "x", 0));
  }
  for (auto& peer : world.peers) peer->close();
  world.advance_ms(2000);
  EXPECT_EQ(world.processor.stats().sessions.value(), 0u);
  EXPECT_EQ(world.processor.index().size(), 0u);
  EXPECT_EQ(world.processor.index().node_count(), 2u);
  EXPECT_EQ(world.processor.stats().shared_groups.value(), 0u);
  std::vector<OutboxRef> rung;
  world.ready.take(rung);
  rung.clear();
  for (auto& peer : world.peers) EXPECT_EQ(peer->outbox->use_count(), 1u);
}

// --- What passes unchanged ---

// A message as a client wrote it.
Message received(const std::vector<std::uint8_t>& packet, Version version) {
  const auto frame = **protocol::frame(packet, protocol::packet_bytes_limit, version);
  const auto view = *protocol::decode_publish(frame, packet, version);
  BufferRef buffer = Buffer::allocate(static_cast<std::uint32_t>(packet.size()));
  std::copy(packet.begin(), packet.end(), buffer->data());
  buffer->received_ns = 1;
  return make_message(std::move(buffer), 0, static_cast<std::uint32_t>(packet.size()), view,
                      version);
}

TEST(Unchanged, PassesOnlyWhatAServerMaySend) {
  struct Case {
    const char* what;
    Version version;
    std::vector<std::uint8_t> packet;
    bool passes;
  };
  const Case cases[] = {
      {"3.1.1", Version::v3_1_1, {0x30, 4, 0, 1, 'a', 'x'}, true},
      {"5", Version::v5, {0x30, 5, 0, 1, 'a', 0, 'x'}, true},
      // [MQTT-3.3.1-2], [MQTT-3.3.1-3]
      {"DUP at QoS 0", Version::v3_1, {0x38, 4, 0, 1, 'a', 'x'}, false},
      {"padded Remaining Length", Version::v3_1_1, {0x30, 0x84, 0, 0, 1, 'a', 'x'}, false},
      {"padded more", Version::v3_1_1, {0x30, 0x84, 0x80, 0x80, 0, 0, 1, 'a', 'x'}, false},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    World world;
    Peer& reader = world.peer("reader", one.version).connect().subscribe("a");
    world.apply(publish_command(received(one.packet, one.version)));
    reader.read();
    ASSERT_EQ(reader.got.size(), 1u);
    EXPECT_EQ(reader.got[0].payload, "x");
    EXPECT_FALSE(reader.got[0].duplicate);
    EXPECT_EQ(reader.got[0].unchanged == one.packet, one.passes);
    EXPECT_EQ(reader.got[0].unchanged.empty(), !one.passes);
  }
}

}  // namespace
}  // namespace millrace::broker
