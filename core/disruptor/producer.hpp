// The one producer of a ring: claim events, fill them, publish them.
//
//     auto& producer = line.producer();
//     if (const Result<Claim> claim = producer.claim(16)) {       // waits until 16 events are free
//       producer.for_each(*claim, [](Event& e, std::int64_t sequence) { ... });
//       producer.publish(*claim).value();                         // all 16 become visible at once
//     }
//     producer.publish_each(5'000, fill).value();                 // any number, also above
//     capacity
//
// Thread contract: one thread at a time; the hand-over to another thread must be synchronised.
// Invariants:
//   - an event that some last stage has not passed is never handed out; the gate (the lowest of the
//     last stages) is read again only if its last known value does not suffice;
//   - claims are published in the order in which they were made, each once, by the producer that
//     made them; a call that breaks this returns an error and makes nothing visible;
//   - a claim that is not published holds up all later ones, until it is given back.
#pragma once

#include <algorithm>
#include <bit>
#include <cassert>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/base/clock.hpp"
#include "core/base/result.hpp"
#include "core/disruptor/consumer.hpp"
#include "core/disruptor/ring.hpp"

namespace millrace::disruptor {

using base::Error;
using base::Result;

// Consecutive events that the producer may fill: sequences first() to last(), both included. Only a
// Producer makes one, so there is no empty claim.
class Claim {
 public:
  std::int64_t first() const { return first_; }
  std::int64_t last() const { return last_; }
  std::int64_t size() const { return last_ - first_ + 1; }

 private:
  template <class, class>
  friend class Producer;
  Claim(const void* producer, std::int64_t first, std::int64_t last)
      : producer_(producer), first_(first), last_(last) {
    assert(first >= 0 && first <= last);
  }

  const void* producer_;
  std::int64_t first_;
  std::int64_t last_;
};

// Growing the ring when the gate stays closed. Off by default, and best left off.
//
// WARNING: a ring that grows hides a consumer that is too slow. It only postpones the wait: memory
// doubles with each step (old segments are kept until the ring is destroyed), latency grows with
// it, and at `capacity_max` the producer waits as before. It is meant for rare, short bursts.
struct Growth {
  std::chrono::nanoseconds after{0};  // how long a claim waits before the ring doubles; 0: never
  std::size_t capacity_max = 0;       // at least twice the ring's capacity; 0: never
};

template <class Event, class Wait>
class Producer {
 public:
  // Throws std::invalid_argument for a growth that could never happen.
  Producer(Pipeline<Wait>& pipeline, Ring<Event>& ring, Growth growth)
      : pipeline_(pipeline),
        ring_(ring),
        growth_(growth),
        capacity_(static_cast<std::int64_t>(ring.capacity())),
        limit_(capacity_ - 1) {
    if (growth.after.count() == 0 && growth.capacity_max == 0) return;
    if (growth.after.count() <= 0 || growth.capacity_max / 2 < ring.capacity() ||
        growth.capacity_max > Ring<Event>::capacity_limit) {
      throw std::invalid_argument(
          "growth needs `after` above 0 and `capacity_max` from twice the capacity to 2^30");
    }
  }
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  // Waits until `count` events are free. Errors: claim_empty (count below 1), claim_too_large
  // (together with the events that are claimed and not published yet, more than the ring holds: see
  // publish_each), stopped.
  Result<Claim> claim(std::int64_t count = 1) {
    if (is_free(count)) return take(count);
    if (growth_.after.count() == 0) return wait_for(count, base::never);
    return claim_or_grow(count);
  }

  // Never waits, never grows the ring. Errors: those of claim(), or full.
  Result<Claim> try_claim(std::int64_t count = 1) {
    if (is_free(count)) return take(count);
    if (const Error fault = fault_of(count); fault != Error::none) return fault;
    look_at_gate();
    return is_free(count) ? Result<Claim>(take(count)) : Error::full;
  }

  // Waits no longer than `timeout`, never grows the ring. Errors: those of claim(), or timed_out.
  template <class Rep, class Period>
  Result<Claim> claim_for(std::int64_t count, std::chrono::duration<Rep, Period> timeout) {
    if (is_free(count)) return take(count);
    return wait_for(count, base::deadline_after(timeout));
  }

  // Makes all events of the claim visible at once. Errors, after which nothing has become visible:
  // claim_of_another (another Disruptor's), claim_out_of_order (an older claim has not been
  // published yet, or this one was published or given back already), stopped.
  Result<void> publish(const Claim& claim) {
    if (claim.producer_ != this) return Error::claim_of_another;
    if (claim.first_ != published_ + 1 || claim.last_ > claimed_) return Error::claim_out_of_order;
    if (stopped()) return Error::stopped;
    published_ = claim.last_;
    const bool ordered = pipeline_.wait.sleeps();
    pipeline_.cursor.store(claim.last_, ordered);
    if (ordered) wake_first_stages();
    return {};
  }

  // Undoes the newest claim instead of publishing it. Errors: claim_of_another, claim_out_of_order
  // (a later one was made, or this one is published or given back already).
  Result<void> give_back(const Claim& claim) {
    if (claim.producer_ != this) return Error::claim_of_another;
    if (claim.last_ != claimed_ || claim.first_ <= published_) return Error::claim_out_of_order;
    claimed_ = claim.first_ - 1;
    return {};
  }

  // A claimed event that is not published yet. Any other sequence aborts the program: consumers may
  // be reading that event.
  Event& operator[](std::int64_t sequence) {
    if (sequence <= published_ || sequence > claimed_) not_claimed();
    return ring_.at(sequence);
  }

  // Calls fill(Event&, sequence) for each event of a claim that is not published yet; any other
  // claim aborts the program, as above.
  template <class Fill>
  void for_each(const Claim& claim, Fill&& fill) {
    if (claim.producer_ != this || claim.first_ <= published_ || claim.last_ > claimed_) {
      not_claimed();
    }
    for (std::int64_t at = claim.first_; at <= claim.last_;) {
      for (Event& event : ring_.run(at, claim.last_)) fill(event, at++);
    }
  }

  // Claims one event, fills it by fill(Event&) and publishes it. Errors: stopped,
  // claim_out_of_order (an older claim has not been published yet). An exception of `fill` is
  // passed on. In all three cases nothing is published.
  template <class Fill>
  Result<void> publish_with(Fill&& fill) {
    return claim_and_publish(1, [&](const Claim& one) { fill(ring_.at(one.first())); });
  }

  // The same for `count` events and fill(Event&, sequence). Up to the ring's capacity they become
  // visible at once; more are claimed and published in parts of half the ring. Errors: claim_empty
  // (count below 0) and those of publish_with(); published() is then the last event published.
  template <class Fill>
  Result<void> publish_each(std::int64_t count, Fill&& fill) {
    if (count < 0) return Error::claim_empty;
    const std::int64_t part = count <= capacity_ ? count : std::max<std::int64_t>(1, capacity_ / 2);
    while (count > 0) {
      const std::int64_t size = std::min(count, part);
      const auto fill_all = [&](const Claim& claim) { for_each(claim, fill); };
      if (const auto done = claim_and_publish(size, fill_all); !done) return done;
      count -= size;
    }
    return {};
  }

  std::size_t capacity() const { return static_cast<std::size_t>(capacity_); }
  // The last sequence that was published; -1 before the first.
  std::int64_t published() const { return published_; }

 private:
  template <class, class>
  friend class Disruptor;

  // Finds the first and the last stages of the graph. Before start, after each new stage.
  void follow_graph() {
    assert(claimed_ == before_first);
    first_stages_.clear();
    last_stages_.clear();
    for (const auto& stage : pipeline_.stages) {
      if (stage->is_first()) first_stages_.push_back(stage.get());
      if (stage->is_last()) last_stages_.push_back(stage.get());
    }
  }
  bool has_claimed() const { return claimed_ != before_first; }

  [[noreturn, gnu::cold, gnu::noinline]] static void not_claimed() {
    std::fputs("millrace::disruptor: access to an event that is not claimed\n", stderr);
    std::abort();
  }

  bool stopped() const { return pipeline_.control.state() != Control::State::running; }

  bool is_free(std::int64_t count) const {
    assert(published_ <= claimed_ && claimed_ <= limit_);
    return count >= 1 && count <= limit_ - claimed_ && !stopped();
  }

  Claim take(std::int64_t count) {
    const Claim claim(this, claimed_ + 1, claimed_ + count);
    claimed_ = claim.last_;
    return claim;
  }

  // Why a claim of `count` cannot succeed, however long it waits. Events that are claimed and not
  // published yet cannot become free meanwhile.
  Error fault_of(std::int64_t count) const {
    if (count < 1) return Error::claim_empty;
    if (count > capacity_ - (claimed_ - published_)) return Error::claim_too_large;
    return stopped() ? Error::stopped : Error::none;
  }

  // Reads the gate. If every last stage has left, all that is published is free again.
  void look_at_gate() {
    if (last_stages_.empty()) return;  // no graph yet: no event may be reused
    std::int64_t gate = idle;
    for (const Stage* stage : last_stages_) gate = std::min(gate, stage->passed());
    if (gate == idle) gate = published_;
    limit_ = std::max(limit_, gate + capacity_);
  }

  Result<Claim> wait_for(std::int64_t count, base::Deadline deadline) {
    if (const Error fault = fault_of(count); fault != Error::none) return fault;
    pipeline_.wait.wait(
        pipeline_.producer_parker,
        [&] {
          if (stopped()) return true;
          look_at_gate();
          return is_free(count);
        },
        deadline);
    if (is_free(count)) return take(count);
    return stopped() ? Error::stopped : Error::timed_out;
  }

  Result<Claim> claim_or_grow(std::int64_t count) {
    // A claim that is larger than the ring cannot be satisfied by waiting: the ring grows at once,
    // if its limit allows.
    const std::int64_t held = claimed_ - published_;
    const auto largest = static_cast<std::int64_t>(std::bit_floor(growth_.capacity_max));
    if (count >= 1 && count <= largest - held && !stopped()) {
      while (count > capacity_ - held && grow()) {
      }
    }
    for (;;) {
      const auto claim = wait_for(count, base::deadline_after(growth_.after));
      if (claim || claim.error() != Error::timed_out) return claim;
      if (!grow()) return wait_for(count, base::never);
    }
  }

  // False at the limit, or if memory is out: then the claim waits as without growth.
  bool grow() {
    const std::size_t larger = capacity() * 2;
    if (larger > growth_.capacity_max) return false;
    try {
      ring_.append_segment(claimed_ + 1, larger);
    } catch (const std::bad_alloc&) {
      return false;
    }
    capacity_ = static_cast<std::int64_t>(larger);
    return true;
  }

  template <class Fill>
  Result<void> claim_and_publish(std::int64_t count, Fill&& fill) {
    const Result<Claim> claimed = claim(count);
    if (!claimed) return claimed.error();
    try {
      fill(*claimed);
    } catch (...) {
      (void)give_back(*claimed);
      throw;
    }
    const Result<void> published = publish(*claimed);
    if (!published) (void)give_back(*claimed);
    return published;
  }

  // To be called after a seq_cst store of the cursor.
  void wake_first_stages() {
    for (Stage* stage : first_stages_) {
      stage->wake_workers();
      if (stage->left()) stage->wake_followers(pipeline_.producer_parker);
    }
  }

  Pipeline<Wait>& pipeline_;
  Ring<Event>& ring_;
  const Growth growth_;
  std::vector<Stage*> first_stages_;
  std::vector<Stage*> last_stages_;
  std::int64_t capacity_;
  std::int64_t claimed_ = before_first;    // the last sequence claimed
  std::int64_t published_ = before_first;  // the last sequence that consumers may see
  std::int64_t limit_;  // sequences up to it may be claimed without reading the gate again
};

}  // namespace millrace::disruptor
