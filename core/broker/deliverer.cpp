// Credit, binding and acknowledgements.
// Source: MQTT 5.0 sections 3.3.4, 4.3, 4.4, 4.9; the delivery contract, docs/delivery.md.
#include "core/broker/deliverer.hpp"

#include <algorithm>
#include <cassert>

#include "core/broker/journal.hpp"
#include "protocol/encode.hpp"

namespace millrace::broker {

using protocol::ReasonCode;

namespace {

// What a message that waits costs: in order, or in its topic's cell. Measured: see FanOut.
constexpr std::uint64_t queued_units = 1;
constexpr std::uint64_t conflating_units = 5;

// Is the delivery's packet within the client's Maximum Packet Size [MQTT-3.1.2-24], and within what
// MQTT can express? Only identifiers without a bound can make a packet that large: what else is
// added is allowed for in the limit of packet_bytes_max.
bool fits(const Session& session, const Delivery& delivery) {
  if (session.packet_bytes_max == 0 && !delivery.identifiers) return true;
  const Message& message = delivery.message;
  protocol::PublishHeader header;
  header.version = session.outbox->version;
  header.qos = static_cast<protocol::QoS>(delivery.qos);
  header.packet_id = delivery.qos > 0 ? 1 : 0;
  header.topic = message.topic();
  header.payload_bytes = message.payload_bytes();
  header.properties = message.properties();
  if (delivery.identifiers) header.subscription_identifiers = delivery.identifiers->values;
  const std::size_t bytes = protocol::publish_header_bytes(header) + message.payload_bytes();
  return bytes <=
         (session.packet_bytes_max != 0 ? session.packet_bytes_max : protocol::packet_bytes_limit);
}

}  // namespace

// --- A message that is routed now ----------------------------------------------------------------

void Deliverer::deliver(const RouteTarget& target, PublishContext& context) {
  Session& session = *target.session;
  const Message& message = context.message;
  MILLRACE_CHECK(!session.connected() || session.outbox->session == &session);
  if (target.no_local && &session == context.from) return;  // [MQTT-3.8.3-3]
  const std::uint8_t qos = std::min(message.qos, target.qos);
  // A session that ended while this message was routed is still listed, without a connection.
  if (!session.connected() && (qos == 0 || session.ended)) return;
  const bool is_awaited = target.confirms && context.can_withhold && qos > 0;
  const std::uint32_t number = is_awaited ? number_of_copy(session, context) : 0;
  // [MQTT-3.3.1-12], [MQTT-3.3.1-13]; in 3.1.1 the flag is never set on a live message.
  const bool retain = message.retain && target.retain_as_published;
  if (session.connected() && session.pending.empty() &&
      (target.shape == nullptr || target.shape->is_weight_alone()) &&
      has_credit(session, target.mode) && !is_held_back(session, target.mode, message)) {
    if (message.may_pass_unchanged && retain == message.retain && !target.identifiers &&
        session.bytes_may_pass && session.is_v5 == message.is_v5) {
      spend(session, target.mode, message);
      return stage_unchanged(*session.outbox, message);
    }
    if (qos == 0 || has_window(session)) {
      Delivery delivery;
      delivery.message = qos == 0 ? message : context.to_keep();
      delivery.identifiers = target.identifiers;
      delivery.qos = qos;
      delivery.retain = retain;
      delivery.stored = number;
      bind(session, std::move(delivery), target.subscription, target.mode);
      return;
    }
  }
  if (target.shape != nullptr && deliver_filtered(target, context, qos, retain, number)) {
    return;
  }
  PendingEntry entry;
  entry.delivery.message = context.to_keep();
  entry.delivery.identifiers = target.identifiers;
  entry.delivery.qos = qos;
  entry.delivery.retain = retain;
  entry.delivery.stored = number;
  entry.subscription = target.subscription;
  entry.since_ns = batch_.now_ns();
  entry.shape = target.shape;
  backlog_.add(session, target.mode, std::move(entry), context);
  if (!session.connected()) return batch_.spend(queued_units);
  batch_.spend(target.mode == Mode::every ? queued_units : conflating_units);
  serve_later(session);
  timers_.reschedule(session, batch_);
}

// Its acknowledgement is the link's peer's.
std::uint32_t Deliverer::number_of_copy(const Session& session, PublishContext& context) {
  MILLRACE_CHECK(context.from != nullptr && session.origin != 0);
  context.is_awaited = true;
  return batch_.awaited().add(session);
}

bool Deliverer::deliver_filtered(const RouteTarget& target, PublishContext& context,
                                 std::uint8_t qos, bool retain, std::uint32_t number) {
  Session& session = *target.session;
  const Shape& shape = *target.shape;
  if (!shape.filters() || context.message.request) return false;
  if (!session.connected() || !session.pending.empty()) return false;
  // It is to be compared with the last value of the history, which was not sent yet.
  if (session.deferred.read().snapshots.has_history()) return false;
  const ConflationKey key{target.subscription, context.message.topic_hash};
  const ComparedValue value = context.compared_by(shape);
  if (backlog_.is_unchanged(session, shape, key, value)) {
    if (shape.heartbeat_s != 0) return false;
    backlog_.drop_unchanged(session, key, number);
    return true;
  }
  if (shape.interval_ms != 0 || !has_credit(session, target.mode)) return false;
  if (is_held_back(session, target.mode, context.message)) return false;
  if (qos > 0 && !has_window(session)) return false;
  Delivery delivery;
  delivery.message = qos == 0 ? context.message : context.to_keep();
  delivery.identifiers = target.identifiers;
  delivery.qos = qos;
  delivery.retain = retain;
  delivery.stored = number;
  backlog_.drop_held(session, key);
  if (bind(session, std::move(delivery), target.subscription, target.mode)) {
    backlog_.note_sent(session, key, shape, value);
  }
  backlog_.update_gauges(session);
  timers_.reschedule(session, batch_);
  return true;
}

void Deliverer::before_request(const Route& route) {
  for (const RouteTarget& target : route.targets) {
    Session& session = *target.session;
    if (target.shape == nullptr || !session.connected()) continue;
    backlog_.before_request(session);
    serve_later(session);
  }
}

void Deliverer::deliver_to_member(const Subscription& member, PublishContext& context) {
  assert(member.session != nullptr && !member.session->ended);
  const SubscriptionExtras& extras = member.extras.read();
  RouteTarget target;
  target.session = member.session;
  target.subscription = member.number;
  target.identifiers = extras.identifiers;
  target.qos = member.qos;
  target.retain_as_published = member.retain_as_published;
  target.mode = Mode::every;  // never conflated
  deliver(target, context);
}

// --- Serving what waits --------------------------------------------------------------------------

void Deliverer::serve_later(Session& session) {
  MILLRACE_CHECK(!session.ended);
  if (session.waits_for_service) return;
  const DeferredWork& deferred = session.deferred.read();
  if (session.pending.empty() && deferred.snapshots.empty() && deferred.redeliver.empty()) return;
  session.waits_for_service = true;
  to_serve_.push_back(&session);
}

void Deliverer::serve_all() {
  // Serving one session may end another one's wait, so the list may grow while it is walked.
  std::size_t served = 0;
  const auto serve_listed = [&] {
    for (; served < to_serve_.size(); ++served) {
      Session& session = *to_serve_[served];
      MILLRACE_CHECK(session.waits_for_service);
      session.waits_for_service = false;
      if (session.connected()) serve(session);
    }
  };
  serve_listed();
  while (!snapshot_turns_.empty() && values_.begin_turn()) {
    Session& session = snapshot_turns_.take();
    MILLRACE_CHECK(session.connected());
    serve(session, Snapshots::in_turn);
    serve_listed();
  }
  to_serve_.clear();
}

void Deliverer::finish_batch() {
  if (!to_serve_.empty() || !snapshot_turns_.empty()) batch_.ask_for_more();
}

void Deliverer::serve(Session& session) {
  const bool waits = !session.deferred.read().snapshots.empty();
  // Behind those that wait already.
  const bool has_turn = waits && snapshot_turns_.empty() && values_.begin_turn();
  serve(session, has_turn ? Snapshots::in_turn : Snapshots::later);
}

void Deliverer::serve(Session& session, Snapshots snapshots) {
  assert(session.connected() && !session.ended);
  if (session.is_paced && session.has_replaceable()) [[unlikely]]
    session.deferred.write().pace.wait(batch_.now_ns());
  redeliver(session);
  for (bool progress = true; progress;) {
    progress = bind_front(session, PendingQueue::Lane::every);
    progress |= bind_front(session, PendingQueue::Lane::newest);
    if (snapshots == Snapshots::in_turn && !session.deferred.read().snapshots.empty()) {
      progress |= bind_from_snapshot(session);
    }
  }
  if (session.is_paced && !session.has_replaceable()) [[unlikely]]
    session.deferred.write().pace.end_wait();
  // Without credit, it is the client's answer that brings it here again.
  if (may_send_snapshot(session)) snapshot_turns_.wait(session);
  const QueueLimits limits = backlog_.limits_of(session);
  if (session.pending.every_size() <= limits.messages / 4 * 3 &&
      session.pending.every_bytes() <= limits.bytes / 4 * 3) {
    publisher_acks_.release(session);
  }
  // All that waited may have expired: then no report will tell that it has caught up.
  if (session.outbox->outstanding_bytes == 0) backlog_.unfold_if_caught_up(session);
  backlog_.update_gauges(session);
  timers_.reschedule(session, batch_);
}

// What is to be sent again goes first [MQTT-4.6.0-6].
bool Deliverer::has_window(const Session& session) const {
  const InflightWindow& inflight = session.inflight;
  MILLRACE_CHECK(inflight.unsent() <= inflight.unsettled());
  return inflight.unsent() == 0 && inflight.unsettled() < session.receive_maximum &&
         inflight.has_identifier() && inflight.bytes() < batch_.limits().session_bytes / 2 &&
         (!session.user_is_full || inflight.unsettled() == 0);  // one can always be sent
}

bool Deliverer::bind_front(Session& session, PendingQueue::Lane lane) {
  const PendingEntry* front = session.pending.front(lane);
  if (front == nullptr) return false;
  const bool conflates = lane == PendingQueue::Lane::newest &&
                         (session.pending.collapsed() || session.pending.front_is_cell());
  if (!has_credit(session, conflates ? Mode::latest : Mode::every)) return false;
  if (front->delivery.qos > 0 && !has_window(session)) return false;
  const Mode mode = lane == PendingQueue::Lane::newest ? Mode::latest : Mode::every;
  if (is_held_back(session, mode, front->delivery.message)) {
    // As by its socket: it does not keep up.
    const bool has_budget = session.deferred.read().pace.is_within_budget(batch_.now_ns());
    if (!has_budget) session.pending.note_blocked(batch_.now_ns());
    return false;
  }
  PendingEntry entry = session.pending.pop(lane);
  if (!entry.shape) {
    bind(session, std::move(entry.delivery), entry.subscription, mode);
  } else if (!backlog_.keep_unchanged(session, entry)) {
    bind_shaped(session, std::move(entry), mode);
  }
  return true;
}

void Deliverer::bind_shaped(Session& session, PendingEntry&& entry, Mode mode) {
  const ConflationKey key = key_of(entry);
  const Shape& shape = *entry.shape;
  if (shape.interval_ms != 0) {
    const std::int64_t next_ns = batch_.now_ns() + std::int64_t{shape.interval_ms} * 1'000'000;
    session.deferred.write().rate_limits.note_sent(key, next_ns, backlog_.topics_max());
  }
  const ComparedValue value =
      shape.filters() ? compared_value(shape, entry.delivery.message.payload()) : ComparedValue{};
  if (bind(session, std::move(entry.delivery), entry.subscription, mode)) {
    backlog_.note_sent(session, key, shape, value);
  }
}

bool Deliverer::may_send_snapshot(Session& session) const {
  if (session.deferred.read().snapshots.empty()) return false;
  const Subscription& subscription = *session.deferred.read().snapshots.front().subscription;
  assert(subscription.session == &session);
  const bool held_back = subscription.mode != Mode::every && session.is_held_back(batch_.now_ns());
  return !held_back && has_credit(session, subscription.mode) &&
         (subscription.qos == 0 || has_window(session));
}

bool Deliverer::bind_from_snapshot(Session& session) {
  while (may_send_snapshot(session)) {
    SnapshotQueue& snapshots = session.deferred.write().snapshots;
    SnapshotCursor& cursor = snapshots.front();
    const Subscription& subscription = *cursor.subscription;
    Values::StoredValue value;
    const Values::Step step = values_.next(cursor, value);
    if (step == Values::Step::out_of_budget) return false;
    if (step == Values::Step::end) {
      const bool had_history = snapshots.has_history();
      snapshots.pop_front();
      session.update_pacing();
      if (had_history && !snapshots.has_history()) return true;  // what it held back may go now
      continue;
    }
    const bool of_history = value.of_history;
    Delivery delivery;
    delivery.qos = std::min(value.message.qos, subscription.qos);
    delivery.retain = value.retained;  // [MQTT-3.3.1-8]
    delivery.replayed = true;
    delivery.identifiers = subscription.extras.read().identifiers;
    delivery.message = std::move(value.message);
    const ConflationKey key{subscription.number, delivery.message.topic_hash};
    const Shape* const shape = subscription.extras.read().shape.get();
    const bool filters = shape != nullptr && shape->filters();
    const ComparedValue compared =
        filters ? compared_value(*shape, delivery.message.payload()) : ComparedValue{};
    if (bind(session, std::move(delivery), subscription.number, subscription.mode)) {
      if (of_history) batch_.stats().history_sent.add();
      if (filters) backlog_.note_sent(session, key, *shape, compared);
    }
    return true;
  }
  session.forget_empty_deferred();
  return false;
}

void Deliverer::add_snapshot(Session& session, SnapshotCursor cursor) {
  assert(cursor.subscription->session == &session);
  session.deferred.write().snapshots.add(std::move(cursor));
  session.update_pacing();
  batch_.stats().work_units.add();
}

void Deliverer::drop_snapshots(Session& session, std::span<const Subscription* const> ended) {
  if (session.deferred.read().snapshots.empty()) return;
  SnapshotQueue& snapshots = session.deferred.write().snapshots;
  const bool had_history = snapshots.has_history();
  for (const Subscription* subscription : ended) snapshots.end(*subscription);
  session.update_pacing();
  if (had_history && !snapshots.has_history()) serve_later(session);  // what it held back
  batch_.stats().work_units.add(ended.size());
}

// --- Binding -------------------------------------------------------------------------------------

bool Deliverer::is_deliverable(const Session& session, const Delivery& delivery) {
  if (has_expired(delivery.message)) {  // [MQTT-3.3.2-5]
    batch_.stats().drop(Drop::expired);
    return false;
  }
  return is_small_enough(session, delivery);
}

bool Deliverer::is_small_enough(const Session& session, const Delivery& delivery) {
  if (fits(session, delivery)) return true;
  batch_.stats().drop(Drop::too_large);  // [MQTT-3.1.2-25]: as if it had been sent
  return false;
}

bool Deliverer::bind(Session& session, Delivery&& delivery, std::uint32_t subscription, Mode mode) {
  MILLRACE_CHECK(delivery.packet_id == 0 && delivery.qos <= 2);
  MILLRACE_CHECK(delivery.qos == 0 || has_window(session));
  if (!is_deliverable(session, delivery)) {
    if (session.stored) batch_.journal()->gone(session, delivery);
    batch_.awaited().settle(number_of_awaited(session, delivery),
                            ReasonCode::implementation_specific_error);
    return false;
  }
  if (delivery.qos > 0) {
    const std::uint64_t before = session.inflight.bytes();
    if (session.stored) batch_.journal()->number(session, delivery);
    delivery.packet_id = session.inflight.add(delivery, subscription);
    if (session.stored) batch_.journal()->bound(session, delivery, subscription);
    batch_.stats().inflight.add();
    note_inflight(session, before);
  }
  batch_.stats().delivered[delivery.qos].add();
  spend(session, mode, delivery.message);
  stage(session, std::move(delivery));
  return true;
}

void Deliverer::stage(Session& session, Delivery&& delivery) {
  MILLRACE_CHECK((delivery.qos == 0) == (delivery.packet_id == 0));
  Outbox& outbox = *session.outbox;
  MILLRACE_CHECK(outbox.session == &session && has_any_credit(outbox));
  charge(outbox, delivery.charge_bytes());
  // If the process ended before the store has its identifier, another message could get that, and
  // the client would take it for this one, sent again.
  if (delivery.qos == 2 && session.stored && batch_.journal()->answers_wait() &&
      !batch_.journal()->gate().holds_all(outbox)) {
    return batch_.journal()->gate().hold(outbox, std::move(delivery));
  }
  outbox.staged().deliveries.emplace_back(std::move(delivery));
  batch_.touch(outbox);
}

void Deliverer::stage_unchanged(Outbox& outbox, const Message& message) {
  MILLRACE_CHECK(message.qos == 0 && !message.duplicate && message.expires_at_s == 0);
  MILLRACE_CHECK(outbox.attached() && has_any_credit(outbox));
  batch_.stats().delivered[0].add();
  charge(outbox, message.packet_bytes);
  auto& deliveries = outbox.staged().deliveries;
  if (!deliveries.empty()) {
    auto* const run = boost::variant2::get_if<PacketRun>(&deliveries.back());
    if (run != nullptr && run->buffer == message.buffer &&
        run->offset + run->bytes == message.packet_offset) {
      MILLRACE_CHECK(outbox.in_batch);
      run->bytes += message.packet_bytes;
      run->payload_bytes += message.payload_bytes();
      ++run->count;
      return;
    }
  }
  batch_.touch(outbox);
  deliveries.emplace_back(PacketRun{message.buffer, message.packet_offset, message.packet_bytes,
                                    message.payload_bytes(), 1});
}

// --- Inflight ------------------------------------------------------------------------------------

// Sends what was inflight once more, in the order in which it was first sent [MQTT-4.4.0-1],
// [MQTT-4.6.0-1], as far as the new connection's Receive Maximum and its credit go; the rest
// follows in serve().
void Deliverer::resume(Session& session) {
  assert(session.connected());
  std::vector<std::uint16_t> redeliver;
  session.inflight.for_each_unsettled([&](Inflight& entry) {
    const bool released = entry.state == InflightState::awaits_pubcomp;
    session.inflight.set_unsent(entry, !released);
    if (released) {
      protocol::encode_ack(protocol::PacketType::pubrel, entry.delivery.packet_id,
                           ReasonCode::success, session.outbox->version,
                           session.outbox->staged().control);
    } else {
      redeliver.push_back(entry.delivery.packet_id);
    }
  });
  assert(session.inflight.unsent() == redeliver.size());
  std::ranges::reverse(redeliver);
  if (!redeliver.empty() || !session.deferred.read().redeliver.empty()) {
    session.deferred.write().redeliver = std::move(redeliver);
  }
  // What was published at QoS 0 while it was away did not reach it.
  if (!session.deferred.read().snapshots.empty()) {
    session.deferred.write().snapshots.note_return(values_.sequence());
    session.update_pacing();
  }
  batch_.touch(*session.outbox);
  serve_later(session);
}

// What window and credit allow of it, with DUP [MQTT-3.3.1-1]; the rest follows when the client has
// answered.
void Deliverer::redeliver(Session& session) {
  if (session.deferred.read().redeliver.empty()) return;
  auto& waiting = session.deferred.write().redeliver;
  MILLRACE_CHECK(session.inflight.unsent() <= waiting.size());
  while (!waiting.empty()) {
    InflightWindow& inflight = session.inflight;
    if (inflight.unsettled() - inflight.unsent() >= session.receive_maximum) return;
    if (!has_credit(session, Mode::every)) return;
    Inflight* entry = inflight.find(waiting.back());
    waiting.pop_back();
    // The client may acknowledge on this connection what it got on the one before.
    if (entry == nullptr || !entry->unsent) continue;
    Delivery delivery = entry->delivery;
    // It may have expired meanwhile, at QoS 1 alone: [MQTT-4.3.3-7] forbids it once it was sent. Or
    // the connection before took larger packets.
    if (delivery.qos == 2 ? !is_small_enough(session, delivery)
                          : !is_deliverable(session, delivery)) {
      settle(session, *entry, ReasonCode::implementation_specific_error);
      continue;
    }
    inflight.set_unsent(*entry, false);
    delivery.duplicate = true;
    delivery.replayed = true;
    stage(session, std::move(delivery));
  }
}

// `result`: what became of it, for a publisher that waits for that.
void Deliverer::settle(Session& session, Inflight& entry, ReasonCode result) {
  MILLRACE_CHECK(batch_.stats().inflight.value() > 0);
  batch_.awaited().settle(number_of_awaited(session, entry.delivery), result);
  const std::uint64_t before = session.inflight.bytes();
  if (session.stored) batch_.journal()->gone(session, entry.delivery);
  session.inflight.settle(entry);
  batch_.stats().inflight.subtract();
  note_inflight(session, before);
  batch_.note_less(session);
  serve_later(session);
}

bool Deliverer::apply(Session& session, const command::Puback& puback) {
  Inflight* entry = session.inflight.find(puback.packet_id);
  if (entry == nullptr) return true;  // settled before: nothing to say for PUBACK
  if (entry->state != InflightState::awaits_puback) return false;
  // Whatever the reason: it has arrived, or is refused for good.
  settle(session, *entry, puback.reason);
  return true;
}

bool Deliverer::apply(Session& session, const command::Pubrec& pubrec) {
  Outbox& outbox = *session.outbox;
  // After PUBREL the client takes the same message for another one: that PUBREC came must not be
  // forgotten before.
  const auto release = [&](ReasonCode reason) {
    const bool waits = session.stored && batch_.journal()->answers_wait();
    batch_.touch(outbox);
    protocol::encode_ack(
        protocol::PacketType::pubrel, pubrec.packet_id, reason, outbox.version,
        waits ? batch_.journal()->gate().answers(outbox) : outbox.staged().control);
  };
  const bool refused = protocol::is_failure(pubrec.reason);
  Inflight* entry = session.inflight.find(pubrec.packet_id);
  if (entry == nullptr) {
    // PUBREL follows only what is no failure [MQTT-4.3.3-4].
    if (!refused) release(ReasonCode::packet_identifier_not_found);
    return true;
  }
  if (entry->state == InflightState::awaits_puback) return false;
  if (refused) {
    settle(session, *entry, pubrec.reason);
    return true;
  }
  MILLRACE_CHECK(entry->delivery.qos == 2);
  if (const auto number = number_of_awaited(session, entry->delivery); number != 0) [[unlikely]] {
    batch_.awaited().settle(number, ReasonCode::success);
    entry->delivery.stored = 0;
  }
  session.inflight.set_unsent(*entry, false);
  entry->state = InflightState::awaits_pubcomp;
  session.inflight.release_message(*entry);
  batch_.note_less(session);
  if (session.stored) batch_.journal()->released(session, *entry);
  release(ReasonCode::success);
  return true;
}

bool Deliverer::apply(Session& session, const command::Pubcomp& pubcomp) {
  Inflight* entry = session.inflight.find(pubcomp.packet_id);
  if (entry == nullptr) return true;
  if (entry->state != InflightState::awaits_pubcomp) return false;
  settle(session, *entry, ReasonCode::success);
  return true;
}

// --- Credit --------------------------------------------------------------------------------------

// What waits for credit is copied out of its receive buffer, which costs more than sending it. So a
// connection that takes what it gets at once, while more waits for it, gets more at a time; one
// that does not is back at the configured credit soon, and has little unwritten when it stalls.
void Deliverer::apply(Session& session, const command::Drained& drained) {
  Outbox& outbox = *session.outbox;
  const ProcessorLimits& limits = batch_.limits();
  if (drained.blocked) session.pending.note_blocked(batch_.now_ns());
  assert(drained.bytes <= outbox.outstanding_bytes);
  outbox.outstanding_bytes -= drained.bytes;
  batch_.note_less(session);
  MILLRACE_CHECK(limits.credit_bytes <= limits.credit_max_bytes);
  // One that was on its way when the binding changed says nothing about the new one.
  const bool binds_late = outbox.binding() == Outbox::Binding::latest;
  outbox.late_credit_bytes = binds_late ? drained.late_credit_bytes : std::nullopt;
  const std::uint32_t credit = limits.credit_bytes + outbox.credit_raise;
  if (session.pending.empty() || session.pending.collapsed()) {
    outbox.credit_raise -= outbox.credit_raise / 32;
  } else if (outbox.outstanding_bytes <= credit / 2) {
    outbox.credit_raise = std::min(2 * credit, limits.credit_max_bytes) - limits.credit_bytes;
  }
  backlog_.unfold_if_caught_up(session);
  // With nothing left to serve, only the timer looks at it again.
  if (session.pending.collapsed()) timers_.reschedule(session, batch_);
  serve_later(session);
}

// --- The life of the session ---------------------------------------------------------------------

void Deliverer::part(Session& session) {
  assert(!session.connected());
  snapshot_turns_.leave(session);
  publisher_acks_.part(session);
  backlog_.part(session);
  assert(session.deferred.read().withheld.empty() && !session.counted_slow);
  session.forget_empty_deferred();
}

void Deliverer::on_timer(Session& session) {
  backlog_.on_timer(session);
  serve_later(session);
}

void Deliverer::clear(Session& session, SharedHeirs heirs) {
  assert(session.ended && !session.connected());
  assert(!session.deferred.read().snapshot_turn);
  assert(batch_.stats().inflight.value() >= session.inflight.unsettled());
  batch_.stats().drop(Drop::session_ended, session.inflight.unsettled());
  batch_.stats().inflight.subtract(session.inflight.unsettled());
  publisher_acks_.clear(session);
  backlog_.clear(session, std::move(heirs));
}

}  // namespace millrace::broker
