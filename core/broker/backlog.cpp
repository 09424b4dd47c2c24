// Source: the delivery contract, docs/delivery.md.
#include "core/broker/backlog.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "core/broker/check.hpp"
#include "core/broker/credit.hpp"
#include "core/broker/journal.hpp"

namespace millrace::broker {

using protocol::ReasonCode;

namespace {
// Of messages that are freed: about as many take as long as an entry.
constexpr std::uint64_t bytes_per_removal = 4096;
// Measured against a unit of 2 ms / ProcessorLimits::units_per_batch: of a backlog that collapses,
// each entry is moved, looked for among the topics, and put there or freed.
constexpr std::uint64_t collapsing_units = 4;
constexpr std::uint64_t rate_limit_end_units = 4;
}  // namespace

// --- Spools of links -----------------------------------------------------------------------------

class Backlog::SpoolCount {
 public:
  SpoolCount(const Batch& batch, SpoolFigures* figures) : stats_(batch.stats()), figures_(figures) {
    if (figures_ == nullptr) [[likely]]
      return;
    conflated_ = stats_.conflated.value();
    for (std::size_t i = 0; i < dropped_.size(); ++i) dropped_[i] = stats_.dropped[i].value();
  }
  ~SpoolCount() {
    if (figures_ == nullptr) [[likely]]
      return;
    figures_->conflated.add(stats_.conflated.value() - conflated_);
    for (std::size_t i = 0; i < dropped_.size(); ++i) {
      figures_->dropped[i].add(stats_.dropped[i].value() - dropped_[i]);
    }
  }
  SpoolCount(const SpoolCount&) = delete;
  SpoolCount& operator=(const SpoolCount&) = delete;

 private:
  const ProcessorStats& stats_;
  SpoolFigures* const figures_;
  std::uint64_t conflated_ = 0;
  std::array<std::uint64_t, static_cast<std::size_t>(Drop::count)> dropped_{};
};

void Backlog::make_spool(Session& session, const std::optional<QueueLimits>& limits,
                         std::shared_ptr<SpoolFigures> figures) {
  assert(session.origin != 0 && !session.ended);
  spools_.insert_or_assign(&session, Spool{limits, std::move(figures)});
  show(session);
}

void Backlog::show(const Session& session) const {
  SpoolFigures* const figures = figures_of(session);
  if (figures == nullptr) return;
  const PendingQueue& pending = session.pending;
  figures->messages.set(pending.size());
  figures->bytes.set(pending.bytes());
  figures->since_ns.set(static_cast<std::uint64_t>(pending.since_ns().value_or(0)));
}

// --- What waits ----------------------------------------------------------------------------------

void Backlog::add(Session& session, Mode mode, PendingEntry entry, PublishContext& context) {
  SpoolFigures* const figures = figures_of(session);
  if (figures == nullptr) [[likely]]
    return add_entry(session, mode, std::move(entry), context);
  const SpoolCount count(batch_, figures);
  add_entry(session, mode, std::move(entry), context);
}

void Backlog::add_entry(Session& session, Mode mode, PendingEntry entry, PublishContext& context) {
  MILLRACE_CHECK(!session.ended);
  MILLRACE_CHECK(session.connected() || entry.delivery.qos > 0);  // QoS 0 waits for no connection
  MILLRACE_CHECK(entry.delivery.packet_id == 0 && !entry.delivery.message.is_slice());
  if (batch_.ledger().level() == MemoryLevel::exhausted && !makes_room(session, entry))
      [[unlikely]] {
    dropped(session, entry);
    return batch_.stats().drop(Drop::memory);
  }
  if (session.user_is_full && !makes_room_for_user(session, entry)) [[unlikely]] {
    dropped(session, entry);
    return batch_.stats().drop(Drop::user_memory);
  }
  if (mode == Mode::every) {
    add_every(session, std::move(entry), context);
  } else if (entry.delivery.message.request) {
    add_request(session, std::move(entry));
  } else if (entry.shape) {
    add_shaped(session, std::move(entry), context);
  } else if (mode == Mode::latest) {
    write_down(session, entry, Waits::cell);
    if (session.pending.push_cell(std::move(entry))) count_conflated(session);
  } else {
    write_down(session, entry, session.pending.collapsed() ? Waits::cell : Waits::adaptive);
    if (session.pending.push_adaptive(std::move(entry))) count_conflated(session);
    const bool over = session.pending.newest_bytes() > batch_.limits().adaptive_backlog_bytes;
    if (over && !session.pending.collapsed()) collapse(session);
  }
  bound_newest(session);
  update_gauges(session);
}

// Memory is used up: nothing that waits grows any more. False: there is nothing that could make room.
bool Backlog::makes_room(Session& session, const PendingEntry& entry) {
  if (!session.connected()) return false;
  drop_oldest_for(session, entry, Drop::memory);
  return true;  // one message may wait at any time
}

// The same where the user's clients hold as much as they may. For one without a connection, too, what
// is older makes room.
bool Backlog::makes_room_for_user(Session& session, const PendingEntry& entry) {
  batch_.note_held(session);
  if (!session.user_is_full) return true;
  if (session.pending.empty()) return session.connected();
  drop_oldest_for(session, entry, Drop::user_memory);
  return true;
}

// As many as take what `entry` will take.
void Backlog::drop_oldest_for(Session& session, const PendingEntry& entry, Drop why) {
  PendingQueue& pending = session.pending;
  const std::uint64_t before = pending.memory_bytes();
  const std::uint64_t needed = entry.bytes() + PendingQueue::entry_bytes;
  while (!pending.empty() && before - pending.memory_bytes() < needed) {
    batch_.stats().drop(why, pending.drop_some(1));
  }
}

std::size_t Backlog::shed(Session& session, std::uint64_t bytes, std::size_t count) {
  assert(!session.ended);
  const SpoolCount figures(batch_, figures_of(session));
  std::size_t dropped = 0;
  while (dropped < count && !session.pending.empty() && session.held_bytes() > bytes) {
    dropped += session.pending.drop_some(std::min<std::size_t>(64, count - dropped));
  }
  batch_.stats().drop(Drop::memory, dropped);
  batch_.stats().work_units.add(dropped);
  update_gauges(session);
  return dropped;
}

void Backlog::write_down(Session& session, PendingEntry& entry, Waits waits) {
  if (!session.stored || entry.delivery.qos == 0) return;
  entry.epoch = session.pending.epoch();
  batch_.journal()->queued(session, entry, waits);
}

void Backlog::dropped(Session& session, const PendingEntry& entry) {
  dropped(session, entry.delivery.stored);
  if (session.stored) batch_.journal()->gone(session, entry.delivery);
}

// By its number alone: it has no identifier yet. Only in the session of a link is that the number of a
// copy that a publisher waits for; elsewhere it is the journal's.
void Backlog::dropped(const Session& session, std::uint32_t stored) {
  if (session.origin != 0) batch_.awaited().settle(stored, ReasonCode::quota_exceeded);
}

void Backlog::add_every(Session& session, PendingEntry entry, PublishContext& context) {
  PendingQueue& pending = session.pending;
  const QueueLimits limits = limits_of(session);
  ProcessorStats& stats = batch_.stats();
  const auto over = [&] {
    return pending.every_size() >= limits.messages ||
           pending.every_bytes() + entry.bytes() > limits.bytes;
  };
  if (over()) {
    Overflow policy = limits.overflow;
    if (policy == Overflow::disconnect && session.connected()) {
      stats.drop(Drop::queue_disconnect);
      disconnect_(session, ReasonCode::quota_exceeded);
      assert(!session.connected());
      if (session.ended) return;
      if (entry.delivery.qos == 0) return stats.drop(Drop::disconnected);
      policy = Overflow::drop_oldest;
    }
    if (policy == Overflow::disconnect) policy = Overflow::drop_oldest;
    const bool can_withhold = context.can_withhold && session.connected() && entry.delivery.qos > 0;
    if (policy == Overflow::backpressure && !can_withhold) policy = Overflow::drop_oldest;
    if (policy == Overflow::drop_newest) {
      dropped(session, entry);
      return stats.drop(Drop::queue_newest);
    }
    if (policy == Overflow::backpressure) {
      MILLRACE_CHECK(context.from != nullptr && context.from->connected());
      context.withholder = &session;
    } else {
      while (over() && pending.every_size() > 0) {
        dropped(session, pending.drop_oldest());
        stats.drop(Drop::queue_oldest);
      }
    }
  }
  write_down(session, entry, Waits::every);
  pending.push_every(std::move(entry));
}

// A request is not a value and never conflated, so the limits of a queue are its own. One beyond
// them is dropped whatever the policy: the older ones have their places among values.
void Backlog::add_request(Session& session, PendingEntry entry) {
  PendingQueue& pending = session.pending;
  const QueueLimits limits = limits_of(session);
  const bool over = pending.fixed_size() >= limits.messages ||
                    pending.fixed_bytes() + entry.bytes() > limits.bytes;
  if (over && pending.fixed_size() > 0) {
    dropped(session, entry);
    return batch_.stats().drop(Drop::queue_newest);
  }
  write_down(session, entry, Waits::fixed);
  pending.push_fixed(std::move(entry));
}

// A rate limit sends the first at once, then at most one per interval, and always the last.
//
// A value that waits for credit is replaced whatever the limit says. Two values of a topic may wait
// at once (a SUBSCRIBE, or a request, between them); when the first is sent, and the limit begins,
// the second is there still. If newer ones were held back now, it would be sent as it is, after
// newer ones that the client's other subscriptions to the topic bring.
void Backlog::add_shaped(Session& session, PendingEntry entry, PublishContext& context) {
  // Compared with what was sent: so nothing of the topic may wait that will be sent before it.
  const bool is_next = !session.pending.has_cell(entry) && !session.pending.has_unreplaceable() &&
                       !session.deferred.read().snapshots.has_history();
  const bool is_unchanged_now =
      is_next && entry.shape->filters() &&
      is_unchanged(session, *entry.shape, key_of(entry), context.compared_by(*entry.shape));
  if (is_unchanged_now && entry.shape->heartbeat_s == 0) {
    return drop_unchanged(session, key_of(entry), entry.delivery.stored);
  }
  write_down(session, entry, Waits::cell);
  if (session.pending.replace_cell(entry)) return count_conflated(session);
  drop_held(session, key_of(entry));
  if (is_unchanged_now && hold_unchanged(session, entry)) return;
  if (!session.deferred.read().rate_limits.empty()) {
    MILLRACE_CHECK(session.connected());  // they begin anew with each connection
    RateLimits& limits = session.deferred.write().rate_limits;
    if (limits.hold(entry, batch_.now_ns(), batch_.limits().slots.bytes_max)) return;
  }
  if (session.pending.push_cell(std::move(entry))) count_conflated(session);
}

void Backlog::count_conflated(Session& session, std::uint64_t count) {
  batch_.stats().conflated.add(count);
  session.conflated = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(UINT32_MAX, std::uint64_t{session.conflated} + count));
}

// Something newer of its topic came.
void Backlog::drop_held(Session& session, const ConflationKey& key) {
  if (session.deferred.read().rate_limits.held_bytes() == 0) return;
  const auto held = session.deferred.write().rate_limits.take_held(key);
  if (!held) return;
  dropped(session, *held);
  count_conflated(session);
}

// --- Change filters ------------------------------------------------------------------------------

std::uint64_t Backlog::topics_max() const {
  const ProcessorLimits& limits = batch_.limits();
  return std::min(limits.slots.count_max, limits.session_bytes / 4 / RateLimits::limit_bytes);
}

bool Backlog::is_unchanged(const Session& session, const Shape& shape, const ConflationKey& key,
                           const ComparedValue& value) const {
  const SentValues::Sent* const sent = session.deferred.read().sent_values.find(key);
  if (sent == nullptr || is_change(shape, sent->value, value)) return false;
  const std::int64_t heartbeat_ns = std::int64_t{shape.heartbeat_s} * 1'000'000'000;
  return heartbeat_ns == 0 || batch_.now_ns() - sent->at_ns < heartbeat_ns;
}

void Backlog::drop_unchanged(Session& session, const ConflationKey& key, std::uint32_t stored) {
  drop_held(session, key);
  if (session.origin != 0) batch_.awaited().settle(stored, ReasonCode::success);
  batch_.stats().unchanged.add();
}

// Until so long after the last one that was sent. False: there is no room for it.
bool Backlog::hold_unchanged(Session& session, PendingEntry& entry) {
  DeferredWork& deferred = session.deferred.write();
  const SentValues::Sent& sent = *deferred.sent_values.find(key_of(entry));
  const std::int64_t due_ns = sent.at_ns + std::int64_t{entry.shape->heartbeat_s} * 1'000'000'000;
  return deferred.rate_limits.hold_until(entry, due_ns, batch_.limits().slots.bytes_max,
                                         topics_max());
}

// What waited before a SUBSCRIBE, or beside a request, keeps its place: a value of its topic may
// stand behind it that must not go first.
bool Backlog::keep_unchanged(Session& session, PendingEntry& entry) {
  const PendingQueue& pending = session.pending;
  if (!entry.shape || !entry.shape->filters() || entry.delivery.message.request) return false;
  if (entry.epoch != pending.epoch() || pending.has_unreplaceable()) return false;
  const ComparedValue value = compared_value(*entry.shape, entry.delivery.message.payload());
  if (!is_unchanged(session, *entry.shape, key_of(entry), value)) return false;
  if (entry.shape->heartbeat_s != 0) {
    if (!session.deferred.read().rate_limits.empty()) {
      RateLimits& limits = session.deferred.write().rate_limits;
      // A later value of its topic is held back already: it stands for this one.
      if (auto later = limits.take_held(key_of(entry))) {
        dropped(session, entry);
        count_conflated(session);
        const bool is_held = limits.hold(*later, batch_.now_ns(), batch_.limits().slots.bytes_max);
        if (!is_held && session.pending.push_cell(std::move(*later))) count_conflated(session);
        return true;
      }
    }
    return hold_unchanged(session, entry);
  }
  if (session.stored) batch_.journal()->gone(session, entry.delivery);
  drop_unchanged(session, key_of(entry), entry.delivery.stored);
  return true;
}

void Backlog::note_sent(Session& session, const ConflationKey& key, const Shape& shape,
                        const ComparedValue& value) {
  if (!shape.filters()) return;
  session.deferred.write().sent_values.note(key, {value, batch_.now_ns()}, topics_max());
}

// At most one value of each topic waits, but a client may use any number of topics, and values that
// waited before a SUBSCRIBE are not replaced any more. So the lane has the limits of the topic
// table, and a half of what a session may hold.
void Backlog::bound_newest(Session& session) {
  PendingQueue& pending = session.pending;
  const TopicLimits& limits = batch_.limits().slots;
  const std::uint64_t of_session = batch_.limits().session_bytes / 2;
  while (pending.newest_size() > limits.count_max ||
         (pending.newest_size() > 1 && (pending.newest_bytes() > limits.bytes_max ||
                                        pending.newest_memory_bytes() > of_session))) {
    dropped(session, pending.drop_of_newest());
    batch_.stats().drop(Drop::queue_oldest);
  }
}

void Backlog::collapse(Session& session) {
  assert(!session.pending.collapsed());
  batch_.stats().work_units.add(collapsing_units * session.pending.newest_size());
  count_conflated(session, session.pending.collapse());
  assert(!session.pending.has_adaptive());
}

// Caught up: nothing waits, fewer bytes are outstanding than a Drained would report, and the socket
// has refused nothing for stale_ns(). The last condition is needed because a reader that is too
// slow for its stream also empties its few cells now and then: each time it would be given the
// large credit, and collect an old backlog, again.
void Backlog::unfold_if_caught_up(Session& session) {
  if (!session.connected() || !session.pending.collapsed()) return;
  const Outbox& outbox = *session.outbox;
  const bool nothing_waits = session.pending.newest_size() == 0 &&
                             outbox.outstanding_bytes <= batch_.limits().credit_latest_bytes / 4;
  const std::int64_t calm_at_ns = session.pending.blocked_at_ns() + batch_.limits().stale_ns();
  if (!nothing_waits || calm_at_ns > batch_.now_ns()) return;
  session.pending.unfold();
  update_gauges(session);
}

void Backlog::on_timer(Session& session) {
  assert(!session.ended);
  const SpoolCount count(batch_, figures_of(session));
  if (!session.deferred.read().rate_limits.empty()) {
    assert(session.connected());
    RateLimits& limits = session.deferred.write().rate_limits;
    const std::uint64_t before = limits.size();
    limits.end_due(batch_.now_ns(), [&](PendingEntry held) {
      if (session.pending.push_cell(std::move(held))) count_conflated(session);
    });
    batch_.stats().work_units.add(rate_limit_end_units * (before - limits.size()));
    bound_newest(session);
  }
  if (session.connected() && session.pending.has_adaptive() && !session.pending.collapsed()) {
    const std::int64_t stale_at_ns =
        *session.pending.newest_since_ns() + batch_.limits().stale_ns();
    if (stale_at_ns <= batch_.now_ns()) collapse(session);
  }
  update_gauges(session);
  unfold_if_caught_up(session);
}

// What rate limits hold back waits with the rest from now on: what comes may have another limit.
// All of them are looked at, for the few that hold something back perhaps.
void Backlog::release_held(Session& session) {
  constexpr std::uint64_t looked_at_per_unit = 4;
  if (session.deferred.read().rate_limits.held_bytes() == 0) return;
  batch_.stats().work_units.add(session.deferred.read().rate_limits.size() / looked_at_per_unit);
  session.deferred.write().rate_limits.release_all(
      [&](PendingEntry held) { session.pending.push_cell(std::move(held)); });
  assert(session.deferred.read().rate_limits.held_bytes() == 0);
}

void Backlog::before_request(Session& session) {
  MILLRACE_CHECK(session.connected());
  if (session.deferred.read().rate_limits.held_bytes() == 0) return;
  release_held(session);
  bound_newest(session);
  update_gauges(session);
}

void Backlog::seal(Session& session) {
  assert(!session.ended);
  release_held(session);
  session.pending.seal();
  bound_newest(session);
  update_gauges(session);
}

void Backlog::unsubscribed(Session& session, std::span<const Subscription* const> ended) {
  assert(!session.ended);
  release_held_of(session, ended);
  if (!session.deferred.read().sent_values.empty()) {
    SentValues& sent_values = session.deferred.write().sent_values;
    for (const Subscription* subscription : ended) sent_values.forget(subscription->number);
  }
  session.pending.seal();
  bound_newest(session);
  update_gauges(session);
}

void Backlog::release_held_of(Session& session, std::span<const Subscription* const> ended) {
  if (session.deferred.read().rate_limits.empty()) return;
  const bool others_left = session.subscriptions.read().of.size() > 0;
  RateLimits& limits = session.deferred.write().rate_limits;
  for (const Subscription* subscription : ended) {
    limits.forget(subscription->number, [&](PendingEntry held) {
      if (!others_left) return dropped(session, held);
      session.pending.push_cell(std::move(held));
    });
  }
}

void Backlog::part(Session& session) {
  assert(!session.connected());
  const SpoolCount count(batch_, figures_of(session));
  release_held(session);
  if (!session.deferred.read().rate_limits.empty()) session.deferred.write().rate_limits.clear();
  if (!session.deferred.read().sent_values.empty()) session.deferred.write().sent_values.clear();
  bound_newest(session);
  PendingQueue& pending = session.pending;
  if (pending.size() > pending.lasting_size() && session.expiry_s != 0) {
    batch_.stats().drop(Drop::disconnected, pending.size() - pending.lasting_size());
    if (pending.lasting_size() == 0) {
      discard(pending.take_all());
    } else {
      batch_.stats().work_units.add(pending.size());
      pending.remove_if([](const PendingEntry& entry) { return entry.delivery.qos == 0; });
    }
  }
  assert(session.expiry_s == 0 || pending.size() == pending.lasting_size());
  assert(session.deferred.read().rate_limits.empty());
  update_gauges(session);
  batch_.note_held(session);
}

void Backlog::clear(Session& session, SharedHeirs heirs) {
  assert(session.ended && session.deferred.read().rate_limits.empty());
  const std::size_t lasting = session.pending.lasting_size();
  batch_.stats().drop(Drop::session_ended, lasting);
  batch_.stats().drop(Drop::disconnected, session.pending.size() - lasting);
  leave(std::move(heirs.sent), heirs.groups);
  leave(session.pending.take_all(), std::move(heirs.groups));
  update_gauges(session);
  // Whether it is a link's or not: the connection that ends it may be another's.
  if (!spools_.empty()) spools_.erase(&session);
}

// A shared subscription's messages wait in the lane `every`.
void Backlog::leave(PendingQueue queue, HeirKeys heirs) {
  if (heirs.empty() || queue.every_size() == 0) return discard(std::move(queue));
  discarded_size_ += queue.size();
  heritable_.push_back({std::move(queue), std::move(heirs)});
}

std::optional<Backlog::Heritable> Backlog::next_heritable() {
  while (!heritable_.empty()) {
    auto& [queue, heirs] = heritable_.front();
    if (queue.every_size() == 0) {
      discarded_size_ -= queue.size();
      discard(std::move(queue));
      heritable_.pop_front();
      continue;
    }
    --discarded_size_;
    PendingEntry entry = queue.drop_oldest();
    const auto heir = heirs.find(entry.subscription);
    const bool goes_on = heir != heirs.end() && entry.delivery.qos == 1;
    return Heritable{std::move(entry), goes_on ? &heir->second : nullptr};
  }
  return std::nullopt;
}

void Backlog::discard(PendingQueue queue) {
  if (queue.empty()) return;
  discarded_size_ += queue.size();
  discarded_.push_back(std::move(queue));
}

void Backlog::free_discarded() {
  if (has_heritable()) batch_.ask_for_more();
  if (discarded_.empty()) return;
  // The more is left, the more is freed, so that never much more waits than a few batches discard.
  std::size_t budget = batch_.limits().removals_per_batch + discarded_size_ / 64;
  while (budget > 0 && !discarded_.empty()) {
    // A long message is given back to the system page by page.
    const PendingQueue& front = discarded_.front();
    const std::size_t each = 1 + front.bytes() / front.size() / bytes_per_removal;
    const std::size_t freed = discarded_.front().drop_some(std::max<std::size_t>(1, budget / each));
    assert(freed <= discarded_size_);
    batch_.stats().work_units.add(freed * each);
    budget -= std::min(budget, freed * each);
    discarded_size_ -= freed;
    if (discarded_.front().empty()) discarded_.pop_front();
  }
  assert(discarded_.empty() || discarded_size_ > 0);
  if (!discarded_.empty()) batch_.ask_for_more();
}

void Backlog::update_gauges(Session& session) {
  ProcessorStats& stats = batch_.stats();
  for (const std::uint32_t replaced : session.pending.take_replaced()) {
    if (session.stored) batch_.journal()->gone(session, replaced);
    dropped(session, replaced);
  }
  if (!session.deferred.read().rate_limits.is_told()) {
    const std::int64_t limits = session.deferred.write().rate_limits.take_change();
    limits_ += static_cast<std::uint64_t>(limits);
    MILLRACE_CHECK(limits_ <= INT64_MAX);
    batch_.note_held(session);
  }
  if (!session.deferred.read().sent_values.is_told()) {
    const std::int64_t sent_values = session.deferred.write().sent_values.take_change();
    sent_values_ += static_cast<std::uint64_t>(sent_values);
    MILLRACE_CHECK(sent_values_ <= INT64_MAX);
    batch_.note_held(session);
  }
  if (session.origin != 0) [[unlikely]]
    show(session);
  const PendingQueue::Change change = session.pending.take_change();
  if (change.messages != 0 || change.bytes != 0) batch_.note_held(session);
  stats.pending.add(static_cast<std::uint64_t>(change.messages));
  stats.pending_bytes.add(static_cast<std::uint64_t>(change.bytes));
  // What waits in all is no less than what waits here; a gauge below zero is very large.
  MILLRACE_CHECK(stats.pending.value() >= session.pending.size() &&
                 stats.pending.value() <= INT64_MAX);
  MILLRACE_CHECK(stats.pending_bytes.value() >= session.pending.bytes() &&
                 stats.pending_bytes.value() <= INT64_MAX);
  const bool collapsed = session.connected() && session.pending.collapsed();
  if (collapsed != session.told_collapsed) {
    session.told_collapsed = collapsed;
    if (session.connected()) session.update_binding();
  }
  const bool slow = is_slow(session);
  if (slow == session.counted_slow) return;
  MILLRACE_CHECK(slow || stats.slow_sessions.value() > 0);
  slow ? stats.slow_sessions.add() : stats.slow_sessions.subtract();
  session.counted_slow = slow;
}

// It is conflated; or, as a session that has the newest values alone has no backlog that could tell,
// its credit is used up, and what may be replaced has waited for as long as an adaptive subscription
// lets it. Nothing comes of the mere passing of time: SessionTimers has the session looked at then.
bool Backlog::is_slow(const Session& session) const {
  if (!session.connected()) return false;
  if (session.pending.collapsed()) return true;
  const auto since_ns = session.pending.newest_since_ns();
  return since_ns && batch_.now_ns() - *since_ns >= batch_.limits().stale_ns() &&
         is_credit_used_up(*session.outbox, batch_.limits());
}

}  // namespace millrace::broker
