// The graph of stages between the producer and the gate.
//
// A stage is one consumer, or a pool of workers that share its events. It may read what all its
// predecessors have passed; a stage without predecessors follows the producer's cursor. The
// producer may overwrite what every last stage has passed: that is the gate.
//
// Thread contract: the graph is built by one thread before start and constant afterwards, except
// for the sequences and flags of its workers. limit(), passed() and left() may be called by any
// thread, take() and mark_left() only by the worker that they are given.
// Invariants:
//   - a stage never reads past what all its predecessors have passed;
//   - the edges are never rewritten: passed() of a stage that has left returns the limit of its
//     predecessors, so its followers follow those, and the gate no longer depends on it;
//   - a worker sets `left` after its last access to an event, so no limit can overtake it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/disruptor/sequence.hpp"
#include "core/disruptor/wait.hpp"

namespace millrace::disruptor {

// The sequence of a pool's worker that holds no event at the moment: above all others, so that it
// is never the lowest.
inline constexpr std::int64_t idle = std::numeric_limits<std::int64_t>::max();

// One thread of a stage.
struct Worker {
  // A single consumer: the last event that it has passed. A pool's worker: one below the first
  // event that it holds, or `idle`.
  Sequence sequence;
  Parker parker;
  std::atomic<bool> leave_asked{false};
  std::atomic<bool> left{false};
};

class Stage {
 public:
  Stage(std::string name, const Sequence& cursor, std::vector<Stage*> after, std::size_t workers,
        bool shared)
      : name_(std::move(name)), cursor_(cursor), after_(std::move(after)), shared_(shared) {
    assert(workers >= 1 && (shared || workers == 1));
    for (std::size_t i = 0; i < workers; ++i) {
      workers_.push_back(std::make_unique<Worker>());
      if (shared_) workers_.back()->sequence.store(idle, false);
    }
    for (Stage* stage : after_) stage->followers_.push_back(this);
  }

  const std::string& name() const { return name_; }
  bool is_first() const { return after_.empty(); }
  bool is_last() const { return followers_.empty(); }
  Worker& worker(std::size_t i) {
    assert(i < workers_.size());
    return *workers_[i];
  }
  std::size_t worker_count() const { return workers_.size(); }
  bool left() const { return left_.load(std::memory_order_seq_cst); }

  // How far this stage may read.
  std::int64_t limit() const {
    if (after_.empty()) return cursor_.look();
    std::int64_t lowest = idle;
    for (const Stage* stage : after_) lowest = std::min(lowest, stage->passed());
    return lowest;
  }

  // How far the stages after it may read.
  std::int64_t passed() const {
    if (left()) return limit();
    if (!shared_) return workers_.front()->sequence.look();
    // Everything handed out, except for what a worker still holds. `next_` is read first: a worker
    // lowers its own sequence before it takes, so each worker that took something below `next_` is
    // seen with its lowered sequence.
    std::int64_t lowest = next_.load(std::memory_order_seq_cst) - 1;
    for (const auto& worker : workers_) lowest = std::min(lowest, worker->sequence.look());
    return lowest;
  }

  // Takes up to `count_max` events not above `limit` for `worker` of a pool. Returns the first and
  // the last, or an empty range (first > last) if other workers took them all. `lost` becomes true
  // if others took events that this worker tried to take: then its sequence was lower than what the
  // pool had passed, and a follower that read it meanwhile has to be woken. `step` is called
  // between the lowering and the attempt: for stress tests.
  template <class Step>
  std::pair<std::int64_t, std::int64_t> take(Worker& worker, std::int64_t limit,
                                             std::int64_t count_max, bool& lost, Step step) {
    assert(shared_ && count_max >= 1);
    std::int64_t first = next_.load(std::memory_order_seq_cst);
    while (first <= limit) {
      worker.sequence.store(first - 1, true);
      step();
      const std::int64_t last = std::min(limit, first + count_max - 1);
      if (next_.compare_exchange_weak(first, last + 1, std::memory_order_seq_cst)) {
        return {first, last};
      }
      lost = true;
    }
    worker.sequence.store(idle, true);
    return {first, first - 1};
  }

  // The sequence that the pool hands out next.
  std::int64_t next() const { return next_.load(std::memory_order_seq_cst); }

  // The worker's last call. The stage has left when all its workers have: if two leave at the same
  // time, at least one of them sees the other's flag, since both accesses are seq_cst.
  void mark_left(Worker& worker) {
    if (shared_) worker.sequence.store(idle, true);
    worker.left.store(true, std::memory_order_seq_cst);
    for (const auto& one : workers_) {
      if (!one->left.load(std::memory_order_seq_cst)) return;
    }
    left_.store(true, std::memory_order_seq_cst);
  }

  // To be called when this stage has advanced, after the seq_cst store that its followers wait for
  // (see Parker::wake). Wakes the stages after it, those after them if they have left, and the
  // producer if this stage is part of the gate.
  void wake_followers(Parker& producer) {
    if (is_last()) producer.wake();
    for (Stage* stage : followers_) {
      stage->wake_workers();
      if (stage->left()) stage->wake_followers(producer);
    }
  }

  void wake_workers() {
    for (const auto& worker : workers_) worker->parker.wake();
  }

 private:
  const std::string name_;
  const Sequence& cursor_;
  const std::vector<Stage*> after_;
  std::vector<Stage*> followers_;  // complete before start, constant afterwards
  const bool shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  alignas(padding_bytes) std::atomic<std::int64_t> next_{0};  // a pool's next event
  alignas(padding_bytes) std::atomic<bool> left_{false};
};

}  // namespace millrace::disruptor
