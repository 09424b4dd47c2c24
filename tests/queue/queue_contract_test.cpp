// The contract of the elastic queues, tested with both: see core/queue/elastic_mpsc_queue.hpp.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/queue/elastic_mpsc_queue.hpp"
#include "core/queue/locked_mpmc_queue.hpp"

namespace millrace::queue {
namespace {

using namespace std::chrono_literals;

struct Elastic {
  template <class T>
  using Queue = ElasticMpscQueue<T>;
};
struct Locked {
  template <class T>
  using Queue = LockedMpmcQueue<T>;
};

template <class Kind>
class QueueContract : public testing::Test {
 protected:
  template <class T>
  using Queue = typename Kind::template Queue<T>;
};

using Kinds = testing::Types<Elastic, Locked>;
TYPED_TEST_SUITE(QueueContract, Kinds);

template <class Queue>
auto make(QueueConfig config) {
  auto queue = Queue::create(config);
  EXPECT_TRUE(queue) << describe(queue.error());
  return std::move(*queue);
}

template <class Queue>
void push_numbers(Queue& queue, int first, int last) {
  for (int i = first; i <= last; ++i) ASSERT_TRUE(queue.try_push(int{i})) << i;
}

TYPED_TEST(QueueContract, NamesTheRuleThatAConfigurationBreaks) {
  using Queue = typename TypeParam::template Queue<int>;
  const auto fault = [](QueueConfig config) { return Queue::create(config).error(); };
  EXPECT_EQ(fault({0, 1, 2, 2.0, 0.5}), Error::min_capacity_zero);
  EXPECT_EQ(fault({3, 3, 2, 2.0, 0.5}), Error::min_above_max);
  EXPECT_EQ(fault({2, 1, 4, 2.0, 0.5}), Error::initial_out_of_range);
  EXPECT_EQ(fault({2, 5, 4, 2.0, 0.5}), Error::initial_out_of_range);
  EXPECT_EQ(fault({1, 1, kCapacityMax + 1, 2.0, 0.5}), Error::max_too_large);
  EXPECT_EQ(fault({1, 1, 4, 1.0, 0.5}), Error::growth_factor_too_small);
  EXPECT_EQ(fault({1, 1, 4, std::nan(""), 0.5}), Error::growth_factor_too_small);
  EXPECT_EQ(fault({1, 1, 4, HUGE_VAL, 0.5}), Error::growth_factor_too_small);
  EXPECT_EQ(fault({1, 1, 4, 2.0, 0.0}), Error::shrink_threshold_out_of_range);
  EXPECT_EQ(fault({1, 1, 4, 2.0, 1.0}), Error::shrink_threshold_out_of_range);
  EXPECT_EQ(fault({1, 1, 4, 2.0, std::nan("")}), Error::shrink_threshold_out_of_range);
  EXPECT_TRUE(Queue::create({1, 1, 1, 1.01, 0.99}));
}

TYPED_TEST(QueueContract, TakesMoveOnlyItemsAndKeepsTheirOrderAcrossResizes) {
  const auto queue =
      make<typename TypeParam::template Queue<std::unique_ptr<int>>>({2, 4, 5000, 1.5, 0.25});
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 5000; ++i) ASSERT_TRUE(queue->try_push(std::make_unique<int>(i)));
    for (int i = 0; i < 5000; ++i) ASSERT_EQ(**queue->try_pop(), i);
  }
  EXPECT_EQ(queue->try_pop().error(), Error::empty);
}

TYPED_TEST(QueueContract, PopsIntoAnItemOfTheCallers) {
  const auto queue = make<typename TypeParam::template Queue<std::unique_ptr<int>>>({});
  auto item = std::make_unique<int>(7);
  EXPECT_FALSE(queue->try_pop(item));
  EXPECT_EQ(*item, 7);
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(queue->try_push(std::make_unique<int>(i)));
  for (int i = 0; i < 5000; ++i) {
    ASSERT_TRUE(queue->try_pop(item));
    ASSERT_EQ(*item, i);
  }
  EXPECT_FALSE(queue->try_pop(item));
}

TYPED_TEST(QueueContract, HoldsExactlyMaxCapacityItems) {
  for (const std::size_t max : {1, 2, 3, 63, 64, 65, 127, 1000, 1024}) {
    const auto queue = make<typename TypeParam::template Queue<int>>({1, 1, max, 2.0, 0.5});
    push_numbers(*queue, 1, static_cast<int>(max));
    // At every offset of the front, exactly as many pushes fit as there were pops.
    for (std::size_t step = 0; step < 300; ++step) {
      ASSERT_EQ(queue->try_push(0).error(), Error::full);
      ASSERT_EQ(queue->len(), max);
      const std::size_t popped = 1 + step % std::min<std::size_t>(max, 5);
      for (std::size_t i = 0; i < popped; ++i) ASSERT_TRUE(queue->try_pop());
      for (std::size_t i = 0; i < popped; ++i) ASSERT_TRUE(queue->try_push(0));
    }
  }
}

TYPED_TEST(QueueContract, LeavesARefusedItemAlone) {
  const auto queue =
      make<typename TypeParam::template Queue<std::unique_ptr<int>>>({1, 1, 1, 2.0, 0.5});
  ASSERT_TRUE(queue->try_push(std::make_unique<int>(1)));
  auto item = std::make_unique<int>(2);
  EXPECT_EQ(queue->try_push(std::move(item)).error(), Error::full);
  EXPECT_NE(item, nullptr);
  EXPECT_EQ(queue->push_for(std::move(item), 1ms).error(), Error::timed_out);
  EXPECT_NE(item, nullptr);
  EXPECT_EQ(queue->push_batch({&item, 1}), 0U);
  EXPECT_NE(item, nullptr);
}

TYPED_TEST(QueueContract, KeepsTheReserveFreeForPushesWithoutOne) {
  const auto queue = make<typename TypeParam::template Queue<int>>({1, 1, 100, 2.0, 0.5});
  std::vector<int> items(150);
  EXPECT_EQ(queue->push_batch(items, 10), 90U);
  EXPECT_EQ(queue->try_push(0, 10).error(), Error::full);
  EXPECT_EQ(queue->push_for(0, 1ms, 10).error(), Error::timed_out);
  EXPECT_TRUE(queue->try_push(0, 9));
  EXPECT_EQ(queue->push_batch(items), 9U);
  EXPECT_EQ(queue->try_push(0).error(), Error::full);
  EXPECT_EQ(queue->len(), 100U);
  EXPECT_EQ(queue->try_push(0, 1000).error(), Error::full);  // more reserve than max_capacity
}

TYPED_TEST(QueueContract, PushesABatchWholeOrAReportedPart) {
  const auto queue =
      make<typename TypeParam::template Queue<std::unique_ptr<int>>>({2, 2, 1000, 2.0, 0.25});
  std::vector<std::unique_ptr<int>> items;
  for (int i = 0; i < 1200; ++i) items.push_back(std::make_unique<int>(i));
  EXPECT_EQ(queue->push_batch({items.data(), 700}), 700U);
  EXPECT_EQ(queue->push_batch({items.data() + 700, 500}), 300U);
  EXPECT_EQ(queue->push_batch({}), 0U);
  for (int i = 0; i < 1200; ++i) ASSERT_EQ(items[i] == nullptr, i < 1000) << i;
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(**queue->try_pop(), i);
}

TYPED_TEST(QueueContract, PopsUpToNInPlaceAndDestroysThem) {
  const auto queue =
      make<typename TypeParam::template Queue<std::shared_ptr<int>>>({2, 2, 1000, 2.0, 0.25});
  const auto item = std::make_shared<int>(7);
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(queue->try_push(std::shared_ptr<int>(item)));
  int sum = 0;
  EXPECT_EQ(queue->pop_batch(200, [&](std::shared_ptr<int>& popped) { sum += *popped; }), 200U);
  EXPECT_EQ(sum, 1400);
  EXPECT_EQ(item.use_count(), 101);
  EXPECT_EQ(queue->pop_batch(200, [&](std::shared_ptr<int>&) {}), 100U);
  EXPECT_EQ(queue->pop_batch(200, [&](std::shared_ptr<int>&) {}), 0U);
  EXPECT_EQ(item.use_count(), 1);
}

TYPED_TEST(QueueContract, StaysUsableWhenABatchConsumerThrows) {
  const auto queue =
      make<typename TypeParam::template Queue<std::shared_ptr<int>>>({2, 2, 1000, 2.0, 0.25});
  const auto item = std::make_shared<int>(7);
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(queue->try_push(std::shared_ptr<int>(item)));
  const auto refuse = [](std::shared_ptr<int>&) { throw std::runtime_error("refused"); };
  EXPECT_THROW(queue->pop_batch(500, refuse), std::runtime_error);
  EXPECT_EQ(static_cast<long>(queue->len()), item.use_count() - 1);  // destroyed, not leaked
  while (queue->try_pop()) {
  }
  EXPECT_EQ(item.use_count(), 1);
}

TYPED_TEST(QueueContract, DestroysTheItemsThatAreStillInside) {
  const auto item = std::make_shared<int>(7);
  {
    const auto queue =
        make<typename TypeParam::template Queue<std::shared_ptr<int>>>({2, 2, 1000, 2.0, 0.25});
    for (int i = 0; i < 700; ++i) ASSERT_TRUE(queue->try_push(std::shared_ptr<int>(item)));
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(queue->try_pop());
    EXPECT_EQ(item.use_count(), 601);
  }
  EXPECT_EQ(item.use_count(), 1);
}

TYPED_TEST(QueueContract, ClearsAndDrains) {
  const auto queue = make<typename TypeParam::template Queue<int>>({2, 2, 1000, 2.0, 0.25});
  push_numbers(*queue, 1, 600);
  std::vector<int> expected(600);
  std::iota(expected.begin(), expected.end(), 1);
  EXPECT_EQ(queue->drain(), expected);
  EXPECT_TRUE(queue->drain().empty());
  push_numbers(*queue, 1, 600);
  EXPECT_EQ(queue->clear(), 600U);
  EXPECT_EQ(queue->clear(), 0U);
  EXPECT_EQ(queue->len(), 0U);
  push_numbers(*queue, 1, 1);
  EXPECT_EQ(*queue->try_pop(), 1);
}

TYPED_TEST(QueueContract, GrowsByItsFactorAndShrinksToItsMinimum) {
  const auto queue = make<typename TypeParam::template Queue<int>>({100, 200, 1000, 2.0, 0.25});
  EXPECT_EQ(queue->capacity(), 200U);
  push_numbers(*queue, 1, 200);
  EXPECT_EQ(queue->capacity(), 200U);
  push_numbers(*queue, 201, 201);
  EXPECT_EQ(queue->capacity(), 400U);
  push_numbers(*queue, 202, 1000);
  EXPECT_EQ(queue->capacity(), 1000U);
  EXPECT_EQ(queue->stats().resizes, 3U);
  while (queue->try_pop()) {
  }
  // The lock-free queue shrinks only after a calm.
  for (int look = 0; look < 40000; ++look) ASSERT_FALSE(queue->try_pop());
  EXPECT_EQ(queue->capacity(), 100U);
  EXPECT_GT(queue->stats().resizes, 3U);
}

TYPED_TEST(QueueContract, CountsWhatItDid) {
  const auto queue = make<typename TypeParam::template Queue<int>>({1, 1, 10, 2.0, 0.25});
  push_numbers(*queue, 1, 10);
  EXPECT_FALSE(queue->try_push(11));
  EXPECT_FALSE(queue->try_push(12));
  ASSERT_TRUE(queue->try_pop());
  EXPECT_EQ(queue->clear(), 9U);
  push_numbers(*queue, 1, 3);
  const QueueStats stats = queue->stats();
  EXPECT_EQ(stats.pushed, 13U);
  EXPECT_EQ(stats.popped, 10U);
  EXPECT_EQ(stats.full, 2U);
  EXPECT_EQ(stats.peak, 10U);
  EXPECT_GE(stats.memory_bytes, sizeof(int) * queue->capacity());
  EXPECT_EQ(queue->len(), 3U);
}

// A push or batch that is refused or pushed in part counts once, however long it waited for room.
TYPED_TEST(QueueContract, CountsEachRefusalOnce) {
  const auto queue = make<typename TypeParam::template Queue<int>>({1, 1, 10, 2.0, 0.25});
  std::vector<int> items(12);
  EXPECT_EQ(queue->push_batch(items), 10U);
  EXPECT_EQ(queue->stats().full, 1U);
  EXPECT_EQ(queue->push_batch(items), 0U);
  EXPECT_EQ(queue->stats().full, 2U);
  EXPECT_EQ(queue->push_for(1, 20ms).error(), Error::timed_out);
  EXPECT_EQ(queue->stats().full, 3U);
  std::jthread consumer([&] { EXPECT_TRUE(queue->try_pop()); });
  EXPECT_TRUE(queue->push_for(1, std::chrono::hours::max()));
  EXPECT_EQ(queue->stats().full, 3U);  // it waited, and was not refused
}

TYPED_TEST(QueueContract, ShowsWhatWaitsAndTakesNothing) {
  const auto queue = make<typename TypeParam::template Queue<int>>({1, 1, 1000, 2.0, 0.25});
  EXPECT_TRUE(queue->empty());
  push_numbers(*queue, 1, 700);
  for (int i = 0; i < 130; ++i) ASSERT_TRUE(queue->try_pop());
  push_numbers(*queue, 701, 1000);
  std::vector<int> expected(870);
  std::iota(expected.begin(), expected.end(), 131);
  std::vector<int> seen;
  queue->for_each([&](const int& item) { seen.push_back(item); });
  EXPECT_EQ(seen, expected);
  EXPECT_FALSE(queue->empty());
  EXPECT_EQ(queue->drain(), expected);
}

TYPED_TEST(QueueContract, PopsRunsOfNeighbours) {
  const auto queue = make<typename TypeParam::template Queue<int>>({1, 1, 1000, 2.0, 0.25});
  push_numbers(*queue, 1, 1000);
  std::vector<int> seen;
  std::size_t runs = 0;
  const auto use = [&](std::span<int> run) {
    ++runs;
    seen.insert(seen.end(), run.begin(), run.end());
  };
  EXPECT_EQ(queue->pop_runs(600, use), 600U);
  EXPECT_EQ(queue->pop_runs(600, use), 400U);
  EXPECT_LT(runs, 40U);
  std::vector<int> expected(1000);
  std::iota(expected.begin(), expected.end(), 1);
  EXPECT_EQ(seen, expected);
}

TYPED_TEST(QueueContract, CopiesFromAnItemThatStaysTheCallers) {
  const auto queue = make<typename TypeParam::template Queue<std::string>>({});
  const std::string text = "stays";
  ASSERT_TRUE(queue->try_push(text));
  EXPECT_EQ(text, "stays");
  EXPECT_EQ(*queue->try_pop(), "stays");
}

TYPED_TEST(QueueContract, IsConfiguredByNamedSettersInAnyOrder) {
  const auto config = QueueConfig()
                          .with_max_capacity(4096)
                          .with_initial_capacity(64)
                          .with_min_capacity(32)
                          .with_shrink_threshold(0.5)
                          .with_growth_factor(1.5);
  const auto queue = make<typename TypeParam::template Queue<int>>(config);
  EXPECT_EQ(queue->capacity(), 64U);
  EXPECT_EQ(queue->max_capacity(), 4096U);
  EXPECT_EQ(config.min_capacity, 32U);
  EXPECT_EQ(config.shrink_threshold, 0.5);
  EXPECT_EQ(config.growth_factor, 1.5);
}

// With a threshold just below the size, the queue must not grow at each push and shrink at each
// pop.
TYPED_TEST(QueueContract, DoesNotResizeOnEachPushAndPopWhateverTheThreshold) {
  for (const double threshold : {0.25, 0.5, 0.9, 0.999}) {
    const auto queue = make<typename TypeParam::template Queue<int>>({1, 1, 1000, 2.0, threshold});
    push_numbers(*queue, 1, 90);
    const std::uint64_t before = queue->stats().resizes;
    for (int i = 0; i < 20000; ++i) {
      for (int k = 0; k < 2; ++k) ASSERT_TRUE(queue->try_pop());
      push_numbers(*queue, 1, 2);
    }
    EXPECT_LE(queue->stats().resizes - before, 40000U / 90) << threshold;
  }
}

TYPED_TEST(QueueContract, TimesOutWhenNobodyPushesOrPops) {
  const auto queue = make<typename TypeParam::template Queue<int>>({1, 1, 1, 2.0, 0.25});
  EXPECT_EQ(queue->pop_for(2ms).error(), Error::timed_out);
  EXPECT_EQ(queue->pop_for(-1s).error(), Error::timed_out);
  push_numbers(*queue, 1, 1);
  EXPECT_EQ(queue->push_for(2, 2ms).error(), Error::timed_out);
  EXPECT_EQ(queue->push_for(2, -1s).error(), Error::timed_out);
  EXPECT_EQ(*queue->pop_for(0s), 1);
}

// A lost wake-up would hang here: each side sleeps without a time limit until the other acts.
TYPED_TEST(QueueContract, WakesTheSleeperOnTheOtherSideEachTime) {
  const auto queue = make<typename TypeParam::template Queue<int>>({1, 1, 1, 2.0, 0.25});
  constexpr int kTurns = 3000;
  std::jthread producer([&] {
    for (int i = 0; i < kTurns; ++i) {
      ASSERT_TRUE(queue->push_for(int{i}, std::chrono::hours::max()));
    }
  });
  for (int i = 0; i < kTurns; ++i) {
    const auto item = queue->pop_for(std::chrono::hours::max());
    ASSERT_TRUE(item);
    ASSERT_EQ(*item, i);
  }
}

TYPED_TEST(QueueContract, KnowsWhetherTheConsumerMaySleep) {
  const auto queue = make<typename TypeParam::template Queue<int>>({1, 1, 100, 2.0, 0.25});
  EXPECT_TRUE(queue->empty_for_consumer());
  push_numbers(*queue, 1, 2);
  EXPECT_FALSE(queue->empty_for_consumer());
  ASSERT_TRUE(queue->try_pop());
  EXPECT_FALSE(queue->empty_for_consumer());
  ASSERT_TRUE(queue->try_pop());
  EXPECT_TRUE(queue->empty_for_consumer());
}

}  // namespace
}  // namespace millrace::queue
