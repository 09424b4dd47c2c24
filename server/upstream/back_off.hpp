// BackOff: how long to wait before the next attempt: twice as long each time, up to a limit, and each
// time a part of it that chance decides, so that many edges do not come back in one moment.
//
// Threads: one. Randomness is handed in.
#pragma once

#include <algorithm>
#include <cstdint>

namespace millrace::server {

class BackOff {
 public:
  static constexpr std::uint32_t first_ms = 500;

  explicit BackOff(std::uint32_t max_ms) : max_ms_(std::max(max_ms, first_ms)) {}

  // Between a half and the whole of what it has come to.
  std::uint32_t next_ms(std::uint32_t random) {
    const std::uint32_t whole = next_ms_;
    next_ms_ = std::min(max_ms_, 2 * whole);
    return whole / 2 + random % (whole / 2 + 1);
  }
  // The link was good: the next attempt follows soon.
  void reset() { next_ms_ = first_ms; }

 private:
  std::uint32_t max_ms_;
  std::uint32_t next_ms_ = first_ms;
};

}  // namespace millrace::server
