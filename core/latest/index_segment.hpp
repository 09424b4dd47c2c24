// The two parts of a SlotIndex: segments, small open-addressing tables of one range of hashes, and
// the directory that finds a hash's segment.
//
// Who may call it: const members any thread inside a reader's stay; the others the writer.
// Always holds: an entry never moves inside its segment, and a segment that was replaced never
// changes again, so a reader that is in either finds what it should.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

namespace millrace::latest {

/// Spreads a hash over all bits: its top bits choose the segment, others the cell.
inline std::uint64_t mix_hash(std::uint64_t hash) noexcept {
  return (hash ^ hash >> 32) * 0x9e3779b97f4a7c15;
}

template <typename Entry>
class IndexSegment {
 public:
  static constexpr std::size_t kCellsMin = 16;
  static constexpr std::size_t kCellsSplit = 1024;  // 16 KiB: rebuilt in a few microseconds
  static constexpr unsigned kDepthMax = 32;

  IndexSegment(unsigned depth, std::size_t cells)
      : cells_(new Cell[cells]), mask_(cells - 1), depth_(depth) {}

  [[nodiscard]] Entry* find(std::uint64_t mixed, std::string_view name) const noexcept {
    for (std::size_t i = home(mixed);; i = (i + 1) & mask_) {
      // Acquire pairs with insert(): shows the hash beside it and the entry's contents.
      Entry* entry = cells_[i].entry.load(std::memory_order_acquire);
      if (entry == nullptr) return nullptr;
      if (cells_[i].mixed.load(std::memory_order_relaxed) == mixed && entry != erased() &&
          std::string_view(entry->name()) == name) {
        return entry;
      }
    }
  }

  template <typename Visit>
  void for_each(Visit& visit) const {
    for (std::size_t i = 0; i <= mask_; ++i) {
      Entry* entry = cells_[i].entry.load(std::memory_order_acquire);  // pairs with insert()
      if (entry != nullptr && entry != erased()) visit(*entry);
    }
  }

  /// The caller made sure that the name is new and the segment not full.
  void insert(std::uint64_t mixed, Entry* entry) noexcept {
    std::size_t i = home(mixed);
    while (taken(i)) i = (i + 1) & mask_;
    if (cells_[i].entry.load(std::memory_order_relaxed) == nullptr) ++used_;
    ++live_;
    // Relaxed, then release: a reader that sees the entry sees its hash (pairs with find()).
    cells_[i].mixed.store(mixed, std::memory_order_relaxed);
    cells_[i].entry.store(entry, std::memory_order_release);
  }

  void erase(std::uint64_t mixed, const Entry& entry) noexcept {
    std::size_t i = home(mixed);
    while (cells_[i].entry.load(std::memory_order_relaxed) != &entry) i = (i + 1) & mask_;
    --live_;
    cells_[i].entry.store(erased(), std::memory_order_release);
    // No search goes past an empty cell, so marks in front of one are not needed.
    if (cells_[(i + 1) & mask_].entry.load(std::memory_order_relaxed) != nullptr) return;
    for (; cells_[i].entry.load(std::memory_order_relaxed) == erased(); i = (i - 1) & mask_) {
      cells_[i].entry.store(nullptr, std::memory_order_release);
      --used_;
    }
  }

  /// Full at three quarters, marks of erased entries included, so that searches stay short.
  [[nodiscard]] bool full() const noexcept { return used_ + 1 > cells() - cells() / 4; }
  [[nodiscard]] bool wants_split() const noexcept {
    return cells() >= kCellsSplit && live_ > cells() / 2;
  }

  /// The same entries without marks, in twice the cells if they would soon fill this many.
  [[nodiscard]] IndexSegment* rebuilt() const {
    auto copy = std::make_unique<IndexSegment>(depth_, live_ > cells() / 2 ? 2 * cells() : cells());
    for_each_cell([&](std::uint64_t mixed, Entry* entry) { copy->insert(mixed, entry); });
    return copy.release();
  }

  /// Two segments, each with the entries of one half of the range. A half that got nearly all has
  /// room for one more all the same.
  [[nodiscard]] std::pair<IndexSegment*, IndexSegment*> split() const {
    auto low = std::make_unique<IndexSegment>(depth_ + 1, cells());
    auto high = std::make_unique<IndexSegment>(depth_ + 1, cells());
    const std::uint64_t bit = std::uint64_t{1} << (63 - depth_);
    for_each_cell([&](std::uint64_t mixed, Entry* entry) {
      (mixed & bit ? high : low)->insert(mixed, entry);
    });
    return {low.release(), high.release()};
  }

  /// How many of a hash's top bits all entries here have in common, and the bits that are left.
  [[nodiscard]] unsigned depth() const noexcept { return depth_; }
  [[nodiscard]] std::uint64_t range() const noexcept {
    return depth_ == 0 ? ~std::uint64_t{0} : ~std::uint64_t{0} >> depth_;
  }
  [[nodiscard]] const void* cell(std::uint64_t mixed) const noexcept {
    return &cells_[home(mixed)];
  }
  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    return sizeof(*this) + cells() * sizeof(Cell);
  }

 private:
  struct Cell {
    std::atomic<std::uint64_t> mixed{0};
    std::atomic<Entry*> entry{nullptr};
  };

  /// Marks a cell whose entry is gone but which a search must pass.
  static Entry* erased() noexcept { return reinterpret_cast<Entry*>(std::uintptr_t{1}); }

  [[nodiscard]] std::size_t cells() const noexcept { return mask_ + 1; }
  [[nodiscard]] std::size_t home(std::uint64_t mixed) const noexcept {
    return (mixed >> 20) & mask_;
  }
  [[nodiscard]] bool taken(std::size_t i) const noexcept {
    const Entry* entry = cells_[i].entry.load(std::memory_order_relaxed);
    return entry != nullptr && entry != erased();
  }
  template <typename Visit>
  void for_each_cell(Visit visit) const {
    for (std::size_t i = 0; i <= mask_; ++i) {
      if (taken(i)) {
        visit(cells_[i].mixed.load(std::memory_order_relaxed),
              cells_[i].entry.load(std::memory_order_relaxed));
      }
    }
  }

  const std::unique_ptr<Cell[]> cells_;
  const std::size_t mask_;
  const unsigned depth_;
  std::size_t live_ = 0;  // entries, and with the marks of erased ones; the writer's
  std::size_t used_ = 0;
};

/// 2^depth pointers; several point to one segment while that has not been split as often.
template <typename Segment>
class IndexDirectory {
 public:
  explicit IndexDirectory(unsigned depth)
      : segments_(new std::atomic<Segment*>[std::size_t{1} << depth]), depth_(depth) {}

  /// With segments that take `expected` entries without being split.
  [[nodiscard]] static IndexDirectory* make_for(std::size_t expected) {
    // Half full on average: far enough from three quarters that chance does not split one.
    const std::size_t cells = std::bit_ceil(std::max(2 * expected, Segment::kCellsMin));
    const std::size_t segment_cells = std::min(cells, Segment::kCellsSplit);
    const auto depth = static_cast<unsigned>(
        std::min(std::countr_zero(cells / segment_cells), static_cast<int>(Segment::kDepthMax)));
    auto directory = std::make_unique<IndexDirectory>(depth);
    for (std::size_t i = 0; i < directory->count(); ++i) {
      directory->set(i, new Segment(depth, segment_cells));
    }
    return directory.release();
  }

  [[nodiscard]] unsigned depth() const noexcept { return depth_; }
  [[nodiscard]] std::size_t count() const noexcept { return std::size_t{1} << depth_; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept {
    return sizeof(*this) + count() * sizeof(segments_[0]);
  }

  [[nodiscard]] Segment& at(std::uint64_t mixed) const noexcept {
    // Acquire pairs with set(): shows what the segment held when it was published.
    return *segments_[place(mixed)].load(std::memory_order_acquire);
  }

  template <typename Visit>
  void for_each_segment(Visit visit) const {
    const Segment* former = nullptr;
    for (std::size_t i = 0; i < count(); ++i) {
      Segment* segment = segments_[i].load(std::memory_order_relaxed);
      if (std::exchange(former, segment) != segment) visit(*segment);
    }
  }

  [[nodiscard]] IndexDirectory* doubled() const {
    auto* twice = new IndexDirectory(depth_ + 1);
    for (std::size_t i = 0; i < twice->count(); ++i) {
      twice->set(i, segments_[i / 2].load(std::memory_order_relaxed));
    }
    return twice;
  }

  /// Points the first half of what points to the segment of `mixed` to `low`, the second to `high`.
  void replace(std::uint64_t mixed, Segment* low, Segment* high) {
    const std::size_t span = std::size_t{1} << (depth_ - at(mixed).depth());
    const std::size_t first = place(mixed) / span * span;
    for (std::size_t i = 0; i < span; ++i) set(first + i, i < span / 2 ? low : high);
  }

 private:
  [[nodiscard]] std::size_t place(std::uint64_t mixed) const noexcept {
    return mixed >> 1 >> (63 - depth_);  // in two steps: depth may be 0
  }
  void set(std::size_t i, Segment* segment) noexcept {
    segments_[i].store(segment, std::memory_order_release);  // pairs with at()
  }

  const std::unique_ptr<std::atomic<Segment*>[]> segments_;
  const unsigned depth_;
};

}  // namespace millrace::latest
