// A mutex for critical sections of a few dozen instructions: a thread that finds it locked spins
// briefly before it sleeps, since the holder has nearly always unlocked it by then. Not fair.
//
// Thread contract: as std::mutex (it is a Lockable for std::lock_guard and std::unique_lock).
// Why not std::mutex: glibc's sleeps at once, and a futex call costs more than the whole section
// (docs/decisions/0007-elastic-queue.md has the figures).
// Source: U. Drepper, "Futexes Are Tricky" (2011), mutex 3.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/clock.hpp"
#include "core/base/futex.hpp"
#include "core/base/pause.hpp"

namespace millrace::base {

class SpinMutex {
 public:
  bool try_lock() noexcept {
    std::uint32_t expected = kFree;
    // acquire: partner of unlock().
    return word_.compare_exchange_strong(expected, kLocked, std::memory_order_acquire,
                                         std::memory_order_relaxed);
  }

  void lock() noexcept {
    if (!try_lock()) [[unlikely]]
      lock_contended();
  }

  void unlock() noexcept {
    // release: partner of the exchanges that lock.
    if (word_.exchange(kFree, std::memory_order_release) == kLockedWithSleepers) [[unlikely]]
      futex_wake(word_, Scope::process, 1);
  }

 private:
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kLocked = 1;
  static constexpr std::uint32_t kLockedWithSleepers = 2;
  // Long pauses let the holder lock again a few dozen times with the data in its own cache, instead
  // of moving the cache lines between cores each time. (Measured with 1 and 2 pairs of threads on 2
  // cores: 8 rounds of 64 pauses have 2 to 3 times the throughput of 100 rounds of one.)
  static constexpr int kRounds = 8;
  static constexpr int kPauses = 64;

  [[gnu::noinline]] void lock_contended() noexcept {
    for (int round = 0; round < kRounds; ++round) {
      pause(kPauses);
      const std::uint32_t word = word_.load(std::memory_order_relaxed);
      if (word == kLockedWithSleepers) break;  // other threads have waited longer
      if (word == kFree && try_lock()) return;
    }
    // After a sleep this thread cannot know whether others still sleep, so it locks in the state
    // whose unlock() wakes one.
    while (word_.exchange(kLockedWithSleepers, std::memory_order_acquire) != kFree) {
      futex_wait(word_, kLockedWithSleepers, never, Scope::process);
    }
  }

  std::atomic<std::uint32_t> word_{kFree};
};

}  // namespace millrace::base
