// The implementation of ElasticMpscQueue, in the order of an item's life: claim, publish, pop. Its
// memory management is in elastic_mpsc_memory.ipp. Read elastic_mpsc_queue.hpp first.
#pragma once

namespace millrace::queue {

template <class T, class Wait>
auto ElasticMpscQueue<T, Wait>::create(const QueueConfig& config)
    -> Result<std::unique_ptr<ElasticMpscQueue>> {
  if (const Result<void> valid = validate(config); !valid) return valid.error();
  // Small enough that memory is freed in small steps, large enough that the directory stays small.
  constexpr std::size_t kSlotsMin = 64;
  constexpr std::size_t kSlotsUsual = std::clamp<std::size_t>(16384 / sizeof(T), kSlotsMin, 1024);
  constexpr std::size_t kEntriesUsual = 4096;
  const SegmentLayout<T> layout(std::max(std::clamp(config.min_capacity, kSlotsMin, kSlotsUsual),
                                         config.max_capacity / kEntriesUsual));
  try {
    std::unique_ptr<ElasticMpscQueue> queue(new ElasticMpscQueue(config, layout));
    if (!queue->install_segments(0, config.initial_capacity)) return Error::out_of_memory;
    return queue;
  } catch (const std::bad_alloc&) {
    return Error::out_of_memory;
  }
}

template <class T, class Wait>
ElasticMpscQueue<T, Wait>::ElasticMpscQueue(const QueueConfig& config, SegmentLayout<T> layout)
    : config_(config),
      layout_(layout),
      directory_mask_(std::bit_ceil(config.max_capacity / layout.slots() + 2) - 1),
      directory_(std::make_unique<std::atomic<std::uintptr_t>[]>(directory_mask_ + 1)),
      capacity_(config.initial_capacity),
      pool_(layout.bytes()) {}

template <class T, class Wait>
ElasticMpscQueue<T, Wait>::~ElasticMpscQueue() {
  clear();
  for (std::size_t i = 0; i <= directory_mask_; ++i) {
    const SegmentRef segment(directory_[i].load(std::memory_order_relaxed));
    if (segment) layout_.free(segment);
  }
  while (const SegmentRef spare = pool_.take()) layout_.free(spare);
}

// ---- claim ----

template <class T, class Wait>
Result<void> ElasticMpscQueue<T, Wait>::try_push(T&& item, std::size_t reserve) {
  const Result<void> pushed = push_once(item, reserve);
  if (pushed.error() == Error::full) [[unlikely]]
    full_.fetch_add(1, std::memory_order_relaxed);
  return pushed;
}

/// The common case, small enough to be inlined: the window covers the position, and no other
/// producer claims at the same time.
template <class T, class Wait>
Result<void> ElasticMpscQueue<T, Wait>::push_once(T& item, std::size_t reserve) {
  std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  Wait::step();
  if (const SegmentRef segment = known_room(tail, 1, reserve)) [[likely]] {
    // The next push's atomic claim has to wait for this one's stores to complete, so their cache
    // lines are fetched ahead.
    const Slot slot = layout_.slot(segment, tail);
    base::prefetch_to_write(slot.item, kPrefetchBytes);
    Wait::step();
    if (claim(tail, 1)) [[likely]] {
      fill(slot, segment.generation(), item);
      wait_.pushed();
      return {};
    }
    let_others_claim();
  }
  if constexpr (std::is_trivially_copyable_v<T> && sizeof(T) <= 2 * sizeof(void*)) {
    T copy = item;  // only the copy's address is taken, so a small item stays in registers
    return push_again(copy, reserve);
  }
  return push_again(item, reserve);
}

template <class T, class Wait>
Result<void> ElasticMpscQueue<T, Wait>::push_again(T& item, std::size_t reserve) {
  std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  for (;;) {
    std::size_t count = 1;
    SegmentRef segment = known_room(tail, count, reserve);
    if (!segment) {
      const Room room = make_room(tail, count, bound_for(reserve));
      if (room == Room::look_again) continue;
      if (room == Room::full) return Error::full;
      if (room == Room::out_of_memory) return Error::out_of_memory;
    }
    Wait::step();
    if (claim(tail, 1)) {
      if (!segment) segment = look_up_claimed(tail, 1);
      fill(layout_.slot(segment, tail), segment.generation(), item);
      wait_.pushed();
      return {};
    }
    tail = let_others_claim();
  }
}

template <class T, class Wait>
std::size_t ElasticMpscQueue<T, Wait>::push_batch(std::span<T> items, std::size_t reserve) {
  if (items.empty()) return 0;
  std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  for (;;) {
    std::size_t count = items.size();
    SegmentRef segment = known_room(tail, count, reserve);
    if (!segment) {
      const Room room = make_room(tail, count, bound_for(reserve));
      if (room == Room::look_again) continue;
      if (room == Room::full) full_.fetch_add(1, std::memory_order_relaxed);
      if (room != Room::yes) return 0;
    }
    Wait::step();
    if (claim(tail, count)) {
      if (count < items.size()) full_.fetch_add(1, std::memory_order_relaxed);
      if (!segment) segment = look_up_claimed(tail, count);
      publish(segment, tail, items.data(), count);
      wait_.pushed();
      return count;
    }
    tail = let_others_claim();
  }
}

template <class T, class Wait>
template <class Rep, class Period>
Result<void> ElasticMpscQueue<T, Wait>::push_for(T&& item,
                                                 std::chrono::duration<Rep, Period> timeout,
                                                 std::size_t reserve) requires(Wait::kCanSleep) {
  Result<void> pushed = push_once(item, reserve);
  if (pushed || pushed.error() != Error::full) return pushed;
  const Deadline deadline = base::deadline_after(timeout);
  while (std::chrono::steady_clock::now() < deadline) {
    wait_.sleep_until_popped(deadline, [&] {
      pushed = push_once(item, reserve);
      return !pushed && pushed.error() == Error::full;
    });
    if (pushed || pushed.error() != Error::full) return pushed;
  }
  full_.fetch_add(1, std::memory_order_relaxed);
  return Error::timed_out;
}

/// The segment of the `count` positions from `tail` on, which the caller is about to claim; null if
/// the window does not cover them.
template <class T, class Wait>
SegmentRef ElasticMpscQueue<T, Wait>::known_room(std::uint64_t tail, std::size_t count,
                                                 std::size_t reserve) const {
  if (reserve != 0 && !fits(tail, count, bound_for(reserve))) return {};
  return window_.find(tail, count);
}

/// After a claim that the window did not cover: moves the window to the segment of the last
/// position. Returns the segment of the first.
template <class T, class Wait>
SegmentRef ElasticMpscQueue<T, Wait>::look_up_claimed(std::uint64_t position, std::size_t count) {
  const std::uint64_t last = position + count - 1;
  const std::uint64_t room =
      head_seen_.load(std::memory_order_relaxed) + capacity_.load(std::memory_order_relaxed);
  const std::uint64_t segment_end = (layout_.number(last) + 1) * layout_.slots();
  Wait::step();
  window_.move(segment_at(last), std::min(room, segment_end));
  return segment_at(position);
}

// ---- publish ----

/// Fills `count` claimed slots, the first of them in `segment`.
template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::publish(SegmentRef segment, std::uint64_t position, T* items,
                                        std::size_t count) {
  for (;;) {
    const auto slot = layout_.slot(segment, position);
    const std::size_t run = std::min(count, slot.run);
    Wait::step();
    std::uninitialized_move_n(items, run, slot.item);
    for (std::size_t i = 0; i < run; ++i) {
      // release: partner of scan_ready().
      slot.ready[i].store(segment.generation(), std::memory_order_release);
    }
    if (run == count) return;
    count -= run;
    items += run;
    position += run;
    segment = segment_at(position);
  }
}

// ---- pop ----

template <class T, class Wait>
Result<T> ElasticMpscQueue<T, Wait>::try_pop() {
  if (ready_run(1) == 0) return Error::empty;
  const Release release{*this, std::span<T>(layout_.slot(segment_, front_).item, 1)};
  return std::move(release.run.front());
}

template <class T, class Wait>
bool ElasticMpscQueue<T, Wait>::try_pop(T& item) requires(std::is_nothrow_move_assignable_v<T>) {
  if (ready_run(1) == 0) return false;
  const Release release{*this, std::span<T>(layout_.slot(segment_, front_).item, 1)};
  item = std::move(release.run.front());
  return true;
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
  std::size_t popped = 0;
  while (popped < count) {
    const std::size_t run = ready_run(count - popped);
    if (run == 0) break;
    const Release release{*this, std::span<T>(layout_.slot(segment_, front_).item, run)};
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
  const Deadline deadline = base::deadline_after(timeout);
  while (std::chrono::steady_clock::now() < deadline) {
    wait_.sleep_until_pushed(deadline, [this] { return empty_for_consumer(); });
    if (Result<T> popped = try_pop()) return popped;
  }
  return Error::timed_out;
}

template <class T, class Wait>
std::vector<T> ElasticMpscQueue<T, Wait>::drain() {
  std::vector<T> items;
  const std::size_t waiting = len();
  items.reserve(waiting);
  pop_batch(waiting, [&items](T& item) { items.push_back(std::move(item)); });
  return items;
}

template <class T, class Wait>
template <class Look>
void ElasticMpscQueue<T, Wait>::for_each(Look&& look) const
    requires(std::is_invocable_v<Look&, const T&>) {
  // Only the consumer frees a segment that holds positions from the front on.
  for (std::uint64_t position = front_;;) {
    const SegmentRef segment = segment_at(position);
    if (!segment) return;
    const Slot slot = layout_.slot(segment, position);
    for (std::size_t i = 0; i < slot.run; ++i) {
      // acquire: partner of publish().
      if (slot.ready[i].load(std::memory_order_acquire) != segment.generation()) return;
      look(std::as_const(slot.item[i]));
    }
    position += slot.run;
  }
}

/// How many slots from the front on are ready, at most `count`; all in one segment.
template <class T, class Wait>
std::size_t ElasticMpscQueue<T, Wait>::ready_run(std::size_t count) {
  if (ready_ == 0) scan_ready(count == 1 ? kPauses : kPausesOfBatch);
  return std::min(ready_, count);
}

template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::scan_ready(int pauses) {
  if (!segment_) {
    segment_ = segment_at(front_);
    if (!segment_) return look_for_calm(CalmWatch::found_nothing, 0);
  }
  const auto slot = layout_.slot(segment_, front_);
  const std::uint8_t generation = segment_.generation();
  const auto look_on = [&](std::size_t run) {
    // acquire: partner of publish().
    while (run < slot.run && slot.ready[run].load(std::memory_order_acquire) == generation) ++run;
    return run;
  };
  std::size_t run = look_on(0);
  if (run < slot.run && stream_.flows()) {
    // The producers are still writing the cache line that was just read, and the read took it from
    // their cores. A pause lets them fill it, so that it moves between cores less often.
    base::pause(pauses);
    const std::size_t seen = run;
    run = look_on(run);
    stream_.paused(run > seen);
  }
  stream_.saw(run, run == slot.run);
  ready_ = run;
  if (run == 0) return look_for_calm(CalmWatch::found_nothing, 0);
  if (run < slot.run) return note_peak(run);
  // More items may wait than were scanned. Reading the tail takes its cache line from the
  // producers, so this is not done every time.
  if (front_ >= next_peak_look_) {
    next_peak_look_ = front_ + kPeakLookSlots;
    const std::size_t waiting = len();
    note_peak(waiting);
    calm_.saw(waiting);
  }
}

/// Releases `count` slots from the front on, whose items have been destroyed.
template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::advance(std::size_t count) {
  ready_ -= count;
  front_ += count;
  if (layout_.number(front_) != layout_.number(front_ - 1)) leave_segment();
  Wait::step();
  // release: partner of make_room(), which sees the directory's change too.
  head_.store(front_, std::memory_order_release);
  wait_.popped();
}

// ---- figures ----

template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::note_peak(std::size_t len) {
  std::size_t peak = peak_.load(std::memory_order_relaxed);
  while (len > peak && !peak_.compare_exchange_weak(peak, len, std::memory_order_relaxed)) {
  }
}

template <class T, class Wait>
std::size_t ElasticMpscQueue<T, Wait>::len() const {
  return length_between<Wait>(head_, tail_);
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
