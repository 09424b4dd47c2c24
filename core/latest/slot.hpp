// Slot<T>: one cell that holds the newest value of something.
//
// Who may call it: `store` one writer at a time; `load` and `version` any thread, at any time.
// Always holds: the writer never waits for readers, readers never block the writer, and what a
// reader gets is a whole value that stays valid, with the version under which it was stored.
//
//   Slot<T>                    is            load() returns
//   a handle (SlotHandle)      HandleSlot    the handle: 16 bytes a slot, no allocation
//   trivially copyable         CellSlot      a copy: four cells in the slot, no allocation
//   anything else              SharedSlot    SharedValue<T>, a reference to the stored value
#pragma once

#include <optional>
#include <type_traits>
#include <utility>

#include "core/latest/cell_slot.hpp"
#include "core/latest/handle_slot.hpp"
#include "core/latest/ref.hpp"
#include "core/latest/versioned.hpp"

namespace millrace::latest {

/// A value that is shared by counting; immutable, since any number of readers look at it.
template <typename T>
class SharedBox : public RefCounted<SharedBox<T>> {
 public:
  explicit SharedBox(T value) : value_(std::move(value)) {}
  [[nodiscard]] const T& value() const noexcept { return value_; }

 private:
  const T value_;
};

/// A counted reference to a value that was stored; reads like a pointer to const. Empty only when
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

/// The slot of every other type: each store allocates one box, readers share it.
template <typename T>
class SharedSlot {
 public:
  using Loaded = SharedValue<T>;

  explicit SharedSlot(Version start = 0) noexcept : slot_(start) {}

  Version store(T value) { return slot_.store(make_ref<SharedBox<T>>(std::move(value))); }
  [[nodiscard]] std::optional<Versioned<Loaded>> load() const noexcept {
    auto loaded = slot_.load();
    if (!loaded) return std::nullopt;
    return Versioned<Loaded>{Loaded(std::move(loaded->value)), loaded->version};
  }
  [[nodiscard]] Version version() const noexcept { return slot_.version(); }

 private:
  HandleSlot<Ref<SharedBox<T>>> slot_;
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
