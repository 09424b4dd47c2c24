// The delivery contract: change filters and heartbeats.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "core/broker/processor.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::Version;
using testing::ElementsAre;
using testing::IsEmpty;

SubscriptionRequest filtered(std::string filter, std::uint32_t heartbeat_s = 0, int qos = 0,
                             std::uint32_t interval_ms = 0) {
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = std::move(filter);
  wanted.mode = Mode::latest;
  wanted.qos = static_cast<std::uint8_t>(qos);
  ShapeFields fields;
  fields.changes = Changes::unequal;
  fields.heartbeat_s = heartbeat_s;
  fields.interval_ms = interval_ms;
  wanted.shape = make_shape(fields);
  return wanted;
}

struct Filter : testing::Test {
  static ProcessorLimits few_bytes() {
    ProcessorLimits limits;
    limits.credit_latest_bytes = 100;
    return limits;
  }
  World world{few_bytes()};
  Peer& reader = world.peer("reader", Version::v5).connect();
  Peer& writer = world.peer("writer").connect();

  Filter& publish(std::string_view topic, std::string_view value, int qos = 0) {
    writer.publish(topic, value, qos);
    return *this;
  }
  std::uint64_t unchanged() const { return world.processor.stats().unchanged.value(); }
  const DeferredWork& deferred() const {
    return world.processor.find_session("reader")->deferred.read();
  }
  // Its credit is used up until it reads.
  void fill_credit() {
    reader.subscribe("filler", 0, Mode::latest);
    writer.publish("filler", std::string(200, '.'));
    reader.take();
    reader.got.clear();
  }
};

TEST_F(Filter, SendsWhatIsNotWhatWasSentLast) {
  reader.subscribe(filtered("#"));
  publish("a", "1").publish("a", "1").publish("b", "1").publish("a", "2").publish("a", "1");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "1", "2", "1"));
  EXPECT_EQ(unchanged(), 1u);
  EXPECT_EQ(world.processor.stats().conflated.value(), 0u) << "who keeps up gets each change";
}

TEST_F(Filter, ComparesForEachReaderWithWhatThatWasSent) {
  reader.subscribe(filtered("a"));
  publish("a", "1");
  Peer& late = world.peer("late", Version::v5).connect();
  SubscriptionRequest wanted = filtered("a");
  wanted.retain_handling = 2;
  late.subscribe(wanted);
  publish("a", "1");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1"));
  EXPECT_THAT(late.read().payloads(), ElementsAre("1"));
}

TEST_F(Filter, ComparesWithTheStoredValueThatWasSentOnSubscribing) {
  publish("a", "1");
  reader.subscribe(filtered("a"));
  publish("a", "1").publish("a", "2");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "2"));
}

TEST_F(Filter, ComparesWithWhatWasSentAndNotWithWhatWaited) {
  reader.subscribe(filtered("a"));
  publish("a", "1");
  reader.read();
  fill_credit();
  publish("a", "2").publish("a", "1");
  EXPECT_THAT(reader.read().payloads(), IsEmpty()) << "it is at 1, and knows it";
  EXPECT_EQ(unchanged(), 1u);
  publish("a", "1").publish("a", "2");
  EXPECT_EQ(reader.read().payloads().back(), "2");
}

// What waited before a SUBSCRIBE is not replaced any more, and will have been sent last.
TEST_F(Filter, SendsAValueThatIsNewsAfterWhatStillWaits) {
  reader.subscribe(filtered("a"));
  publish("a", "1");
  reader.read();
  fill_credit();
  publish("a", "2");
  reader.subscribe("b");
  publish("a", "1");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("2", "1"));
}

TEST_F(Filter, SendsAnUnchangedValueWhenItsHeartbeatIsDue) {
  reader.subscribe(filtered("a", 10));
  publish("a", "1");
  world.advance_ms(4000);
  publish("a", "1");
  world.advance_ms(5900);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1"));
  world.advance_ms(100);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "1"));
  world.advance_ms(60'000);
  EXPECT_EQ(reader.read().got.size(), 2u) << "the publisher is silent, and so is its topic";
  publish("a", "1");
  EXPECT_EQ(reader.read().got.size(), 3u) << "longer ago than a heartbeat";
}

TEST_F(Filter, SendsAChangeAtOnceWhileAnUnchangedValueIsHeldBack) {
  reader.subscribe(filtered("a", 10));
  publish("a", "1").publish("a", "1");
  EXPECT_GT(deferred().rate_limits.held_bytes(), 0u);
  world.advance_ms(1000);
  publish("a", "2");
  EXPECT_EQ(deferred().rate_limits.held_bytes(), 0u);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "2"));
  world.advance_ms(60'000);
  EXPECT_EQ(reader.read().got.size(), 2u);
}

TEST_F(Filter, DropsAnOlderChangeWhenTheValueIsBackWhereItWas) {
  reader.subscribe(filtered("a", /*heartbeat_s=*/0, 0, /*interval_ms=*/100));
  publish("a", "1").publish("a", "2").publish("a", "1");
  world.advance_ms(1000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1"));
  EXPECT_EQ(deferred().rate_limits.held_bytes(), 0u);
}

TEST_F(Filter, AndARateLimitSendTheLastChange) {
  reader.subscribe(filtered("a", /*heartbeat_s=*/1, 0, /*interval_ms=*/100));
  publish("a", "1");
  reader.read();
  publish("a", "2").publish("a", "3");
  world.advance_ms(100);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "3"));
  publish("a", "3");
  world.advance_ms(500);
  EXPECT_EQ(reader.read().got.size(), 2u);
  world.advance_ms(500);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "3", "3"));
}

TEST_F(Filter, KeepsThePromiseOfQos1WithItsHeartbeat) {
  Peer& lasting = world.peer("lasting", Version::v5).connect(false, 3600);
  lasting.subscribe(filtered("a", 10, 1));
  publish("a", "1", 1).publish("a", "1", 1);
  lasting.read();
  EXPECT_EQ(lasting.got.size(), 1u);
  lasting.close();
  Peer& again = world.peer("lasting", Version::v5).connect(false, 3600);
  again.read();
  EXPECT_EQ(again.got.back().payload, "1") << "it waited for the connection";
  EXPECT_FALSE(again.got.back().duplicate);
}

TEST_F(Filter, BeginsAnewWithEachConnection) {
  Peer& first = world.peer("lasting", Version::v5).connect(false, 3600);
  first.subscribe(filtered("a"));
  publish("a", "1");
  first.read().close();
  Peer& second = world.peer("lasting", Version::v5).connect(false, 3600);
  publish("a", "1");
  EXPECT_THAT(second.read().payloads(), ElementsAre("1"));
}

TEST_F(Filter, EndsWithItsSubscription) {
  reader.subscribe(filtered("#", 10));
  publish("a", "1").publish("b", "1").publish("a", "1");
  EXPECT_EQ(deferred().sent_values.size(), 2u);
  reader.unsubscribe("#");
  EXPECT_EQ(deferred().sent_values.size(), 0u);
  EXPECT_EQ(deferred().rate_limits.size(), 0u);
}

TEST_F(Filter, LetsRequestsThroughAndKeepsTheirPlace) {
  reader.subscribe(filtered("a", 10));
  publish("a", "1").publish("a", "1");
  world.apply(request("a", "1", world.now_ns));
  publish("a", "1");
  world.apply(request("a", "r", world.now_ns));
  reader.read();
  const auto payloads = reader.payloads();
  ASSERT_GE(payloads.size(), 3u);
  EXPECT_EQ(payloads.back(), "r");
}

TEST_F(Filter, KnowsNoMoreTopicsThanItMayAndSendsTheOthers) {
  ProcessorLimits limits;
  limits.slots.count_max = 10;
  World small(limits);
  Peer& one = small.peer("reader", Version::v5).connect().subscribe(filtered("#"));
  Peer& other = small.peer("writer").connect();
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 20; ++i) other.publish("t/" + std::to_string(i), "same");
    one.read();
  }
  EXPECT_EQ(one.got.size(), 30u);
}

// A 3.1.1 client gets one copy, and has asked for it without a filter, too.
TEST_F(Filter, KeepsNothingBackThatAnotherSubscriptionWants) {
  Peer& old = world.peer("old").connect().subscribe(filtered("a")).subscribe("+", 0, Mode::latest);
  publish("a", "1").publish("a", "1");
  EXPECT_THAT(old.read().payloads(), ElementsAre("1", "1"));
}

TEST_F(Filter, IsOffBesideOneThatIsToGetEachMessage) {
  reader.subscribe(filtered("a"), 1).subscribe("#", 0, Mode::every);
  publish("a", "1").publish("a", "1");
  EXPECT_EQ(reader.read().got.size(), 4u);
}

}  // namespace
}  // namespace millrace::broker
