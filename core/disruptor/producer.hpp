// The one producer of a ring: claim events, fill them, publish them.
//
//     auto claim = producer.claim(16);                  // waits for the gate
//     producer.for_each(claim, [](Event& e, std::int64_t sequence) { ... });
//     producer.publish(claim);
//
// Thread contract: one thread at a time. Claims are published in the order they were made.
// What holds: an event that some last stage has not passed is never handed out; the gate is looked
// at only when the last look no longer suffices.
#pragma once

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/disruptor/consumer.hpp"
#include "core/disruptor/ring.hpp"

namespace millrace::disruptor {

// Sequences first..last, both included. Empty when nothing could be claimed.
struct Claim {
  std::int64_t first = 0;
  std::int64_t last = before_first;
  std::int64_t size() const { return last - first + 1; }
  explicit operator bool() const { return first <= last; }
};

// Growing the ring when the gate stays closed. Off by default, and best left off.
//
// WARNING: a ring that grows hides a consumer that is too slow instead of showing it. It only buys
// time: memory doubles with each step (old segments stay until the ring ends), latency grows with
// it, and at `capacity_max` the producer waits as before. It is meant for rare, short bursts.
struct Growth {
  std::chrono::nanoseconds after{0};  // how long a claim waits before the ring doubles; 0: never
  std::size_t capacity_max = 0;
};

template <class Event, class Wait>
class Producer {
 public:
  Producer(Pipeline<Wait>& pipeline, Ring<Event>& ring, Growth growth)
      : pipeline_(pipeline),
        ring_(ring),
        growth_(growth),
        cursor_(ring.first_segment()),
        capacity_(static_cast<std::int64_t>(ring.capacity())) {
    limit_ = capacity_ - 1;
  }

  // Waits until `count` events are free. Empty once the pipeline has stopped, or when `count` is
  // not in 1..capacity.
  Claim claim(std::int64_t count = 1) {
    if (Claim claim = take(count)) return claim;
    if (growth_.after.count() == 0) return wait_for(count, never);
    for (;;) {
      if (Claim claim = wait_for(count, Clock::now() + growth_.after)) return claim;
      if (stopped() || count < 1) return {};
      if (!grow()) return wait_for(count, never);
    }
  }

  // Never waits.
  Claim try_claim(std::int64_t count = 1) {
    if (Claim claim = take(count)) return claim;
    if (stopped()) return {};
    look_at_gate();
    return take(count);
  }

  // Waits no longer than `timeout`.
  Claim claim_for(std::int64_t count, std::chrono::nanoseconds timeout) {
    if (Claim claim = take(count)) return claim;
    return wait_for(count, Clock::now() + timeout);
  }

  // Everything in the claim becomes visible at once.
  void publish(const Claim& claim) {
    assert(claim.first == published_ + 1 && "claims are published in order");
    published_ = claim.last;
    const bool ordered = pipeline_.wait.sleeps();
    pipeline_.cursor.store(claim.last, ordered);
    if (!ordered) return;
    for (Stage* stage : first_stages_) {
      stage->wake_workers();
      if (stage->left()) stage->wake_followers(pipeline_.producer_parker);
    }
  }

  // A claimed event. For claims made one after the other this is one index.
  Event& operator[](std::int64_t sequence) { return ring_.at(sequence); }

  // fill(Event&, sequence) for each event of the claim, in runs of neighbours.
  template <class Fill>
  void for_each(const Claim& claim, Fill&& fill) {
    for (std::int64_t at = claim.first; at <= claim.last;) {
      for (Event& event : cursor_.run(at, claim.last)) fill(event, at++);
    }
  }

  // Claims one event, fills it and publishes it; false once the pipeline has stopped.
  template <class Fill>
  bool publish_with(Fill&& fill) {
    const Claim one = claim(1);
    if (!one) return false;
    fill(cursor_.at(one.first));
    publish(one);
    return true;
  }

  std::size_t capacity() const { return static_cast<std::size_t>(capacity_); }
  std::int64_t published() const { return published_; }

  // Before start, after each new stage: who stands at either end of the graph now.
  void follow_graph() {
    first_stages_.clear();
    last_stages_.clear();
    for (const auto& stage : pipeline_.stages) {
      if (stage->is_first()) first_stages_.push_back(stage.get());
      if (stage->is_last()) last_stages_.push_back(stage.get());
    }
  }

 private:
  bool stopped() const { return pipeline_.control.state() != Control::State::running; }

  Claim take(std::int64_t count) {
    if (count < 1 || claimed_ + count > limit_) return {};
    const Claim claim{claimed_ + 1, claimed_ + count};
    claimed_ = claim.last;
    return claim;
  }

  // The gate is the lowest of the last stages; with nobody there, what is published is free again.
  void look_at_gate() {
    std::int64_t gate = idle;
    for (const Stage* stage : last_stages_) gate = std::min(gate, stage->passed());
    if (gate == idle) gate = published_;
    limit_ = std::max(limit_, gate + capacity_);
  }

  Claim wait_for(std::int64_t count, Clock::time_point deadline) {
    if (count < 1 || count > capacity_) return {};
    Claim claim;
    pipeline_.wait.wait(
        pipeline_.producer_parker,
        [&] {
          if (stopped()) return true;
          look_at_gate();
          claim = take(count);
          return static_cast<bool>(claim);
        },
        deadline);
    return claim;
  }

  bool grow() {
    const std::size_t larger = capacity() * 2;
    if (larger > growth_.capacity_max || larger > Ring<Event>::capacity_limit) return false;
    ring_.append_segment(claimed_ + 1, larger);
    capacity_ = static_cast<std::int64_t>(larger);
    return true;
  }

  Pipeline<Wait>& pipeline_;
  Ring<Event>& ring_;
  const Growth growth_;
  std::vector<Stage*> first_stages_;
  std::vector<Stage*> last_stages_;
  RingCursor<Event> cursor_;
  std::int64_t capacity_;
  std::int64_t claimed_ = before_first;
  std::int64_t published_ = before_first;
  std::int64_t limit_;  // may be claimed without another look at the gate
};

}  // namespace millrace::disruptor
