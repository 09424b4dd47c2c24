// What producers know of the positions ahead of the tail, so that a usual push looks at nothing but
// the tail's own cache line: up to which position there is room, and in which segment.
//
// Thread contract: any producer, at any time. Nobody waits: of two that want to move the window at
// the same time, one does and the other goes on.
//
// What always holds, because a producer moves the window only to a segment in which it has claimed:
//   - A claim that succeeds at a position below `end_` lies in `segment_`. Had the window moved to
//     the next segment meanwhile, then somebody had claimed there, and the acquiring loads here
//     would make the claim see a newer tail and fail.
//   - `end_` never goes back, and with it `segment_` neither.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/queue/segment.hpp"

namespace millrace::queue {

/// `Wait` as the queue's: its step() lets stress tests come between.
template <class Wait>
class ClaimWindow {
 public:
  /// The segment of the `count` positions from `tail` on; null if not known, or not known to fit.
  /// True only if the claim of these positions succeeds.
  SegmentRef find(std::uint64_t tail, std::size_t count) const {
    // acquire, both: partners of move().
    if (tail + count > end_.load(std::memory_order_acquire)) return {};
    Wait::step();
    return SegmentRef(segment_.load(std::memory_order_acquire));
  }

  /// The caller claimed in `segment`; the positions from there to `end` lie in it too, and fit.
  void move(SegmentRef segment, std::uint64_t end) {
    if (end <= end_.load(std::memory_order_relaxed)) return;
    // acquire: partner of the release that ends another's move.
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
