// A concurrent index of entries by name: one writer inserts, finds and erases, while readers look
// names up.
//
// Thread contract: `reader` and `size` any thread; everything else the writer, one thread at a
// time. Invariants:
//   - the writer never waits for readers, and readers take no lock;
//   - an entry that a Reader has returned lives at least as long as that Reader, erased or not;
//   - a look-up finds every entry that is in the index throughout, and a walk visits each of those
//     exactly once, even if it is made in pieces;
//   - an insertion rebuilds or splits one segment, rarely more, whatever the size of the index;
//     only the doubling of the directory, one pointer for some hundreds of entries, grows with the
//     size.
//
// How: extendible hashing (Fagin et al., 1979). A directory, indexed by the hash's top bits, points
// to segments, small open-addressing tables. A full segment is split: two new ones are built and
// then published through the directory's pointers; the old one is left unchanged for the readers in
// it, and freed when they have left (reader_registry.hpp). Erased entries are freed in the same
// way.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "core/latest/index_segment.hpp"
#include "core/latest/reader_registry.hpp"

namespace millrace::latest {

/// An entry knows its name and its name's 64-bit hash; neither changes while it is in an index.
/// The entry's own contract says which other members a reader may access.
template <typename E>
concept IndexEntry = requires(const E& entry) {
  { entry.name() } -> std::convertible_to<std::string_view>;
  { entry.hash() } -> std::convertible_to<std::uint64_t>;
};

/// The position of a walk that is made in pieces.
class IndexCursor {
 public:
  [[nodiscard]] bool done() const noexcept { return done_; }

 private:
  template <typename, typename>
  friend class SlotIndex;
  std::uint64_t next_ = 0;  // the first mixed hash that was not visited
  bool done_ = false;
};

template <typename Entry, typename Delete = std::default_delete<Entry>>
class SlotIndex {
  using Segment = IndexSegment<Entry>;
  using Directory = IndexDirectory<Entry>;

 public:
  using Owner = std::unique_ptr<Entry, Delete>;

  /// Entries that it returns are valid while it exists. Keep that short: it delays freeing.
  class Reader {
   public:
    [[nodiscard]] Entry* find(std::uint64_t hash, std::string_view name) const noexcept {
      return index_.lookup(hash, name);
    }
    /// Visits the next segment's entries, some hundreds at most. The cursor may outlive the reader.
    template <typename Visit>
    void walk(IndexCursor& cursor, Visit&& visit) const {
      index_.visit_segment(cursor, visit);
    }
    template <typename Visit>
    void for_each(Visit&& visit) const {
      for (IndexCursor cursor; !cursor.done();) index_.visit_segment(cursor, visit);
    }

   private:
    friend class SlotIndex;
    explicit Reader(const SlotIndex& index) : index_(index), guard_(index.readers_.enter()) {}
    const SlotIndex& index_;
    ReaderRegistry::Guard guard_;
  };

  static_assert(IndexEntry<Entry>);

  /// Allocates room for `expected` entries, so that they are inserted without a split.
  explicit SlotIndex(std::size_t expected = 0) : directory_(Directory::make_for(expected)) {}
  SlotIndex(const SlotIndex&) = delete;
  SlotIndex& operator=(const SlotIndex&) = delete;
  /// No reader may be inside. Deletes the entries.
  ~SlotIndex();

  [[nodiscard]] Reader reader() const { return Reader(*this); }
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

  [[nodiscard]] Entry* find(std::uint64_t hash, std::string_view name) const noexcept {
    return lookup(hash, name);
  }

  /// Inserts the entry. If there is one of that name already, returns that one, and false. If it
  /// throws std::bad_alloc, the entry is deleted, and the index holds what it held.
  std::pair<Entry*, bool> insert(Owner entry);

  /// Removes an entry of this index; it is deleted when no reader can access it any more. If it
  /// throws std::bad_alloc, nothing has changed.
  void erase(Entry& entry);

  /// Deletes up to `objects_max` erased entries and replaced segments that no reader can access any
  /// more. Every change of the index does this for a few objects; an idle writer may call it too.
  void reclaim(std::size_t objects_max) { readers_.reclaim(objects_max); }
  [[nodiscard]] std::size_t retired_count() const noexcept { return readers_.retired_count(); }

  /// Visits a segment, or all entries, on the writer's thread. `visit` must not change the index.
  template <typename Visit>
  void walk(IndexCursor& cursor, Visit&& visit) const {
    visit_segment(cursor, visit);
  }
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (IndexCursor cursor; !cursor.done();) visit_segment(cursor, visit);
  }

  /// Bytes of the directory and its segments, without the entries. Writer only.
  [[nodiscard]] std::size_t memory_bytes() const noexcept;

 private:
  static constexpr std::size_t kReclaimPerChange = 4;

  [[nodiscard]] const Directory& current() const noexcept {
    // Acquire pairs with the release in grow_directory(): the directory's contents are visible.
    return *directory_.load(std::memory_order_acquire);
  }
  [[nodiscard]] Directory& own() noexcept { return *directory_.load(std::memory_order_relaxed); }

  [[nodiscard]] Entry* lookup(std::uint64_t hash, std::string_view name) const noexcept {
    const std::uint64_t mixed = mix_hash(hash);
    return current().cells_at(mixed).find(mixed, name);
  }
  template <typename Visit>
  void visit_segment(IndexCursor& cursor, Visit& visit) const;
  void make_room(std::uint64_t mixed);
  /// False while the index is so sparse that only a few segments can be full, by chance or by names
  /// chosen to collide: those do not make the directory grow.
  [[nodiscard]] bool directory_may_grow() noexcept {
    return own().depth() < Segment::kDepthMax &&
           size() >= own().count() * (Segment::kCellsSplit / 16);
  }
  void grow_directory();
  template <typename Unlink>
  void retire(Segment* segment, Unlink&& unlink) {
    readers_.retire(
        segment, [](void* it) { Segment::destroy(static_cast<Segment*>(it)); }, unlink);
  }

  ReaderRegistry readers_;
  std::atomic<Directory*> directory_;
  std::atomic<std::size_t> size_{0};
};

template <typename Entry, typename Delete>
SlotIndex<Entry, Delete>::~SlotIndex() {
  for_each([](Entry& entry) { Delete{}(&entry); });
  Directory& directory = own();
  directory.for_each_segment([](Segment& segment) { Segment::destroy(&segment); });
  delete &directory;
}

template <typename Entry, typename Delete>
std::pair<Entry*, bool> SlotIndex<Entry, Delete>::insert(Owner entry) {
  const std::uint64_t mixed = mix_hash(entry->hash());
  if (Entry* present = lookup(entry->hash(), entry->name())) return {present, false};
  while (own().at(mixed).full()) make_room(mixed);
  Entry* inserted = entry.release();
  own().at(mixed).insert(mixed, inserted);
  size_.store(size() + 1, std::memory_order_relaxed);
  readers_.reclaim(kReclaimPerChange);
  return {inserted, true};
}

template <typename Entry, typename Delete>
void SlotIndex<Entry, Delete>::erase(Entry& entry) {
  const std::uint64_t mixed = mix_hash(entry.hash());
  readers_.retire(
      &entry, [](void* pointer) { Delete{}(static_cast<Entry*>(pointer)); },
      [&] {
        own().at(mixed).erase(mixed, entry);
        size_.store(size() - 1, std::memory_order_relaxed);
      });
  readers_.reclaim(kReclaimPerChange);
}

/// Replaces the full segment of `mixed`: by a copy without tombstones, by a larger copy while it is
/// small, or by two halves.
template <typename Entry, typename Delete>
void SlotIndex<Entry, Delete>::make_room(std::uint64_t mixed) {
  Segment* old = &own().at(mixed);
  const bool shared = old->depth() < own().depth();  // by several of the directory's pointers
  if (old->wants_split() && (shared || directory_may_grow())) {
    if (!shared) grow_directory();
    auto halves = old->split();
    retire(old, [&] { own().replace(mixed, halves.first.release(), halves.second.release()); });
  } else {
    auto rebuilt = old->rebuilt();
    retire(old, [&] {
      Segment* const segment = rebuilt.release();
      own().replace(mixed, segment, segment);
    });
  }
}

template <typename Entry, typename Delete>
void SlotIndex<Entry, Delete>::grow_directory() {
  Directory* old = &own();
  auto doubled = old->doubled();
  readers_.retire(
      old, [](void* it) { delete static_cast<Directory*>(it); },
      [&] { directory_.store(doubled.release(), std::memory_order_release); });  // with current()
}

template <typename Entry, typename Delete>
template <typename Visit>
void SlotIndex<Entry, Delete>::visit_segment(IndexCursor& cursor, Visit& visit) const {
  if (cursor.done_) return;
  Segment& segment = current().at(cursor.next_);
  segment.cells().for_each(visit);
  // Segments are split and never merged, so the end of a segment's range stays the start of
  // another's.
  const std::uint64_t last = cursor.next_ | segment.range();
  cursor.next_ = last + 1;
  cursor.done_ = cursor.next_ == 0;
}

template <typename Entry, typename Delete>
std::size_t SlotIndex<Entry, Delete>::memory_bytes() const noexcept {
  std::size_t bytes = current().memory_bytes();
  current().for_each_segment([&](const Segment& segment) { bytes += segment.memory_bytes(); });
  return bytes;
}

}  // namespace millrace::latest
