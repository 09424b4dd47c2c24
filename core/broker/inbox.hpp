// Inbox: the one way from every front-end to the processor, and the thread that runs the processor.
//
// A front-end is what submits commands: MQTT connections, the control socket of local clients,
// `$SYS`, the reload of the configuration. Front-ends submit() lists of commands from any thread;
// each list is one claim in the elastic queue. The holder of the processor's role takes commands
// from the queue and has the processor apply them, a batch at a time (run_batch()).
//
// The role has one holder at a time: normally the thread that this class starts, but while that
// thread sleeps, the front-end's own thread takes the role for a batch or two, so that an idle
// server answers without waking another thread. `signals_` decides: its lowest bit says "held", the
// rest counts submissions, so that a holder that releases the role sees whether something was
// submitted meanwhile. No wake-up is lost, and no fence is needed, because all of it is
// read-modify-write on one word.
//
// Threads: submit(), wait_for_room() and stats from any; start() and stop() from one.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "core/broker/command.hpp"
#include "core/broker/outbox.hpp"
#include "core/queue/elastic_mpsc_queue.hpp"

namespace millrace::broker {

class CommandTurns;
class Ledger;
class Processor;

// The processor brings its own way of sleeping.
using CommandQueue = queue::ElasticMpscQueue<Command, queue::NoWait>;

enum class WaitStrategy : std::uint8_t { spin, yield, block };

struct InboxLimits {
  queue::QueueConfig queue;
  std::uint64_t bytes_max = 256 << 20;  // of messages that wait in the queue
  std::uint32_t control_reserve = 0;    // slots that only control commands may use; 0: a 16th
  WaitStrategy wait = WaitStrategy::block;
  bool borrow_role = true;         // front-ends may take the role (block only)
  std::uint32_t batch_max = 4096;  // commands in one batch
};

class Inbox {
 public:
  Inbox(const InboxLimits& limits, Processor& processor);
  ~Inbox();

  void start();
  // Applies what is queued, then ends the processor's thread. Front-ends must have stopped.
  void stop();

  // The server is about to stop: what is left of costly requests is not done any more.
  void hurry();

  // Submits the commands in order and returns how many were taken (a prefix; those are moved from).
  // Fewer than given: the queue is at a limit; keep the rest and call wait_for_room().
  // May run the processor on the calling thread before it returns.
  std::size_t submit(std::span<Command> commands);

  // Puts `outbox` on its ready list as soon as the queue has room again. Call submit() once more
  // after this, before waiting.
  void wait_for_room(OutboxRef outbox);

  // The clock in use; a test may link its own (inbox_clock.cpp). Monotonic nanoseconds.
  static std::int64_t now_ns();

  // The queue is empty and, with WaitStrategy::block, the role is free: what was submitted before has
  // been applied and handed over. (While another thread submits, the answer is out of date at once.)
  bool idle() const {
    if (!has_taken_all()) return false;
    return limits_.wait != WaitStrategy::block ||
           (signals_.load(std::memory_order_acquire) & held) == 0;
  }

  // The queue is empty: what was submitted before is applied, or belongs to the batch that runs now,
  // which may put some of it off until the next ones.
  bool has_taken_all() const {
    return queue_->len() == 0 && !has_put_off_.load(std::memory_order_acquire);
  }

  // The processor's; any thread.
  Ledger& ledger();

  std::uint64_t queued_bytes() const { return queued_bytes_.load(std::memory_order_relaxed); }
  const CommandQueue& queue() const { return *queue_; }

 private:
  std::size_t push(std::span<Command> commands);
  std::size_t count_fitting(std::span<const Command> commands, std::uint64_t queued) const;
  void signal();
  void wake_thread();
  void run();           // the thread
  void run_spinning();  // the thread, if it never sleeps
  void sleep_until_needed(std::uint32_t word);
  bool try_take_role();
  // By the holder, until it has released the role, or passed it on.
  enum class Holder : std::uint8_t { thread, borrower };
  void serve(Holder holder);
  bool run_batch();  // true if there is more to do at once
  void publish_deadline();
  void wake_waiters();

  const InboxLimits limits_;
  Processor& processor_;
  std::unique_ptr<CommandQueue> queue_;
  const std::unique_ptr<CommandTurns> turns_;  // the holder's
  std::atomic<bool> has_put_off_{false};       // turns_ is not empty
  std::atomic<bool> hurries_{false};

  static constexpr std::uint64_t held = 1;
  static constexpr std::uint64_t one_signal = 2;
  alignas(128) std::atomic<std::uint64_t> signals_{0};
  alignas(128) std::atomic<std::uint64_t> queued_bytes_{0};

  alignas(128) std::atomic<std::uint32_t> thread_word_{0};  // futex of the processor's thread
  std::atomic<bool> role_passed_{false};  // a borrower left the role to the thread
  std::atomic<bool> stopping_{false};
  std::atomic<std::int64_t> next_deadline_ns_{INT64_MAX};   // the processor's, at the last release
  std::atomic<std::int64_t> armed_deadline_ns_{INT64_MAX};  // when the sleeping thread wakes

  std::mutex waiters_mutex_;
  std::vector<OutboxRef> waiters_;  // under waiters_mutex_
  std::atomic<bool> has_waiters_{false};

  std::thread thread_;
};

}  // namespace millrace::broker
