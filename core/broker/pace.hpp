// Pace: when a client may be sent what can be replaced: so many bytes a second, or all that waits at
// once each so many milliseconds (a tick), or both.
//
// Budget. Each message moves the time ahead at which the next may go, by what it takes at that rate;
// so the newest values go out evenly, and not as what a second's budget held at its beginning. A
// server that comes late makes up for 20 ms and no more, and the rate is lower by that share. (It is
// the Generic Cell Rate Algorithm: ITU-T I.371, annex A.)
//
// Ticks. The times of a client's ticks are fixed, and those of different clients are spread over the
// interval. What comes between two of them waits for the next one; at a tick the client is served
// until nothing waits, however long its credit takes.
//
// What always holds: in any second, what was spent is within the budget, but for the last message;
// between the end of a tick and the time of the next one the pace is closed.
//
// Threads: the processor's holder alone.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/broker/check.hpp"
#include "core/broker/shape.hpp"

namespace millrace::broker {

class Pace {
 public:
  // One of the client's subscriptions brings a budget or ticks, or it ends. The smallest one applies;
  // a larger one takes its place when all that there were have ended. `client`: a number of its own.
  void add(const ShapeFields& shape, std::uint64_t client) {
    client_ = client;
    add(shape.budget_bytes_per_s, budget_);
    add(shape.tick_ms, tick_);
  }
  void remove(const ShapeFields& shape) {
    remove(shape.budget_bytes_per_s, budget_);
    remove(shape.tick_ms, tick_);
    if (tick_.count == 0) ticks_at_ns_ = never_ns;
  }

  bool is_set() const { return budget_.count > 0 || tick_.count > 0; }
  std::uint32_t budget_bytes_per_s() const { return budget_.count > 0 ? budget_.least : 0; }
  std::uint32_t tick_ms() const { return tick_.count > 0 ? tick_.least : 0; }
  bool is_within_budget(std::int64_t now_ns) const { return open_ns_ <= now_ns; }
  bool is_open(std::int64_t now_ns) const {
    return is_within_budget(now_ns) && (tick_.count == 0 || ticks_at_ns_ == ticking_ns);
  }
  // When it is to be served, while something waits and it is closed; as of the last call of wait().
  // By a budget in steps: more goes out in one write, and what comes late is made up for.
  std::int64_t due_ns(std::int64_t now_ns) const {
    const std::int64_t budget_ns = std::max(open_ns_, now_ns + step_ns);
    if (tick_.count == 0 || ticks_at_ns_ == ticking_ns) return budget_ns;
    return open_ns_ <= ticks_at_ns_ ? ticks_at_ns_ : budget_ns;
  }

  // Something waits, or nothing does, as the client is served, and once it was.
  void wait(std::int64_t now_ns) {
    if (tick_.count == 0 || ticks_at_ns_ == ticking_ns) return;
    if (ticks_at_ns_ == never_ns) ticks_at_ns_ = next_tick_ns(now_ns);
    if (ticks_at_ns_ <= now_ns) ticks_at_ns_ = ticking_ns;
  }
  void end_wait() { ticks_at_ns_ = never_ns; }

  void spend(std::uint32_t bytes, std::int64_t now_ns) {
    if (budget_.count == 0) return;
    constexpr std::int64_t ns_per_budget = second_ns + late_ns_max;
    const std::int64_t cost_ns = (bytes * ns_per_budget + budget_.least - 1) / budget_.least;
    open_ns_ = std::max(open_ns_, now_ns - late_ns_max) + cost_ns;
  }

 private:
  // The smallest of so many.
  struct Least {
    std::uint32_t least = 0;
    std::uint32_t count = 0;
  };
  static void add(std::uint32_t value, Least& to) {
    if (value == 0) return;
    to.least = to.count == 0 ? value : std::min(to.least, value);
    ++to.count;
  }
  static void remove(std::uint32_t value, Least& from) {
    if (value == 0) return;
    MILLRACE_CHECK(from.count > 0);
    --from.count;  // what was spent stays spent
  }
  // After now. Multiples of the golden ratio spread well, however many there are.
  std::int64_t next_tick_ns(std::int64_t now_ns) const {
    const std::int64_t interval_ns = std::int64_t{tick_.least} * 1'000'000;
    const std::uint64_t spread = client_ * 0x9E3779B97F4A7C15ull >> 32;
    const auto phase_ns =
        static_cast<std::int64_t>(spread * (static_cast<std::uint64_t>(interval_ns) >> 16) >> 16);
    return now_ns - (now_ns + interval_ns - phase_ns) % interval_ns + interval_ns;
  }

  static constexpr std::int64_t second_ns = 1'000'000'000;
  static constexpr std::int64_t late_ns_max = 20'000'000;
  static constexpr std::int64_t step_ns = 5'000'000;
  static constexpr std::int64_t never_ns = INT64_MAX;
  static constexpr std::int64_t ticking_ns = 0;

  std::int64_t open_ns_ = 0;             // by the budget
  std::int64_t ticks_at_ns_ = never_ns;  // never: nothing waits; ticking: until nothing does
  std::uint64_t client_ = 0;
  Least budget_;
  Least tick_;
};

}  // namespace millrace::broker
