// Pace: how fast a client may be sent what can be replaced: so many bytes a second.
//
// Each message moves the time ahead at which the next may go, by what it takes at that rate; so the
// newest values go out evenly, and not as what a second's budget held at its beginning. A server
// that comes late makes up for 20 ms and no more, and the rate is lower by that share. (It is the
// Generic Cell Rate Algorithm: ITU-T I.371, annex A.)
//
// What always holds: in any second, what was spent is within the budget, but for the last message.
//
// Threads: the processor's holder alone.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/broker/check.hpp"

namespace millrace::broker {

class Pace {
 public:
  // One of the client's subscriptions brings a budget, or it ends. The smallest one applies; a larger
  // one takes its place when all that there were have ended.
  void add_budget(std::uint32_t bytes_per_s) {
    MILLRACE_CHECK(bytes_per_s > 0);
    bytes_per_s_ = budgets_ == 0 ? bytes_per_s : std::min(bytes_per_s_, bytes_per_s);
    ++budgets_;
  }
  void remove_budget() {
    MILLRACE_CHECK(budgets_ > 0);
    --budgets_;  // what was spent stays spent
  }

  bool is_set() const { return budgets_ > 0; }
  std::uint32_t bytes_per_s() const { return bytes_per_s_; }
  bool is_open(std::int64_t now_ns) const { return open_ns_ <= now_ns; }
  // When it is open again.
  std::int64_t open_ns() const { return open_ns_; }

  void spend(std::uint32_t bytes, std::int64_t now_ns) {
    if (!is_set()) return;
    constexpr std::int64_t ns_per_budget = second_ns + late_ns_max;
    const std::int64_t cost_ns = (bytes * ns_per_budget + bytes_per_s_ - 1) / bytes_per_s_;
    open_ns_ = std::max(open_ns_, now_ns - late_ns_max) + cost_ns;
  }

 private:
  static constexpr std::int64_t second_ns = 1'000'000'000;
  static constexpr std::int64_t late_ns_max = 20'000'000;

  std::int64_t open_ns_ = 0;
  std::uint32_t bytes_per_s_ = 0;
  std::uint32_t budgets_ = 0;  // of so many subscriptions
};

}  // namespace millrace::broker
