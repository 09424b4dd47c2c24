// AsyncQueue, on Asio and on a simple executor of ten lines.
#include <gtest/gtest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <coroutine>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "core/queue/async_queue.hpp"
#include "core/queue/elastic_mpsc_queue.hpp"
#include "core/queue/locked_mpmc_queue.hpp"

namespace millrace::queue {
namespace {

using namespace std::chrono_literals;

/// A coroutine that starts at once and destroys itself at its end.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

/// The executor for Asio.
struct AsioExecutor {
  boost::asio::io_context* io;
  void post(std::function<void()> work) { boost::asio::post(*io, std::move(work)); }
  std::function<void()> post_at(Deadline deadline, std::function<void()> work) {
    auto timer = std::make_shared<boost::asio::steady_timer>(*io, deadline);
    timer->async_wait([timer, work = std::move(work)](boost::system::error_code error) {
      if (!error) work();
    });
    return [timer] { timer->cancel(); };
  }
};

/// A simple executor without timers.
struct LoopExecutor {
  struct Loop {
    std::deque<std::function<void()>> work;
    void run() {
      while (!work.empty()) {
        const auto next = std::move(work.front());
        work.pop_front();
        next();
      }
    }
  };
  Loop* loop;
  void post(std::function<void()> work) { loop->work.push_back(std::move(work)); }
  std::function<void()> post_at(Deadline, std::function<void()>) {
    return [] {};
  }
};

struct Mpsc {
  template <class T>
  using Queue = ElasticMpscQueue<T, NoWait>;
};
struct Mpmc {
  template <class T>
  using Queue = LockedMpmcQueue<T>;
};

template <class Kind>
class AsyncQueueOver : public testing::Test {
 protected:
  using Item = std::unique_ptr<int>;
  using Queue = AsyncQueue<typename Kind::template Queue<Item>, AsioExecutor>;
  Queue make(std::size_t max) {
    return Queue(*Kind::template Queue<Item>::create({1, 1, max, 2.0, 0.25}), AsioExecutor{&io});
  }
  boost::asio::io_context io;
};
using Kinds = testing::Types<Mpsc, Mpmc>;
TYPED_TEST_SUITE(AsyncQueueOver, Kinds);

template <class Queue>
Detached pop_all(Queue& queue, int count, std::vector<int>& seen) {
  for (int i = 0; i < count; ++i) {
    auto item = co_await queue.async_pop();
    seen.push_back(**item);
  }
}

template <class Queue>
Detached push_all(Queue& queue, int count) {
  for (int i = 0; i < count; ++i) {
    const auto pushed = co_await queue.async_push(std::make_unique<int>(i));
    EXPECT_TRUE(pushed);
  }
}

TYPED_TEST(AsyncQueueOver, ResumesAPopWhenAnotherThreadPushes) {
  auto queue = this->make(10);
  std::vector<int> seen;
  constexpr int kCount = 5000;
  auto keep_running = boost::asio::make_work_guard(this->io);
  boost::asio::post(this->io, [&]() -> void {
    [](auto& q, auto& numbers, auto& guard) -> Detached {
      for (int i = 0; i < kCount; ++i) numbers.push_back(**co_await q.async_pop());
      guard.reset();
    }(queue, seen, keep_running);
  });
  std::jthread producer([&] {
    for (int i = 0; i < kCount;) {
      if (queue.try_push(std::make_unique<int>(i))) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
  });
  this->io.run();
  ASSERT_EQ(seen.size(), std::size_t{kCount});
  for (int i = 0; i < kCount; ++i) ASSERT_EQ(seen[i], i);
}

TYPED_TEST(AsyncQueueOver, ResumesAPushWhenThereIsRoomAgain) {
  auto queue = this->make(2);
  std::vector<int> seen;
  push_all(queue, 100);
  EXPECT_EQ(queue.queue().len(), 2U);
  pop_all(queue, 100, seen);
  this->io.run();
  ASSERT_EQ(seen.size(), 100U);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(seen[i], i);
}

TYPED_TEST(AsyncQueueOver, TimesOut) {
  auto queue = this->make(1);
  int timed_out = 0;
  [](auto& q, int& count) -> Detached {
    const auto popped = co_await q.async_pop(1ms);
    if (!popped && popped.error() == Error::timed_out) ++count;
    const auto batch = co_await q.async_pop_batch(5, 1ms);
    if (!batch && batch.error() == Error::timed_out) ++count;
    const auto first = co_await q.async_push(std::make_unique<int>(1), 1h);
    EXPECT_TRUE(first);
    const auto pushed = co_await q.async_push(std::make_unique<int>(2), 1ms);
    if (!pushed && pushed.error() == Error::timed_out) ++count;
    const auto last = co_await q.async_pop(1h);
    EXPECT_EQ(**last, 1);
  }(queue, timed_out);
  this->io.run();  // ends now, not in an hour: a timer that is not needed is cancelled
  EXPECT_EQ(timed_out, 3);
}

TYPED_TEST(AsyncQueueOver, PushesAndPopsBatchesThroughASmallQueue) {
  auto queue = this->make(7);
  std::vector<int> seen;
  std::vector<std::unique_ptr<int>> items;
  for (int i = 0; i < 50; ++i) items.push_back(std::make_unique<int>(i));
  [](auto& q, auto& batch) -> Detached {
    const std::size_t pushed = co_await q.async_push_batch(batch);
    EXPECT_EQ(pushed, batch.size());
  }(queue, items);
  [](auto& q, auto& numbers) -> Detached {
    while (numbers.size() < 50) {
      auto batch = co_await q.async_pop_batch(20, 1h);
      EXPECT_FALSE(batch->empty());
      for (const auto& item : *batch) numbers.push_back(*item);
    }
  }(queue, seen);
  this->io.run();
  ASSERT_EQ(seen.size(), 50U);
  for (int i = 0; i < 50; ++i) ASSERT_EQ(seen[i], i);
}

TYPED_TEST(AsyncQueueOver, ReportsThePartOfABatchThatTimeAllowed) {
  auto queue = this->make(7);
  std::size_t pushed = 0;
  std::vector<std::unique_ptr<int>> items(50);
  [](auto& q, auto& batch, std::size_t& count) -> Detached {
    count = co_await q.async_push_batch(batch, 1ms);
  }(queue, items, pushed);
  this->io.run();
  EXPECT_EQ(pushed, 7U);
}

TEST(AsyncQueue, IsDrivenByAnyExecutor) {
  LoopExecutor::Loop loop;
  AsyncQueue<ElasticMpscQueue<std::unique_ptr<int>, NoWait>, LoopExecutor> queue(
      *ElasticMpscQueue<std::unique_ptr<int>, NoWait>::create({1, 1, 3, 2.0, 0.25}), {&loop});
  std::vector<int> seen;
  pop_all(queue, 20, seen);
  push_all(queue, 20);
  loop.run();
  ASSERT_EQ(seen.size(), 20U);
  for (int i = 0; i < 20; ++i) ASSERT_EQ(seen[i], i);
}

// Runs everything that was posted, and pushes an item, while a timer is set: as other threads of an
// executor might at that moment.
struct BusyExecutor {
  using Queue = ElasticMpscQueue<std::unique_ptr<int>, NoWait>;
  struct Shared {
    LoopExecutor::Loop loop;
    std::function<void()> while_a_timer_is_set;
  };
  Shared* shared;

  void post(std::function<void()> function) {
    LoopExecutor{&shared->loop}.post(std::move(function));
  }
  std::function<void()> post_at(Deadline deadline, std::function<void()> function) {
    auto cancel = LoopExecutor{&shared->loop}.post_at(deadline, std::move(function));
    shared->while_a_timer_is_set();
    return cancel;
  }
};

TEST(AsyncQueue, IsDoneWithAWaiterBeforeAnotherThreadCanResumeIt) {
  BusyExecutor::Shared shared;
  AsyncQueue<BusyExecutor::Queue, BusyExecutor> queue(
      *BusyExecutor::Queue::create({1, 1, 3, 2.0, 0.25}), {&shared});
  bool popped = false;
  bool popped_too_early = false;
  shared.while_a_timer_is_set = [&] {
    EXPECT_TRUE(queue.try_push(std::make_unique<int>(7)));
    shared.loop.run();
    popped_too_early = popped;
  };
  [](auto& q, bool& done) -> Detached {
    const auto item = co_await q.async_pop(1h);
    EXPECT_TRUE(item && **item == 7);
    done = true;
  }(queue, popped);
  shared.loop.run();
  EXPECT_TRUE(popped);
  // Else the awaiter was destroyed while await_suspend() still used it.
  EXPECT_FALSE(popped_too_early);
}

}  // namespace
}  // namespace millrace::queue
