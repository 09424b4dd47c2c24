#include "core/base/event_count.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "core/base/clock.hpp"
#include "tests/base/asleep.hpp"

namespace millrace::base {
namespace {

TEST(EventCount, DoesNotSleepWhenTheConditionHolds) {
  EventCount events;
  EXPECT_TRUE(events.sleep_unless([] { return true; }, never));
}

TEST(EventCount, SleepsNoLongerThanItsDeadline) {
  EventCount events;
  EXPECT_FALSE(events.sleep_unless([] { return false; }, Clock::now()));
}

// The notifier comes between the look at the condition and the sleep: the moment in which a wake-up
// could be lost.
TEST(EventCount, StaysAwakeForANotificationThatComesAfterTheLook) {
  EventCount events;
  EXPECT_FALSE(events.sleep_unless(
      [&] {
        events.notify_one();
        return false;
      },
      never));
}

TEST(EventCount, RemembersNoNotificationThatNobodyWaitedFor) {
  EventCount events;
  events.notify_one();
  events.notify_all();
  Sleeper sleeper;
  std::atomic<bool> done{false};
  std::jthread waiter([&] {
    sleeper.about_to_sleep();
    while (!events.sleep_unless([&] { return done.load(); }, never)) {
    }
  });
  sleeper.wait_until_asleep();
  done.store(true);
  events.notify_one();
  waiter.join();
}

TEST(EventCount, WakesAllWhoSleep) {
  constexpr std::size_t threads = 4;
  EventCount events;
  std::array<Sleeper, threads> sleepers;
  std::atomic<bool> open{false};
  std::vector<std::jthread> all;
  for (Sleeper& sleeper : sleepers) {
    all.emplace_back([&] {
      sleeper.about_to_sleep();
      while (!events.sleep_unless([&] { return open.load(); }, never)) {
      }
    });
  }
  for (const Sleeper& sleeper : sleepers) sleeper.wait_until_asleep();
  open.store(true);
  events.notify_all();  // once
  for (std::jthread& one : all) one.join();
}

// Each waiter takes one ticket; a notification for each ticket that is handed out.
TEST(EventCount, LosesNoWakeUpOfManyWaitersAndNotifiers) {
  constexpr std::uint32_t waiters = 3;
  constexpr std::uint32_t notifiers = 2;
  constexpr std::uint32_t of_each = 6000;
  EventCount events;
  std::atomic<std::uint32_t> tickets{0};
  std::atomic<std::uint32_t> taken{0};
  const auto take = [&] {
    std::uint32_t left = tickets.load();
    while (left > 0 && !tickets.compare_exchange_weak(left, left - 1)) {
    }
    return left > 0;
  };
  {
    std::vector<std::jthread> all;
    for (std::uint32_t i = 0; i < waiters; ++i) {
      all.emplace_back([&] {
        for (std::uint32_t n = 0; n < notifiers * of_each / waiters; ++n) {
          while (!events.sleep_unless(take, never)) {
          }
          taken.fetch_add(1);
        }
      });
    }
    for (std::uint32_t i = 0; i < notifiers; ++i) {
      all.emplace_back([&] {
        for (std::uint32_t n = 0; n < of_each; ++n) {
          tickets.fetch_add(1);
          events.notify_one();
        }
      });
    }
  }
  EXPECT_EQ(taken.load(), notifiers * of_each);
  EXPECT_EQ(tickets.load(), 0u);
}

}  // namespace
}  // namespace millrace::base
