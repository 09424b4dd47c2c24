// What the processor counts: one writer (the role's holder), any reader.
//
// Every counter is a relaxed atomic that only the processor writes, so counting costs a plain load
// and store; a scrape reads them without disturbing it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/counter.hpp"
#include "core/base/histogram.hpp"

namespace millrace::broker {

using base::Counter;

template <std::size_t bucket_count>
using PowerHistogram = base::PowerHistogram<bucket_count>;

// Why a message, or a copy of one, did not go where it would have gone.
enum class Drop : std::uint8_t {
  queue_oldest,      // overflow policy drop_oldest; or values of more topics wait than are stored
  queue_newest,      // overflow policy drop_newest; or a request over the queue's limits
  queue_disconnect,  // the policy ended the connection, and this message with it
  expired,           // Message Expiry Interval passed
  too_large,         // over the receiver's Maximum Packet Size
  disconnected,      // QoS 0, pending when the receiver's connection ended
  session_ended,     // pending or inflight when the session ended
  slot_evicted,      // least recently published topic made room
  retained_refused,  // no room for one more retained message
  revoked,           // a reload took away the receiver's right to read it, or a will's to be sent
  memory,            // memory is scarce: see MemoryGuard
  user_memory,       // the receiver's user holds as much as it may: see UserAccounts
  count
};
constexpr std::array<std::string_view, static_cast<std::size_t>(Drop::count)> drop_names = {
    "queue_oldest",  "queue_newest", "queue_disconnect", "expired", "too_large", "disconnected",
    "session_ended", "slot_evicted", "retained_refused", "revoked", "memory",    "user_memory"};

struct ProcessorStats {
  std::array<Counter, 3> published;  // PUBLISH applied, by QoS
  std::array<Counter, 3> delivered;  // messages bound to a connection, by QoS
  Counter unmatched;                 // published without a subscriber
  Counter conflated;                 // values replaced by a newer one before they were sent
  Counter unchanged;                 // values that a change filter dropped
  std::array<Counter, static_cast<std::size_t>(Drop::count)> dropped;
  Counter stale_commands;  // of a connection that was parted from its session

  Counter sessions;            // all
  Counter sessions_connected;  // with a connection
  Counter subscriptions;
  Counter shared_groups;
  Counter topics;  // slots in use
  Counter topic_bytes;
  Counter retained;
  Counter history_values;       // kept, of all topics; and what they take
  Counter history_bytes;
  Counter history_evicted;      // that made room
  Counter history_sent;         // to subscriptions that began with them
  Counter commit_waits;         // packets and messages that wait until the store has their batch
  Counter unwritten_refusals;   // publishes that were refused as the store could not write
  Counter unanswered_ends;      // connections that ended as too much waited for the store
  Counter inflight;             // QoS 1 and 2 messages sent and not yet settled
  Counter pending;              // messages that wait for credit
  Counter pending_bytes;
  Counter slow_sessions;  // now: see Backlog::is_slow()
  Counter takeovers;
  Counter wills;
  Counter sessions_expired;
  Counter sessions_revoked;       // ended because their user is gone
  Counter sessions_foreign;       // CONNECTs that named another user's session
  Counter memory_refusals;        // sessions, subscriptions and retained messages: memory is scarce
  Counter user_refusals;          // sessions and subscriptions: their user's account is full
  Counter memory_sessions_shed;   // of whose queue a part was dropped because memory is scarce
  Counter memory_sessions_ended;  // the largest ones, as memory was used up
  Counter subscriptions_refused;  // their client has so many, or so much memory in them
  Counter all_subscriptions_refused;  // all clients have so many
  Counter subscriptions_revoked;      // ended because their user may not read there any more
  Counter routes_computed;            // matches that were not in the cache
  Counter routes_dropped;             // from the cache, to make room
  // What takes time beyond commands and deliveries, and what a client's choice of filters, of
  // pending values and so on can make much of: index nodes, matches, topics, members, and whatever
  // else is looked at or freed one after the other.
  Counter work_units;

  Counter batches;
  PowerHistogram<14> batch_commands;  // commands in a batch
  PowerHistogram<24> batch_ns;        // time a batch took
  Counter borrowed_batches;           // run by a front-end's thread

  void drop(Drop why, std::uint64_t n = 1) { dropped[static_cast<std::size_t>(why)].add(n); }
};

}  // namespace millrace::broker
