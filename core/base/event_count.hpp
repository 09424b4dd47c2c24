// An event count: any number of threads sleep until a condition holds that other threads make true;
// neither side takes a lock.
//
// Thread contract: any thread may wait and any thread may notify.
// Invariant: no wake-up is lost if the notifier changes the condition's variables by a seq_cst
// operation before it calls notify, and the condition reads them by seq_cst loads. In the single
// order of seq_cst operations, either the notifier's load of `sleepers_` comes after the waiter's
// increment, and then the changed epoch keeps the waiter awake or the kernel wakes it; or the
// increment comes after that load, and then the condition, which is evaluated later, is true.
// notify_one() wakes one thread, so one wake-up stands for one thing that a thread can take: a
// waiter that gives up although its condition holds has to call notify_one() itself, to pass on the
// wake-up that it may have had.
#pragma once

#include <atomic>
#include <climits>
#include <cstdint>

#include "core/base/clock.hpp"
#include "core/base/futex.hpp"

namespace millrace::base {

class EventCount {
 public:
  /// Sleeps until notified or until `deadline`, unless `ready()` holds already: then true. May
  /// return early: the caller checks its condition again.
  template <class Ready>
  bool sleep_unless(Ready&& ready, Deadline deadline) {
    const std::uint32_t epoch = epoch_.load(std::memory_order_seq_cst);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    const bool is_ready = ready();
    if (!is_ready) futex_wait(epoch_, epoch, deadline, Scope::process);
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    return is_ready;
  }

  /// Costs one load while no thread sleeps.
  void notify_one() { notify(1); }
  void notify_all() { notify(INT_MAX); }

 private:
  void notify(int sleepers_max) {
    if (sleepers_.load(std::memory_order_seq_cst) != 0) [[unlikely]]
      wake(sleepers_max);
  }
  [[gnu::noinline]] void wake(int sleepers_max) {
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    futex_wake(epoch_, Scope::process, sleepers_max);
  }

  std::atomic<std::uint32_t> sleepers_{0};
  std::atomic<std::uint32_t> epoch_{0};
};

}  // namespace millrace::base
