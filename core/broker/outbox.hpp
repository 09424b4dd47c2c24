// Outbox: the one way from the processor to a connection; and ReadyList, the list of outboxes that
// have something for an I/O thread.
//
// The processor stages deliveries and control bytes during a batch and hands them over once, at the
// batch's end, by exchanging one pointer; the connection's I/O thread takes everything that was
// handed over, by exchanging it back. Nothing here locks but the ReadyList, once per I/O thread and
// batch.
//
// The way of a hand-over. The processor: staged(), by any of its parts; then hand_over() and
// ReadyList::push(), by Batch. The I/O thread: ReadyList::take(), dispatch(), on_outbox_ready(),
// take(), recycle().
//
// Lifetime: reference-counted. The connection makes it, submits Connect with it, and holds a
// reference until it has submitted Close; the processor holds one from applying Connect until the
// end of the batch in which it applies Close.
//
// Threads: the members stand in groups, one for each thread that may use them. The atomics at the
// end are what both threads share.
#pragma once

#include <atomic>
#include <boost/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <boost/variant2/variant.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "core/broker/connection_facts.hpp"
#include "core/broker/message.hpp"
#include "protocol/control_packets.hpp"
#include "protocol/reason_code.hpp"
#include "protocol/version.hpp"

namespace millrace::broker {

class ReadyList;
struct CommandLine;
struct Session;

// The Subscription Identifiers that one delivery carries (MQTT 5, 3.3.2.3.8), shared by all
// deliveries of a cached route.
struct SubscriptionIdentifiers
    : boost::intrusive_ref_counter<SubscriptionIdentifiers, boost::thread_safe_counter> {
  std::vector<std::uint32_t> values;
};

// A message bound to a connection. Its header is encoded anew from these fields when it is written;
// the payload is shared by all receivers.
struct Delivery {
  Message message;
  boost::intrusive_ptr<SubscriptionIdentifiers> identifiers;
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 0;
  bool retain : 1 = false;
  bool duplicate : 1 = false;
  bool replayed : 1 = false;  // a stored value, or sent again: no publish-to-write latency to tell
  bool bound_apart : 1 = false;  // Journal's: the store has its identifier in a record of its own
  // Its number in the store, in its session (Journal); of a link, which is not stored, its number in
  // AwaitedAcks. 0: none.
  std::uint32_t stored = 0;

  // What it takes of its connection's credit; reported back by `drained`.
  std::uint32_t charge_bytes() const { return message.packet_bytes; }
};

// QoS 0 packets that go out byte for byte as they came in: neighbours in one receive buffer.
struct PacketRun {
  BufferRef buffer;
  std::uint32_t offset = 0;  // of the first, in the buffer
  std::uint32_t bytes = 0;   // of all together
  std::uint32_t payload_bytes = 0;
  std::uint32_t count = 0;

  std::span<const std::uint8_t> packets() const { return {buffer->data() + offset, bytes}; }
  std::uint32_t charge_bytes() const { return bytes; }
};

using HandoverItem = boost::variant2::variant<Delivery, PacketRun>;
inline std::uint32_t charge_bytes(const HandoverItem& item) {
  return boost::variant2::visit([](const auto& one) { return one.charge_bytes(); }, item);
}
// How many PUBLISH packets it is.
inline std::uint32_t packet_count(const HandoverItem& item) {
  const auto* run = boost::variant2::get_if<PacketRun>(&item);
  return run != nullptr ? run->count : 1;
}

// Everything that the processor has for one connection, in the order in which it is written:
// CONNACK, then control, then deliveries, then the end.
struct Handover {
  struct Connected {
    bool session_present = false;
  };
  std::optional<Connected> connected;
  protocol::ControlPackets control;  // ahead of all deliveries
  std::vector<HandoverItem> deliveries;
  // For an outbox that wants_sequence: with what is above the connection has had everything that it
  // is to have of the publishes up to this one. 0: something still waits.
  std::uint64_t complete_to = 0;
  // Set: write what is above, then end the connection. A v5 client is told the reason by a
  // DISCONNECT; a client that has not got its CONNACK yet, by a CONNACK that refuses.
  std::optional<protocol::ReasonCode> close;

  bool empty() const { return !connected && control.empty() && deliveries.empty() && !close; }
  void append(Handover&& later);
  // Before it leaves the processor: a few small slices of a large receive buffer would keep all of
  // it alive for as long as the connection is slow, so they move to a buffer of their own size.
  void compact();
  void clear();
};

// What the I/O thread calls for an outbox of its ready list.
class OutboxOwner {
 public:
  // Something was handed over, or room came back for a publisher that had paused.
  virtual void on_outbox_ready() = 0;
  // What is known of the connection, for who manages the server.
  virtual void describe(ConnectionFacts&) const {}

 protected:
  ~OutboxOwner() = default;
};

class Outbox : public boost::intrusive_ref_counter<Outbox, boost::thread_safe_counter> {
 public:
  Outbox(ReadyList& ready_list, OutboxOwner& owner) : ready_list_(ready_list), owner_(&owner) {}
  ~Outbox();

  // --- Constant after `connect` was submitted ---------------------------------------------------

  protocol::Version version = protocol::Version::v3_1_1;
  // The writer assigns topic aliases (the peer allowed some) or edits headers, so no byte passes
  // unchanged.
  bool encodes_anew : 1 = false;
  // The connection is told how far it has everything: see Handover::complete_to.
  bool wants_sequence : 1 = false;

  // --- The processor (its flag stands here to fill padding) -------------------------------------

  bool in_batch = false;        // already listed among those that this batch touched
  bool connack_held = false;    // CommitGate's: nothing is handed over until it is released
  CommandLine* line = nullptr;  // CommandTurns': its commands wait there

  // --- The connection's I/O thread --------------------------------------------------------------

  // Everything handed over since the last call; null if nothing. Give it back with recycle().
  std::unique_ptr<Handover> take();
  void recycle(std::unique_ptr<Handover> handover);

  // Called from the ready list.
  void dispatch() {
    // Acquire pairs with the release in announce(): what was handed over before is seen by take().
    ready_.exchange(false, std::memory_order_acq_rel);
    if (owner_ != nullptr) owner_->on_outbox_ready();
  }
  void forget_owner() { owner_ = nullptr; }
  // False: the connection is over.
  bool describe(ConnectionFacts& facts) const {
    if (owner_ != nullptr) owner_->describe(facts);
    return owner_ != nullptr;
  }

  // Backpressure. How much of what the connection submitted was applied; wraps around.
  std::uint32_t applied_commands() const {
    return applied_commands_.load(std::memory_order_acquire);
  }
  std::uint32_t applied_bytes() const { return applied_bytes_.load(std::memory_order_acquire); }
  // pause() pauses nothing by itself: it asks for one on_outbox_ready(), as soon as the processor
  // has applied more of what this connection submitted. Check applied_*() again after this call,
  // before waiting. resume() withdraws the request.
  void pause() { paused_.exchange(true, std::memory_order_acq_rel); }
  void resume() { paused_.store(false, std::memory_order_relaxed); }
  // What the connection asked for lately is costly, and takes turns with what others ask for: few
  // commands of it need to wait.
  bool asks_much() const { return asks_much_.load(std::memory_order_relaxed); }

  // True when the session has a subscription that may be conflated: the connection then keeps the
  // kernel's send buffer small (TCP_NOTSENT_LOWAT), as late binding needs. `latest` is the
  // stricter.
  enum class Binding : std::uint8_t { early, late, latest };
  Binding binding() const { return binding_.load(std::memory_order_relaxed); }

  // --- The processor -----------------------------------------------------------------------------

  // The session that this connection is attached to; null before Connect is applied, and again once
  // the connection is detached from it (takeover, disconnect, Close).
  Session* session = nullptr;
  bool attached() const { return session != nullptr; }

  Handover& staged() {
    if (!staged_) staged_ = obtain();
    return *staged_;
  }
  bool has_staged() const { return staged_ && !staged_->empty(); }
  // Hands the staged over. True if the outbox must be put on its ready list (it is not there yet).
  bool hand_over();
  // Puts the outbox on its ready list without handing over. True as for hand_over().
  bool announce() { return !ready_.exchange(true, std::memory_order_acq_rel); }
  ReadyList& ready_list() const { return ready_list_; }

  // Counts what was applied; publish_applied() makes it visible, and says if the connection waits.
  void count_applied(std::uint32_t bytes) {
    ++applied_commands_here_;
    applied_bytes_here_ += bytes;
  }
  bool publish_applied();
  void set_asks_much(bool much) { asks_much_.store(much, std::memory_order_relaxed); }
  void set_binding(Binding binding) { binding_.store(binding, std::memory_order_relaxed); }

  std::uint32_t outstanding_bytes = 0;  // Deliverer's: bound, not reported as drained
  std::uint32_t credit_raise = 0;       // Deliverer's: beyond the configured credit
  // While `latest` is the binding: the credit as the connection told it last; else nothing.
  std::optional<std::uint32_t> late_credit_bytes;

 private:
  std::unique_ptr<Handover> obtain();

  ReadyList& ready_list_;
  OutboxOwner* owner_;  // the I/O thread's

  std::unique_ptr<Handover> staged_;  // the processor's
  std::uint32_t applied_commands_here_ = 0;
  std::uint32_t applied_bytes_here_ = 0;

  std::atomic<Handover*> handed_over_{nullptr};
  std::atomic<Handover*> spare_{nullptr};  // an empty one on its way back
  std::atomic<std::uint32_t> applied_commands_{0};
  std::atomic<std::uint32_t> applied_bytes_{0};
  std::atomic<bool> ready_{false};
  std::atomic<bool> paused_{false};
  std::atomic<bool> asks_much_{false};
  std::atomic<Binding> binding_{Binding::early};
};

using OutboxRef = boost::intrusive_ptr<Outbox>;

// One per I/O thread: the outboxes that have something for it.
class ReadyList {
 public:
  // `wake` is called from any thread, only while the I/O thread sleeps (an eventfd write).
  explicit ReadyList(std::function<void()> wake) : wake_(std::move(wake)) {}

  // The processor: once per batch. Takes the references out of `outboxes`.
  void push(std::vector<OutboxRef>& outboxes);

  // The I/O thread: replaces the contents of `into` by what is ready; false if nothing.
  bool take(std::vector<OutboxRef>& into);
  // Announces that the I/O thread is about to block. False: something became ready, do not block.
  bool prepare_to_sleep();
  void awake() { sleeping_.store(false, std::memory_order_relaxed); }

 private:
  std::function<void()> wake_;
  std::mutex mutex_;
  std::vector<OutboxRef> outboxes_;  // under mutex_
  std::atomic<bool> sleeping_{false};
};

}  // namespace millrace::broker
