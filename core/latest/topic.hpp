// A topic: a named slot that several threads may publish to, and that subscribers follow.
//
// Who may call it: Topic any thread; a Subscriber one thread (or strand) at a time.
// Always holds:
//   - versions are handed out in the order in which values replace each other;
//   - a publisher waits for other publishers of the same topic at most, never for a subscriber;
//   - it makes a system call only if somebody sleeps;
//   - a topic lives as long as somebody holds it, in a bus or not.
//
// How nobody sleeps through a publish. The gate that keeps publishers apart is taken by a
// read-modify-write; after it the publisher looks whether somebody waits. A waiter first counts
// itself in, then looks at the gate. All four are sequentially consistent, so either the publisher
// sees the waiter and wakes it when the value is out, or the waiter sees the gate taken and waits
// those few nanoseconds for what comes out of it. So the gate is the only read-modify-write of a
// publish.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/latest/name_hash.hpp"
#include "core/latest/ref.hpp"
#include "core/latest/relax.hpp"
#include "core/latest/slot.hpp"
#include "core/latest/wait_list.hpp"

namespace millrace::latest {

template <typename T>
class Subscriber;

template <typename T>
class Topic final : public RefCounted<Topic<T>> {
 public:
  using Loaded = typename Slot<T>::Loaded;

  explicit Topic(std::string_view name) : Topic(name, hash_name(name)) {}
  Topic(std::string_view name, std::uint64_t hash) : hash_(hash), name_(name) {}

  /// Makes `value` the newest, wakes who waits, returns its version. 0: refused, because the topic
  /// is closed or the value an empty handle.
  Version publish(const T& value) { return notify_of(store(value)); }
  Version publish(T&& value) { return notify_of(store(std::move(value))); }

  /// A subscriber that gets the present value first, if there is one. It holds the topic.
  [[nodiscard]] Subscriber<T> subscribe();

  /// No more values: subscribers get what they have not seen yet, then `closed`.
  void close() noexcept;
  [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }

  /// The newest value, without a subscription.
  [[nodiscard]] std::optional<Versioned<Loaded>> load() const noexcept { return slot_.load(); }
  [[nodiscard]] Version version() const noexcept { return slot_.version(); }
  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }

 private:
  template <typename, typename>
  friend class NextValue;
  template <typename>
  friend class Bus;
  friend class Subscriber<T>;

  struct Stored {
    Version version;
    bool awaited;  // somebody waits: notify, once nothing is held any more
  };

  template <typename Value>
  Stored store(Value&& value);
  Version notify_of(Stored stored) {
    if (stored.awaited) waiters_.notify_all();
    return stored.version;
  }
  void enter() noexcept;
  void leave() noexcept { gate_.store(0, std::memory_order_release); }  // pairs with enter()
  [[nodiscard]] bool has_news_since(Version seen) const noexcept;

  std::atomic<std::uint32_t> gate_{0};
  std::atomic<bool> closed_{false};
  WaitList waiters_;
  Slot<T> slot_;
  const std::uint64_t hash_;
  const std::string name_;
};

template <typename T>
template <typename Value>
typename Topic<T>::Stored Topic<T>::store(Value&& value) {
  if constexpr (SlotHandle<T>) {
    if (!value) return {0, false};
  }
  enter();
  Stored stored{0, false};
  if (!closed_.load(std::memory_order_relaxed)) {
    stored.awaited = waiters_.any();
    stored.version = slot_.store(std::forward<Value>(value));
  }
  leave();
  return stored;
}

template <typename T>
void Topic<T>::close() noexcept {
  enter();
  const bool awaited = waiters_.any();
  closed_.store(true, std::memory_order_release);  // pairs with closed()
  leave();
  if (awaited) waiters_.notify_all();
}

template <typename T>
void Topic<T>::enter() noexcept {
  // Acquire pairs with leave(); sequentially consistent for has_news_since().
  for (Backoff backoff; gate_.exchange(1, std::memory_order_seq_cst) != 0;) {
    while (gate_.load(std::memory_order_relaxed) != 0) backoff.pause();
  }
}

/// For a waiter that is counted in already. Pairs with enter() and any() in store() and close().
template <typename T>
bool Topic<T>::has_news_since(Version seen) const noexcept {
  for (Backoff backoff; gate_.load(std::memory_order_seq_cst) != 0; backoff.pause()) {
    if (version() > seen) return true;
  }
  return version() > seen || closed();
}

}  // namespace millrace::latest

#include "core/latest/subscriber.hpp"
