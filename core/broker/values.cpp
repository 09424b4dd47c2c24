// Source: MQTT 5.0 sections 3.3.1.3, 3.8.3.1; for `latest`, the delivery contract,
// docs/delivery.md.
#include "core/broker/values.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include "core/broker/journal.hpp"
#include "core/broker/topic_hash.hpp"

namespace millrace::broker {

namespace {
constexpr std::uint32_t turns_per_batch = 8;
}

Values::Values(Batch& batch)
    : batch_(batch),
      topics_(batch.limits().slots),
      history_(batch.limits().history, batch.stats()) {
  topics_.set_history_gone([this](Topic& topic) { history_.forget(topic); });
  topics_.set_newest_gone([this](Topic& topic) {
    topic.newest_stored = false;
    if (Journal* const journal = batch_.journal()) journal->newest_gone(topic.name());
  });
}

void Values::note(Topic& topic, PublishContext& context) {
  MILLRACE_CHECK(topic.sequence == sequence_);  // publishes end in the order in which they began
  MILLRACE_CHECK(context.message);
  if (history_.is_kept()) [[unlikely]]
    remember(topic, context);
  if (topic.batch_value == 0) {
    noted_.push_back({&topic, {}, {}, false, false, 0, {}, {}});
    topic.batch_value = static_cast<std::uint32_t>(noted_.size());
  }
  Noted& value = noted_[topic.batch_value - 1];
  MILLRACE_CHECK(value.topic == &topic);
  // The copy that a session's queue made serves the slot as well.
  Message& newest = context.kept ? context.kept : context.message;
  const bool clears = newest.payload_bytes() == 0;  // [MQTT-3.3.1-6]
  if (newest.retain && !reserve(value, clears ? 0 : newest.packet_bytes, context)) {
    batch_.stats().drop(Drop::retained_refused);
  } else if (newest.retain) {
    value.retained = clears ? Message{} : newest;
    value.retained_is_awaited |= newest.qos > 0;
    value.retained_sequence = topic.sequence;
    value.clears_retained = clears;
  }
  releases_.add(std::move(value.newest.buffer));
  value.newest = std::move(newest);
}

// Requests are no values. A topic that is cleared has none any more; and while memory is scarce, none
// is kept rather than all but some.
void Values::remember(Topic& topic, PublishContext& context) {
  if (context.message.request) return;
  if (context.message.payload_bytes() == 0 || batch_.ledger().is_scarce()) {
    return history_.forget(topic);
  }
  history_.add(topic, topic.sequence, context.to_keep().buffer);
}

std::optional<PublishRefusal> Values::retain_refusal(const Message& message,
                                                     std::string_view user) const {
  const std::uint32_t bytes = message.payload_bytes() == 0 ? 0 : message.packet_bytes;
  const Topic* topic = topics_.find(message.topic_hash, message.topic());
  return retain_refusal(topic, bytes, user, reserved_beside(topic));
}

// What takes no more than it did is taken even while memory is scarce.
std::optional<PublishRefusal> Values::retain_refusal(const Topic* topic, std::uint32_t bytes,
                                                     std::optional<std::string_view> user,
                                                     TopicTable::RetainedRoom beside) const {
  if (bytes == 0) return std::nullopt;
  if (const auto refusal = topics_.retain_refusal(topic, bytes, user, beside)) return refusal;
  const std::uint64_t before =
      topic != nullptr && topic->retained ? topic->retained->capacity() : 0;
  if (bytes <= before || !batch_.ledger().is_scarce()) return std::nullopt;
  batch_.stats().memory_refusals.add();
  return PublishRefusal::memory_is_scarce;
}

// The room that the topic's retained value of this batch takes, so that what is noted can be stored.
bool Values::reserve(Noted& noted, std::uint32_t bytes, const PublishContext& context) {
  const RightsRef* const owner = context.from != nullptr ? &context.from->rights : context.owner;
  const TopicTable::RetainedRoom others = reserved_beside(noted.topic);
  std::optional<std::string_view> user;
  if (owner != nullptr) user = owner_of(*owner);
  if (retain_refusal(noted.topic, bytes, user, others)) return false;
  noted.publisher.reset();
  if (owner != nullptr) noted.publisher = *owner;
  noted.reserved =
      bytes == 0 ? TopicTable::RetainedRoom{} : TopicTable::room_of(*noted.topic, bytes);
  reserved_ = {others.count + noted.reserved.count, others.bytes + noted.reserved.bytes};
  return true;
}

TopicTable::RetainedRoom Values::reserved_beside(const Topic* topic) const {
  if (topic == nullptr || topic->batch_value == 0) return reserved_;
  const TopicTable::RetainedRoom& own = noted_[topic->batch_value - 1].reserved;
  return {reserved_.count - own.count, reserved_.bytes - own.bytes};
}

bool Values::restore(BufferRef value, std::optional<std::string_view> user) {
  const Message message = message_of(value);
  Topic& topic = topics_.obtain(message.topic_hash, message.topic(), ++sequence_);
  topic.sequence = sequence_;
  const bool has_room = !retain_refusal(&topic, message.packet_bytes, user, {});
  if (has_room) {
    topics_.store_retained(topic, value, sequence_, user);
  } else {
    batch_.stats().drop(Drop::retained_refused);
    only_stored_.insert(message.topic_hash);
  }
  topics_.store_newest(topic, std::move(value));
  return has_room;
}

void Values::restore_newest(BufferRef value) {
  const Message message = message_of(value);
  Topic& topic = topics_.obtain(message.topic_hash, message.topic(), ++sequence_);
  topic.sequence = sequence_;
  topics_.store_newest(topic, std::move(value));
  topic.newest_stored = true;
}

void Values::forget_stored_newest() {
  for (Topic* topic = topics_.next("", true); topic; topic = topics_.next(topic->name(), false)) {
    if (!topic->newest_stored) continue;
    topic->newest_stored = false;
    batch_.journal()->newest_gone(topic->name());
  }
}

void Values::store_noted(LocalSide* local) {
  for (Noted& noted : noted_) store(noted, local);
  releases_.flush();
  if (history_.over_limits()) [[unlikely]]
    evict_history();
  if (noted_.empty() && !topics_.over_limits()) return;
  if (topics_.anyone_waits()) {
    for (const Noted& noted : noted_) topics_.notify(*noted.topic);
  }
  const std::size_t evicted_max = batch_.limits().removals_per_batch + noted_.size();
  noted_.clear();
  reserved_ = {};
  last_topic_ = nullptr;  // may be evicted now
  if (const std::size_t evicted = topics_.evict(evicted_max)) {
    batch_.stats().drop(Drop::slot_evicted, evicted);
    batch_.stats().work_units.add(evicted);
  }
  if (topics_.over_limits()) batch_.ask_for_more();
}

// Twice as many as came, and a slice.
void Values::evict_history() {
  const std::size_t count_max = batch_.limits().removals_per_batch + 2 * noted_.size();
  const std::size_t evicted = history_.evict(count_max);
  batch_.stats().history_evicted.add(evicted);
  batch_.stats().work_units.add(evicted);
  if (history_.over_limits()) batch_.ask_for_more();
}

void Values::store(Noted& noted, LocalSide* local) {
  Topic& topic = *noted.topic;
  MILLRACE_CHECK(topic.batch_value != 0);
  MILLRACE_CHECK(noted.newest && !(noted.retained && noted.clears_retained));
  Message newest = noted.newest.is_slice() ? noted.newest.copy_to_keep() : noted.newest;
  if (noted.clears_retained) {
    const bool had_one = static_cast<bool>(topic.retained);
    topics_.store_retained(topic, nullptr, noted.retained_sequence);
    // Not for each topic that never had one: clearing such would fill the store. A topic that has the
    // hash of another one is erased where nothing is.
    const bool was_stored = !only_stored_.empty() && only_stored_.erase(topic.hash()) > 0;
    if (had_one || was_stored) write_down(noted);
  }
  if (noted.retained) {
    const bool same = noted.retained.buffer == noted.newest.buffer &&
                      noted.retained.packet_offset == noted.newest.packet_offset;
    Message retained = same                        ? newest
                       : noted.retained.is_slice() ? noted.retained.copy_to_keep()
                                                   : noted.retained;
    std::optional<std::string_view> user;
    if (noted.publisher) user = owner_of(*noted.publisher);
    topics_.store_retained(topic, std::move(retained.buffer), noted.retained_sequence, user);
    write_down(noted);
  }
  const Route& route = topic.cached_route.route();
  MILLRACE_CHECK(local != nullptr || route.feeds.empty());
  if (!route.feeds.empty()) local->store(route.feeds, newest);
  topics_.store_newest(topic, std::move(newest.buffer));
  write_newest_down(topic);
  topic.batch_value = 0;
  releases_.add(std::move(noted.newest.buffer));
}

void Values::write_down(const Noted& noted) {
  if (Journal* const journal = batch_.journal()) {
    const Topic& topic = *noted.topic;
    journal->retained(topic.name(), topic.retained, topics_.retained_user(topic),
                      noted.retained_is_awaited);
  }
}

// One that is retained is written as that.
void Values::write_newest_down(Topic& topic) {
  Journal* const journal = batch_.journal();
  if (journal == nullptr || !journal->keeps_newest()) return;
  const BufferRef newest(topic.newest());
  if (newest != topic.retained && message_of(newest).payload_bytes() > 0) {
    journal->newest(topic.name(), newest);
    topic.newest_stored = true;
  } else if (topic.newest_stored) {
    journal->newest_gone(topic.name());
    topic.newest_stored = false;
  }
}

// --- Snapshots -----------------------------------------------------------------------------------

std::optional<SnapshotCursor> Values::begin_snapshot(const Subscription& subscription,
                                                     const SubscriptionRequest& wanted,
                                                     bool is_new) const {
  if (subscription.extras.read().group != nullptr) return std::nullopt;  // [MQTT-3.8.4-4]
  SnapshotCursor cursor;
  // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
  cursor.with_retained = wanted.retain_handling == 0 || (wanted.retain_handling == 1 && is_new);
  cursor.with_newest = wanted.mode == Mode::latest;
  cursor.history = wanted.history;
  if (!cursor.with_retained && !cursor.with_newest && cursor.history == 0) return std::nullopt;
  assert(subscription.session != nullptr);
  cursor.subscription = &subscription;
  cursor.walk.filter = subscription.filter();
  cursor.newer_than = wanted.newer_than;
  cursor.since = cursor.since_at_qos0 = sequence_;
  return cursor;
}

bool Values::begin_turn() {
  const std::uint32_t of_batch = batch_.limits().snapshot_topics_per_batch;
  turn_budget_ = std::min(snapshot_budget_, std::max(1u, of_batch / turns_per_batch));
  return turn_budget_ > 0;
}

Values::Step Values::next(SnapshotCursor& cursor, StoredValue& value) {
  assert(cursor.subscription != nullptr && cursor.since <= sequence_);
  assert(noted_.empty());  // else a value that is not stored yet would be missed
  assert(turn_budget_ <= snapshot_budget_);
  while (turn_budget_ > 0) {
    --turn_budget_;
    --snapshot_budget_;
    batch_.stats().work_units.add();
    value = {};
    if (cursor.in_history) {
      if (next_of_history(cursor, value)) return Step::value;
      continue;
    }
    Topic* topic = nullptr;
    const TopicWalk::Step step = cursor.walk.step(topics_, topic);
    if (step == TopicWalk::Step::end) return Step::end;
    if (step != TopicWalk::Step::match) continue;
    const bool has_history = cursor.history > 0 && enter_history(*topic, cursor);
    const bool sends_stored = value_of(*topic, cursor, value);
    if (!sends_stored) continue;
    // Behind the first value of the history it comes in its turn.
    if (!has_history || value_sequence(*topic, value) <= cursor.history_after) return Step::value;
  }
  return Step::out_of_budget;
}

bool Values::enter_history(const Topic& topic, SnapshotCursor& cursor) const {
  const History::Entry* const first = history_.first(topic, cursor.history, cursor.since);
  if (first == nullptr || cursor.since <= cursor.newer_than) return false;
  cursor.in_history = true;
  cursor.history_after = std::max(first->sequence - 1, cursor.newer_than);
  return true;
}

// What is published meanwhile waits behind the history. So each value up to the SUBSCRIBE is sent, and
// each later one comes by itself. The stored value that the subscription would begin with without a
// history may be one that is not in the history, or not any more: it comes in its place. False: there
// is nothing to send at this step; once the topic has no more, the cursor leaves it.
bool Values::next_of_history(SnapshotCursor& cursor, StoredValue& value) const {
  const Subscription& subscription = *cursor.subscription;
  const std::string_view name = cursor.walk.name();
  const Topic* const topic = topics_.find(topic_hash(name), name);
  cursor.in_history = topic != nullptr && subscription.may_read(name);
  if (!cursor.in_history) return false;
  const History::Entry* entry =
      cursor.history > 0 ? history_.next(*topic, cursor.history_after) : nullptr;
  if (entry != nullptr && entry->sequence > cursor.since) entry = nullptr;
  if (value_of(*topic, cursor, value)) {
    const std::uint64_t sequence = value_sequence(*topic, value);
    if (sequence > cursor.history_after && (entry == nullptr || sequence < entry->sequence)) {
      cursor.history_after = sequence;
      return true;
    }
  }
  value = {};
  cursor.in_history = entry != nullptr;
  if (entry == nullptr) return false;
  cursor.history_after = entry->sequence;
  if (is_from(subscription, *entry->value)) return false;
  value.message = message_of(entry->value);
  value.retained = cursor.with_retained && topic->retained_sequence == entry->sequence &&
                   static_cast<bool>(topic->retained);
  value.of_history = true;
  return true;
}

std::uint64_t Values::value_sequence(const Topic& topic, const StoredValue& value) {
  return value.retained ? topic.retained_sequence : topic.sequence;
}

// A link's peer has what came from there.
bool Values::is_from(const Subscription& subscription, const Buffer& value) {
  const std::uint16_t origin = subscription.session->origin;
  return origin != 0 && value.origin == origin;
}

// A value that was published since the SUBSCRIBE has reached the client by itself, and is not sent
// again. An ordinary subscription is to have every retained value [MQTT-3.3.1-9], so only a later
// retained one stands for it; `latest` is to have the newest value, so any later one does.
bool Values::value_of(const Topic& topic, const SnapshotCursor& cursor, StoredValue& value) const {
  const Subscription& subscription = *cursor.subscription;
  if (!subscription.may_read(topic.name())) return false;
  Buffer* const newest = topic.newest();
  const bool retained_is_newest = topic.retained && topic.retained == newest;
  value.retained =
      topic.retained && cursor.with_retained && (!cursor.with_newest || retained_is_newest);
  if (!value.retained && (!cursor.with_newest || retained_is_newest || newest == nullptr)) {
    return false;
  }
  value.message = message_of(value.retained ? topic.retained : BufferRef(newest));
  // A cleared topic has no value, which is news to those alone who had one of it.
  if (value.message.payload_bytes() == 0 && cursor.newer_than == 0) return false;
  if (is_from(subscription, *value.message.buffer)) return false;
  const bool at_qos0 = std::min(value.message.qos, subscription.qos) == 0;
  const std::uint64_t since = at_qos0 ? cursor.since_at_qos0 : cursor.since;
  const std::uint64_t sequence = value_sequence(topic, value);
  return sequence > cursor.newer_than && sequence <= since;
}

}  // namespace millrace::broker
