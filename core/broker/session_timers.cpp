#include "core/broker/session_timers.hpp"

#include <algorithm>
#include <cassert>

#include "core/broker/check.hpp"
#include "core/broker/credit.hpp"

namespace millrace::broker {

std::int64_t SessionTimers::due_ns(const Session& session, const Batch& batch) {
  std::int64_t due = never_ns;
  const auto consider = [&](std::int64_t at) {
    if (at != 0) due = std::min(due, at);
  };
  const Deadlines& deadlines = session.deadlines.read();
  consider(deadlines.will_at_ns);
  consider(deadlines.expires_at_ns);
  consider(session.deferred.read().rate_limits.next_ns().value_or(0));
  if (!session.connected()) return due;
  if (session.is_held_back(batch.now_ns()) && session.has_replaceable()) {
    due = std::min(due, session.deferred.read().pace.due_ns(batch.now_ns()));
  }
  const std::int64_t stale_ns = batch.limits().stale_ns();
  if (session.pending.collapsed()) {
    // Later than that, it is looked at again when it has drained.
    const std::int64_t unfolds_at = session.pending.blocked_at_ns() + stale_ns;
    if (unfolds_at > batch.now_ns()) consider(unfolds_at);
  } else if (session.pending.has_adaptive()) {
    MILLRACE_CHECK(session.pending.newest_since_ns().has_value());
    consider(*session.pending.newest_since_ns() + stale_ns);
  } else if (session.pending.newest_size() > 0 && !session.counted_slow &&
             is_credit_used_up(*session.outbox, batch.limits())) {
    consider(*session.pending.newest_since_ns() + stale_ns);  // it counts as slow then
  }
  return due;
}

void SessionTimers::reschedule(Session& session, const Batch& batch) {
  MILLRACE_CHECK(!session.ended);
  const std::int64_t due = due_ns(session, batch);
  const std::int64_t entered = session.deadlines.read().timer_ns;
  if (due == never_ns || (entered != 0 && entered <= due)) return;
  if (entered != 0) erase(session, entered);
  session.deadlines.write().timer_ns = due;
  const bool is_new = entries_.insert({due, session.number, &session}).second;
  assert(is_new);
  static_cast<void>(is_new);
}

void SessionTimers::erase(Session& session, std::int64_t entered_ns) {
  const auto erased = entries_.erase({entered_ns, session.number, &session});
  assert(erased == 1);
  static_cast<void>(erased);
}

void SessionTimers::cancel(Session& session) {
  const std::int64_t entered = session.deadlines.read().timer_ns;
  if (entered == 0) return;
  erase(session, entered);
  session.deadlines.write().timer_ns = 0;
}

Session* SessionTimers::take_due(std::int64_t now_ns) {
  MILLRACE_CHECK(now_ns < never_ns);
  if (next_ns() > now_ns) return nullptr;
  Session* const session = std::get<2>(*entries_.begin());
  assert(!session->ended && session->deadlines.read().timer_ns == next_ns());
  entries_.erase(entries_.begin());
  session->deadlines.write().timer_ns = 0;
  return session;
}

}  // namespace millrace::broker
