#include "server/upstream/back_off.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

constexpr std::uint32_t no_chance = 0;

TEST(BackOff, DoublesUpToItsLimit) {
  BackOff back_off(3000);
  for (const std::uint32_t half : {250u, 500u, 1000u, 1500u, 1500u}) {
    EXPECT_EQ(back_off.next_ms(no_chance), half);
  }
}

TEST(BackOff, LeavesAHalfToChance) {
  BackOff one(60'000), other(60'000);
  EXPECT_EQ(one.next_ms(no_chance), BackOff::first_ms / 2);
  EXPECT_EQ(other.next_ms(BackOff::first_ms / 2), BackOff::first_ms);
  for (std::uint32_t random = 0; random < 5000; random += 7) {
    BackOff back_off(60'000);
    const std::uint32_t ms = back_off.next_ms(random);
    EXPECT_GE(ms, BackOff::first_ms / 2);
    EXPECT_LE(ms, BackOff::first_ms);
  }
}

TEST(BackOff, BeginsAnewAfterAGoodLink) {
  BackOff back_off(60'000);
  for (int i = 0; i < 10; ++i) back_off.next_ms(no_chance);
  back_off.reset();
  EXPECT_EQ(back_off.next_ms(no_chance), BackOff::first_ms / 2);
}

TEST(BackOff, NeverWaitsLessThanAtFirstForALimitBelowThat) {
  BackOff back_off(1);
  EXPECT_EQ(back_off.next_ms(no_chance), BackOff::first_ms / 2);
  EXPECT_EQ(back_off.next_ms(no_chance), BackOff::first_ms / 2);
}

}  // namespace
}  // namespace millrace::server
