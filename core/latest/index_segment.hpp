// The two parts of a SlotIndex: segments, each a small open-addressing table for one range of
// hashes, and the directory that finds a hash's segment.
//
// Thread contract: const members any thread that holds a ReaderRegistry::Guard; the others the
// writer only.
// Invariants: an entry never moves inside its segment, and a segment that was replaced never
// changes again, so a reader in the old or the new segment finds every entry that was there
// throughout.
//
// A cell is one word: an entry's address, with 16 bits of its hash above it, so that a search
// rarely reads an entry that does not match. The directory's pointers hold the segment's size in
// the same bits: from the directory a search goes straight to the cell, without reading the
// segment's head.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

#include "core/base/name_hash.hpp"

namespace millrace::latest {

/// Spreads a hash over all bits. The top bits choose the segment, bits 20 and up the cell, bits 4
/// to 19 go into the cell.
inline std::uint64_t mix_hash(std::uint64_t hash) noexcept {
  return (hash ^ hash >> 32) * 0x9e3779b97f4a7c15;
}

/// A pointer of 48 bits and a tag of 16 bits in one word.
template <typename T>
struct TaggedPointer {
  static constexpr int kTagShift = 48;

  static std::uint64_t pack(T* pointer, std::uint64_t tag) noexcept {
    return reinterpret_cast<std::uint64_t>(pointer) | tag << kTagShift;
  }
  static T* pointer(std::uint64_t word) noexcept {
    return reinterpret_cast<T*>(word & ((std::uint64_t{1} << kTagShift) - 1));
  }
  static std::uint64_t tag(std::uint64_t word) noexcept { return word >> kTagShift; }
};

/// The cells of a segment.
template <typename Entry>
class IndexCells {
 public:
  using Pointer = TaggedPointer<Entry>;
  static constexpr std::uint64_t kEmpty = 0;
  static constexpr std::uint64_t kErased = 1;  // a tombstone: searches continue past it

  IndexCells(std::atomic<std::uint64_t>* cells, std::size_t count) noexcept
      : cells_(cells), mask_(count - 1) {}

  [[nodiscard]] Entry* find(std::uint64_t mixed, std::string_view name) const noexcept {
    const std::uint64_t wanted = tag(mixed);
    for (std::size_t i = home(mixed);; i = next(i)) {
      // Acquire pairs with the segment's insert(): the entry's contents are visible.
      const std::uint64_t word = cells_[i].load(std::memory_order_acquire);
      if (Pointer::tag(word) == wanted && word > kErased) {
        Entry* entry = Pointer::pointer(word);
        if (base::same_name(entry->name(), name)) return entry;
      }
      if (word == kEmpty) return nullptr;
    }
  }

  static std::uint64_t tag(std::uint64_t mixed) noexcept { return mixed >> 4 & 0xffff; }
  [[nodiscard]] std::size_t home(std::uint64_t mixed) const noexcept { return mixed >> 20 & mask_; }
  [[nodiscard]] std::size_t next(std::size_t i) const noexcept { return (i + 1) & mask_; }
  [[nodiscard]] std::size_t before(std::size_t i) const noexcept { return (i - 1) & mask_; }
  [[nodiscard]] std::size_t count() const noexcept { return mask_ + 1; }
  [[nodiscard]] std::uint64_t own(std::size_t i) const noexcept {  // for the writer
    return cells_[i].load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::atomic<std::uint64_t>& operator[](std::size_t i) const noexcept {
    return cells_[i];
  }

  /// Visits all entries; one that is inserted or erased meanwhile may or may not be visited.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t i = 0; i <= mask_; ++i) {
      const std::uint64_t word = cells_[i].load(std::memory_order_acquire);  // pairs with insert()
      if (word > kErased) visit(*Pointer::pointer(word));
    }
  }

 private:
  std::atomic<std::uint64_t>* cells_;
  std::size_t mask_;
};

/// The head of a segment; its cells follow it in memory.
template <typename Entry>
class alignas(64) IndexSegment {
  using Cells = IndexCells<Entry>;

 public:
  static constexpr std::size_t kCellsMin = 16;
  static constexpr std::size_t kCellsSplit = 512;  // 4 KiB: rebuilt in some ten microseconds
  static constexpr unsigned kDepthMax = 32;

  [[nodiscard]] static IndexSegment* make(unsigned depth, std::size_t cells) {
    void* memory = ::operator new(bytes_of(cells), std::align_val_t(alignof(IndexSegment)));
    return new (memory) IndexSegment(depth, cells);
  }
  static void destroy(IndexSegment* segment) noexcept {
    ::operator delete(segment, std::align_val_t(alignof(IndexSegment)));
  }
  /// A segment that is not published yet.
  struct Destroy {
    void operator()(IndexSegment* segment) const noexcept { destroy(segment); }
  };
  using Built = std::unique_ptr<IndexSegment, Destroy>;

  [[nodiscard]] Cells cells() noexcept {
    return {reinterpret_cast<std::atomic<std::uint64_t>*>(this + 1), count_};
  }

  /// The name must be new and the segment not full.
  void insert(std::uint64_t mixed, Entry* entry) noexcept {
    const Cells cells = this->cells();
    std::size_t i = cells.home(mixed);
    while (cells.own(i) > Cells::kErased) i = cells.next(i);
    if (cells.own(i) == Cells::kEmpty) ++used_;
    ++live_;
    // Release pairs with find() and for_each().
    cells[i].store(Cells::Pointer::pack(entry, Cells::tag(mixed)), std::memory_order_release);
  }

  void erase(std::uint64_t mixed, const Entry& entry) noexcept {
    const Cells cells = this->cells();
    std::size_t i = cells.home(mixed);
    while (Cells::Pointer::pointer(cells.own(i)) != &entry) i = cells.next(i);
    --live_;
    cells[i].store(Cells::kErased, std::memory_order_relaxed);
    // Searches end at an empty cell, so tombstones directly in front of one are not needed.
    if (cells.own(cells.next(i)) != Cells::kEmpty) return;
    for (; cells.own(i) == Cells::kErased; i = cells.before(i)) {
      cells[i].store(Cells::kEmpty, std::memory_order_relaxed);
      --used_;
    }
  }

  /// Full at five eighths, tombstones included, so that searches stay short.
  [[nodiscard]] bool full() const noexcept { return used_ + 1 > count_ - count_ * 3 / 8; }
  [[nodiscard]] bool wants_split() const noexcept { return count_ >= kCellsSplit && crowded(); }

  /// A copy without tombstones, with twice the cells if the entries would soon fill this many.
  [[nodiscard]] Built rebuilt() {
    Built copy(make(depth_, crowded() ? 2 * count_ : count_));
    for_each_prefetched([&](Entry& entry) { copy->insert(mix_hash(entry.hash()), &entry); });
    return copy;
  }

  /// Two segments, each with the entries of one half of the range. Even a half that gets all
  /// entries has room for one more.
  [[nodiscard]] std::pair<Built, Built> split() {
    Built low(make(depth_ + 1, count_));
    Built high(make(depth_ + 1, count_));
    const std::uint64_t bit = std::uint64_t{1} << (63 - depth_);
    for_each_prefetched([&](Entry& entry) {
      const std::uint64_t mixed = mix_hash(entry.hash());
      (mixed & bit ? high : low)->insert(mixed, &entry);
    });
    return {std::move(low), std::move(high)};
  }

  /// How many of a hash's top bits all entries here have in common, and the mask of the other bits.
  [[nodiscard]] unsigned depth() const noexcept { return depth_; }
  [[nodiscard]] std::uint64_t range() const noexcept { return ~std::uint64_t{0} >> depth_; }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept { return bytes_of(count_); }

 private:
  IndexSegment(unsigned depth, std::size_t count) : count_(count), depth_(depth) {
    auto* first = reinterpret_cast<std::atomic<std::uint64_t>*>(this + 1);
    std::uninitialized_value_construct_n(first, count);
  }

  static std::size_t bytes_of(std::size_t cells) noexcept {
    return sizeof(IndexSegment) + cells * sizeof(std::atomic<std::uint64_t>);
  }
  [[nodiscard]] bool crowded() const noexcept { return live_ > count_ / 2; }

  /// The entries are scattered in memory: prefetching several in parallel takes a fraction of the
  /// time of fetching one after the other.
  template <typename Visit>
  void for_each_prefetched(Visit visit) {
    constexpr std::size_t kAhead = 16;
    const Cells cells = this->cells();
    for (std::size_t i = 0; i < count_ + kAhead; ++i) {
      if (i < count_) __builtin_prefetch(Cells::Pointer::pointer(cells.own(i)));
      if (i < kAhead) continue;
      const std::uint64_t word = cells.own(i - kAhead);
      if (word > Cells::kErased) visit(*Cells::Pointer::pointer(word));
    }
  }

  const std::size_t count_;
  std::size_t live_ = 0;  // entries; used by the writer only
  std::size_t used_ = 0;  // entries and tombstones; used by the writer only
  const unsigned depth_;
};

/// 2^depth pointers; several point to the same segment if its depth is less than the directory's.
template <typename Entry>
class IndexDirectory {
  using Segment = IndexSegment<Entry>;
  using Pointer = TaggedPointer<Segment>;

 public:
  explicit IndexDirectory(unsigned depth)
      : segments_(new std::atomic<std::uint64_t>[std::size_t{1} << depth]), depth_(depth) {}

  /// A directory with segments that can hold `expected` entries without a split.
  [[nodiscard]] static IndexDirectory* make_for(std::size_t expected) {
    // Half full on average: far enough below five eighths that random variation splits few.
    const std::size_t cells = std::bit_ceil(std::max(2 * expected, Segment::kCellsMin));
    const std::size_t segment_cells = std::min(cells, Segment::kCellsSplit);
    const auto depth = std::min(static_cast<unsigned>(std::countr_zero(cells / segment_cells)),
                                Segment::kDepthMax);
    auto directory = std::make_unique<IndexDirectory>(depth);
    for (std::size_t i = 0; i < directory->count(); ++i) {
      directory->set(i, Segment::make(depth, segment_cells));
    }
    return directory.release();
  }

  [[nodiscard]] unsigned depth() const noexcept { return depth_; }
  [[nodiscard]] std::size_t count() const noexcept { return std::size_t{1} << depth_; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    return sizeof(*this) + count() * sizeof(segments_[0]);
  }

  [[nodiscard]] IndexCells<Entry> cells_at(std::uint64_t mixed) const noexcept {
    const std::uint64_t word = load(mixed);
    return {reinterpret_cast<std::atomic<std::uint64_t>*>(Pointer::pointer(word) + 1),
            std::size_t{1} << Pointer::tag(word)};
  }
  [[nodiscard]] Segment& at(std::uint64_t mixed) const noexcept {
    return *Pointer::pointer(load(mixed));
  }

  template <typename Visit>
  void for_each_segment(Visit visit) const {
    Segment* former = nullptr;
    for (std::size_t i = 0; i < count(); ++i) {
      Segment* segment = Pointer::pointer(segments_[i].load(std::memory_order_relaxed));
      if (std::exchange(former, segment) != segment) visit(*segment);
    }
  }

  [[nodiscard]] std::unique_ptr<IndexDirectory> doubled() const {
    auto twice = std::make_unique<IndexDirectory>(depth_ + 1);
    for (std::size_t i = 0; i < twice->count(); ++i) {
      const std::uint64_t word = segments_[i / 2].load(std::memory_order_relaxed);
      twice->segments_[i].store(word, std::memory_order_relaxed);  // published as a whole
    }
    return twice;
  }

  /// Of the pointers to the segment of `mixed`, sets the first half to `low`, the second to `high`.
  /// The first pointer is set last: a walk that has visited `low` must not find the old segment
  /// behind it, whose entries it would visit once more.
  void replace(std::uint64_t mixed, Segment* low, Segment* high) noexcept {
    const std::size_t span = std::size_t{1} << (depth_ - at(mixed).depth());
    const std::size_t first = place(mixed) / span * span;
    for (std::size_t i = span; i-- > 0;) set(first + i, i < span / 2 ? low : high);
  }

 private:
  [[nodiscard]] std::size_t place(std::uint64_t mixed) const noexcept {
    return mixed >> 1 >> (63 - depth_);  // two shifts, since a shift by 64 (depth 0) is undefined
  }
  [[nodiscard]] std::uint64_t load(std::uint64_t mixed) const noexcept {
    // Acquire pairs with set(): the segment's contents at its publication are visible.
    return segments_[place(mixed)].load(std::memory_order_acquire);
  }
  void set(std::size_t i, Segment* segment) noexcept {
    const auto size = static_cast<std::uint64_t>(std::countr_zero(segment->count()));
    segments_[i].store(Pointer::pack(segment, size), std::memory_order_release);  // with load()
  }

  const std::unique_ptr<std::atomic<std::uint64_t>[]> segments_;
  const unsigned depth_;
};

}  // namespace millrace::latest
