// The library's awaitable with Asio as the executor: in a coroutine of one's own, and inside an
// asio::awaitable by way of async_initiate.
#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <chrono>
#include <coroutine>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/latest/bus.hpp"

namespace asio = boost::asio;

namespace millrace::latest {
namespace {

/// A coroutine that runs by itself to its end.
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

template <typename T, typename Handler>
Detached complete(Subscriber<T>& subscriber, asio::any_io_executor executor, Handler handler) {
  auto work = asio::make_work_guard(executor);
  std::optional<Poll<T>> poll = co_await subscriber.async_wait(resume_on(executor));
  handler(std::move(poll));
}

/// The bridge for asio::awaitable, callbacks, futures: any completion token.
template <typename T, typename Token>
auto async_next(Subscriber<T>& subscriber, asio::any_io_executor executor, Token&& token) {
  return asio::async_initiate<Token, void(std::optional<Poll<T>>)>(
      [&subscriber, executor](auto handler) { complete(subscriber, executor, std::move(handler)); },
      token);
}

Detached collect(Subscriber<int>& subscriber, asio::any_io_executor executor,
                 std::vector<int>& seen, std::thread::id& resumed_on) {
  while (const auto poll = co_await subscriber.async_wait(resume_on(executor))) {
    resumed_on = std::this_thread::get_id();
    seen.push_back(poll.value());
  }
}

TEST(AsioAwait, ACoroutineIsResumedOnItsExecutorNotOnThePublishersThread) {
  Bus<int> bus;
  auto subscriber = bus.subscribe("t");
  asio::io_context context;
  std::vector<int> seen;
  std::thread::id resumed_on;
  collect(subscriber, context.get_executor(), seen, resumed_on);
  std::thread publisher([&] { bus.publish("t", 42); });
  publisher.join();
  EXPECT_TRUE(seen.empty());
  context.run();
  EXPECT_EQ(seen, std::vector{42});
  EXPECT_EQ(resumed_on, std::this_thread::get_id());
  bus.close();
  context.restart();
  context.run();
}

TEST(AsioAwait, AnAwaitableFollowsATopicToItsLastValue) {
  constexpr int kLast = 2000;
  Bus<int> bus;
  auto subscriber = bus.subscribe("t");
  asio::io_context context;
  int newest = 0;
  News end = News::nothing;
  const auto follow = [&]() -> asio::awaitable<void> {
    const auto executor = co_await asio::this_coro::executor;
    for (;;) {
      auto poll = co_await async_next(subscriber, executor, asio::use_awaitable);
      end = poll->news();
      if (end != News::fresh) co_return;
      EXPECT_GT(poll->value(), newest);
      newest = poll->value();
    }
  };
  asio::co_spawn(context, follow, asio::detached);
  std::thread publisher([&] {
    for (int i = 1; i <= kLast; ++i) bus.publish("t", i);
    bus.close();
  });
  context.run();
  publisher.join();
  EXPECT_EQ(newest, kLast);
  EXPECT_EQ(end, News::closed);
}

// A publisher that found somebody waiting may come to notify when that one has its value already,
// and waits for the next.
TEST(AsioAwait, NobodyIsResumedWithoutNews) {
  for (int round = 0; round < 300; ++round) {
    Bus<int> bus;
    auto subscriber = bus.subscribe("t");
    asio::io_context context;
    std::vector<int> seen;
    std::thread::id resumed_on;
    collect(subscriber, context.get_executor(), seen, resumed_on);
    auto work = asio::make_work_guard(context);
    std::thread publisher([&] {
      for (int i = 1; i <= 200; ++i) bus.publish("t", i);
      bus.close();
      work.reset();
    });
    context.run();
    publisher.join();
    ASSERT_EQ(seen.back(), 200) << "round " << round;
  }
}

TEST(AsioAwait, ATimerMayEndTheWait) {
  Bus<int> bus;
  auto subscriber = bus.subscribe("t");
  asio::io_context context;
  std::optional<News> end;
  async_next(subscriber, context.get_executor(),
             [&](std::optional<Poll<int>> poll) { end = poll->news(); });
  asio::steady_timer timer(context, std::chrono::milliseconds(1));
  timer.async_wait([&](boost::system::error_code) { EXPECT_TRUE(subscriber.cancel()); });
  context.run();
  EXPECT_EQ(end, News::nothing);
}

}  // namespace
}  // namespace millrace::latest
