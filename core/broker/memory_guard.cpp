#include "core/broker/memory_guard.hpp"

#include <algorithm>

namespace millrace::broker {

void MemoryGuard::update_ledger() {
  Ledger& ledger = batch_.ledger();
  const TopicTable& topics = values_.topics();
  ledger.set(Holding::queues, backlog_.entry_bytes());
  ledger.set(Holding::inflight, batch_.stats().inflight.value() * InflightWindow::entry_bytes);
  ledger.set(Holding::subscriptions, router_.memory_bytes());
  ledger.set(Holding::topics, topics.entry_bytes() + values_.history().entry_bytes());
  ledger.set(Holding::routes, topics.routes().memory_bytes());
  ledger.update();
}

std::array<std::uint64_t, holding_count> MemoryGuard::recount() const {
  std::array<std::uint64_t, holding_count> bytes{};
  const auto of = [&](Holding kind) -> std::uint64_t& {
    return bytes[static_cast<std::size_t>(kind)];
  };
  sessions_.for_each([&](const Session& session) {
    of(Holding::queues) += session.pending.size() * PendingQueue::entry_bytes +
                           session.deferred.read().rate_limits.size() * RateLimits::limit_bytes +
                           session.deferred.read().sent_values.memory_bytes();
    of(Holding::inflight) += session.inflight.unsettled() * InflightWindow::entry_bytes;
    of(Holding::sessions) += Sessions::memory_bytes(session);
    session.subscriptions.read().of.for_each(
        [&](const Subscription& one) { of(Holding::subscriptions) += Router::memory_bytes(one); });
  });
  of(Holding::subscriptions) += router_.index().memory_bytes();
  values_.topics().reader().for_each([&](const Topic& topic) {
    of(Holding::topics) += TopicTable::entry_bytes(topic);
    of(Holding::routes) += topic.cached_route.memory_bytes();
  });
  of(Holding::topics) += values_.history().recount_entry_bytes();
  return bytes;
}

void MemoryGuard::finish_batch() {
  const bool was_scarce = batch_.ledger().is_scarce();
  if (!was_scarce && batch_.now_ns() - looked_at_ns_ < interval_ns) return;
  looked_at_ns_ = batch_.now_ns();
  update_ledger();
  if (batch_.ledger().is_scarce()) give_up();
  pending_before_ = batch_.stats().pending.value();
}

void MemoryGuard::give_up() {
  const Ledger& ledger = batch_.ledger();
  const std::uint64_t limit = ledger.bytes_max();
  const bool all_routes_went = drop_routes(limit / in_use_part);
  if (!all_routes_went && ledger.level() == MemoryLevel::scarce) return batch_.ask_for_more();
  const bool all_history_went = drop_history();
  if (!all_history_went && ledger.level() == MemoryLevel::scarce) return batch_.ask_for_more();
  // What is on its way out counts until it is freed: nobody else has to go for it.
  const bool frees = backlog_.has_discarded() || sessions_.has_ended();
  if (ledger.level() == MemoryLevel::exhausted && !frees) {
    end(batch_.largest().largest(), ending_bytes_min);
  }
  bool gave = false;
  for (std::size_t budget = this->budget(); budget > 0 && ledger.is_scarce();) {
    const std::size_t shed = shed_queue(budget);
    if (shed == 0) break;
    budget -= std::min(budget, shed);
    gave = true;
    update_ledger();
  }
  if (!gave && !frees && ledger.is_scarce()) {
    gave = end(batch_.largest().largest_offline(), offline_bytes_min) ||
           end(batch_.largest().largest(), limit / hoarding_part) || evict_topics();
  }
  // Where nothing is left to give up, the next command brings the next look.
  if (gave && ledger.is_scarce()) batch_.ask_for_more();
}

bool MemoryGuard::drop_routes(std::uint64_t bytes_max) {
  const std::size_t count_max = batch_.limits().removals_per_batch;
  const std::size_t dropped = values_.topics().routes().drop_to(bytes_max, count_max);
  if (dropped == 0) return true;
  batch_.stats().routes_dropped.add(dropped);
  batch_.stats().work_units.add(dropped);
  update_ledger();
  return dropped < count_max;
}

bool MemoryGuard::drop_history() {
  const std::size_t dropped = values_.history().evict_oldest(batch_.limits().removals_per_batch);
  if (dropped == 0) return true;
  batch_.stats().history_evicted.add(dropped);
  batch_.stats().work_units.add(dropped);
  update_ledger();
  return false;
}

// As much as came since the last time, twice, and a slice.
std::size_t MemoryGuard::budget() const {
  const std::uint64_t now = batch_.stats().pending.value();
  const std::uint64_t came = now > pending_before_ ? now - pending_before_ : 0;
  return batch_.limits().removals_per_batch + static_cast<std::size_t>(2 * came);
}

std::size_t MemoryGuard::shed_queue(std::size_t budget) {
  Session* const session = batch_.largest().most_waiting();
  if (session == nullptr) return 0;
  MemoryEvent event{std::string(session->client_id.view()), std::string(session->owner()),
                    session->held_bytes(), 0, false};
  event.messages = backlog_.shed(*session, event.held_bytes / 2, budget);
  if (session->number != number_shed_) {
    number_shed_ = session->number;
    batch_.stats().memory_sessions_shed.add();
    if (report_) report_(event);
  }
  return event.messages;
}

bool MemoryGuard::end(Session* session, std::uint64_t bytes_min) {
  if (session == nullptr || session->held_bytes() < bytes_min) return false;
  const MemoryEvent event{std::string(session->client_id.view()), std::string(session->owner()),
                          session->held_bytes(),
                          session->pending.size() + session->inflight.unsettled(), true};
  sessions_.end(*session, protocol::ReasonCode::quota_exceeded);
  batch_.stats().memory_sessions_ended.add();
  update_ledger();
  batch_.ask_for_more();
  if (report_) report_(event);
  return true;
}

bool MemoryGuard::evict_topics() {
  const std::uint64_t kept_bytes = batch_.ledger().bytes_max() / in_use_part;
  if (values_.topics().unretained_bytes() <= kept_bytes) return false;
  const std::size_t evicted = values_.topics().evict_oldest(batch_.limits().removals_per_batch);
  batch_.stats().drop(Drop::slot_evicted, evicted);
  batch_.stats().work_units.add(evicted);
  if (evicted > 0) update_ledger();
  return evicted > 0;
}

}  // namespace millrace::broker
