// What the journal keeps of sessions and values, as records of the store: their keys, and their
// values as bytes. docs/store.md lists them.
//
//     space 1  bodies      group: number      the packet of a queued message
//     space 2  sessions    group: the session's number; `rest` begins with a letter:
//                 A                the session itself
//                 B filter         a subscription, by the name that the client used
//                 C identifier     a QoS 2 message that came, and was not released yet
//                 D entry          the identifier that a message of its queue was sent with
//                 E entry          a message of its queue, waiting or inflight
//     space 3  retained    `rest`: the topic
//     space 4  newest      `rest`: the topic whose newest value is not retained
//
// In this order a session's own record comes before what belongs to it.
//
// Threads: plain values and functions; any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/command.hpp"
#include "core/broker/inflight.hpp"
#include "core/broker/pending.hpp"
#include "core/broker/shape.hpp"
#include "core/store/format.hpp"

namespace millrace::broker::records {

inline constexpr std::uint8_t session_space = 2;
inline constexpr std::uint8_t retained_space = 3;
inline constexpr std::uint8_t newest_space = 4;

enum class Part : char {
  session = 'A',
  subscription = 'B',
  received = 'C',
  bound = 'D',
  entry = 'E'
};

// What a record is, by its key.
enum class Kind : std::uint8_t {
  body,
  session,
  subscription,
  received,
  bound,
  entry,
  retained,
  newest,
  count  // so many there are; and what is none of them
};
Kind kind_of(const store::Key& key);

// Times are Unix nanoseconds; 0: none.

// A packet as it is kept, where it came from (Buffer::origin), and when it was received.
struct Packet {
  bool is_v5 = false;
  std::uint16_t origin = 0;
  std::uint64_t received_ns = 0;
  std::string_view bytes;
};
std::string encode(const Packet& packet);
std::optional<Packet> decode_packet(std::string_view value);

// A retained message, and who published it, whose room for them it takes.
struct Retained {
  bool has_user = false;
  std::string_view user;
  Packet packet;
};
std::string encode(const Retained& retained);
std::optional<Retained> decode_retained(std::string_view value);

struct SessionState {
  std::string client_id;
  bool has_rights = false;  // else owner and credential are empty
  std::string owner;
  std::string credential;
  std::string address;  // how its last connection came, where rules asked (Arrival)
  std::uint16_t listener = UINT16_MAX;
  bool is_v5 = false;
  bool connected = false;
  std::uint32_t expiry_s = 0;
  std::uint64_t expires_at_ns = 0;
  std::uint64_t will_at_ns = 0;
  std::uint32_t will_delay_s = 0;
  std::string will;  // a Packet; empty: none
};
std::string encode(const SessionState& state);
std::optional<SessionState> decode_session(std::string_view value);

struct SubscriptionState {
  std::uint32_t number = 0;
  std::uint32_t filter_bytes = 0;  // at the end of the name
  std::uint32_t identifier = 0;
  ShapeFields shape;
  std::uint8_t qos = 0;
  Mode mode = Mode::adaptive;
  bool no_local = false;
  bool retain_as_published = false;
  std::string share_group;
};
std::string encode(const SubscriptionState& state);
std::optional<SubscriptionState> decode_subscription(std::string_view value);

struct Entry {
  std::uint32_t subscription = 0;
  std::uint32_t interval_ms = 0;
  std::uint32_t epoch = 0;  // PendingEntry's, of one that waits
  std::uint8_t qos = 0;
  bool retain = false;
  Waits waits = Waits::every;
  std::uint16_t packet_id = 0;  // 0: not sent, or with the one in a record of its own
  InflightState state = InflightState::settled;
  std::vector<std::uint32_t> identifiers;
};
std::string encode(const Entry& entry);
std::optional<Entry> decode_entry(std::string_view value);

struct Bound {
  std::uint16_t packet_id = 0;
  std::uint32_t order = 0;  // among the entries: when it was sent first
  InflightState state = InflightState::settled;
};
std::string encode(const Bound& bound);
std::optional<Bound> decode_bound(std::string_view value);

// `rest` of a session's key: the letter, then the number with its highest byte first, or the name.
std::string rest_of(Part part);
std::string rest_of(Part part, std::uint32_t number);
std::string rest_of(Part part, std::string_view name);
// Of a `rest` that ends with one.
std::optional<std::uint32_t> number_of(std::string_view rest);

}  // namespace millrace::broker::records
