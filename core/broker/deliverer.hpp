// [8] deliver: from a message that is for a session to one that is bound to its connection.
//
// Credit: how many bytes a connection may have bound and not reported as written; while its values
// may be replaced, the connection says how many, after what its reader has room for. Window: how many
// QoS 1 and 2 messages it may have unsettled. What both allow is bound: it gets its packet
// identifier and is staged in the outbox; all else waits in the Backlog, and is served at the end of
// the batch, in turn with the stored values that new subscriptions begin with. A client's Pace keeps
// back what may be replaced, as used-up credit does, until its time has come (shape.hpp).
//
// What always holds: what is bound is never replaced, dropped or reordered; a connection has at most
// its credit and one message bound, and at most its Receive Maximum unsettled [MQTT-3.3.4-9], which
// take at most a half of what a session may hold, and one message; an inflight message leaves only
// by its acknowledgement, its expiry or the end of its session.
//
// Threads: the processor's holder alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "core/broker/backlog.hpp"
#include "core/broker/batch.hpp"
#include "core/broker/command.hpp"
#include "core/broker/credit.hpp"
#include "core/broker/publish_context.hpp"
#include "core/broker/publisher_acks.hpp"
#include "core/broker/route.hpp"
#include "core/broker/session.hpp"
#include "core/broker/session_timers.hpp"
#include "core/broker/snapshot_turns.hpp"
#include "core/broker/values.hpp"

namespace millrace::broker {

class Deliverer {
 public:
  struct Parts {
    Batch& batch;
    SessionTimers& timers;
    Values& values;
    Backlog& backlog;
    PublisherAcks& publisher_acks;
  };
  explicit Deliverer(const Parts& parts)
      : batch_(parts.batch),
        timers_(parts.timers),
        values_(parts.values),
        backlog_(parts.backlog),
        publisher_acks_(parts.publisher_acks) {}

  // --- A message that is routed now ---

  void deliver(const RouteTarget& target, PublishContext& context);
  // Once before a request is delivered to the targets of a route.
  void before_request(const Route& route);
  // To the member of a shared group whose turn it is.
  void deliver_to_member(const Subscription& member, PublishContext& context);

  // --- What the client answers; false: it broke the protocol, and its connection must end ---

  [[nodiscard]] bool apply(Session& session, const command::Puback& puback);
  [[nodiscard]] bool apply(Session& session, const command::Pubrec& pubrec);
  [[nodiscard]] bool apply(Session& session, const command::Pubcomp& pubcomp);
  void apply(Session& session, const command::Drained& drained);

  // --- The life of the session ---

  // See Backlog::make_spool().
  void make_spool(Session& session, const std::optional<QueueLimits>& limits,
                  std::shared_ptr<SpoolFigures> figures) {
    backlog_.make_spool(session, limits, std::move(figures));
  }
  // It has a connection again: what is inflight is sent once more.
  void resume(Session& session);
  // At the start: messages of the last process are inflight in it.
  void restored(Session& session) {
    batch_.stats().inflight.add(session.inflight.unsettled());
    note_inflight(session, 0);
  }
  // Its connection is gone.
  void part(Session& session);
  // A timer of it is due.
  void on_timer(Session& session);
  // It ends: nothing is inflight any more.
  void clear(Session& session, SharedHeirs heirs);
  // Stored values for a subscription, from the first on; and no more for those that ended.
  void add_snapshot(Session& session, SnapshotCursor cursor);
  void drop_snapshots(Session& session, std::span<const Subscription* const> ended);

  // --- The end of the batch, and of a SUBSCRIBE ---

  // Lists the session for serve_all(), if anything waits in it.
  void serve_later(Session& session);
  // Binds what waits in the session, as far as credit and window allow.
  void serve(Session& session);
  void serve_all();
  // Asks for another batch if something is left for it.
  void finish_batch();

 private:
  // A session whose backlog collapsed has the small credit until it has caught up.
  bool has_credit(const Session& session, Mode mode) const {
    const Outbox& outbox = *session.outbox;
    if (mode == Mode::adaptive && session.pending.collapsed()) mode = Mode::latest;
    return outbox.outstanding_bytes < credit_bytes(outbox, mode, batch_.limits());
  }
  // A request is no value: it neither waits for the client's pace nor counts for it.
  static bool is_paced(const Session& session, Mode mode, const Message& message) {
    return session.is_paced && mode != Mode::every && !message.request;
  }
  // By the client's pace; or by history, which goes before all that was published later.
  bool is_held_back(const Session& session, Mode mode, const Message& message) const {
    if (!session.is_paced) [[likely]]
      return false;
    if (session.deferred.read().snapshots.has_history()) return true;
    return is_paced(session, mode, message) && session.is_held_back(batch_.now_ns());
  }
  void spend(Session& session, Mode mode, const Message& message) {
    if (!is_paced(session, mode, message)) [[likely]]
      return;
    session.deferred.write().pace.spend(message.packet_bytes, batch_.now_ns());
  }
  bool has_window(const Session& session) const;
  // Bound to its connection from now on.
  static void charge(Outbox& outbox, std::uint32_t bytes) {
    MILLRACE_CHECK(outbox.outstanding_bytes <= UINT32_MAX - bytes);
    outbox.outstanding_bytes += bytes;
  }
  // The messages that are inflight took so much before. Noted when they come to or below another
  // multiple of noted_bytes.
  void note_inflight(Session& session, std::uint64_t bytes_before) {
    if ((bytes_before ^ session.inflight.bytes()) >= LargestSessions::noted_bytes) [[unlikely]]
      batch_.note_held(session);
  }
  // Some credit: the larger one, whatever the mode.
  bool has_any_credit(const Outbox& outbox) const {
    const ProcessorLimits& limits = batch_.limits();
    return outbox.outstanding_bytes < std::max(credit_bytes(outbox, Mode::latest, limits),
                                               credit_bytes(outbox, Mode::every, limits));
  }

  // Of a subscription with a change filter, while nothing waits. False: it has to wait.
  bool deliver_filtered(const RouteTarget& target, PublishContext& context, std::uint8_t qos,
                        bool retain, std::uint32_t number);

  enum class Snapshots : std::uint8_t { in_turn, later };
  void serve(Session& session, Snapshots snapshots);
  bool bind_front(Session& session, PendingQueue::Lane lane);
  void bind_shaped(Session& session, PendingEntry&& entry, Mode mode);
  bool may_send_snapshot(Session& session) const;
  bool bind_from_snapshot(Session& session);
  // Binds one message to the session's connection. `subscription` is kept with QoS 1 and 2. With
  // `every` it neither waits for the client's pace nor counts for it.
  // False: it is not sent, as it has expired or is too large.
  bool bind(Session& session, Delivery&& delivery, std::uint32_t subscription, Mode mode);
  static std::uint32_t number_of_awaited(const Session& session, const Delivery& delivery) {
    return session.origin != 0 ? delivery.stored : 0;
  }
  std::uint32_t number_of_copy(const Session& session, PublishContext& context);
  bool is_deliverable(const Session& session, const Delivery& delivery);
  bool is_small_enough(const Session& session, const Delivery& delivery);
  bool has_expired(const Message& message) const {
    return message.expires_at_s != 0 && message.expires_at_s <= batch_.now_s();
  }
  void stage(Session& session, Delivery&& delivery);
  void stage_unchanged(Outbox& outbox, const Message& message);
  void redeliver(Session& session);
  void settle(Session& session, Inflight& entry, protocol::ReasonCode result);

  Batch& batch_;
  SessionTimers& timers_;
  Values& values_;
  Backlog& backlog_;
  PublisherAcks& publisher_acks_;

  std::vector<Session*> to_serve_;  // each once; Session::waits_for_service
  SnapshotTurns snapshot_turns_;
};

}  // namespace millrace::broker
