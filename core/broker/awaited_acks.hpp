// AwaitedAcks: publishes whose acknowledgement waits until somebody else has them: a link to another
// broker by a rule that says so.
//
// Each copy of such a publish that waits for a link, or is on its way there, has a number
// (Delivery::stored), by which whoever takes it out of its session settles it here: it was
// acknowledged there, or it will never be. When its last copy is settled the publish is done, and
// PublisherAcks tells its publisher.
//
// What always holds: a publish is done once; with success only if each of its copies was.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/broker/outbox.hpp"

namespace millrace::broker {

class AwaitedAcks {
 public:
  // Delivery::stored of a copy.
  using Number = std::uint32_t;

  struct Publish {
    OutboxRef publisher;        // null: nobody is to be told yet
    std::uint64_t session = 0;  // Session::number of the publisher
    std::uint16_t packet_id = 0;
    std::uint8_t qos = 0;
    std::uint32_t copies = 0;  // not settled yet
    protocol::ReasonCode result{};
    bool routed = false;    // no more copies will be made
    bool withheld = false;  // counted in DeferredWork::withheld_from_me of `publisher`
    bool done() const { return routed && copies == 0; }
  };
  using PublishRef = std::shared_ptr<Publish>;

  // A copy, for `receiver`, of the publish that is being routed.
  Number add(const Session& receiver);
  // That publish: it is routed. Null: it has no such copy.
  PublishRef take_routed();

  // 0: it is no such copy.
  void settle(Number number, protocol::ReasonCode result) {
    if (number != 0) [[unlikely]]
      settle_copy(number, result);
  }
  // All copies for a session that ends.
  void settle_all(const Session& receiver, protocol::ReasonCode result);

  // --- Those at QoS 2, by publisher and packet identifier, until they are done well ---

  void remember(const PublishRef& publish);
  PublishRef find(const Session& publisher, std::uint16_t packet_id) const;
  void forget(const Session& publisher, std::uint16_t packet_id);
  void forget(const PublishRef& publish);

  // --- Those that are done since the last call ---

  bool has_done() const { return !done_.empty(); }
  std::vector<PublishRef> take_done() { return std::exchange(done_, {}); }
  // It was when it was routed.
  void note_done(PublishRef publish) { done_.push_back(std::move(publish)); }

 private:
  struct Copy {
    PublishRef publish;
    const Session* receiver = nullptr;  // which is not ended
  };
  using Identifier = std::pair<std::uint64_t, std::uint16_t>;

  void settle_copy(Number number, protocol::ReasonCode result);
  void settle_one(PublishRef publish, protocol::ReasonCode result);

  std::unordered_map<Number, Copy> copies_;
  std::map<Identifier, PublishRef> by_identifier_;
  PublishRef routing_;
  std::vector<PublishRef> done_;
  Number last_number_ = 0;
};

}  // namespace millrace::broker
