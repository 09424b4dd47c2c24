// The loop of one consumer: wait for events, pass them to the handler, publish its own sequence.
//
// A handler is either
//     void(Event&, std::int64_t sequence, bool end_of_batch)              one event at a time, or
//     void(std::span<Event>, std::int64_t first, bool end_of_batch)       adjacent events.
// end_of_batch is true with the last event that was available when the consumer last checked: the
// time to flush.
//
// Thread contract: run() is called once, on the consumer's own thread.
// Invariant: an event is passed (its sequence stored) only after its handler returned or threw; a
// handler's accesses to an event end before its sequence is stored.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/disruptor/control.hpp"
#include "core/disruptor/graph.hpp"
#include "core/disruptor/ring.hpp"

namespace millrace::disruptor {

// State shared by the producer and all consumers of one pipeline; outlives them. `wait` and
// `on_error` are constant once the consumers run; each other member has its own thread contract.
template <class Wait>
struct Pipeline {
  Wait wait;
  ErrorHandler on_error;
  Control control;
  Sequence cursor;         // the last published event
  Parker producer_parker;  // the producer sleeps on it while it waits for the gate
  std::vector<std::unique_ptr<Stage>> stages;

  // To be called after a change of `control`: every waiting thread checks it.
  void wake_all() {
    for (const auto& stage : stages) stage->wake_workers();
    producer_parker.wake();
  }
};

class ConsumerBase {
 public:
  virtual ~ConsumerBase() = default;
  virtual void run() = 0;
};

template <class Event, class Wait, class Handler>
class Consumer final : public ConsumerBase {
 public:
  static constexpr bool takes_runs =
      std::is_invocable_v<Handler&, std::span<Event>, std::int64_t, bool>;
  static_assert(takes_runs || std::is_invocable_v<Handler&, Event&, std::int64_t, bool>,
                "a handler takes (Event&, int64_t, bool) or (std::span<Event>, int64_t, bool)");

  // `step` is the most events after which the sequence is stored, so that the producer can go on
  // while a consumer works through a full ring. It is also the most that a pool's worker takes at
  // once.
  Consumer(Pipeline<Wait>& pipeline, Stage& stage, Worker& worker, bool pooled,
           Segment<Event>* segment, std::int64_t step, Handler handler)
      : pipeline_(pipeline),
        stage_(stage),
        worker_(worker),
        pooled_(pooled),
        cursor_(segment),
        step_(step),
        handler_(std::move(handler)) {
    assert(step >= 1);
  }

  void run() override {
    bool on = true;
    while (on) {
      const std::int64_t next = this->next();
      std::int64_t limit = before_first;
      pipeline_.wait.wait(
          worker_.parker,
          [&] {
            limit = stage_.limit();
            return limit >= this->next() || asked_to_stop();
          },
          never);
      if (pipeline_.control.state() == Control::State::halted) return;
      if (worker_.leave_asked.load(std::memory_order_seq_cst)) break;
      if (limit >= next) {
        on = pooled_ ? work(limit) : consume(next, limit);
      } else if (drained()) {
        return;
      }
    }
    if (pipeline_.control.state() != Control::State::halted) {
      stage_.mark_left(worker_);
      stage_.wake_followers(pipeline_.producer_parker);
    }
  }

 private:
  std::int64_t next() const { return pooled_ ? stage_.next() : worker_.sequence.own() + 1; }

  // After drain() nothing more is published: a consumer that has passed the cursor has seen all.
  bool drained() const {
    return pipeline_.control.state() == Control::State::draining &&
           this->next() > pipeline_.cursor.look();
  }

  bool asked_to_stop() const {
    return pipeline_.control.state() == Control::State::halted || drained() ||
           worker_.leave_asked.load(std::memory_order_seq_cst);
  }

  void pass(std::int64_t sequence) {
    assert(sequence >= worker_.sequence.own());
    const bool ordered = pipeline_.wait.sleeps();
    worker_.sequence.store(sequence, ordered);
    if (ordered) stage_.wake_followers(pipeline_.producer_parker);
  }

  // Handles everything up to `limit`, step by step. False if this consumer has to leave or the
  // pipeline is halted.
  bool consume(std::int64_t next, std::int64_t limit) {
    while (next <= limit) {
      const std::int64_t last = std::min(limit, next + step_ - 1);
      if (!handle(next, last, limit)) return false;
      pass(last);
      next = last + 1;
      if (worker_.leave_asked.load(std::memory_order_relaxed)) return false;
      if (pipeline_.control.state() == Control::State::halted) return false;
    }
    return true;
  }

  // Takes and handles this worker's share of the events up to `limit`. False as for consume().
  bool work(std::int64_t limit) {
    bool lost = false;
    const auto [first, last] = stage_.take(worker_, limit, step_, lost, [] { step_aside(); });
    // Stages after this one may have read this worker's sequence while take() had lowered it for
    // events that others took, and may sleep although they could go on. They are woken before the
    // handler runs, which may take long.
    if (lost && pipeline_.wait.sleeps()) stage_.wake_followers(pipeline_.producer_parker);
    if (first > last) return true;
    if (!handle(first, last, last)) return false;
    pass(idle);
    return true;
  }

  // A stress test's wait strategy may let other threads go on here.
  static void step_aside() {
    if constexpr (requires { Wait::step_aside(); }) Wait::step_aside();
  }

  bool handle(std::int64_t first, std::int64_t last, std::int64_t batch_last) {
    while (first <= last) {
      const std::span<Event> run = cursor_.run(first, last);
      const auto size = static_cast<std::int64_t>(run.size());
      std::int64_t at = first;
      while (at < first + size) {
        try {
          if constexpr (takes_runs) {
            const std::int64_t from = std::exchange(at, first + size);
            handler_(run, from, first + size - 1 == batch_last);
          } else {
            for (Event* event = run.data() + (at - first); at < first + size; ++event) {
              const std::int64_t sequence = at++;
              handler_(*event, sequence, sequence == batch_last);
            }
          }
        } catch (...) {
          const std::int64_t culprit = takes_runs ? first : at - 1;
          if (!survives({stage_.name(), culprit, std::current_exception()})) return false;
        }
      }
      first += size;
    }
    return true;
  }

  bool survives(const HandlerError& error) {
    if (pipeline_.control.report(pipeline_.on_error, error) == OnError::go_on) return true;
    pipeline_.control.halt();
    pipeline_.wake_all();
    return false;
  }

  Pipeline<Wait>& pipeline_;
  Stage& stage_;
  Worker& worker_;
  const bool pooled_;
  RingCursor<Event> cursor_;
  const std::int64_t step_;
  Handler handler_;
};

}  // namespace millrace::disruptor
