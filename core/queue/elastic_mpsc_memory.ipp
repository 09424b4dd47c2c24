// ElasticMpscQueue's memory: how pushes grow it, and how the consumer recycles, keeps and gives
// back. Read elastic_mpsc_queue.hpp first.
#pragma once

namespace millrace::queue {

// ---- producers ----

/// Whether `count` positions from `tail` on lie below the capacity and the bound, by a head that
/// was once true. A tail that is older than that head gives a huge `used`, and false.
template <class T, class Wait>
bool ElasticMpscQueue<T, Wait>::fits(std::uint64_t tail, std::size_t count,
                                     std::size_t bound) const {
  // acquire: partner of the release in make_room(), and through it of the one in advance(); what
  // the consumer took out of the directory before that head is seen as gone.
  const std::uint64_t used = tail - head_seen_.load(std::memory_order_acquire);
  const std::size_t limit = std::min(bound, capacity_.load(std::memory_order_relaxed));
  return used < limit && count <= limit - used;
}

/// The slow half of a claim: where there is no room by the head that was seen last, reads the
/// consumer's, grows the capacity, cuts `count` to what may be claimed and puts segments under it.
/// A `tail` that proves old is read again.
template <class T, class Wait>
auto ElasticMpscQueue<T, Wait>::make_room(std::uint64_t& tail, std::size_t& count,
                                          std::size_t bound) -> Room {
  if (fits(tail, count, bound) && installed(tail, count)) return Room::kYes;
  const std::uint64_t head = head_.load(std::memory_order_acquire);  // partner: advance()
  // Another producer may just have stored a newer head; an older one only makes the next look here.
  Wait::step();
  head_seen_.store(head, std::memory_order_release);
  if (head > tail) {
    tail = tail_.load(std::memory_order_relaxed);
    return Room::kLookAgain;
  }
  const std::uint64_t used = tail - head;
  if (used >= bound) return Room::kFull;
  count = std::min<std::size_t>(count, bound - used);
  grow_capacity(used + count);
  const bool installed = install_segments(tail, count);
  return installed ? Room::kYes : Room::kOutOfMemory;
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
      note_peak(capacity);  // that many were waiting, or this would not be needed
      capacity = grown;
    }
  }
}

/// Puts a segment into each empty entry under `count` positions from `tail` on; false when memory
/// is out. `tail` may be old by now: then a segment lands in an entry that nobody asked for yet,
/// which is as good as one that the consumer put there.
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

/// The front segment's last slot was consumed. All its positions were published, so no producer is
/// in it any more.
template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::leave_segment() {
  // Ordered by the store of head_ that follows.
  entry(layout_.number(front_) - 1).store(0, std::memory_order_relaxed);
  Wait::step();
  const SegmentRef left = std::exchange(segment_, SegmentRef()).next_use();
  // Not less than front_: the consumer saw what was published behind the claims.
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  look_for_calm(CalmWatch::kLeftSegment, tail - front_);
  if (recycle(left, tail)) return;
  if (calm_.calm()) return free(left);
  keep_or_free(left);
}

/// Puts the segment behind the tail if fewer are there than initial_capacity needs.
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

/// In a calm, each look gives a spare segment back, and now and then one gives capacity back.
template <class T, class Wait>
void ElasticMpscQueue<T, Wait>::look_for_calm(CalmWatch::Look look, std::size_t len) {
  const std::uint64_t growths = growths_.load(std::memory_order_relaxed);
  if (const auto deepest = calm_.look(look, growths, len)) shrink_capacity(*deepest);
  if (!calm_.calm()) return;
  if (const SegmentRef spare = pool_.take()) free(spare);
}

/// As far as shrink_threshold allows for a queue that holds `used` at most.
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
