#include "core/broker/inbox.hpp"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <stdexcept>

#include "core/base/clock.hpp"
#include "core/base/futex.hpp"
#include "core/base/pause.hpp"
#include "core/broker/check.hpp"
#include "core/broker/command_turns.hpp"
#include "core/broker/processor.hpp"

namespace millrace::broker {

namespace {

// Batches that a borrower runs before it leaves the role to the processor's own thread.
constexpr int borrowed_batches_max = 2;

// Publishes, refused ones too, stop short of the reserve.
bool may_use_reserve(const Command& command) {
  return command.get_if<command::Control>() != nullptr;
}

std::unique_ptr<CommandQueue> make_queue(const queue::QueueConfig& config) {
  auto queue = CommandQueue::create(config);
  if (!queue) {
    throw std::invalid_argument("queue: " + std::string(queue::describe(queue.error())));
  }
  return std::move(*queue);
}

}  // namespace

Inbox::Inbox(const InboxLimits& limits, Processor& processor)
    : limits_([&] {
        InboxLimits resolved = limits;
        if (resolved.control_reserve == 0) {
          resolved.control_reserve = static_cast<std::uint32_t>(resolved.queue.max_capacity / 16);
        }
        return resolved;
      }()),
      processor_(processor),
      queue_(make_queue(limits.queue)),
      turns_(std::make_unique<CommandTurns>(processor)) {}

Inbox::~Inbox() {
  stop();
}

void Inbox::start() {
  assert(!thread_.joinable());
  publish_deadline();  // what was restored may be due
  thread_ = std::thread([this] { limits_.wait == WaitStrategy::block ? run() : run_spinning(); });
}

void Inbox::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true, std::memory_order_release);
  wake_thread();
  thread_.join();
}

void Inbox::hurry() {
  hurries_.store(true, std::memory_order_relaxed);
  signal();
}

Ledger& Inbox::ledger() {
  return processor_.ledger();
}

// --- Front-ends ---------------------------------------------------------------------------------

std::size_t Inbox::submit(std::span<Command> commands) {
  const std::size_t taken = push(commands);
  if (taken > 0) signal();
  return taken;
}

// How many commands, from the first on, the queue's limit of bytes allows when `queued` bytes wait
// already. An empty queue takes one of any size: nothing may be too large for ever.
std::size_t Inbox::count_fitting(std::span<const Command> commands, std::uint64_t queued) const {
  std::size_t count = 0;
  for (const Command& command : commands) {
    queued += command.charged_bytes();
    if (queued > limits_.bytes_max && (count > 0 || queued != command.charged_bytes())) break;
    ++count;
  }
  return count;
}

std::size_t Inbox::push(std::span<Command> commands) {
  std::uint64_t bytes = 0;
  for (const Command& command : commands) bytes += command.charged_bytes();
  // Charged before the push: the processor may give the bytes back before push_batch returns.
  // Release pairs with the acquire in run_batch(): that this front-end waits is known there.
  const std::uint64_t before = queued_bytes_.fetch_add(bytes, std::memory_order_acq_rel);
  const std::size_t fitting =
      before + bytes <= limits_.bytes_max ? commands.size() : count_fitting(commands, before);
  std::size_t taken = 0;
  if (fitting > 0) taken = queue_->push_batch(commands.first(fitting), limits_.control_reserve);
  // At a limit publishes wait, and what stands behind them; control commands use the reserve.
  while (taken < commands.size() && may_use_reserve(commands[taken])) {
    if (queue_->push_batch(commands.subspan(taken, 1)) == 0) break;
    ++taken;
  }
  if (taken == commands.size()) return taken;
  std::uint64_t not_taken = 0;
  for (const Command& command : commands.subspan(taken)) not_taken += command.charged_bytes();
  // Acquire pairs with the release there and above: what was popped, and who waits, is known here.
  const std::uint64_t charged = queued_bytes_.fetch_sub(not_taken, std::memory_order_acq_rel);
  MILLRACE_CHECK(charged >= not_taken);
  // The processor's last batch may have left the waiters asleep because of what was charged here,
  // and nothing is left for which there would be another batch. If some other charge is left, there
  // is one, or whoever takes it back comes by here.
  if (charged == not_taken && has_waiters_.load(std::memory_order_acquire)) wake_waiters();
  return taken;
}

void Inbox::signal() {
  // Release: a holder that sees this count sees what was pushed before it.
  std::uint64_t seen = signals_.fetch_add(one_signal, std::memory_order_acq_rel) + one_signal;
  if ((seen & held) != 0) return;  // the holder looks again before it lets go
  if (limits_.wait != WaitStrategy::block || !limits_.borrow_role) return wake_thread();
  if (try_take_role()) serve(Holder::borrower);
}

bool Inbox::try_take_role() {
  std::uint64_t seen = signals_.load(std::memory_order_relaxed);
  while ((seen & held) == 0) {
    // Acquire pairs with the release of the last holder, and with the signals so far.
    if (signals_.compare_exchange_weak(seen, seen | held, std::memory_order_acq_rel,
                                       std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

void Inbox::wait_for_room(OutboxRef outbox) {
  std::lock_guard lock(waiters_mutex_);
  waiters_.push_back(std::move(outbox));
  has_waiters_.store(true, std::memory_order_release);
}

void Inbox::wake_thread() {
  thread_word_.fetch_add(1, std::memory_order_acq_rel);
  base::futex_wake(thread_word_, base::Scope::process, 1);
}

// --- The holder ---------------------------------------------------------------------------------

void Inbox::serve(Holder holder) {
  for (int batches = 1;; ++batches) {
    std::uint64_t seen = signals_.load(std::memory_order_acquire);
    const bool more = run_batch();
    if (holder == Holder::borrower) processor_.stats().borrowed_batches.add();
    if (!more) {
      publish_deadline();
      // Fails if commands were submitted since `seen`: then there is another batch.
      if (signals_.compare_exchange_strong(seen, seen & ~held, std::memory_order_acq_rel)) return;
    }
    if (holder == Holder::borrower && batches >= borrowed_batches_max) {
      // The role passes to the thread without being free in between.
      role_passed_.store(true, std::memory_order_release);
      return wake_thread();
    }
  }
}

bool Inbox::run_batch() {
  MILLRACE_CHECK((signals_.load(std::memory_order_relaxed) & held) != 0);  // by this thread
  const std::int64_t started_ns = now_ns();
  processor_.begin(started_ns, processor_.needs_time_of_day() ? base::time_of_day_ns() : 0);
  if (hurries_.load(std::memory_order_relaxed)) [[unlikely]]
    turns_->hurry();
  turns_->begin();
  std::size_t count = 0;
  if (!turns_->is_behind()) [[likely]] {
    count = queue_->pop_batch(limits_.batch_max, [&](Command& command) { turns_->admit(command); });
  }
  turns_->finish();
  processor_.finish();
  has_put_off_.store(!turns_->empty(), std::memory_order_release);
  // After each pop, though it was of commands without bytes. All that is added to and taken from
  // `queued_bytes_` has one order: whoever comes later, this or a front-end that takes back what it
  // could not push, sees all that the other did before, and wakes who waits.
  if (const std::uint64_t bytes = processor_.take_applied_bytes(); count > 0 || bytes > 0) {
    const std::uint64_t charged = queued_bytes_.fetch_sub(bytes, std::memory_order_acq_rel);
    MILLRACE_CHECK(charged >= bytes);
  }
  if (has_waiters_.load(std::memory_order_acquire)) wake_waiters();
  if (count > 0) {
    processor_.stats().batch_ns.record(static_cast<std::uint64_t>(now_ns() - started_ns));
  }
  return count == limits_.batch_max || !turns_->empty() || processor_.has_more();
}

void Inbox::publish_deadline() {
  const std::int64_t next_ns = processor_.next_deadline_ns();
  next_deadline_ns_.store(next_ns, std::memory_order_seq_cst);
  // Either this sees what the thread waits for, or the thread sees the new deadline.
  if (next_ns < armed_deadline_ns_.load(std::memory_order_seq_cst)) wake_thread();
}

// By the holder, and by a front-end that could not push.
void Inbox::wake_waiters() {
  if (queue_->len() > limits_.queue.max_capacity / 2) return;
  if (queued_bytes() > limits_.bytes_max / 2) return;
  std::vector<OutboxRef> waiters;
  {
    std::lock_guard lock(waiters_mutex_);
    waiters.swap(waiters_);
    has_waiters_.store(false, std::memory_order_relaxed);
  }
  std::vector<OutboxRef> one;
  for (OutboxRef& outbox : waiters) {
    if (!outbox->announce()) continue;
    ReadyList& list = outbox->ready_list();
    one.push_back(std::move(outbox));
    list.push(one);
  }
}

// --- The thread ---------------------------------------------------------------------------------

void Inbox::run() {
  for (;;) {
    const std::uint32_t word = thread_word_.load(std::memory_order_acquire);
    const bool stopping = stopping_.load(std::memory_order_acquire);
    const bool due = next_deadline_ns_.load(std::memory_order_seq_cst) <= now_ns();
    // Acquire pairs with the borrower's release: its batches come before ours.
    if (role_passed_.exchange(false, std::memory_order_acq_rel)) {
      serve(Holder::thread);
    } else if (due || queue_->len() > 0) {
      // Held by a borrower: it fires due timers itself, and passes the role on if it has to.
      if (try_take_role()) {
        serve(Holder::thread);
      } else {
        std::this_thread::yield();
      }
    } else if (stopping && (signals_.load(std::memory_order_acquire) & held) == 0) {
      return;
    } else {
      sleep_until_needed(word);
    }
  }
}

void Inbox::sleep_until_needed(std::uint32_t word) {
  const std::int64_t deadline_ns = next_deadline_ns_.load(std::memory_order_seq_cst);
  armed_deadline_ns_.store(deadline_ns, std::memory_order_seq_cst);
  if (next_deadline_ns_.load(std::memory_order_seq_cst) >= deadline_ns) {
    base::futex_wait(thread_word_, word, base::Deadline(std::chrono::nanoseconds(deadline_ns)),
                     base::Scope::process);
  }
  armed_deadline_ns_.store(INT64_MIN, std::memory_order_seq_cst);  // awake: no wake-up is needed
}

void Inbox::run_spinning() {
  if (!try_take_role()) std::abort();  // no other thread takes it
  while (!stopping_.load(std::memory_order_acquire) || queue_->len() > 0) {
    if (queue_->len() == 0 && processor_.next_deadline_ns() > now_ns()) {
      if (limits_.wait == WaitStrategy::yield) {
        std::this_thread::yield();
      } else {
        base::pause(16);
      }
      continue;
    }
    while (run_batch()) {
    }
  }
  signals_.fetch_and(~held, std::memory_order_acq_rel);
}

}  // namespace millrace::broker
