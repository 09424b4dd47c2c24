// The worker: away from the thread that asks, in turn between addresses, bounded.
#include "server/auth/worker.hpp"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>
#include <vector>

namespace millrace::server {
namespace {

const Login from_here{"10.0.0.1", "ann"};

// A check that holds the worker's thread until the test lets go.
class Held {
 public:
  explicit Held(Worker& worker, const Login& login = {"10.0.0.9", "held"}) {
    EXPECT_NE(worker.post(SIZE_MAX, login,
                          [this, may_go = may_go_.get_future().share()] {
                            running_.set_value();
                            may_go.wait();
                            return true;
                          }),
              nullptr);
    running_.get_future().wait();
  }
  ~Held() { let_go(); }
  void let_go() {
    if (std::exchange(holds_, false)) may_go_.set_value();
  }

 private:
  std::promise<void> may_go_, running_;
  bool holds_ = true;
};

TEST(Worker, RunsChecksInOrderOnAThreadOfItsOwn) {
  Worker worker;
  std::vector<int> order;
  std::promise<std::thread::id> done;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(worker.post(10, from_here, [&order, i] {
      order.push_back(i);
      return true;
    }));
  }
  ASSERT_TRUE(worker.post(10, from_here, [&] {
    done.set_value(std::this_thread::get_id());
    return true;
  }));
  EXPECT_NE(done.get_future().get(), std::this_thread::get_id());
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

TEST(Worker, RefusesWhatIsOverItsLimit) {
  Worker worker;
  std::promise<void> last_ran;
  Held held(worker);
  ASSERT_TRUE(worker.post(2, from_here, [&] {
    last_ran.set_value();
    return true;
  }));
  EXPECT_EQ(worker.waiting(), 2u);
  EXPECT_FALSE(worker.post(2, {"10.0.0.2", "bob"}, [] {
    ADD_FAILURE() << "it was refused";
    return true;
  }));
  EXPECT_EQ(worker.waiting(), 2u);
  held.let_go();
  last_ran.get_future().wait();
}

TEST(Worker, LeavesRoomForOtherAddresses) {
  Worker worker;
  Held held(worker);
  const auto check = [] { return true; };
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(worker.post(8, from_here, check)) << i;
  EXPECT_FALSE(worker.post(8, from_here, check));
  EXPECT_TRUE(worker.post(8, {"10.0.0.2", "bob"}, check));
}

TEST(Worker, ServesAddressesInTurn) {
  Worker worker;
  std::string order;
  std::promise<void> done;
  Held held(worker);
  const auto check = [&](char who) {
    return [&order, &done, who] {
      order += who;
      if (order.size() == 6) done.set_value();
      return true;
    };
  };
  for (int i = 0; i < 4; ++i) worker.post(100, {"10.0.0.1", "a"}, check('a'));
  worker.post(100, {"10.0.0.2", "b"}, check('b'));
  worker.post(100, {"10.0.0.3", "c"}, check('c'));
  held.let_go();
  done.get_future().wait();
  EXPECT_EQ(order, "abcaaa");
}

TEST(Worker, ComputesNothingForAClientThatHasLeft) {
  Worker worker;
  std::promise<void> last_ran;
  Held held(worker);
  const auto alive = std::make_shared<int>(0);
  const auto ticket = worker.post(2, from_here, [alive] {
    ADD_FAILURE() << "its client has left";
    return true;
  });
  EXPECT_EQ(worker.waiting(), 2u);
  worker.cancel(ticket);
  EXPECT_EQ(worker.waiting(), 1u);  // its place is free at once
  EXPECT_EQ(alive.use_count(), 1);
  ASSERT_TRUE(worker.post(2, from_here, [&] {
    last_ran.set_value();
    return true;
  }));
  held.let_go();
  last_ran.get_future().wait();
  worker.cancel(ticket);  // again: nothing
  worker.stop();
  EXPECT_EQ(worker.done(), 2u);  // the one that was held, and the last
}

TEST(Worker, HoldsBackWhoFailedAndNobodyElse) {
  Worker worker;
  worker.set_delay_max(std::chrono::hours(1));
  for (int i = 0; i < 30; ++i) worker.note({"10.0.0.1", "guessed"}, false);
  EXPECT_TRUE(worker.must_wait({"10.0.0.1", "bob"}));
  EXPECT_TRUE(worker.must_wait({"10.0.0.2", "guessed"}));
  EXPECT_FALSE(worker.must_wait({"10.0.0.2", "bob"}));
  const auto never = [] {
    ADD_FAILURE() << "it has to wait for minutes";
    return true;
  };
  std::promise<void> ran;
  ASSERT_TRUE(worker.post(100, {"10.0.0.1", "bob"}, never));
  ASSERT_TRUE(worker.post(100, {"10.0.0.2", "guessed"}, never));
  ASSERT_TRUE(worker.post(100, {"10.0.0.2", "bob"}, [&] {
    ran.set_value();
    return true;
  }));
  ran.get_future().wait();
  EXPECT_EQ(worker.delayed(), 2u);
}

TEST(Worker, LetsFewDelayedLoginsOfAnAddressWait) {
  Worker worker;
  worker.set_delay_max(std::chrono::hours(1));
  for (int i = 0; i < 20; ++i) worker.note({"10.0.0.1", "guessed"}, false);
  const auto never = [] { return false; };
  std::size_t waiting = 0;
  while (worker.post(1000, {"10.0.0.1", "bob"}, never)) ++waiting;
  EXPECT_EQ(waiting, Worker::held_back_max);
}

TEST(Worker, GivesThePlacesOfDelayedLoginsToOthers) {
  Worker worker;
  worker.set_delay_max(std::chrono::hours(1));
  for (int i = 0; i < 20; ++i) worker.note({"10.0.0.1", "guessed"}, false);
  std::promise<void> refused, looked_at;
  const auto never = [] { return false; };
  ASSERT_TRUE(worker.post(2, {"10.0.0.1", "bob"}, never, [&] { refused.set_value(); }));
  Held held(worker);  // the second place
  ASSERT_TRUE(worker.post(2, {"10.0.0.2", "bob"}, [&] {
    looked_at.set_value();
    return true;
  }));
  held.let_go();
  looked_at.get_future().get();
  refused.get_future().get();
}

TEST(Worker, LearnsFromItsChecks) {
  Worker worker;
  worker.set_delay_max(std::chrono::milliseconds(50));
  // The delay may pass before the next check comes.
  while (worker.delayed() == 0) {
    std::promise<void> ran;
    worker.post(100, from_here, [&] {
      ran.set_value();
      return false;
    });
    ran.get_future().wait();
  }
}

TEST(Worker, FinishesTheRunningCheckWhenItStops) {
  Worker worker;
  std::promise<void> running;
  bool finished = false;
  ASSERT_TRUE(worker.post(1, from_here, [&] {
    running.set_value();
    std::this_thread::yield();
    finished = true;
    return true;
  }));
  running.get_future().wait();
  worker.stop();
  EXPECT_TRUE(finished);
}

}  // namespace
}  // namespace millrace::server
