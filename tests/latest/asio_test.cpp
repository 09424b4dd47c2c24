// Waiting as an Asio operation, and the plain awaitable resumed on an Asio executor.
#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <chrono>
#include <coroutine>
#include <exception>
#include <future>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/latest/asio/async_wait.hpp"
#include "core/latest/bus.hpp"

namespace asio = boost::asio;

namespace millrace::latest {
namespace {

/// A coroutine that starts at once and destroys itself at its end.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

auto resume_on(asio::any_io_executor executor) {
  return [executor](std::coroutine_handle<> coroutine) { asio::post(executor, coroutine); };
}

Detached collect(Subscriber<int>& subscriber, asio::any_io_executor executor,
                 std::vector<int>& seen, std::thread::id& resumed_on) {
  while (const auto poll = co_await subscriber.async_wait(resume_on(executor))) {
    resumed_on = std::this_thread::get_id();
    seen.push_back(poll.value());
  }
}

TEST(PlainAwait, ResumesACoroutineWhereItIsToldTo) {
  Bus<int> bus;
  auto subscriber = bus.subscribe("t");
  asio::io_context context;
  std::vector<int> seen;
  std::thread::id resumed_on;
  collect(subscriber, context.get_executor(), seen, resumed_on);
  std::thread publisher([&] { bus.publish("t", 42).value(); });
  publisher.join();
  EXPECT_TRUE(seen.empty());
  context.run();
  EXPECT_EQ(seen, std::vector{42});
  EXPECT_EQ(resumed_on, std::this_thread::get_id());
  bus.close();
  context.restart();
  context.run();
}

// A publisher that saw a waiter may notify after that subscriber has got the value and waits for
// the next one.
TEST(PlainAwait, ResumesNoCoroutineWithoutNews) {
  for (int round = 0; round < 300; ++round) {
    Bus<int> bus;
    auto subscriber = bus.subscribe("t");
    asio::io_context context;
    std::vector<int> seen;
    std::thread::id resumed_on;
    collect(subscriber, context.get_executor(), seen, resumed_on);
    auto work = asio::make_work_guard(context);
    std::thread publisher([&] {
      for (int i = 1; i <= 200; ++i) bus.publish("t", i).value();
      bus.close();
      work.reset();
    });
    context.run();
    publisher.join();
    ASSERT_EQ(seen.back(), 200) << "round " << round;
  }
}

TEST(AsioWait, AnAwaitableFollowsATopicToItsEnd) {
  constexpr int kLast = 2000;
  Bus<int> bus;
  auto subscriber = bus.subscribe("t");
  asio::io_context context;
  int newest = 0;
  News end = News::nothing;
  const auto follow = [&]() -> asio::awaitable<void> {
    for (;;) {
      const auto poll = co_await subscriber.async_wait();
      EXPECT_TRUE(context.get_executor().running_in_this_thread());
      end = poll.news();
      if (end != News::fresh) co_return;
      EXPECT_GT(poll.value(), newest);
      newest = poll.value();
    }
  };
  asio::co_spawn(context, follow, asio::detached);
  std::thread publisher([&] {
    for (int i = 1; i <= kLast; ++i) bus.publish("t", i).value();
    bus.close();
  });
  context.run();
  publisher.join();
  EXPECT_EQ(newest, kLast);
  EXPECT_EQ(end, News::closed);
}

TEST(AsioWait, TakesAnyCompletionToken) {
  Bus<std::string> bus;
  auto subscriber = bus.subscribe("t");
  asio::io_context context;
  std::optional<Poll<std::string>> seen;
  async_wait(subscriber, context.get_executor(),
             [&](Poll<std::string> poll) { seen = std::move(poll); });
  bus.publish("t", "callback").value();
  EXPECT_FALSE(seen) << "the handler must not run inside publish()";
  context.run();
  EXPECT_EQ(*seen.value().value(), "callback");

  auto future = async_wait(subscriber, context.get_executor(), asio::use_future);
  bus.publish("t", "future").value();
  context.restart();
  context.run();
  EXPECT_EQ(*future.get().value(), "future");
}

TEST(AsioWait, DoesNotCallItsHandlerInsideTheCallThatStartsIt) {
  Bus<int> bus;
  auto subscriber = bus.subscribe("t");
  bus.publish("t", 1).value();
  asio::io_context context;
  int seen = 0;
  async_wait(subscriber, context.get_executor(), [&](Poll<int> poll) { seen = poll.value(); });
  EXPECT_EQ(seen, 0);
  context.run();
  EXPECT_EQ(seen, 1);
}

TEST(AsioWait, KeepsItsContextRunning) {
  Bus<int> bus;
  auto subscriber = bus.subscribe("t");
  asio::io_context context;
  int seen = 0;
  async_wait(subscriber, context.get_executor(), [&](Poll<int> poll) { seen = poll.value(); });
  EXPECT_EQ(context.poll(), 0u);
  EXPECT_FALSE(context.stopped());
  std::thread publisher([&] { bus.publish("t", 1).value(); });
  context.run();
  publisher.join();
  EXPECT_EQ(seen, 1);
}

TEST(AsioWait, ATimerMayEndIt) {
  using namespace asio::experimental::awaitable_operators;
  Bus<int> bus;
  auto subscriber = bus.subscribe("t");
  asio::io_context context;
  std::size_t first = 0;
  int later = 0;
  const auto wait = [&]() -> asio::awaitable<void> {
    asio::steady_timer timer(context, std::chrono::milliseconds(1));
    const auto outcome = co_await (async_wait(subscriber, asio::use_awaitable) ||
                                   timer.async_wait(asio::use_awaitable));
    first = outcome.index();
    bus.publish("t", 7).value();
    later = (co_await subscriber.async_wait()).value();
  };
  asio::co_spawn(context, wait, asio::detached);
  context.run();
  EXPECT_EQ(first, 1u) << "the timer came first, and the wait was cancelled";
  EXPECT_EQ(later, 7);
}

TEST(AsioWait, IsEndedByTheSubscribersCancel) {
  Bus<int> bus;
  auto subscriber = bus.subscribe("t");
  asio::io_context context;
  std::optional<News> end;
  async_wait(subscriber, context.get_executor(), [&](Poll<int> poll) { end = poll.news(); });
  EXPECT_TRUE(subscriber.cancel());
  context.run();
  EXPECT_EQ(end, News::nothing);
}

TEST(AsioWait, EndsWithClosedWhenItsSubscriberIsDestroyed) {
  Bus<int> bus;
  asio::io_context context;
  std::optional<News> end;
  {
    auto subscriber = bus.subscribe("t");
    async_wait(subscriber, context.get_executor(), [&](Poll<int> poll) { end = poll.news(); });
  }
  context.run();
  EXPECT_EQ(end, News::closed);
  bus.publish("t", 1).value();
}

// A coroutine's frame, and the subscriber in it, is destroyed with its execution context.
TEST(AsioWait, IsDestroyedWithItsContext) {
  Bus<int> bus;
  const auto alive = std::make_shared<int>();
  {
    asio::io_context context;
    const auto wait = [](Bus<int>& bus, std::shared_ptr<int>) -> asio::awaitable<void> {
      auto subscriber = bus.subscribe("t");
      (void)co_await subscriber.async_wait();
    };
    asio::co_spawn(context, wait(bus, alive), asio::detached);
    context.poll();
    EXPECT_EQ(alive.use_count(), 2);
  }
  EXPECT_EQ(alive.use_count(), 1);
  bus.publish("t", 1).value();
}

TEST(AsioWait, LosesNoHandlerWhenItsContextEndsWhileValuesCome) {
  Bus<int> bus;
  const auto alive = std::make_shared<int>();
  std::atomic<bool> over{false};
  std::thread publisher([&] {
    for (int i = 1; !over; ++i) bus.publish("t", i).value();
  });
  for (int round = 0; round < 300; ++round) {
    asio::io_context context;
    const auto follow = [](Bus<int>& bus, std::shared_ptr<int>) -> asio::awaitable<void> {
      auto subscriber = bus.subscribe("t");
      while (co_await subscriber.async_wait()) {
      }
    };
    for (int i = 0; i < 3; ++i) asio::co_spawn(context, follow(bus, alive), asio::detached);
    for (int i = 0; i < 20; ++i) context.poll();
  }
  over = true;
  publisher.join();
  EXPECT_EQ(alive.use_count(), 1);
}

/// A handler whose cancellation slot has no memory for what is assigned to it.
struct Uncancellable {
  struct Slot {
    [[nodiscard]] static bool is_connected() noexcept { return true; }
    template <typename Handler>
    void assign(Handler&&) {
      throw std::bad_alloc();
    }
    void clear() noexcept {}
  };
  using cancellation_slot_type = Slot;
  [[nodiscard]] static Slot get_cancellation_slot() noexcept { return {}; }
  void operator()(const Poll<int>&) const {}
};

TEST(AsioWait, LeavesNothingBehindIfItCannotBegin) {
  Bus<int> bus;
  auto subscriber = bus.subscribe("t");
  asio::io_context context;
  EXPECT_THROW(async_wait(subscriber, context.get_executor(), Uncancellable()), std::bad_alloc);
  EXPECT_FALSE(subscriber.cancel()) << "there is no wait";
  bus.publish("t", 1).value();
  EXPECT_EQ(context.poll(), 0u);
}

TEST(AsioWait, RunsOnAStrandOfAThreadPool) {
  Bus<int> bus;
  asio::thread_pool pool(2);
  auto strand = asio::make_strand(pool);
  int newest = 0;
  const auto follow = [&]() -> asio::awaitable<void> {
    auto subscriber = bus.subscribe("t");
    while (const auto poll = co_await subscriber.async_wait()) {
      EXPECT_TRUE(strand.running_in_this_thread());
      newest = poll.value();
    }
  };
  auto done = asio::co_spawn(strand, follow, asio::use_future);
  for (int i = 1; i <= 1000; ++i) bus.publish("t", i).value();
  bus.close();
  done.get();
  EXPECT_TRUE(newest == 0 || newest == 1000);
  pool.join();
}

}  // namespace
}  // namespace millrace::latest
