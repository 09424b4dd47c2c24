// The clock of the load generator: nanoseconds of CLOCK_MONOTONIC. Publishers and subscribers run
// in the same process, so the difference of their time stamps is meaningful. Any thread.
#pragma once

#include <time.h>

#include <cstdint>

namespace millrace::loadtest {

using Nanos = std::int64_t;

inline constexpr Nanos kMillisecond = 1'000'000;
inline constexpr Nanos kSecond = 1'000'000'000;

inline Nanos now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

inline Nanos from_seconds(double seconds) {
  return static_cast<Nanos>(seconds * static_cast<double>(kSecond));
}
inline double to_seconds(Nanos ns) {
  return static_cast<double>(ns) / static_cast<double>(kSecond);
}

}  // namespace millrace::loadtest
