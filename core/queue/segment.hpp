// A segment: the unit in which an elastic queue takes and returns memory. One aligned block of
// groups of 64 slots; a group is a cache line of ready bytes, then 64 items:
//
//     [64 ready bytes | item item item ...][64 ready bytes | item item item ...] ...
//
// Separate ready bytes keep the items dense (8-byte items cost 9 bytes, not 16) and aligned, and
// let the consumer check many of them in one cache line. (Measured against one byte beside each
// item, and against groups of one line: this was the fastest with one producer and with four.)
//
// A slot is ready when its byte equals the segment's generation. Every slot of a segment is written
// once in each use of the segment, so in the next use, one generation later, all bytes are stale
// and need no reset. The generation (1..63) is kept in the low bits of the pointer, which the
// alignment leaves free, so it is known without access to the segment.
//
// Thread contract: not thread-safe by itself; a slot may be accessed by the thread that holds its
// position in the queue.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace millrace::queue {

inline constexpr std::size_t kCacheLine = 64;

using ReadyByte = std::atomic<std::uint8_t>;

/// Pointer and generation of a segment in one word; null when there is none.
class SegmentRef {
 public:
  SegmentRef() = default;
  explicit SegmentRef(std::uintptr_t bits) : bits_(bits) {}

  explicit operator bool() const { return bits_ != 0; }
  std::uintptr_t bits() const { return bits_; }
  std::uint8_t generation() const { return static_cast<std::uint8_t>(bits_ & kGenerationMask); }
  std::byte* block() const { return reinterpret_cast<std::byte*>(bits_ & ~kGenerationMask); }

  /// The same segment for its next use.
  SegmentRef next_use() const {
    const std::uintptr_t generation = bits_ & kGenerationMask;
    return SegmentRef((bits_ & ~kGenerationMask) |
                      (generation == kGenerationMask ? 1 : generation + 1));
  }

 private:
  static constexpr std::uintptr_t kGenerationMask = kCacheLine - 1;
  std::uintptr_t bits_ = 0;
};

/// The memory layout of one queue's segments; makes and frees them.
template <class T>
class SegmentLayout {
  static constexpr std::size_t round_up(std::size_t size, std::size_t unit) {
    return (size + unit - 1) / unit * unit;
  }

 public:
  /// One slot, and `run`, the number of slots from it to the end of its group (itself included).
  struct Slot {
    ReadyByte* ready;
    T* item;
    std::size_t run;
  };

  /// Segments of at least `slots_min` slots.
  explicit SegmentLayout(std::size_t slots_min)
      : group_shift_(static_cast<unsigned>(
            std::countr_zero(std::bit_ceil((slots_min + kGroupSlots - 1) / kGroupSlots)))) {}

  std::size_t slots() const { return kGroupSlots << group_shift_; }
  std::size_t bytes() const { return kGroupBytes << group_shift_; }

  /// The number of the segment that a position lies in.
  std::uint64_t number(std::uint64_t position) const {
    return (position / kGroupSlots) >> group_shift_;
  }

  Slot slot(SegmentRef segment, std::uint64_t position) const {
    const std::uint64_t group = (position / kGroupSlots) & ((std::uint64_t{1} << group_shift_) - 1);
    const std::size_t place = position % kGroupSlots;
    std::byte* start = segment.block() + group * kGroupBytes;
    // An empty slot's item is raw memory, to be constructed.
    return {reinterpret_cast<ReadyByte*>(start) + place,
            reinterpret_cast<T*>(start + kItemsAt) + place, kGroupSlots - place};
  }

  /// Null when memory is out.
  SegmentRef make() const {
    void* block = ::operator new (bytes(), std::align_val_t{kAlign}, std::nothrow);
    if (block == nullptr) return {};
    for (std::size_t at = 0; at < bytes(); at += kGroupBytes) {
      std::uninitialized_value_construct_n(
          reinterpret_cast<ReadyByte*>(static_cast<std::byte*>(block) + at), kGroupSlots);
    }
    return SegmentRef(reinterpret_cast<std::uintptr_t>(block) | 1);
  }

  void free(SegmentRef segment) const {
    ::operator delete (segment.block(), std::align_val_t{kAlign});
  }

 private:
  static constexpr std::size_t kGroupSlots = 64;
  static constexpr std::size_t kAlign = alignof(T) > kCacheLine ? alignof(T) : kCacheLine;
  static constexpr std::size_t kItemsAt = round_up(kGroupSlots, alignof(T));
  static constexpr std::size_t kGroupBytes =
      round_up(kItemsAt + kGroupSlots * sizeof(T), alignof(T));

  unsigned group_shift_;  // a segment has 2^this groups
};

}  // namespace millrace::queue
