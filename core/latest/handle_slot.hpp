// A latest-only slot for reference-counted values: 16 bytes, no allocation of its own.
//
// Thread contract: `store` and `newest` one writer at a time, `load` and `version` any thread, but
// at most 4,095 threads inside `load` at the same moment: the word has no room to count more.
// Invariants:
//   - `store` takes a bounded number of steps whatever readers do; `load` never blocks the writer.
//   - an object that `load` returns is alive and complete, with exactly the version under which it
//     was stored.
//   - a thread's loads and versions never go back: what it reads next is the same version or a
//     newer one.
//   - the slot holds one reference to its object.
//
// How (split reference counts, after A. Williams, C++ Concurrency in Action, 7.2.4). A reader
// cannot read the pointer first and add a reference afterwards: the writer may have dropped the
// last reference in between. So one word holds both
//
//     63       52 51  48 47                                  0
//     [ readers  | tag  | pointer                             ]
//
// and a reader enters by one fetch_add, which increments the count of readers in the word and reads
// the pointer. It then adds a reference to the object and leaves by decrementing the count in the
// word. If the writer has replaced the word meanwhile, the count is gone with it: the writer has
// added one reference to the object for each reader that it found counted, and the reader drops one
// reference instead. Counts are interchangeable, so it does no harm if the same pointer is stored
// again in between.
//
// The writer adds those references *before* it replaces the word, as many as there can be readers,
// and drops the surplus afterwards: a reader may leave at any moment, and the object must not be
// deleted by that. If no reader is inside, which is nearly always so, one compare-exchange does it
// all.
//
// The tag is the version's lowest four bits. With it a reader finds the version that belongs to the
// pointer from two reads of the version counter, unless there were 15 stores in between; then it
// reads again.
#pragma once

#include <atomic>
#include <cassert>
#include <concepts>
#include <cstdint>
#include <optional>
#include <utility>

#include "core/latest/versioned.hpp"

namespace millrace::latest {

/// Requirements on a handle: the interface of boost::intrusive_ptr, and, found by
/// argument-dependent look-up, `slot_add_refs(p, n)` and `slot_release_refs(p, n)`, which add or
/// drop n references at once, atomically; the release is acq_rel and destroys the object when none
/// is left. The count must have room for 4,095 references more than there are holders. Objects
/// derived from RefCounted meet all of this.
template <typename H>
concept SlotHandle = requires(H handle, typename H::element_type* object, std::uint32_t count) {
  { handle.detach() } -> std::same_as<typename H::element_type*>;
  H(object, false);
  slot_add_refs(object, count);
  slot_release_refs(object, count);
};

template <SlotHandle H>
class HandleSlot {
 public:
  using Element = typename H::element_type;
  using Loaded = H;

  /// Versions count from `start`, so that a slot that replaces an older one of the same name does
  /// not have to repeat the older one's versions.
  explicit HandleSlot(Version start = 0) noexcept : word_(pack(nullptr, start)), version_(start) {}
  HandleSlot(const HandleSlot&) = delete;
  HandleSlot& operator=(const HandleSlot&) = delete;
  ~HandleSlot() {
    if (Element* last = newest()) slot_release_refs(last, 1);
  }

  /// Stores `value` as the newest and returns its version; an empty handle empties the slot. The
  /// former value's reference is dropped here, on the writer's thread. Writer only.
  Version store(H value) noexcept { return exchange(value); }

  /// The same, but `value` is the former value afterwards. Writer only.
  Version exchange(H& value) noexcept {
    const Version version = version_.load(std::memory_order_relaxed) + 1;
    value = H(replace(pack(value.detach(), version)), false);
    // Release pairs with the acquires in load(): a reader that sees this version finds its value or
    // a newer one.
    version_.store(version, std::memory_order_release);
    return version;
  }

  /// The newest value with its version; nullopt while the slot is empty. Any thread.
  [[nodiscard]] std::optional<Versioned<H>> load() const noexcept {
    for (;;) {
      const Version before = version_.load(std::memory_order_acquire);
      auto [handle, tag] = take();
      if (!handle) return std::nullopt;
      const Version after = version_.load(std::memory_order_acquire);
      // The value's version lies in [before, after + 1]: the word is replaced first, then the
      // counter. Its last four bits identify it if that range has no more than 16 versions.
      if (after - before < kTagValues - 1) {
        return Versioned<H>{std::move(handle), before + ((tag - before) % kTagValues)};
      }
    }
  }

  /// The newest version; before the first store, the constructor's `start`. Any thread.
  [[nodiscard]] Version version() const noexcept {
    for (;;) {
      // By the word's tag, as in load(): the counter may be one behind what load() has returned.
      const Version before = version_.load(std::memory_order_acquire);
      const Word word = word_.load(std::memory_order_acquire);
      const Version after = version_.load(std::memory_order_acquire);
      if (after - before < kTagValues - 1) return before + ((tag(word) - before) % kTagValues);
    }
  }

  /// The newest value without a reference; null while empty. Writer only.
  [[nodiscard]] Element* newest() const noexcept {
    return pointer(word_.load(std::memory_order_relaxed));
  }

 private:
  using Word = std::uint64_t;
  static constexpr int kTagShift = 48;
  static constexpr int kReadersShift = 52;
  static constexpr Word kTagValues = 16;
  static constexpr Word kOneReader = Word{1} << kReadersShift;
  static constexpr std::uint32_t kReadersMax = (1U << (64 - kReadersShift)) - 1;
  static_assert(sizeof(void*) == 8, "a word holds a pointer of 48 bits and the counts beside it");

  struct Taken {
    H handle;
    Word tag;
  };

  static Word pack(Element* object, Version version) noexcept {
    assert(pointer(reinterpret_cast<Word>(object)) == object);  // 48 bits are enough
    return reinterpret_cast<Word>(object) | (version % kTagValues) << kTagShift;
  }
  static Element* pointer(Word word) noexcept {
    return reinterpret_cast<Element*>(word & ((Word{1} << kTagShift) - 1));
  }
  static Word tag(Word word) noexcept { return (word >> kTagShift) % kTagValues; }
  static std::uint32_t readers(Word word) noexcept {
    return static_cast<std::uint32_t>(word >> kReadersShift);
  }

  /// Returns the former object with the reference that the slot held.
  Element* replace(Word next) noexcept {
    Word word = word_.load(std::memory_order_relaxed);
    Element* old = pointer(word);  // only the writer changes it
    // Acquire pairs with the release in leave(): the references of readers that have left are
    // counted before the slot's is dropped. Release makes the object in `next` visible to readers.
    if (readers(word) == 0 && word_.compare_exchange_strong(word, next, std::memory_order_acq_rel,
                                                            std::memory_order_relaxed)) {
      return old;
    }
    if (old != nullptr) slot_add_refs(old, kReadersMax);
    word = word_.exchange(next, std::memory_order_acq_rel);
    const std::uint32_t surplus = kReadersMax - readers(word);
    if (old != nullptr && surplus > 0) slot_release_refs(old, surplus);
    return old;
  }

  [[nodiscard]] Taken take() const noexcept {
    if (pointer(word_.load(std::memory_order_acquire)) == nullptr) return {H(), 0};
    Word word = word_.fetch_add(kOneReader, std::memory_order_acquire);  // pairs with replace()
    Element* object = pointer(word);
    if (object != nullptr) slot_add_refs(object, 1);
    leave(word + kOneReader, object);
    return {H(object, false), tag(word)};
  }

  /// Removes one reader from the word, or, if a store has replaced the word, drops the reference
  /// that the writer added for this reader.
  void leave(Word word, Element* object) const noexcept {
    while (pointer(word) == object && readers(word) > 0) {
      // Acquire on failure pairs with the release in replace(): the writer's added references come
      // before this reader drops one of them.
      if (word_.compare_exchange_weak(word, word - kOneReader, std::memory_order_release,
                                      std::memory_order_acquire)) {
        return;
      }
    }
    if (object != nullptr) slot_release_refs(object, 1);
  }

  mutable std::atomic<Word> word_;
  std::atomic<Version> version_;
};

}  // namespace millrace::latest
