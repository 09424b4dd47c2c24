// Wait strategies, by which one thread waits for another: spin, yield or block.
//
// A strategy is a value with two members: wait(parker, ready, deadline) returns true once ready()
// is true, or false once the deadline has passed; sleeps() is true if it may sleep and therefore
// needs a wake-up. Spin, Yield and Block are chosen at compile time, so that one which never sleeps
// costs no wake-ups; AnyWait is chosen at run time, for instance by a configuration.
//
// Thread contract: a Parker belongs to the one thread that waits; any thread may wake it.
// Invariant: a wake-up is a system call only if the waiter sleeps or is about to, and no wake-up is
// lost.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>

#include "core/base/cache_line.hpp"
#include "core/base/clock.hpp"
#include "core/base/futex.hpp"
#include "core/base/pause.hpp"

namespace millrace::base {

// The futex word on which one waiting thread sleeps.
class alignas(padding_bytes) Parker {
 public:
  // Sleeps until woken, unless ready() is true already: then returns true, and ready() must not be
  // called again (it may have had an effect). The waiter's seq_cst exchange comes before the
  // seq_cst loads in ready(), and the waker's seq_cst store comes before its load of the word in
  // wake(): so either the waiter sees the store or the waker sees the word.
  template <class Ready>
  bool sleep_unless(Ready&& ready, Clock::time_point deadline) {
    word_.exchange(asleep, std::memory_order_seq_cst);
    const bool is_ready = ready();
    if (!is_ready) futex_wait(word_, asleep, deadline, Scope::process);
    word_.store(awake, std::memory_order_relaxed);
    return is_ready;
  }

  // To be called after a seq_cst store of what ready() reads. Costs one load if the thread is
  // awake.
  void wake() {
    if (word_.load(std::memory_order_seq_cst) == awake) return;
    if (word_.exchange(awake, std::memory_order_seq_cst) == asleep) {
      futex_wake(word_, Scope::process);
    }
  }

 private:
  static constexpr std::uint32_t awake = 0;
  static constexpr std::uint32_t asleep = 1;
  std::atomic<std::uint32_t> word_{awake};
};

// Lowest latency, but each waiter occupies a core. It yields from time to time: if the thread it
// waits for has no core to run on, it would otherwise spin to the end of its time slice.
struct Spin {
  static constexpr bool sleeps() { return false; }
  int pauses_max = 8;
  int looks_before_yield = 64;

  template <class Ready>
  bool wait(Parker&, Ready&& ready, Clock::time_point deadline) const {
    Backoff backoff(pauses_max);
    for (int looks = 1; !ready(); ++looks) {
      backoff.rest();
      if (looks < looks_before_yield) continue;
      looks = 0;
      ::sched_yield();
      if (deadline != never && Clock::now() >= deadline) return ready();
    }
    return true;
  }
};

// Yields its core between checks: for more waiters than cores.
struct Yield {
  static constexpr bool sleeps() { return false; }
  int looks_before_yield = 50;

  template <class Ready>
  bool wait(Parker&, Ready&& ready, Clock::time_point deadline) const {
    for (int looks = 0; !ready(); ++looks) {
      if (looks < looks_before_yield) {
        pause();
        continue;
      }
      ::sched_yield();
      if (deadline != never && Clock::now() >= deadline) return ready();
    }
    return true;
  }
};

// Spins briefly, then sleeps on a futex. The waking thread pays one load for each waiter, and a
// system call only for a waiter that sleeps.
struct Block {
  static constexpr bool sleeps() { return true; }
  int looks_before_sleep = 100;

  template <class Ready>
  bool wait(Parker& parker, Ready&& ready, Clock::time_point deadline) const {
    for (int looks = 0; looks < looks_before_sleep; ++looks) {
      if (ready()) return true;
      pause();
    }
    while (!ready()) {
      if (deadline != never && Clock::now() >= deadline) return false;
      if (parker.sleep_unless(ready, deadline)) return true;
    }
    return true;
  }
};

enum class WaitKind { spin, yield, block };

// The same three, chosen at run time.
struct AnyWait {
  WaitKind kind = WaitKind::block;
  bool sleeps() const { return kind == WaitKind::block; }

  template <class Ready>
  bool wait(Parker& parker, Ready&& ready, Clock::time_point deadline) const {
    switch (kind) {
      case WaitKind::spin:
        return Spin{}.wait(parker, ready, deadline);
      case WaitKind::yield:
        return Yield{}.wait(parker, ready, deadline);
      case WaitKind::block:
        break;
    }
    return Block{}.wait(parker, ready, deadline);
  }
};

}  // namespace millrace::base
