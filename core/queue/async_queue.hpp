// AsyncQueue<Queue, Executor>: one of the elastic queues with C++20 awaitables, on any executor.
// The queue itself does not depend on it and has no cost for it.
//
//   AsyncQueue<ElasticMpscQueue<Job, NoWait>, MyExecutor> jobs(std::move(queue), executor);
//   Result<Job> job = co_await jobs.async_pop(50ms);
//
// An executor is anything with
//   post(std::function<void()>)                  runs it later, from any thread
//   post_at(Deadline, std::function<void()>)     runs it at that time, and returns a
//                                                std::function<void()> that cancels it
//
// Thread contract: try_push and push_batch any thread. Calls that pop, and coroutines that await
// here, run on the executor; over the MPSC queue, whose consumer is a role with one holder at a
// time, the executor must run one function at a time (one thread, or a strand). Coroutines are
// resumed on the executor, in the order in which they began to wait.
//
// Invariants: no wake-up is lost. A waiter is first counted (`waiting_`, seq_cst), then tries once
// more. A push claims its slot by a seq_cst read-modify-write and then loads the count; a pop reads
// the count by a read-modify-write, since before it there is only a plain store of the head. So
// either the waiter sees the item (or the room), or the other side sees the waiter. A suspended
// coroutine that is destroyed is removed from the list of waiters.
#pragma once

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/queue/queue_types.hpp"
#include "core/queue/waiting.hpp"

namespace millrace::queue {

namespace detail {

/// A coroutine that waits: the awaiter in its frame.
class Waiter {
 public:
  virtual bool attempt() = 0;  // true: done, the result is there
  virtual void time_out() = 0;

  std::uint64_t id = 0;  // 0: not in a WaitingLine
  std::coroutine_handle<> coroutine;
  std::function<void()> call_off_timer;

 protected:
  ~Waiter() = default;
};

/// A FIFO list of the coroutines that wait for items, or for room.
class WaitingLine {
 public:
  /// An identifier for join(), so that a timer can name the waiter before it is in the list.
  std::uint64_t new_id() {
    const std::lock_guard lock(mutex_);
    return ++last_id_;
  }

  /// From here on another thread may resume the waiter, and so destroy it.
  void join(Waiter& waiter, std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    waiter.id = id;
    line_.push_back(&waiter);
    waiting_.fetch_add(1, std::memory_order_seq_cst);
  }

  /// Removes a waiter; null if it is not in the list any more.
  Waiter* leave(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    for (auto it = line_.begin(); it != line_.end(); ++it) {
      if ((*it)->id == id) return take(it);
    }
    return nullptr;
  }

  /// Removes and returns the first waiter if its attempt succeeds now; null if it does not, or if
  /// there is no waiter.
  Waiter* serve_one() {
    const std::lock_guard lock(mutex_);
    if (line_.empty() || !line_.front()->attempt()) return nullptr;
    return take(line_.begin());
  }

  bool anybody() const { return waiting_.load(std::memory_order_seq_cst) != 0; }
  /// The same, ordered after a plain store of the caller's.
  bool anybody_after_store() { return waiting_.fetch_add(0, std::memory_order_seq_cst) != 0; }

 private:
  Waiter* take(std::list<Waiter*>::iterator place) {
    Waiter* waiter = *place;
    waiter->id = 0;
    line_.erase(place);
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
    return waiter;
  }

  std::mutex mutex_;
  std::list<Waiter*> line_;
  std::uint64_t last_id_ = 0;
  std::atomic<std::size_t> waiting_{0};
};

}  // namespace detail

template <class Queue, class Executor>
class AsyncQueue {
  using T = typename Queue::value_type;

  // Shared with posted functions, which may run after the AsyncQueue was destroyed.
  struct State : std::enable_shared_from_this<State> {
    State(std::unique_ptr<Queue> its_queue, Executor its_executor)
        : queue(std::move(its_queue)), executor(std::move(its_executor)) {}

    void after_push() {
      if (for_items.anybody()) post_serve_pops();
    }
    void after_pop() {
      if (for_room.anybody_after_store()) post_serve_pushes();
    }
    void post_serve_pops() {
      executor.post([self = this->shared_from_this()] { self->serve_pops(); });
    }
    void post_serve_pushes() {
      executor.post([self = this->shared_from_this()] { self->serve_pushes(); });
    }

    void serve_pops() {
      bool popped = false;
      while (detail::Waiter* waiter = for_items.serve_one()) {
        popped = true;
        resume(*waiter);
      }
      if (popped) after_pop();
      // The producer of a claimed item may have loaded the count before the waiter was counted,
      // while its publish, a release store, is not visible here yet. Then no other post follows, so
      // try again.
      if (for_items.anybody() && !queue->empty_for_consumer()) post_serve_pops();
    }
    void serve_pushes() {
      bool pushed = false;
      while (detail::Waiter* waiter = for_room.serve_one()) {
        pushed = true;
        resume(*waiter);
      }
      if (pushed) after_push();
    }
    void resume(detail::Waiter& waiter) {
      if (waiter.call_off_timer) waiter.call_off_timer();
      waiter.coroutine.resume();
    }

    std::unique_ptr<Queue> queue;
    Executor executor;
    detail::WaitingLine for_items;
    detail::WaitingLine for_room;
  };

  /// The awaiter. `Operation` has attempt(), which tries once and returns whether it is done,
  /// time_out(), and result().
  template <class Operation>
  class Awaiter final : detail::Waiter {
   public:
    Awaiter(std::shared_ptr<State> state, detail::WaitingLine& line, Operation operation,
            std::optional<Deadline> deadline)
        : state_(std::move(state)),
          line_(line),
          operation_(std::move(operation)),
          deadline_(deadline) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;
    ~Awaiter() {
      if (id != 0 && line_.leave(id) != nullptr && call_off_timer) call_off_timer();
    }

    /// Tries at once, unless other coroutines wait already.
    bool await_ready() {
      if (line_.anybody() || !operation_.attempt(*state_)) return false;
      tell_others();
      return true;
    }

    void await_suspend(std::coroutine_handle<> handle) {
      coroutine = handle;
      // After join() another thread of the executor may resume the coroutine and destroy this
      // awaiter, so all that is needed then is copied first, and the timer is set before.
      const std::shared_ptr<State> state = state_;
      detail::WaitingLine& line = line_;
      const std::optional<Deadline> deadline = deadline_;
      const std::uint64_t ticket = line.new_id();
      const auto time_out = [state, ticket, &line] { time_out_one(*state, line, ticket); };
      if (deadline) call_off_timer = state->executor.post_at(*deadline, time_out);
      line.join(*this, ticket);
      &line == &state->for_items ? state->post_serve_pops() : state->post_serve_pushes();
      // The timer may have fired before the waiter was in the list, and found nothing.
      if (deadline && base::Clock::now() >= *deadline) state->executor.post(time_out);
    }

    auto await_resume() { return operation_.result(); }

   private:
    static void time_out_one(State& state, detail::WaitingLine& line, std::uint64_t ticket) {
      if (detail::Waiter* waiter = line.leave(ticket)) {
        waiter->time_out();
        state.resume(*waiter);
      }
    }

    bool attempt() override { return operation_.attempt(*state_); }
    void time_out() override { operation_.time_out(); }
    void tell_others() {
      &line_ == &state_->for_items ? state_->after_pop() : state_->after_push();
    }

    std::shared_ptr<State> state_;
    detail::WaitingLine& line_;
    Operation operation_;
    std::optional<Deadline> deadline_;
  };

  struct Push {
    T item;
    std::optional<Result<void>> outcome{};
    bool attempt(State& state) {
      outcome = state.queue->try_push(std::move(item));
      return *outcome || outcome->error() != Error::full;
    }
    void time_out() { outcome = Error::timed_out; }
    Result<void> result() { return *outcome; }
  };

  struct PushBatch {
    std::span<T> items;
    std::size_t pushed = 0;
    bool attempt(State& state) {
      const std::size_t more = state.queue->push_batch(items.subspan(pushed));
      pushed += more;
      if (more > 0 && pushed < items.size()) state.after_push();
      return pushed == items.size();
    }
    void time_out() {}
    std::size_t result() { return pushed; }
  };

  struct Pop {
    std::optional<Result<T>> outcome{};
    bool attempt(State& state) {
      outcome.emplace(state.queue->try_pop());
      return outcome->has_value();
    }
    void time_out() { outcome.emplace(Error::timed_out); }
    Result<T> result() { return std::move(*outcome); }
  };

  struct PopBatch {
    std::size_t count;
    std::vector<T> items{};
    bool attempt(State& state) {
      state.queue->pop_batch(count, [this](T& item) { items.push_back(std::move(item)); });
      return !items.empty() || count == 0;
    }
    void time_out() {}
    Result<std::vector<T>> result() {
      if (items.empty() && count != 0) return Error::timed_out;
      return std::move(items);
    }
  };

 public:
  AsyncQueue(std::unique_ptr<Queue> queue, Executor executor)
      : state_(std::make_shared<State>(std::move(queue), std::move(executor))) {}

  [[nodiscard]] Result<void> try_push(T&& item, std::size_t reserve = 0) {
    const Result<void> pushed = state_->queue->try_push(std::move(item), reserve);
    if (pushed) state_->after_push();
    return pushed;
  }
  [[nodiscard]] std::size_t push_batch(std::span<T> items, std::size_t reserve = 0) {
    const std::size_t pushed = state_->queue->push_batch(items, reserve);
    if (pushed > 0) state_->after_push();
    return pushed;
  }
  [[nodiscard]] Result<T> try_pop() {
    Result<T> popped = state_->queue->try_pop();
    if (popped) state_->after_pop();
    return popped;
  }
  template <class Use>
  std::size_t pop_batch(std::size_t count, Use&& use) {
    const std::size_t popped = state_->queue->pop_batch(count, std::forward<Use>(use));
    if (popped > 0) state_->after_pop();
    return popped;
  }

  /// co_await gives Result<void>: timed_out, out_of_memory.
  auto async_push(T item, std::optional<Deadline::duration> timeout = {}) {
    return Awaiter<Push>(state_, state_->for_room, Push{std::move(item)}, at(timeout));
  }
  /// co_await gives how many of `items` were pushed: all, unless it timed out. `items` must stay
  /// valid until then.
  auto async_push_batch(std::span<T> items, std::optional<Deadline::duration> timeout = {}) {
    return Awaiter<PushBatch>(state_, state_->for_room, PushBatch{items}, at(timeout));
  }
  /// co_await gives Result<T>: timed_out.
  auto async_pop(std::optional<Deadline::duration> timeout = {}) {
    return Awaiter<Pop>(state_, state_->for_items, Pop{}, at(timeout));
  }
  /// co_await gives Result<std::vector<T>>, at least one item and up to `count`: timed_out.
  auto async_pop_batch(std::size_t count, std::optional<Deadline::duration> timeout = {}) {
    return Awaiter<PopBatch>(state_, state_->for_items, PopBatch{count}, at(timeout));
  }

  /// For len(), stats() and the like.
  const Queue& queue() const { return *state_->queue; }

 private:
  static std::optional<Deadline> at(std::optional<Deadline::duration> timeout) {
    if (!timeout) return std::nullopt;
    return base::deadline_after(*timeout);
  }

  std::shared_ptr<State> state_;
};

}  // namespace millrace::queue
