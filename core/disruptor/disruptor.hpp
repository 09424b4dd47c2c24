// A pipeline in one process: one producer, a ring, a graph of consumers, each on its own thread.
//
//     Disruptor<Tick, Block> line({.capacity = 4096});
//     auto parse = line.add("parse", [](Tick& t, std::int64_t, bool) { ... });
//     auto store = line.add("store", ..., {parse});                     // after parse
//     auto index = line.add_workers("index", {worker_a, worker_b}, {parse});  // share the events
//     line.start();
//     line.producer().publish_with([](Tick& t) { ... }).value();
//     line.drain().value();                                             // all seen, threads joined
//
// Thread contract: built, started and ended by one thread. producer() may be used by one thread at
// a time; drain() counts as such a use, so nothing may be published during it. leave(), halt() and
// first_error() may be called from any thread, handlers included. A Ref must not be used after its
// Disruptor was destroyed.
// Invariants:
//   - every consumer sees each event in order, exactly once, after all the stages before it; of a
//     pool, exactly one worker sees it;
//   - only the last stages hold up the producer;
//   - the graph is complete before the first claim and before start(): a call that breaks this, or
//     names a stage of another Disruptor, throws std::logic_error, in every build.
// Source: Thompson et al., "Disruptor: High performance alternative to bounded queues" (2011).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/disruptor/consumer.hpp"
#include "core/disruptor/producer.hpp"
#include "core/disruptor/ring.hpp"

namespace millrace::disruptor {

template <class Wait>
struct Options {
  std::size_t capacity = 1024;  // a power of two
  Wait wait{};
  ErrorHandler on_error{};  // none: the first exception stops the pipeline
  Growth growth{};          // off: see its warning
};

template <class Event, class Wait = Block>
class Disruptor {
 public:
  // Refers to a stage of this Disruptor: to add another stage after it, or to make it leave.
  class Ref {
   public:
    const std::string& name() const { return stage_->name(); }
    // The last sequence that it has passed; -1 before the first. A pool's may go back for a moment,
    // while a worker tries to take events that another has taken.
    std::int64_t passed() const { return stage_->passed(); }
    bool left() const { return stage_->left(); }

   private:
    friend class Disruptor;
    Ref(Stage* stage, std::uint64_t disruptor) : stage_(stage), disruptor_(disruptor) {}
    Stage* stage_;
    std::uint64_t disruptor_;  // id of the Disruptor; an address could be reused by a later one
  };

  explicit Disruptor(Options<Wait> options)
      : ring_(options.capacity), producer_(pipeline_, ring_, options.growth) {
    pipeline_.wait = options.wait;
    pipeline_.on_error = std::move(options.on_error);
  }
  ~Disruptor() { halt_and_join(); }
  Disruptor(const Disruptor&) = delete;
  Disruptor& operator=(const Disruptor&) = delete;

  // Adds one consumer, which sees every event. `after`: all the stages that it follows; a Ref, a
  // list in braces or any range of Refs. None, or an empty range: it follows the producer.
  template <class Handler, class After = std::initializer_list<Ref>>
  Ref add(std::string name, Handler handler, After&& after = {}) {
    Stage& stage = make_stage(std::move(name), after, 1, false);
    add_consumer(stage, 0, false, std::move(handler));
    return Ref(&stage, id_);
  }

  // Adds a pool of workers that share the events: each event goes to one of them.
  template <class Handler, class After = std::initializer_list<Ref>>
  Ref add_workers(std::string name, std::vector<Handler> handlers, After&& after = {}) {
    if (handlers.empty()) throw std::invalid_argument("a pool needs at least one worker");
    Stage& stage = make_stage(std::move(name), after, handlers.size(), true);
    for (std::size_t i = 0; i < handlers.size(); ++i) {
      add_consumer(stage, i, true, std::move(handlers[i]));
    }
    return Ref(&stage, id_);
  }

  void start() {
    if (started_) throw std::logic_error("a pipeline starts once");
    if (consumers_.empty()) throw std::logic_error("a pipeline needs a consumer");
    started_ = true;
    for (auto& consumer : consumers_) {
      threads_.emplace_back([&consumer] { consumer->run(); });
    }
  }

  Producer<Event, Wait>& producer() { return producer_; }

  // Makes a stage leave: it ends after the events that it is handling, no longer holds up the
  // producer, and the stages after it follow those before it. It never sees the events that it has
  // not passed by then.
  void leave(Ref ref) {
    check_own(ref);
    for (std::size_t i = 0; i < ref.stage_->worker_count(); ++i) {
      ref.stage_->worker(i).leave_asked.store(true, std::memory_order_seq_cst);
    }
    ref.stage_->wake_workers();
  }

  // Ends the pipeline after its last event: returns when every stage has seen all that was
  // published; nothing may be published any more. Error: stopped, if the pipeline was halted, by
  // halt() or by a handler's exception, before all was seen. Throws std::logic_error if called by a
  // handler, whose own thread it would wait for, or before start().
  Result<void> drain() {
    if (!started_) throw std::logic_error("a pipeline that was not started cannot drain");
    for (const std::thread& thread : threads_) {
      if (thread.get_id() == std::this_thread::get_id()) {
        throw std::logic_error("a handler cannot wait for its own thread");
      }
    }
    pipeline_.control.drain();
    pipeline_.wake_all();
    join();
    for (const auto& stage : pipeline_.stages) {
      if (stage->passed() < pipeline_.cursor.look()) return Error::stopped;
    }
    return {};
  }

  // All consumers stop after the events that they are handling; a waiting claim returns `stopped`.
  // Events that were published and not passed are not seen any more.
  void halt() {
    pipeline_.control.halt();
    pipeline_.wake_all();
  }

  // The first exception that a handler threw, whatever on_error returned for it.
  std::exception_ptr first_error() const { return pipeline_.control.first_error(); }

 private:
  void check_own(const Ref& ref) const {
    if (ref.disruptor_ != id_) throw std::invalid_argument("this stage is another Disruptor's");
  }

  template <class After>
  Stage& make_stage(std::string name, After& after, std::size_t workers, bool shared) {
    if (started_) throw std::logic_error("the graph is declared before start");
    if (producer_.has_claimed()) throw std::logic_error("the graph is declared before a claim");
    std::vector<Stage*> before;
    const auto add = [&](const Ref& ref) {
      check_own(ref);
      before.push_back(ref.stage_);
    };
    if constexpr (std::is_convertible_v<After&, const Ref&>) {
      add(after);
    } else {
      for (const Ref& ref : after) add(ref);
    }
    pipeline_.stages.reserve(pipeline_.stages.size() + 1);
    pipeline_.stages.push_back(std::make_unique<Stage>(std::move(name), pipeline_.cursor,
                                                       std::move(before), workers, shared));
    producer_.follow_graph();
    return *pipeline_.stages.back();
  }

  template <class Handler>
  void add_consumer(Stage& stage, std::size_t i, bool pooled, Handler handler) {
    // A pool's worker takes few events at a time, so that the other workers get their share.
    const auto capacity = static_cast<std::int64_t>(ring_.capacity());
    const std::int64_t step = std::max<std::int64_t>(1, capacity / (pooled ? 32 : 4));
    consumers_.push_back(std::make_unique<Consumer<Event, Wait, Handler>>(
        pipeline_, stage, stage.worker(i), pooled, ring_.first_segment(), step,
        std::move(handler)));
  }

  void halt_and_join() {
    halt();
    join();
  }

  void join() {
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

  static std::uint64_t next_id() {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }

  const std::uint64_t id_ = next_id();
  Pipeline<Wait> pipeline_;
  Ring<Event> ring_;
  Producer<Event, Wait> producer_;
  std::vector<std::unique_ptr<ConsumerBase>> consumers_;
  std::vector<std::thread> threads_;
  bool started_ = false;
};

}  // namespace millrace::disruptor
