// What a queue keeps of the memory that it grew by, and until when.
//
// A load that comes in bursts would otherwise take segments from the heap, page by page, in each
// burst and give them back behind it. So segments that the consumer has left wait in a pool for the
// next burst, and go back, as the capacity does, only after a calm: many looks of the consumer in a
// row between which no push needed more.
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

/// Segments for their next use, the last one given first. Any thread, at any time. Nobody waits: a
/// call during another thread's call finds the pool empty, or full.
class SegmentPool {
 public:
  /// Keeps up to 256 segments and 4 MiB.
  explicit SegmentPool(std::size_t segment_bytes)
      : limit_(std::min(kSegmentsMax, kBytesMax / segment_bytes)) {}

  /// Null if there is none to be had.
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

  /// False: the caller keeps it.
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

  /// Of some moment.
  bool empty() const { return count_.load(std::memory_order_relaxed) == 0; }

 private:
  static constexpr std::size_t kSegmentsMax = 256;
  static constexpr std::size_t kBytesMax = std::size_t{4} << 20;

  const std::size_t limit_;
  std::atomic<bool> busy_{false};
  std::atomic<std::size_t> count_{0};  // changed by who set busy_
  std::array<SegmentRef, kSegmentsMax> segments_;
};

/// Tells the consumer when its queue has been calm: for as long as it leaves 256 segments, or finds
/// nothing 16384 times, or some of both. The consumer's.
class CalmWatch {
 public:
  enum Look : std::uint32_t { kFoundNothing = 1, kLeftSegment = 64 };

  /// `growths` is how often pushes have grown the queue; `len` is what waits. At the end of each
  /// such stretch without a growth, the most that was seen waiting in it.
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

  /// No growth since a whole stretch ended.
  bool calm() const { return calm_; }

 private:
  static constexpr std::uint32_t kStretch = 256 * kLeftSegment;

  std::uint64_t growths_ = 0;
  std::size_t deepest_ = 0;
  std::uint32_t done_ = 0;
  bool calm_ = false;
};

}  // namespace millrace::queue
