// How one thread waits for another: spin, yield or block.
//
// A strategy is a value with two members: wait(parker, ready, deadline), which returns once ready()
// says true (or false once the deadline has passed), and sleeps(), which says whether it may sleep
// and therefore needs to be woken. Spin, Yield and Block are chosen at compile time and cost
// nothing that they do not do; AnyWait is chosen by value, say from a configuration.
//
// Thread contract: a Parker belongs to the one thread that waits; any thread may wake it.
// What holds: a wake-up is a system call only when somebody sleeps, and none is ever lost.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>

#include "core/base/cache_line.hpp"
#include "core/base/clock.hpp"
#include "core/base/futex.hpp"
#include "core/base/pause.hpp"

namespace millrace::base {

// Where one waiting thread sleeps.
class alignas(padding_bytes) Parker {
 public:
  // Sleeps until woken, unless ready() already holds: then true, and ready() is not asked again (it
  // may have taken something). The seq_cst exchange comes before the second ready(), whose loads are
  // seq_cst too, as the waker's seq_cst store comes before its load of the word in wake(): one of
  // the two sees the other.
  template <class Ready>
  bool sleep_unless(Ready&& ready, Clock::time_point deadline) {
    word_.exchange(asleep, std::memory_order_seq_cst);
    const bool is_ready = ready();
    if (!is_ready) futex_wait(word_, asleep, deadline, Scope::process);
    word_.store(awake, std::memory_order_relaxed);
    return is_ready;
  }

  // Call after a seq_cst store of what ready() looks at. Costs one load when nobody sleeps.
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

// Lowest latency, a core for each waiter. Once in a while it yields: a spinner whose partner has no
// core to run on would otherwise burn the rest of its time slice.
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

// Gives its core away between looks: for more waiters than cores.
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

// Spins a moment, then sleeps on a futex. The publisher pays one load for each waiter, and a system
// call only for one who sleeps.
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

// The same three, chosen by value.
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
