// The limits within which the processor works: sizes, counts and times, each from the configuration.
//
// Threads: plain values.
#pragma once

#include <cstdint>

namespace millrace::broker {

// What happens to a message for a session whose `every` queue is full.
enum class Overflow : std::uint8_t { drop_oldest, drop_newest, disconnect, backpressure };

// Of what waits in one session for a subscription of the mode `every`.
struct QueueLimits {
  std::uint32_t messages = 100'000;
  std::uint64_t bytes = 64 << 20;
  Overflow overflow = Overflow::drop_oldest;
};

struct TopicLimits {
  std::uint64_t count_max = 1'000'000;
  std::uint64_t bytes_max = 256ull << 20;
  std::uint64_t user_bytes_max = UINT64_MAX;  // of retained values of one user
  std::uint64_t user_count_max = UINT64_MAX;  // so many of them
};

struct HistoryLimits {
  std::uint32_t depth = 0;  // values of a topic; 0: none are kept
  std::uint64_t bytes_max = 64ull << 20;
};

struct ProcessorLimits {
  std::uint32_t credit_bytes = 256 * 1024;         // see deliverer.hpp
  std::uint32_t credit_max_bytes = 2 << 20;        // as far as a fast reader's credit is raised
  std::uint32_t credit_latest_bytes = 16 * 1024;   // of `latest`, and of a collapsed backlog
  std::uint64_t adaptive_backlog_bytes = 2 << 20;  // at either of these two it collapses
  std::uint32_t adaptive_stale_after_ms = 1000;
  std::uint32_t queue_messages = 100'000;  // of a session's `every` lane
  std::uint64_t queue_bytes = 64 << 20;
  Overflow overflow = Overflow::drop_oldest;
  std::uint32_t receive_maximum = 1024;      // QoS 2 messages a publisher may have unreleased
  std::uint32_t subscriptions_max = 10'000;  // per client
  std::uint64_t all_subscriptions_max = UINT64_MAX;  // of all clients and local readers
  std::uint32_t sessions_max = 1'000'000;
  bool identifiers_in_one_copy = false;  // else subscriptions are kept apart by their identifiers
  std::uint32_t removals_per_batch = 4096;  // of what ended: subscriptions, messages, topics
  TopicLimits slots;
  HistoryLimits history;
  std::uint64_t memory_bytes = UINT64_MAX;     // of all that is held for clients: see ledger.hpp
  std::uint64_t session_bytes = 256ull << 20;  // of what one client has waiting or subscribed to
  std::uint64_t user_bytes = 0;                // the same of all clients of one user; 0: no limit
  std::uint64_t routes_bytes = 256ull << 20;   // of cached routes
  std::uint32_t snapshot_topics_per_batch = 4096;  // looked at, for snapshots
  std::uint32_t timers_per_batch = 1024;           // and as many wills
  std::uint32_t review_units_per_batch = 4096;     // work of a review: see Sessions::review_some()
  std::uint32_t units_per_batch = 16'384;          // work of commands: see CommandTurns; about 2 ms
  std::uint32_t inquiry_sessions_per_batch = 1024;

  // Messages of a shared group that a session which ended leaves to others. Each is routed anew.
  std::uint32_t handed_on_per_batch() const { return removals_per_batch / 4 + 1; }
  std::int64_t stale_ns() const { return std::int64_t{adaptive_stale_after_ms} * 1'000'000; }
};

}  // namespace millrace::broker
