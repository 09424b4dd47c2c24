// PublisherAcks: what a publisher is told about its QoS 1 and 2 messages, and when.
//
// Acknowledgements leave in the order in which their messages were applied [MQTT-4.6.0-2], but for
// those that the overflow policy `backpressure` withholds until the receiver's queue has room again,
// and those that wait for another broker's (AwaitedAcks).
//
// What always holds: a PUBLISH at QoS 2 is routed once between its first arrival and its PUBREL;
// a publisher has no more than receive_maximum acknowledgements withheld, unless it is a link.
//
// The state is kept in the sessions: DeferredWork::withheld, withheld_from_me, received_qos2.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstdint>
#include <functional>

#include "core/broker/batch.hpp"
#include "core/broker/command.hpp"
#include "core/broker/session.hpp"

namespace millrace::broker {

class PublisherAcks {
 public:
  explicit PublisherAcks(Batch& batch) : batch_(batch) {}

  // Stages PUBACK or PUBREC, as `qos` needs.
  void acknowledge(Session& publisher, std::uint8_t qos, std::uint16_t packet_id,
                   protocol::ReasonCode reason);

  // A PUBLISH at QoS 2 came.
  enum class Received : std::uint8_t { first, again, too_many };
  Received receive_qos2(Session& publisher, std::uint16_t packet_id);
  static bool has_received(const Session& publisher, std::uint16_t packet_id) {
    return publisher.deferred.read().received_qos2.contains(packet_id);
  }
  void apply(Session& publisher, const command::Pubrel& pubrel);
  // It came, and is not taken: the exchange ends with that answer [MQTT-4.3.3-9].
  void refuse(Session& publisher, std::uint8_t qos, std::uint16_t packet_id,
              protocol::ReasonCode reason);

  // The same before receive_qos2(), and ahead of what waits for the store, which does not work.
  void refuse_at_once(Session& publisher, std::uint8_t qos, std::uint16_t packet_id,
                      protocol::ReasonCode reason);

  // Keeps the acknowledgement until release(receiver). False: the publisher has too many of them,
  // and its connection must end.
  [[nodiscard]] bool withhold(Session& receiver, Session& publisher, std::uint8_t qos,
                              std::uint16_t packet_id);
  void release(Session& receiver);
  // --- What another broker acknowledges first; see AwaitedAcks ---

  // The publish that was routed now. False: the publisher has too many of them, and its connection
  // must end.
  [[nodiscard]] bool await(Session& publisher, std::uint8_t qos, std::uint16_t packet_id);
  // It came again, at QoS 2, on this connection perhaps. False: it is not awaited.
  bool await_again(Session& publisher, std::uint16_t packet_id);
  // Tells the publishers of those that are done. A client of MQTT 3.1.1 cannot be told that its
  // message was refused: `disconnect` ends its connection, and it sends the message again.
  using Disconnect = std::function<void(Session&, protocol::ReasonCode)>;
  void tell_awaited(const Disconnect& disconnect);
  // The session ends: what waits in it for a link will not cross, and it is told nothing any more.
  void clear(const Session& session);

  // The session's connection went: as a receiver it withholds nothing any more, and what others
  // withhold from it cannot be sent any more.
  void part(Session& session);

  // What the identifiers of messages take that no publisher has released.
  static constexpr std::uint64_t received_bytes = 48;

 private:
  std::uint32_t unacknowledged_max(const Session& publisher) const;
  // True: it was there.
  bool forget_received(Session& publisher, std::uint16_t packet_id);
  static void encode(const Session& publisher, std::uint8_t qos, std::uint16_t packet_id,
                     protocol::ReasonCode reason, protocol::ControlPackets& into);
  protocol::ControlPackets& answers(Outbox& outbox, bool depends);
  void tell(const AwaitedAcks::PublishRef& publish, const Disconnect& disconnect);

  Batch& batch_;
};

}  // namespace millrace::broker
