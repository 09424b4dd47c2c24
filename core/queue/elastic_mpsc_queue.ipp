// The implementation of ElasticMpscQueue; read elastic_mpsc_queue.hpp first. In the order of an
// item's life: claim, publish, pop, recycle.
#pragma once

namespace millrace::queue {

template <class T, class Wait>
auto ElasticMpscQueue<T, Wait>::create(const QueueConfig& config)
    -> Result<std::unique_ptr<ElasticMpscQueue>> {
  if (const Result<void> valid = validate(config); !valid) return valid.error();
  // Small enough that memory goes back in small steps, large enough that the directory stays small.
  constexpr std::size_t kSlotsMin = 16;
  constexpr std::size_t kSlotsUsual = 1024;
  constexpr std::size_t kEntriesUsual = 2048;
  const std::size_t slots =
      std::max(std::clamp(std::bit_floor(config.min_capacity), kSlotsMin, kSlotsUsual),
               std::bit_ceil(config.max_capacity / kEntriesUsual));
  const std::size_t entries = std::bit_ceil(config.max_capacity / slots + 2);
  try {
    std::unique_ptr<ElasticMpscQueue> queue(new ElasticMpscQueue(config, slots, entries));
    const std::uint64_t last = (config.initial_capacity - 1) / slots;
    if (!queue->install_segments(0, last)) return QueueError::kOutOfMemory;
    return queue;
  } catch (const std::bad_alloc&) {
    return QueueError::kOutOfMemory;
  }
}

template <class T, class Wait>
ElasticMpscQueue<T, Wait>::ElasticMpscQueue(const QueueConfig& config, std::size_t slots,
                                            std::size_t entries)
    : config_(config),
      layout_(slots),
      slot_mask_(slots - 1),
      slot_shift_(static_cast<unsigned>(std::countr_zero(slots))),
      directory_mask_(entries - 1),
      directory_(std::make_unique<std::atomic<std::uintptr_t>[]>(entries)),
      capacity_(config.initial_capacity) {}

template <class T, class Wait>
ElasticMpscQueue<T, Wait>::~ElasticMpscQueue() {
  clear();
  for (std::size_t i = 0; i <= directory_mask_; ++i) {
    const SegmentRef segment(directory_[i].load(std::memory_order_relaxed));
    if (segment) layout_.free(segment);
  }
}

// ---- claim
// ---------------------------------------------------------------------------------------

template <class T, class Wait>
Result<void> ElasticMpscQueue<T, Wait>::try_push(T&& item, std::size_t reserve) {
  const std::size_t bound = config_.max_capacity - std::min(reserve, config_.max_capacity);
  std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  for (;;) {
    std::size_t count = 1;
    if (!fits(tail, 1, bound)) [[unlikely]] {
      const Room room = look_for_room(tail, count, bound);
      if (room == Room::kFull) return QueueError::kFull;
      if (room == Room::kLookAgain) {
        tail = tail_.load(std::memory_order_relaxed);
        continue;
      }
    }
    const std::uint64_t number = tail >> slot_shift_;
    if (entry(number).load(std::memory_order_relaxed) == 0) [[unlikely]] {
      if (!install_segments(number, number)) return QueueError::kOutOfMemory;
    }
    // seq_cst: partner of empty_for_consumer (see waiting.hpp).
    if (tail_.compare_exchange_weak(tail, tail + 1, std::memory_order_seq_cst,
                                    std::memory_order_relaxed)) {
      publish(tail, &item, 1);
      wait_.pushed();
      return {};
    }
  }
}

template <class T, class Wait>
std::size_t ElasticMpscQueue<T, Wait>::push_batch(std::span<T> items, std::size_t reserve) {
  if (items.empty()) return 0;
  const std::size_t bound = config_.max_capacity - std::min(reserve, config_.max_capacity);
  std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  for (;;) {
    std::size_t count = items.size();
    if (!fits(tail, count, bound)) {
      const Room room = look_for_room(tail, count, bound);
      if (room == Room::kFull) return 0;
      if (room == Room::kLookAgain) {
        tail = tail_.load(std::memory_order_relaxed);
        continue;
      }
    }
    if (!install_segments(tail >> slot_shift_, (tail + count - 1) >> slot_shift_)) return 0;
    if (tail_.compare_exchange_weak(tail, tail + count, std::memory_order_seq_cst,
                                    std::memory_order_relaxed)) {
      if (count < items.size()) full_.fetch_add(1, std::memory_order_relaxed);
      publish(tail, items.data(), count);
      wait_.pushed();
      return count;
    }
  }
}

template <class T, class Wait>
template <class Rep, class Period>
Result<void> ElasticMpscQueue<T, Wait>::push_for(T&& item,
                                                 std::chrono::duration<Rep, Period> timeout,
                                                 std::size_t reserve) requires(Wait::kCanSleep) {
  Result<void> pushed = try_push(std::move(item), reserve);
  if (pushed || pushed.error() != QueueError::kFull) return pushed;
  const Deadline deadline = deadline_after(timeout);
  while (std::chrono::steady_clock::now() < deadline) {
    wait_.sleep_until_popped(deadline, [&] {
      pushed = try_push(std::move(item), reserve);
      return !pushed && pushed.error() == QueueError::kFull;
    });
    if (pushed || pushed.error() != QueueError::kFull) return pushed;
  }
  return QueueError::kTimedOut;
}

/// Whether `count` positions from `tail` on lie below the capacity and the bound, by a head that
/// was once true. A tail that is older than that head gives a huge `used`, and false.
template <class T, class Wait>
bool ElasticMpscQueue<T, Wait>::fits(std::uint64_t tail, std::size_t count,
                                     std::size_t bound) const {
  // acquire: partner of the release in look_for_room, and through it of the one in advance(); what
  // the consumer took out of the directory before that head is seen as gone.
  const std::uint64_t used = tail - head_seen_.load(std::memory_order_acquire);
  const std::size_t limit = std::min(bound, capacity_.load(std::memory_order_relaxed));
  return used < limit && count <= limit - used;
}

/// The slow half of `fits`: reads the consumer's head, grows the capacity, cuts `count` to what may
/// be claimed.
template <class T, class Wait>
auto ElasticMpscQueue<T, Wait>::look_for_room(std::uint64_t tail, std::size_t& count,
                                              std::size_t bound) -> Room {
  const std::uint64_t head = head_.load(std::memory_order_acquire);  // partner: advance()
  // Another producer may just have stored a newer head; an older one only makes the next look here.
  head_seen_.store(head, std::memory_order_release);
  if (head > tail) return Room::kLookAgain;  // the tail that the caller read is long gone
  const std::uint64_t used = tail - head;
  if (used >= bound) {
    full_.fetch_add(1, std::memory_order_relaxed);
    return Room::kFull;
  }
  count = std::min<std::size_t>(count, bound - used);
  grow_capacity(used + count);
  return Room::kYes;
}

template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::grow_capacity(std::size_t needed) {
  std::size_t capacity = capacity_.load(std::memory_order_relaxed);
  while (capacity < needed) {
    const std::size_t grown = grown_capacity(config_, capacity);
    if (capacity_.compare_exchange_weak(capacity, grown, std::memory_order_relaxed)) {
      resizes_.fetch_add(1, std::memory_order_relaxed);
      note_peak(capacity);  // that many were waiting, or this would not be needed
      capacity = grown;
    }
  }
}

/// Puts a fresh segment into each empty entry of first..last; false when memory is out. The
/// caller's tail may be stale by now: then a segment lands in an entry that nobody asked for yet,
/// which is as good as one that the consumer put there.
template <class T, class Wait>
bool ElasticMpscQueue<T, Wait>::install_segments(std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t number = first; number <= last; ++number) {
    if (entry(number).load(std::memory_order_relaxed) != 0) continue;
    const SegmentRef fresh = layout_.make();
    if (!fresh) return false;
    std::uintptr_t none = 0;
    // release: partner of the acquire in publish() and ready_run().
    if (entry(number).compare_exchange_strong(none, fresh.bits(), std::memory_order_release,
                                              std::memory_order_relaxed)) {
      segments_.fetch_add(1, std::memory_order_relaxed);
    } else {
      layout_.free(fresh);
    }
  }
  return true;
}

// ---- publish
// -------------------------------------------------------------------------------------

template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::publish(std::uint64_t position, T* items, std::size_t count) {
  while (count > 0) {
    // acquire: partner of install_segments() and recycle_or_free().
    const SegmentRef segment(entry(position >> slot_shift_).load(std::memory_order_acquire));
    const std::size_t slot = position & slot_mask_;
    const std::size_t run = std::min(count, slot_mask_ + 1 - slot);
    std::uninitialized_move_n(items, run, layout_.items(segment) + slot);
    ReadyByte* ready = layout_.ready_bytes(segment) + slot;
    for (std::size_t i = 0; i < run; ++i) {
      ready[i].store(segment.generation(), std::memory_order_release);  // partner: scan_ready()
    }
    position += run;
    items += run;
    count -= run;
  }
}

// ---- pop
// -----------------------------------------------------------------------------------------

template <class T, class Wait>
Result<T> ElasticMpscQueue<T, Wait>::try_pop() {
  if (ready_run(1) == 0) return QueueError::kEmpty;
  T& front = layout_.items(segment_)[head_.load(std::memory_order_relaxed) & slot_mask_];
  Result<T> popped(std::move(front));
  std::destroy_at(&front);
  advance(1);
  return popped;
}

template <class T, class Wait>
template <class Use>
std::size_t ElasticMpscQueue<T, Wait>::pop_batch(std::size_t count, Use&& use) requires(
    std::is_invocable_v<Use&, T&>) {
  return pop_runs(count, [&use](std::span<T> run) {
    for (T& item : run) use(item);
  });
}

template <class T, class Wait>
template <class Use>
std::size_t ElasticMpscQueue<T, Wait>::pop_runs(std::size_t count, Use&& use) requires(
    std::is_invocable_v<Use&, std::span<T>>) {
  // Gives the run back also when `use` throws: its items count as consumed.
  struct Release {
    ElasticMpscQueue& queue;
    std::span<T> run;
    ~Release() {
      std::destroy(run.begin(), run.end());
      queue.advance(run.size());
    }
  };
  std::size_t popped = 0;
  while (popped < count) {
    const std::size_t run = ready_run(count - popped);
    if (run == 0) break;
    const std::size_t slot = head_.load(std::memory_order_relaxed) & slot_mask_;
    const Release release{*this, std::span<T>(layout_.items(segment_) + slot, run)};
    use(release.run);
    popped += run;
  }
  return popped;
}

template <class T, class Wait>
template <class Rep, class Period>
Result<T> ElasticMpscQueue<T, Wait>::pop_for(std::chrono::duration<Rep, Period> timeout) requires(
    Wait::kCanSleep) {
  if (Result<T> popped = try_pop()) return popped;
  const Deadline deadline = deadline_after(timeout);
  while (std::chrono::steady_clock::now() < deadline) {
    wait_.sleep_until_pushed(deadline, [this] { return empty_for_consumer(); });
    if (Result<T> popped = try_pop()) return popped;
  }
  return QueueError::kTimedOut;
}

template <class T, class Wait>
std::vector<T> ElasticMpscQueue<T, Wait>::drain() {
  std::vector<T> items;
  items.reserve(len());
  pop_batch(max_capacity_all_, [&items](T& item) { items.push_back(std::move(item)); });
  return items;
}

/// How many slots from the front on are ready, at most `count`; all in one segment.
template <class T, class Wait>
std::size_t ElasticMpscQueue<T, Wait>::ready_run(std::size_t count) {
  if (ready_ == 0) scan_ready(count);
  return std::min(ready_, count);
}

template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::scan_ready(std::size_t count) {
  const std::uint64_t head = head_.load(std::memory_order_relaxed);
  if (!segment_) {
    // acquire: partner of install_segments().
    segment_ = SegmentRef(entry(head >> slot_shift_).load(std::memory_order_acquire));
    if (!segment_) return shrink_capacity(true);
  }
  // One cache line of ready bytes at least, since it is here anyway.
  const std::size_t slot = head & slot_mask_;
  const std::size_t slots = std::min(std::max(count, kCacheLine), slot_mask_ + 1 - slot);
  const ReadyByte* ready = layout_.ready_bytes(segment_) + slot;
  const std::uint8_t generation = segment_.generation();
  std::size_t run = 0;
  // acquire: partner of publish().
  while (run < slots && ready[run].load(std::memory_order_acquire) == generation) ++run;
  ready_ = run;
  if (run == 0) return shrink_capacity(true);
  note_peak(len());
}

/// Gives `count` slots from the front on back; their items are destroyed.
template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::advance(std::size_t count) {
  ready_ -= count;
  const std::uint64_t head = head_.load(std::memory_order_relaxed) + count;
  if ((head & slot_mask_) == 0) leave_segment();
  // release: partner of look_for_room(); the directory is changed before.
  head_.store(head, std::memory_order_release);
  wait_.popped();
}

// ---- recycle
// -------------------------------------------------------------------------------------

/// The front segment's last slot was consumed. All its positions were published, so no producer is
/// in it any more.
template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::leave_segment() {
  const std::uint64_t number = head_.load(std::memory_order_relaxed) >> slot_shift_;
  entry(number).store(0, std::memory_order_relaxed);  // ordered by the store of head_
  shrink_capacity(false);
  recycle_or_free(std::exchange(segment_, SegmentRef()));
}

template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::recycle_or_free(SegmentRef segment) {
  const std::uint64_t front = (head_.load(std::memory_order_relaxed) >> slot_shift_) + 1;
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed) >> slot_shift_;
  const std::size_t kept = std::min(capacity(), config_.initial_capacity);
  const std::uint64_t end =
      std::min(tail + 1 + ((kept - 1) >> slot_shift_), front + directory_mask_);
  for (std::uint64_t number = std::max({recycled_end_, front, tail}); number <= end; ++number) {
    std::uintptr_t none = 0;
    const bool placed = entry(number).compare_exchange_strong(
        none, segment.next_use().bits(), std::memory_order_release, std::memory_order_relaxed);
    recycled_end_ = number + 1;
    if (placed) return;
  }
  layout_.free(segment);
  segments_.fetch_sub(1, std::memory_order_relaxed);
}

template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::shrink_capacity(bool to_the_end) {
  std::size_t capacity = capacity_.load(std::memory_order_relaxed);
  while (capacity > config_.min_capacity) {
    const std::size_t used = len();
    const double threshold = config_.shrink_threshold * static_cast<double>(capacity);
    if (static_cast<double>(used) >= threshold) return;
    const std::size_t shrunk = std::max(shrunk_capacity(config_, capacity), used);
    if (!capacity_.compare_exchange_weak(capacity, shrunk, std::memory_order_relaxed)) continue;
    resizes_.fetch_add(1, std::memory_order_relaxed);
    if (!to_the_end) return;
    capacity = shrunk;
  }
}

// ---- figures
// -------------------------------------------------------------------------------------

template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::note_peak(std::size_t len) {
  std::size_t peak = peak_.load(std::memory_order_relaxed);
  while (len > peak && !peak_.compare_exchange_weak(peak, len, std::memory_order_relaxed)) {
  }
}

template <class T, class Wait>
std::size_t ElasticMpscQueue<T, Wait>::len() const {
  // The tail first: against a head read later, the difference is never more than was there when the
  // head was read (and below zero if the consumer overtook the tail that was read).
  const std::uint64_t tail = tail_.load(std::memory_order_acquire);
  const std::uint64_t head = head_.load(std::memory_order_relaxed);
  return tail > head ? tail - head : 0;
}

template <class T, class Wait>
QueueStats ElasticMpscQueue<T, Wait>::stats() const {
  QueueStats stats;
  stats.popped = head_.load(std::memory_order_relaxed);
  stats.pushed = tail_.load(std::memory_order_relaxed);
  stats.full = full_.load(std::memory_order_relaxed);
  stats.resizes = resizes_.load(std::memory_order_relaxed);
  stats.peak = std::max(peak_.load(std::memory_order_relaxed), len());
  stats.memory_bytes = sizeof(*this) + (directory_mask_ + 1) * sizeof(directory_[0]) +
                       segments_.load(std::memory_order_relaxed) * layout_.bytes();
  return stats;
}

}  // namespace millrace::queue
