// Source: MQTT 5.0 sections 3.1, 3.1.2.4, 3.1.2.5, 3.1.3.2.2, 3.14, 4.1, 4.8.2.
#include "core/broker/sessions.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace millrace::broker {

using protocol::ReasonCode;

namespace {
constexpr std::int64_t ns_per_s = 1'000'000'000;
}

const Session* Sessions::find(std::string_view client_id) const {
  const auto found = by_client_id_.find(client_id);
  return found == by_client_id_.end() ? nullptr : found->second.get();
}

// --- Connections ---------------------------------------------------------------------------------

void Sessions::connect(Outbox& outbox, ConnectRequest& request) {
  assert(!request.client_id.empty() && !outbox.attached());
  intrusive_ptr_add_ref(&outbox);  // until close()

  if (const auto found = by_client_id_.find(request.client_id);
      found != by_client_id_.end() && found->second->connected()) {  // [MQTT-3.1.4-3]
    batch_.stats().takeovers.add();
    // The session goes on, so a delayed will has not happened yet [MQTT-3.1.3-9].
    disconnect(*found->second, ReasonCode::SessionTakenOver);
  }
  // It may have ended by that.
  bool present = false;
  auto found = by_client_id_.find(request.client_id);
  if (found != by_client_id_.end()) {
    present = !request.clean_start;
    if (request.clean_start) end(*found->second);  // [MQTT-3.1.2-4]
  } else if (by_client_id_.size() >= batch_.limits().sessions_max) {
    outbox.staged().close = ReasonCode::QuotaExceeded;
    return;
  }
  Session& session = present ? *found->second : start(request);
  attach(session, outbox, request);
  outbox.staged().connected = Handover::Connected{present};
  if (present) deliverer_.resume(session);
}

Session& Sessions::start(const ConnectRequest& request) {
  auto session = std::make_unique<Session>();
  session->client_id = request.client_id;
  session->number = ++session_number_;
  const auto [place, is_new] = by_client_id_.emplace(session->client_id, std::move(session));
  assert(is_new);
  static_cast<void>(is_new);
  return *place->second;
}

void Sessions::attach(Session& session, Outbox& outbox, ConnectRequest& request) {
  assert(!session.connected() && !session.ended);
  session.outbox = &outbox;
  session.is_v5 = outbox.version == protocol::Version::v5;
  session.bytes_may_pass = !outbox.assigns_aliases && request.packet_bytes_max == 0;
  session.receive_maximum = request.receive_maximum;
  session.packet_bytes_max = request.packet_bytes_max;
  session.expiry_s = request.session_expiry_s;
  set_will(session, std::move(request.will));
  outbox.session = &session;
  router_.update_groups(session);
  batch_.stats().sessions_connected.add();
  session.update_binding();
}

// With a new connection nothing is due any more that was due before.
void Sessions::set_will(Session& session, std::optional<ConnectRequest::Will>&& will) {
  const Deadlines& before = session.deadlines.read();
  if (!will && !before.will && before.expires_at_ns == 0) return;
  Deadlines& deadlines = session.deadlines.write();
  deadlines.will = std::move(will);
  deadlines.will_at_ns = 0;
  deadlines.expires_at_ns = 0;
}

void Sessions::close(Outbox& outbox, const command::Close& close) {
  batch_.keep_until_finished(OutboxRef(&outbox, /*add_ref=*/false));
  if (!outbox.attached()) return;
  Session& session = *outbox.session;
  if (close.session_expiry_s) session.expiry_s = *close.session_expiry_s;
  // [MQTT-3.14.4-3]: a normal DISCONNECT discards the will.
  detach(session, close.reason == ReasonCode::NormalDisconnection ? Will::discard : Will::publish);
}

void Sessions::disconnect(Session& session, ReasonCode reason) {
  assert(session.connected());
  batch_.touch(*session.outbox);
  session.outbox->staged().close = reason;
  detach(session, Will::publish);
}

void Sessions::detach(Session& session, Will will) {
  assert(session.connected() && session.outbox->session == &session);
  session.outbox->session = nullptr;
  // Bound deliveries go with the connection. QoS 1 and 2 are inflight and stay in the session.
  session.outbox.reset();
  router_.update_groups(session);
  batch_.stats().sessions_connected.subtract();
  deliverer_.part(session);

  if (will == Will::discard && session.deadlines.read().will) {
    session.deadlines.write().will.reset();
  }
  if (session.expiry_s == 0) return end(session);
  Deadlines& deadlines = session.deadlines.write();
  if (session.expiry_s != never_expires) {
    deadlines.expires_at_ns = batch_.now_ns() + session.expiry_s * ns_per_s;
  }
  if (deadlines.will) {
    const std::uint32_t delay_s = std::min(deadlines.will->delay_s, session.expiry_s);
    deadlines.will_at_ns = batch_.now_ns() + delay_s * ns_per_s;
    if (delay_s == 0) make_will_due(session);
  }
  timers_.reschedule(session, batch_);
}

// --- The end of a session ------------------------------------------------------------------------

void Sessions::end(Session& session) {
  assert(!session.connected() && !session.ended);
  make_will_due(session);  // [MQTT-3.1.2-8]
  session.ended = true;
  hand_on_shared(session);
  deliverer_.clear(session);
  timers_.cancel(session);
  const auto found = by_client_id_.find(session.client_id);
  assert(found != by_client_id_.end() && found->second.get() == &session);
  // The key is a view of the session's own text, so the entry goes first.
  std::unique_ptr<Session> ended = std::move(found->second);
  by_client_id_.erase(found);
  ended_.push_back({std::move(ended)});
  remove_subscriptions(ended_.back());
}

// What few subscriptions most have go at once; then the batch's removals are used up.
void Sessions::remove_subscriptions(Ended& ended) {
  if (removals_left_ == 0) return;
  Session& session = *ended.session;
  const std::uint32_t before = ended.next_slot;
  ended.next_slot = router_.remove_some(session, before, removals_left_);
  removals_left_ -= ended.next_slot - before;
}

void Sessions::forget_ended() {
  while (!ended_.empty()) {
    Ended& ended = ended_.front();
    remove_subscriptions(ended);
    const auto forgotten =
        static_cast<std::uint32_t>(ended.session->inflight.forget_some(removals_left_));
    removals_left_ -= forgotten;
    batch_.stats().work_units.add(forgotten);
    if (ended.next_slot < ended.session->subscriptions.read().of.slot_count() ||
        removals_left_ == 0) {
      break;
    }
    ended_.pop_front();
  }
  if (!ended_.empty()) batch_.ask_for_more();
  removals_left_ = batch_.limits().removals_per_batch;
}

// What a shared subscription's member leaves behind at QoS 1 goes to another member; QoS 2 does not
// [MQTT-4.8.2-4], [MQTT-4.8.2-5].
void Sessions::hand_on_shared(Session& session) {
  std::unordered_map<std::uint32_t, SharedGroup*> shared;
  session.subscriptions.read().of.for_each([&](const Subscription& one) {
    if (SharedGroup* group = one.extras.read().group) shared.emplace(one.number, group);
  });
  if (shared.empty()) return;
  std::vector<std::pair<SharedGroup*, Message>> left;
  const auto collect = [&](std::uint32_t number, const Delivery& delivery) {
    const auto group = shared.find(number);
    if (group != shared.end() && delivery.qos == 1) {
      left.emplace_back(group->second, delivery.message);
    }
  };
  session.inflight.for_each_unsettled(
      [&](Inflight& entry) { collect(entry.subscription, entry.delivery); });
  session.pending.for_each(
      [&](const PendingEntry& entry) { collect(entry.subscription, entry.delivery); });
  // It may be that the member which a message goes to ends by it, and the group with that member.
  router_.leave_groups(session);
  for (auto& [group, message] : left) {
    PublishContext context(message);
    fan_out_.to_group(router_.route_to(*group, message.topic()), context);
  }
}

// --- Time ----------------------------------------------------------------------------------------

void Sessions::make_will_due(Session& session) {
  if (!session.deadlines.read().will) return;
  Deadlines& deadlines = session.deadlines.write();
  due_wills_.push_back(std::move(deadlines.will->message));
  deadlines.will.reset();
  deadlines.will_at_ns = 0;
}

Message Sessions::take_due_will() {
  assert(has_due_wills());
  BufferRef will = std::move(due_wills_.front().buffer);
  due_wills_.pop_front();
  batch_.stats().wills.add();
  will->received_ns = batch_.now_ns();  // its Message Expiry Interval begins here (3.1.3.2.4)
  return message_of(std::move(will));
}

void Sessions::fire_timers() {
  std::uint32_t budget = batch_.limits().timers_per_batch;
  while (timers_.next_ns() <= batch_.now_ns()) {
    if (budget-- == 0) return batch_.ask_for_more();
    fire(*timers_.take_due(batch_.now_ns()));
  }
}

void Sessions::fire(Session& session) {
  assert(!session.ended);
  const Deadlines& deadlines = session.deadlines.read();
  const std::int64_t now_ns = batch_.now_ns();
  if (deadlines.will_at_ns != 0 && deadlines.will_at_ns <= now_ns) make_will_due(session);
  if (deadlines.expires_at_ns != 0 && deadlines.expires_at_ns <= now_ns) {
    assert(!session.connected());
    batch_.stats().sessions_expired.add();
    return end(session);  // [MQTT-3.1.2-23]
  }
  deliverer_.on_timer(session);
  timers_.reschedule(session, batch_);
}

}  // namespace millrace::broker
