// Subscriptions, shared groups, and the stored values that a new subscription begins with.
// Source: MQTT 5.0 sections 3.8 to 3.11, 4.8.2; for `latest`, the delivery contract in the README.
#include <algorithm>
#include <unordered_set>

#include "core/broker/processor.hpp"
#include "protocol/encode.hpp"
#include "protocol/topic.hpp"

namespace millrace::broker {

using protocol::ReasonCode;

namespace {

// A share name holds no '/', so the key is unambiguous.
std::string group_key(const std::string& name, std::string_view filter) {
  return (name + "/").append(filter);
}

// All but its group, which it has for good.
void set_options(Subscription& subscription, const SubscriptionRequest& wanted,
                 std::uint32_t identifier) {
  subscription.qos = wanted.qos;
  subscription.mode = wanted.mode;
  subscription.no_local = wanted.no_local;
  subscription.retain_as_published = wanted.retain_as_published;
  SharedGroup* const group = subscription.extras.read().group;
  subscription.extras.reset();
  if (group == nullptr && identifier == 0 && wanted.interval_ms == 0 && !wanted.rules) return;
  SubscriptionExtras& extras = subscription.extras.write();
  extras.group = group;
  extras.interval_ms = wanted.interval_ms;
  extras.rules = wanted.rules;
  if (identifier == 0) return;
  extras.identifier = identifier;
  extras.identifiers.reset(new SubscriptionIdentifiers);
  extras.identifiers->values.push_back(identifier);
}

template <class Which>
void forget_seeds(Session& session, Which which) {
  auto& seeds = session.deferred.write().seeds;
  seeds.erase(std::remove_if(seeds.begin(), seeds.end(), which), seeds.end());
}

// Subscribing again begins again: of a subscription's cursors, the one that was planted last stays.
// All in one go, as a SUBSCRIBE may name ten thousand whose cursors still wait.
void forget_older_seeds(Session& session) {
  if (session.deferred.read().seeds.empty()) return;
  std::unordered_set<const Subscription*> seen;
  auto& seeds = session.deferred.write().seeds;
  for (auto seed = seeds.rbegin(); seed != seeds.rend(); ++seed) {
    if (!seen.insert(seed->subscription).second) seed->subscription = nullptr;
  }
  forget_seeds(session, [](const SeedCursor& seed) { return seed.subscription == nullptr; });
}

// False: the client does not take packets of that size, and nothing is sent [MQTT-3.1.2-24].
template <class Answer>
bool encode_answer(const Answer& answer, Session& session) {
  std::vector<std::uint8_t>& control = session.outbox->staged().control;
  const std::size_t before = control.size();
  protocol::encode(answer, session.outbox->version, control);
  if (session.packet_bytes_max == 0 || control.size() - before <= session.packet_bytes_max) {
    return true;
  }
  control.resize(before);
  return false;
}

}  // namespace

void Processor::apply_subscribe(Session& session, SubscribeRequest& request) {
  protocol::Suback suback;
  suback.packet_id = request.packet_id;
  release_held(session);
  session.pending.seal();  // what waits keeps its order whatever changes now
  const std::size_t before = session.subscriptions.read().of.size();
  for (const SubscriptionRequest& wanted : request.filters) {
    suback.reasons.push_back(wanted.refused ? *wanted.refused
                                            : subscribe(session, wanted, request.identifier));
  }
  const std::size_t added = session.subscriptions.read().of.size() - before;
  if (added < request.filters.size()) forget_older_seeds(session);
  note_binding(session);
  touch(*session.outbox);
  if (!encode_answer(suback, session)) return disconnect(session, ReasonCode::PacketTooLarge);
  // What was stored up to here goes out ahead of what this batch still brings.
  store_batch_values();
  serve(session);
}

ReasonCode Processor::subscribe(Session& session, const SubscriptionRequest& wanted,
                                std::uint32_t identifier) {
  SubscriptionSet& set = session.subscriptions.write();
  Subscription* const before = set.of.find(wanted.name);
  const bool is_new = before == nullptr;
  if (is_new && set.of.size() >= limits_.subscriptions_max) return ReasonCode::QuotaExceeded;
  Subscription& subscription =
      is_new ? set.of.add(Subscription::make(wanted.name, wanted.filter)) : *before;
  if (is_new) {
    subscription.session = &session;
    subscription.number = ++subscription_number_;
  } else {
    --set.mode_counts[static_cast<std::size_t>(subscription.mode)];
  }
  ++set.mode_counts[static_cast<std::size_t>(wanted.mode)];
  set_options(subscription, wanted, identifier);
  if (!is_new) {
    index_.touch(subscription.filter());  // [MQTT-3.8.4-3]
  } else {
    if (!wanted.share_group.empty()) add_to_group(subscription, wanted.share_group);
    index_.add(subscription.filter(), &subscription);
  }
  plant_seed(session, wanted, subscription, is_new);
  return static_cast<ReasonCode>(wanted.qos);
}

void Processor::add_to_group(Subscription& subscription, const std::string& group_name) {
  auto& group = groups_[group_key(group_name, subscription.filter())];
  if (!group) {
    group = std::make_unique<SharedGroup>();
    group->name = group_name;
    group->filter = subscription.filter();
  }
  group->members.push_back(&subscription);
  subscription.extras.write().group = group.get();
}

// The group ends with its last member.
void Processor::leave_group(Subscription& subscription) {
  if (subscription.extras.read().group == nullptr) return;
  SharedGroup& group = *std::exchange(subscription.extras.write().group, nullptr);
  std::erase(group.members, &subscription);
  if (!group.members.empty()) return;
  const auto found = groups_.find(group_key(group.name, group.filter));
  ended_groups_.push_back(std::move(found->second));
  groups_.erase(found);
}

void Processor::remove(Subscription& subscription) {
  index_.remove(subscription.filter(), &subscription);
  leave_group(subscription);
}

// What waited for subscriptions that ended. A value that is held back is sent if others are left,
// which may match it too.
void Processor::forget_deferred(Session& session, std::span<const Subscription* const> ended) {
  const DeferredWork& deferred = session.deferred.read();
  if (!deferred.seeds.empty()) {
    const std::unordered_set<const Subscription*> those(ended.begin(), ended.end());
    forget_seeds(session,
                 [&](const SeedCursor& seed) { return those.contains(seed.subscription); });
  }
  if (deferred.rate_limits.empty()) return;
  const bool others_left = session.subscriptions.read().of.size() > 0;
  RateLimits& limits = session.deferred.write().rate_limits;
  for (const Subscription* subscription : ended) {
    limits.forget(subscription->number, [&](PendingEntry held) {
      if (others_left) session.pending.push_cell(std::move(held));
    });
  }
}

void Processor::apply_unsubscribe(Session& session, UnsubscribeRequest& request) {
  protocol::Unsuback unsuback;
  unsuback.packet_id = request.packet_id;
  std::vector<const Subscription*> ended;
  for (const std::string& name : request.names) {
    Subscription* const found = session.subscriptions.read().of.find(name);
    if (found == nullptr) {
      unsuback.reasons.push_back(ReasonCode::NoSubscriptionExisted);
      continue;
    }
    SubscriptionSet& set = session.subscriptions.write();
    --set.mode_counts[static_cast<std::size_t>(found->mode)];
    remove(*found);
    ended.push_back(found);
    ended_subscriptions_.push_back(set.of.take(*found));
    unsuback.reasons.push_back(ReasonCode::Success);
  }
  forget_deferred(session, ended);
  session.pending.seal();
  note_pending(session);
  serve_later(session);
  note_binding(session);
  touch(*session.outbox);
  if (!encode_answer(unsuback, session)) disconnect(session, ReasonCode::PacketTooLarge);
}

// Tells the connection how small to keep the kernel's buffer: the strictest of its modes, and of
// what a collapsed backlog needs.
void Processor::note_binding(Session& session) {
  const auto& mode_counts = session.subscriptions.read().mode_counts;
  auto binding = Outbox::Binding::early;
  if (mode_counts[static_cast<std::size_t>(Mode::adaptive)] > 0) {
    binding = Outbox::Binding::late;
  }
  if (mode_counts[static_cast<std::size_t>(Mode::latest)] > 0 || session.pending.collapsed()) {
    binding = Outbox::Binding::latest;
  }
  session.outbox->set_binding(binding);
}

void Processor::plant_seed(Session& session, const SubscriptionRequest& wanted,
                           const Subscription& subscription, bool is_new) {
  if (subscription.extras.read().group != nullptr)
    return;  // [MQTT-3.8.4-4]: none for shared subscriptions
  SeedCursor seed;
  // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
  seed.with_retained = wanted.retain_handling == 0 || (wanted.retain_handling == 1 && is_new);
  seed.with_newest = wanted.mode == Mode::latest;
  if (!seed.with_retained && !seed.with_newest) return;
  seed.subscription = &subscription;
  seed.walk.filter = subscription.filter();
  seed.since = sequence_;
  session.deferred.write().seeds.push_back(std::move(seed));
}

Topic* Processor::next_seed_topic(TopicWalk& walk, bool& out_of_budget) {
  Topic* topic = nullptr;
  while (seed_budget_ > 0) {
    --seed_budget_;  // also for one that matches: it may be that nothing of it is sent
    const TopicWalk::Step step = walk.step(topics_, topic);
    if (step != TopicWalk::Step::other) return step == TopicWalk::Step::match ? topic : nullptr;
  }
  out_of_budget = true;
  return nullptr;
}

Processor::Seeded Processor::bind_one_seed(Session& session) {
  auto& seeds = session.deferred.write().seeds;
  while (!seeds.empty()) {
    SeedCursor& cursor = seeds.front();
    const Subscription& subscription = *cursor.subscription;
    if (!has_credit(session, subscription.mode)) {
      return Seeded::no_credit;
    }
    if (subscription.qos > 0 && !has_window(session)) return Seeded::no_credit;
    bool out_of_budget = false;
    Topic* topic = next_seed_topic(cursor.walk, out_of_budget);
    if (out_of_budget) return Seeded::out_of_budget;
    if (topic == nullptr) {
      seeds.pop_front();
      continue;
    }
    if (!subscription.may_read(topic->name())) continue;
    // A later value reached the subscription by itself; an older one after it would be stale.
    if (topic->sequence > cursor.since) continue;
    const bool retained = topic->retained && cursor.with_retained &&
                          (!cursor.with_newest || topic->retained == topic->newest());
    if (!retained && (!cursor.with_newest || topic->retained == topic->newest())) continue;
    Message message = message_of(retained ? topic->retained : BufferRef(topic->newest()));
    if (message.payload_bytes() == 0) continue;
    Delivery delivery;
    delivery.qos = std::min(message.qos, subscription.qos);
    delivery.retain = retained;  // [MQTT-3.3.1-8]
    delivery.replayed = true;
    delivery.identifiers = subscription.extras.read().identifiers;
    delivery.message = std::move(message);
    bind(session, std::move(delivery), subscription.number);
    return Seeded::one;
  }
  session.forget_empty_deferred();
  return Seeded::none;
}

}  // namespace millrace::broker
