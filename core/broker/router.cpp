// Source: MQTT 5.0 sections 3.3.4, 3.8, 3.10, 4.7, 4.8.
#include "core/broker/router.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include "core/base/malloc_bytes.hpp"
#include "core/broker/journal.hpp"

namespace millrace::broker {

namespace {

// A share name holds no '/', so the key is unambiguous.
std::string group_key(const std::string& name, std::string_view filter) {
  assert(name.find('/') == std::string::npos);
  return (name + "/").append(filter);
}

// Sets all but the group, which never changes.
void set_options(Subscription& subscription, const SubscriptionRequest& wanted,
                 std::uint32_t identifier) {
  assert(wanted.qos <= 2 && !wanted.refused);
  subscription.qos = wanted.qos;
  subscription.mode = wanted.mode;
  subscription.no_local = wanted.no_local;
  subscription.retain_as_published = wanted.retain_as_published;
  subscription.confirms = wanted.confirms;
  const SubscriptionExtras before = subscription.extras.read();
  subscription.extras.reset();
  if (before.group == nullptr && identifier == 0 && !wanted.shape && !wanted.rules) return;
  SubscriptionExtras& extras = subscription.extras.write();
  extras.group = before.group;
  extras.group_place = before.group_place;
  extras.group_list = before.group_list;
  extras.shape = wanted.shape;
  extras.rules = wanted.rules;
  if (identifier == 0) return;
  extras.identifier = identifier;
  extras.identifiers.reset(new SubscriptionIdentifiers);
  extras.identifiers->values.push_back(identifier);
}

}  // namespace

// --- Matching ------------------------------------------------------------------------------------

void Router::bring_up_to_date(Topic& topic) {
  CachedRoute& cached = topic.cached_route;
  if (cached.never_computed() || index_.changed_since(cached.version(), topic.name())) {
    batch_.stats().routes_computed.add();
    // Here, as no route is in use now.
    const std::size_t dropped = routes_.drop_to(batch_.limits().routes_bytes);
    batch_.stats().routes_dropped.add(dropped);
    batch_.stats().work_units.add(dropped);
    cached.set(route_builder_.build(index_, topic.name()), index_.version(), routes_,
               topic.sequence);
  } else {
    cached.still_valid(index_.version());
  }
}

// --- Shared groups -------------------------------------------------------------------------------

void Router::add_to_group(Subscription& subscription, const std::string& group_name) {
  assert(!subscription.in_index);  // the group is, in its place
  auto& group = groups_[group_key(group_name, subscription.filter())];
  if (!group) {
    group = std::make_unique<SharedGroup>(group_name, subscription.filter());
    add_to_index(group->in_index());
  }
  group->join(subscription);
  ++members_;
  ++subscription.session->subscriptions.write().shared_count;
}

std::string Router::key_of(const SharedGroup& group) {
  return group_key(group.name(), group.filter());
}

SharedGroup* Router::find_group(const std::string& key) const {
  const auto found = groups_.find(key);
  return found == groups_.end() ? nullptr : found->second.get();
}

// The group ends with its last member.
void Router::leave_group(Subscription& subscription) {
  if (subscription.extras.read().group == nullptr) return;
  SharedGroup& group = *subscription.extras.read().group;
  group.leave(subscription);
  assert(members_ > 0 && subscription.session->subscriptions.read().shared_count > 0);
  --members_;
  --subscription.session->subscriptions.write().shared_count;
  if (!group.empty()) return;
  remove_from_index(group.in_index());
  const auto found = groups_.find(key_of(group));
  assert(found != groups_.end() && found->second.get() == &group);
  ended_groups_.push_back(std::move(found->second));
  groups_.erase(found);
}

void Router::leave_groups(Session& session) {
  if (session.subscriptions.read().shared_count == 0) return;
  session.subscriptions.read().of.for_each([&](Subscription& one) { leave_group(one); });
}

void Router::update_groups(Session& session) {
  if (session.subscriptions.read().shared_count == 0) return;
  session.subscriptions.read().of.for_each([](Subscription& one) {
    if (SharedGroup* group = one.extras.read().group) group->update(one);
  });
}

// --- Subscriptions -------------------------------------------------------------------------------

// The object, and its place in a table and in the index.
std::uint64_t Router::memory_bytes(const Subscription& subscription) {
  return base::malloc_bytes(sizeof(Subscription) + subscription.name().size()) + 3 * sizeof(void*);
}

std::uint64_t Router::memory_bytes(std::string_view name) {
  constexpr std::uint64_t node_bytes = 80;
  const auto levels = static_cast<std::uint64_t>(1 + std::ranges::count(name, '/'));
  return sizeof(Subscription) + sizeof(SnapshotCursor) + 3 * name.size() + levels * node_bytes;
}

bool Router::has_room(Session& session, std::string_view name) {
  // Of a link, which is told nothing and would miss what its rule sends: as many as the operator has
  // written rules.
  if (session.origin != 0) return true;
  const ProcessorLimits& limits = batch_.limits();
  const SubscriptionSet& set = session.subscriptions.read();
  if (set.of.size() >= limits.subscriptions_max ||
      set.memory_bytes + memory_bytes(name) > limits.session_bytes / 4) {
    batch_.stats().subscriptions_refused.add();
    return false;
  }
  if (restores_) return true;  // it was taken in before
  if (subscription_count() >= limits.all_subscriptions_max) {
    batch_.stats().all_subscriptions_refused.add();
    return false;
  }
  if (session.user_is_full) batch_.note_held(session);
  if (session.user_is_full) {
    batch_.stats().user_refusals.add();
    return false;
  }
  if (!batch_.ledger().is_scarce()) return true;
  batch_.stats().memory_refusals.add();
  return false;
}

// It ended; its session still has it.
void Router::uncharge(Subscription& subscription) {
  SubscriptionSet& set = subscription.session->subscriptions.write();
  assert(set.memory_bytes >= memory_bytes(subscription.name()));
  assert(subscription_bytes_ >= memory_bytes(subscription));
  set.memory_bytes -= memory_bytes(subscription.name());
  subscription_bytes_ -= memory_bytes(subscription);
}

Router::Subscribed Router::subscribe(Session& session, const SubscriptionRequest& wanted,
                                     std::uint32_t identifier) {
  assert(!session.ended);
  SubscriptionSet& set = session.subscriptions.write();
  Subscription* const before = set.of.find(wanted.name);
  const bool is_new = before == nullptr;
  if (is_new && !has_room(session, wanted.name)) return {};
  Subscription& subscription =
      is_new ? set.of.add(Subscription::make(wanted.name, wanted.filter)) : *before;
  if (is_new) {
    subscription.session = &session;
    subscription.number = ++subscription_number_;
    set.memory_bytes += memory_bytes(wanted.name);
    subscription_bytes_ += memory_bytes(subscription);
    batch_.note_held(session);
  } else {
    assert(subscription.session == &session);
    assert(wanted.share_group.empty() == (subscription.extras.read().group == nullptr));
    assert(set.mode_counts[static_cast<std::size_t>(subscription.mode)] > 0);
    --set.mode_counts[static_cast<std::size_t>(subscription.mode)];
  }
  ++set.mode_counts[static_cast<std::size_t>(wanted.mode)];
  remove_from_pace(subscription);
  set_options(subscription, wanted, identifier);
  add_to_pace(subscription);
  if (!is_new) {
    index_.touch(subscription.filter());  // [MQTT-3.8.4-3]
  } else if (wanted.share_group.empty()) {
    add_to_index(subscription);
  } else {
    add_to_group(subscription, wanted.share_group);
  }
  if (session.stored) batch_.journal()->subscribed(subscription);
  return {&subscription, is_new};
}

void Router::add_to_pace(const Subscription& subscription) {
  const ShapeRef& shape = subscription.extras.read().shape;
  if (!shape || !shape->is_of_client()) return;
  Session& session = *subscription.session;
  session.deferred.write().pace.add(*shape, session.number);
  session.update_pacing();
}

void Router::remove_from_pace(const Subscription& subscription) {
  const ShapeRef& shape = subscription.extras.read().shape;
  if (!shape || !shape->is_of_client()) return;
  Session& session = *subscription.session;
  assert(session.is_paced);
  session.deferred.write().pace.remove(*shape);
  session.update_pacing();
}

bool Router::restore(Session& session, const SubscriptionRequest& wanted, std::uint32_t identifier,
                     std::uint32_t number) {
  restores_ = true;
  const std::uint32_t newest = std::exchange(subscription_number_, number - 1);
  const bool made = subscribe(session, wanted, identifier).subscription != nullptr;
  subscription_number_ = std::max(newest, number);
  restores_ = false;
  return made;
}

void Router::add_to_index(Subscription& subscription) {
  assert(!subscription.in_index);
  index_.add(subscription.filter(), &subscription);
  subscription.in_index = true;
}

void Router::remove_from_index(Subscription& subscription) {
  assert(subscription.in_index);
  index_.remove(subscription.filter(), &subscription);
  subscription.in_index = false;
}

void Router::remove(Subscription& subscription) {
  if (subscription.in_index) remove_from_index(subscription);
  leave_group(subscription);
}

const Subscription* Router::unsubscribe(Session& session, std::string_view name) {
  Subscription* const found = session.subscriptions.read().of.find(name);
  if (found == nullptr) return nullptr;
  SubscriptionSet& set = session.subscriptions.write();
  auto& mode_count = set.mode_counts[static_cast<std::size_t>(found->mode)];
  assert(mode_count > 0 && found->session == &session);
  --mode_count;
  if (session.stored) batch_.journal()->unsubscribed(session, name);
  remove_from_pace(*found);
  remove(*found);
  uncharge(*found);
  batch_.note_held(session);
  ended_subscriptions_.push_back(set.of.take(*found));
  return found;
}

void Router::set_rules(Subscription& subscription, std::shared_ptr<const TopicRules> rules,
                       std::uint8_t qos_max) {
  if (subscription.extras.read().rules == rules && subscription.qos <= qos_max) return;
  subscription.qos = std::min(subscription.qos, qos_max);
  if (subscription.extras.read().rules != rules) {
    subscription.extras.write().rules = std::move(rules);
  }
  if (SharedGroup* group = subscription.extras.read().group) group->update(subscription);
  index_.touch(subscription.filter());
}

std::uint32_t Router::remove_some(Session& session, std::uint32_t from, std::uint32_t count) {
  assert(session.ended);
  return session.subscriptions.read().of.for_some(from, count, [&](Subscription& one) {
    batch_.stats().work_units.add();
    assert(one.session == &session);
    remove(one);
    uncharge(one);
  });
}

void Router::forget_ended() {
  // Nothing finds them any more: neither a match nor a turn.
  MILLRACE_CHECK(std::ranges::none_of(ended_subscriptions_, [](const auto& one) {
    return one->in_index || one->extras.read().group != nullptr;
  }));
  MILLRACE_CHECK(std::ranges::all_of(
      ended_groups_, [](const auto& one) { return one->empty() && !one->in_index().in_index; }));
  ended_subscriptions_.clear();
  ended_groups_.clear();
}

}  // namespace millrace::broker
