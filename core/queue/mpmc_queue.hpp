// MpmcQueue<T>: a bounded lock-free queue of any number of producers and consumers, for any T whose
// move constructor does not throw.
//
// Thread contract: any thread may call anything, at any time; only destruction is exclusive.
//
// Invariants
//   - Position p is stored in slot p % S, S a power of two. A slot's `turn` says which operation is
//     next: p for the producer of position p, p + 1 for its consumer, p + S for the producer one
//     lap later.
//   - A thread claims positions by a CAS of tail_ or head_ after it saw that each of their slots
//     has the right turn; only the thread that claims a slot can change its turn. So a batch is
//     claimed by one CAS, and its items are adjacent.
//   - FIFO in the order of claims. A producer between its claim and its publish holds up the
//     consumers behind it, and a consumer those producers that are one lap later; no call waits for
//     it: they return `empty` or `full`.
//   - `full` means that the slot is not free yet, possibly because a consumer still uses it.
//
// There is no for_each: other threads may pop an item at any time.
//
// Source: D. Vyukov, "Bounded MPMC queue" (1024cores.net, 2010), for the turn of each slot.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/base/cache_line.hpp"
#include "core/base/pause.hpp"
#include "core/queue/length.hpp"
#include "core/queue/queue_types.hpp"
#include "core/queue/waiting.hpp"

namespace millrace::queue {

template <class T, class Wait = EventWait>
class MpmcQueue {
  static_assert(std::is_nothrow_move_constructible_v<T>);
  static_assert(std::is_nothrow_destructible_v<T>);

 public:
  using value_type = T;

  /// `capacity_min` is rounded up to a power of two, at least 2. Errors: min_capacity_zero,
  /// max_too_large, out_of_memory.
  static Result<std::unique_ptr<MpmcQueue>> create(std::size_t capacity_min) {
    if (capacity_min == 0) return Error::min_capacity_zero;
    if (capacity_min > kCapacityMax) return Error::max_too_large;
    const std::size_t capacity = std::bit_ceil(std::max<std::size_t>(capacity_min, 2));
    std::unique_ptr<Slot[]> slots(new (std::nothrow) Slot[capacity]);
    if (!slots) return Error::out_of_memory;
    return std::unique_ptr<MpmcQueue>(new MpmcQueue(capacity, std::move(slots)));
  }

  MpmcQueue(const MpmcQueue&) = delete;
  MpmcQueue& operator=(const MpmcQueue&) = delete;
  ~MpmcQueue() { clear(); }

  /// Moves from `item` only on success. Error: full.
  [[nodiscard]] Result<void> try_push(T&& item) {
    if (push_some({&item, 1}) == 1) return {};
    full_.fetch_add(1, std::memory_order_relaxed);
    return Error::full;
  }
  [[nodiscard]] Result<void> try_push(const T& item) requires(std::is_copy_constructible_v<T>) {
    return try_push(T(item));
  }

  /// Pushes as many of `items` as fit, from the front; they are adjacent in the queue. Returns how
  /// many; those are moved from.
  [[nodiscard]] std::size_t push_batch(std::span<T> items) {
    const std::size_t pushed = items.empty() ? 0 : push_some(items);
    if (pushed < items.size()) full_.fetch_add(1, std::memory_order_relaxed);
    return pushed;
  }

  /// Waits for room, at most `timeout`. Error: timed_out.
  template <class Rep, class Period>
  [[nodiscard]] Result<void> push_for(
      T&& item, std::chrono::duration<Rep, Period> timeout) requires(Wait::kCanSleep) {
    if (push_some({&item, 1}) == 1) return {};
    const Deadline deadline = base::deadline_after(timeout);
    while (base::Clock::now() < deadline) {
      wait_.sleep_until_popped(deadline, [this] { return claimed() >= capacity(); });
      if (push_some({&item, 1}) == 1) return {};
    }
    // It may have been woken for a free slot that it could not reach, behind one that a consumer
    // still uses: then another producer has to be woken for that slot.
    if (claimed() < capacity()) wait_.popped();
    full_.fetch_add(1, std::memory_order_relaxed);
    return Error::timed_out;
  }

  /// Error: empty.
  [[nodiscard]] Result<T> try_pop() {
    const Claim claim = claim_items(1);
    if (claim.count == 0) return Error::empty;
    const Release release{*this, claim.position};
    return std::move(*slot(claim.position).item());
  }

  /// The same into `item`; false when there is none.
  [[nodiscard]] bool try_pop(T& item) requires(std::is_nothrow_move_assignable_v<T>) {
    const Claim claim = claim_items(1);
    if (claim.count == 0) return false;
    const Release release{*this, claim.position};
    item = std::move(*slot(claim.position).item());
    return true;
  }

  /// Calls `use(T&)` on up to `count` adjacent items in place, in order; each is destroyed
  /// afterwards. Returns how many. If `use` throws, the other items of the claim are destroyed too.
  template <class Use>
  std::size_t pop_batch(std::size_t count, Use&& use) requires(std::is_invocable_v<Use&, T&>) {
    if (count == 0) return 0;
    struct Rest {
      MpmcQueue& queue;
      Claim claim;
      ~Rest() {
        for (; claim.count > 0; --claim.count) Release{queue, claim.position++};
      }
    };
    Rest rest{*this, claim_items(count)};
    const std::size_t popped = rest.claim.count;
    while (rest.claim.count > 0) {
      --rest.claim.count;
      const Release release{*this, rest.claim.position++};
      use(*slot(release.position).item());
    }
    return popped;
  }

  /// Sleeps until there is an item, at most `timeout`. Error: timed_out.
  template <class Rep, class Period>
  [[nodiscard]] Result<T> pop_for(std::chrono::duration<Rep, Period> timeout) requires(
      Wait::kCanSleep) {
    if (Result<T> popped = try_pop()) return popped;
    const Deadline deadline = base::deadline_after(timeout);
    while (base::Clock::now() < deadline) {
      wait_.sleep_until_pushed(deadline, [this] { return claimed() == 0; });
      if (Result<T> popped = try_pop()) return popped;
    }
    // It may have been woken for an item that it could not reach, behind one that is not published
    // yet: then another consumer has to be woken for that item.
    if (claimed() != 0) wait_.pushed();
    return Error::timed_out;
  }

  /// Destroys the items that wait now; returns how many.
  std::size_t clear() {
    std::size_t cleared = 0;
    for (std::size_t left = len(); left > 0;) {
      const std::size_t popped = pop_batch(left, [](T&) {});
      if (popped == 0) break;
      cleared += popped;
      left -= std::min(left, popped);
    }
    return cleared;
  }

  bool empty() const { return len() == 0; }
  /// Items claimed by producers and not yet by consumers; correct for some moment during the call.
  std::size_t len() const { return length_between<Wait>(head_, tail_); }
  std::size_t capacity() const { return mask_ + 1; }
  std::size_t max_capacity() const { return mask_ + 1; }
  /// `peak` is the present length, or the capacity if a push has ever found the queue full.
  QueueStats stats() const {
    QueueStats stats;
    stats.popped = head_.load(std::memory_order_relaxed);
    stats.pushed = tail_.load(std::memory_order_relaxed);
    stats.full = full_.load(std::memory_order_relaxed);
    stats.peak = stats.full > 0 ? capacity() : len();
    stats.memory_bytes = sizeof(*this) + capacity() * sizeof(Slot);
    return stats;
  }

 private:
  struct Slot {
    std::atomic<std::uint64_t> turn;
    alignas(T) std::byte memory[sizeof(T)];
    T* item() { return std::launder(reinterpret_cast<T*>(memory)); }
  };
  struct Claim {
    std::uint64_t position;
    std::size_t count;
  };

  /// Destroys the item and gives the slot to the producer of the next lap.
  struct Release {
    MpmcQueue& queue;
    std::uint64_t position;
    ~Release() {
      Slot& slot = queue.slot(position);
      std::destroy_at(slot.item());
      // release: partner of the acquire in turns().
      slot.turn.store(position + queue.capacity(), std::memory_order_release);
      queue.wait_.popped();
    }
  };

  MpmcQueue(std::size_t capacity, std::unique_ptr<Slot[]> slots)
      : mask_(capacity - 1), slots_(std::move(slots)) {
    for (std::size_t i = 0; i < capacity; ++i) {
      slots_[i].turn.store(i, std::memory_order_relaxed);
    }
  }

  Slot& slot(std::uint64_t position) const { return slots_[position & mask_]; }

  /// How many of `count` slots from `position` on have the turn `position + offset`. Negative:
  /// `position` is old, another thread has claimed it.
  std::int64_t turns(std::uint64_t position, std::size_t count, std::uint64_t offset) const {
    std::int64_t run = 0;
    for (; static_cast<std::size_t>(run) < count; ++run) {
      const std::uint64_t at = position + static_cast<std::uint64_t>(run);
      // acquire: partner of push_some() and Release.
      const std::uint64_t turn = slot(at).turn.load(std::memory_order_acquire);
      if (turn != at + offset) {
        return run == 0 && static_cast<std::int64_t>(turn - at - offset) > 0 ? -1 : run;
      }
    }
    return run;
  }

  /// Claims up to `count` positions whose slots have the right turn; none if the first has not.
  /// seq_cst: partner of claimed(), for threads that are about to sleep (see EventCount).
  Claim claim(std::atomic<std::uint64_t>& end, std::size_t count, std::uint64_t offset) {
    std::uint64_t position = end.load(std::memory_order_relaxed);
    for (base::Backoff backoff(kPausesMax);;) {
      const std::int64_t run = turns(position, count, offset);
      if (run == 0) return {position, 0};
      Wait::step();
      if (run > 0) {
        const auto claimed = static_cast<std::uint64_t>(run);
        if (end.compare_exchange_strong(position, position + claimed, std::memory_order_seq_cst,
                                        std::memory_order_relaxed)) {
          return {position, claimed};
        }
        // The CAS failed: leave the cache lines to the other threads for a while.
        backoff.rest();
      }
      position = end.load(std::memory_order_relaxed);
    }
  }
  Claim claim_items(std::size_t count) { return claim(head_, std::min(count, capacity()), 1); }

  std::size_t push_some(std::span<T> items) {
    const Claim room = claim(tail_, std::min(items.size(), capacity()), 0);
    for (std::size_t i = 0; i < room.count; ++i) {
      Slot& free = slot(room.position + i);
      Wait::step();
      std::construct_at(reinterpret_cast<T*>(free.memory), std::move(items[i]));
      // release: partner of the acquire in turns().
      free.turn.store(room.position + i + 1, std::memory_order_release);
    }
    if (room.count == 1) wait_.pushed();
    if (room.count > 1) wait_.pushed_many();
    return room.count;
  }

  /// Positions claimed by producers and not by consumers, in the single order of seq_cst: the
  /// condition that a thread checks before it sleeps.
  std::size_t claimed() const {
    const std::uint64_t head = head_.load(std::memory_order_seq_cst);
    const std::uint64_t tail = tail_.load(std::memory_order_seq_cst);
    return tail > head ? tail - head : 0;
  }

  static constexpr int kPausesMax = 64;

  // Constant after construction.
  const std::size_t mask_;
  const std::unique_ptr<Slot[]> slots_;

  // Written by threads that sleep or are refused.
  alignas(base::padding_bytes) [[no_unique_address]] Wait wait_;
  std::atomic<std::uint64_t> full_{0};

  alignas(base::padding_bytes) std::atomic<std::uint64_t> tail_{0};  // written by producers
  alignas(base::padding_bytes) std::atomic<std::uint64_t> head_{0};  // written by consumers
};

}  // namespace millrace::queue
