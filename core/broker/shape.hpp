// Shape: what a reader asks for beyond the mode of its subscription, so that it is sent what it can
// use, and as much as it can take.
//
// The design. A value is shaped in one place: where it is bound to a connection under its credit
// (deliverer.hpp). Until then it may be replaced, so whatever a Shape keeps back ends as the newest
// value of its topic, and nothing that was bound is ever taken back. Two things can keep it:
//
//     its topic    a rate limit: not yet, something of this topic was sent a moment ago;
//                  a change filter: it tells nothing new (change_filter.hpp)
//     its client   a budget: not yet, the client has been sent enough for now; or ticks: not yet,
//                  all that is new goes at once, and not before it is time (pace.hpp)
//
// What a topic keeps back waits in RateLimits, one value for each (subscription, topic): until the
// rate limit is over; or, if it is unchanged, until the heartbeat is due, and else it is dropped. A
// change filter is asked as a value comes and nothing of its topic waits, so that most of what it
// skips is never copied; and as one is bound, for what was sent meanwhile. What the
// client keeps back waits in the lane `newest` of its PendingQueue, as all that waits for credit
// does; a Pace that is closed is like credit that is used up, but that time brings it back, and not
// the reader.
//
// And it may say which of the values that wait goes first: the weight of its topics.
//
// A Shape conflates. So a subscription that has something to say of each topic is served as `latest`
// is, beside no subscription of the same client that is to get each message (RouteBuilder). Requests
// and shared subscriptions are never shaped.
//
// Threads: constant once it is shared.
#pragma once

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <cstdint>
#include <string>

namespace millrace::broker {

// Which values of a topic are news to a reader, compared with what it was sent last.
enum class Changes : std::uint8_t {
  any,         // each one is
  unequal,     // another payload, or another value of the field
  by,          // a number that differs by `delta` or more
  by_percent,  // the same, per cent of what was sent
};

constexpr std::uint32_t weight_max = 100;
constexpr std::uint32_t weight_unset = 10;

struct ShapeFields {
  std::uint32_t interval_ms = 0;         // at least this long between two values of a topic; 0: any
  std::uint32_t budget_bytes_per_s = 0;  // of the client, see Pace; 0: any
  std::uint32_t tick_ms = 0;             // the same; 0: none

  Changes changes = Changes::any;
  std::uint32_t heartbeat_s = 0;  // an unchanged value goes out after that long; 0: never
  std::uint32_t weight =
      0;  // 1 to 100, among the topics that wait (PendingQueue); 0: as weight_unset
  double delta = 0;
  std::string field;  // of a JSON payload, by JSON Pointer: what is compared; empty: all of it

  bool empty() const { return *this == ShapeFields{}; }
  bool is_of_client() const { return budget_bytes_per_s != 0 || tick_ms != 0; }
  bool filters() const { return changes != Changes::any; }
  // It says something of each topic, and not of the client alone.
  bool is_per_topic() const { return interval_ms != 0 || filters() || weight != 0; }
  // It keeps nothing back: it says who is served first of those that wait.
  bool is_weight_alone() const { return interval_ms == 0 && !filters(); }
  bool filters_as(const ShapeFields& other) const {
    return changes == other.changes && heartbeat_s == other.heartbeat_s && delta == other.delta &&
           field == other.field;
  }

  friend bool operator==(const ShapeFields&, const ShapeFields&) = default;
};

struct Shape : ShapeFields, boost::intrusive_ref_counter<Shape, boost::thread_safe_counter> {
  explicit Shape(const ShapeFields& fields) : ShapeFields(fields) {}
};
using ShapeRef = boost::intrusive_ptr<const Shape>;

// Null: it asks for nothing.
inline ShapeRef make_shape(const ShapeFields& fields) {
  return fields.empty() ? nullptr : ShapeRef(new Shape(fields));
}
inline ShapeRef rate_limit(std::uint32_t interval_ms) {
  ShapeFields fields;
  fields.interval_ms = interval_ms;
  return make_shape(fields);
}

}  // namespace millrace::broker
