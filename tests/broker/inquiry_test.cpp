// What management asks of the processor: questions about sessions in slices, the end of one; and up
// to which publish a connection has everything.
#include "core/broker/inquiry.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

struct Seen {
  std::multiset<std::string> ids;
  int steps = 0;
  bool done = false;
};

class Names final : public Inquiry {
 public:
  explicit Names(Seen& seen) : seen_(seen) {}
  bool step(const Scope& scope, std::uint32_t budget) override {
    ++seen_.steps;
    scope.sessions.walk(cursor_, budget, [&](const Session& session) {
      if (cursor_.begun != begun_) seen_.ids.clear();
      begun_ = cursor_.begun;
      seen_.ids.insert(std::string(session.client_id.view()));
    });
    return seen_.done = cursor_.done;
  }

 private:
  Seen& seen_;
  SessionCursor cursor_;
  std::uint32_t begun_ = 0;
};

void ask(World& world, Seen& seen) {
  world.apply({nullptr, command::Inquire{std::make_unique<Names>(seen)}});
}

TEST(Inquiry, SeesEverySessionOnceInSlices) {
  ProcessorLimits limits;
  limits.inquiry_sessions_per_batch = 10;
  World world(limits);
  for (int i = 0; i < 100; ++i) world.peer("c" + std::to_string(i)).connect();
  Seen seen;
  ask(world, seen);
  EXPECT_FALSE(seen.done);
  EXPECT_TRUE(world.processor.has_more());
  EXPECT_LE(seen.ids.size(), 20u);
  world.run_until_idle();
  EXPECT_TRUE(seen.done);
  EXPECT_GE(seen.steps, 10);
  EXPECT_EQ(seen.ids.size(), 100u);
  EXPECT_EQ(std::set<std::string>(seen.ids.begin(), seen.ids.end()).size(), 100u);
}

TEST(Inquiry, SeesWhoWasThereThroughoutWhileOthersCome) {
  ProcessorLimits limits;
  limits.inquiry_sessions_per_batch = 10;
  World world(limits);
  for (int i = 0; i < 50; ++i) world.peer("old" + std::to_string(i)).connect();
  Seen seen;
  ask(world, seen);
  for (int i = 0; i < 500; ++i) world.peer("new" + std::to_string(i)).connect();
  world.run_until_idle();
  ASSERT_TRUE(seen.done);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(seen.ids.count("old" + std::to_string(i)), 1u) << i;
}

TEST(Inquiry, IsAnsweredInTurn) {
  ProcessorLimits limits;
  limits.inquiry_sessions_per_batch = 10;
  World world(limits);
  for (int i = 0; i < 40; ++i) world.peer("c" + std::to_string(i)).connect();
  Seen first, second;
  ask(world, first);
  ask(world, second);
  EXPECT_EQ(second.steps, 0);
  world.run_until_idle();
  EXPECT_TRUE(first.done && second.done);
}

TEST(Inquiry, MayBeLeftWhenTheProcessorEnds) {
  Seen seen;
  ProcessorLimits limits;
  limits.inquiry_sessions_per_batch = 1;
  World world(limits);
  for (int i = 0; i < 10; ++i) world.peer("c" + std::to_string(i)).connect();
  ask(world, seen);
  EXPECT_FALSE(seen.done);
}

std::optional<bool> expel(World& world, std::string client_id, bool with_session) {
  std::optional<bool> found;
  auto request = std::make_unique<ExpelRequest>();
  request->client_id = std::move(client_id);
  request->with_session = with_session;
  request->done = [&](bool answer) { found = answer; };
  world.apply({nullptr, command::Expel{std::move(request)}});
  return found;
}

TEST(Expel, EndsTheConnectionAndKeepsTheSession) {
  World world;
  Peer& peer = world.peer("c").connect(false, 100);
  EXPECT_EQ(expel(world, "c", false), true);
  peer.take();
  EXPECT_EQ(peer.closed, protocol::ReasonCode::administrative_action);
  ASSERT_NE(world.processor.find_session("c"), nullptr);
  EXPECT_FALSE(world.processor.find_session("c")->connected());
}

TEST(Expel, EndsTheSessionOnRequestConnectedOrNot) {
  World world;
  world.peer("here").connect(false, 100);
  world.peer("away").connect(false, 100).close();
  EXPECT_EQ(expel(world, "here", true), true);
  EXPECT_EQ(expel(world, "away", true), true);
  EXPECT_EQ(expel(world, "nobody", true), false);
  EXPECT_EQ(world.processor.find_session("here"), nullptr);
  EXPECT_EQ(world.processor.find_session("away"), nullptr);
}

TEST(Expel, PublishesTheWill) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("will");
  ConnectRequest::Will will;
  will.message = message("will", "gone").copy_to_keep();
  world.peer("c").connect(true, 0, std::move(will));
  expel(world, "c", false);
  EXPECT_EQ(reader.read().payloads(), std::vector<std::string>{"gone"});
}

// --- Handover::complete_to -----------------------------------------------------------------------

std::uint64_t complete_to(Peer& peer) {
  peer.world.end_batch();
  const auto handover = peer.outbox->take();
  if (!handover) return 0;
  for (const HandoverItem& item : handover->deliveries) peer.undrained_bytes += charge_bytes(item);
  return handover->complete_to;
}

struct Follower {
  explicit Follower(ProcessorLimits limits = {}) : world(limits), peer(world.peer("follower")) {
    peer.outbox->wants_sequence = true;
    peer.outbox->encodes_anew = true;
    peer.connect();
    peer.take();
  }
  World world;
  Peer& peer;
};

TEST(CompleteTo, IsTheLastPublishOnceNothingWaits) {
  Follower follower;
  follower.peer.subscribe("#", 0, Mode::latest);
  complete_to(follower.peer);
  Peer& writer = follower.world.peer("writer").connect();
  writer.publish("a", "1");
  EXPECT_EQ(complete_to(follower.peer), 1u);
  writer.publish("b", "2");
  EXPECT_EQ(complete_to(follower.peer), 2u);
}

TEST(CompleteTo, IsNotSaidWhileAValueWaitsForCredit) {
  ProcessorLimits limits;
  limits.credit_latest_bytes = 50;
  Follower follower(limits);
  follower.peer.subscribe("#", 0, Mode::latest);
  complete_to(follower.peer);
  Peer& writer = follower.world.peer("writer").connect();
  writer.publish("a", std::string(100, 'x'));
  EXPECT_EQ(complete_to(follower.peer), 1u);
  writer.publish("b", "2");  // waits
  EXPECT_EQ(complete_to(follower.peer), 0u);
  follower.peer.report_drained();
  follower.world.run_until_idle();
  EXPECT_EQ(complete_to(follower.peer), 2u);
}

TEST(CompleteTo, IsNotSaidWhileASnapshotIsSent) {
  ProcessorLimits limits;
  limits.credit_latest_bytes = 50;
  Follower follower(limits);
  Peer& writer = follower.world.peer("writer").connect();
  for (const char* topic : {"a", "b", "c"}) writer.publish(topic, std::string(100, 'x'));
  follower.peer.subscribe("#", 0, Mode::latest);
  follower.world.run_until_idle();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(complete_to(follower.peer), 0u) << i;
    follower.peer.report_drained();
    follower.world.run_until_idle();
  }
}

TEST(CompleteTo, IsNotSaidBeforeTheConnectionSubscribes) {
  World world;
  world.peer("writer").connect().publish("a", "1");
  Peer& peer = world.peer("follower");
  peer.outbox->wants_sequence = true;
  peer.connect();
  EXPECT_EQ(complete_to(peer), 0u);
  peer.subscribe("#", 0, Mode::latest);
  EXPECT_EQ(complete_to(peer), 1u);
}

TEST(CompleteTo, IsNotSaidToOthers) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("#", 0, Mode::latest);
  reader.take();
  world.peer("writer").connect().publish("a", "1");
  EXPECT_EQ(complete_to(reader), 0u);
}

TEST(NewerThan, LeavesOutWhatTheSubscriberHas) {
  World world;
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1").publish("b", "2", 0, true).publish("c", "3", 0, true);
  writer.publish("c", "", 0, true);
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = "#";
  wanted.mode = Mode::latest;
  wanted.newer_than = 1;
  Peer& reader = world.peer("reader").connect().subscribe(wanted);
  EXPECT_EQ(reader.read().payloads(), (std::vector<std::string>{"2", ""}));
}

}  // namespace
}  // namespace millrace::broker
