// Session: what the server keeps for one client identifier, connected or not; and what it
// subscribed to. Plain state: the processor (processor.hpp) is what acts on it.
//
// Threads: the processor's holder alone. A Session lives at one address from the CONNECT that makes
// it until it ends; subscriptions likewise.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/broker/command.hpp"
#include "core/broker/inflight.hpp"
#include "core/broker/outbox.hpp"
#include "core/broker/pending.hpp"
#include "core/broker/rare.hpp"
#include "core/broker/topic_walk.hpp"

namespace millrace::shm {
struct Feed;
}

namespace millrace::broker {

struct Session;
struct SharedGroup;

struct Subscription {
  Session* session = nullptr;
  SharedGroup* group = nullptr;      // null: not shared
  shm::Feed* feed = nullptr;         // a ring or table of local readers: then there is no session
  std::uint32_t number = 0;          // unique; the half of a conflation key
  std::uint32_t index_position = 0;  // SubscriptionIndex's
  std::uint32_t identifier = 0;      // MQTT 5 Subscription Identifier; 0: none
  std::uint32_t interval_ms = 0;     // rate limit
  std::uint8_t qos = 0;
  Mode mode = Mode::adaptive;
  bool no_local = false;
  bool retain_as_published = false;
  std::string filter;  // what is matched; the name that the client used is the key in the session
  std::shared_ptr<const TopicRules> rules;  // which of its topics may be read; null: all
  boost::intrusive_ptr<SubscriptionIdentifiers> identifiers;  // of `identifier`, shared

  bool may_read(std::string_view topic) const { return !rules || rules->permit(topic); }
};

// The members of `$share/name/filter` [MQTT-4.8.2]. Served in turn.
struct SharedGroup {
  std::string name;
  std::string filter;
  std::vector<Subscription*> members;
  std::size_t next = 0;
  std::uint64_t route_stamp = 0;  // the last route computation that saw the group
};

// Stored values on their way to a new subscription, pulled as credit allows.
struct SeedCursor {
  std::uint32_t subscription = 0;  // number; the cursor ends when it is gone
  std::string name;                // the subscription's key in its session
  TopicWalk walk;
  bool with_retained = true;  // Retain Handling
  bool with_newest = false;   // `latest`: also what is not retained
  std::uint64_t since = 0;    // publishes later than this reach the subscription by themselves
};

// A value that a rate limit holds back, and when the next one may go.
struct RateLimit {
  std::int64_t next_ns = 0;
  std::optional<PendingEntry> held;
};

struct RateLimits {
  std::unordered_map<ConflationKey, RateLimit, ConflationKeyHash> of;
  std::multimap<std::int64_t, ConflationKey> due;
};

// An acknowledgement that the policy `backpressure` keeps from a publisher.
struct WithheldAck {
  OutboxRef publisher;
  std::uint16_t packet_id = 0;
  std::uint8_t qos = 1;
};

constexpr std::uint32_t never_expires = 0xFFFFFFFF;

struct Session {
  std::string client_id;
  std::string username;
  std::uint64_t number = 0;  // unique: names the session in timers
  OutboxRef outbox;          // null: not connected
  bool ended = false;        // kept to the end of the batch because routes may still name it

  // --- Of the current (or last) connection ---
  bool is_v5 = false;
  bool bytes_may_pass = true;  // no outbound aliases, no Maximum Packet Size
  std::uint16_t receive_maximum = 65535;
  std::uint32_t packet_bytes_max = 0;
  std::uint32_t expiry_s = 0;

  // --- Outbound ---
  PendingQueue pending;
  InflightWindow inflight;
  std::vector<std::uint16_t> redeliver;  // inflight, to be sent again; the next one last
  std::vector<SeedCursor> seeds;
  Rare<RateLimits> rate_limits;
  std::vector<WithheldAck> withheld;
  bool waits_for_service = false;  // listed for the end of this batch
  // What the gauges hold for this session.
  bool counted_slow = false;
  std::uint64_t counted_messages = 0;
  std::uint64_t counted_bytes = 0;

  // --- Inbound ---
  Rare<std::unordered_set<std::uint16_t>> received_qos2;  // PUBLISH seen, PUBREL not yet
  std::uint32_t withheld_from_me = 0;

  // --- Subscriptions ---
  std::unordered_map<std::string, std::unique_ptr<Subscription>> subscriptions;
  std::array<std::uint32_t, 3> mode_counts{};  // of the subscriptions, by Mode
  std::uint64_t route_stamp = 0;               // scratch of the route computation
  std::uint32_t route_first = 0;
  Mode route_mode = Mode::latest;

  // --- Timers (monotonic ns; 0: none) ---
  std::unique_ptr<ConnectRequest::Will> will;
  std::int64_t will_at_ns = 0;
  std::int64_t expires_at_ns = 0;
  std::int64_t timer_ns = 0;  // what stands in the processor's timer set

  bool connected() const { return outbox != nullptr; }
};

}  // namespace millrace::broker
