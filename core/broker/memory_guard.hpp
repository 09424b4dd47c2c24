// MemoryGuard: keeps what the server holds for its clients within memory.bytes_max, by giving up
// what can be given up, in this order:
//
//   scarce (80 %):     cached routes, but for a small part of the limit, without which each message
//                      would be routed anew; the history of topics; the older half of what waits
//                      in the session without a connection in which most waits, then in the next
//                      one; where nothing waits, sessions without a connection that hold much end,
//                      then one that holds a large part of the limit; then the newest values of
//                      topics that are not retained go, but for as small a part
//   exhausted (100 %): beside that, the session that holds most ends, and its connection with it, if
//                      it holds more than little
//
// until 75 % are used. Beside that the other parts take in nothing new while memory is scarce
// (ledger.hpp). Each session that loses something is counted, and reported to whoever asked for it.
//
// What always holds: a session that holds little does not end for what others hold; that of a link
// does not end, as nobody would make it anew before the link is up again, and what is published
// meanwhile would not wait for it (its own limits bound it, see QueueLimits); a batch gives up
// twice as much as came since the last one, and a slice more, so that it keeps up and nobody waits.
//
// Threads: the processor's holder alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "core/broker/backlog.hpp"
#include "core/broker/batch.hpp"
#include "core/broker/router.hpp"
#include "core/broker/sessions.hpp"
#include "core/broker/values.hpp"

namespace millrace::broker {

// What a session lost.
struct MemoryEvent {
  std::string client_id;
  std::string owner;
  std::uint64_t held_bytes = 0;  // before
  std::size_t messages = 0;      // that were dropped
  bool ended = false;            // the session, too
};

class MemoryGuard {
 public:
  struct Parts {
    Batch& batch;
    Router& router;
    Values& values;
    Backlog& backlog;
    Sessions& sessions;
  };
  explicit MemoryGuard(const Parts& parts)
      : batch_(parts.batch),
        router_(parts.router),
        values_(parts.values),
        backlog_(parts.backlog),
        sessions_(parts.sessions) {}

  // Called at the end of a batch; before the first one.
  using Report = std::function<void(const MemoryEvent&)>;
  void set_report(Report report) { report_ = std::move(report); }

  // At the end of the batch: brings the ledger up to date, now and then, and gives up what it must.
  void finish_batch();
  // The same at once, whenever it was last.
  void update_ledger();
  // What the ledger should say of each kind that the processor charges, found by looking at
  // everything. For tests, between batches; sessions that ended have been taken apart.
  std::array<std::uint64_t, holding_count> recount() const;

 private:
  // How often the ledger is looked at while there is plenty.
  static constexpr std::int64_t interval_ns = 2'000'000;
  // Who holds less does not end: with memory used up; a part of the limit, with it scarce; and what a
  // session without a connection may hold at any time.
  static constexpr std::uint64_t ending_bytes_min = 64 * 1024;
  static constexpr std::uint64_t hoarding_part = 64;
  static constexpr std::uint64_t offline_bytes_min = 16 * 1024;
  // Of the limit: as much of routes, and of topics that are not retained, is left.
  static constexpr std::uint64_t in_use_part = 64;

  void give_up();
  // In slices; true: no more can go.
  bool drop_routes(std::uint64_t bytes_max);
  bool drop_history();
  std::size_t budget() const;
  // How many messages went; 0: nothing is left to shed.
  std::size_t shed_queue(std::size_t budget);
  bool end(Session* session, std::uint64_t bytes_min);
  bool evict_topics();

  Batch& batch_;
  Router& router_;
  Values& values_;
  Backlog& backlog_;
  Sessions& sessions_;
  Report report_;
  std::int64_t looked_at_ns_ = 0;
  std::uint64_t pending_before_ = 0;
  std::uint64_t number_shed_ = 0;  // of the session that was shed last, so that it counts once
};

}  // namespace millrace::broker
