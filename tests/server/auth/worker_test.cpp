// The worker's line: in order, bounded, and away from the thread that asks.
#include "server/auth/worker.hpp"

#include <gtest/gtest.h>

#include <future>
#include <thread>
#include <vector>

namespace millrace::server {
namespace {

TEST(Worker, RunsTasksInOrderOnAThreadOfItsOwn) {
  Worker worker;
  std::vector<int> order;
  std::promise<std::thread::id> done;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(worker.try_post(10, [&order, i] { order.push_back(i); }));
  ASSERT_TRUE(worker.try_post(10, [&] { done.set_value(std::this_thread::get_id()); }));
  EXPECT_NE(done.get_future().get(), std::this_thread::get_id());
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

TEST(Worker, RefusesWhatIsOverItsLimit) {
  Worker worker;
  std::promise<void> may_go, last_ran;
  auto held = may_go.get_future().share();
  ASSERT_TRUE(worker.try_post(2, [held] { held.wait(); }));
  ASSERT_TRUE(worker.try_post(2, [&] { last_ran.set_value(); }));
  EXPECT_EQ(worker.waiting(), 2u);
  EXPECT_FALSE(worker.try_post(2, [] { FAIL() << "it was refused"; }));
  EXPECT_EQ(worker.waiting(), 2u);
  may_go.set_value();
  last_ran.get_future().wait();
  worker.stop();
}

TEST(Worker, FinishesTheRunningTaskWhenItStops) {
  Worker worker;
  std::promise<void> running;
  bool finished = false;
  ASSERT_TRUE(worker.try_post(1, [&] {
    running.set_value();
    std::this_thread::yield();
    finished = true;
  }));
  running.get_future().wait();
  worker.stop();
  EXPECT_TRUE(finished);
}

}  // namespace
}  // namespace millrace::server
