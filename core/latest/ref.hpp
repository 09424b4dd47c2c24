// Intrusive reference counting for slots: RefCounted holds the count inside the object, Ref is the
// pointer.
//
// Thread contract: any thread; one Ref object belongs to one thread at a time.
// Invariant: the object is deleted by the thread that drops the last reference, and that thread
// sees everything that other threads did before they dropped theirs.
#pragma once

#include <atomic>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace millrace::latest {

/// Base of objects that hold their own reference count. A new object has a count of one, for the
/// reference that `Ref::adopt` takes over. Deleted as Derived.
template <typename Derived>
class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;

  [[nodiscard]] std::uint32_t ref_count() const noexcept {
    return references_.load(std::memory_order_relaxed);
  }

  /// Adds a reference, for a caller that has none but knows that the object is alive; false if the
  /// object is sealed.
  [[nodiscard]] bool try_add_ref() const noexcept {
    std::uint32_t count = references_.load(std::memory_order_relaxed);
    while ((count & kSealed) == 0) {
      if (references_.compare_exchange_weak(count, count + 1, std::memory_order_relaxed))
        return true;
    }
    return false;
  }

  /// Whether the caller's reference is the only one: then the caller may change or reuse the
  /// object. Acquire pairs with the release of the threads that dropped theirs.
  [[nodiscard]] bool is_single() const noexcept {
    return references_.load(std::memory_order_acquire) == 1;
  }

  /// If the caller's reference is the only one, seals the object, so that try_add_ref() fails from
  /// now on; else returns false.
  [[nodiscard]] bool seal_if_single() const noexcept {
    std::uint32_t single = 1;
    return references_.compare_exchange_strong(single, kSealed | 1, std::memory_order_relaxed);
  }
  /// Takes that back. By the thread that sealed it.
  void unseal() const noexcept { references_.fetch_and(~kSealed, std::memory_order_relaxed); }

  friend void slot_add_refs(const Derived* object, std::uint32_t count) noexcept {
    // Relaxed: the caller holds a reference already, so nothing needs to be ordered.
    object->RefCounted::references_.fetch_add(count, std::memory_order_relaxed);
  }

  friend void slot_release_refs(const Derived* object, std::uint32_t count) noexcept {
    std::atomic<std::uint32_t>& references = object->RefCounted::references_;
    // A caller that holds all the references may delete without a read-modify-write: no other
    // thread has one that it could copy or drop. Acquire pairs with the release of the threads that
    // dropped theirs before.
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

/// The pointer to such an object; meets SlotHandle, as boost::intrusive_ptr does.
template <typename T>
class Ref {
 public:
  using element_type = T;

  Ref() = default;
  Ref(std::nullptr_t) noexcept {}  // NOLINT(google-explicit-constructor): as for any pointer
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

  /// Takes over the reference that a new object is counted with.
  [[nodiscard]] static Ref adopt(T* object) noexcept { return Ref(object, false); }
  /// Releases ownership: the caller gets the reference as a plain pointer.
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
