// Sleeping, waking and waiting: core/base/futex.hpp, wait.hpp and clock.hpp.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include "core/base/clock.hpp"
#include "core/base/counter.hpp"
#include "core/base/futex.hpp"
#include "core/base/pause.hpp"
#include "core/base/wait.hpp"

namespace millrace::base {
namespace {

using namespace std::chrono_literals;

TEST(Clock, ADeadlineBeyondTheClocksRangeIsNever) {
  EXPECT_EQ(deadline_after(std::chrono::hours::max()), never);
  EXPECT_EQ(deadline_after(std::chrono::nanoseconds::max()), never);
  const Deadline before = Clock::now();
  EXPECT_GE(deadline_after(1ns), before);
  EXPECT_LE(deadline_after(-1h), before);
}

TEST(Futex, DoesNotSleepOnAWordThatHasChanged) {
  const std::atomic<std::uint32_t> word{1};
  EXPECT_TRUE(futex_wait(word, 0, never, Scope::process));
  EXPECT_TRUE(futex_wait(word, 0, never, Scope::shared));
}

TEST(Futex, SaysThatTheDeadlineHasPassed) {
  const std::atomic<std::uint32_t> word{0};
  EXPECT_FALSE(futex_wait(word, 0, Clock::now(), Scope::process));
  EXPECT_FALSE(futex_wait(word, 0, Deadline::min(), Scope::process));
  EXPECT_EQ(futex_wake(word, Scope::process), 0);
}

/// Two threads increment a number in turn, each asleep until the other has done so.
TEST(Parker, LosesNoWakeUp) {
  constexpr std::uint32_t kTurns = 20000;
  std::atomic<std::uint32_t> turn{0};
  Parker even;
  Parker odd;
  const auto play = [&](Parker& mine, Parker& other, std::uint32_t parity) {
    for (std::uint32_t i = parity; i < kTurns; i += 2) {
      ASSERT_TRUE(Block{0}.wait(
          mine, [&] { return turn.load(std::memory_order_seq_cst) == i; }, never));
      turn.store(i + 1, std::memory_order_seq_cst);
      other.wake();
    }
  };
  std::jthread second([&] { play(odd, even, 1); });
  play(even, odd, 0);
  second.join();
  EXPECT_EQ(turn.load(), kTurns);
}

TEST(WaitStrategy, EachReturnsWhenReadyAndWhenTheDeadlineHasPassed) {
  for (const WaitKind kind : {WaitKind::spin, WaitKind::yield, WaitKind::block}) {
    Parker parker;
    const AnyWait wait{kind};
    EXPECT_FALSE(wait.wait(
        parker, [] { return false; }, Clock::now()));
    int looks = 0;
    EXPECT_TRUE(wait.wait(
        parker, [&] { return ++looks == 60; }, never))
        << int(kind);
  }
}

TEST(SpinThenYield, YieldsItsCoreToTheThreadThatItWaitsFor) {
  std::atomic<bool> done{false};
  std::jthread other([&] { done.store(true, std::memory_order_release); });
  for (SpinThenYield wait; !done.load(std::memory_order_acquire);) wait.rest();
  Backoff backoff(4);
  for (int i = 0; i < 10; ++i) backoff.rest();
}

TEST(Counter, IsReadWhileItIsWritten) {
  Counter counter;
  std::jthread writer([&] {
    for (int i = 0; i < 100000; ++i) counter.add();
    counter.subtract(50000);
  });
  while (counter.value() == 0) std::this_thread::yield();
  writer.join();
  EXPECT_EQ(counter.value(), 50000U);
  counter.set(3);
  EXPECT_EQ(counter.value(), 3U);
}

}  // namespace
}  // namespace millrace::base
