// [5] apply: the processor, a deterministic state machine. Commands in, hand-overs out.
//
// It alone owns sessions, subscriptions, the topic table, packet identifiers and inflight messages.
// Time is handed in and nothing in here is random, so a replayed stream of commands gives the same
// effects: the simulator in the tests does that, without sockets.
//
//     begin(now); apply(command)...; finish();
//
// A batch is the unit: finish() stores each topic's newest value once [6], serves the sessions that
// have credit, and hands each touched outbox over once [8]. Work of unbounded size (stored values
// for a new subscription, due timers) is done within a budget per batch; has_more() then asks for
// another batch soon.
//
// Threads: one holder at a time (the role; see inbox.hpp). stats() may be read by any thread.
//
// The definitions stand by subject: processor.cpp (batch, dispatch), processor_connect.cpp (the
// life of connections and sessions), processor_subscribe.cpp (subscriptions, stored values),
// processor_publish.cpp (routing), processor_deliver.cpp (credit, binding, acknowledgements).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/broker/buffer_releases.hpp"
#include "core/broker/command.hpp"
#include "core/broker/local_side.hpp"
#include "core/broker/outbox.hpp"
#include "core/broker/session.hpp"
#include "core/broker/stats.hpp"
#include "core/broker/subscription_index.hpp"
#include "core/broker/topic_table.hpp"

namespace millrace::broker {

class Processor {
 public:
  static constexpr std::int64_t no_deadline = INT64_MAX;

  explicit Processor(const ProcessorLimits& limits);
  ~Processor();

  // Monotonic nanoseconds; never less than before.
  void begin(std::int64_t now_ns);
  void apply(Command& command);
  void finish();

  // There is work left that no command will bring: run another batch soon.
  bool has_more() const { return has_more_; }
  // When the next timer is due; run a batch then.
  std::int64_t next_deadline_ns() const;

  // Local consumers are served from now on. Before the first batch; the control socket asks by commands of
  // the kind `local`. [7]
  void open_local_side(const shm::RegistryOptions& options, LocalSide::Deliver deliver);
  LocalSide* local_side() { return local_.get(); }
  const LocalSide* local_side() const { return local_.get(); }

  const ProcessorStats& stats() const { return stats_; }
  ProcessorStats& stats() { return stats_; }

  // Any thread, for what the table offers to any thread.
  const TopicTable& topics() const { return topics_; }

  // For tests and the simulator, between batches.
  const Session* find_session(std::string_view client_id) const;
  const SubscriptionIndex& index() const { return index_; }

 private:
  // --- processor.cpp ---
  void apply_of_connection(Outbox& outbox, Command& command);
  void apply_of_server(Command& command);
  // Topics beyond a lowered limit go as new ones come; sessions and subscriptions stay.
  void set_limits(const ProcessorLimits& limits);
  void touch(Outbox& outbox);
  void serve_later(Session& session);
  void hand_over_all();
  void fire_timers();
  void reschedule(Session& session);
  void store_batch_values();
  void update_gauges();

  // --- processor_connect.cpp ---
  void apply_connect(Outbox& outbox, ConnectRequest& request);
  void apply_close(Outbox& outbox, const command::Close& close);
  Session& start_session(ConnectRequest& request);
  void resume(Session& session);
  void note_will(Session& session, std::optional<ConnectRequest::Will>&& will);
  enum class Will : std::uint8_t { publish, discard };
  // Parts session and connection; the session ends if it does not outlive its connection.
  void detach(Session& session, Will will);
  // Ends a connection from this side: tells it why, and parts it from its session.
  void disconnect(Session& session, protocol::ReasonCode reason);
  // What is only of one connection ends with it.
  void settle_deferred(Session& session);
  void publish_will_later(Session& session);
  void end_session(Session& session);
  void redistribute_shared(Session& session);
  void fire(Session& session);
  void fire_rate_limits(Session& session);
  void publish_due_wills();

  // --- processor_subscribe.cpp ---
  void apply_subscribe(Session& session, SubscribeRequest& request);
  void apply_unsubscribe(Session& session, UnsubscribeRequest& request);
  protocol::ReasonCode subscribe(Session& session, const SubscriptionRequest& wanted,
                                 std::uint32_t identifier);
  void leave_group(Subscription& subscription);
  void add_to_group(Subscription& subscription, const std::string& group_name);
  void remove(Subscription& subscription);
  void forget_deferred(Session& session, std::span<const Subscription* const> ended);
  void note_binding(Session& session);
  void plant_seed(Session& session, const SubscriptionRequest& wanted,
                  const Subscription& subscription, bool is_new);
  enum class Seeded : std::uint8_t { one, none, no_credit, out_of_budget };
  Seeded bind_one_seed(Session& session);
  // Null at the end, or when the budget is used up: then the cursor stays where it is.
  Topic* next_seed_topic(TopicWalk& walk, bool& out_of_budget);

  // --- processor_publish.cpp ---
  void apply_publish(Session* from, Message&& message);
  // Routes the message to all that match; returns how many sessions that were. Takes the message.
  std::size_t route(Message&& message, Session* from);
  // The same for a client's message, with none counted as unmatched.
  std::size_t publish(Message&& message, Session* from);
  Topic& topic_of(const Message& message);
  const Route& route_of(Topic& topic);
  Route compute_route(const Topic& topic);
  void add_target(Route& route, const Subscription& subscription);
  void note_batch_value(Topic& topic, Message&& message);
  void route_to(const RouteTarget& target, const Message& message, const Session* from);
  RouteGroup group_for(SharedGroup& group, std::string_view topic) const;
  bool route_to_group(const RouteGroup& route, const Message& message);
  void enqueue(Session& session, Mode mode, PendingEntry entry);
  void enqueue_every(Session& session, PendingEntry entry);
  void enqueue_request(Session& session, PendingEntry entry);
  void enqueue_limited(Session& session, PendingEntry entry);
  void release_held(Session& session);
  void bound_newest(Session& session);
  void collapse(Session& session);
  void acknowledge(Session& publisher, std::uint8_t qos, std::uint16_t packet_id,
                   protocol::ReasonCode reason);
  void withhold(Session& receiver, Session& publisher, std::uint8_t qos, std::uint16_t packet_id);
  void release_withheld(Session& receiver);
  const Message& kept(const Message& message);

  // --- processor_deliver.cpp ---
  void apply_puback(Session& session, const command::Puback& puback);
  void apply_pubrec(Session& session, const command::Pubrec& pubrec);
  void apply_pubrel(Session& session, const command::Pubrel& pubrel);
  void apply_pubcomp(Session& session, const command::Pubcomp& pubcomp);
  void apply_drained(Session& session, const command::Drained& drained);
  void unfold_if_caught_up(Session& session);
  std::int64_t stale_ns() const {
    return std::int64_t{limits_.adaptive_stale_after_ms} * 1'000'000;
  }
  // A session whose backlog collapsed has the small credit until it has caught up.
  bool has_credit(const Session& session, Mode mode) const {
    const Outbox& outbox = *session.outbox;
    if (mode == Mode::adaptive && session.pending.collapsed()) mode = Mode::latest;
    const std::uint32_t credit = mode == Mode::latest ? limits_.credit_latest_bytes
                                                      : limits_.credit_bytes + outbox.credit_raise;
    return outbox.outstanding_bytes < credit;
  }
  bool has_window(const Session& session) const;
  // Binds what credit and window allow, from both lanes and the seeds in turn.
  void serve(Session& session);
  bool bind_front(Session& session, PendingQueue::Lane lane);
  // Binds one message to the session's connection. `subscription` is kept with QoS 1 and 2.
  void bind(Session& session, Delivery&& delivery, std::uint32_t subscription);
  void stage(Session& session, Delivery&& delivery);
  void stage_as_is(Outbox& outbox, const Message& message);
  void redeliver(Session& session);
  void settle(Session& session, Inflight& entry);
  void note_pending(Session& session);
  bool is_deliverable(const Session& session, const Delivery& delivery);
  void compact(Handover& handover);

  ProcessorLimits limits_;
  ProcessorStats stats_;
  std::int64_t now_ns_ = 0;
  std::uint32_t now_s_ = 1;

  TopicTable topics_;
  SubscriptionIndex index_;
  std::unique_ptr<LocalSide> local_;  // null: no control socket
  // By client identifier, as the session holds it.
  std::unordered_map<std::string_view, std::unique_ptr<Session>, protocol::TopicHash> sessions_;
  // By "name/filter".
  std::unordered_map<std::string, std::unique_ptr<SharedGroup>, protocol::TopicHash> groups_;
  std::set<std::tuple<std::int64_t, std::uint64_t, Session*>> timers_;

  std::uint64_t sequence_ = 0;  // of publishes
  std::uint64_t session_number_ = 0;
  std::uint32_t subscription_number_ = 0;
  std::uint64_t route_stamp_ = 0;

  // --- Of the current batch ---
  struct BatchValue {
    Topic* topic = nullptr;
    Message newest;
    Message retained;
    bool clears_retained = false;
  };
  std::vector<BatchValue> batch_values_;
  BufferReleases releases_;
  std::vector<Outbox*> touched_;
  std::vector<Session*> to_serve_;
  std::vector<Session*> serve_again_;
  std::vector<Message> due_wills_;
  std::vector<OutboxRef> closed_;
  // What ended in this batch, kept until its end because routes and lists still point at it.
  std::vector<std::unique_ptr<Session>> ended_sessions_;
  std::vector<std::unique_ptr<Subscription>> ended_subscriptions_;
  std::vector<std::unique_ptr<SharedGroup>> ended_groups_;
  struct WakeUp {
    ReadyList* list = nullptr;
    std::vector<OutboxRef> outboxes;
  };
  std::vector<WakeUp> wake_ups_;
  Topic* last_topic_ = nullptr;    // of the previous publish: runs of one topic skip the look-up
  Session* withholder_ = nullptr;  // whose full queue withholds the current publish's ack
  bool can_withhold_ = false;      // the current publish is a client's, and is to be acknowledged
  Message kept_;                   // the copy to keep of the message that is routed now
  std::uint32_t seed_budget_ = 0;
  std::uint64_t batch_commands_ = 0;
  bool has_more_ = false;
};

}  // namespace millrace::broker
