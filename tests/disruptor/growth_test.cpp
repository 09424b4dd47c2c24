// A ring that may grow: nothing is lost or seen out of order across the end of a segment.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <vector>

#include "core/disruptor/disruptor.hpp"

namespace millrace::disruptor {
namespace {

using namespace std::chrono_literals;

TEST(Growth, IsOffByDefault) {
  Disruptor<int, Yield> line({.capacity = 4});
  line.add("held", [](int&, std::int64_t, bool) {});
  // Not started, so no consumer opens the gate.
  ASSERT_TRUE(line.producer().claim(4));
  EXPECT_FALSE(line.producer().claim_for(1, 2ms));
  EXPECT_EQ(line.producer().capacity(), 4u);
}

TEST(Growth, DoublesOnTimeOutUpToItsLimit) {
  std::atomic<bool> open{false};
  std::vector<int> seen;
  Disruptor<int, Block> line({.capacity = 4, .growth = {.after = 1ms, .capacity_max = 16}});
  line.add("slow", [&](int& value, std::int64_t, bool) {
    open.wait(false);
    seen.push_back(value);
  });
  line.start();
  for (int i = 0; i < 16; ++i) {
    ASSERT_TRUE(line.producer().publish_with([&](int& value) { value = i; }));
  }
  EXPECT_EQ(line.producer().capacity(), 16u);
  EXPECT_FALSE(line.producer().try_claim()) << "at its limit the ring is full again";
  open = true;
  open.notify_all();
  for (int i = 16; i < 500; ++i) {
    ASSERT_TRUE(line.producer().publish_with([&](int& value) { value = i; }));
  }
  EXPECT_TRUE(line.drain());
  ASSERT_EQ(seen.size(), 500u);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(seen[static_cast<std::size_t>(i)], i);
}

TEST(Growth, AClaimAcrossTheBorderFindsItsEvents) {
  Disruptor<int, Yield> line({.capacity = 4, .growth = {.after = 1ms, .capacity_max = 8}});
  std::atomic<bool> open{false};
  std::vector<int> seen;
  line.add("slow", [&](int& value, std::int64_t, bool) {
    open.wait(false);
    seen.push_back(value);
  });
  line.start();
  auto& producer = line.producer();
  const Claim old_half = producer.claim(4).value();
  const Claim new_half = producer.claim(4).value();  // grows: the first four are not even published
  for (std::int64_t i = new_half.first(); i <= new_half.last(); ++i)
    producer[i] = static_cast<int>(i);
  for (std::int64_t i = old_half.first(); i <= old_half.last(); ++i)
    producer[i] = static_cast<int>(i);
  EXPECT_TRUE(producer.publish(old_half));
  EXPECT_TRUE(producer.publish(new_half));
  open = true;
  open.notify_all();
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(seen, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
}

// The newer claim, in the newer segment, is filled first; then the older one.
TEST(Growth, ClaimsOnBothSidesOfTheBorderAreFilledInAnyOrder) {
  Disruptor<int, Yield> line({.capacity = 4, .growth = {.after = 1ms, .capacity_max = 8}});
  std::vector<int> seen;
  line.add("sink", [&](int& value, std::int64_t, bool) { seen.push_back(value); });
  auto& producer = line.producer();
  const Claim older = producer.claim(4).value();
  const Claim newer = producer.claim(4).value();
  const auto number = [](int& value, std::int64_t sequence) { value = static_cast<int>(sequence); };
  producer.for_each(newer, number);
  producer.for_each(older, number);
  ASSERT_TRUE(producer.publish(older));
  ASSERT_TRUE(producer.publish(newer));
  line.start();
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(seen, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
}

// The claim that made the ring grow is given back, and so is one before it, in the older segment;
// then the ring grows again.
TEST(Growth, AClaimThatIsGivenBackMovesNoEventToAnotherSegment) {
  std::vector<std::int64_t> seen;
  Disruptor<std::int64_t, Yield> line(
      {.capacity = 8, .growth = {.after = 1ms, .capacity_max = 64}});
  line.add("sink", [&](std::int64_t& value, std::int64_t, bool) { seen.push_back(value); });
  auto& producer = line.producer();
  const auto number = [](std::int64_t& value, std::int64_t at) { value = at; };
  ASSERT_TRUE(producer.publish_each(4, number));  // not started: the gate stays closed
  const Claim older = producer.claim(4).value();
  const Claim newer = producer.claim(8).value();
  ASSERT_EQ(producer.capacity(), 16u);
  ASSERT_TRUE(producer.give_back(newer));
  ASSERT_TRUE(producer.give_back(older));
  const Claim all = producer.claim(20).value();
  ASSERT_EQ(producer.capacity(), 32u);
  producer.for_each(all, number);
  ASSERT_TRUE(producer.publish(all));
  line.start();
  EXPECT_TRUE(line.drain());
  ASSERT_EQ(seen.size(), 24u);
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<std::int64_t>(i));
}

TEST(Growth, MakesRoomAtOnceForAClaimAboveTheCapacity) {
  Disruptor<int, Yield> line({.capacity = 4, .growth = {.after = 1h, .capacity_max = 20}});
  line.add("sink", [](int&, std::int64_t, bool) {});
  EXPECT_EQ(line.producer().claim(17).error(), Error::claim_too_large)
      << "the ring grows to at most 16";
  EXPECT_EQ(line.producer().capacity(), 4u);
  EXPECT_EQ(line.producer().claim(9).value().size(), 9);
  EXPECT_EQ(line.producer().capacity(), 16u);
}

TEST(Growth, OptionsThatCouldNeverTakeEffectAreRefused) {
  using Line = Disruptor<int, Yield>;
  EXPECT_THROW(Line({.capacity = 4, .growth = {.after = 1ms}}), std::invalid_argument);
  EXPECT_THROW(Line({.capacity = 4, .growth = {.capacity_max = 8}}), std::invalid_argument);
  EXPECT_THROW(Line({.capacity = 4, .growth = {.after = 1ms, .capacity_max = 7}}),
               std::invalid_argument);
  EXPECT_THROW(Line({.capacity = 4, .growth = {.after = -1ms, .capacity_max = 8}}),
               std::invalid_argument);
}

}  // namespace
}  // namespace millrace::disruptor
