// Intrusive reference counting that a slot can hold: a count inside the object, a pointer to it.
//
// Who may call it: any thread; one Ref object belongs to one thread at a time.
// Always holds: the object is deleted by the thread that drops the last reference, and that thread
// sees everything the others did before they dropped theirs.
#pragma once

#include <atomic>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace millrace::latest {

/// Base of objects that count their own references; a fresh object carries one, which `Ref::adopt`
/// takes over. Deleted as Derived.
template <typename Derived>
class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;

  [[nodiscard]] std::uint32_t ref_count() const noexcept {
    return references_.load(std::memory_order_relaxed);
  }

  /// Takes a reference on behalf of somebody who only knows that the object is still there, unless
  /// it is sealed.
  [[nodiscard]] bool try_add_ref() const noexcept {
    std::uint32_t count = references_.load(std::memory_order_relaxed);
    while ((count & kSealed) == 0) {
      if (references_.compare_exchange_weak(count, count + 1, std::memory_order_relaxed))
        return true;
    }
    return false;
  }

  /// Whether the caller's reference is the only one. Acquire pairs with the release of those who
  /// dropped theirs: the caller may change or reuse the object then.
  [[nodiscard]] bool is_single() const noexcept {
    return references_.load(std::memory_order_acquire) == 1;
  }

  /// If there is only one reference, sees to it that it stays the last one. Its holder calls it.
  [[nodiscard]] bool seal_if_single() const noexcept {
    std::uint32_t single = 1;
    return references_.compare_exchange_strong(single, kSealed | 1, std::memory_order_relaxed);
  }

  friend void slot_add_refs(const Derived* object, std::uint32_t count) noexcept {
    // Relaxed: whoever adds holds a reference already, so nothing needs to be ordered.
    object->RefCounted::references_.fetch_add(count, std::memory_order_relaxed);
  }

  friend void slot_release_refs(const Derived* object, std::uint32_t count) noexcept {
    std::atomic<std::uint32_t>& references = object->RefCounted::references_;
    // Whoever holds all the references may delete without a read-modify-write: nobody else has one
    // to add to or to drop. Acquire pairs with the release of those who dropped theirs before.
    if ((references.load(std::memory_order_acquire) & ~kSealed) == count) {
      delete object;
      return;
    }
    // Release pairs with the acquire of the thread that drops the last ones and deletes.
    const std::uint32_t former = references.fetch_sub(count, std::memory_order_acq_rel);
    assert((former & ~kSealed) >= count);
    if ((former & ~kSealed) == count) delete object;
  }

 protected:
  ~RefCounted() = default;

 private:
  static constexpr std::uint32_t kSealed = std::uint32_t{1} << 31;

  mutable std::atomic<std::uint32_t> references_{1};
};

/// The pointer to such an object; interchangeable with boost::intrusive_ptr as far as slots care.
template <typename T>
class Ref {
 public:
  using element_type = T;

  Ref() = default;
  Ref(std::nullptr_t) noexcept {}  // NOLINT(google-explicit-constructor): as every pointer
  Ref(T* object, bool add_reference) noexcept : object_(object) {
    if (object_ != nullptr && add_reference) slot_add_refs(object_, 1);
  }
  Ref(const Ref& other) noexcept : Ref(other.object_, true) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  template <typename U>
  requires std::convertible_to<U*, T*> Ref(Ref<U> other)
  noexcept : object_(other.detach()) {}
  ~Ref() {
    if (object_ != nullptr) slot_release_refs(object_, 1);
  }
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }

  /// Takes over the reference that a fresh object carries.
  [[nodiscard]] static Ref adopt(T* object) noexcept { return Ref(object, false); }
  /// Gives the reference away as a plain pointer.
  [[nodiscard]] T* detach() noexcept { return std::exchange(object_, nullptr); }

  [[nodiscard]] T* get() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  T* operator->() const noexcept { return object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  friend bool operator==(const Ref&, const Ref&) = default;

 private:
  T* object_ = nullptr;
};

template <typename T, typename... Args>
[[nodiscard]] Ref<T> make_ref(Args&&... args) {
  return Ref<T>::adopt(new T(std::forward<Args>(args)...));
}

}  // namespace millrace::latest
