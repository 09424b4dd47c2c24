// The delivery contract: ticks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "core/broker/processor.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::Version;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

SubscriptionRequest ticked(std::string filter, std::uint32_t tick_ms = 100,
                           Mode mode = Mode::latest) {
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = std::move(filter);
  wanted.mode = mode;
  ShapeFields fields;
  fields.tick_ms = tick_ms;
  wanted.shape = make_shape(fields);
  return wanted;
}

struct Ticks : testing::Test {
  World world;
  Peer& reader = world.peer("reader", Version::v5).connect();
  Peer& writer = world.peer("writer").connect();

  // So many milliseconds; how many of them brought something.
  int pass(int milliseconds) {
    int times = 0;
    for (int i = 0; i < milliseconds; ++i) {
      world.advance_ms(1);
      const std::size_t before = reader.got.size();
      reader.read();
      times += reader.got.size() > before ? 1 : 0;
    }
    return times;
  }
};

TEST_F(Ticks, BringTheNewestOfAllTopicsAtOnce) {
  reader.subscribe(ticked("#"));
  for (int i = 0; i < 3; ++i) {
    for (const char* topic : {"a", "b", "c"}) writer.publish(topic, std::to_string(i));
  }
  EXPECT_THAT(reader.read().got, IsEmpty());
  EXPECT_EQ(pass(100), 1);
  EXPECT_THAT(reader.payloads(), ElementsAre("2", "2", "2"));
  EXPECT_EQ(world.processor.stats().conflated.value(), 6u);
}

TEST_F(Ticks, ComeEvenlyAndOnlyWhenSomethingIsNew) {
  reader.subscribe(ticked("#"));
  int times = 0;
  for (int i = 0; i < 1000; ++i) {
    writer.publish("t/" + std::to_string(i % 7), std::to_string(i));
    times += pass(1);
  }
  times += pass(100);
  EXPECT_GE(times, 10);
  EXPECT_LE(times, 11);
  EXPECT_THAT(reader.payloads(), Contains("999"));
  EXPECT_EQ(pass(1000), 0);
}

TEST_F(Ticks, AreTheSameForAllSubscriptionsOfAClient) {
  reader.subscribe(ticked("a/#", 200))
      .subscribe(ticked("b/#", 100))
      .subscribe("c", 0, Mode::latest);
  for (int i = 0; i < 500; ++i) {
    writer.publish("a/1", "x").publish("b/1", "x").publish("c", "x");
    pass(1);
  }
  pass(100);
  EXPECT_EQ(reader.got.size() % 3, 0u);
  EXPECT_LE(reader.got.size(), 18u) << "at the shorter of the intervals";
}

TEST_F(Ticks, KeepEachMessageOfAnAdaptiveSubscriptionInOrder) {
  reader.subscribe(ticked("a", 100, Mode::adaptive));
  writer.publish("a", "1").publish("a", "2").publish("a", "3");
  EXPECT_EQ(pass(100), 1);
  EXPECT_THAT(reader.payloads(), ElementsAre("1", "2", "3"));
  EXPECT_EQ(world.processor.stats().slow_sessions.value(), 0u);
}

TEST_F(Ticks, HoldBackNothingOfTheModeEvery) {
  reader.subscribe(ticked("a", 1000)).subscribe("b", 1, Mode::every);
  writer.publish("a", "x").publish("b", "y", 1);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("y"));
}

// As much as its credit allows goes at a time, and what comes meanwhile goes with it.
TEST_F(Ticks, LastUntilAllHasGone) {
  ProcessorLimits limits;
  limits.credit_latest_bytes = 300;
  World small(limits);
  Peer& slow = small.peer("slow", Version::v5).connect().subscribe(ticked("#", 1000));
  Peer& other = small.peer("writer").connect();
  for (int i = 0; i < 10; ++i) other.publish("t/" + std::to_string(i), std::string(100, 'x'));
  small.advance_ms(1000);
  slow.take();
  EXPECT_LT(slow.got.size(), 5u);
  other.publish("t/9", "newer");
  for (int i = 0; i < 10; ++i) {
    slow.report_drained();
    slow.take();
  }
  EXPECT_EQ(slow.got.size(), 10u);
  EXPECT_EQ(slow.payloads().back(), "newer");
  other.publish("t/0", "later");
  slow.read();
  EXPECT_EQ(slow.got.size(), 10u) << "the tick is over";
}

TEST_F(Ticks, EndWithTheirSubscription) {
  reader.subscribe(ticked("a", 1000));
  writer.publish("a", "1");
  reader.unsubscribe("a").subscribe("a", 0, Mode::latest);
  writer.publish("a", "2");
  EXPECT_EQ(reader.read().payloads().back(), "2");
}

}  // namespace
}  // namespace millrace::broker
