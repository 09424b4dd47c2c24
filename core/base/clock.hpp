// The clock of core/: CLOCK_MONOTONIC, which std::chrono::steady_clock is on Linux. And the time of
// day.
//
// Thread contract: any thread.
#pragma once

#include <chrono>
#include <cstdint>

namespace millrace::base {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

/// The deadline of a wait without a time limit.
inline constexpr Deadline never = Deadline::max();

inline std::int64_t now_ns() {
  return std::chrono::nanoseconds(Clock::now().time_since_epoch()).count();
}

/// Nanoseconds since 1970 (CLOCK_REALTIME).
inline std::uint64_t time_of_day_ns() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(since_epoch).count());
}

/// `timeout` from now. A time-out beyond the clock's range gives `never`.
template <class Rep, class Period>
Deadline deadline_after(std::chrono::duration<Rep, Period> timeout) {
  const Deadline now = Clock::now();
  const std::chrono::duration<double> range = never - now;
  if (std::chrono::duration<double>(timeout) >= range) return never;
  return now + std::chrono::ceil<Clock::duration>(timeout);
}

}  // namespace millrace::base
