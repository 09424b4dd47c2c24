// A ring that may grow: nothing is lost or seen out of order across the border of two segments.
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
  // Not started: nobody opens the gate.
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
  EXPECT_FALSE(line.producer().try_claim()) << "at its limit the gate holds again";
  open = true;
  open.notify_all();
  for (int i = 16; i < 500; ++i) {
    ASSERT_TRUE(line.producer().publish_with([&](int& value) { value = i; }));
  }
  line.drain();
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
  const Claim old_half = producer.claim(4);
  const Claim new_half = producer.claim(4);  // grows: the first four are not even published
  for (std::int64_t i = new_half.first; i <= new_half.last; ++i) producer[i] = static_cast<int>(i);
  for (std::int64_t i = old_half.first; i <= old_half.last; ++i) producer[i] = static_cast<int>(i);
  producer.publish(old_half);
  producer.publish(new_half);
  open = true;
  open.notify_all();
  line.drain();
  EXPECT_EQ(seen, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
}

}  // namespace
}  // namespace millrace::disruptor
