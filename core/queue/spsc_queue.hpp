// SpscQueue<T>: a bounded queue of one producer and one consumer, both wait-free, for any T whose
// move constructor does not throw.
//
// Thread contract
//   the producer:                 try_push, push_batch, push_for
//   the consumer:                 try_pop, pop_batch, pop_runs, pop_for, for_each, clear, drain,
//                                 empty_for_consumer
//   any thread, at any time:      empty, len, capacity, stats
//   Each role has one holder at a time, and may move to another thread if the hand-over is
//   synchronised. Construction and destruction are exclusive.
//
// Invariants
//   - head_ <= tail_ <= head_ + capacity, exactly; position p is stored in slot p % S, S the
//     smallest power of two that is not below the capacity. Slots from head_ to tail_ hold items,
//     the others are raw memory.
//   - Each side caches the other side's position and reads it again only when the cached value no
//     longer suffices: in a stream, a push or pop touches no cache line that the other side writes,
//     except the item's own.
//
// Source: E. Rigtorp's SPSCQueue, for the cached position of the other side.
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
#include "core/base/counter.hpp"
#include "core/queue/length.hpp"
#include "core/queue/queue_types.hpp"
#include "core/queue/raw_slots.hpp"
#include "core/queue/waiting.hpp"

namespace millrace::queue {

template <class T, class Wait = FutexWait>
class SpscQueue {
  static_assert(std::is_nothrow_move_constructible_v<T>);
  static_assert(std::is_nothrow_destructible_v<T>);

 public:
  using value_type = T;

  /// Errors: min_capacity_zero, max_too_large, out_of_memory.
  static Result<std::unique_ptr<SpscQueue>> create(std::size_t capacity) {
    if (capacity == 0) return Error::min_capacity_zero;
    if (capacity > kCapacityMax) return Error::max_too_large;
    RawSlots<T> slots = make_raw_slots<T>(std::bit_ceil(capacity));
    if (!slots) return Error::out_of_memory;
    return std::unique_ptr<SpscQueue>(new SpscQueue(capacity, std::move(slots)));
  }

  SpscQueue(const SpscQueue&) = delete;
  SpscQueue& operator=(const SpscQueue&) = delete;
  ~SpscQueue() { clear(); }

  // ---- the producer ----

  /// Moves from `item` only on success. `reserve` is the number of slots that this push has to
  /// leave free. Error: full.
  [[nodiscard]] Result<void> try_push(T&& item, std::size_t reserve = 0) {
    if (push_some({&item, 1}, reserve) == 1) return {};
    full_.add();
    return Error::full;
  }
  [[nodiscard]] Result<void> try_push(const T& item, std::size_t reserve = 0) requires(
      std::is_copy_constructible_v<T>) {
    return try_push(T(item), reserve);
  }

  /// Pushes as many of `items` as fit, from the front. Returns how many; those are moved from.
  [[nodiscard]] std::size_t push_batch(std::span<T> items, std::size_t reserve = 0) {
    const std::size_t pushed = push_some(items, reserve);
    if (pushed < items.size()) full_.add();
    return pushed;
  }

  /// Waits for room, at most `timeout`. Error: timed_out.
  template <class Rep, class Period>
  [[nodiscard]] Result<void> push_for(T&& item, std::chrono::duration<Rep, Period> timeout,
                                      std::size_t reserve = 0) requires(Wait::kCanSleep) {
    if (push_some({&item, 1}, reserve) == 1) return {};
    const Deadline deadline = base::deadline_after(timeout);
    while (base::Clock::now() < deadline) {
      bool pushed = false;
      wait_.sleep_until_popped(deadline, [&] {
        pushed = push_some({&item, 1}, reserve) == 1;
        return !pushed;
      });
      if (pushed) return {};
    }
    full_.add();
    return Error::timed_out;
  }

  // ---- the consumer ----

  /// Error: empty.
  [[nodiscard]] Result<T> try_pop() {
    const std::span<T> run = waiting_run(1);
    if (run.empty()) return Error::empty;
    const Release release{*this, run};
    return std::move(run.front());
  }

  /// The same into `item`; false when there is none.
  [[nodiscard]] bool try_pop(T& item) requires(std::is_nothrow_move_assignable_v<T>) {
    const std::span<T> run = waiting_run(1);
    if (run.empty()) return false;
    const Release release{*this, run};
    item = std::move(run.front());
    return true;
  }

  /// Calls `use(T&)` on up to `count` items in place, in order; each is destroyed afterwards, also
  /// if `use` throws. Returns how many.
  template <class Use>
  std::size_t pop_batch(std::size_t count, Use&& use) requires(std::is_invocable_v<Use&, T&>) {
    return pop_runs(count, [&use](std::span<T> run) {
      for (T& item : run) use(item);
    });
  }

  /// The same with `use(std::span<T>)`, once for each run of items adjacent in memory.
  template <class Use>
  std::size_t pop_runs(std::size_t count,
                       Use&& use) requires(std::is_invocable_v<Use&, std::span<T>>) {
    std::size_t popped = 0;
    while (popped < count) {
      const std::span<T> run = waiting_run(count - popped);
      if (run.empty()) break;
      const Release release{*this, run};
      use(run);
      popped += run.size();
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
      wait_.sleep_until_pushed(deadline, [this] { return empty_for_consumer(); });
      if (Result<T> popped = try_pop()) return popped;
    }
    return Error::timed_out;
  }

  /// Calls `look(const T&)` on the waiting items, in order; removes none.
  template <class Look>
  void for_each(Look&& look) const requires(std::is_invocable_v<Look&, const T&>) {
    const std::uint64_t tail = tail_.load(std::memory_order_acquire);  // partner: push_some()
    for (std::uint64_t at = head_.load(std::memory_order_relaxed); at < tail; ++at) {
      look(std::as_const(*slot(at)));
    }
  }

  /// The consumer checks this before it sleeps, after it set a flag: see waiting.hpp.
  bool empty_for_consumer() const {
    return tail_.load(std::memory_order_seq_cst) == head_.load(std::memory_order_relaxed);
  }

  /// Destroys the items that wait now; returns how many.
  std::size_t clear() {
    return pop_batch(len(), [](T&) {});
  }

  std::vector<T> drain() {
    std::vector<T> items;
    items.reserve(len());
    pop_batch(items.capacity(), [&items](T& item) { items.push_back(std::move(item)); });
    return items;
  }

  // ---- any thread ----

  bool empty() const { return len() == 0; }
  /// Correct for some moment during the call.
  std::size_t len() const { return length_between<Wait>(head_, tail_); }
  std::size_t capacity() const { return capacity_; }
  std::size_t max_capacity() const { return capacity_; }
  /// `peak` is updated when the consumer looks for new items.
  QueueStats stats() const {
    QueueStats stats;
    stats.popped = head_.load(std::memory_order_relaxed);
    stats.pushed = tail_.load(std::memory_order_relaxed);
    stats.full = full_.value();
    stats.peak = std::max<std::size_t>(peak_.value(), len());
    stats.memory_bytes = sizeof(*this) + (mask_ + 1) * sizeof(T);
    return stats;
  }

 private:
  /// Releases the front's slots at the end of its scope, also if their use throws.
  struct Release {
    SpscQueue& queue;
    std::span<T> run;
    ~Release() {
      std::destroy(run.begin(), run.end());
      const std::uint64_t head = queue.head_.load(std::memory_order_relaxed) + run.size();
      // release: partner of the acquire in push_some().
      queue.head_.store(head, std::memory_order_release);
      queue.wait_.popped();
    }
  };

  SpscQueue(std::size_t capacity, RawSlots<T> slots)
      : capacity_(capacity), mask_(std::bit_ceil(capacity) - 1), slots_(std::move(slots)) {}

  T* slot(std::uint64_t position) const { return slots_.get() + (position & mask_); }

  std::size_t push_some(std::span<T> items, std::size_t reserve) {
    const std::size_t bound = capacity_ - std::min(reserve, capacity_);
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_seen_ + items.size() > bound) {
      head_seen_ = head_.load(std::memory_order_acquire);  // partner: Release
    }
    const std::size_t used = tail - head_seen_;
    if (used >= bound) return 0;
    const std::size_t count = std::min(items.size(), bound - used);
    Wait::step();
    const std::size_t run = std::min<std::size_t>(count, mask_ + 1 - (tail & mask_));
    std::uninitialized_move_n(items.data(), run, slot(tail));
    std::uninitialized_move_n(items.data() + run, count - run, slot(tail + run));
    // release: partner of waiting_run(). seq_cst where the consumer may sleep: partner of
    // empty_for_consumer() (see waiting.hpp).
    tail_.store(tail + count,
                Wait::kCanSleep ? std::memory_order_seq_cst : std::memory_order_release);
    wait_.pushed();
    return count;
  }

  /// Up to `count` items from the front on, adjacent in memory.
  std::span<T> waiting_run(std::size_t count) {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (tail_seen_ == head) {
      tail_seen_ = tail_.load(std::memory_order_acquire);  // partner: push_some()
      if (tail_seen_ == head) return {};
      if (tail_seen_ - head > peak_.value()) peak_.set(tail_seen_ - head);
    }
    Wait::step();
    const std::size_t neighbours = mask_ + 1 - (head & mask_);
    return {slot(head), std::min<std::size_t>({count, tail_seen_ - head, neighbours})};
  }

  // Constant after construction.
  const std::size_t capacity_;
  const std::size_t mask_;
  const RawSlots<T> slots_;

  // Written by both sides, when they sleep.
  [[no_unique_address]] Wait wait_;

  // Written by the producer.
  alignas(base::padding_bytes) std::atomic<std::uint64_t> tail_{0};
  std::uint64_t head_seen_ = 0;  // the producer's own
  base::Counter full_;

  // Written by the consumer.
  alignas(base::padding_bytes) std::atomic<std::uint64_t> head_{0};
  std::uint64_t tail_seen_ = 0;  // the consumer's own
  base::Counter peak_;
};

}  // namespace millrace::queue
