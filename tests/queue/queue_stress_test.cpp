// Stress tests of the queues, with threads descheduled between any two steps that other threads can
// observe. Also run under ThreadSanitizer and AddressSanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/queue/elastic_mpsc_queue.hpp"
#include "core/queue/locked_mpmc_queue.hpp"
#include "tests/queue/descheduled.hpp"

namespace millrace::queue {
namespace {

using namespace std::chrono_literals;

/// An item that owns memory, so that AddressSanitizer reports a lost or duplicated one.
struct Item {
  std::uint32_t producer;
  std::uint32_t number;
  std::uint32_t batch_left;  // how many of the same batch follow
  std::unique_ptr<std::uint32_t> copy;
};

constexpr std::uint32_t kEach = 8000;

template <class Queue>
void produce(Queue& queue, std::uint32_t producer, std::size_t batch_max) {
  std::vector<Item> batch;
  for (std::uint32_t next = 0; next < kEach;) {
    const auto size =
        static_cast<std::uint32_t>(std::min<std::size_t>(1 + chance() % batch_max, kEach - next));
    batch.clear();
    for (std::uint32_t i = 0; i < size; ++i) {
      batch.push_back({producer, next + i, 0, std::make_unique<std::uint32_t>(next + i)});
    }
    next += size;
    std::span<Item> rest(batch);
    while (!rest.empty()) {
      const std::size_t pushed = rest.size() == 1 ? queue.try_push(std::move(rest[0])).has_value()
                                                  : queue.push_batch(rest);
      if (pushed == 0) std::this_thread::yield();
      rest = rest.subspan(pushed);
    }
  }
}

/// Checks the order of each producer's items, and that none is lost or duplicated.
class Ledger {
 public:
  explicit Ledger(std::uint32_t producers) : next_(producers) {}
  void take(const Item& item) {
    ASSERT_LT(item.producer, next_.size());
    ASSERT_EQ(item.number, next_[item.producer]++);
    ASSERT_EQ(*item.copy, item.number);
    ++taken_;
  }
  std::uint64_t taken() const { return taken_; }
  bool complete() const { return taken_ == next_.size() * std::uint64_t{kEach}; }

 private:
  std::vector<std::uint32_t> next_;
  std::uint64_t taken_ = 0;
};

struct Shape {
  std::uint32_t producers;
  std::size_t batch_max;
  QueueConfig config;
};

class QueueStress : public testing::TestWithParam<Shape> {};

TEST_P(QueueStress, KeepsOrderAndBoundAndLosesNothingAcrossResizes) {
  const Shape shape = GetParam();
  const auto queue = *ElasticMpscQueue<Item, Descheduled<FutexWait>>::create(shape.config);
  std::vector<std::jthread> producers;
  for (std::uint32_t p = 0; p < shape.producers; ++p) {
    producers.emplace_back([&, p] { produce(*queue, p, shape.batch_max); });
  }
  std::atomic<bool> done{false};
  std::jthread watcher([&] {
    while (!done.load()) {
      ASSERT_LE(queue->len(), shape.config.max_capacity);
      ASSERT_LE(queue->capacity(), shape.config.max_capacity);
      ASSERT_GE(queue->capacity(), shape.config.min_capacity);
      std::this_thread::yield();
    }
  });
  Ledger ledger(shape.producers);
  while (!ledger.complete()) {
    switch (chance() % 4) {
      case 0:
        queue->pop_batch(1 + chance() % 300, [&](Item& item) { ledger.take(item); });
        break;
      case 1:
        for (const Item& item : queue->drain()) ledger.take(item);
        break;
      case 2:
        if (auto item = queue->pop_for(100us)) ledger.take(*item);
        break;
      default:
        if (auto item = queue->try_pop()) ledger.take(*item);
    }
    if (testing::Test::HasFatalFailure()) break;
    if (chance() % 64 == 0) std::this_thread::yield();
  }
  done = true;
  if (testing::Test::HasFatalFailure()) std::abort();  // the producers would push for ever
  EXPECT_TRUE(queue->empty_for_consumer());
  EXPECT_LE(queue->stats().peak, shape.config.max_capacity);
}

INSTANTIATE_TEST_SUITE_P(Shapes, QueueStress,
                         testing::Values(Shape{1, 1, {1, 1, 1, 2.0, 0.5}},
                                         Shape{2, 1, {1, 2, 70, 1.5, 0.5}},
                                         Shape{3, 1, {16, 64, 1000, 2.0, 0.25}},
                                         Shape{3, 40, {1, 1, 129, 2.0, 0.9}},
                                         Shape{2, 200, {64, 128, 5000, 3.0, 0.25}},
                                         Shape{4, 8, {2, 2, 100000, 2.0, 0.25}}));

TEST(QueueStress, ABatchStaysTogether) {
  const auto queue =
      *ElasticMpscQueue<Item, Descheduled<FutexWait>>::create({2, 2, 100000, 2.0, 0.25});
  constexpr std::uint32_t kBatches = 500;
  std::vector<std::jthread> producers;
  for (std::uint32_t p = 0; p < 3; ++p) {
    producers.emplace_back([&, p] {
      for (std::uint32_t b = 0; b < kBatches; ++b) {
        std::vector<Item> batch;
        for (std::uint32_t i = 0; i < 20; ++i) batch.push_back({p, b, 19 - i, nullptr});
        ASSERT_EQ(queue->push_batch(batch), 20U);  // max_capacity holds them all
      }
    });
  }
  std::uint32_t left = 0;
  std::uint32_t current = 0;
  for (std::uint32_t taken = 0; taken < 3 * kBatches * 20;) {
    const auto item = queue->try_pop();
    if (!item) continue;
    ++taken;
    if (left == 0) {
      current = item->producer;
      left = 20;
    }
    ASSERT_EQ(item->producer, current);
    ASSERT_EQ(item->batch_left, --left);
  }
}

TEST(QueueStress, TheConsumerRoleMovesBetweenThreads) {
  const auto queue =
      *ElasticMpscQueue<Item, Descheduled<FutexWait>>::create({2, 2, 500, 2.0, 0.25});
  std::vector<std::jthread> threads;
  for (std::uint32_t p = 0; p < 2; ++p) {
    threads.emplace_back([&, p] { produce(*queue, p, 10); });
  }
  std::mutex role;
  Ledger ledger(2);
  for (int c = 0; c < 3; ++c) {
    threads.emplace_back([&] {
      for (bool complete = false; !complete;) {
        const std::lock_guard lock(role);
        queue->pop_batch(50, [&](Item& item) { ledger.take(item); });
        complete = ledger.complete();
      }
    });
  }
  threads.clear();
  EXPECT_TRUE(ledger.complete());
}

/// The broker's way to sleep: its own flag, and a queue with NoWait. A lost wake-up would hang
/// here.
TEST(QueueStress, AnOwnersFlagIsEnoughToSleepAndWake) {
  const auto queue = *ElasticMpscQueue<std::uint32_t, NoWait>::create({1, 1, 64, 2.0, 0.25});
  std::atomic<std::uint32_t> sleeping{0};
  std::vector<std::jthread> producers;
  for (int p = 0; p < 2; ++p) {
    producers.emplace_back([&] {
      for (std::uint32_t i = 0; i < kEach;) {
        if (!queue->try_push(std::uint32_t{i})) {
          std::this_thread::yield();
          continue;
        }
        ++i;
        if (sleeping.load(std::memory_order_seq_cst) != 0 && sleeping.exchange(0) != 0) {
          sleeping.notify_one();
        }
      }
    });
  }
  for (std::uint32_t taken = 0; taken < 2 * kEach;) {
    if (queue->try_pop()) {
      ++taken;
      continue;
    }
    sleeping.store(1, std::memory_order_seq_cst);
    if (queue->empty_for_consumer()) sleeping.wait(1);
    sleeping.store(0);
  }
}

TEST(LockedQueueStress, ManyConsumersShareWithoutLossOrDoubling) {
  const auto queue = *LockedMpmcQueue<Item>::create({2, 2, 100, 2.0, 0.25});
  std::vector<std::jthread> threads;
  for (std::uint32_t p = 0; p < 3; ++p) {
    threads.emplace_back([&, p] {
      for (std::uint32_t i = 0; i < kEach; ++i) {
        ASSERT_TRUE(queue->push_for({p, i, 0, nullptr}, std::chrono::hours::max()));
      }
    });
  }
  std::atomic<std::uint32_t> taken{0};
  std::vector<std::atomic<std::uint8_t>> times(3 * kEach);
  for (int c = 0; c < 3; ++c) {
    threads.emplace_back([&] {
      std::vector<std::int64_t> last(3, -1);
      const auto take = [&](Item& item) {
        ASSERT_GT(std::int64_t{item.number}, last[item.producer]);
        last[item.producer] = item.number;
        ++times[item.producer * kEach + item.number];
        ++taken;
      };
      while (taken.load() < 3 * kEach) {
        if (chance() % 2 == 0) {
          queue->pop_batch(30, take);
        } else if (auto item = queue->pop_for(1ms)) {
          take(*item);
        }
      }
    });
  }
  threads.clear();
  EXPECT_TRUE(std::ranges::all_of(times, [](const auto& count) { return count == 1; }));
}

}  // namespace
}  // namespace millrace::queue
