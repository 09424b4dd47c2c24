#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "core/latest/bus.hpp"

namespace millrace::latest {
namespace {

std::string name_of(int number) {
  return "topic/" + std::to_string(number);
}

TEST(BusUnderFire, ThreadsThatMakeTheSameTopicsGetTheSameOnes) {
  constexpr int kThreads = 4, kTopics = 3000;
  Bus<int> bus;
  std::vector<std::vector<Ref<Topic<int>>>> made(kThreads);
  std::vector<std::thread> threads;
  for (auto& mine : made) {
    threads.emplace_back([&bus, &mine] {
      for (int i = 0; i < kTopics; ++i) mine.push_back(bus.topic(name_of(i)).value());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(bus.topic_count(), static_cast<std::size_t>(kTopics));
  for (const auto& mine : made) EXPECT_EQ(mine, made[0]);
}

/// After a clean-up, a subscriber and the publishers of its topic's name must have the same topic.
TEST(BusUnderFire, CleaningUpNeverLosesATopicThatIsFollowed) {
  constexpr int kRounds = 3000;
  Bus<std::string> bus;
  std::atomic<bool> over{false};
  std::thread cleaner([&] {
    while (!over.load()) bus.cleanup_unused_topics();
  });
  std::thread noise([&] {
    for (int i = 0; !over.load(); ++i) bus.publish(name_of(i % 50), "noise").value();
  });
  for (int round = 0; round < kRounds; ++round) {
    const std::string name = "followed/" + std::to_string(round % 7);
    auto subscriber = bus.subscribe(name);
    ASSERT_TRUE(bus.publish(name, std::to_string(round)));
    ASSERT_EQ(*subscriber.wait().value(), std::to_string(round));
    if (round % 64 == 0) {
      for (const std::string& known : bus.topic_names()) ASSERT_NE(known, "");
    }
  }
  over.store(true);
  cleaner.join();
  noise.join();
}

/// A publish by name gets the removed topic as long as that accepts values, or a new one.
TEST(BusUnderFire, RemovingATopicNeverRefusesAPublishByName) {
  constexpr int kRounds = 20'000;
  Bus<int> bus;
  std::atomic<bool> over{false};
  std::atomic<int> removed{0};
  std::thread remover([&] {
    while (!over.load()) removed += bus.remove("t") ? 1 : 0;
  });
  std::thread follower([&] {
    while (!over.load()) {
      auto subscriber = bus.subscribe("t");
      int newest = 0;
      while (const auto poll = subscriber.wait()) {
        EXPECT_GT(poll.value(), newest);
        newest = poll.value();
      }
    }
  });
  for (int i = 1; i <= kRounds || removed.load() == 0; ++i) ASSERT_TRUE(bus.publish("t", i));
  over.store(true);
  remover.join();
  bus.close();
  follower.join();
}

TEST(BusUnderFire, WaitersAreWokenByPublishesByName) {
  constexpr int kRounds = 1000;
  auto bus = Bus<int>::high_throughput();
  std::thread echo([&] {
    auto subscriber = bus.subscribe("ping");
    while (const auto poll = subscriber.wait()) bus.publish("pong", poll.value()).value();
  });
  auto subscriber = bus.subscribe("pong");
  for (int i = 1; i <= kRounds; ++i) {
    bus.publish("ping", i).value();
    ASSERT_EQ(subscriber.wait().value(), i);
  }
  bus.close();
  echo.join();
}

}  // namespace
}  // namespace millrace::latest
