// Cached knowledge about the positions ahead of the tail: up to which position there is room, and
// in which segment. With it the common push reads only the tail's own cache line.
//
// Thread contract: any producer, at any time. Wait-free: if two producers try to move the window at
// the same time, one does and the other skips it.
//
// Invariants, which hold because a producer moves the window only to a segment in which it has a
// claim:
//   - A claim that succeeds at a position below `end_` lies in `segment_`. If the window had moved
//     to the next segment meanwhile, another producer would have a claim there, and the acquire
//     loads here would make this claim see a newer tail and fail.
//   - `end_` never decreases. `segment_` may go back, if a producer that has claimed an older
//     position finds more room than the one that moved the window last did (the capacity and the
//     cached head may fall). Every position below `end_` is claimed already then: `end_` lies in
//     the older segment, and another producer has a claim in the newer one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/queue/segment.hpp"

namespace millrace::queue {

/// `Wait` is the queue's: stress tests preempt the thread in its step().
template <class Wait>
class ClaimWindow {
 public:
  /// The segment of the `count` positions from `tail` on; null if the window does not cover them
  /// all. The answer is valid only if the caller's claim of these positions succeeds.
  SegmentRef find(std::uint64_t tail, std::size_t count) const {
    // acquire, both: partners of move().
    if (tail + count > end_.load(std::memory_order_acquire)) return {};
    Wait::step();
    return SegmentRef(segment_.load(std::memory_order_acquire));
  }

  /// Moves the window to `segment`, in which the caller has claimed a position. The positions from
  /// there to `end` must lie in the segment too, and have room.
  void move(SegmentRef segment, std::uint64_t end) {
    if (end <= end_.load(std::memory_order_relaxed)) return;
    // acquire: partner of the release at the end of another producer's move().
    if (busy_.exchange(true, std::memory_order_acquire)) return;
    if (end > end_.load(std::memory_order_relaxed)) {
      segment_.store(segment.bits(), std::memory_order_release);
      Wait::step();
      end_.store(end, std::memory_order_release);
    }
    busy_.store(false, std::memory_order_release);
  }

 private:
  std::atomic<std::uint64_t> end_{0};
  std::atomic<std::uintptr_t> segment_{0};  // SegmentRef bits
  std::atomic<bool> busy_{false};           // a producer is moving it
};

}  // namespace millrace::queue
