// What the I/O threads count.
//
// Threads: each object has one writing thread; any thread may read at any time. No line is shared
// between writers: every I/O thread has an `IoCounters` of its own, and the scrape adds them up. A
// scrape sees each counter at some recent moment, not all of them at the same one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/base/counter.hpp"

namespace millrace::server {

using base::Counter;

// Publish-to-write latency: upper bounds in nanoseconds, 10 us to 10 s.
inline constexpr std::array<std::uint64_t, 19> latency_bounds_ns = {
    10'000,        25'000,        50'000,        100'000,       250'000,
    500'000,       1'000'000,     2'500'000,     5'000'000,     10'000'000,
    25'000'000,    50'000'000,    100'000'000,   250'000'000,   500'000'000,
    1'000'000'000, 2'500'000'000, 5'000'000'000, 10'000'000'000};

// Bucket i counts the values in (bounds[i - 1], bounds[i]]; the last one what is over all bounds.
template <std::size_t N>
class Histogram {
 public:
  explicit constexpr Histogram(const std::array<std::uint64_t, N>& bounds) : bounds_(bounds) {}

  // `count` values at once: one call for all the messages of a batch that share a time.
  void observe(std::uint64_t value, std::uint64_t count = 1) {
    std::size_t bucket = 0;
    while (bucket < N && value > bounds_[bucket]) ++bucket;
    buckets_[bucket].add(count);
    sum_.add(value * count);
  }

  const std::array<std::uint64_t, N>& bounds() const { return bounds_; }
  std::uint64_t bucket(std::size_t index) const { return buckets_[index].value(); }
  std::uint64_t sum() const { return sum_.value(); }

 private:
  const std::array<std::uint64_t, N>& bounds_;
  std::array<Counter, N + 1> buckets_;
  Counter sum_;
};

inline constexpr std::size_t transport_count = 5;  // indexed by server::Transport
inline constexpr std::size_t version_count = 3;    // see version_index()
inline constexpr std::size_t qos_count = 3;
inline constexpr std::size_t packet_type_count = 16;  // indexed by protocol::PacketType
inline constexpr std::size_t reason_count = 256;      // indexed by protocol::ReasonCode

// Of protocol::Version: 3.1, 3.1.1, 5.0.
constexpr std::size_t version_index(std::uint8_t level) {
  return level - 3u;
}

// Why a connection ended without a packet of its own making.
enum class CloseCause : std::uint8_t {
  client_disconnect,  // DISCONNECT was received
  peer_closed,        // end of stream or reset
  protocol_fault,     // see protocol_faults
  handshake_fault,    // TLS or WebSocket
  connect_timeout,
  keep_alive_timeout,
  refused,    // CONNACK with a failure, or a failure to authenticate again
  processor,  // takeover, overflow
  limit,      // connection.count_max
  shutdown,
  revoked,  // a reload took away the user or its password
  expired,  // the token by which the client came
};
inline constexpr std::size_t close_cause_count = 12;

// What one I/O thread counts. Written by that thread alone.
struct alignas(128) IoCounters {
  // Connections. Open ones are accepted minus closed; those past CONNECT, connected minus gone.
  std::array<Counter, transport_count> accepted;
  std::array<Counter, transport_count> closed;
  std::array<Counter, version_count> connected;  // CONNACK with success was queued
  std::array<Counter, version_count> gone;       // ... and that connection ended
  std::array<Counter, close_cause_count> closed_by_cause;
  std::array<Counter, reason_count> protocol_faults;  // connections ended for a peer's fault
  Counter authentication_failures;
  Counter password_checks_refused;   // too many waited
  Counter receive_maximum_exceeded;  // by clients; PUBLISH packets
  Counter publish_denied;            // by access rules
  Counter subscribe_denied;          // by access rules

  // Messages: PUBLISH packets; their bytes are those of the payload.
  std::array<Counter, qos_count> messages_received;
  std::array<Counter, qos_count> message_bytes_received;
  std::array<Counter, qos_count> messages_sent;
  std::array<Counter, qos_count> message_bytes_sent;
  std::array<Counter, packet_type_count> packets_received;
  std::array<Counter, packet_type_count> packets_sent;

  // The sockets: what the kernel took and gave (inside TLS and WebSocket), and how often.
  Counter bytes_received;
  Counter bytes_sent;
  Counter reads;
  Counter writes;
  Counter read_pauses;    // a publisher was not read for a while: a limit of the way in
  Counter rate_pauses;    // those of them because of a limit of messages or bytes per second
  Counter rate_drops;     // messages of QoS 0 over such a limit
  Counter accept_pauses;  // no descriptors or memory: nothing was accepted for a moment

  // From the read that brought a message to the write that took it out.
  Histogram<latency_bounds_ns.size()> publish_to_write{latency_bounds_ns};

  // Of connections whose values may be replaced: what their readers have not read, as far as TCP
  // tells (a gauge); the age at which they will read what was written; and how many there were of
  // which the kernel does not tell.
  Counter unread_bytes;
  Histogram<latency_bounds_ns.size()> age{latency_bounds_ns};
  Counter late_binding_unknown;
};

}  // namespace millrace::server
