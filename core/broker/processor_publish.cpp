// Routing: from a PUBLISH to the sessions that match, and what waits when they have no credit.
// Source: MQTT 5.0 sections 3.3, 4.3, 4.8; the delivery contract in the README.
#include <algorithm>
#include <cassert>
#include <iterator>

#include "core/broker/processor.hpp"
#include "protocol/encode.hpp"

namespace millrace::broker {

using protocol::ReasonCode;

namespace {

// What merging adds: [MQTT-3.3.4-4]. The subscription's own list is left as it is.
void add_identifier(RouteTarget& target, const Subscription& subscription) {
  const std::uint32_t identifier = subscription.extras.read().identifier;
  if (identifier == 0) return;
  std::vector<std::uint32_t> values;
  if (target.identifiers) values = target.identifiers->values;
  if (std::find(values.begin(), values.end(), identifier) != values.end()) return;
  values.push_back(identifier);
  boost::intrusive_ptr<SubscriptionIdentifiers> all(new SubscriptionIdentifiers);
  all->values = std::move(values);
  target.identifier = identifier;
  target.identifiers = std::move(all);
}

// A rate limit is a promise to skip values; `every` skips none.
Mode mode_of(const Subscription& subscription) {
  const bool limited = subscription.extras.read().interval_ms != 0;
  return limited && subscription.mode == Mode::adaptive ? Mode::latest : subscription.mode;
}

}  // namespace

void Processor::apply_publish(Session* from, Message&& message) {
  const std::uint8_t qos = message.qos;
  stats_.published[qos].add();
  if (from == nullptr || qos == 0) {
    publish(std::move(message), from);
    return;
  }
  const std::uint16_t packet_id = message.packet_id;
  if (qos == 2) {
    auto& received = from->deferred.write().received_qos2;
    if (!received.insert(packet_id).second) {  // [MQTT-4.3.3-10]: not passed on again
      return acknowledge(*from, qos, packet_id, ReasonCode::Success);
    }
    if (from->is_v5 && received.size() > limits_.receive_maximum) {
      return disconnect(*from, ReasonCode::ReceiveMaximumExceeded);  // [MQTT-3.3.4-9]
    }
  }
  withholder_ = nullptr;
  can_withhold_ = true;
  const std::size_t matched = publish(std::move(message), from);
  can_withhold_ = false;
  if (!from->connected()) return;  // its own overflow policy ended it
  if (withholder_ != nullptr) return withhold(*withholder_, *from, qos, packet_id);
  acknowledge(*from, qos, packet_id,
              matched > 0 ? ReasonCode::Success : ReasonCode::NoMatchingSubscribers);
}

std::size_t Processor::publish(Message&& message, Session* from) {
  const std::size_t matched = route(std::move(message), from);
  if (matched == 0) stats_.unmatched.add();
  return matched;
}

std::size_t Processor::route(Message&& message, Session* from) {
  ++sequence_;
  Topic& topic = topic_of(message);
  topic.sequence = sequence_;
  const Route& route = route_of(topic);
  for (const RouteTarget& target : route.targets) route_to(target, message, from);
  if (!route.feeds.empty()) local_->append(route.feeds, message);
  std::size_t matched = route.targets.size() + route.feeds.size();
  for (const RouteGroup& group : route.groups) matched += route_to_group(group, message) ? 1 : 0;
  note_batch_value(topic, std::move(message));
  return matched;
}

Topic& Processor::topic_of(const Message& message) {
  if (last_topic_ != nullptr && last_topic_->hash() == message.topic_hash &&
      last_topic_->name() == message.topic()) {
    return *last_topic_;
  }
  last_topic_ = &topics_.obtain(message.topic_hash, message.topic(), sequence_);
  return *last_topic_;
}

const Route& Processor::route_of(Topic& topic) {
  CachedRoute& cached = topic.cached_route;
  if (cached.version() != index_.version()) {
    if (cached.never_computed() || index_.changed_since(cached.version(), topic.name())) {
      cached.set(compute_route(topic), index_.version());
    } else {
      cached.still_valid(index_.version());
    }
  }
  return cached.route();
}

Route Processor::compute_route(const Topic& topic) {
  stats_.routes_computed.add();
  Route route;
  ++route_stamp_;
  std::vector<Subscription*> matches;
  index_.match(topic.name(), [&](Subscription* subscription) {
    if (shm::Feed* feed = subscription->extras.read().feed) {
      route.feeds.push_back(feed);
      return;
    }
    if (SharedGroup* group = subscription->extras.read().group) {
      if (group->route_stamp == route_stamp_) return;
      group->route_stamp = route_stamp_;
      route.groups.push_back(group_for(*group, topic.name()));
      return;
    }
    if (!subscription->may_read(topic.name())) return;
    SubscriptionSet& set = subscription->session->subscriptions.write();
    if (set.route_stamp != route_stamp_) {
      set.route_stamp = route_stamp_;
      set.route_mode = mode_of(*subscription);
      set.route_first = UINT32_MAX;
    }
    set.route_mode = std::max(set.route_mode, mode_of(*subscription));
    matches.push_back(subscription);
  });
  for (Subscription* subscription : matches) add_target(route, *subscription);
  return route;
}

// Subscriptions of one session are merged into one copy at the highest QoS [MQTT-3.3.5-1], unless
// an option tells them apart, or a Subscription Identifier [MQTT-3.3.4-2], if it is to.
void Processor::add_target(Route& route, const Subscription& subscription) {
  Session& session = *subscription.session;
  SubscriptionSet& set = session.subscriptions.write();
  const SubscriptionExtras& extras = subscription.extras.read();
  // Beside one that is to get each message, in order, a limit would break the topic's order.
  const std::uint32_t interval_ms = set.route_mode == Mode::latest ? extras.interval_ms : 0;
  for (std::size_t i = set.route_first; i < route.targets.size(); ++i) {
    RouteTarget& target = route.targets[i];
    if (target.session == &session && target.no_local == subscription.no_local &&
        target.retain_as_published == subscription.retain_as_published &&
        (limits_.identifiers_in_one_copy || target.identifier == extras.identifier)) {
      add_identifier(target, subscription);
      target.qos = std::max(target.qos, subscription.qos);
      target.interval_ms = std::min(target.interval_ms, interval_ms);
      // Names the cell in which a value waits: the same whatever the order of the matches.
      target.subscription = std::min(target.subscription, subscription.number);
      return;
    }
  }
  if (set.route_first == UINT32_MAX) {
    set.route_first = static_cast<std::uint32_t>(route.targets.size());
  }
  RouteTarget target;
  target.session = &session;
  target.subscription = subscription.number;
  target.identifier = extras.identifier;
  target.identifiers = extras.identifiers;
  target.qos = subscription.qos;
  target.no_local = subscription.no_local;
  target.retain_as_published = subscription.retain_as_published;
  target.interval_ms = interval_ms;
  target.mode = set.route_mode;
  route.targets.push_back(std::move(target));
}

void Processor::note_batch_value(Topic& topic, Message&& message) {
  if (topic.batch_value == 0) {
    batch_values_.push_back({&topic, {}, {}, false});
    topic.batch_value = static_cast<std::uint32_t>(batch_values_.size());
  }
  BatchValue& value = batch_values_[topic.batch_value - 1];
  // The copy that a session's queue made serves the slot as well.
  Message& newest = kept_ ? kept_ : message;
  if (newest.retain) {
    value.retained = Message{};
    value.clears_retained = newest.payload_bytes() == 0;  // [MQTT-3.3.1-6]
    if (!value.clears_retained) value.retained = newest;
  }
  releases_.add(std::move(value.newest.buffer));
  value.newest = std::move(newest);
}

const Message& Processor::kept(const Message& message) {
  if (!kept_) kept_ = message.is_slice() ? message.copy_to_keep() : message;
  return kept_;
}

void Processor::route_to(const RouteTarget& target, const Message& message, const Session* from) {
  Session& session = *target.session;
  if (target.no_local && &session == from) return;  // [MQTT-3.8.3-3]
  const std::uint8_t qos = std::min(message.qos, target.qos);
  // A session that ended while this message was routed is still listed, without a connection.
  if (!session.connected() && (qos == 0 || session.ended)) return;
  // [MQTT-3.3.1-12], [MQTT-3.3.1-13]; in 3.1.1 the flag is never set on a live message.
  const bool retain = message.retain && target.retain_as_published;
  if (session.connected() && session.pending.empty() && target.interval_ms == 0 &&
      has_credit(session, target.mode)) {
    if (qos == 0 && message.qos == 0 && retain == message.retain && target.identifier == 0 &&
        message.expires_at_s == 0 && session.bytes_may_pass && session.is_v5 == message.is_v5) {
      return stage_as_is(*session.outbox, message);
    }
    // What is to be sent again goes first [MQTT-4.6.0-6].
    if (qos == 0 || (has_window(session) && session.inflight.unsent() == 0)) {
      Delivery delivery;
      delivery.message = qos == 0 ? message : kept(message);
      delivery.identifiers = target.identifiers;
      delivery.qos = qos;
      delivery.retain = retain;
      return bind(session, std::move(delivery), target.subscription);
    }
  }
  PendingEntry entry;
  entry.delivery.message = kept(message);
  entry.delivery.identifiers = target.identifiers;
  entry.delivery.qos = qos;
  entry.delivery.retain = retain;
  entry.subscription = target.subscription;
  entry.since_ns = now_ns_;
  entry.interval_ms = target.interval_ms;
  enqueue(session, target.mode, std::move(entry));
}

RouteGroup Processor::group_for(SharedGroup& group, std::string_view topic) const {
  const auto may_read = [&](const Subscription* member) { return member->may_read(topic); };
  RouteGroup route{&group, false, {}};
  route.limited = !std::all_of(group.members.begin(), group.members.end(), may_read);
  if (route.limited) {
    std::copy_if(group.members.begin(), group.members.end(), std::back_inserter(route.members),
                 may_read);
  }
  return route;
}

// A live member takes it, in turn; one that has room before one that is behind; an offline one only
// if it will come back and the message waits for it [MQTT-4.8.2-4].
bool Processor::route_to_group(const RouteGroup& route, const Message& message) {
  SharedGroup& group = *route.group;
  const std::span<Subscription* const> members = route.readers();
  const std::size_t count = members.size();
  Subscription* chosen = nullptr;
  int chosen_rank = 0;
  std::size_t chosen_at = 0;
  for (std::size_t i = 0; i < count && chosen_rank < 3; ++i) {
    const std::size_t at = (group.next + i) % count;
    const Session& session = *members[at]->session;
    if (session.ended) continue;  // while this message was routed
    const bool waits = std::min(message.qos, members[at]->qos) > 0;
    const int rank = session.connected() ? (session.pending.empty() ? 3 : 2) : (waits ? 1 : 0);
    if (rank <= chosen_rank) continue;
    chosen = members[at];
    chosen_rank = rank;
    chosen_at = at;
  }
  if (chosen == nullptr) return false;
  group.next = (chosen_at + 1) % count;
  RouteTarget target;
  target.session = chosen->session;
  target.subscription = chosen->number;
  target.identifier = chosen->extras.read().identifier;
  target.identifiers = chosen->extras.read().identifiers;
  target.qos = chosen->qos;
  target.retain_as_published = chosen->retain_as_published;
  target.mode = Mode::every;  // never conflated
  route_to(target, message, nullptr);
  return true;
}

void Processor::enqueue(Session& session, Mode mode, PendingEntry entry) {
  if (mode == Mode::every) {
    enqueue_every(session, std::move(entry));
  } else if (entry.delivery.message.request) {
    enqueue_request(session, std::move(entry));
  } else if (entry.interval_ms != 0) {
    enqueue_limited(session, std::move(entry));
  } else if (mode == Mode::latest) {
    if (session.pending.push_cell(std::move(entry))) stats_.conflated.add();
  } else {
    if (session.pending.push_adaptive(std::move(entry))) stats_.conflated.add();
    const bool over = session.pending.newest_bytes() > limits_.adaptive_backlog_bytes;
    if (over && !session.pending.collapsed()) collapse(session);
  }
  bound_newest(session);
  note_pending(session);
  if (session.connected()) {
    serve_later(session);
    reschedule(session);
  }
}

void Processor::enqueue_every(Session& session, PendingEntry entry) {
  PendingQueue& pending = session.pending;
  const auto over = [&] {
    return pending.every_size() >= limits_.queue_messages ||
           pending.every_bytes() + entry.bytes() > limits_.queue_bytes;
  };
  if (over()) {
    Overflow policy = limits_.overflow;
    if (policy == Overflow::disconnect && session.connected()) {
      stats_.drop(Drop::queue_disconnect);
      disconnect(session, ReasonCode::QuotaExceeded);
      if (session.ended) return;
      if (entry.delivery.qos == 0) return stats_.drop(Drop::disconnected);
      policy = Overflow::drop_oldest;
    }
    if (policy == Overflow::disconnect) policy = Overflow::drop_oldest;
    const bool can_withhold = can_withhold_ && session.connected() && entry.delivery.qos > 0;
    if (policy == Overflow::backpressure && !can_withhold) policy = Overflow::drop_oldest;
    if (policy == Overflow::drop_newest) return stats_.drop(Drop::queue_newest);
    if (policy == Overflow::backpressure) {
      withholder_ = &session;
    } else {
      while (over() && pending.every_size() > 0) {
        pending.drop_oldest();
        stats_.drop(Drop::queue_oldest);
      }
    }
  }
  pending.push_every(std::move(entry));
}

// A request is not a value and never conflated, so the limits of a queue are its own. One beyond
// them is dropped whatever the policy: the older ones have their places among values.
void Processor::enqueue_request(Session& session, PendingEntry entry) {
  PendingQueue& pending = session.pending;
  const bool over = pending.fixed_size() >= limits_.queue_messages ||
                    pending.fixed_bytes() + entry.bytes() > limits_.queue_bytes;
  if (over && pending.fixed_size() > 0) return stats_.drop(Drop::queue_newest);
  if (entry.interval_ms != 0) release_held(session);  // the values before it stay before it
  pending.push_fixed(std::move(entry));
}

// A rate limit sends the first at once, then at most one per interval, and always the last.
void Processor::enqueue_limited(Session& session, PendingEntry entry) {
  if (!session.deferred.read().rate_limits.empty()) {
    RateLimits& limits = session.deferred.write().rate_limits;
    if (limits.drop_held(key_of(entry))) stats_.conflated.add();
    if (limits.hold(entry, now_ns_, limits_.slots.bytes_max)) return;
  }
  if (session.pending.push_cell(std::move(entry))) stats_.conflated.add();
}

// One value a topic waits, and of no more topics than the server would store values of: names may be
// made up without end, and what waited before a SUBSCRIBE is not replaced any more.
void Processor::bound_newest(Session& session) {
  PendingQueue& pending = session.pending;
  while (pending.newest_size() > limits_.slots.count_max ||
         (pending.newest_bytes() > limits_.slots.bytes_max && pending.newest_size() > 1)) {
    pending.pop(PendingQueue::Lane::newest);
    stats_.drop(Drop::queue_oldest);
  }
}

// What rate limits hold back waits with the rest from now on: what comes may have another limit.
void Processor::release_held(Session& session) {
  if (session.deferred.read().rate_limits.empty()) return;
  session.deferred.write().rate_limits.release_all(
      [&](PendingEntry held) { session.pending.push_cell(std::move(held)); });
}

void Processor::fire_rate_limits(Session& session) {
  if (session.deferred.read().rate_limits.empty()) return;
  session.deferred.write().rate_limits.end_due(now_ns_, [&](PendingEntry held) {
    if (session.pending.push_cell(std::move(held))) stats_.conflated.add();
  });
  bound_newest(session);
  note_pending(session);
}

void Processor::collapse(Session& session) {
  stats_.conflated.add(session.pending.collapse());
  note_pending(session);
}

void Processor::acknowledge(Session& publisher, std::uint8_t qos, std::uint16_t packet_id,
                            ReasonCode reason) {
  Outbox& outbox = *publisher.outbox;
  const auto type = qos == 1 ? protocol::PacketType::Puback : protocol::PacketType::Pubrec;
  protocol::encode_ack(type, packet_id, reason, outbox.version, outbox.staged().control);
  touch(outbox);
}

// The policy `backpressure`: the publisher's own inflight limit holds it back. One that goes beyond
// the limit is ended: a v5 client was told it (0x93), a 3.1.1 one cannot be told.
void Processor::withhold(Session& receiver, Session& publisher, std::uint8_t qos,
                         std::uint16_t packet_id) {
  if (++publisher.deferred.write().withheld_from_me > limits_.receive_maximum) {
    return disconnect(publisher, ReasonCode::ReceiveMaximumExceeded);
  }
  receiver.deferred.write().withheld.push_back({publisher.outbox, packet_id, qos});
}

void Processor::release_withheld(Session& receiver) {
  if (receiver.deferred.read().withheld.empty()) return;
  for (const WithheldAck& ack : std::exchange(receiver.deferred.write().withheld, {})) {
    if (!ack.publisher->attached()) continue;
    Session& publisher = *ack.publisher->session;
    --publisher.deferred.write().withheld_from_me;
    acknowledge(publisher, ack.qos, ack.packet_id, ReasonCode::Success);
  }
}

}  // namespace millrace::broker
