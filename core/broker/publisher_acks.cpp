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
  MILLRACE_CHECK((qos == 1 || qos == 2) && packet_id != 0);
  MILLRACE_CHECK(publisher.connected());
  Outbox& outbox = *publisher.outbox;
  const auto type = qos == 1 ? protocol::PacketType::puback : protocol::PacketType::pubrec;
  protocol::encode_ack(type, packet_id, reason, outbox.version, answers(outbox, true));
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

PublisherAcks::Received PublisherAcks::receive_qos2(Session& publisher, std::uint16_t packet_id) {
  assert(packet_id != 0);
  auto& received = publisher.deferred.write().received_qos2;
  if (!received.insert(packet_id).second) return Received::again;  // [MQTT-4.3.3-10]
  // [MQTT-3.3.4-9]. It is not taken, so it must not count as received when it is sent again.
  if (publisher.is_v5 && received.size() > batch_.limits().receive_maximum) {
    received.erase(packet_id);
    return Received::too_many;
  }
  batch_.ledger().charge(Holding::sessions, received_bytes);
  if (publisher.stored) batch_.journal()->received_qos2(publisher, packet_id);
  return Received::first;
}

bool PublisherAcks::forget_received(Session& publisher, std::uint16_t packet_id) {
  if (publisher.deferred.read().received_qos2.empty()) return false;
  if (publisher.deferred.write().received_qos2.erase(packet_id) == 0) return false;
  batch_.ledger().release(Holding::sessions, received_bytes);
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
  if (++publisher.deferred.write().withheld_from_me > batch_.limits().receive_maximum) {
    return false;
  }
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

void PublisherAcks::part(Session& session) {
  assert(!session.connected());
  release(session);
  if (session.deferred.read().withheld_from_me != 0) session.deferred.write().withheld_from_me = 0;
}

}  // namespace millrace::broker
