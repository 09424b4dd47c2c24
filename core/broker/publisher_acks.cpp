// Source: MQTT 5.0 sections 3.4, 3.5, 3.6, 4.3, 4.6.
#include "core/broker/publisher_acks.hpp"

#include <cassert>
#include <utility>

#include "core/broker/check.hpp"
#include "core/broker/journal.hpp"
#include "protocol/encode.hpp"

namespace millrace::broker {

using protocol::ReasonCode;

void PublisherAcks::acknowledge(Session& publisher, std::uint8_t qos, std::uint16_t packet_id,
                                ReasonCode reason) {
  MILLRACE_CHECK(publisher.connected());
  encode(publisher, qos, packet_id, reason, answers(*publisher.outbox, true));
}

void PublisherAcks::refuse_at_once(Session& publisher, std::uint8_t qos, std::uint16_t packet_id,
                                   ReasonCode reason) {
  MILLRACE_CHECK(publisher.connected() && protocol::is_failure(reason));
  encode(publisher, qos, packet_id, reason, answers(*publisher.outbox, false));
}

void PublisherAcks::encode(const Session& publisher, std::uint8_t qos, std::uint16_t packet_id,
                           ReasonCode reason, protocol::ControlPackets& into) {
  MILLRACE_CHECK((qos == 1 || qos == 2) && packet_id != 0);
  const auto type = qos == 1 ? protocol::PacketType::puback : protocol::PacketType::pubrec;
  protocol::encode_ack(type, packet_id, reason, publisher.outbox->version, into);
}

// What a message brings may be recorded later in the batch (a retained value is, at its end), so the
// journal decides only then whether its acknowledgement has to wait.
protocol::ControlPackets& PublisherAcks::answers(Outbox& outbox, bool depends) {
  Journal* const journal = batch_.journal();
  if (depends && journal != nullptr && journal->acknowledgements_wait()) {
    return journal->gate().answers(outbox);
  }
  batch_.touch(outbox);
  return outbox.staged().control;
}

// Of a link's peer, which is a server, as many as there are identifiers. mosquitto 2.0 sends the next
// message at QoS 2 as soon as it has PUBREC for one, against [MQTT-3.3.4-9], so that after a while
// without the link more come at once than the link has asked for.
std::uint32_t PublisherAcks::unacknowledged_max(const Session& publisher) const {
  return publisher.origin != 0 ? UINT16_MAX : batch_.limits().receive_maximum;
}

PublisherAcks::Received PublisherAcks::receive_qos2(Session& publisher, std::uint16_t packet_id) {
  assert(packet_id != 0);
  auto& received = publisher.deferred.write().received_qos2;
  if (received.contains(packet_id)) return Received::again;  // [MQTT-4.3.3-10]
  // [MQTT-3.3.4-9]. It is not noted: when it is sent again, on another connection, it is the first.
  const bool is_full = received.size() >= unacknowledged_max(publisher);
  if (publisher.is_v5 && is_full) return Received::too_many;
  received.insert(packet_id);
  batch_.ledger().charge(Holding::sessions, received_bytes);
  if (publisher.stored) batch_.journal()->received_qos2(publisher, packet_id);
  return Received::first;
}

bool PublisherAcks::forget_received(Session& publisher, std::uint16_t packet_id) {
  if (publisher.deferred.read().received_qos2.empty()) return false;
  if (publisher.deferred.write().received_qos2.erase(packet_id) == 0) return false;
  batch_.ledger().release(Holding::sessions, received_bytes);
  batch_.awaited().forget(publisher, packet_id);
  if (publisher.stored) batch_.journal()->released_qos2(publisher, packet_id);
  return true;
}

void PublisherAcks::refuse(Session& publisher, std::uint8_t qos, std::uint16_t packet_id,
                           ReasonCode reason) {
  if (qos == 2) forget_received(publisher, packet_id);
  acknowledge(publisher, qos, packet_id, reason);
}

void PublisherAcks::apply(Session& publisher, const command::Pubrel& pubrel) {
  MILLRACE_CHECK(pubrel.packet_id != 0 && publisher.connected());
  const bool known = forget_received(publisher, pubrel.packet_id);
  Outbox& outbox = *publisher.outbox;
  protocol::encode_ack(protocol::PacketType::pubcomp, pubrel.packet_id,
                       known ? ReasonCode::success : ReasonCode::packet_identifier_not_found,
                       outbox.version, answers(outbox, publisher.stored));
}

// What stops the publisher is its own limit of unacknowledged messages: a v5 client was told it as
// Receive Maximum; a 3.1.1 client cannot be told, and is disconnected beyond it.
bool PublisherAcks::withhold(Session& receiver, Session& publisher, std::uint8_t qos,
                             std::uint16_t packet_id) {
  assert(receiver.connected() && publisher.connected());
  assert((qos == 1 || qos == 2) && packet_id != 0);
  if (++publisher.deferred.write().withheld_from_me > unacknowledged_max(publisher)) return false;
  receiver.deferred.write().withheld.push_back({publisher.outbox, packet_id, qos});
  return true;
}

void PublisherAcks::release(Session& receiver) {
  if (receiver.deferred.read().withheld.empty()) return;
  for (const WithheldAck& ack : std::exchange(receiver.deferred.write().withheld, {})) {
    if (!ack.publisher->attached()) continue;
    Session& publisher = *ack.publisher->session;
    assert(publisher.outbox == ack.publisher);
    assert(publisher.deferred.read().withheld_from_me > 0);
    --publisher.deferred.write().withheld_from_me;
    acknowledge(publisher, ack.qos, ack.packet_id, ReasonCode::success);
  }
}

// --- What another broker acknowledges first ------------------------------------------------------

bool PublisherAcks::await(Session& publisher, std::uint8_t qos, std::uint16_t packet_id) {
  AwaitedAcks& awaited = batch_.awaited();
  const AwaitedAcks::PublishRef publish = awaited.take_routed();
  MILLRACE_CHECK(publish != nullptr);
  publish->session = publisher.number;
  publish->packet_id = packet_id;
  publish->qos = qos;
  if (qos == 2 && !publisher.ended) {
    awaited.remember(publish);
    // A process after this one knows nothing of the wait: it takes the message anew.
    if (publisher.stored) batch_.journal()->released_qos2(publisher, packet_id);
  }
  if (publish->done()) awaited.note_done(publish);
  if (!publisher.connected()) return true;
  publish->publisher = publisher.outbox;
  publish->withheld = true;
  return ++publisher.deferred.write().withheld_from_me <= unacknowledged_max(publisher);
}

bool PublisherAcks::await_again(Session& publisher, std::uint16_t packet_id) {
  const AwaitedAcks::PublishRef publish = batch_.awaited().find(publisher, packet_id);
  if (publish == nullptr) return false;
  if (publish->publisher == publisher.outbox) return true;  // it is told when it is done
  publish->publisher = publisher.outbox;
  publish->withheld = true;
  ++publisher.deferred.write().withheld_from_me;
  if (publish->done()) batch_.awaited().note_done(publish);
  return true;
}

void PublisherAcks::tell_awaited(const Disconnect& disconnect) {
  for (const auto& publish : batch_.awaited().take_done()) tell(publish, disconnect);
}

void PublisherAcks::tell(const AwaitedAcks::PublishRef& publish, const Disconnect& disconnect) {
  const bool refused = protocol::is_failure(publish->result);
  if (!refused) batch_.awaited().forget(publish);
  // It went: that it was refused it hears when it sends the message again.
  if (publish->publisher == nullptr || !publish->publisher->attached()) return;
  batch_.awaited().forget(publish);
  Session& publisher = *publish->publisher->session;
  if (std::exchange(publish->withheld, false)) {
    MILLRACE_CHECK(publisher.deferred.read().withheld_from_me > 0);
    --publisher.deferred.write().withheld_from_me;
  }
  const std::uint8_t qos = publish->qos;
  const std::uint16_t packet_id = publish->packet_id;
  if (!refused) {
    const bool is_received =
        qos == 2 && publisher.deferred.read().received_qos2.contains(packet_id);
    if (is_received && publisher.stored) batch_.journal()->received_qos2(publisher, packet_id);
    acknowledge(publisher, qos, packet_id, ReasonCode::success);
  } else if (publisher.is_v5) {
    refuse(publisher, qos, packet_id, publish->result);
  } else {
    if (qos == 2) forget_received(publisher, packet_id);
    disconnect(publisher, ReasonCode::quota_exceeded);
  }
}

void PublisherAcks::clear(const Session& session) {
  assert(session.ended);
  AwaitedAcks& awaited = batch_.awaited();
  if (session.origin != 0) awaited.settle_all(session, ReasonCode::implementation_specific_error);
  for (const std::uint16_t packet_id : session.deferred.read().received_qos2) {
    awaited.forget(session, packet_id);
  }
}

void PublisherAcks::part(Session& session) {
  assert(!session.connected());
  release(session);
  if (session.deferred.read().withheld_from_me != 0) session.deferred.write().withheld_from_me = 0;
}

}  // namespace millrace::broker
