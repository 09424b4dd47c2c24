// SessionTimers: when which session must be looked at again, at most one entry each.
//
// What always holds: a session's entry is never later than what is due for it. It may be too early:
// a session that is taken out too early finds nothing to do and is entered anew. A session that
// ends is taken out first.
//
// Threads: the processor's holder alone.
#pragma once

#include <cstdint>
#include <set>
#include <tuple>

#include "core/broker/batch.hpp"
#include "core/broker/session.hpp"

namespace millrace::broker {

class SessionTimers {
 public:
  static constexpr std::int64_t never_ns = INT64_MAX;

  // After a change of what the session waits for: its will, its expiry, rate limits, its backlog.
  void reschedule(Session& session, const Batch& batch);
  void cancel(Session& session);

  // Takes out the session that is due first; null: none is due.
  Session* take_due(std::int64_t now_ns);
  // When the first one is due.
  std::int64_t next_ns() const {
    return entries_.empty() ? never_ns : std::get<0>(*entries_.begin());
  }

 private:
  void erase(Session& session, std::int64_t entered_ns);
  static std::int64_t due_ns(const Session& session, const Batch& batch);

  // When, the session's number (so that the order is the same in each run), and who.
  std::set<std::tuple<std::int64_t, std::uint64_t, Session*>> entries_;
};

}  // namespace millrace::broker
