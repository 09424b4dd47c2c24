#include "core/base/spin_mutex.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/base/asleep.hpp"

namespace millrace::base {
namespace {

TEST(SpinMutex, IsTakenByOneAtATime) {
  SpinMutex mutex;
  ASSERT_TRUE(mutex.try_lock());
  EXPECT_FALSE(mutex.try_lock());
  std::jthread([&] { EXPECT_FALSE(mutex.try_lock()); }).join();
  mutex.unlock();
  EXPECT_TRUE(mutex.try_lock());
  mutex.unlock();
}

TEST(SpinMutex, KeepsWhatItGuardsWhole) {
  constexpr int threads = 4;
  constexpr std::uint64_t rounds = 20'000;
  SpinMutex mutex;
  std::array<std::uint64_t, 8> guarded{};  // all of them the same, except inside
  std::uint64_t torn = 0;
  {
    std::vector<std::jthread> all;
    for (int i = 0; i < threads; ++i) {
      all.emplace_back([&] {
        for (std::uint64_t round = 0; round < rounds; ++round) {
          const std::lock_guard lock(mutex);
          for (const std::uint64_t one : guarded) torn += one != guarded.back() ? 1 : 0;
          for (std::uint64_t& one : guarded) ++one;
        }
      });
    }
  }
  EXPECT_EQ(torn, 0u);
  EXPECT_EQ(guarded.front(), threads * rounds);
}

TEST(SpinMutex, LetsWhoWaitsSleepAndWakesAllOfThemOneAfterTheOther) {
  constexpr std::size_t threads = 6;
  SpinMutex mutex;
  std::array<Sleeper, threads> sleepers;
  std::size_t inside = 0;
  mutex.lock();
  std::vector<std::jthread> all;
  for (Sleeper& sleeper : sleepers) {
    all.emplace_back([&] {
      sleeper.about_to_sleep();
      const std::lock_guard lock(mutex);
      ++inside;
    });
  }
  for (const Sleeper& sleeper : sleepers) sleeper.wait_until_asleep();
  EXPECT_EQ(inside, 0u);
  mutex.unlock();
  for (std::jthread& one : all) one.join();
  EXPECT_EQ(inside, threads);
  EXPECT_TRUE(mutex.try_lock()) << "free again when the last of them has left";
  mutex.unlock();
}

}  // namespace
}  // namespace millrace::base
