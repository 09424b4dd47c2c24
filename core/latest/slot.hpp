// Slot<T>: one cell that holds the newest value.
//
// Thread contract: `store` one writer at a time; `load` and `version` any thread, at any time.
// Invariants: the writer never waits for readers, readers never block the writer, and a reader gets
// a complete value that stays valid, with the version under which it was stored, and never an older
// one after a newer one.
//
//   Slot<T>                    is            load() returns
//   a handle (SlotHandle)      HandleSlot    the handle: 16 bytes a slot, no allocation
//   trivially copyable         CellSlot      a copy: four cells in the slot, no allocation
//   anything else              SharedSlot    SharedValue<T>, a reference to the stored value
#pragma once

#include <cassert>
#include <concepts>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include "core/latest/cell_slot.hpp"
#include "core/latest/handle_slot.hpp"
#include "core/latest/ref.hpp"
#include "core/latest/versioned.hpp"

namespace millrace::latest {

/// A reference-counted value; immutable, since any number of threads may read it.
template <typename T>
class SharedBox : public RefCounted<SharedBox<T>> {
 public:
  template <typename... Args>
  requires std::constructible_from<T, Args...>
  explicit SharedBox(Args&&... args) : value_(std::forward<Args>(args)...) {}
  [[nodiscard]] const T& value() const noexcept { return value_; }

 private:
  const T value_;
};

/// A counted reference to a stored value; used like a pointer to const. Empty only when
/// default-constructed or moved from.
template <typename T>
class SharedValue {
 public:
  using Box = SharedBox<T>;

  SharedValue() = default;
  explicit SharedValue(Ref<Box> box) noexcept : box_(std::move(box)) {}
  [[nodiscard]] const T& operator*() const noexcept { return box_->value(); }
  [[nodiscard]] const T* operator->() const noexcept { return &box_->value(); }
  [[nodiscard]] const T* get() const noexcept { return box_ ? &box_->value() : nullptr; }
  explicit operator bool() const noexcept { return static_cast<bool>(box_); }

 private:
  Ref<Box> box_;
};

/// The slot for every other type: each store makes a box, which readers share. The memory of a
/// replaced box that no reader holds is reused for the next store, so a writer without readers
/// allocates nothing besides what T allocates. The replaced value itself is destroyed at once.
///
/// T is copied or moved, and destroyed, under the writer's lock (Topic's gate): none of these may
/// call the same topic or one of its subscribers.
template <typename T>
class SharedSlot {
  using Box = SharedBox<T>;

 public:
  using Loaded = SharedValue<T>;

  explicit SharedSlot(Version start = 0) noexcept : slot_(start) {}
  SharedSlot(const SharedSlot&) = delete;
  SharedSlot& operator=(const SharedSlot&) = delete;
  ~SharedSlot() { deallocate(spare_); }

  template <typename Value = T>
  Version store(Value&& value) {
    Ref<Box> box = make_box(std::forward<Value>(value));
    const Version version = slot_.exchange(box);
    if (box && box->is_single()) reuse(box.detach());
    return version;
  }
  [[nodiscard]] std::optional<Versioned<Loaded>> load() const noexcept {
    auto loaded = slot_.load();
    if (!loaded) return std::nullopt;
    return Versioned<Loaded>{Loaded(std::move(loaded->value)), loaded->version};
  }
  [[nodiscard]] Version version() const noexcept { return slot_.version(); }

 private:
  // The allocation functions that `new Box` and `delete` use.
  static constexpr bool kOverAligned = alignof(Box) > __STDCPP_DEFAULT_NEW_ALIGNMENT__;
  static void* allocate() {
    if constexpr (kOverAligned) return ::operator new(sizeof(Box), std::align_val_t(alignof(Box)));
    return ::operator new(sizeof(Box));
  }
  static void deallocate(void* memory) noexcept {
    if constexpr (kOverAligned) return ::operator delete(memory, std::align_val_t(alignof(Box)));
    ::operator delete(memory);
  }

  template <typename Value>
  [[nodiscard]] Ref<Box> make_box(Value&& value) {
    if (spare_ == nullptr) spare_ = allocate();
    Box* const box = new (spare_) Box(std::forward<Value>(value));
    spare_ = nullptr;  // only now: T's constructor may throw
    return Ref<Box>::adopt(box);
  }
  /// The slot's own reference to `box` was the last one.
  void reuse(Box* box) noexcept {
    assert(spare_ == nullptr);
    box->~Box();
    spare_ = box;
  }

  HandleSlot<Ref<Box>> slot_;
  void* spare_ = nullptr;  // memory for one box; used by the writer only
};

namespace detail {

template <typename T>
auto slot_kind() {
  if constexpr (SlotHandle<T>) {
    return std::type_identity<HandleSlot<T>>{};
  } else if constexpr (std::is_trivially_copyable_v<T>) {
    return std::type_identity<CellSlot<T>>{};
  } else {
    return std::type_identity<SharedSlot<T>>{};
  }
}

}  // namespace detail

template <typename T>
using Slot = typename decltype(detail::slot_kind<T>())::type;

}  // namespace millrace::latest
