// ElasticMpscQueue's memory management: pushes grow it; the consumer recycles, pools or frees
// segments. Read elastic_mpsc_queue.hpp first.
#pragma once

namespace millrace::queue {

// ---- producers ----

/// Whether `count` positions from `tail` on lie below the capacity and the bound, judged by an
/// earlier value of the head. A tail that is older than that head makes `used` huge: false.
template <class T, class Wait>
bool ElasticMpscQueue<T, Wait>::fits(std::uint64_t tail, std::size_t count,
                                     std::size_t bound) const {
  // acquire: partner of the release in make_room(), and through it of the one in advance():
  // segments that the consumer removed from the directory before it stored that head are seen as
  // removed.
  const std::uint64_t used = tail - head_seen_.load(std::memory_order_acquire);
  const std::size_t limit = std::min(bound, capacity_.load(std::memory_order_relaxed));
  return used < limit && count <= limit - used;
}

/// The slow path of a claim: if there is no room by the cached head, reads the consumer's head,
/// grows the capacity, reduces `count` to what may be claimed, and installs the segments for it. A
/// `tail` that turns out to be old is read again.
template <class T, class Wait>
auto ElasticMpscQueue<T, Wait>::make_room(std::uint64_t& tail, std::size_t& count,
                                          std::size_t bound) -> Room {
  if (fits(tail, count, bound) && installed(tail, count)) return Room::yes;
  const std::uint64_t head = head_.load(std::memory_order_acquire);  // partner: advance()
  // This may overwrite a newer head stored by another producer; the older value only sends the next
  // push here.
  Wait::step();
  head_seen_.store(head, std::memory_order_release);
  if (head > tail) {
    tail = tail_.load(std::memory_order_relaxed);
    return Room::look_again;
  }
  const std::uint64_t used = tail - head;
  if (used >= bound) return Room::full;
  count = std::min<std::size_t>(count, bound - used);
  grow_capacity(used + count);
  const bool installed = install_segments(tail, count);
  return installed ? Room::yes : Room::out_of_memory;
}

template <class T, class Wait>
bool ElasticMpscQueue<T, Wait>::installed(std::uint64_t tail, std::size_t count) const {
  const std::uint64_t last = layout_.number(tail + count - 1);
  for (std::uint64_t number = layout_.number(tail); number <= last; ++number) {
    if (entry(number).load(std::memory_order_relaxed) == 0) return false;
  }
  return true;
}

template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::grow_capacity(std::size_t needed) {
  std::size_t capacity = capacity_.load(std::memory_order_relaxed);
  while (capacity < needed) {
    const std::size_t grown = grown_capacity(config_, capacity);
    if (capacity_.compare_exchange_weak(capacity, grown, std::memory_order_relaxed)) {
      resizes_.fetch_add(1, std::memory_order_relaxed);
      growths_.fetch_add(1, std::memory_order_relaxed);
      note_peak(capacity);  // at least so many items wait, or there would be no growth
      capacity = grown;
    }
  }
}

/// Puts a segment into each empty directory entry of the `count` positions from `tail` on; false if
/// memory is out. If `tail` is old by now, a segment may get into an entry that no claim needs yet,
/// which is as good as one that the consumer recycled there.
template <class T, class Wait>
bool ElasticMpscQueue<T, Wait>::install_segments(std::uint64_t tail, std::size_t count) {
  const std::uint64_t last = layout_.number(tail + count - 1);
  for (std::uint64_t number = layout_.number(tail); number <= last; ++number) {
    if (entry(number).load(std::memory_order_relaxed) != 0) continue;
    const SegmentRef spare = take_or_make();
    if (!spare) return false;
    Wait::step();
    std::uintptr_t none = 0;
    // release: partner of segment_at().
    if (entry(number).compare_exchange_strong(none, spare.bits(), std::memory_order_release,
                                              std::memory_order_relaxed)) {
      growths_.fetch_add(1, std::memory_order_relaxed);
    } else {
      keep_or_free(spare);
    }
  }
  return true;
}

template <class T, class Wait>
SegmentRef ElasticMpscQueue<T, Wait>::take_or_make() {
  if (const SegmentRef spare = pool_.take()) return spare;
  const SegmentRef fresh = layout_.make();
  if (fresh) segments_.fetch_add(1, std::memory_order_relaxed);
  return fresh;
}

template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::keep_or_free(SegmentRef segment) {
  if (!pool_.give(segment)) free(segment);
}

template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::free(SegmentRef segment) {
  layout_.free(segment);
  segments_.fetch_sub(1, std::memory_order_relaxed);
}

// ---- the consumer ----

/// Called when the front segment's last slot was consumed. All its positions were published, so no
/// producer accesses it any more.
template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::leave_segment() {
  // Ordered by the store of head_ that follows.
  entry(layout_.number(front_) - 1).store(0, std::memory_order_relaxed);
  Wait::step();
  const SegmentRef left = std::exchange(segment_, SegmentRef()).next_use();
  // Not less than front_: the consumer has seen the publishes that followed the claims.
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  look_for_calm(CalmWatch::left_segment, tail - front_);
  if (recycle(left, tail)) return;
  if (calm_.calm()) return free(left);
  keep_or_free(left);
}

/// Puts the segment into the directory behind the tail if there are fewer than initial_capacity
/// needs.
template <class T, class Wait>
bool ElasticMpscQueue<T, Wait>::recycle(SegmentRef segment, std::uint64_t tail) {
  const std::uint64_t front = layout_.number(front_);
  const std::uint64_t first = layout_.number(tail);
  const std::uint64_t end = std::min(first + 1 + (config_.initial_capacity - 1) / layout_.slots(),
                                     front + directory_mask_);
  for (std::uint64_t number = std::max(recycled_end_, first); number <= end; ++number) {
    std::uintptr_t none = 0;
    // release: partner of segment_at().
    const bool placed = entry(number).compare_exchange_strong(
        none, segment.bits(), std::memory_order_release, std::memory_order_relaxed);
    recycled_end_ = number + 1;
    if (placed) return true;
  }
  return false;
}

/// In a calm, each call frees one pooled segment; at the end of each calm stretch the capacity is
/// lowered.
template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::look_for_calm(CalmWatch::Look look, std::size_t len) {
  const std::uint64_t growths = growths_.load(std::memory_order_relaxed);
  if (const auto deepest = calm_.look(look, growths, len)) shrink_capacity(*deepest);
  if (!calm_.calm()) return;
  if (const SegmentRef spare = pool_.take()) free(spare);
}

/// Lowers the capacity as far as shrink_threshold allows for a queue that holds at most `used`
/// items.
template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::shrink_capacity(std::size_t used) {
  std::size_t capacity = capacity_.load(std::memory_order_relaxed);
  while (capacity > config_.min_capacity) {
    const double threshold = config_.shrink_threshold * static_cast<double>(capacity);
    if (static_cast<double>(used) >= threshold) return;
    const std::size_t shrunk = std::max(shrunk_capacity(config_, capacity), used);
    if (!capacity_.compare_exchange_weak(capacity, shrunk, std::memory_order_relaxed)) continue;
    resizes_.fetch_add(1, std::memory_order_relaxed);
    capacity = shrunk;
  }
}

}  // namespace millrace::queue
