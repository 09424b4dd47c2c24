// Credit, binding and acknowledgements: from a pending message to one that belongs to a connection.
// Source: MQTT 5.0 sections 3.3.4, 4.3, 4.4, 4.9.
#include <algorithm>
#include <cassert>
#include <cstring>

#include "core/broker/processor.hpp"
#include "protocol/encode.hpp"

namespace millrace::broker {

using protocol::ReasonCode;

namespace {

// Slices that take less than this share of a large buffer are copied out of it, so that what a slow
// connection pins is at most so many times what it is charged for.
constexpr std::uint32_t pinned_share = 4;
constexpr std::uint32_t large_buffer_bytes = 4096;

// Is the delivery's packet within the client's Maximum Packet Size? [MQTT-3.1.2-24]
bool fits(const Session& session, const Delivery& delivery) {
  if (session.packet_bytes_max == 0) return true;
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
  return bytes <= session.packet_bytes_max;
}

}  // namespace

// What waits for credit is copied out of its receive buffer, which costs more than sending it. So a
// connection that takes what it gets at once, while more waits for it, gets more at a time; one
// that does not is back at the configured credit soon, and owes little when it stalls.
void Processor::apply_drained(Session& session, const command::Drained& drained) {
  Outbox& outbox = *session.outbox;
  if (drained.blocked) session.pending.note_blocked(now_ns_);
  assert(drained.bytes <= outbox.outstanding_bytes);
  outbox.outstanding_bytes -= drained.bytes;
  const std::uint32_t credit = limits_.credit_bytes + outbox.credit_raise;
  if (session.pending.empty() || session.pending.collapsed()) {
    outbox.credit_raise -= outbox.credit_raise / 32;
  } else if (outbox.outstanding_bytes <= credit / 2) {
    outbox.credit_raise = std::min(2 * credit, limits_.credit_max_bytes) - limits_.credit_bytes;
  }
  unfold_if_caught_up(session);
  // With nothing left to serve, only the timer looks at it again.
  if (session.pending.collapsed()) reschedule(session);
  serve_later(session);
}

// Caught up: nothing waits, less is unreported than a report would tell of, and the socket has
// refused nothing for a while. The cells of a reader that is too slow for its stream all fit into
// its socket now and then; it would be given a large credit, and an old backlog, each time.
void Processor::unfold_if_caught_up(Session& session) {
  if (!session.connected() || !session.pending.collapsed()) return;
  const Outbox& outbox = *session.outbox;
  const bool nothing_waits = session.pending.newest_size() == 0 &&
                             outbox.outstanding_bytes <= limits_.credit_latest_bytes / 4;
  if (!nothing_waits || session.pending.blocked_at_ns() + stale_ns() > now_ns_) return;
  session.pending.unfold();
  note_pending(session);
}

bool Processor::has_window(const Session& session) const {
  const InflightWindow& inflight = session.inflight;
  return inflight.unsettled() - inflight.unsent() < session.receive_maximum &&
         inflight.has_identifier();
}

void Processor::serve(Session& session) {
  redeliver(session);
  for (bool progress = true; progress;) {
    progress = bind_front(session, PendingQueue::Lane::every);
    progress |= bind_front(session, PendingQueue::Lane::newest);
    if (session.deferred.read().seeds.empty()) continue;
    const Seeded seeded = bind_one_seed(session);
    progress |= seeded == Seeded::one;
    if (seeded == Seeded::out_of_budget && !progress) {
      serve_again_.push_back(&session);
      break;
    }
  }
  if (session.pending.every_size() <= limits_.queue_messages / 4 * 3 &&
      session.pending.every_bytes() <= limits_.queue_bytes / 4 * 3) {
    release_withheld(session);
  }
  // All that waited may have expired: then no report will tell that it has caught up.
  if (session.outbox->outstanding_bytes == 0) unfold_if_caught_up(session);
  note_pending(session);
  reschedule(session);
}

bool Processor::bind_front(Session& session, PendingQueue::Lane lane) {
  const PendingEntry* front = session.pending.front(lane);
  if (front == nullptr) return false;
  const bool conflates = lane == PendingQueue::Lane::newest &&
                         (session.pending.collapsed() || session.pending.front_is_cell());
  if (!has_credit(session, conflates ? Mode::latest : Mode::every)) return false;
  if (front->delivery.qos > 0 && !has_window(session)) return false;
  PendingEntry entry = session.pending.pop(lane);
  if (entry.interval_ms != 0) {
    const std::int64_t next_ns = now_ns_ + std::int64_t{entry.interval_ms} * 1'000'000;
    session.deferred.write().rate_limits.note_sent(key_of(entry), next_ns, limits_.slots.count_max);
  }
  bind(session, std::move(entry.delivery), entry.subscription);
  return true;
}

// After a resumption: what the window did not allow at once, with DUP [MQTT-3.3.1-1].
void Processor::redeliver(Session& session) {
  if (session.deferred.read().redeliver.empty()) return;
  auto& waiting = session.deferred.write().redeliver;
  while (!waiting.empty()) {
    InflightWindow& inflight = session.inflight;
    if (inflight.unsettled() - inflight.unsent() >= session.receive_maximum) return;
    Inflight* entry = inflight.find(waiting.back());
    waiting.pop_back();
    // The client may acknowledge on this connection what it got on the one before.
    if (entry == nullptr || !entry->unsent) continue;
    inflight.set_unsent(*entry, false);
    Delivery delivery = entry->delivery;
    if (!fits(session, delivery)) {  // the connection before took larger ones
      stats_.drop(Drop::too_large);
      settle(session, *entry);
      continue;
    }
    delivery.duplicate = true;
    delivery.replayed = true;
    stage(session, std::move(delivery));
  }
}

bool Processor::is_deliverable(const Session& session, const Delivery& delivery) {
  const Message& message = delivery.message;
  if (message.expires_at_s != 0 && message.expires_at_s <= now_s_) {  // [MQTT-3.3.2-5]
    stats_.drop(Drop::expired);
    return false;
  }
  if (fits(session, delivery)) return true;
  stats_.drop(Drop::too_large);  // [MQTT-3.1.2-25]: as if it had been sent
  return false;
}

void Processor::bind(Session& session, Delivery&& delivery, std::uint32_t subscription) {
  if (!is_deliverable(session, delivery)) return;
  if (delivery.qos > 0) {
    delivery.packet_id = session.inflight.add(delivery, subscription);
    stats_.inflight.add();
  }
  stats_.delivered[delivery.qos].add();
  stage(session, std::move(delivery));
}

void Processor::stage(Session& session, Delivery&& delivery) {
  Outbox& outbox = *session.outbox;
  outbox.outstanding_bytes += delivery.charge_bytes();
  outbox.staged().deliveries.push_back(std::move(delivery));
  touch(outbox);
}

void Processor::stage_as_is(Outbox& outbox, const Message& message) {
  stats_.delivered[0].add();
  outbox.outstanding_bytes += message.packet_bytes;
  touch(outbox);
  auto& deliveries = outbox.staged().deliveries;
  if (!deliveries.empty()) {
    Delivery& last = deliveries.back();
    if (last.as_is && last.message.buffer == message.buffer &&
        last.message.packet_offset + last.message.packet_bytes == message.packet_offset) {
      last.message.packet_bytes += message.packet_bytes;
      last.message.payload_offset += message.payload_offset;  // so payload_bytes() is the run's
      ++last.count;
      return;
    }
  }
  Delivery& delivery = deliveries.emplace_back();
  delivery.message = message;
  delivery.retain = message.retain;
  delivery.as_is = true;
}

// A few small slices of a large buffer would keep all of it alive for as long as the connection is
// slow: they move, together, to a buffer of their own size.
void Processor::compact(Handover& handover) {
  auto& deliveries = handover.deliveries;
  for (std::size_t first = 0; first < deliveries.size();) {
    const BufferRef buffer = deliveries[first].message.buffer;
    std::uint32_t bytes = 0;
    std::size_t end = first;
    for (; end < deliveries.size() && deliveries[end].message.buffer == buffer; ++end) {
      bytes += deliveries[end].message.packet_bytes;
    }
    const std::uint32_t capacity = buffer->capacity();
    if (capacity >= large_buffer_bytes && bytes < capacity / pinned_share) {
      BufferRef own = Buffer::allocate(bytes);
      own->received_ns = buffer->received_ns;
      std::uint32_t at = 0;
      for (std::size_t i = first; i < end; ++i) {
        Message& message = deliveries[i].message;
        std::memcpy(own->data() + at, message.packet(), message.packet_bytes);
        message.buffer = own;
        message.packet_offset = at;
        at += message.packet_bytes;
      }
    }
    first = end;
  }
}

void Processor::note_pending(Session& session) {
  const PendingQueue::Change change = session.pending.take_change();
  stats_.pending.add(static_cast<std::uint64_t>(change.messages));
  stats_.pending_bytes.add(static_cast<std::uint64_t>(change.bytes));
  const bool slow = session.connected() && session.pending.collapsed();
  if (slow != session.counted_slow) {
    slow ? stats_.slow_sessions.add() : stats_.slow_sessions.subtract();
    session.counted_slow = slow;
    if (session.connected()) note_binding(session);
  }
}

void Processor::settle(Session& session, Inflight& entry) {
  session.inflight.settle(entry);
  stats_.inflight.subtract();
  serve_later(session);
}

void Processor::apply_puback(Session& session, const command::Puback& puback) {
  Inflight* entry = session.inflight.find(puback.packet_id);
  if (entry == nullptr) return;  // settled before: nothing to say for PUBACK
  if (entry->state != InflightState::awaits_puback) {
    return disconnect(session, ReasonCode::ProtocolError);
  }
  settle(session, *entry);
}

void Processor::apply_pubrec(Session& session, const command::Pubrec& pubrec) {
  Outbox& outbox = *session.outbox;
  Inflight* entry = session.inflight.find(pubrec.packet_id);
  const auto release = [&](ReasonCode reason) {
    protocol::encode_ack(protocol::PacketType::Pubrel, pubrec.packet_id, reason, outbox.version,
                         outbox.staged().control);
    touch(outbox);
  };
  if (entry == nullptr) return release(ReasonCode::PacketIdentifierNotFound);
  if (entry->state == InflightState::awaits_puback) {
    return disconnect(session, ReasonCode::ProtocolError);
  }
  if (protocol::is_failure(pubrec.reason)) return settle(session, *entry);  // [MQTT-4.3.3-4]
  session.inflight.set_unsent(*entry, false);
  entry->state = InflightState::awaits_pubcomp;
  entry->delivery.message = Message{};  // only the identifier is needed from here on
  release(ReasonCode::Success);
}

void Processor::apply_pubcomp(Session& session, const command::Pubcomp& pubcomp) {
  Inflight* entry = session.inflight.find(pubcomp.packet_id);
  if (entry == nullptr) return;
  if (entry->state != InflightState::awaits_pubcomp) {
    return disconnect(session, ReasonCode::ProtocolError);
  }
  settle(session, *entry);
}

void Processor::apply_pubrel(Session& session, const command::Pubrel& pubrel) {
  const bool known = session.deferred.write().received_qos2.erase(pubrel.packet_id) > 0;
  Outbox& outbox = *session.outbox;
  protocol::encode_ack(protocol::PacketType::Pubcomp, pubrel.packet_id,
                       known ? ReasonCode::Success : ReasonCode::PacketIdentifierNotFound,
                       outbox.version, outbox.staged().control);
  touch(outbox);
}

}  // namespace millrace::broker
