// ProbeTable<Slot>: a hash table of slots that name its elements, numbers or pointers, and of
// nothing else: what an element is, and its hash, the owner says at each call. It takes between 1.3
// and 2.7 slots an element, and nothing while it was never used.
//
// Open addressing with linear probing, without tombstones. A Slot{} is an empty one. The order of a
// walk follows from what was put in and taken out, and when.
//
// Threads: those of its owner.
#pragma once

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace millrace::broker {

template <class Slot>
class ProbeTable {
 public:
  std::uint32_t size() const { return size_; }

  // The element of that hash for which same(slot) is true; Slot{}: there is none.
  template <class Same>
  Slot find(std::uint64_t hash, Same&& same) const {
    if (size_ == 0) return Slot{};
    std::uint32_t at = home(hash);
    while (slots_[at] != Slot{} && !same(slots_[at])) at = after(at);
    return slots_[at];
  }

  // Not one that is in already. `hash_of(slot)` may be asked for any element.
  template <class HashOf>
  void insert(Slot slot, HashOf&& hash_of) {
    assert(slot != Slot{});
    if ((std::uint64_t{size_} + 1) * 4 > std::uint64_t{slot_count_} * 3) grow(hash_of);
    put(slot, hash_of(slot));
    ++size_;
    assert(size_ < slot_count_);  // an empty slot is left, at which each search ends
  }

  // One that is in.
  template <class HashOf>
  void erase(Slot slot, HashOf&& hash_of) {
    assert(size_ > 0 && slot != Slot{});
    std::uint32_t hole = home(hash_of(slot));
    while (slots_[hole] != slot) {
      assert(slots_[hole] != Slot{});
      hole = after(hole);
    }
    // What follows the hole moves up where it may.
    for (std::uint32_t at = after(hole); slots_[at] != Slot{}; at = after(at)) {
      const std::uint32_t from_home = at - home(hash_of(slots_[at]));
      if (home(from_home) < home(at - hole)) continue;
      slots_[hole] = slots_[at];
      hole = at;
    }
    slots_[hole] = Slot{};
    --size_;
  }

  // Visits what stands in up to `count` slots from `from` on, and returns where to go on; the end is
  // slot_count(). Nothing may be put in or taken out meanwhile.
  template <class Visit>
  std::uint32_t for_some(std::uint32_t from, std::uint32_t count, Visit&& visit) const {
    assert(from <= slot_count_);
    const std::uint32_t end = from + std::min(count, slot_count_ - from);
    for (const Slot slot : std::span(slots_.get() + from, end - from)) {
      if (slot != Slot{}) visit(slot);
    }
    return end;
  }
  std::uint32_t slot_count() const { return slot_count_; }

  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Slot slot : std::span(slots_.get(), slot_count_)) {
      if (slot != Slot{}) visit(slot);
    }
  }

 private:
  // slot_count_ is a power of two.
  std::uint32_t home(std::uint64_t hash) const {
    return static_cast<std::uint32_t>(hash) & (slot_count_ - 1);
  }
  std::uint32_t after(std::uint32_t at) const { return home(at + 1); }

  void put(Slot slot, std::uint64_t hash) {
    std::uint32_t at = home(hash);
    while (slots_[at] != Slot{}) at = after(at);
    slots_[at] = slot;
  }

  template <class HashOf>
  void grow(HashOf&& hash_of) {
    const std::uint32_t count = std::max<std::uint32_t>(2, 2 * slot_count_);
    assert(std::has_single_bit(count));  // home() takes the lowest bits
    const auto old = std::exchange(slots_, std::make_unique<Slot[]>(count));
    const std::uint32_t old_count = std::exchange(slot_count_, count);
    for (const Slot slot : std::span(old.get(), old_count)) {
      if (slot != Slot{}) put(slot, hash_of(slot));
    }
  }

  std::unique_ptr<Slot[]> slots_;
  std::uint32_t slot_count_ = 0;
  std::uint32_t size_ = 0;
};

}  // namespace millrace::broker
