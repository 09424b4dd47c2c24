// The pool of a queue's spare segments, and the rule for when it is emptied.
//
// Without a pool, a load in bursts would allocate segments in each burst and free them after it. So
// finished segments are kept for the next burst. They are freed, and the capacity is lowered, only
// after a calm: a long stretch of the consumer's looks in which no push grew the queue.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "core/queue/segment.hpp"

namespace millrace::queue {

/// A stack of spare segments. Any thread, at any time. Wait-free: a call during another thread's
/// call returns as if the pool were empty, or full.
class SegmentPool {
 public:
  /// Keeps up to 256 segments and 4 MiB.
  explicit SegmentPool(std::size_t segment_bytes)
      : limit_(std::min(kSegmentsMax, kBytesMax / segment_bytes)) {}

  /// Null if the pool is empty or busy.
  SegmentRef take() {
    if (empty() || busy_.exchange(true, std::memory_order_acquire)) return {};
    SegmentRef taken;
    const std::size_t count = count_.load(std::memory_order_relaxed);
    if (count > 0) {
      taken = segments_[count - 1];
      count_.store(count - 1, std::memory_order_relaxed);
    }
    busy_.store(false, std::memory_order_release);
    return taken;
  }

  /// False if the pool is full or busy: the caller keeps the segment.
  bool give(SegmentRef segment) {
    const auto full = [this] { return count_.load(std::memory_order_relaxed) == limit_; };
    if (full() || busy_.exchange(true, std::memory_order_acquire)) return false;
    const bool given = !full();
    if (given) {
      const std::size_t count = count_.load(std::memory_order_relaxed);
      segments_[count] = segment;
      count_.store(count + 1, std::memory_order_relaxed);
    }
    busy_.store(false, std::memory_order_release);
    return given;
  }

  /// May be outdated when it returns.
  bool empty() const { return count_.load(std::memory_order_relaxed) == 0; }

 private:
  static constexpr std::size_t kSegmentsMax = 256;
  static constexpr std::size_t kBytesMax = std::size_t{4} << 20;

  const std::size_t limit_;
  std::atomic<bool> busy_{false};
  std::atomic<std::size_t> count_{0};  // changed only by the thread that set busy_
  std::array<SegmentRef, kSegmentsMax> segments_;
};

/// Detects calms: a calm begins after a stretch without growth in which the consumer left 256
/// segments, or found nothing 16384 times, or a mixture of both. Used by the consumer only.
class CalmWatch {
 public:
  enum Look : std::uint32_t { found_nothing = 1, left_segment = 64 };

  /// `growths` is how often pushes have grown the queue; `len` is how many items wait. Returns, at
  /// the end of each stretch without growth, the most items that were seen waiting in it.
  std::optional<std::size_t> look(Look look, std::uint64_t growths, std::size_t len) {
    if (std::exchange(growths_, growths) != growths) {
      calm_ = false;
      done_ = 0;
      deepest_ = 0;
    }
    saw(len);
    done_ += look;
    if (done_ < kStretch) return std::nullopt;
    calm_ = true;
    done_ = 0;
    return std::exchange(deepest_, 0);
  }
  void saw(std::size_t len) { deepest_ = std::max(deepest_, len); }

  /// True from the end of a stretch without growth until the next growth.
  bool calm() const { return calm_; }

 private:
  static constexpr std::uint32_t kStretch = 256 * left_segment;

  std::uint64_t growths_ = 0;
  std::size_t deepest_ = 0;
  std::uint32_t done_ = 0;
  bool calm_ = false;
};

}  // namespace millrace::queue
