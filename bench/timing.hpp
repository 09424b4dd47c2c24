// Time measurement for the benchmarks within one process.
#pragma once

#include <time.h>

#include <chrono>

namespace millrace::bench {

using Clock = std::chrono::steady_clock;

/// The calling thread's CPU time. Used for single-threaded benchmarks, so that time in which other
/// threads run on the core is not counted.
inline std::chrono::nanoseconds thread_time() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

inline double nanoseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::nano>(duration).count();
}

}  // namespace millrace::bench
