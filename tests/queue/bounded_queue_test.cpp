// The contract of the bounded queues: see core/queue/spsc_queue.hpp and core/queue/mpmc_queue.hpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "core/queue/elastic_mpsc_queue.hpp"
#include "core/queue/mpmc_queue.hpp"
#include "core/queue/spsc_queue.hpp"
#include "tests/queue/descheduled.hpp"

namespace millrace::queue {
namespace {

using namespace std::chrono_literals;

struct Spsc {
  template <class T>
  using Queue = SpscQueue<T>;
  template <class T>
  using RoughQueue = SpscQueue<T, Descheduled<FutexWait>>;
  static constexpr std::uint32_t kThreads = 1;  // of each side
};
struct Mpmc {
  template <class T>
  using Queue = MpmcQueue<T>;
  template <class T>
  using RoughQueue = MpmcQueue<T, Descheduled<EventWait>>;
  static constexpr std::uint32_t kThreads = 3;
};

template <class Kind>
class BoundedQueue : public testing::Test {};
using Kinds = testing::Types<Spsc, Mpmc>;
TYPED_TEST_SUITE(BoundedQueue, Kinds);

template <class Kind, class T>
auto make(std::size_t capacity) {
  return std::move(Kind::template Queue<T>::create(capacity).value());
}

TYPED_TEST(BoundedQueue, NamesTheRuleThatACapacityBreaks) {
  using Queue = typename TypeParam::template Queue<int>;
  EXPECT_EQ(Queue::create(0).error(), Error::min_capacity_zero);
  EXPECT_EQ(Queue::create(kCapacityMax + 1).error(), Error::max_too_large);
}

TYPED_TEST(BoundedQueue, HoldsExactlyItsCapacityAtEveryOffset) {
  for (const std::size_t wanted : {1, 2, 3, 5, 64, 100}) {
    const auto queue = make<TypeParam, int>(wanted);
    ASSERT_GE(queue->capacity(), wanted);
    const int capacity = static_cast<int>(queue->capacity());
    int next = 0;
    for (; next < capacity; ++next) ASSERT_TRUE(queue->try_push(int{next}));
    for (int popped = 0; popped < 300; ++popped) {
      ASSERT_EQ(queue->try_push(-1).error(), Error::full);
      ASSERT_EQ(queue->len(), queue->capacity());
      ASSERT_EQ(*queue->try_pop(), popped);
      ASSERT_TRUE(queue->try_push(int{next++}));
    }
  }
  EXPECT_EQ((make<Spsc, int>(100)->capacity()), 100U);
  EXPECT_EQ((make<Mpmc, int>(100)->capacity()), 128U);
}

TYPED_TEST(BoundedQueue, TakesMoveOnlyItemsAndLeavesARefusedOneAlone) {
  const auto queue = make<TypeParam, std::unique_ptr<int>>(2);
  EXPECT_TRUE(queue->empty());
  EXPECT_EQ(queue->try_pop().error(), Error::empty);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(queue->try_push(std::make_unique<int>(i)));
  EXPECT_FALSE(queue->empty());
  auto item = std::make_unique<int>(7);
  // NOLINTBEGIN(bugprone-use-after-move): a refused item is not moved from
  EXPECT_EQ(queue->try_push(std::move(item)).error(), Error::full);
  EXPECT_EQ(queue->push_for(std::move(item), 1ms).error(), Error::timed_out);
  EXPECT_EQ(queue->push_batch({&item, 1}), 0U);
  ASSERT_NE(item, nullptr);
  ASSERT_TRUE(queue->try_pop(item));
  EXPECT_EQ(*item, 0);
  // NOLINTEND(bugprone-use-after-move)
  EXPECT_EQ(**queue->pop_for(0s), 1);
  EXPECT_FALSE(queue->try_pop(item));
  EXPECT_EQ(queue->pop_for(1ms).error(), Error::timed_out);
}

TYPED_TEST(BoundedQueue, CopiesFromAnItemThatStaysTheCallers) {
  const auto queue = make<TypeParam, std::string>(4);
  const std::string text = "stays";
  ASSERT_TRUE(queue->try_push(text));
  EXPECT_EQ(text, "stays");
  EXPECT_EQ(*queue->try_pop(), "stays");
}

TYPED_TEST(BoundedQueue, PushesABatchWholeOrAReportedPartAndPopsUpToN) {
  const auto queue = make<TypeParam, std::shared_ptr<int>>(64);
  const auto item = std::make_shared<int>(7);
  for (int lap = 0; lap < 5; ++lap) {
    std::vector<std::shared_ptr<int>> items(70, item);
    ASSERT_EQ(queue->push_batch({items.data(), 40}), 40U);
    ASSERT_EQ(queue->push_batch({items.data() + 40, 30}), 24U);
    EXPECT_EQ(queue->push_batch({}), 0U);
    int sum = 0;
    EXPECT_EQ(queue->pop_batch(50, [&](std::shared_ptr<int>& popped) { sum += *popped; }), 50U);
    EXPECT_EQ(sum, 350);
    EXPECT_EQ(queue->pop_batch(0, [](std::shared_ptr<int>&) {}), 0U);
    EXPECT_EQ(queue->pop_batch(50, [](std::shared_ptr<int>&) {}), 14U);
    items.clear();
    ASSERT_EQ(item.use_count(), 1);
  }
}

TYPED_TEST(BoundedQueue, StaysUsableWhenABatchConsumerThrowsAndDestroysWhatIsInside) {
  const auto item = std::make_shared<int>(7);
  {
    const auto queue = make<TypeParam, std::shared_ptr<int>>(64);
    for (int i = 0; i < 64; ++i) ASSERT_TRUE(queue->try_push(item));
    EXPECT_THROW(
        queue->pop_batch(10, [](std::shared_ptr<int>&) { throw std::runtime_error("no"); }),
        std::runtime_error);
    EXPECT_EQ(static_cast<long>(queue->len()), item.use_count() - 1);
    EXPECT_EQ(queue->len(), 54U);
    ASSERT_TRUE(queue->try_push(item));
    EXPECT_EQ(queue->clear(), 55U);
    EXPECT_EQ(item.use_count(), 1);
    ASSERT_TRUE(queue->try_push(item));
  }
  EXPECT_EQ(item.use_count(), 1);
}

TYPED_TEST(BoundedQueue, CountsWhatItDid) {
  const auto queue = make<TypeParam, int>(8);
  std::vector<int> items(12);
  EXPECT_EQ(queue->push_batch(items), 8U);                       // pushed in part
  EXPECT_FALSE(queue->try_push(1));                              // refused
  EXPECT_EQ(queue->push_batch(items), 0U);                       // refused
  EXPECT_EQ(queue->push_for(1, 1ms).error(), Error::timed_out);  // refused at the time-out
  EXPECT_EQ(*queue->try_pop(), 0);
  const QueueStats stats = queue->stats();
  EXPECT_EQ(stats.pushed, 8U);
  EXPECT_EQ(stats.popped, 1U);
  EXPECT_EQ(stats.full, 4U);
  EXPECT_EQ(stats.peak, 8U);
  EXPECT_GE(stats.memory_bytes, 8 * sizeof(int));
}

TEST(SpscQueue, KeepsTheReserveFreeAndShowsWhatWaits) {
  const auto queue = make<Spsc, int>(10);
  std::vector<int> items(20);
  std::iota(items.begin(), items.end(), 0);
  EXPECT_EQ(queue->push_batch(items, 3), 7U);
  EXPECT_EQ(queue->try_push(7, 3).error(), Error::full);
  EXPECT_TRUE(queue->try_push(7, 2));
  ASSERT_TRUE(queue->try_pop());
  std::vector<int> seen;
  queue->for_each([&](const int& item) { seen.push_back(item); });
  EXPECT_EQ(seen, (std::vector<int>{1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(queue->drain(), seen);
  std::size_t runs = 0;
  EXPECT_EQ(queue->push_batch(items), 10U);
  EXPECT_EQ(queue->pop_runs(20, [&](std::span<int>) { ++runs; }), 10U);
  EXPECT_EQ(runs, 2U);  // one on each side of the ring's end
}

/// An item that owns memory, so that AddressSanitizer reports a lost or duplicated one.
struct Item {
  std::uint32_t producer = 0;
  std::uint32_t number = 0;
  std::unique_ptr<std::uint32_t> copy = nullptr;
};

constexpr std::uint32_t kEach = 6000;

template <class Queue>
void produce(Queue& queue, std::uint32_t producer) {
  std::vector<Item> batch;
  for (std::uint32_t next = 0; next < kEach;) {
    const auto size = std::min<std::uint32_t>(1 + chance() % 20, kEach - next);
    batch.clear();
    for (std::uint32_t i = 0; i < size; ++i, ++next) {
      batch.push_back({producer, next, std::make_unique<std::uint32_t>(next)});
    }
    std::span<Item> rest(batch);
    while (!rest.empty()) {
      if (chance() % 2 == 0) {
        rest = rest.subspan(queue.push_batch(rest));
      } else if (queue.push_for(std::move(rest[0]), std::chrono::hours::max())) {
        rest = rest.subspan(1);
      }
    }
  }
}

TYPED_TEST(BoundedQueue, LosesAndDoublesNothingAndKeepsEachProducersOrder) {
  constexpr std::uint32_t kThreads = TypeParam::kThreads;
  for (const std::size_t capacity : {2, 7, 64}) {
    const auto queue = *TypeParam::template RoughQueue<Item>::create(capacity);
    std::vector<std::atomic<std::uint8_t>> times(kThreads * kEach);
    std::atomic<std::uint32_t> taken{0};
    std::vector<std::jthread> threads;
    for (std::uint32_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] { produce(*queue, t); });
      threads.emplace_back([&] {
        std::vector<std::int64_t> last(kThreads, -1);
        const auto take = [&](Item& item) {
          ASSERT_GT(std::int64_t{item.number}, last[item.producer]);
          ASSERT_EQ(*item.copy, item.number);
          last[item.producer] = item.number;
          ++times[item.producer * kEach + item.number];
          ++taken;
        };
        while (taken.load() < kThreads * kEach) {
          ASSERT_LE(queue->len(), queue->capacity());
          switch (chance() % 3) {
            case 0:
              queue->pop_batch(1 + chance() % 30, take);
              break;
            case 1:
              if (auto item = queue->try_pop()) take(*item);
              break;
            default:
              if (auto item = queue->pop_for(1ms)) take(*item);
          }
        }
      });
    }
    threads.clear();
    EXPECT_TRUE(std::ranges::all_of(times, [](const auto& count) { return count == 1; }));
    EXPECT_TRUE(queue->empty());
  }
}

// A lost wake-up would hang here: each side sleeps without a time limit until the other acts.
TYPED_TEST(BoundedQueue, WakesTheSleepersOnTheOtherSideEachTime) {
  constexpr std::uint32_t kThreads = TypeParam::kThreads;
  constexpr int kTurns = 3000;
  const auto queue = make<TypeParam, int>(1);
  std::vector<std::jthread> threads;
  std::atomic<long> sum{0};
  for (std::uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kTurns; ++i) {
        ASSERT_TRUE(queue->push_for(int{i}, std::chrono::hours::max()));
      }
    });
    threads.emplace_back([&] {
      for (int i = 0; i < kTurns; ++i) sum += *queue->pop_for(std::chrono::hours::max());
    });
  }
  threads.clear();
  EXPECT_EQ(sum.load(), long{kThreads} * kTurns * (kTurns - 1) / 2);
}

/// Calls a function at one of a queue's steps, as if other threads ran just then.
struct Interrupted : NoWait {
  static inline int steps_left = 0;
  static inline std::function<void()> others;
  static void step() {
    if (steps_left > 0 && --steps_left == 0) others();
  }
};

/// An item is pushed and another popped, at each moment between two loads of len() in turn: one
/// item waits before and after, two in between, and never none.
template <class Queue>
void look_at_the_length_meanwhile(Queue& queue) {
  ASSERT_TRUE(queue.try_push(0));
  Interrupted::others = [&] {
    ASSERT_TRUE(queue.try_push(0));
    ASSERT_TRUE(queue.try_pop());
  };
  for (int steps = 1; steps <= 2; ++steps) {
    Interrupted::steps_left = steps;
    EXPECT_EQ(queue.len(), 1U) << steps;
    ASSERT_EQ(Interrupted::steps_left, 0) << "the moment was met";
  }
}

TEST(QueueLength, IsThatOfSomeMoment) {
  look_at_the_length_meanwhile(**SpscQueue<int, Interrupted>::create(64));
  look_at_the_length_meanwhile(**MpmcQueue<int, Interrupted>::create(64));
  look_at_the_length_meanwhile(**ElasticMpscQueue<int, Interrupted>::create({}));
}

/// Counts the wake-ups; its threads do not sleep, as if woken at once.
struct CountedWakes {
  static constexpr bool kCanSleep = true;
  static inline int consumers_woken = 0;
  static inline int producers_woken = 0;
  static void step() {}
  void pushed() { ++consumers_woken; }
  void pushed_many() { ++consumers_woken; }
  void popped() { ++producers_woken; }
  template <class Condition>
  void sleep_until_pushed(Deadline, Condition&&) {}
  template <class Condition>
  void sleep_until_popped(Deadline, Condition&&) {}
};

/// Calls a function when it is moved, which a push does between its claim and its publish.
struct Hooked {
  explicit Hooked(std::function<void()> on_move = {}) : on_move(std::move(on_move)) {}
  Hooked(Hooked&& other) noexcept {
    if (const auto moved = std::exchange(other.on_move, {})) moved();
  }
  Hooked& operator=(Hooked&&) = delete;
  std::function<void()> on_move;
};

// A producer that is woken for the second slot cannot use it while a consumer is still busy with
// the first. If it gives up then, its wake-up has to go to another producer that sleeps.
TEST(MpmcQueue, AProducerThatTimesOutPassesItsWakeUpOn) {
  const auto queue = std::move(*MpmcQueue<int, CountedWakes>::create(2));
  ASSERT_TRUE(queue->try_push(0));
  ASSERT_TRUE(queue->try_push(1));
  EXPECT_EQ(queue->pop_batch(1,
                             [&](int) {
                               ASSERT_TRUE(queue->try_pop());
                               const int woken = CountedWakes::producers_woken;
                               EXPECT_EQ(queue->push_for(2, 1ms).error(), Error::timed_out);
                               EXPECT_EQ(CountedWakes::producers_woken, woken + 1);
                             }),
            1U);
  ASSERT_TRUE(queue->try_push(3));
  ASSERT_TRUE(queue->try_push(4));
  const int woken = CountedWakes::producers_woken;
  EXPECT_EQ(queue->push_for(5, 1ms).error(), Error::timed_out);
  EXPECT_EQ(CountedWakes::producers_woken, woken) << "there is no free slot to be woken for";
}

// The same for a consumer that is woken for the second item before the first is published.
TEST(MpmcQueue, AConsumerThatTimesOutPassesItsWakeUpOn) {
  const auto queue = std::move(*MpmcQueue<Hooked, CountedWakes>::create(2));
  ASSERT_TRUE(queue->try_push(Hooked([&] {
    ASSERT_TRUE(queue->try_push(Hooked()));
    const int woken = CountedWakes::consumers_woken;
    EXPECT_EQ(queue->pop_for(1ms).error(), Error::timed_out);
    EXPECT_EQ(CountedWakes::consumers_woken, woken + 1);
  })));
  EXPECT_EQ(queue->clear(), 2U);
  const int woken = CountedWakes::consumers_woken;
  EXPECT_EQ(queue->pop_for(1ms).error(), Error::timed_out);
  EXPECT_EQ(CountedWakes::consumers_woken, woken) << "there is no item to be woken for";
}

}  // namespace
}  // namespace millrace::queue
