// LockedMpmcQueue<T>: the locked twin of ElasticMpscQueue, for any number of producers and
// consumers: the same interface, the same configuration, the same errors, one mutex.
//
// Who may call what: every thread everything, at any time; only destruction is exclusive.
//
// What always holds
//   - Items leave in the order in which they came; never more than max_capacity of them.
//   - `capacity()` slots are allocated. Growing and shrinking move the items to a new block, so
//     that one push or pop in a long while pays for all of them (the lock-free twin does not).
//   - No call of foreign code under the lock but T's own moves and destructor; pop_batch moves
//     items out in small groups and calls `use` on them unlocked.
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

#include "core/queue/queue_types.hpp"
#include "core/queue/waiting.hpp"

namespace millrace::queue {

template <class T>
class LockedMpmcQueue {
  static_assert(std::is_nothrow_move_constructible_v<T>);
  static_assert(std::is_nothrow_destructible_v<T>);

 public:
  using value_type = T;

  static Result<std::unique_ptr<LockedMpmcQueue>> create(const QueueConfig& config) {
    if (const Result<void> valid = validate(config); !valid) return valid.error();
    Block block = make_block(config.initial_capacity);
    if (!block) return Error::out_of_memory;
    return std::unique_ptr<LockedMpmcQueue>(new LockedMpmcQueue(config, std::move(block)));
  }

  LockedMpmcQueue(const LockedMpmcQueue&) = delete;
  LockedMpmcQueue& operator=(const LockedMpmcQueue&) = delete;
  ~LockedMpmcQueue() { clear(); }

  /// Moves from `item` only on success. `reserve` is the number of slots below max_capacity that
  /// this push has to leave free. Errors: full, out_of_memory.
  [[nodiscard]] Result<void> try_push(T&& item, std::size_t reserve = 0) {
    const std::lock_guard lock(mutex_);
    return push_locked(item, reserve);
  }

  /// Pushes as many of `items` as fit, from the front, as neighbours. Returns how many; those are
  /// moved from.
  [[nodiscard]] std::size_t push_batch(std::span<T> items, std::size_t reserve = 0) {
    const std::lock_guard lock(mutex_);
    std::size_t pushed = 0;
    while (pushed < items.size() && push_locked(items[pushed], reserve)) ++pushed;
    return pushed;
  }

  /// Waits for room, at most `timeout`. Errors: timed_out, out_of_memory.
  template <class Rep, class Period>
  [[nodiscard]] Result<void> push_for(T&& item, std::chrono::duration<Rep, Period> timeout,
                                      std::size_t reserve = 0) {
    const Deadline deadline = base::deadline_after(timeout);
    std::unique_lock lock(mutex_);
    while (size_ >= bound_for(reserve)) {
      ++producers_asleep_;
      const auto woken = room_.wait_until(lock, deadline);
      --producers_asleep_;
      if (woken == std::cv_status::timeout && size_ >= bound_for(reserve)) {
        return Error::timed_out;
      }
    }
    return push_locked(item, reserve);
  }

  /// Error: empty.
  [[nodiscard]] Result<T> try_pop() {
    const std::lock_guard lock(mutex_);
    if (size_ == 0) return Error::empty;
    return pop_locked();
  }

  /// The same into `item`; false when there is none.
  [[nodiscard]] bool try_pop(T& item) requires(std::is_nothrow_move_assignable_v<T>) {
    Result<T> popped = try_pop();
    if (popped) item = std::move(*popped);
    return popped.has_value();
  }

  /// Calls `use(T&)` on up to `count` items, in order; each is destroyed afterwards. Returns how
  /// many. If `use` throws, the rest of its group of at most 16 is lost with it.
  template <class Use>
  std::size_t pop_batch(std::size_t count, Use&& use) requires(std::is_invocable_v<Use&, T&>) {
    std::size_t popped = 0;
    while (popped < count) {
      Group group;
      take(group, std::min(count - popped, kGroupMax));
      if (group.size == 0) break;
      for (T& item : group.items()) use(item);
      popped += group.size;
    }
    return popped;
  }

  /// Waits until there is an item, at most `timeout`. Error: timed_out.
  template <class Rep, class Period>
  [[nodiscard]] Result<T> pop_for(std::chrono::duration<Rep, Period> timeout) {
    const Deadline deadline = base::deadline_after(timeout);
    std::unique_lock lock(mutex_);
    while (size_ == 0) {
      ++consumers_asleep_;
      const auto woken = items_.wait_until(lock, deadline);
      --consumers_asleep_;
      if (woken == std::cv_status::timeout && size_ == 0) return Error::timed_out;
    }
    return pop_locked();
  }

  bool empty_for_consumer() const { return len() == 0; }

  /// Destroys what waits now; returns how many.
  std::size_t clear() {
    return pop_batch(len(), [](T&) {});
  }

  std::vector<T> drain() {
    std::vector<T> items;
    pop_batch(len(), [&items](T& item) { items.push_back(std::move(item)); });
    return items;
  }

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
  struct FreeBlock {
    void operator()(T* items) const {
      ::operator delete (static_cast<void*>(items), std::align_val_t{alignof(T)});
    }
  };
  using Block = std::unique_ptr<T[], FreeBlock>;  // raw memory; `front_` and `size_` say what lives

  static constexpr std::size_t kGroupMax = 16;
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

  /// Null when memory is out.
  static Block make_block(std::size_t slots) {
    return Block(static_cast<T*>(
        ::operator new (slots * sizeof(T), std::align_val_t{alignof(T)}, std::nothrow)));
  }

  std::size_t bound_for(std::size_t reserve) const {
    return config_.max_capacity - std::min(reserve, config_.max_capacity);
  }

  T& at(std::size_t place) {
    const std::size_t slot = front_ + place;
    return block_[slot < capacity_ ? slot : slot - capacity_];
  }

  Result<void> push_locked(T& item, std::size_t reserve) {
    if (size_ >= bound_for(reserve)) {
      ++stats_.full;
      return Error::full;
    }
    if (size_ == capacity_ && !resize(grown_capacity(config_, capacity_))) {
      return Error::out_of_memory;
    }
    std::construct_at(&at(size_), std::move(item));
    ++size_;
    ++stats_.pushed;
    stats_.peak = std::max(stats_.peak, size_);
    if (consumers_asleep_ > 0) items_.notify_one();
    return {};
  }

  T pop_locked() {
    T& front = at(0);
    T item(std::move(front));
    std::destroy_at(&front);
    front_ = front_ + 1 < capacity_ ? front_ + 1 : 0;
    --size_;
    ++stats_.popped;
    if (producers_asleep_ > 0) room_.notify_all();  // their reserves may differ
    const double threshold = config_.shrink_threshold * static_cast<double>(capacity_);
    if (capacity_ > config_.min_capacity && static_cast<double>(size_) < threshold) {
      // No memory for a smaller block: then the larger one stays.
      (void)resize(std::max(shrunk_capacity(config_, capacity_), size_));
    }
    return item;
  }

  void take(Group& group, std::size_t count) {
    const std::lock_guard lock(mutex_);
    T* place = reinterpret_cast<T*>(group.memory.data());
    while (group.size < count && size_ > 0) {
      std::construct_at(place + group.size, pop_locked());
      ++group.size;
    }
  }

  bool resize(std::size_t capacity) {
    Block block = make_block(capacity);
    if (!block) return false;
    for (std::size_t i = 0; i < size_; ++i) {
      std::construct_at(&block[i], std::move(at(i)));
      std::destroy_at(&at(i));
    }
    block_ = std::move(block);
    capacity_ = capacity;
    front_ = 0;
    ++stats_.resizes;
    return true;
  }

  const QueueConfig config_;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable items_;
  std::condition_variable room_;
  std::size_t consumers_asleep_ = 0;
  std::size_t producers_asleep_ = 0;
  Block block_;
  std::size_t capacity_;
  std::size_t front_ = 0;
  std::size_t size_ = 0;
  QueueStats stats_;
};

}  // namespace millrace::queue
