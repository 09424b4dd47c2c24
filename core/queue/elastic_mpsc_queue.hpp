// ElasticMpscQueue<T>: a lock-free, bounded, elastic queue of any number of producers and one
// consumer, for any T whose move constructor does not throw.
//
// Thread contract
//   any thread, at any time:      try_push, push_batch, push_for, empty, len, capacity, stats
//   the consumer:                 try_pop, pop_batch, pop_runs, pop_for, for_each, clear, drain,
//                                 empty_for_consumer
//   The consumer is a role with one holder at a time. It may move to another thread if the
//   hand-over is synchronised (a mutex, a join, a release/acquire flag). Construction and
//   destruction are exclusive.
//
// Invariants
//   - Positions are dense: a producer claims the next n of them with one CAS of `tail_`; the items
//     of a batch are adjacent. The order of claims is the order of pops: FIFO over all producers.
//   - tail - head <= max_capacity, exactly: a claim is checked against a value that the head had.
//   - Position p is stored in slot p % S of the segment in `directory_[p / S % D]`. D * S is at
//     least max_capacity + S, so that no two live positions share a directory entry.
//   - A producer that has claimed position p and not published it keeps p's segment alive: the
//     consumer removes a segment from the directory only after it consumed the segment's last slot,
//     and it cannot pass p. A producer accesses a segment only between its claim and its publish.
//     So there are no hazard pointers and no epochs, and a segment may be freed at once.
//   - The common push reads neither the head nor the directory: ClaimWindow, beside the tail, says
//     up to which position there is room and in which segment; a successful claim proves that true.
//   - The consumer progresses unless the position at the queue's front is claimed and not published
//     yet; then try_pop returns `empty` although empty_for_consumer() returns false.
//
// Growing and shrinking: memory comes in segments, which are added to the directory one at a time;
// items are never copied. `capacity()` is the number of waiting items from which on a push checks
// whether it may grow the queue; it is then multiplied by growth_factor. A segment that the
// consumer has finished is reused behind the tail if there are fewer segments than initial_capacity
// needs, and is kept in a pool otherwise: neither a steady flow nor one in bursts allocates. After
// a calm (see CalmWatch), capacity is lowered as shrink_threshold says, finished segments are
// freed, and the pool is emptied one segment at a time: a large burst's memory is freed while it
// drains, the pool's last 4 MiB by the traffic after it.
//
// Sources: tickets and per-slot state from LCRQ (Morrison, Afek, PPoPP 2013) and Jiffy (Adas,
// Friedman, DISC 2022); linked chunks and their recycling by the consumer from JCTools'
// MpscUnboundedXaddArrayQueue. A directory in place of links is our own: no producer waits for
// another's link, and ownership by ticket replaces a memory reclamation scheme. The tests check
// `model/elastic_mpsc_queue.pml`.
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

#include "core/base/pause.hpp"
#include "core/base/prefetch.hpp"
#include "core/queue/claim_window.hpp"
#include "core/queue/length.hpp"
#include "core/queue/queue_types.hpp"
#include "core/queue/segment.hpp"
#include "core/queue/segment_pool.hpp"
#include "core/queue/stream_watch.hpp"
#include "core/queue/waiting.hpp"

namespace millrace::queue {

template <class T, class Wait = FutexWait>
class ElasticMpscQueue {
  static_assert(std::is_nothrow_move_constructible_v<T>,
                "a claimed slot must be filled: moving an item into it may not throw");
  static_assert(std::is_nothrow_destructible_v<T>);

 public:
  using value_type = T;

  static Result<std::unique_ptr<ElasticMpscQueue>> create(const QueueConfig& config);

  ElasticMpscQueue(const ElasticMpscQueue&) = delete;
  ElasticMpscQueue& operator=(const ElasticMpscQueue&) = delete;
  ~ElasticMpscQueue();

  // ---- producers ----

  /// Moves from `item` only on success. `reserve` is the number of slots below max_capacity that
  /// this push has to leave free. Errors: full, out_of_memory.
  [[nodiscard]] Result<void> try_push(T&& item, std::size_t reserve = 0);
  [[nodiscard]] Result<void> try_push(const T& item, std::size_t reserve = 0) requires(
      std::is_copy_constructible_v<T>) {
    return try_push(T(item), reserve);
  }

  /// Pushes as many of `items` as fit, from the front, with one claim: they are adjacent in the
  /// queue. Returns how many; those are moved from.
  [[nodiscard]] std::size_t push_batch(std::span<T> items, std::size_t reserve = 0);

  /// Waits for room, at most `timeout`. Errors: timed_out, out_of_memory.
  template <class Rep, class Period>
  [[nodiscard]] Result<void> push_for(T&& item, std::chrono::duration<Rep, Period> timeout,
                                      std::size_t reserve = 0) requires(Wait::kCanSleep);

  // ---- the consumer ----

  /// Error: empty.
  [[nodiscard]] Result<T> try_pop();

  /// The same into `item`; false when there is none. A small item can stay in registers.
  [[nodiscard]] bool try_pop(T& item) requires(std::is_nothrow_move_assignable_v<T>);

  /// Calls `use(T&)` on up to `count` items in place, in order; each is destroyed afterwards, also
  /// if `use` throws. Returns how many. `use` may push to this queue, but not pop from it.
  template <class Use>
  std::size_t pop_batch(std::size_t count, Use&& use) requires(std::is_invocable_v<Use&, T&>);

  /// The same with `use(std::span<T>)`, once for each run of items adjacent in memory.
  template <class Use>
  std::size_t pop_runs(std::size_t count,
                       Use&& use) requires(std::is_invocable_v<Use&, std::span<T>>);

  /// Sleeps until there is an item, at most `timeout`. Error: timed_out.
  template <class Rep, class Period>
  [[nodiscard]] Result<T> pop_for(std::chrono::duration<Rep, Period> timeout) requires(
      Wait::kCanSleep);

  /// Calls `look(const T&)` on the items that can be popped, in order; removes none.
  template <class Look>
  void for_each(Look&& look) const requires(std::is_invocable_v<Look&, const T&>);

  /// True if no position is claimed beyond the consumer's. The consumer checks this before it goes
  /// to sleep, after it set a flag (seq_cst) that producers load (seq_cst) after their push. See
  /// waiting.hpp.
  bool empty_for_consumer() const {
    return tail_.load(std::memory_order_seq_cst) == head_.load(std::memory_order_relaxed);
  }

  /// Destroys those of the items waiting now that can be popped; returns how many.
  std::size_t clear() {
    return pop_batch(len(), [](T&) {});
  }

  /// Pops those of the items waiting now that can be popped.
  std::vector<T> drain();

  // ---- any thread ----

  bool empty() const { return len() == 0; }
  /// Items claimed and not yet popped; correct for some moment during the call.
  std::size_t len() const;
  std::size_t capacity() const { return capacity_.load(std::memory_order_relaxed); }
  std::size_t max_capacity() const { return config_.max_capacity; }
  /// `peak` is updated when the consumer looks for new items, and when the queue grows.
  QueueStats stats() const;

 private:
  using Slot = typename SegmentLayout<T>::Slot;
  enum class Room { yes, look_again, full, out_of_memory };

  ElasticMpscQueue(const QueueConfig& config, SegmentLayout<T> layout);

  std::atomic<std::uintptr_t>& entry(std::uint64_t number) const {
    return directory_[number & directory_mask_];
  }
  // acquire: partner of install_segments() and recycle().
  SegmentRef segment_at(std::uint64_t position) const {
    return SegmentRef(entry(layout_.number(position)).load(std::memory_order_acquire));
  }

  // Producers.
  static constexpr std::size_t kPrefetchBytes = 512;
  static constexpr int kPauses = 64;        // some 1.5 us, in which another thread fills many slots
  static constexpr int kPausesOfBatch = 8;  // a consumer of batches rarely reads just written items
  std::size_t bound_for(std::size_t reserve) const {
    return config_.max_capacity - std::min(reserve, config_.max_capacity);
  }
  /// Success also means that `tail` did not move since it was read, so that what the window
  /// returned in between is true.
  bool claim(std::uint64_t& tail, std::size_t count) {
    // seq_cst: partner of empty_for_consumer (see waiting.hpp).
    return tail_.compare_exchange_strong(tail, tail + count, std::memory_order_seq_cst,
                                         std::memory_order_relaxed);
  }
  void fill(Slot slot, std::uint8_t generation, T& item) {
    Wait::step();
    std::construct_at(slot.item, std::move(item));
    // release: partner of scan_ready().
    slot.ready->store(generation, std::memory_order_release);
  }
  /// Backs off after a failed claim; returns the tail to try next. Producers that claim at full
  /// speed on several cores spend their time on moving the queue's cache lines between cores: a
  /// producer whose claim failed leaves them to the others for a while.
  std::uint64_t let_others_claim() const {
    base::pause(kPauses);
    return tail_.load(std::memory_order_relaxed);
  }
  Result<void> push_once(T& item, std::size_t reserve);
  [[gnu::noinline]] Result<void> push_again(T& item, std::size_t reserve);
  SegmentRef known_room(std::uint64_t tail, std::size_t count, std::size_t reserve) const;
  bool fits(std::uint64_t tail, std::size_t count, std::size_t bound) const;
  SegmentRef look_up_claimed(std::uint64_t position, std::size_t count);
  [[gnu::noinline]] Room make_room(std::uint64_t& tail, std::size_t& count, std::size_t bound);
  void grow_capacity(std::size_t needed);
  bool installed(std::uint64_t tail, std::size_t count) const;
  bool install_segments(std::uint64_t tail, std::size_t count);
  void publish(SegmentRef segment, std::uint64_t position, T* items, std::size_t count);

  // Memory.
  SegmentRef take_or_make();
  void keep_or_free(SegmentRef segment);
  void free(SegmentRef segment);

  // The consumer.
  /// Releases a run of slots from the front on at the end of its scope: after the result was built
  /// in its final place (a copy of it would wait for the stores just made), and also if `use`
  /// throws.
  struct Release {
    ElasticMpscQueue& queue;
    std::span<T> run;
    ~Release() {
      std::destroy(run.begin(), run.end());
      queue.advance(run.size());
    }
  };
  std::size_t ready_run(std::size_t count);
  [[gnu::noinline]] void scan_ready(int pauses);
  void advance(std::size_t count);
  [[gnu::noinline]] void leave_segment();
  bool recycle(SegmentRef segment, std::uint64_t tail);
  void look_for_calm(CalmWatch::Look look, std::size_t len);
  void shrink_capacity(std::size_t used);
  void note_peak(std::size_t len);

  // Constant after construction.
  QueueConfig config_;
  SegmentLayout<T> layout_;
  std::size_t directory_mask_;                                // D - 1
  std::unique_ptr<std::atomic<std::uintptr_t>[]> directory_;  // SegmentRef bits

  // Rarely written, by producers and the consumer.
  std::atomic<std::size_t> capacity_;
  [[no_unique_address]] Wait wait_;
  SegmentPool pool_;

  // Written by producers.
  alignas(2 * kCacheLine) std::atomic<std::uint64_t> tail_{0};
  ClaimWindow<Wait> window_;
  // A value that head_ had; saves reading the consumer's cache line.
  std::atomic<std::uint64_t> head_seen_{0};

  // Written by the consumer, read by any thread.
  alignas(2 * kCacheLine) std::atomic<std::uint64_t> head_{0};

  // The consumer's own.
  alignas(2 * kCacheLine) std::uint64_t front_ = 0;  // what head_ will be next
  SegmentRef segment_;              // the one that the front lies in; null if not known yet
  std::size_t ready_ = 0;           // slots from the front on that are known to be ready
  std::uint64_t recycled_end_ = 0;  // every segment below this number has been in the directory
  std::uint64_t next_peak_look_ = 0;
  CalmWatch calm_;
  StreamWatch stream_;
  static constexpr std::size_t kPeakLookSlots = 512;

  // Figures, off the fast path.
  alignas(2 * kCacheLine) std::atomic<std::uint64_t> full_{0};
  std::atomic<std::uint64_t> resizes_{0};
  std::atomic<std::uint64_t> growths_{0};  // capacity increases, and segments installed by pushes
  std::atomic<std::size_t> peak_{0};
  std::atomic<std::size_t> segments_{0};
};

}  // namespace millrace::queue

#include "core/queue/elastic_mpsc_memory.ipp"
#include "core/queue/elastic_mpsc_queue.ipp"
