// CommitGate: what may leave only when its batch is on the disk: acknowledgements, the CONNACK of a
// session that is stored, and QoS 2 messages that are sent for the first time.
//
// What always holds: what is held for one connection leaves in the order in which it was held; a
// connection whose CONNACK is held is handed nothing at all; what is held for a connection that
// ended is dropped with it.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstdint>
#include <deque>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/broker/batch.hpp"
#include "core/broker/outbox.hpp"

namespace millrace::broker {

class CommitGate {
 public:
  explicit CommitGate(Batch& batch) : batch_(batch) {}

  // Where to encode an answer that is to be held.
  protocol::ControlPackets& answers(Outbox& outbox) { return held(outbox).control; }
  void hold(Outbox& outbox, Delivery&& delivery) {
    held(outbox).deliveries.emplace_back(std::move(delivery));
  }
  void hold_connack(Outbox& outbox) {
    outbox.connack_held = true;
    held(outbox).connack = true;
  }
  // What is staged for it now waits with its CONNACK, and in its order.
  bool holds_all(const Outbox& outbox) const {
    const auto place = places_.find(&outbox);
    return place != places_.end() && current_[place->second].connack;
  }

  // This batch holds something.
  bool holds_now() const { return !current_.empty(); }
  // At the end of a batch: what was held in it waits for the commit of that number.
  void seal(std::uint64_t number);
  // Everything up to that number is on the disk.
  void release(std::uint64_t number);
  // The store has failed: none of it will ever leave.
  void discard();
  // Too much waits: drops what is held for those connections for which most of it is, until no more
  // than so much is left. They have to end: each of their answers would be missing.
  std::vector<OutboxRef> shed(std::uint64_t bytes_max);

  // Packets and messages that wait.
  std::uint64_t size() const { return size_; }
  // What they take, of batches that were sealed; but for messages, which their sessions hold, too.
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Held {
    OutboxRef outbox;
    protocol::ControlPackets control;
    std::vector<HandoverItem> deliveries;
    bool connack = false;  // is in what the outbox has staged
    std::uint32_t count = 0;

    std::uint64_t bytes() const {
      return sizeof(Held) + control.size() + deliveries.size() * sizeof(HandoverItem);
    }
  };
  struct Sealed {
    std::uint64_t number = 0;
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
    std::vector<Held> of;
  };

  Held& held(Outbox& outbox);
  void let_go(Held& held);

  Batch& batch_;
  std::vector<Held> current_;
  std::unordered_map<const Outbox*, std::size_t> places_;  // in current_
  std::deque<Sealed> sealed_;                              // rising numbers
  std::uint64_t size_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t current_size_ = 0;
};

}  // namespace millrace::broker
