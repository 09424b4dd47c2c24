// The life of connections and sessions: connect, takeover, close, wills, expiry.
// Source: MQTT 5.0 sections 3.1, 3.1.2.4, 3.1.2.5, 3.1.3.2.2, 3.14, 4.1.
#include <algorithm>
#include <cassert>

#include "core/broker/processor.hpp"
#include "protocol/encode.hpp"

namespace millrace::broker {

using protocol::ReasonCode;

namespace {
constexpr std::int64_t ns_per_s = 1'000'000'000;
}

void Processor::apply_connect(Outbox& outbox, ConnectRequest& request) {
  intrusive_ptr_add_ref(&outbox);  // until apply_close()

  bool present = false;
  if (const auto found = sessions_.find(request.client_id); found != sessions_.end()) {
    Session& session = *found->second;
    if (session.connected()) {  // [MQTT-3.1.4-3]
      stats_.takeovers.add();
      // The session goes on, so a delayed will has not happened yet [MQTT-3.1.3-9].
      disconnect(session, ReasonCode::SessionTakenOver);
    }
  }
  if (const auto found = sessions_.find(request.client_id); found != sessions_.end()) {
    if (request.clean_start) {  // [MQTT-3.1.2-4]
      end_session(*found->second);
    } else {
      present = true;
    }
  } else if (sessions_.size() >= limits_.sessions_max) {
    outbox.staged().close = ReasonCode::QuotaExceeded;
    return;
  }

  Session& session = present ? *sessions_.find(request.client_id)->second : start_session(request);
  session.outbox = &outbox;
  session.is_v5 = outbox.version == protocol::Version::v5;
  session.bytes_may_pass = !outbox.assigns_aliases && request.packet_bytes_max == 0;
  session.receive_maximum = request.receive_maximum;
  session.packet_bytes_max = request.packet_bytes_max;
  session.expiry_s = request.session_expiry_s;
  note_will(session, std::move(request.will));
  outbox.session = &session;
  outbox.staged().connected = Handover::Connected{present};
  stats_.sessions_connected.add();
  note_binding(session);
  if (present) resume(session);
}

// A client is back: what was due is not any more.
void Processor::note_will(Session& session, std::optional<ConnectRequest::Will>&& will) {
  const Deadlines& before = session.deadlines.read();
  if (!will && !before.will && before.expires_at_ns == 0) return;
  Deadlines& deadlines = session.deadlines.write();
  deadlines.will = std::move(will);
  deadlines.will_at_ns = 0;
  deadlines.expires_at_ns = 0;
}

Session& Processor::start_session(ConnectRequest& request) {
  auto session = std::make_unique<Session>();
  session->client_id = request.client_id;
  session->number = ++session_number_;
  return *sessions_.emplace(session->client_id, std::move(session)).first->second;
}

// Sends what was inflight once more, in the order in which it was first sent [MQTT-4.4.0-1],
// [MQTT-4.6.0-1], as far as the new connection's Receive Maximum goes; the rest follows in serve().
void Processor::resume(Session& session) {
  std::vector<std::uint16_t> redeliver;
  session.inflight.for_each_unsettled([&](Inflight& entry) {
    const bool released = entry.state == InflightState::awaits_pubcomp;
    session.inflight.set_unsent(entry, !released);
    if (released) {
      protocol::encode_ack(protocol::PacketType::Pubrel, entry.delivery.packet_id,
                           ReasonCode::Success, session.outbox->version,
                           session.outbox->staged().control);
    } else {
      redeliver.push_back(entry.delivery.packet_id);
    }
  });
  std::ranges::reverse(redeliver);
  if (!redeliver.empty() || !session.deferred.read().redeliver.empty()) {
    session.deferred.write().redeliver = std::move(redeliver);
  }
  touch(*session.outbox);
  serve_later(session);
}

void Processor::apply_close(Outbox& outbox, const command::Close& close) {
  closed_.emplace_back(&outbox, /*add_ref=*/false);  // dropped at the end of the batch
  if (!outbox.attached()) return;
  Session& session = *outbox.session;
  if (close.session_expiry_s) session.expiry_s = *close.session_expiry_s;
  // [MQTT-3.14.4-3]: a normal DISCONNECT discards the will.
  detach(session, close.reason == ReasonCode::NormalDisconnection ? Will::discard : Will::publish);
}

void Processor::disconnect(Session& session, ReasonCode reason) {
  touch(*session.outbox);
  session.outbox->staged().close = reason;
  detach(session, Will::publish);
}

void Processor::detach(Session& session, Will will) {
  assert(session.connected());
  session.outbox->session = nullptr;
  // Bound deliveries go with the connection. QoS 1 and 2 are inflight and stay in the session.
  session.outbox.reset();
  stats_.sessions_connected.subtract();
  release_withheld(session);
  settle_deferred(session);
  const std::size_t lost =
      session.pending.remove_if([](const PendingEntry& entry) { return entry.delivery.qos == 0; });
  stats_.drop(Drop::disconnected, lost);
  note_pending(session);

  if (will == Will::discard && session.deadlines.read().will) {
    session.deadlines.write().will.reset();
  }
  if (session.expiry_s == 0) return end_session(session);
  Deadlines& deadlines = session.deadlines.write();
  if (session.expiry_s != never_expires) {
    deadlines.expires_at_ns = now_ns_ + session.expiry_s * ns_per_s;
  }
  if (deadlines.will) {
    deadlines.will_at_ns = now_ns_ + std::min(deadlines.will->delay_s, session.expiry_s) * ns_per_s;
    if (deadlines.will_at_ns == now_ns_) publish_will_later(session);
  }
  reschedule(session);
}

void Processor::settle_deferred(Session& session) {
  release_held(session);
  const DeferredWork& deferred = session.deferred.read();
  if (!deferred.rate_limits.empty()) session.deferred.write().rate_limits = {};
  bound_newest(session);
  if (deferred.withheld_from_me != 0) session.deferred.write().withheld_from_me = 0;
  session.forget_empty_deferred();
}

// At the end of the batch, if there is one.
void Processor::publish_will_later(Session& session) {
  if (!session.deadlines.read().will) return;
  Deadlines& deadlines = session.deadlines.write();
  due_wills_.push_back(std::move(deadlines.will->message));
  deadlines.will.reset();
  deadlines.will_at_ns = 0;
}

void Processor::end_session(Session& session) {
  assert(!session.connected());
  publish_will_later(session);  // [MQTT-3.1.2-8]
  session.ended = true;
  redistribute_shared(session);
  session.subscriptions.read().of.for_each([&](Subscription& one) { remove(one); });
  stats_.drop(Drop::session_ended, session.pending.size() + session.inflight.unsettled());
  stats_.inflight.subtract(session.inflight.unsettled());
  session.pending.clear();
  note_pending(session);
  if (const std::int64_t timer_ns = session.deadlines.read().timer_ns; timer_ns != 0) {
    timers_.erase({timer_ns, session.number, &session});
  }
  const auto found = sessions_.find(session.client_id);
  ended_sessions_.push_back(std::move(found->second));
  sessions_.erase(found);
}

// What a shared subscription's member leaves behind at QoS 1 goes to another member; QoS 2 does not
// [MQTT-4.8.2-4], [MQTT-4.8.2-5].
void Processor::redistribute_shared(Session& session) {
  std::unordered_map<std::uint32_t, SharedGroup*> shared;
  const SubscriptionTable& subscriptions = session.subscriptions.read().of;
  subscriptions.for_each([&](const Subscription& one) {
    if (SharedGroup* group = one.extras.read().group) shared.emplace(one.number, group);
  });
  if (shared.empty()) return;
  std::vector<std::pair<SharedGroup*, Message>> orphans;
  const auto collect = [&](std::uint32_t number, const Delivery& delivery) {
    const auto group = shared.find(number);
    if (group != shared.end() && delivery.qos == 1) {
      orphans.emplace_back(group->second, delivery.message);
    }
  };
  session.inflight.for_each_unsettled(
      [&](Inflight& entry) { collect(entry.subscription, entry.delivery); });
  session.pending.for_each(
      [&](const PendingEntry& entry) { collect(entry.subscription, entry.delivery); });
  // It may be that the member which a message goes to ends by it, and the group with that member.
  subscriptions.for_each([&](Subscription& one) { leave_group(one); });
  for (auto& [group, message] : orphans) {
    kept_ = message;
    route_to_group(group_for(*group, message.topic()), message);
    kept_ = Message{};
  }
}

void Processor::fire(Session& session) {
  const Deadlines& deadlines = session.deadlines.read();
  if (deadlines.will_at_ns != 0 && deadlines.will_at_ns <= now_ns_) publish_will_later(session);
  if (deadlines.expires_at_ns != 0 && deadlines.expires_at_ns <= now_ns_) {
    stats_.sessions_expired.add();
    return end_session(session);  // [MQTT-3.1.2-23]
  }
  fire_rate_limits(session);
  if (session.connected() && session.pending.has_adaptive() && !session.pending.collapsed()) {
    if (*session.pending.newest_since_ns() + stale_ns() <= now_ns_) collapse(session);
  }
  unfold_if_caught_up(session);
  serve_later(session);
  reschedule(session);
}

// A will may end a session by an overflow policy, and so bring another will: a list, not a
// recursion.
void Processor::publish_due_wills() {
  std::uint32_t budget = limits_.timers_per_batch;
  std::size_t done = 0;
  while (done < due_wills_.size()) {
    if (budget-- == 0) {
      has_more_ = true;
      break;
    }
    stats_.wills.add();
    BufferRef will = std::move(due_wills_[done++].buffer);
    will->received_ns = now_ns_;  // its Message Expiry Interval begins here (3.1.3.2.4)
    publish(message_of(std::move(will)), nullptr);
  }
  due_wills_.erase(due_wills_.begin(), due_wills_.begin() + static_cast<std::ptrdiff_t>(done));
}

}  // namespace millrace::broker
