// The three things below the standard library that waiting needs: a pause, a sleep and a wake-up.
//
// Thread contract: any thread. `shared` is for words in memory that two processes map.
// Source: futex(2). FUTEX_WAKE works on a read-only mapping, so a reader may wake its neighbour.
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <ctime>

namespace millrace::disruptor {

using Clock = std::chrono::steady_clock;
inline constexpr Clock::time_point never = Clock::time_point::max();

// Tells the core that this is a spin: it leaves the other thread its share, and the line its rest.
inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

enum class Scope { process, shared };

// Sleeps while `word` holds `value`, until woken or until the deadline. It may also return early:
// the caller looks again. Returns false once the deadline has passed.
inline bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t value,
                       Clock::time_point deadline, Scope scope) {
  // CLOCK_MONOTONIC, absolute: what steady_clock is on Linux, and what FUTEX_WAIT_BITSET takes.
  timespec until{};
  if (deadline != never) {
    const auto ns = std::chrono::nanoseconds(deadline.time_since_epoch()).count();
    until = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  }
  const int op = FUTEX_WAIT_BITSET | (scope == Scope::process ? FUTEX_PRIVATE_FLAG : 0);
  const long result = ::syscall(SYS_futex, &word, op, value, deadline == never ? nullptr : &until,
                                nullptr, FUTEX_BITSET_MATCH_ANY);
  return !(result == -1 && errno == ETIMEDOUT);
}

// Wakes all who sleep on the word; returns how many they were.
inline int futex_wake(const std::atomic<std::uint32_t>& word, Scope scope) {
  const int op = FUTEX_WAKE | (scope == Scope::process ? FUTEX_PRIVATE_FLAG : 0);
  const long woken = ::syscall(SYS_futex, &word, op, INT_MAX, nullptr, nullptr, 0);
  return woken > 0 ? static_cast<int>(woken) : 0;
}

static_assert(sizeof(std::atomic<std::uint32_t>) == 4 &&
              std::atomic<std::uint32_t>::is_always_lock_free);

}  // namespace millrace::disruptor
