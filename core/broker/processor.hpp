// [5] apply: the processor, a deterministic state machine. Commands in, hand-overs out.
//
// It alone owns sessions, subscriptions, the topic table, packet identifiers and inflight messages.
// Time is handed in and nothing in here is random, so a replayed stream of commands gives the same
// effects: the simulator in the tests does that, without sockets.
//
//     begin(now); apply_some(command)...; finish();   called by Inbox::run_batch (inbox.cpp)
//
// The state is in its parts, each with a header of its own; the processor itself takes a command,
// asks the parts in turn, and ends the batch:
//
//     Batch           time, limits, outboxes to hand over    batch.hpp
//     SessionTimers   when a session must be looked at       session_timers.hpp
//     Router          who gets the messages of a topic       router.hpp      [6]
//     FanOut          a message to all of them               fan_out.hpp     [7]
//     Deliverer       credit, binding, inflight              deliverer.hpp   [8]
//     Values          newest and retained values, snapshots  values.hpp
//     Backlog         what waits for credit                  backlog.hpp
//     PublisherAcks   what publishers are told               publisher_acks.hpp
//     Revoker         what a reload takes from a session     revoker.hpp
//     Sessions        connect, takeover, wills, expiry       sessions.hpp
//     MemoryGuard     what is given up for memory            memory_guard.hpp
//     Inquiries       what management asks about sessions    inquiry.hpp
//     LocalSide       readers in shared memory               local_side.hpp
//     Journal         what must outlive the process          journal.hpp
//
// A batch is the unit: finish() stores each topic's newest value once, serves the sessions that have
// credit, and hands each touched outbox over once. Work of unbounded size (snapshots, due timers,
// the review after a reload) is done within a budget per batch; has_more() then asks for another
// batch soon.
//
// Threads: one holder at a time (the role; see inbox.hpp). stats() may be read by any thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "core/broker/backlog.hpp"
#include "core/broker/batch.hpp"
#include "core/broker/command.hpp"
#include "core/broker/deliverer.hpp"
#include "core/broker/demand.hpp"
#include "core/broker/fan_out.hpp"
#include "core/broker/holder_check.hpp"
#include "core/broker/inquiry.hpp"
#include "core/broker/journal.hpp"
#include "core/broker/local_side.hpp"
#include "core/broker/memory_guard.hpp"
#include "core/broker/publisher_acks.hpp"
#include "core/broker/restore.hpp"
#include "core/broker/revoker.hpp"
#include "core/broker/router.hpp"
#include "core/broker/session_timers.hpp"
#include "core/broker/sessions.hpp"
#include "core/broker/values.hpp"

namespace millrace::broker {

class Processor {
 public:
  static constexpr std::int64_t no_deadline = INT64_MAX;

  explicit Processor(const ProcessorLimits& limits);
  Processor(const Processor&) = delete;
  Processor& operator=(const Processor&) = delete;

  // Monotonic nanoseconds, never less than before; and the time of day, for local readers and the
  // journal alone.
  void begin(std::int64_t now_ns, std::uint64_t time_of_day_ns = 0);
  // False: it asks for so much that it goes on later, with another call. What others ask may come
  // in between.
  [[nodiscard]] bool apply_some(Command& command);
  void apply(Command& command) {
    while (!apply_some(command)) {
    }
  }
  // Drops a connection's command, which then counts as applied: the server ends.
  void discard(Command& command);
  void finish();

  // Work of the commands of this batch, and how much a batch is to do: see CommandTurns.
  std::uint64_t spent_units() const { return batch_.spent(); }
  std::uint64_t slice_units() const { return batch_.limits().units_per_batch; }
  std::int64_t now_ns() const { return batch_.now_ns(); }
  // What the commands that were applied since the last call are charged to the queue's limit.
  std::uint64_t take_applied_bytes() { return std::exchange(applied_bytes_, 0); }

  // There is work left and no command has to come for it: run another batch soon.
  bool has_more() const { return batch_.has_more(); }
  // When the next timer is due; run a batch then.
  std::int64_t next_deadline_ns() const;
  // begin() is to be told the time of day.
  bool needs_time_of_day() const { return local_ != nullptr || journal_ != nullptr; }

  // Local consumers are served from now on. Before the first batch; the control socket asks by
  // commands of the kind Local.
  void open_local_side(const shm::RegistryOptions& options, LocalSide::Deliver deliver);
  LocalSide* local_side() { return local_.get(); }
  const LocalSide* local_side() const { return local_.get(); }

  // Who lost something because memory is scarce. Before the first batch.
  void report_memory(MemoryGuard::Report report) { memory_guard_.set_report(std::move(report)); }
  // Any thread, for what the ledger offers to any thread.
  Ledger& ledger() { return batch_.ledger(); }
  const Ledger& ledger() const { return batch_.ledger(); }
  // Brings the ledger up to date at once. For tests and the simulator, between batches.
  void update_ledger() { memory_guard_.update_ledger(); }

  // --- The store; see journal.hpp. Before the first batch, in this order ---

  void begin_restore(std::shared_ptr<const Authority> authority, std::int64_t now_ns,
                     std::uint64_t time_of_day_ns);
  void restore(const store::Record& record) { restore_->add(record); }
  // From now on changes go to `log`, whose last batch had that number.
  RestoreFigures finish_restore(store::CommitLog& log, std::uint64_t last_number,
                                const Journal::Options& options = {});
  // Or: no change is written down from now on.
  RestoreFigures finish_restore();
  // After the last batch.
  void close_journal();
  // After the last batch: shows all that outlives the process, in the order of keys.
  void write_state(std::int64_t now_ns, std::uint64_t time_of_day_ns, bool newest_values,
                   const std::function<void(const store::Record&)>& visit);

  const ProcessorStats& stats() const { return batch_.stats(); }
  ProcessorStats& stats() { return batch_.stats(); }

  // Any thread, for what the table offers to any thread.
  const TopicTable& topics() const { return values_.topics(); }

  const Session* find_session(std::string_view client_id) const {
    return sessions_.find(client_id);
  }

  // For tests and the simulator, between batches.
  const SubscriptionIndex& index() const { return router_.index(); }
  const UserAccounts& users() const { return batch_.users(); }
  template <class Visit>
  void for_each_session(Visit&& visit) const {
    sessions_.for_each(visit);
  }
  std::array<std::uint64_t, holding_count> recount_memory() const {
    return memory_guard_.recount();
  }

 private:
  // Those that return a bool say whether it is over.
  bool apply_of_connection(Outbox& outbox, Command& command);
  void count_applied(const Command& command, std::uint32_t bytes);
  bool apply_control(Session& session, command::Control& control);
  void apply_of_server(Command& command);

  void apply_publish(Session* from, Message&& message);
  void apply_acknowledged(Session& from, PublishContext& context);
  void apply_publish_for(PublishRequest& request);
  // Why nothing of it is to happen.
  std::optional<PublishRefusal> refusal_of(const PublishRequest& request);
  void tell_publishers();
  // True: the store cannot write, and the publisher was told so.
  bool refuse_unwritten(Session& from, std::uint8_t qos, std::uint16_t packet_id);
  bool apply_subscribe(Session& session, SubscribeRequest& request);
  void judge_anew(const Session& session, SubscribeRequest& request);
  static void explain(const Session& session, SubscribeRequest& request, protocol::Suback& suback);
  protocol::ReasonCode subscribe(Session& session, const SubscriptionRequest& wanted,
                                 std::uint32_t identifier);
  bool apply_unsubscribe(Session& session, UnsubscribeRequest& request);
  std::uint64_t units_per_call() const;
  template <class Answer>
  void answer(Session& session, const Answer& packet);
  template <class Ack>
  void apply_ack(Session& session, const Ack& ack);

  // Steps 6 and 7. Returns what FanOut::publish() returns.
  std::size_t route_and_fan_out(PublishContext& context);
  // The same, and a message without a subscriber is counted.
  std::size_t publish(PublishContext& context);
  void shed_answers();
  void publish_due_wills();
  void tell_awaited();
  void tell_sequence();
  void answer_inquiries();
  void tell_demand();

  void finish_batch();
  void set_limits(const ProcessorLimits& limits);
  void update_gauges();

  HolderCheck holder_;
  Batch batch_;
  SessionTimers timers_;
  Values values_;
  Router router_;
  Demand demand_;
  PublisherAcks publisher_acks_;
  Backlog backlog_;
  Deliverer deliverer_;
  FanOut fan_out_;
  Revoker revoker_;
  Sessions sessions_;
  MemoryGuard memory_guard_;
  Inquiries inquiries_;
  // Of this batch: who is told, at its end, what became of what they published without a session.
  struct Told {
    std::function<void(std::optional<PublishRefusal>)> done;
    std::optional<PublishRefusal> why;
  };
  std::vector<Told> told_;
  std::unique_ptr<Restore> restore_;  // from begin_restore() to finish_restore()
  std::unique_ptr<Journal> journal_;  // null: nothing is stored
  std::unique_ptr<LocalSide> local_;  // null: no local readers. Last: its end changes the index
  std::uint64_t commands_ = 0;        // in this batch
  std::uint64_t applied_bytes_ = 0;   // see take_applied_bytes()
};

}  // namespace millrace::broker
