#include "core/broker/processor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(Processor, AcknowledgesAndPassesAQoS2MessageOnOnce) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("a");
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "x", 2);
  --writer.next_packet_id;
  writer.publish("a", "x", 2);  // the same identifier again: a retransmission
  writer.send(command::Pubrel{1, {}});
  writer.read();
  EXPECT_THAT(reader.read().payloads(), ElementsAre("x"));
  ASSERT_EQ(writer.control.size(), 3u);
  EXPECT_EQ(protocol::packet_type(writer.control[0]), protocol::PacketType::pubrec);
  EXPECT_EQ(protocol::packet_type(writer.control[1]), protocol::PacketType::pubrec);
  EXPECT_EQ(protocol::packet_type(writer.control[2]), protocol::PacketType::pubcomp);
}

TEST(Processor, SendsAgainWhatWasNotAcknowledged) {
  World world;
  Peer& first = world.peer("reader").connect(false, 100).subscribe("a", 2, Mode::every);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1", 1).publish("a", "2", 2).publish("a", "3", 1);
  first.read();
  first.send(command::Puback{1, {}});
  first.send(command::Pubrec{2, {}});
  first.close();
  writer.publish("a", "4", 1).publish("a", "gone", 0);
  Peer& second = world.peer("reader").connect(false, 100);
  second.read();
  EXPECT_EQ(second.session_present, true);
  // Message 2 is released by PUBREL; 3 comes again; 4 was queued; QoS 0 is not kept.
  ASSERT_EQ(second.control.size(), 1u);
  EXPECT_EQ(std::get<protocol::Pubrel>(second.control[0]).packet_id, 2);
  EXPECT_THAT(second.payloads(), ElementsAre("3", "4"));
  EXPECT_TRUE(second.got[0].duplicate);
  EXPECT_FALSE(second.got[1].duplicate);
}

TEST(Processor, SendsAgainNoMoreAtOnceThanTheCreditAllows) {
  ProcessorLimits limits;
  limits.credit_bytes = 100;
  World world(limits);
  Peer& first = world.peer("reader").connect(false, 100).subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  const std::string payload(50, 'x');
  for (int i = 0; i < 10; ++i) writer.publish("a", std::to_string(i) + payload, 1);
  first.read();
  ASSERT_EQ(first.got.size(), 10u);
  first.close();
  writer.publish("a", "new", 1);
  Peer& second = world.peer("reader").connect(false, 100);
  second.take();
  EXPECT_LT(second.outbox->outstanding_bytes, 100u + 60u) << "the credit and one message";
  second.read();
  ASSERT_EQ(second.got.size(), 11u);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(second.got[i].payload, std::to_string(i) + payload);
  EXPECT_EQ(second.got.back().payload, "new") << "what is sent again goes first";
}

TEST(Processor, KeepsToTheReceiveMaximum) {
  World world;
  Peer& reader = world.peer("reader");
  reader.receive_maximum = 2;
  reader.connect().subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 5; ++i) writer.publish("a", std::to_string(i), 1);
  EXPECT_EQ(reader.read().got.size(), 2u);
  reader.send(command::Puback{1, {}});
  EXPECT_EQ(reader.read().got.size(), 3u);
  reader.send(command::Puback{3, {}});
  EXPECT_EQ(reader.read().got.size(), 4u);
}

// Five messages that were not acknowledged, for a client that is back and takes one at a time.
Peer& back_with_five_inflight(World& world, int qos) {
  Peer& before = world.peer("reader", Version::v5).connect(false, 100);
  before.subscribe("a", qos, Mode::every);
  Peer& writer = world.peer("writer").connect();
  for (int i = 1; i <= 5; ++i) writer.publish("a", std::to_string(i), 2);
  before.read().close();
  Peer& after = world.peer("reader", Version::v5);
  after.receive_maximum = 1;
  after.connect(false, 100).read();
  EXPECT_THAT(after.payloads(), ElementsAre("1"));
  return after;
}

TEST(Processor, DoesNotSendAgainWhatIsAcknowledgedBeforeItsTurn) {
  World world;
  Peer& reader = back_with_five_inflight(world, 1);
  // All in one batch: what is left of the list of what to send is longer than what is inflight.
  world.joins = [] { return true; };
  for (const std::uint16_t packet_id : {2, 4, 5}) reader.send(command::Puback{packet_id, {}});
  world.joins = {};
  reader.read();
  EXPECT_EQ(reader.got.size(), 1u) << "its Receive Maximum is used up";
  reader.send(command::Puback{1, {}});
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "3"));
  world.peer("other").connect().publish("a", "new", 1);
  reader.send(command::Puback{3, {}});
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "3", "new"));
}

TEST(Processor, DoesNotSendAgainWhatIsReceivedBeforeItsTurn) {
  World world;
  Peer& reader = back_with_five_inflight(world, 2);
  for (const std::uint16_t packet_id : {2, 4, 1}) reader.send(command::Pubrec{packet_id, {}});
  for (const std::uint16_t packet_id : {1, 4, 2}) reader.send(command::Pubcomp{packet_id, {}});
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "3"));
  reader.send(command::Pubrec{3, {}});
  reader.send(command::Pubcomp{3, {}});
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "3", "5"));
}

TEST(Processor, SendsNothingNewAheadOfWhatItSendsAgain) {
  World world;
  Peer& before = world.peer("reader", Version::v5).connect(false, 100);
  before.subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1", 1).publish("a", "2", 1);
  before.read().close();
  Peer& after = world.peer("reader", Version::v5);
  world.joins = [] { return true; };  // what is new comes in the batch of the CONNECT
  after.connect(false, 100);
  writer.publish("a", "3", 1);
  world.joins = {};
  EXPECT_THAT(after.read().payloads(), ElementsAre("1", "2", "3"));
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

TEST(Processor, TakesASessionOver) {
  World world;
  Peer& first = world.peer("same").connect(false, 100).subscribe("a", 1, Mode::every);
  Peer& second = world.peer("same").connect(false, 100);
  first.read();
  EXPECT_EQ(first.closed, ReasonCode::session_taken_over);
  second.read();
  EXPECT_EQ(second.session_present, true);
  first.publish("a", "stale", 1);  // a command of the old epoch
  first.subscribe("b");
  first.close();
  world.peer("writer").connect().publish("a", "fresh", 1).publish("b", "x");
  EXPECT_THAT(second.read().payloads(), ElementsAre("fresh"));
  EXPECT_EQ(world.processor.stats().stale_commands.value(), 2u);
  EXPECT_TRUE(world.processor.find_session("same")->connected());
}

TEST(Processor, EndsASessionWhenItExpires) {
  World world;
  world.peer("gone").connect(false, 2).subscribe("a", 1, Mode::every).close();
  world.advance_ms(1900);
  EXPECT_NE(world.processor.find_session("gone"), nullptr);
  world.advance_ms(200);
  EXPECT_EQ(world.processor.find_session("gone"), nullptr);
  EXPECT_EQ(world.processor.index().size(), 0u);
}

Message expiring(std::string_view topic, std::uint8_t seconds, std::uint8_t qos,
                 std::int64_t now_ns) {
  const std::uint8_t expiry[] = {0x02, 0, 0, 0, seconds};
  constexpr std::string_view payload = "expiring";
  MessageParts parts;
  parts.topic = topic;
  parts.payload = {reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()};
  parts.properties.bytes = expiry;
  parts.properties.expiry_at = 0;
  parts.qos = qos;
  parts.packet_id = qos;
  return build_message(parts, now_ns);
}

ConnectRequest::Will will(std::string_view payload, std::uint32_t delay_s) {
  return {message("will", payload), delay_s};
}

TEST(Processor, PublishesAWillUnlessTheClientSaidGoodbye) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("will");
  world.peer("a").connect(true, 0, will("a", 0)).close();
  world.peer("b").connect(true, 0, will("b", 0)).close(ReasonCode::normal_disconnection);
  world.peer("c").connect(true, 0, will("c", 0)).close(ReasonCode::disconnect_with_will_message);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("a", "c"));
}

TEST(Processor, DelaysAWillAndForgetsItWhenTheClientComesBack) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("will");
  world.peer("a", Version::v5).connect(true, 100, will("late", 5)).close();
  world.peer("b", Version::v5).connect(true, 100, will("never", 5)).close();
  world.peer("c", Version::v5).connect(true, 1, will("at the session's end", 5)).close();
  world.advance_ms(500);
  EXPECT_THAT(reader.read().payloads(), IsEmpty());
  world.peer("b", Version::v5).connect(false, 100);
  world.advance_ms(1000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("at the session's end"));
  world.advance_ms(5000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("at the session's end", "late"));
}

TEST(Processor, BeginsAWillsExpiryWhenItIsPublished) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("will");
  world.peer("stays", Version::v5).connect(true, 0, {{expiring("will", 5, 0, world.now_ns), 0}});
  world.advance_ms(60'000);
  world.peers.back()->close();
  EXPECT_THAT(reader.read().payloads(), ElementsAre("expiring"));
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

SubscriptionRequest shared(std::string group, std::string filter, int qos) {
  SubscriptionRequest wanted;
  wanted.name.append("$share/").append(group).append("/").append(filter);
  wanted.filter = std::move(filter);
  wanted.share_group = std::move(group);
  wanted.qos = static_cast<std::uint8_t>(qos);
  wanted.mode = Mode::every;
  return wanted;
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

TEST(Processor, DoesNotSendAgainWhatTheNewConnectionCannotTake) {
  World world;
  world.peer("reader", Version::v5).connect(false, 100).subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", std::string(100, 'x'), 1).publish("a", "small", 1);
  world.peers.front()->read().close();  // nothing is acknowledged
  Peer& again = world.peer("reader", Version::v5);
  again.packet_bytes_max = 30;
  EXPECT_THAT(again.connect(false, 100).read().payloads(), ElementsAre("small"));
  EXPECT_EQ(world.processor.stats().dropped[static_cast<int>(Drop::too_large)].value(), 1u);
  EXPECT_EQ(world.processor.stats().inflight.value(), 1u);
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

// --- One batch ---

// All that `say` does is one batch.
template <class Say>
void in_one_batch(World& world, Say&& say) {
  bool more = true;
  world.joins = [&] { return more; };
  say();
  more = false;
  world.end_batch();
  world.joins = nullptr;
}

ConnectRequest::Will retained_will(std::string_view payload) {
  return {message("status", payload, 0, true), 0};
}

// [MQTT-3.1.4-3]: the takeover, and with it the will, is part of the new CONNECT.
TEST(Processor, PublishesATakeoversWillBeforeTheNewClientsFirstMessage) {
  World world;
  Peer& watcher = world.peer("watcher").connect().subscribe("status", 0, Mode::every);
  world.peer("device").connect(true, 0, retained_will("offline")).publish("status", "1", 0, true);
  in_one_batch(world, [&] {
    Peer& again = world.peer("device").connect(true, 0, retained_will("offline"));
    again.publish("status", "2", 0, true);
  });
  EXPECT_THAT(watcher.read().payloads(), ElementsAre("1", "offline", "2"));
  EXPECT_THAT(world.peer("late").connect().subscribe("status").read().payloads(), ElementsAre("2"));
}

TEST(Processor, PublishesALostConnectionsWillBeforeWhatTheClientSaysWhenItIsBack) {
  World world;
  Peer& watcher = world.peer("watcher").connect().subscribe("status", 0, Mode::every);
  Peer& lost = world.peer("device").connect(false, 100, retained_will("offline"));
  in_one_batch(world, [&] {
    lost.close();
    world.peer("device").connect(false, 100).publish("status", "back", 0, true);
  });
  EXPECT_THAT(watcher.read().payloads(), ElementsAre("offline", "back"));
}

TEST(Processor, PublishesTheWillOfASessionThatACleanStartEnds) {
  World world;
  Peer& watcher = world.peer("watcher").connect().subscribe("status", 0, Mode::every);
  ConnectRequest::Will delayed = retained_will("offline");
  delayed.delay_s = 50;
  world.peer("device", Version::v5).connect(false, 100, std::move(delayed)).close();
  in_one_batch(world, [&] {
    world.peer("device", Version::v5).connect(true).publish("status", "anew", 0, true);
  });
  EXPECT_THAT(watcher.read().payloads(), ElementsAre("offline", "anew"));
}

// --- Packet identifiers, and what acknowledges them ---

// [MQTT-2.2.1-4]
TEST(Processor, SkipsAnIdentifierWhoseAcknowledgementNeverComes) {
  World world;
  Peer& reader = world.peer("reader").connect(false, 100).subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  constexpr std::uint16_t lost = 7;
  for (std::uint32_t i = 1; i <= InflightWindow::identifier_count + 100; ++i) {
    writer.next_packet_id = 1;
    writer.publish("a", std::to_string(i), 1);
    reader.take();
    ASSERT_EQ(reader.got.size(), 1u) << "message " << i << " did not come";
    const std::uint16_t packet_id = reader.got[0].packet_id;
    ASSERT_EQ(packet_id == lost, i == lost) << "message " << i;
    if (packet_id != lost) reader.send(command::Puback{packet_id, {}});
    reader.report_drained();
    reader.got.clear();
    writer.take();
    writer.control.clear();
  }
  EXPECT_EQ(world.processor.stats().inflight.value(), 1u);
  reader.close();
  Peer& back = world.peer("reader").connect(false, 100).read();
  EXPECT_THAT(back.payloads(), ElementsAre(std::to_string(lost)));
  back.send(command::Puback{lost, {}});
  EXPECT_EQ(world.processor.stats().inflight.value(), 0u);
}

// 3.4.2.1, 3.5.2.1: below 0x80 it has arrived, whoever wants it there.
TEST(Processor, TakesNoMatchingSubscribersForSuccess) {
  World world;
  Peer& reader = world.peer("reader", Version::v5).connect().subscribe("a", 2, Mode::every);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1", 1).publish("a", "2", 2);
  reader.read();
  ASSERT_EQ(reader.got.size(), 2u);
  reader.control.clear();
  reader.send(command::Puback{1, ReasonCode::no_matching_subscribers});
  reader.send(command::Pubrec{2, ReasonCode::no_matching_subscribers});
  reader.read();
  ASSERT_EQ(reader.control.size(), 1u);
  EXPECT_EQ(std::get<protocol::Pubrel>(reader.control[0]).reason, ReasonCode::success);
  reader.send(command::Pubcomp{2, {}});
  EXPECT_EQ(world.processor.stats().inflight.value(), 0u);
  EXPECT_FALSE(reader.closed);
}

// [MQTT-4.3.3-4]: PUBREL follows only a reason below 0x80.
TEST(Processor, AnswersAnErrorPubrecForAnUnknownIdentifierWithSilence) {
  World world;
  Peer& reader = world.peer("reader", Version::v5).connect();
  reader.send(command::Pubrec{9, ReasonCode::unspecified_error});
  EXPECT_TRUE(reader.read().control.empty());
  reader.send(command::Pubrec{9, {}});
  reader.read();
  ASSERT_EQ(reader.control.size(), 1u);
  EXPECT_EQ(std::get<protocol::Pubrel>(reader.control[0]).reason,
            ReasonCode::packet_identifier_not_found);
}

// [MQTT-3.3.2-5], [MQTT-3.3.2-6]: there is no lifetime left that it could be sent with.
TEST(Processor, SendsAnExpiredInflightMessageAgainAtQos2Alone) {
  for (const std::uint8_t qos : {1, 2}) {
    World world;
    Peer& reader = world.peer("reader", Version::v5);
    reader.connect(false, 100).subscribe("a", qos, Mode::every);
    world.apply(publish_command(expiring("a", 5, qos, world.now_ns)));
    ASSERT_EQ(reader.read().got.size(), 1u);
    reader.close();
    world.advance_ms(6000);
    const bool again = qos == 2;  // [MQTT-4.3.3-7]
    EXPECT_EQ(world.peer("reader", Version::v5).connect(false, 100).read().got.size(), again);
    EXPECT_EQ(world.processor.stats().inflight.value(), again);
    EXPECT_EQ(world.processor.stats().dropped[static_cast<int>(Drop::expired)].value(), !again);
  }
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
