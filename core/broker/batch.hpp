// Batch: what the parts of the processor share about the batch that is being applied: its time, the
// limits, the figures, the memory that is held, and the outboxes that it touched, each of which is
// handed over once at its end.
//
// What always holds: time never runs backwards; between finish() and the next begin() no outbox is
// listed; an outbox in which something is staged has been touched.
//
// Threads: the processor's holder alone, but for stats() and ledger(), which any thread may read.
#pragma once

#include <cstdint>
#include <vector>

#include "core/broker/awaited_acks.hpp"
#include "core/broker/check.hpp"
#include "core/broker/largest_sessions.hpp"
#include "core/broker/ledger.hpp"
#include "core/broker/limits.hpp"
#include "core/broker/message.hpp"
#include "core/broker/outbox.hpp"
#include "core/broker/stats.hpp"
#include "core/broker/user_accounts.hpp"

namespace millrace::broker {

class Journal;

class Batch {
 public:
  explicit Batch(const ProcessorLimits& limits) : ledger_(limits.memory_bytes) {
    set_limits(limits);
  }

  void begin(std::int64_t now_ns);
  // Hands each touched outbox over and wakes each I/O thread that has one of them, once.
  void finish();

  std::int64_t now_ns() const { return now_ns_; }
  ExpirySeconds now_s() const { return now_s_; }
  const ProcessorLimits& limits() const { return limits_; }
  void set_limits(const ProcessorLimits& limits) {
    limits_ = limits;
    ledger_.set_limit(limits.memory_bytes);
    users_.set_limit(limits.user_bytes);
  }
  ProcessorStats& stats() { return stats_; }
  const ProcessorStats& stats() const { return stats_; }
  Ledger& ledger() { return ledger_; }
  const Ledger& ledger() const { return ledger_; }
  LargestSessions& largest() { return largest_; }
  const UserAccounts& users() const { return users_; }
  // After a change of what the session holds, or of whether it has a connection; and once it ended.
  void note_held(Session& session) {
    largest_.note(session);
    if (users_.counts()) [[unlikely]]
      users_.note(session);
  }

  // After it came to hold less, which LargestSessions looks for by itself.
  void note_less(Session& session) {
    if (users_.counts()) [[unlikely]]
      users_.note(session);
  }
  AwaitedAcks& awaited() { return awaited_; }

  // Work of this batch, in units of ProcessorStats::work_units: those, and what else is spent.
  void spend(std::uint64_t units) { spent_ += units; }
  std::uint64_t spent() const { return spent_ + stats_.work_units.value(); }

  void touch(Outbox& outbox) {
    if (outbox.in_batch) return;
    outbox.in_batch = true;
    touched_.push_back(&outbox);
    if (outbox.wants_sequence) [[unlikely]]
      wanting_sequence_.push_back(&outbox);
  }
  // Those of the touched outboxes that want it.
  const std::vector<Outbox*>& wanting_sequence() const { return wanting_sequence_; }
  // Takes over a reference, which is dropped when the batch's outboxes are handed over.
  void keep_until_finished(OutboxRef outbox) { closed_.push_back(std::move(outbox)); }

  // Null: nothing is stored.
  Journal* journal() const { return journal_; }
  void set_journal(Journal* journal) { journal_ = journal; }

  // Work is left over and no command has to come for it: another batch is needed soon.
  void ask_for_more() { has_more_ = true; }
  bool has_more() const { return has_more_; }

 private:
  ProcessorLimits limits_;
  ProcessorStats stats_;
  Ledger ledger_;
  LargestSessions largest_;
  UserAccounts users_;
  AwaitedAcks awaited_;
  std::uint64_t spent_ = 0;  // less the work units of the batches before; it wraps around
  std::int64_t now_ns_ = 0;
  ExpirySeconds now_s_ = 1;
  bool has_more_ = false;
  Journal* journal_ = nullptr;
  std::vector<Outbox*> touched_;  // valid: the reference of Connect lasts until closed_ is cleared
  std::vector<Outbox*> wanting_sequence_;
  std::vector<OutboxRef> closed_;  // whose Close was applied in this batch
  // One for each I/O thread that was ever woken; its vector is empty between batches.
  struct WakeUp {
    ReadyList* list = nullptr;
    std::vector<OutboxRef> outboxes;
  };
  std::vector<WakeUp> wake_ups_;
};

}  // namespace millrace::broker
