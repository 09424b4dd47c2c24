// How the producers and consumers of a queue sleep and wake each other: a policy of the queue, so
// that a queue whose users never sleep pays nothing for it.
//
//   NoWait     no sleeping, for an owner that has its own mechanism (as the broker's processor);
//              pop_for and push_for are not available.
//   FutexWait  for one consumer, which sleeps on a futex word until a push; producers sleep until a
//              pop. A push while the consumer is awake pays one load of a rarely written cache
//              line.
//   EventWait  the same for any number of consumers.
//
// Why a push is never missed by a sleeping consumer: a producer first changes the queue's tail by a
// seq_cst operation, then loads `consumer_sleeps_` (seq_cst). The consumer first stores
// `consumer_sleeps_` (seq_cst), then loads the tail (seq_cst, `empty_for_consumer`). In the single
// order of those four, either the consumer sees the changed tail and stays awake, or the producer
// sees the flag and wakes it. The owner of a NoWait queue uses a flag of its own by the same rule.
// EventWait: see base::EventCount.
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
  /// Called between any two steps of the queue that other threads can observe: for stress tests.
  static void step() {}
  void pushed() {}
  void pushed_many() {}
  void popped() {}
};

/// For queues with one consumer: MpmcQueue, whose consumers are several, takes EventWait.
class FutexWait {
 public:
  static constexpr bool kCanSleep = true;
  static void step() {}

  /// Called by a producer after it published.
  void pushed() {
    if (consumer_sleeps_.load(std::memory_order_seq_cst) != 0) [[unlikely]]
      wake_consumer();
  }

  /// Called by the consumer after it released slots. There is no fence before the load, since every
  /// pop would pay for it; a sleeping producer that the load misses checks again after kSlice.
  void popped() {
    if (producers_asleep_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      wake_producers();
  }

  /// The consumer: sleeps until a push or `deadline`; does not sleep if `empty()` is false.
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

  /// A producer: sleeps until a pop, `deadline` or kSlice; does not sleep if `full()` is false.
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

  // One cache line, written only when a thread goes to sleep or is woken.
  alignas(64) std::atomic<std::uint32_t> consumer_sleeps_{0};
  std::atomic<std::uint32_t> producers_asleep_{0};
  std::atomic<std::uint32_t> room_epoch_{0};
};

class EventWait {
 public:
  static constexpr bool kCanSleep = true;
  static void step() {}

  /// Called by a producer after it claimed by a seq_cst operation and published.
  void pushed() { items_.notify_one(); }
  void pushed_many() { items_.notify_all(); }
  /// Called by a consumer after it claimed by a seq_cst operation and released the slot.
  void popped() { room_.notify_one(); }

  /// A consumer: sleeps until a push or `deadline`; does not sleep if `empty()` is false.
  template <class Empty>
  void sleep_until_pushed(Deadline deadline, Empty&& empty) {
    sleep_while(items_, deadline, empty);
  }
  /// A producer: sleeps until a pop or `deadline`; does not sleep if `full()` is false.
  template <class Full>
  void sleep_until_popped(Deadline deadline, Full&& full) {
    sleep_while(room_, deadline, full);
  }

 private:
  template <class Condition>
  static void sleep_while(base::EventCount& event, Deadline deadline, Condition& condition) {
    // It did not sleep: another thread is between its claim and its publish, so let it run.
    if (event.sleep_unless([&] { return !condition(); }, deadline)) std::this_thread::yield();
  }

  base::EventCount items_;
  base::EventCount room_;
};

}  // namespace millrace::queue
