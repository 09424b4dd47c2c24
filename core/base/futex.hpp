// futex(2): sleep until a word of memory changes, and wake the threads that sleep on it.
//
// Thread contract: any thread. `Scope::shared` is for words in memory that several processes map.
// Invariant: a thread does not fall asleep if the word no longer holds the expected value when the
// kernel reads it. FUTEX_WAKE works on a read-only mapping, so the words are const here.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <ctime>

#include "core/base/clock.hpp"

namespace millrace::base {

enum class Scope { process, shared };

static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t) &&
              std::atomic<std::uint32_t>::is_always_lock_free);

/// Sleeps while `word` holds `value`, until woken or until the deadline. May return early: the
/// caller checks its condition again. False once the deadline has passed.
inline bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t value,
                       Deadline deadline, Scope scope) noexcept {
  // An absolute deadline on CLOCK_MONOTONIC is what FUTEX_WAIT_BITSET takes.
  timespec until{};
  if (deadline != never) {
    const auto ns = std::chrono::nanoseconds(deadline.time_since_epoch()).count();
    if (ns <= 0) return false;
    until = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  }
  const int op = FUTEX_WAIT_BITSET | (scope == Scope::process ? FUTEX_PRIVATE_FLAG : 0);
  const long result = ::syscall(SYS_futex, &word, op, value, deadline == never ? nullptr : &until,
                                nullptr, FUTEX_BITSET_MATCH_ANY);
  return !(result == -1 && errno == ETIMEDOUT);
}

/// Wakes up to `sleepers_max` of the threads that sleep on the word; returns how many it woke.
inline int futex_wake(const std::atomic<std::uint32_t>& word, Scope scope,
                      int sleepers_max = INT_MAX) noexcept {
  const int op = FUTEX_WAKE | (scope == Scope::process ? FUTEX_PRIVATE_FLAG : 0);
  const long woken = ::syscall(SYS_futex, &word, op, sleepers_max, nullptr, nullptr, 0);
  return woken > 0 ? static_cast<int>(woken) : 0;
}

}  // namespace millrace::base
