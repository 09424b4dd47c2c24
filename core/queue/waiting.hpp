// How the two ends of a queue sleep and wake each other: a policy of the queue, so that who does
// not sleep pays nothing.
//
//   NoWait     no sleeping: the owner brings its own (the broker's processor does);
//              pop_for and push_for are then not available.
//   FutexWait  for one consumer, which sleeps on a futex word until a push; producers sleep until a
//              pop. A push that finds nobody asleep pays one load of a line that is rarely written.
//   EventWait  the same for any number of consumers.
//
// Why no push is lost on a sleeper: a producer first changes the queue's tail by a seq_cst
// operation, then loads `consumer_sleeps_` (seq_cst). The consumer first stores `consumer_sleeps_`
// (seq_cst), then loads the tail (seq_cst, `empty_for_consumer`). In the single order of those four,
// either the consumer sees the changed tail and stays awake, or the producer sees the flag and wakes
// it. A flag of the owner's works by the same rule. EventWait: see base::EventCount.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include "core/base/clock.hpp"
#include "core/base/event_count.hpp"
#include "core/base/futex.hpp"

namespace millrace::queue {

using base::Deadline;

class NoWait {
 public:
  static constexpr bool kCanSleep = false;
  /// Between any two steps of the queue that others can observe: for stress tests.
  static void step() {}
  void pushed() {}
  void pushed_many() {}
  void popped() {}
};

class FutexWait {
 public:
  static constexpr bool kCanSleep = true;
  static void step() {}

  /// Any producer, after it published.
  void pushed() {
    if (consumer_sleeps_.load(std::memory_order_seq_cst) != 0) [[unlikely]]
      wake_consumer();
  }

  /// The consumer, after it gave slots back. The load has no fence before it, which would cost
  /// every pop; a sleeper that it overlooks finds the room at the end of its slice of sleep.
  void popped() {
    if (producers_asleep_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      wake_producers();
  }

  /// The consumer: sleeps until a push or `deadline`, unless `empty()` says that it need not.
  template <class Empty>
  void sleep_until_pushed(Deadline deadline, Empty&& empty) {
    consumer_sleeps_.store(1, std::memory_order_seq_cst);
    if (empty()) {
      base::futex_wait(consumer_sleeps_, 1, deadline, base::Scope::process);
    } else {
      std::this_thread::yield();  // a producer is between its claim and its publish
    }
    consumer_sleeps_.store(0, std::memory_order_relaxed);
  }

  /// A producer: sleeps until a pop, `deadline`, or the end of its slice, unless `full()` denies.
  template <class Full>
  void sleep_until_popped(Deadline deadline, Full&& full) {
    constexpr auto kSlice = std::chrono::milliseconds(1);
    const std::uint32_t epoch = room_epoch_.load(std::memory_order_seq_cst);
    producers_asleep_.fetch_add(1, std::memory_order_seq_cst);
    if (full()) {
      base::futex_wait(room_epoch_, epoch, std::min(deadline, base::Clock::now() + kSlice),
                       base::Scope::process);
    }
    producers_asleep_.fetch_sub(1, std::memory_order_seq_cst);
  }

 private:
  [[gnu::noinline]] void wake_consumer() {
    if (consumer_sleeps_.exchange(0, std::memory_order_seq_cst) != 0) {
      base::futex_wake(consumer_sleeps_, base::Scope::process, 1);
    }
  }
  [[gnu::noinline]] void wake_producers() {
    room_epoch_.fetch_add(1, std::memory_order_seq_cst);
    base::futex_wake(room_epoch_, base::Scope::process);
  }

  // One line, written only when somebody goes to sleep or is woken.
  alignas(64) std::atomic<std::uint32_t> consumer_sleeps_{0};
  std::atomic<std::uint32_t> producers_asleep_{0};
  std::atomic<std::uint32_t> room_epoch_{0};
};

class EventWait {
 public:
  static constexpr bool kCanSleep = true;
  static void step() {}

  /// Any producer, after it claimed by a seq_cst operation and published.
  void pushed() { items_.notify_one(); }
  void pushed_many() { items_.notify_all(); }
  /// Any consumer, after it claimed by a seq_cst operation and gave the slot back.
  void popped() { room_.notify_one(); }

  /// A consumer: sleeps until a push or `deadline`, unless `empty()` says that it need not.
  template <class Empty>
  void sleep_until_pushed(Deadline deadline, Empty&& empty) {
    sleep_while(items_, deadline, empty);
  }
  /// A producer: sleeps until a pop or `deadline`, unless `full()` says that it need not.
  template <class Full>
  void sleep_until_popped(Deadline deadline, Full&& full) {
    sleep_while(room_, deadline, full);
  }

 private:
  template <class Condition>
  static void sleep_while(base::EventCount& event, Deadline deadline, Condition& condition) {
    // Not asleep: another thread is between its claim and its publish.
    if (event.sleep_unless([&] { return !condition(); }, deadline)) std::this_thread::yield();
  }

  base::EventCount items_;
  base::EventCount room_;
};

}  // namespace millrace::queue
