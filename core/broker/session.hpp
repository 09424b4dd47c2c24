// Session: what the server keeps for one client identifier, connected or not. Plain state, on which
// the processor's parts act; each member says which part it belongs to.
//
// Threads: the processor's holder alone. A Session lives at one address from the CONNECT that makes
// it until it ends.
#pragma once

#include <array>
#include <cassert>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/broker/change_filter.hpp"
#include "core/broker/client_id.hpp"
#include "core/broker/command.hpp"
#include "core/broker/inflight.hpp"
#include "core/broker/outbox.hpp"
#include "core/broker/pace.hpp"
#include "core/broker/pending.hpp"
#include "core/broker/rare.hpp"
#include "core/broker/rate_limits.hpp"
#include "core/broker/rights.hpp"
#include "core/broker/snapshot_queue.hpp"
#include "core/broker/subscription.hpp"

namespace millrace::broker {

// An acknowledgement that the policy `backpressure` keeps from a publisher.
struct WithheldAck {
  OutboxRef publisher;
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 1;
};

constexpr std::uint32_t never_expires = 0xFFFFFFFF;

// What a client subscribed to. Router's.
struct SubscriptionSet {
  SubscriptionTable of;
  std::uint64_t memory_bytes = 0;              // of all of them; see Router::memory_bytes()
  std::array<std::uint32_t, 3> mode_counts{};  // by Mode
  std::uint32_t shared_count = 0;              // members of a SharedGroup
  // Scratch of RouteBuilder.
  std::uint64_t route_stamp = 0;
  std::uint32_t route_newest = 0;   // place of the target that was made last
  std::uint32_t route_targets = 0;  // so many
  Mode route_mode = Mode::latest;
};

// What waits in a session but for the pending messages.
struct DeferredWork {
  // Deliverer's. Inflight, to be sent again; the next one last.
  std::vector<std::uint16_t> redeliver;
  SnapshotQueue snapshots;  // Deliverer's; Values moves the cursors on
  // SnapshotTurns': the place of the session.
  std::optional<std::list<Session*>::iterator> snapshot_turn;
  RateLimits rate_limits;  // Backlog's; Deliverer notes what it sent
  SentValues sent_values;  // Backlog's, as before; for change filters
  Pace pace;               // Router's; Deliverer spends it
  // PublisherAcks'. Acknowledgements of others that this session's full queue withholds; how many
  // of its own are withheld; PUBLISH at QoS 2 that came, and PUBREL has not.
  std::vector<WithheldAck> withheld;
  std::uint32_t withheld_from_me = 0;
  std::unordered_set<std::uint16_t> received_qos2;

  bool empty() const {
    return redeliver.empty() && snapshots.empty() && !snapshot_turn && rate_limits.empty() &&
           rate_limits.is_told() && withheld.empty() && withheld_from_me == 0 &&
           received_qos2.empty() && sent_values.empty() && sent_values.is_told() && !pace.is_set();
  }
};

// What is to happen to the session at a time, and when. Monotonic ns; 0: never. Sessions', but for
// the timer.
struct Deadlines {
  std::optional<ConnectRequest::Will> will;
  std::int64_t will_at_ns = 0;
  std::int64_t expires_at_ns = 0;
  std::int64_t timer_ns = 0;  // SessionTimers': when it has an entry for the session
};

// How the current (or last) connection came, where rules may ask (Arrival).
struct ArrivedFrom {
  std::string address;
  std::uint16_t listener = UINT16_MAX;
};

// Most clients are idle: what few of them need is a Rare. A member that names no part is Sessions'.
struct Session {
  ClientId client_id;
  std::uint64_t number = 0;  // unique; the order of the sessions' timers
  RightsRef rights;          // of its owner; null: see ConnectRequest
  OutboxRef outbox;          // null: not connected
  // Backlog's; Deliverer takes from it.
  PendingQueue pending;
  // Deliverer's.
  InflightWindow inflight;
  // The types of these three name the parts.
  Rare<DeferredWork> deferred;
  Rare<SubscriptionSet> subscriptions;
  Rare<Deadlines> deadlines;
  Rare<ArrivedFrom> arrived;

  // --- Of the current (or last) connection ---
  std::uint32_t packet_bytes_max = 0;
  std::uint32_t expiry_s = 0;
  std::uint16_t receive_maximum = 65535;
  std::uint16_t origin = 0;  // see ConnectRequest
  bool is_v5 : 1 = false;
  bool bytes_may_pass : 1 = true;  // unchanged: see Outbox::encodes_anew; no Maximum Packet Size

  bool ended : 1 = false;  // kept to the end of the batch because routes may still name it
  bool waits_for_service : 1 = false;  // Deliverer's: listed for the end of this batch
  bool counted_slow : 1 = false;       // Backlog's: see its is_slow(); in the gauge
  bool sent_unjudged : 1 = false;  // inflight messages were sent before a reload that may deny them
  std::uint8_t holding_rank = 0;   // LargestSessions', as the next one
  std::uint8_t waiting_rank = 0;
  bool listed_offline : 1 = false;  // LargestSessions', too
  bool user_is_full : 1 = false;    // UserAccounts', as the next one
  bool stored : 1 = false;          // Journal's: it is in the store
  bool is_paced : 1 = false;        // see update_pacing()
  bool told_collapsed : 1 = false;  // Backlog's: update_binding() knows that it has collapsed
  std::uint32_t user_kib = 0;
  std::uint32_t last_stored = 0;  // Journal's: the number that it gave last to one of its messages
  std::uint32_t conflated = 0;  // Backlog's: values replaced since it connected; stays at its most

  bool connected() const { return outbox != nullptr; }
  // What the server would have more of without the session, if nobody else held its messages.
  std::uint64_t held_bytes() const {
    std::uint64_t bytes = client_id.size() + pending.memory_bytes() + inflight.memory_bytes() +
                          subscriptions.read().memory_bytes;
    if (const auto& will = deadlines.read().will) bytes += will->message.packet_bytes;
    if (outbox) bytes += outbox->outstanding_bytes;
    return bytes + deferred.read().rate_limits.memory_bytes() +
           deferred.read().sent_values.memory_bytes();
  }
  Arrival arrival() const { return {client_id, arrived.read().address, arrived.read().listener}; }
  // Something waits that may be replaced, or a stored value.
  bool has_replaceable() const {
    return pending.newest_size() > 0 || !deferred.read().snapshots.empty();
  }
  // Such things wait for the client's pace.
  bool is_held_back(std::int64_t now_ns) const {
    return is_paced && !deferred.read().pace.is_open(now_ns);
  }
  // Its pace is set, or the history goes first that a subscription begins with.
  void update_pacing() {
    const DeferredWork& waits = deferred.read();
    is_paced = waits.pace.is_set() || waits.snapshots.has_history();
  }
  // Nothing waits in it: of all that was published, what is for it is bound to its connection.
  bool has_everything() const {
    const DeferredWork& waits = deferred.read();
    return pending.empty() && waits.snapshots.empty() && waits.rate_limits.held_bytes() == 0;
  }
  std::string_view owner() const { return owner_of(rights); }
  // Tells the connection how small to keep the kernel's buffer: as the strictest of its
  // subscriptions' modes asks for, or a backlog that collapsed.
  void update_binding() {
    assert(connected());
    const auto& mode_counts = subscriptions.read().mode_counts;
    assert(mode_counts[0] + mode_counts[1] + mode_counts[2] == subscriptions.read().of.size());
    auto binding = Outbox::Binding::early;
    if (mode_counts[static_cast<std::size_t>(Mode::adaptive)] > 0) {
      binding = Outbox::Binding::late;
    }
    if (mode_counts[static_cast<std::size_t>(Mode::latest)] > 0 || pending.collapsed()) {
      binding = Outbox::Binding::latest;
    }
    if (binding != Outbox::Binding::latest) outbox->late_credit_bytes.reset();
    outbox->set_binding(binding);
  }
  // Most subscribe once and have no deferred work from then on.
  void forget_empty_deferred() {
    if (deferred.read().empty()) deferred.reset();
  }
};

}  // namespace millrace::broker
