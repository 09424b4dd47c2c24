// Lists of waiters for a newer value: threads, coroutines and callbacks, notified by the publisher.
//
// Thread contract: any thread; wait() and leave() for a Waiter only by its owner.
// Invariants:
//   - a publisher stores first and then calls any(); a waiter is added first and then checks for
//     news: so either any() is true or the waiter sees the news (under the conditions of any());
//   - a waiter is in at most one list, and is notified at most once for each wait() that returned
//     true;
//   - any() costs a publisher no system call and no lock.
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

/// A waiting thread, coroutine or callback. Must not be moved or destroyed while it is in a list.
class Waiter {
 public:
  Waiter() = default;
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

 protected:
  ~Waiter() = default;

 private:
  friend class WaitList;
  /// Called once, on the publisher's thread, after it was removed from the list, with no lock held.
  /// The list does not access it any more, so it may delete itself here, or enter a list again.
  virtual void notify() noexcept = 0;

  const void* key_ = nullptr;
  Waiter* next_ = nullptr;
  Waiter** link_ = nullptr;  // the pointer that points to this; null while in no list
};

class WaitList {
 public:
  WaitList() = default;
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;

  /// Whether there are waiters. For a publisher that has made a sequentially consistent
  /// read-modify-write before it, of a variable that waiters read in news().
  [[nodiscard]] bool any() const noexcept { return waiting_.load(std::memory_order_seq_cst) != 0; }

  /// Adds the waiter, unless `news()`, called after the list has counted it, is true; then returns
  /// false. After true the waiter may have been notified already, and may be destroyed by that.
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

  /// Removes the waiter. False: it was not in the list any more, and has been or is being notified.
  bool leave(Waiter& waiter) noexcept;

  /// Removes the waiter and notifies it. False, and nothing is done, if it was not in the list.
  bool cancel(Waiter& waiter) noexcept;

  /// Notifies all waiters, or all that wait for `key`; returns how many. Until its own turn comes,
  /// each may still leave(), also on this thread: a coroutine that is resumed here may destroy
  /// another that waits. The list must stay alive until this returns.
  std::uint32_t notify_all() noexcept { return notify(nullptr, true); }
  std::uint32_t notify_key(const void* key) noexcept { return notify(key, false); }

 private:
  void link(Waiter& waiter, const void* key) noexcept;
  static void put_first(Waiter*& first, Waiter& waiter) noexcept;
  static void take_out(Waiter& waiter) noexcept;
  void unlink(Waiter& waiter) noexcept;
  std::uint32_t notify(const void* key, bool all) noexcept;

  std::atomic<std::uint32_t> waiting_{0};
  Gate lock_;
  Waiter* first_ = nullptr;
};

/// A waiting thread, which sleeps on the futex in this object.
class ThreadWaiter final : public Waiter {
 public:
  /// Sleeps until notified, or until the deadline; then false.
  bool sleep() noexcept { return sleep_until(WaitClock::time_point::max()); }
  bool sleep_until(WaitClock::time_point deadline) noexcept;

 private:
  void notify() noexcept override;
  std::atomic<std::uint32_t> notified_{0};
};

/// Waiters for any number of slots, in 64 shared lists: a slot's list is chosen by its address. The
/// writer checks once a batch whether there are waiters at all, and only then notifies for each
/// slot:
///
///     for (...) slot.store(...);
///     if (room.anyone_waits()) for (... each slot stored ...) room.notify(&slot);
///
/// and a reader: `room.wait(&slot, waiter, [&] { return slot.version() != seen; })`.
class WaitRoom {
 public:
  /// For the writer, after its stores.
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
