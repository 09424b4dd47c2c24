// Source: MQTT 5.0 sections 3.3.4, 3.3.5.
#include "core/broker/route_builder.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace millrace::broker {

namespace {

// Up to so many targets of a session are looked through, which is faster than a hash table.
constexpr std::uint32_t looked_through_max = 8;

// To be shaped is to be spared values; `every` skips none.
Mode mode_of(const Subscription& subscription) {
  const bool shaped = subscription.extras.read().is_shaped_per_topic();
  return shaped && subscription.mode == Mode::adaptive ? Mode::latest : subscription.mode;
}

// What both of two that are merged have agreed to. Null is no shape: nothing is kept back.
const Shape* weaker(const Shape* one, const Shape* other) {
  if (one == nullptr || other == nullptr || !one->filters_as(*other)) return nullptr;
  if (other->interval_ms != one->interval_ms) {
    return other->interval_ms < one->interval_ms ? other : one;
  }
  return other->weight > one->weight ? other : one;
}

}  // namespace

// Mixed, as clients choose their identifiers: the address, which they do not know, keeps them from
// choosing ones that collide.
std::size_t RouteBuilder::KeyHash::operator()(const Key& key) const {
  auto bits = reinterpret_cast<std::uintptr_t>(key.session) ^ (std::uint64_t{key.identifier} << 34);
  bits ^= (key.no_local ? 1u : 0u) | (key.retain_as_published ? 2u : 0u);
  std::uint64_t mixed = bits;
  for (const std::uint64_t factor : {0xBF58476D1CE4E5B9ull, 0x94D049BB133111EBull}) {
    mixed = (mixed ^ mixed >> 31) * factor;
  }
  return static_cast<std::size_t>(mixed ^ mixed >> 31);
}

Route RouteBuilder::build(const SubscriptionIndex& index, std::string_view topic) {
  assert(route_.empty() && matches_.empty() && previous_.empty() && identifiers_.empty());
  assert(merged_.empty() && places_.empty());
  ++stamp_;
  const std::size_t nodes =
      index.match(topic, [&](Subscription* subscription) { add_match(subscription, topic); });
  batch_.stats().work_units.add(nodes + matches_.size());
  for (Subscription* subscription : matches_) add_target(*subscription);
  for (const Place place : merged_) {
    auto& values = route_.targets[place].identifiers->values;
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
  }
  assert(previous_.size() == route_.targets.size() && matches_.size() >= previous_.size());
  matches_.clear();
  previous_.clear();
  identifiers_.clear();
  merged_.clear();
  // clear() would go through all the buckets of the largest match so far.
  if (!places_.empty()) places_ = decltype(places_)();
  return std::exchange(route_, {});
}

void RouteBuilder::add_match(Subscription* subscription, std::string_view topic) {
  if (shm::Feed* feed = subscription->extras.read().feed) {
    route_.feeds.push_back(feed);
    return;
  }
  if (SharedGroup* group = subscription->extras.read().group) {
    route_.groups.emplace_back(*group);
    return;
  }
  MILLRACE_CHECK(subscription->session != nullptr && subscription->in_index);
  if (!subscription->may_read(topic)) return;
  if (subscription->session->ended) return;  // its subscriptions are removed in slices
  SubscriptionSet& set = subscription->session->subscriptions.write();
  if (set.route_stamp != stamp_) {
    set.route_stamp = stamp_;
    set.route_mode = mode_of(*subscription);
    set.route_newest = nowhere;
    set.route_targets = 0;
  }
  set.route_mode = std::max(set.route_mode, mode_of(*subscription));
  matches_.push_back(subscription);
}

// Subscriptions of one session are merged into one copy at the highest QoS [MQTT-3.3.5-1], unless
// an option tells them apart, or a Subscription Identifier [MQTT-3.3.4-2], if it is to.
void RouteBuilder::add_target(Subscription& subscription) {
  Session& session = *subscription.session;
  SubscriptionSet& set = session.subscriptions.write();
  const SubscriptionExtras& extras = subscription.extras.read();
  // Beside one that is to get each message, in order, a limit would break the topic's order.
  const bool is_shaped = set.route_mode == Mode::latest && extras.is_shaped_per_topic();
  const Shape* const shape = is_shaped ? extras.shape.get() : nullptr;
  const Key key = key_of(subscription);
  if (const Place found = find_target(set, key); found != nowhere) {
    return merge(found, subscription, shape);
  }
  add_to_lists(set, key);
  RouteTarget target;
  target.session = &session;
  target.subscription = subscription.number;
  target.identifiers = extras.identifiers;
  target.qos = subscription.qos;
  target.no_local = subscription.no_local;
  target.retain_as_published = subscription.retain_as_published;
  target.confirms = subscription.confirms;
  target.shape = shape;
  target.mode = set.route_mode;
  route_.targets.push_back(std::move(target));
  identifiers_.push_back(extras.identifier);
}

void RouteBuilder::merge(Place place, const Subscription& subscription, const Shape* shape) {
  RouteTarget& target = route_.targets[place];
  MILLRACE_CHECK(target.session == subscription.session);
  target.qos = std::max(target.qos, subscription.qos);
  target.confirms = target.confirms || subscription.confirms;
  target.shape = weaker(target.shape, shape);
  // Names the cell in which a value waits: the same whatever the order of the matches.
  target.subscription = std::min(target.subscription, subscription.number);
  // All of them are named [MQTT-3.3.4-4]. A list that is a subscription's own is left as it is.
  const std::uint32_t identifier = subscription.extras.read().identifier;
  if (identifier == 0 || identifier == identifiers_[place]) return;
  identifiers_[place] = identifier;
  if (!target.identifiers || target.identifiers->use_count() > 1) {
    boost::intrusive_ptr<SubscriptionIdentifiers> own(new SubscriptionIdentifiers);
    if (target.identifiers) own->values = target.identifiers->values;
    batch_.stats().work_units.add(own->values.size());
    target.identifiers = std::move(own);
    merged_.push_back(place);
  }
  target.identifiers->values.push_back(identifier);
}

// --- The targets of a session --------------------------------------------------------------------

RouteBuilder::Key RouteBuilder::key_of(const Subscription& subscription) const {
  const bool apart = !batch_.limits().identifiers_in_one_copy;
  return {subscription.session, apart ? subscription.extras.read().identifier : 0,
          subscription.no_local, subscription.retain_as_published};
}

std::optional<std::uint64_t> RouteBuilder::copy_key(const Subscription& subscription) const {
  if (subscription.extras.read().group != nullptr) return std::nullopt;
  const Key key = key_of(subscription);
  return std::uint64_t{key.identifier} << 2 | (key.no_local ? 2u : 0u) |
         (key.retain_as_published ? 1u : 0u);
}

RouteBuilder::Key RouteBuilder::key_of(Place place) const {
  const bool apart = !batch_.limits().identifiers_in_one_copy;
  const RouteTarget& target = route_.targets[place];
  return {target.session, apart ? identifiers_[place] : 0, target.no_local,
          target.retain_as_published};
}

RouteBuilder::Place RouteBuilder::find_target(const SubscriptionSet& set, const Key& key) {
  MILLRACE_CHECK(set.route_stamp == stamp_);  // else what it says is of another route
  if (set.route_targets > looked_through_max) {
    const auto found = places_.find(key);
    return found == places_.end() ? nowhere : found->second;
  }
  for (Place place = set.route_newest; place != nowhere; place = previous_[place]) {
    batch_.stats().work_units.add();
    MILLRACE_CHECK(route_.targets[place].session == key.session);
    if (key_of(place) == key) return place;
  }
  return nowhere;
}

// A target of that key is about to be the last one.
void RouteBuilder::add_to_lists(SubscriptionSet& set, const Key& key) {
  const auto place = static_cast<Place>(route_.targets.size());
  if (set.route_targets == looked_through_max) {
    for (Place one = set.route_newest; one != nowhere; one = previous_[one]) {
      places_.emplace(key_of(one), one);
    }
  }
  if (set.route_targets >= looked_through_max) places_.emplace(key, place);
  previous_.push_back(std::exchange(set.route_newest, place));
  ++set.route_targets;
}

}  // namespace millrace::broker
