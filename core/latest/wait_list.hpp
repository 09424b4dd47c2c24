// Waiting for a newer value: threads, coroutines and callbacks in one list, woken by the publisher.
//
// Who may call it: any thread; wait() and leave() for a Waiter by the one that owns it.
// Always holds:
//   - a publisher that stores first and asks any() second, and a waiter that joins first and looks
//     for news second, cannot miss each other (under the conditions that any() names);
//   - a waiter is in one list at most, and is notified at most once for each wait() that returned
//     true;
//   - asking costs a publisher no system call and no lock while nobody waits.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "core/latest/gate.hpp"

namespace millrace::latest {

using WaitClock = std::chrono::steady_clock;

/// A thread, coroutine or callback that waits. Neither moved nor destroyed while it is in a list.
class Waiter {
 public:
  Waiter() = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

 protected:
  ~Waiter() = default;

 private:
  friend class WaitList;
  /// Called once, on the publisher's thread, when it is out of the list already, without a lock held.
  /// The list does not touch it any more, so it may delete itself here, or join a list again.
  virtual void notify() noexcept = 0;

  const void* key_ = nullptr;
  Waiter* next_ = nullptr;
  Waiter** link_ = nullptr;  // what points to it; null while in no list
};

class WaitList {
 public:
  WaitList() = default;
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;

  /// Whether somebody waits, for a publisher whose store is followed by a sequentially consistent
  /// read-modify-write of something that waiters look at.
  [[nodiscard]] bool any() const noexcept { return waiting_.load(std::memory_order_seq_cst) != 0; }

  /// Joins, unless `news()` says, once the list counts it, that there is no need to; then false.
  /// After true the waiter may be notified at once, and may be gone.
  template <typename News>
  [[nodiscard]] bool wait(Waiter& waiter, News&& news, const void* key = nullptr) {
    const std::lock_guard guard(lock_);
    waiting_.fetch_add(1, std::memory_order_seq_cst);
    if (news()) {
      waiting_.fetch_sub(1, std::memory_order_relaxed);
      return false;
    }
    link(waiter, key);
    return true;
  }

  /// Takes the waiter out. False: it was out already, and has been, or is just being, notified.
  bool leave(Waiter& waiter) noexcept;

  /// Takes the waiter out and notifies it, if it was not out already.
  bool cancel(Waiter& waiter) noexcept;

  /// Notifies all, or all that wait for `key`; returns how many.
  std::uint32_t notify_all() noexcept { return notify(nullptr, true); }
  std::uint32_t notify_key(const void* key) noexcept { return notify(key, false); }

 private:
  void link(Waiter& waiter, const void* key) noexcept;
  void unlink(Waiter& waiter) noexcept;
  std::uint32_t notify(const void* key, bool all) noexcept;

  std::atomic<std::uint32_t> waiting_{0};
  Gate lock_;
  Waiter* first_ = nullptr;
};

/// A thread that sleeps on a futex of its own.
class ThreadWaiter final : public Waiter {
 public:
  /// Sleeps until notified, or until the deadline; then false.
  bool sleep() noexcept { return sleep_until(WaitClock::time_point::max()); }
  bool sleep_until(WaitClock::time_point deadline) noexcept;

 private:
  void notify() noexcept override;
  std::atomic<std::uint32_t> notified_{0};
};

/// Lists for a great many slots, which share 64 of them: a slot's list is found by its address. The
/// writer asks once a batch whether anyone waits at all, and only then goes through what it stored:
///
///     for (...) slot.store(...);
///     if (room.anyone_waits()) for (... each slot stored ...) room.notify(&slot);
///
/// and a reader: `room.wait(&slot, waiter, [&] { return slot.version() != seen; })`.
class WaitRoom {
 public:
  /// Writer, after its stores.
  [[nodiscard]] bool anyone_waits() noexcept {
    // Release and acquire pair with the increment in wait().
    return waiting_.fetch_add(0, std::memory_order_acq_rel) != 0;
  }
  void notify(const void* key) noexcept { gone(list_of(key).notify_key(key)); }

  /// As in WaitList.
  template <typename News>
  [[nodiscard]] bool wait(const void* key, Waiter& waiter, News&& news) {
    waiting_.fetch_add(1, std::memory_order_acq_rel);  // pairs with anyone_waits()
    const bool waits = list_of(key).wait(waiter, news, key);
    if (!waits) gone(1);
    return waits;
  }
  bool leave(const void* key, Waiter& waiter) noexcept {
    const bool left = list_of(key).leave(waiter);
    if (left) gone(1);
    return left;
  }

 private:
  static constexpr std::size_t kLists = 64;

  [[nodiscard]] WaitList& list_of(const void* key) noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(key);
    return lists_[address * 0x9e3779b97f4a7c15 >> 58];
  }
  void gone(std::uint32_t count) noexcept { waiting_.fetch_sub(count, std::memory_order_relaxed); }

  std::atomic<std::uint32_t> waiting_{0};
  std::array<WaitList, kLists> lists_;
};

}  // namespace millrace::latest
