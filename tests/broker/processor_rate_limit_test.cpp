// The delivery contract: rate limits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/broker/processor.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::Version;
using testing::ElementsAre;

TEST(RateLimit, SendsTheFirstAtOnceThenOnePerIntervalAndAlwaysTheLast) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe(limited("a", 100));
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 25; ++i) {
    writer.publish("a", std::to_string(i));
    reader.read();
    world.advance_ms(10);
  }
  world.advance_ms(1000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("0", "9", "19", "24"));
}

TEST(RateLimit, HoldsBackNoMoreThanItMay) {
  ProcessorLimits limits;
  limits.slots.bytes_max = 4096;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe(limited("#", 100'000));
  Peer& writer = world.peer("writer").connect();
  const std::string payload(1000, 'x');
  for (int i = 0; i < 20; ++i) {
    writer.publish("t/" + std::to_string(i), "first").publish("t/" + std::to_string(i), payload);
    reader.read();
  }
  const RateLimits& held = world.processor.find_session("reader")->deferred.read().rate_limits;
  EXPECT_LE(held.held_bytes(), 4096u);
  EXPECT_EQ(reader.got.size(), 36u) << "four are held back; what is over goes at once";
  writer.publish("t/0", "newest");
  world.advance_ms(100'000);
  EXPECT_EQ(reader.read().got.size(), 40u);
  EXPECT_EQ(std::ranges::count(reader.payloads(), "newest"), 1);
}

TEST(RateLimit, KnowsNoMoreTopicsThanItMay) {
  ProcessorLimits limits;
  limits.slots.count_max = 10;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe(limited("#", 100'000));
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 20; ++i) {
    writer.publish("t/" + std::to_string(i), "first");
    reader.read();
  }
  EXPECT_EQ(world.processor.find_session("reader")->deferred.read().rate_limits.size(), 10u);
  writer.publish("t/5", "held back").publish("t/15", "goes at once");
  EXPECT_EQ(reader.read().got.back().payload, "goes at once");
  EXPECT_EQ(reader.got.size(), 21u);
}

// A reader without credit, for whom as many values wait as may, while the rate limits of "r/#" hold
// as many back.
struct FullReader {
  FullReader() {
    reader.connect().subscribe(limited("r/#", 100'000)).subscribe("w/#", 0, Mode::latest);
    publish("r/", "first");
    reader.read();
    publish("r/", "held back");
    writer.publish("w/credit", payload);
    publish("w/", "waits");
  }
  void publish(const std::string& prefix, std::string_view value) {
    for (int i = 0; i < 4; ++i) writer.publish(prefix + std::to_string(i), value);
  }
  static ProcessorLimits few_topics() {
    ProcessorLimits limits;
    limits.slots.count_max = 4;
    limits.credit_latest_bytes = 100;
    return limits;
  }
  const Session& session() const { return *world.processor.find_session("reader"); }
  std::uint64_t pending() const { return world.processor.stats().pending.value(); }

  const std::string payload = std::string(200, 'x');
  World world{few_topics()};
  Peer& reader = world.peer("reader");
  Peer& writer = world.peer("writer").connect();
};

TEST(RateLimit, ASubscribeKeepsWhatItReleasesWithinTheLimits) {
  FullReader full;
  ASSERT_GT(full.session().deferred.read().rate_limits.held_bytes(), 0u);
  ASSERT_EQ(full.session().pending.size(), 4u);
  full.reader.subscribe("other");
  full.world.end_batch();
  EXPECT_EQ(full.session().deferred.read().rate_limits.held_bytes(), 0u);
  EXPECT_LE(full.session().pending.size(), 4u);
  EXPECT_EQ(full.pending(), full.session().pending.size());
}

TEST(RateLimit, AnUnsubscribeKeepsWhatItReleasesWithinTheLimits) {
  FullReader full;
  ASSERT_GT(full.session().deferred.read().rate_limits.held_bytes(), 0u);
  ASSERT_EQ(full.session().pending.size(), 4u);
  full.reader.unsubscribe("r/#");
  full.world.end_batch();
  EXPECT_EQ(full.session().deferred.read().rate_limits.held_bytes(), 0u);
  EXPECT_LE(full.session().pending.size(), 4u);
  EXPECT_EQ(full.pending(), full.session().pending.size());
}

TEST(RateLimit, EndsWithItsSubscription) {
  World world;
  Peer& reader = world.peer("reader").connect();
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 3; ++i) {
    reader.subscribe(limited("a", 100'000));
    writer.publish("a", "first").publish("a", "held back");
    reader.read().unsubscribe("a").read();
  }
  EXPECT_TRUE(world.processor.find_session("reader")->deferred.read().rate_limits.empty());
  EXPECT_EQ(world.processor.find_session("reader")->deferred.read().rate_limits.held_bytes(), 0u);
}

// The batch that finds the interval to be over brings a newer value than the one held back.
TEST(RateLimit, SendsTheLastThoughItComesAsTheIntervalEnds) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe(limited("a"));
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1").publish("a", "2");
  world.now_ns += 100'000'000;
  writer.publish("a", "3");
  world.advance_ms(1000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "3"));
  EXPECT_EQ(world.processor.stats().conflated.value(), 1u);
}

TEST(RateLimit, HoldsNothingBackBehindANewerValueWhenItIsLifted) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe(limited("a"));
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1").publish("a", "2");
  reader.subscribe("a", 0, Mode::adaptive);
  writer.publish("a", "3");
  world.advance_ms(1000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "2", "3"));
}

TEST(RateLimit, GoesOnAfterWhatItHeldWasSentForASubscribe) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe(limited("a"));
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1").publish("a", "2");
  world.advance_ms(50);
  reader.subscribe("b");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "2"));
  writer.publish("a", "3");
  world.advance_ms(50);  // an interval after "1", half of one after "2"
  EXPECT_EQ(reader.read().got.size(), 2u);
  world.advance_ms(50);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "2", "3"));
}

TEST(RateLimit, SendsTheLastToWhoStillMatchesByAnotherSubscription) {
  World world;
  Peer& reader = world.peer("reader").connect();
  reader.subscribe(limited("a")).subscribe(limited("+"));
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1").publish("a", "2");
  reader.unsubscribe("a");
  world.advance_ms(1000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "2"));
}

TEST(RateLimit, ForgetsTheLastWithTheOnlySubscription) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe(limited("a"));
  world.peer("writer").connect().publish("a", "1").publish("a", "2");
  reader.unsubscribe("a");
  world.advance_ms(1000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1"));
}

TEST(RateLimit, HoldsNoValueBackBehindARequest) {
  World world;
  Peer& reader = world.peer("reader", Version::v5).connect().subscribe(limited("a"));
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1").publish("a", "2");
  world.apply(request("a", "r", world.now_ns));
  writer.publish("a", "3");
  world.advance_ms(1000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "2", "r", "3"));
}

// A reader with two `latest` subscriptions to topic "a", kept apart by their identifiers, and only
// one of them limited; which one is matched first is up to the index, so both are tried.
struct TwoSubscriptions {
  explicit TwoSubscriptions(bool limit_all, bool no_local = false)
      : reader(world.peer("reader", Version::v5).connect()),
        writer(world.peer("writer").connect()) {
    SubscriptionRequest one = limited(limit_all ? "#" : "a");
    one.no_local = no_local;
    reader.subscribe(one, 1);
    reader.subscribe(limited(limit_all ? "a" : "#", /*interval_ms=*/0), 2);
  }
  // The first letters of what came, in order.
  std::string letters() const {
    std::string result;
    for (const Got& one : reader.got) result += one.payload.at(0);
    return result;
  }

  World world;
  Peer& reader;
  Peer& writer;
};

// A SUBSCRIBE in between keeps "1" from being replaced, so that it waits as well as "2". When it is
// sent, and the limit begins, "2" is still there.
TEST(RateLimit, HoldsNoValueBackWhileAnOlderOneWaits) {
  const std::string fills_credit(20'000, '.');
  for (const bool limit_all : {false, true}) {
    TwoSubscriptions of(limit_all);
    of.reader.subscribe("filler", 0, Mode::latest);
    of.writer.publish("filler", fills_credit);
    of.writer.publish("a", "1" + fills_credit);
    of.reader.subscribe("b");
    of.writer.publish("a", "2");
    for (of.reader.take(); std::ranges::count(of.letters(), '1') < 2; of.reader.take()) {
      of.reader.report_drained();
    }
    of.writer.publish("a", "3");
    of.reader.read();
    of.world.advance_ms(1000);
    of.reader.read();
    std::string got = of.letters();
    std::erase(got, '.');
    EXPECT_EQ(got, "1133");
  }
}

TEST(RateLimit, HoldsNoValueBackBehindARequestByAnotherSubscription) {
  for (const bool limit_all : {false, true}) {
    TwoSubscriptions of(limit_all);
    of.writer.publish("a", "1");
    of.reader.read();
    of.writer.publish("a", "2");
    of.world.apply(request("a", "r", of.world.now_ns));
    of.reader.read();
    EXPECT_EQ(of.letters(), "1122rr");
  }
}

// The request is the reader's own, which the limited subscription does not get.
TEST(RateLimit, HoldsNoValueBackBehindARequestThatItDoesNotGet) {
  for (const bool limit_all : {false, true}) {
    TwoSubscriptions of(limit_all, /*no_local=*/true);
    of.writer.publish("a", "1");
    of.reader.read();
    of.writer.publish("a", "2");
    Command own = request("a", "r", of.world.now_ns);
    own.outbox = of.reader.outbox.get();
    of.world.apply(std::move(own));
    of.reader.read();
    EXPECT_EQ(of.letters(), "1122r");
  }
}

}  // namespace
}  // namespace millrace::broker
