#include "core/queue/elastic_mpsc_queue.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace millrace::queue {
namespace {

TEST(ElasticMpscQueue, PopsInTheOrderOfPushesAcrossSegmentsAndResizes) {
  auto queue = *ElasticMpscQueue<std::unique_ptr<int>>::create({2, 4, 1000, 2.0, 0.25});
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(queue->try_push(std::make_unique<int>(i)));
  auto refused = std::make_unique<int>(1000);
  EXPECT_EQ(queue->try_push(std::move(refused)).error(), QueueError::kFull);
  EXPECT_NE(refused, nullptr);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(**queue->try_pop(), i);
  EXPECT_EQ(queue->try_pop().error(), QueueError::kEmpty);
}

TEST(ElasticMpscQueue, LosesNothingBetweenThreads) {
  auto queue = *ElasticMpscQueue<std::uint64_t>::create({2, 4, 1000, 2.0, 0.25});
  constexpr std::uint64_t kEach = 100000;
  std::vector<std::jthread> producers;
  for (std::uint64_t p = 0; p < 3; ++p) {
    producers.emplace_back([&, p] {
      for (std::uint64_t i = 0; i < kEach;) {
        if (queue->try_push(p << 32 | i))
          ++i;
        else
          std::this_thread::yield();
      }
    });
  }
  std::vector<std::uint64_t> next(3);
  for (std::uint64_t i = 0; i < 3 * kEach; ++i) {
    const auto item = queue->pop_for(std::chrono::seconds(60));
    ASSERT_TRUE(item);
    ASSERT_EQ(*item & 0xffffffff, next[*item >> 32]++);
  }
}

}  // namespace
}  // namespace millrace::queue
