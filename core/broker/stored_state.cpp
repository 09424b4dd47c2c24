#include "core/broker/stored_state.hpp"

#include <algorithm>
#include <cassert>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/broker/message.hpp"
#include "core/broker/shared_group.hpp"

namespace millrace::broker {

using records::Part;
using records::rest_of;

records::SessionState state_of(const Session& session, const WallClock& clock) {
  records::SessionState state;
  state.client_id = session.client_id.view();
  state.has_rights = session.rights != nullptr;
  if (session.rights) {
    state.owner = session.rights->owner;
    state.credential = session.rights->credential;
  }
  const ArrivedFrom& arrived = session.arrived.read();
  state.address = arrived.address;
  state.listener = arrived.listener;
  state.is_v5 = session.is_v5;
  state.connected = session.connected();
  state.expiry_s = session.expiry_s;
  const Deadlines& deadlines = session.deadlines.read();
  if (deadlines.expires_at_ns != 0) state.expires_at_ns = clock.unix_ns(deadlines.expires_at_ns);
  if (deadlines.will) {
    const Message& will = deadlines.will->message;
    if (deadlines.will_at_ns != 0) state.will_at_ns = clock.unix_ns(deadlines.will_at_ns);
    state.will_delay_s = deadlines.will->delay_s;
    state.will = encode(packet_of(will, clock));
  }
  return state;
}

records::SubscriptionState state_of(const Subscription& subscription) {
  const SubscriptionExtras& extras = subscription.extras.read();
  records::SubscriptionState state;
  state.number = subscription.number;
  state.filter_bytes = static_cast<std::uint32_t>(subscription.filter().size());
  state.identifier = extras.identifier;
  if (extras.shape) state.shape = *extras.shape;
  state.qos = subscription.qos;
  state.mode = subscription.mode;
  state.no_local = subscription.no_local;
  state.retain_as_published = subscription.retain_as_published;
  if (extras.group != nullptr) state.share_group = extras.group->name();
  return state;
}

records::Entry entry_of(const Delivery& delivery) {
  records::Entry entry;
  entry.qos = delivery.qos;
  entry.retain = delivery.retain;
  entry.packet_id = delivery.packet_id;
  if (delivery.identifiers) entry.identifiers = delivery.identifiers->values;
  return entry;
}

records::Packet packet_of(const Message& message, const WallClock& clock) {
  const Buffer& buffer = *message.buffer;
  return {message.is_v5, buffer.origin, clock.unix_ns(buffer.received_ns),
          store::text_of(message.packet_span())};
}

records::Retained retained_of(const BufferRef& value, std::optional<std::string_view> user,
                              const WallClock& clock) {
  records::Retained kept;
  kept.has_user = user.has_value();
  kept.user = user.value_or("");
  kept.packet = {value->holds_v5, value->origin, clock.unix_ns(value->received_ns),
                 store::text_of({value->data(), value->capacity()})};
  return kept;
}

namespace {

// The messages of a session at QoS 1 and 2, in an order in which they can be found again:
// f(delivery, entry), where the entry has everything but what entry_of() has.
template <class F>
void for_each_message(Session& session, F&& f) {
  session.inflight.for_each_unsettled([&](Inflight& one) {
    records::Entry entry = entry_of(one.delivery);
    entry.subscription = one.subscription;
    entry.state = one.state;
    f(one.delivery, entry);
  });
  const auto waiting = [&](PendingEntry& one, Waits waits) {
    records::Entry entry = entry_of(one.delivery);
    entry.subscription = one.subscription;
    entry.interval_ms = one.interval_ms();
    entry.epoch = one.epoch;
    entry.waits = waits;
    f(one.delivery, entry);
  };
  session.pending.for_each_lasting(waiting);
  if (session.deferred.read().rate_limits.empty()) return;
  session.deferred.write().rate_limits.for_each_held([&](PendingEntry& one) {
    if (one.delivery.qos > 0) waiting(one, Waits::cell);
  });
}

class StateWriter {
 public:
  StateWriter(const WallClock& clock, const std::function<void(const store::Record&)>& visit)
      : clock_(clock), visit_(visit) {}

  // First of all sessions, then each of them.
  void write_bodies(Session& session) {
    for_each_message(session, [&](const Delivery& delivery, const records::Entry&) {
      const Message& message = delivery.message;
      if (!message) return;
      const std::uint64_t next = bodies_.size() + 1;
      if (!bodies_.emplace(message.packet_span().data(), next).second) return;
      put({store::body_space, next, {}}, encode(packet_of(message, clock_)));
    });
  }
  void write(Session& session) {
    group_ = session.number;
    put(rest_of(Part::session), encode(state_of(session, clock_)));
    write_subscriptions(session);
    const auto& received = session.deferred.read().received_qos2;
    std::vector<std::uint16_t> packet_ids(received.begin(), received.end());
    std::sort(packet_ids.begin(), packet_ids.end());
    for (const std::uint16_t packet_id : packet_ids) put(rest_of(Part::received, packet_id), {});
    std::uint32_t number = 0;
    for_each_message(session, [&](const Delivery& delivery, const records::Entry& entry) {
      const Message& message = delivery.message;
      const std::uint64_t body = message ? bodies_.at(message.packet_span().data()) : 0;
      put(rest_of(Part::entry, ++number), encode(entry), body);
    });
  }
  void write_retained(const Topic& topic, std::optional<std::string_view> user) {
    put({records::retained_space, 0, topic.name()},
        encode(retained_of(topic.retained, user, clock_)));
  }
  void write_newest(const Topic& topic) {
    const Message newest = message_of(BufferRef(topic.newest()));
    if (newest.payload_bytes() == 0) return;
    put({records::newest_space, 0, topic.name()}, encode(packet_of(newest, clock_)));
  }

 private:
  void write_subscriptions(const Session& session) {
    std::vector<const Subscription*> subscriptions;
    session.subscriptions.read().of.for_each(
        [&](const Subscription& one) { subscriptions.push_back(&one); });
    std::sort(subscriptions.begin(), subscriptions.end(),
              [](const auto* left, const auto* right) { return left->name() < right->name(); });
    for (const Subscription* one : subscriptions) {
      put(rest_of(Part::subscription, one->name()), encode(state_of(*one)));
    }
  }
  void put(std::string_view rest, std::string_view value, std::uint64_t body = 0) {
    put({records::session_space, group_, rest}, value, body);
  }
  void put(const store::Key& key, std::string_view value, std::uint64_t body = 0) {
    visit_({store::RecordKind::put, key, value, body});
  }

  const WallClock clock_;
  const std::function<void(const store::Record&)>& visit_;
  std::uint64_t group_ = 0;
  std::unordered_map<const std::uint8_t*, std::uint64_t> bodies_;  // by where the packet stands
};

}  // namespace

void write_state(const Sessions& sessions, Values& values, const WallClock& clock,
                 bool newest_values, const std::function<void(const store::Record&)>& visit) {
  std::vector<Session*> kept;
  sessions.for_each([&](Session& session) {
    if (!session.ended && outlives_the_process(session)) kept.push_back(&session);
  });
  std::sort(kept.begin(), kept.end(),
            [](const Session* left, const Session* right) { return left->number < right->number; });
  StateWriter writer(clock, visit);
  for (Session* session : kept) writer.write_bodies(*session);
  for (Session* session : kept) writer.write(*session);
  TopicTable& topics = values.topics();
  const auto for_each_topic = [&](auto f) {
    for (Topic* topic = topics.next("", true); topic; topic = topics.next(topic->name(), false)) {
      if (outlives_the_process(topic->name())) f(*topic);
    }
  };
  for_each_topic([&](const Topic& topic) {
    if (topic.retained) writer.write_retained(topic, topics.retained_user(topic));
  });
  if (!newest_values) return;
  for_each_topic([&](const Topic& topic) {
    if (topic.newest() && topic.retained != topic.newest()) writer.write_newest(topic);
  });
}

}  // namespace millrace::broker
