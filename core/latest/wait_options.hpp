// How a thread waits for a newer value: it spins for a while, then it sleeps.
//
// Sleeping and being woken takes some 5 us, and costs the publisher a system call; spinning
// occupies a core. A spin without success costs both, and it delays the value if the publisher
// needs that core. So a thread spins only while
//   - the values of its topic come so fast that one is to be expected within `spin_max`: it keeps
//     an average of its recent waits; and
//   - it has a core for itself: if a value came while the spinning thread was preempted, it sleeps
//     without spinning in the next waits, twice as many each time that happens.
//
// Thread contract: WaitOptions any thread; an AdaptiveSpin belongs to the one thread that waits.
#pragma once

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstdint>
#include <thread>

#include "core/base/clock.hpp"
#include "core/base/pause.hpp"

namespace millrace::latest {

struct WaitOptions {
  /// The longest spin before a thread sleeps; 0: it sleeps at once. At most a second. The default
  /// is about the cost of a sleep, so that a wait costs at most about twice the optimum.
  std::chrono::nanoseconds spin_max = std::chrono::microseconds(5);

  /// spin_max, clamped. 0 on a single core, where the publisher cannot run while a thread spins.
  [[nodiscard]] std::uint32_t spin_max_ns() const noexcept {
    static const bool single_core = std::thread::hardware_concurrency() == 1;
    if (single_core || spin_max.count() <= 0) return 0;
    return static_cast<std::uint32_t>(std::min<std::int64_t>(spin_max.count(), 1'000'000'000));
  }
};

class AdaptiveSpin {
 public:
  explicit AdaptiveSpin(std::uint32_t spin_max_ns) noexcept : spin_max_ns_(spin_max_ns) {}

  [[nodiscard]] std::uint32_t spin_max_ns() const noexcept { return spin_max_ns_; }

  /// Spins from `start` until ready() is true, or until it is time to sleep, which may be at once;
  /// returns whether ready() was true.
  template <typename Ready>
  bool spin(base::Deadline start, base::Deadline deadline, Ready&& ready) {
    if (spin_max_ns_ == 0 || std::max(expected_ns_, unanswered_ns_) > spin_max_ns_) return false;
    if (waits_to_sleep_ > 0) {
      --waits_to_sleep_;
      return false;
    }
    const base::Deadline end = std::min(deadline, start + std::chrono::nanoseconds(spin_max_ns_));
    base::Deadline before = start;
    for (;;) {
      const bool is_ready = look(ready);
      const base::Deadline now = base::Clock::now();
      if (is_ready) {
        judge(now - before > kPreempted);
        return true;
      }
      if (now >= end) return false;
      before = now;
    }
  }

  /// To be called after each wait. `waited`: its length, whether the thread spun or slept.
  /// `answered`: it ended with news, not at a deadline.
  void learn(std::chrono::nanoseconds waited, bool answered) noexcept {
    assert(waited.count() >= 0);
    // Capped, so that one long wait does not outweigh many short ones.
    const std::uint64_t most = std::uint64_t{4} * spin_max_ns_;
    unanswered_ns_ = std::min(unanswered_ns_ + static_cast<std::uint64_t>(waited.count()), most);
    if (!answered) return;  // the next call continues this wait
    expected_ns_ = (3 * expected_ns_ + unanswered_ns_) / 4;
    unanswered_ns_ = 0;
  }

 private:
  static constexpr int kLooksPerClock = 16;  // some 0.5 us
  static constexpr std::chrono::nanoseconds kPreempted = std::chrono::microseconds(3);
  static constexpr std::uint32_t kPenaltyMax = 1024;

  /// `preempted`: the value came while another thread ran on this core, probably its publisher.
  void judge(bool preempted) noexcept {
    penalty_ =
        preempted ? std::min(2 * penalty_, kPenaltyMax) : std::max(penalty_ - penalty_ / 8, 2U) - 1;
    if (preempted) waits_to_sleep_ = penalty_;
  }

  template <typename Ready>
  static bool look(Ready& ready) {
    for (int i = 0; i < kLooksPerClock; ++i) {
      if (ready()) return true;
      base::pause();
    }
    return false;
  }

  std::uint32_t spin_max_ns_;
  std::uint32_t penalty_ = 1;
  std::uint32_t waits_to_sleep_ = 0;
  std::uint64_t expected_ns_ = 0;    // weighted average of the past waits, recent ones count most
  std::uint64_t unanswered_ns_ = 0;  // length of the present wait, over one or several calls
};

}  // namespace millrace::latest
