// LockedMpmcQueue<T>: the locked counterpart of ElasticMpscQueue, for any number of producers and
// consumers: the same interface, the same configuration, the same errors, one mutex.
//
// Thread contract: any thread may call anything, at any time; only destruction is exclusive.
//
// Invariants
//   - FIFO; never more than max_capacity items.
//   - `capacity()` slots are allocated. Growing and shrinking move all items to a new block, so now
//     and then a single push or pop takes as long as that (not so in ElasticMpscQueue). The queue
//     shrinks only after at least as many pops, or attempts to pop, as there are items to move.
//   - Under the lock only T's move operations and destructor are called, and for_each's callback;
//     pop_batch moves items out in groups and calls `use` on them unlocked.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/base/clock.hpp"
#include "core/base/spin_mutex.hpp"
#include "core/queue/queue_types.hpp"
#include "core/queue/raw_slots.hpp"

namespace millrace::queue {

template <class T>
class LockedMpmcQueue {
  static_assert(std::is_nothrow_move_constructible_v<T>);
  static_assert(std::is_nothrow_destructible_v<T>);

 public:
  using value_type = T;

  static Result<std::unique_ptr<LockedMpmcQueue>> create(const QueueConfig& config) {
    if (const Result<void> valid = validate(config); !valid) return valid.error();
    Block block = make_raw_slots<T>(config.initial_capacity);
    if (!block) return Error::out_of_memory;
    return std::unique_ptr<LockedMpmcQueue>(new LockedMpmcQueue(config, std::move(block)));
  }

  LockedMpmcQueue(const LockedMpmcQueue&) = delete;
  LockedMpmcQueue& operator=(const LockedMpmcQueue&) = delete;
  ~LockedMpmcQueue() { clear(); }

  /// Moves from `item` only on success. `reserve` is the number of slots below max_capacity that
  /// this push has to leave free. Errors: full, out_of_memory.
  [[nodiscard]] Result<void> try_push(T&& item, std::size_t reserve = 0) {
    Result<void> pushed;
    bool wake = false;
    {
      const std::lock_guard lock(mutex_);
      pushed = push_locked(item, reserve);
      wake = pushed && consumers_asleep_ > 0;
    }
    if (wake) items_.notify_one();
    return pushed;
  }
  [[nodiscard]] Result<void> try_push(const T& item, std::size_t reserve = 0) requires(
      std::is_copy_constructible_v<T>) {
    return try_push(T(item), reserve);
  }

  /// Pushes as many of `items` as fit, from the front; they are adjacent in the queue. Returns how
  /// many; those are moved from.
  [[nodiscard]] std::size_t push_batch(std::span<T> items, std::size_t reserve = 0) {
    std::size_t pushed = 0;
    bool wake = false;
    {
      const std::lock_guard lock(mutex_);
      pushed = push_locked(items, reserve);
      wake = pushed > 0 && consumers_asleep_ > 0;
    }
    if (wake) items_.notify_all();
    return pushed;
  }

  /// Waits for room, at most `timeout`. Errors: timed_out, out_of_memory.
  template <class Rep, class Period>
  [[nodiscard]] Result<void> push_for(T&& item, std::chrono::duration<Rep, Period> timeout,
                                      std::size_t reserve = 0) {
    const base::Deadline deadline = base::deadline_after(timeout);
    std::unique_lock lock(mutex_);
    while (size_ >= bound_for(reserve)) {
      ++producers_asleep_;
      const auto woken = room_.wait_until(lock, deadline);
      --producers_asleep_;
      if (woken == std::cv_status::timeout && size_ >= bound_for(reserve)) {
        ++stats_.full;
        return Error::timed_out;
      }
    }
    const Result<void> pushed = push_locked(item, reserve);
    const bool wake = pushed && consumers_asleep_ > 0;
    lock.unlock();
    if (wake) items_.notify_one();
    return pushed;
  }

  /// Error: empty.
  [[nodiscard]] Result<T> try_pop() {
    std::unique_lock lock(mutex_);
    if (size_ == 0) {
      look_for_calm(1);
      return Error::empty;
    }
    return pop_locked(lock);
  }

  /// The same into `item`; false when there is none.
  [[nodiscard]] bool try_pop(T& item) requires(std::is_nothrow_move_assignable_v<T>) {
    Result<T> popped = try_pop();
    if (popped) item = std::move(*popped);
    return popped.has_value();
  }

  /// Calls `use(T&)` on up to `count` items, in order; each is destroyed afterwards. Returns how
  /// many. If `use` throws, the rest of the group that was taken with it is destroyed too.
  template <class Use>
  std::size_t pop_batch(std::size_t count, Use&& use) requires(std::is_invocable_v<Use&, T&>) {
    return pop_runs(count, [&use](std::span<T> run) {
      for (T& item : run) use(item);
    });
  }

  /// The same with `use(std::span<T>)`, once for each group of up to 8 KiB (at least one item).
  template <class Use>
  std::size_t pop_runs(std::size_t count,
                       Use&& use) requires(std::is_invocable_v<Use&, std::span<T>>) {
    std::size_t popped = 0;
    while (popped < count) {
      Group group;
      take(group, std::min(count - popped, kGroupMax));
      if (group.size == 0) break;
      use(group.items());
      popped += group.size;
    }
    return popped;
  }

  /// Waits until there is an item, at most `timeout`. Error: timed_out.
  template <class Rep, class Period>
  [[nodiscard]] Result<T> pop_for(std::chrono::duration<Rep, Period> timeout) {
    const base::Deadline deadline = base::deadline_after(timeout);
    std::unique_lock lock(mutex_);
    while (size_ == 0) {
      ++consumers_asleep_;
      const auto woken = items_.wait_until(lock, deadline);
      --consumers_asleep_;
      if (woken == std::cv_status::timeout && size_ == 0) return Error::timed_out;
    }
    return pop_locked(lock);
  }

  /// Calls `look(const T&)` on the waiting items, in order; removes none. It holds the lock: `look`
  /// must not call this queue.
  template <class Look>
  void for_each(Look&& look) const requires(std::is_invocable_v<Look&, const T&>) {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < size_; ++i) look(std::as_const(block_[slot_of(i)]));
  }

  bool empty_for_consumer() const { return empty(); }

  /// Destroys the items that wait now; returns how many.
  std::size_t clear() {
    return pop_batch(len(), [](T&) {});
  }

  std::vector<T> drain() {
    std::vector<T> items;
    pop_batch(len(), [&items](T& item) { items.push_back(std::move(item)); });
    return items;
  }

  bool empty() const { return len() == 0; }
  std::size_t len() const {
    const std::lock_guard lock(mutex_);
    return size_;
  }
  std::size_t capacity() const {
    const std::lock_guard lock(mutex_);
    return capacity_;
  }
  std::size_t max_capacity() const { return config_.max_capacity; }
  QueueStats stats() const {
    const std::lock_guard lock(mutex_);
    QueueStats stats = stats_;
    stats.memory_bytes = sizeof(*this) + capacity_ * sizeof(T);
    return stats;
  }

 private:
  using Block = RawSlots<T>;  // `front_` and `size_` say which slots hold items

  /// Items that are moved out under one lock of the mutex and used unlocked.
  static constexpr std::size_t kGroupMax = std::clamp<std::size_t>(8192 / sizeof(T), 1, 1024);
  struct Group {
    alignas(T) std::array<std::byte, kGroupMax * sizeof(T)> memory;
    std::size_t size = 0;
    std::span<T> items() { return {std::launder(reinterpret_cast<T*>(memory.data())), size}; }
    Group() = default;
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;
    ~Group() { std::ranges::destroy(items()); }
  };

  LockedMpmcQueue(const QueueConfig& config, Block block)
      : config_(config), block_(std::move(block)), capacity_(config.initial_capacity) {}

  std::size_t bound_for(std::size_t reserve) const {
    return config_.max_capacity - std::min(reserve, config_.max_capacity);
  }

  std::size_t slot_of(std::size_t place) const {
    const std::size_t slot = front_ + place;
    return slot < capacity_ ? slot : slot - capacity_;
  }

  Result<void> push_locked(T& item, std::size_t reserve) {
    if (size_ >= bound_for(reserve)) {
      ++stats_.full;
      return Error::full;
    }
    if (size_ == capacity_ && !resize(grown_capacity(config_, capacity_))) {
      return Error::out_of_memory;
    }
    std::construct_at(&block_[slot_of(size_)], std::move(item));
    note_pushed(1);
    return {};
  }

  std::size_t push_locked(std::span<T> items, std::size_t reserve) {
    const std::size_t bound = bound_for(reserve);
    const std::size_t room = bound - std::min(size_, bound);
    if (items.size() > room) ++stats_.full;
    std::size_t count = std::min(items.size(), room);
    std::size_t capacity = capacity_;
    while (capacity < size_ + count) capacity = grown_capacity(config_, capacity);
    if (capacity > capacity_ && !resize(capacity)) count = std::min(count, capacity_ - size_);
    if (count == 0) return 0;
    const std::size_t first = slot_of(size_);
    const std::size_t run = std::min(count, capacity_ - first);
    std::uninitialized_move_n(items.data(), run, &block_[first]);
    std::uninitialized_move_n(items.data() + run, count - run, &block_[0]);
    note_pushed(count);
    return count;
  }

  void note_pushed(std::size_t count) {
    size_ += count;
    stats_.pushed += count;
    deepest_ = std::max(deepest_, size_);
    stats_.peak = std::max(stats_.peak, size_);
  }

  Result<T> pop_locked(std::unique_lock<base::SpinMutex>& lock) {
    T& front = block_[front_];
    Result<T> item(std::move(front));
    std::destroy_at(&front);
    note_popped(1);
    const bool wake = producers_asleep_ > 0;
    lock.unlock();
    if (wake) room_.notify_all();  // not notify_one(): the producers' reserves may differ
    return item;
  }

  void take(Group& group, std::size_t count) {
    bool wake = false;
    {
      const std::lock_guard lock(mutex_);
      count = std::min(count, size_);
      if (count == 0) return look_for_calm(1);
      T* const items = reinterpret_cast<T*>(group.memory.data());
      const std::size_t run = std::min(count, capacity_ - front_);
      move_out(&block_[front_], run, items);
      move_out(&block_[0], count - run, items + run);
      group.size = count;
      note_popped(count);
      wake = producers_asleep_ > 0;
    }
    if (wake) room_.notify_all();
  }

  static void move_out(T* from, std::size_t count, T* to) {
    std::uninitialized_move_n(from, count, to);
    std::destroy_n(from, count);
  }

  void note_popped(std::size_t count) {
    front_ = slot_of(count);
    size_ -= count;
    stats_.popped += count;
    look_for_calm(count);
  }

  /// Once in kStretchLooks looks for items, lowers the capacity as shrink_threshold allows for the
  /// most items that waited since the last time. There must have been as many looks as there are
  /// items to move, so that the amortised cost of a look is at most one move, whatever the
  /// threshold.
  void look_for_calm(std::size_t looks) {
    looks_ += looks;
    if (looks_ < looks_wanted_) return;
    const std::size_t used = std::exchange(deepest_, size_);
    const std::size_t capacity = shrunk_capacity_for(config_, capacity_, used);
    // Without memory for a smaller block, the larger one is kept.
    if (capacity < capacity_ && looks_ >= size_ && resize(capacity)) return;
    looks_wanted_ = looks_ + kStretchLooks;
  }

  bool resize(std::size_t capacity) {
    Block block = make_raw_slots<T>(capacity);
    if (!block) return false;
    const std::size_t run = std::min(size_, capacity_ - front_);
    move_out(&block_[front_], run, &block[0]);
    move_out(&block_[0], size_ - run, &block[run]);
    block_ = std::move(block);
    capacity_ = capacity;
    front_ = 0;
    looks_ = 0;
    looks_wanted_ = kStretchLooks;
    ++stats_.resizes;
    return true;
  }

  const QueueConfig config_;
  mutable base::SpinMutex mutex_;  // guards all below
  std::condition_variable_any items_;
  std::condition_variable_any room_;
  std::size_t consumers_asleep_ = 0;
  std::size_t producers_asleep_ = 0;
  Block block_;
  std::size_t capacity_;
  std::size_t front_ = 0;
  std::size_t size_ = 0;
  static constexpr std::size_t kStretchLooks = 4096;
  // Items popped and attempts to pop that found none, since the capacity changed.
  std::size_t looks_ = 0;
  // The value of looks_ at which shrinking is considered next.
  std::size_t looks_wanted_ = kStretchLooks;
  std::size_t deepest_ = 0;  // most items that waited since shrinking was last considered
  QueueStats stats_;
};

}  // namespace millrace::queue
