// The wait strategies: a waiter always returns, and never misses a wake-up.
#include "core/disruptor/wait.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "core/disruptor/sequence.hpp"

namespace millrace::disruptor {
namespace {

template <class Wait>
class WaitStrategy : public ::testing::Test {};

struct BlockAtOnce : Block {
  BlockAtOnce() { looks_before_sleep = 0; }
};
using Strategies = ::testing::Types<Spin, Yield, Block, BlockAtOnce, AnyWait>;
TYPED_TEST_SUITE(WaitStrategy, Strategies);

TYPED_TEST(WaitStrategy, ReturnsOnceReady) {
  Parker parker;
  EXPECT_TRUE(TypeParam{}.wait(
      parker, [] { return true; }, never));
}

TYPED_TEST(WaitStrategy, GivesUpAtTheDeadline) {
  Parker parker;
  const auto deadline = Clock::now() + std::chrono::milliseconds(2);
  EXPECT_FALSE(TypeParam{}.wait(
      parker, [] { return false; }, deadline));
  EXPECT_GE(Clock::now(), deadline);
}

// Two threads increment a number in turn: a single lost wake-up would hang the test.
TYPED_TEST(WaitStrategy, LosesNoWakeUp) {
  constexpr std::int64_t rounds = 2'000;
  const TypeParam wait{};
  Sequence ping, pong;
  Parker here, there;
  std::thread other([&] {
    for (std::int64_t i = 0; i < rounds; ++i) {
      wait.wait(
          there, [&] { return ping.look() >= i; }, never);
      pong.store(i, wait.sleeps());
      if (wait.sleeps()) here.wake();
    }
  });
  for (std::int64_t i = 0; i < rounds; ++i) {
    ping.store(i, wait.sleeps());
    if (wait.sleeps()) there.wake();
    wait.wait(
        here, [&] { return pong.look() >= i; }, never);
  }
  other.join();
  EXPECT_EQ(pong.look(), rounds - 1);
}

TEST(AnyWait, SleepsOnlyWhenItBlocks) {
  EXPECT_FALSE(AnyWait{WaitKind::spin}.sleeps());
  EXPECT_FALSE(AnyWait{WaitKind::yield}.sleeps());
  EXPECT_TRUE(AnyWait{WaitKind::block}.sleeps());
}

TEST(AnyWait, WaitsInEachKind) {
  for (const WaitKind kind : {WaitKind::spin, WaitKind::yield, WaitKind::block}) {
    Parker parker;
    int looks = 0;
    EXPECT_TRUE(AnyWait{kind}.wait(
        parker, [&] { return ++looks == 3; }, never));
  }
}

TEST(Sequence, HasItsOwnCacheLines) {
  EXPECT_EQ(sizeof(Sequence), padding_bytes);
  EXPECT_EQ(alignof(Sequence), padding_bytes);
}

}  // namespace
}  // namespace millrace::disruptor
