// How the benchmarks of one process take their time.
#pragma once

#include <time.h>

#include <chrono>

namespace millrace::bench {

using Clock = std::chrono::steady_clock;

/// What this thread has used of a core. Single-threaded figures are taken by it, so that others who
/// take the core away for a while do not count.
inline std::chrono::nanoseconds thread_time() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

inline double nanoseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::nano>(duration).count();
}

}  // namespace millrace::bench
