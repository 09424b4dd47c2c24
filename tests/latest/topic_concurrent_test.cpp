#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "core/latest/topic.hpp"

namespace millrace::latest {
namespace {

using Words = std::array<std::uint64_t, 8>;
Words words_of(std::uint64_t number) {
  Words words;
  words.fill(number);
  return words;
}

TEST(TopicUnderFire, SeveralPublishersGetVersionsOfTheirOwnAndNoValueIsTorn) {
  constexpr int kPublishers = 3, kEach = 10'000;
  auto topic = Topic<Words>::make("t");
  std::vector<std::vector<Version>> versions(kPublishers);
  std::vector<std::thread> threads;
  for (int i = 0; i < kPublishers; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < kEach; ++n) {
        versions[i].push_back(topic->publish(words_of(static_cast<std::uint64_t>(n))).value());
      }
    });
  }
  auto subscriber = topic->subscribe();
  std::uint64_t received = 0;
  while (subscriber.seen() < kPublishers * kEach) {
    const auto poll = subscriber.wait();
    ++received;
    for (const std::uint64_t word : poll.value()) ASSERT_EQ(word, poll.value()[0]);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(received + subscriber.skipped_total(), std::uint64_t{kPublishers * kEach});
  std::vector<bool> given(kPublishers * kEach + 1);
  for (const auto& mine : versions) {
    EXPECT_TRUE(std::ranges::is_sorted(mine));
    for (const Version version : mine) {
      ASSERT_FALSE(given.at(version));
      given[version] = true;
    }
  }
}

/// Two threads that wait for each other in turn: a lost wake-up would hang them.
TEST(TopicUnderFire, NoWakeUpIsLost) {
  constexpr int kRounds = 3000;
  for (const auto spin_max : {std::chrono::microseconds(0), std::chrono::microseconds(5),
                              std::chrono::microseconds(2000)}) {
    auto ping = Topic<int>::make("ping", {.spin_max = spin_max});
    auto pong = Topic<int>::make("pong", {.spin_max = spin_max});
    std::thread echo([&] {
      auto subscriber = ping->subscribe();
      while (const auto poll = subscriber.wait()) pong->publish(poll.value()).value();
    });
    auto subscriber = pong->subscribe();
    for (int i = 1; i <= kRounds; ++i) {
      ping->publish(i).value();
      ASSERT_EQ(subscriber.wait().value(), i);
    }
    ping->close();
    echo.join();
  }
}

TEST(TopicUnderFire, EverySleeperWakesUpForEveryRound) {
  constexpr int kSleepers = 4, kRounds = 300;
  auto topic = Topic<std::string>::make("t");
  std::atomic<int> arrived{0};
  std::vector<std::thread> sleepers;
  for (int i = 0; i < kSleepers; ++i) {
    sleepers.emplace_back([&] {
      auto subscriber = topic->subscribe();
      while (const auto poll = subscriber.wait()) {
        EXPECT_EQ(poll.skipped(), 0u);
        arrived.fetch_add(1);
        arrived.notify_all();
      }
    });
  }
  for (int round = 1; round <= kRounds; ++round) {
    topic->publish(std::to_string(round)).value();
    for (int now = arrived.load(); now != round * kSleepers; now = arrived.load()) {
      arrived.wait(now);
    }
  }
  topic->close();
  for (std::thread& sleeper : sleepers) sleeper.join();
}

TEST(TopicUnderFire, TimedWaitsThatEndAsNewsArriveLoseNothing) {
  constexpr int kLast = 2000;
  auto topic = Topic<int>::make("t");
  std::thread publisher([&] {
    for (int i = 1; i <= kLast; ++i) {
      topic->publish(i).value();
      if (i % 8 == 0) std::this_thread::yield();
    }
  });
  auto subscriber = topic->subscribe();
  int newest = 0;
  while (newest < kLast) {
    const auto poll = subscriber.wait_for(std::chrono::microseconds(newest % 50));
    if (!poll) continue;
    EXPECT_GT(poll.value(), newest);
    newest = poll.value();
  }
  publisher.join();
}

TEST(TopicUnderFire, ClosingWakesSleepers) {
  for (int round = 0; round < 200; ++round) {
    auto topic = Topic<int>::make("t");
    std::thread sleeper([subscriber = topic->subscribe()]() mutable {
      EXPECT_EQ(subscriber.wait().news(), News::closed);
    });
    topic->close();
    sleeper.join();
  }
}

}  // namespace
}  // namespace millrace::latest
