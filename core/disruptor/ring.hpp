// The ring's memory: a power of two of events, allocated once and reused.
//
// Sequence s is stored at s & mask. The ring grows by appending a segment that is twice as large:
// sequences below the old segment's `end` are stored in the old one, the others in the next. The
// old segment is kept until the ring is destroyed, since a slow consumer may still read it; as each
// is twice as large as the one before, all old ones together are never larger than the one in use.
//
// Thread contract: only the producer calls append_segment(), at() and run(). A consumer may access
// the events that the stages before it have passed, through a RingCursor of its own.
// Invariant: a segment's `end` is the next segment's `first`; a segment never moves.
#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/disruptor/sequence.hpp"

namespace millrace::disruptor {

inline constexpr std::int64_t open_end = std::numeric_limits<std::int64_t>::max();

template <class Event>
struct Segment {
  Segment(std::int64_t first_sequence, std::size_t capacity)
      : first(first_sequence),
        mask(static_cast<std::int64_t>(capacity) - 1),
        events(std::make_unique<Event[]>(capacity)) {}

  const std::int64_t first;
  const std::int64_t mask;
  const std::unique_ptr<Event[]> events;
  // Set by the producer before it publishes the first sequence of the next segment: a thread that
  // has seen that sequence published also sees these two, so relaxed is enough.
  std::atomic<std::int64_t> end{open_end};
  Segment* next = nullptr;
};

// A consumer's current segment in the chain. It only moves forward, as the consumer's sequences do.
template <class Event>
class RingCursor {
 public:
  explicit RingCursor(Segment<Event>* segment) : segment_(segment) {}

  // The longest run of events adjacent in memory that starts at `first` and does not go past
  // `last`.
  std::span<Event> run(std::int64_t first, std::int64_t last) {
    assert(segment_->first <= first && first <= last);
    std::int64_t end = segment_->end.load(std::memory_order_relaxed);
    while (first >= end) {
      segment_ = segment_->next;
      end = segment_->end.load(std::memory_order_relaxed);
    }
    const std::int64_t offset = first & segment_->mask;
    std::int64_t count = segment_->mask + 1 - offset;
    if (last - first + 1 < count) count = last - first + 1;
    if (end - first < count) count = end - first;
    return {segment_->events.get() + offset, static_cast<std::size_t>(count)};
  }

 private:
  Segment<Event>* segment_;
};

template <class Event>
class Ring {
 public:
  // Throws std::invalid_argument if `capacity` is not allowed.
  explicit Ring(std::size_t capacity) {
    if (capacity == 0 || (capacity & (capacity - 1)) != 0 || capacity > capacity_limit) {
      throw std::invalid_argument("ring capacity must be a power of two, at most 2^30");
    }
    segments_.push_back(std::make_unique<Segment<Event>>(0, capacity));
    newest_ = segments_.back().get();
  }

  static constexpr std::size_t capacity_limit = std::size_t{1} << 30;

  std::size_t capacity() const { return static_cast<std::size_t>(newest_->mask) + 1; }
  Segment<Event>* first_segment() const { return segments_.front().get(); }

  // Stores sequences from `first` on in a new segment of `capacity` events. If `first` lies before
  // the newest segment, since claims were given back, the new one begins where that began: what is
  // stored in older segments stays there. If it throws std::bad_alloc, nothing has changed.
  void append_segment(std::int64_t first, std::size_t capacity) {
    assert(capacity > this->capacity());
    first = std::max(first, newest_->first);
    segments_.push_back(std::make_unique<Segment<Event>>(first, capacity));
    Segment<Event>& old = *std::exchange(newest_, segments_.back().get());
    old.next = newest_;
    old.end.store(first, std::memory_order_relaxed);
  }

  // The producer's access to its events. Unlike with a RingCursor, sequences may go back: claims
  // may lie on both sides of a segment's end and be filled in any order.
  Event& at(std::int64_t sequence) {
    Segment<Event>& segment = segment_of(sequence);
    return segment.events[static_cast<std::size_t>(sequence & segment.mask)];
  }
  std::span<Event> run(std::int64_t first, std::int64_t last) {
    return RingCursor<Event>(&segment_of(first)).run(first, last);
  }

 private:
  Segment<Event>& segment_of(std::int64_t sequence) {
    if (sequence >= newest_->first) [[likely]]
      return *newest_;
    std::size_t i = segments_.size() - 1;
    while (sequence < segments_[i]->first) --i;
    return *segments_[i];
  }

  std::vector<std::unique_ptr<Segment<Event>>> segments_;
  Segment<Event>* newest_;
};

}  // namespace millrace::disruptor
