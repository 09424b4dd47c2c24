// A topic: a named slot to which several threads may publish, and to which readers subscribe.
//
// Thread contract: Topic any thread; a Subscriber one thread (or strand) at a time.
// Invariants:
//   - versions are assigned in the order in which values replace each other, from 1;
//   - a publisher waits for other publishers of the same topic, and, only while subscribers wait
//     for the next value, for the few instructions in which one of those enters or leaves the list
//     of waiters (longer if its thread is off its core just then); never for one that reads;
//   - it makes a system call only for a subscriber's thread that sleeps or is about to;
//   - a value is published or refused with an error; a closed topic stays closed;
//   - a topic lives as long as there is a reference to it, whether it is in a bus or not.
// T is copied or moved, and destroyed, under the topic's gate: none of these may call that topic or
// one of its subscribers, since a waiter waits for the gate under the lock of the list of waiters.
// But if T is a handle, the former value's reference is dropped after the gate is released, so the
// object's destructor may call them.
//
// Why no waiter sleeps through a publish. The gate that serialises publishers is taken by a
// read-modify-write; then the publisher reads whether anything waits. A waiter first increments
// that count, then reads the gate. All four are sequentially consistent, so either the publisher
// sees the waiter and wakes it when the value is stored, or the waiter sees the gate taken and
// spins those few nanoseconds until the value is stored. So a publisher needs no read-modify-write
// for waiters besides the gate's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/base/name_hash.hpp"
#include "core/base/pause.hpp"
#include "core/base/result.hpp"
#include "core/latest/gate.hpp"
#include "core/latest/ref.hpp"
#include "core/latest/slot.hpp"
#include "core/latest/wait_list.hpp"
#include "core/latest/wait_options.hpp"

namespace millrace::latest {

using base::Error;
using base::Result;

template <typename T>
class Subscriber;
template <typename T>
class ValueWaiter;

template <typename T>
class Topic final : public RefCounted<Topic<T>> {
 public:
  using Loaded = typename Slot<T>::Loaded;

  [[nodiscard]] static Ref<Topic> make(std::string_view name, WaitOptions waiting = {}) {
    return make(name, base::hash_name(name), waiting);
  }
  [[nodiscard]] static Ref<Topic> make(std::string_view name, std::uint64_t hash,
                                       WaitOptions waiting = {}) {
    return Ref<Topic>::adopt(new (NameBytes{name.size()}) Topic(name, hash, waiting));
  }

  void operator delete(void* memory) noexcept { ::operator delete(memory, kAlignment); }

  /// Stores `value` as the newest, wakes waiting subscribers, returns its version. Errors: closed;
  /// empty_value, if T is a handle and `value` is empty.
  Result<Version> publish(const T& value) { return notify_of(store(value)); }
  Result<Version> publish(T&& value) { return notify_of(store(std::move(value))); }

  /// A subscriber that gets the present value first, if there is one. It holds a reference to the
  /// topic, and its waits follow the topic's WaitOptions.
  [[nodiscard]] Subscriber<T> subscribe();

  /// Ends the topic: subscribers get the value that they have not seen yet, then `closed`.
  void close() noexcept;
  [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }

  /// The newest value, without a subscription.
  [[nodiscard]] std::optional<Versioned<Loaded>> load() const noexcept { return slot_.load(); }
  [[nodiscard]] Version version() const noexcept { return slot_.version(); }
  [[nodiscard]] std::string_view name() const noexcept {
    return {reinterpret_cast<const char*>(this + 1), name_bytes_};
  }
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }

 private:
  friend class ValueWaiter<T>;
  template <typename>
  friend class Bus;
  friend class Subscriber<T>;

  struct NameBytes {
    std::size_t count;
  };
  /// At least a cache line: publishers of one topic do not slow down those of adjacent topics.
  static constexpr std::align_val_t kAlignment{std::max<std::size_t>(64, alignof(Slot<T>))};

  static void* operator new(std::size_t bytes, NameBytes name) {
    return ::operator new(bytes + name.count, kAlignment);
  }
  static void operator delete(void* memory, NameBytes /*name*/) noexcept {
    ::operator delete(memory, kAlignment);
  }

  /// A handle's former value; values of other types are destroyed by their slot.
  struct Nothing {};
  using Former = std::conditional_t<SlotHandle<T>, T, Nothing>;

  struct Stored {
    Version version;
    Error error;   // none, or why there is no version
    bool awaited;  // there are waiters: to be notified after all locks are released
  };

  Topic(std::string_view name, std::uint64_t hash, WaitOptions waiting) noexcept
      : name_bytes_(static_cast<std::uint32_t>(name.size())),
        spin_max_ns_(waiting.spin_max_ns()),
        hash_(hash) {
    assert(name_bytes_ == name.size());
    std::memcpy(reinterpret_cast<char*>(this + 1), name.data(), name.size());
  }

  template <typename Value>
  Stored store(Value&& value);
  Result<Version> notify_of(Stored stored) {
    if (stored.awaited) notify_waiters();
    if (stored.error != Error::none) return stored.error;
    return stored.version;
  }
  /// A reference of its own: a coroutine that is resumed may drop the caller's.
  void notify_waiters() noexcept {
    const Ref<Topic> alive(this, true);
    waiters_.notify_all();
  }
  /// Closes without notifying; returns whether there are waiters to be notified.
  [[nodiscard]] bool close_silently() noexcept;
  [[nodiscard]] bool has_news_since(Version seen) const noexcept;

  Gate gate_;
  std::atomic<bool> closed_{false};
  const std::uint32_t name_bytes_;  // the name follows the topic in memory
  const std::uint32_t spin_max_ns_;
  const std::uint64_t hash_;
  WaitList waiters_;
  Slot<T> slot_;
};

template <typename T>
template <typename Value>
typename Topic<T>::Stored Topic<T>::store(Value&& value) {
  if constexpr (SlotHandle<T>) {
    if (!value) return {0, Error::empty_value, false};
  }
  [[maybe_unused]] Former former;  // before the guard: dropped after the gate is released
  const std::lock_guard guard(gate_);
  if (closed_.load(std::memory_order_relaxed)) return {0, Error::closed, false};
  const bool awaited = waiters_.any();
  if constexpr (SlotHandle<T>) {
    former = std::forward<Value>(value);
    return {slot_.exchange(former), Error::none, awaited};
  } else {
    return {slot_.store(std::forward<Value>(value)), Error::none, awaited};
  }
}

template <typename T>
bool Topic<T>::close_silently() noexcept {
  const std::lock_guard guard(gate_);
  const bool awaited = waiters_.any();
  closed_.store(true, std::memory_order_release);  // pairs with closed()
  return awaited;
}

template <typename T>
void Topic<T>::close() noexcept {
  if (close_silently()) notify_waiters();
}

/// For a waiter that is counted already. Pairs with the gate and any() in store() and
/// close_silently().
template <typename T>
bool Topic<T>::has_news_since(Version seen) const noexcept {
  for (base::SpinThenYield wait; gate_.taken(); wait.rest()) {
    if (version() > seen) return true;
  }
  return version() > seen || closed();
}

}  // namespace millrace::latest

#include "core/latest/subscriber.hpp"
