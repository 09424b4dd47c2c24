// A segment: the unit in which an elastic queue takes and returns memory. S slots (S a power of
// two), first one ready byte for each slot, then the items, in one aligned block:
//
//     [ready bytes: S, rounded up to a cache line][items: S * sizeof(T)]
//
// A slot is ready when its byte holds the segment's generation. Every slot of a segment is written
// once in each use of the segment, so that in the next use, one generation later, all bytes are
// stale without anybody resetting them. The generation (1..63) travels in the low bits of the
// pointer, which the alignment leaves free: whoever holds the reference knows it without touching
// the segment.
//
// Not thread-safe by itself; the queue's tickets say who may touch which slot.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
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

/// Where things lie in the segments of one queue, and how such a segment is made and freed.
template <class T>
class SegmentLayout {
 public:
  explicit SegmentLayout(std::size_t slots)
      : slots_(slots), items_at_((slots + kAlign - 1) / kAlign * kAlign) {}

  ReadyByte* ready_bytes(SegmentRef segment) const {
    return std::launder(reinterpret_cast<ReadyByte*>(segment.block()));
  }
  /// Items are constructed and destroyed in place; the memory of an empty slot is raw.
  T* items(SegmentRef segment) const { return reinterpret_cast<T*>(segment.block() + items_at_); }

  std::size_t bytes() const { return items_at_ + slots_ * sizeof(T); }

  /// Null when memory is out.
  SegmentRef make() const {
    void* block = ::operator new (bytes(), std::align_val_t{kAlign}, std::nothrow);
    if (block == nullptr) return {};
    auto* ready = static_cast<ReadyByte*>(block);
    std::uninitialized_value_construct_n(ready, slots_);
    return SegmentRef(reinterpret_cast<std::uintptr_t>(block) | 1);
  }

  void free(SegmentRef segment) const {
    ::operator delete (segment.block(), std::align_val_t{kAlign});
  }

 private:
  static constexpr std::size_t kAlign = alignof(T) > kCacheLine ? alignof(T) : kCacheLine;

  std::size_t slots_;
  std::size_t items_at_;
};

}  // namespace millrace::queue
