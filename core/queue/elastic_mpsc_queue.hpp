// ElasticMpscQueue<T>: a lock-free, bounded, elastic queue of any number of producers and one
// consumer, for any T that moves without throwing.
//
// Who may call what
//   any thread, at any time:      try_push, push_batch, push_for, empty, len, capacity, stats
//   the consumer:                 try_pop, pop_batch, pop_runs, pop_for, for_each, clear, drain,
//                                 empty_for_consumer
//   The consumer is a role with one holder at a time. It may move to another thread if the
//   hand-over is ordered (a mutex, a join, a release/acquire flag). Construction and destruction
//   are exclusive.
//
// What always holds
//   - Positions are dense: a producer claims the next n of them with one CAS of `tail_`; the items
//     of a batch are neighbours. The order of claims is the order of pops: FIFO over all producers.
//   - tail - head <= max_capacity, exactly: a claim is made only against a head that was read.
//   - Position p lives in slot p % S of the segment that `directory_[p / S % D]` names. D * S is at
//     least max_capacity + S, so that no two live positions share an entry.
//   - Who holds a claimed, unpublished position p keeps p's segment alive: the consumer takes a
//     segment out of the directory only after it consumed the segment's last slot, and it cannot
//     pass p. A producer looks at a segment only between its claim and its publish. So no hazard
//     pointers and no epochs, and a segment may be freed at once.
//   - A usual push reads neither the head nor the directory: up to where there is room, and in
//     which segment, stands beside the tail (ClaimWindow), and the claim proves it true.
//   - The consumer progresses unless a producer stands between its claim and its publish at the
//     queue's front; then try_pop says empty although empty_for_consumer() says false.
//
// Growing and shrinking: memory comes in segments, linked into the directory one at a time and
// never copied. `capacity()` is the mark at which a push first looks whether it may grow: it goes
// up by growth_factor when a push finds that many items waiting. A segment that the consumer has
// left goes back behind the tail if fewer are waiting there than initial_capacity needs, and into a
// pool otherwise: a steady flow does not allocate, nor does one that comes in bursts. After a calm
// (CalmWatch), capacity goes down as shrink_threshold says, what is left goes back to the heap, and
// so does the pool, step by step: a large burst's memory while it drains, the last 4 MiB with what
// comes after.
//
// Sources: tickets and per-slot state from LCRQ (Morrison, Afek, PPoPP 2013) and Jiffy (Adas,
// Friedman, DISC 2022); linked chunks and their recycling by the consumer from JCTools'
// MpscUnboundedXaddArrayQueue. The directory in place of links is ours: nobody waits for somebody
// else's link, and ownership by ticket replaces reclamation schemes. `model/elastic_mpsc_queue.pml`
// is checked by the tests.
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

  /// Pushes as many of `items` as fit, from the front, with one claim: they are neighbours in the
  /// queue. Returns how many; those are moved from.
  [[nodiscard]] std::size_t push_batch(std::span<T> items, std::size_t reserve = 0);

  /// Waits for room, at most `timeout`. Errors: timed_out, out_of_memory.
  template <class Rep, class Period>
  [[nodiscard]] Result<void> push_for(T&& item, std::chrono::duration<Rep, Period> timeout,
                                      std::size_t reserve = 0) requires(Wait::kCanSleep);

  // ---- the consumer ----

  /// Error: empty.
  [[nodiscard]] Result<T> try_pop();

  /// The same into `item`; false when there is none. Costs a small item no trip through memory.
  [[nodiscard]] bool try_pop(T& item) requires(std::is_nothrow_move_assignable_v<T>);

  /// Calls `use(T&)` on up to `count` items in place, in order; each is destroyed afterwards, also
  /// if `use` throws. Returns how many. `use` may push to this queue, but not pop from it.
  template <class Use>
  std::size_t pop_batch(std::size_t count, Use&& use) requires(std::is_invocable_v<Use&, T&>);

  /// The same with `use(std::span<T>)`, once for each run of neighbours in memory.
  template <class Use>
  std::size_t pop_runs(std::size_t count,
                       Use&& use) requires(std::is_invocable_v<Use&, std::span<T>>);

  /// Sleeps until there is an item, at most `timeout`. Error: timed_out.
  template <class Rep, class Period>
  [[nodiscard]] Result<T> pop_for(std::chrono::duration<Rep, Period> timeout) requires(
      Wait::kCanSleep);

  /// Calls `look(const T&)` on what can be popped, in order, and takes nothing out.
  template <class Look>
  void for_each(Look&& look) const requires(std::is_invocable_v<Look&, const T&>);

  /// True if no position is claimed beyond the consumer's: the check before it goes to sleep, after
  /// it raised a flag (seq_cst) that producers load (seq_cst) after their push. See waiting.hpp.
  bool empty_for_consumer() const {
    return tail_.load(std::memory_order_seq_cst) == head_.load(std::memory_order_relaxed);
  }

  /// Destroys what can be popped of the items that wait now; returns how many.
  std::size_t clear() {
    return pop_batch(len(), [](T&) {});
  }

  /// What can be popped of the items that wait now.
  std::vector<T> drain();

  // ---- anybody ----

  bool empty() const { return len() == 0; }
  /// Items claimed and not yet popped; a true value of some moment during the call.
  std::size_t len() const;
  std::size_t capacity() const { return capacity_.load(std::memory_order_relaxed); }
  std::size_t max_capacity() const { return config_.max_capacity; }
  /// `peak` is looked at whenever the consumer looks for new items, and when the queue grows.
  QueueStats stats() const;

 private:
  using Slot = typename SegmentLayout<T>::Slot;
  enum class Room { kYes, kLookAgain, kFull, kOutOfMemory };

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
  static constexpr int kPausesOfBatch = 8;  // who pops batches seldom reads what was just written
  std::size_t bound_for(std::size_t reserve) const {
    return config_.max_capacity - std::min(reserve, config_.max_capacity);
  }
  /// Success also means that `tail` did not move since it was read, so that what the window told
  /// between is true.
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
  /// After a claim that failed; returns the tail to try next. Producers that claim at full speed on
  /// several cores spend their time on handing the queue's lines to and fro: who lost lets the
  /// winner have them for a while.
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
  /// Gives a run from the front on back at the end of its scope: after the result was built in its
  /// final place (a copy of it would wait for the stores just made), and also if `use` throws.
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

  // Rarely written, by both ends.
  std::atomic<std::size_t> capacity_;
  [[no_unique_address]] Wait wait_;
  SegmentPool pool_;

  // Written by producers.
  alignas(2 * kCacheLine) std::atomic<std::uint64_t> tail_{0};
  ClaimWindow<Wait> window_;
  // A value that head_ had; saves reading the consumer's line.
  std::atomic<std::uint64_t> head_seen_{0};

  // Written by the consumer for others to read.
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
  std::atomic<std::uint64_t> growths_{0};  // steps of the capacity up, segments that pushes put in
  std::atomic<std::size_t> peak_{0};
  std::atomic<std::size_t> segments_{0};
};

}  // namespace millrace::queue

#include "core/queue/elastic_mpsc_memory.ipp"
#include "core/queue/elastic_mpsc_queue.ipp"
