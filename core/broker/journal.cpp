#include "core/broker/journal.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

namespace millrace::broker {

using records::Part;
using records::rest_of;

namespace {

// Of values, at the end of one batch: a small part of what the store may hold, and no more than takes
// a few milliseconds.
constexpr std::uint64_t values_part = 16;
constexpr std::uint64_t values_bytes_max = 1 << 20;

// Where a topic's value stands that is to be written. One that is due already is replaced there, so
// that it is not put off for ever; any other one waits.
template <class Value>
Value& place_of(std::unordered_map<std::string, Value>& due,
                std::unordered_map<std::string, Value>& waiting, std::string topic) {
  if (!due.empty()) {
    if (const auto found = due.find(topic); found != due.end()) return found->second;
  }
  return waiting[std::move(topic)];
}

template <class Value>
Value* find_value(std::unordered_map<std::string, Value>& values, std::string_view topic) {
  if (values.empty()) return nullptr;
  const auto found = values.find(std::string(topic));
  return found == values.end() ? nullptr : &found->second;
}

template <class Value>
void erase_value(std::unordered_map<std::string, Value>& values, std::string_view topic) {
  if (!values.empty()) values.erase(std::string(topic));
}

}  // namespace

// --- The batch -----------------------------------------------------------------------------------

void Journal::begin(std::int64_t now_ns, std::uint64_t time_of_day_ns) {
  clock_ = {now_ns, time_of_day_ns};
}

void Journal::seal() {
  for (Session* session : std::exchange(to_renumber_, {})) renumber(*session);
  if (values_due_ns_ != 0 && values_due_ns_ <= clock_.now_ns) {
    if (log_.is_behind()) {
      values_due_ns_ = clock_.now_ns + options_.values_interval_ns;  // the newest ones, later
    } else {
      write_some_values();
    }
  }
  append();
}

void Journal::close() {
  gate_.discard();
  seal();
  while (values_due_ns_ != 0) {
    log_.wait_while_behind();
    if (log_.is_behind()) return;  // the disk fails
    write_some_values();
    append();
  }
}

void Journal::append() {
  last_body_.reset();
  const bool awaited = gate_.holds_now();
  if (!records_.empty()) {
    appended_ = log_.append(records_, awaited);
  } else if (awaited && committed_ < appended_) {
    log_.expect();  // of a batch before, perhaps, that nobody waited for
  }
  assert(records_.empty());
  gate_.seal(appended_);
  if (committed_ == appended_) gate_.release(appended_);  // they depend on nothing
  if (log_.failed()) gate_.discard();
}

void Journal::committed(std::uint64_t number) {
  assert(number >= committed_ && number <= appended_);
  committed_ = number;
  gate_.release(number);
}

// No room is a quota that is used up: it is worth trying again later. A disk that fails is no quota.
std::optional<protocol::ReasonCode> Journal::refusal_for(store::Trouble trouble) {
  switch (trouble) {
    case store::Trouble::none:
      return std::nullopt;
    case store::Trouble::no_space:
      return protocol::ReasonCode::quota_exceeded;
    default:
      return protocol::ReasonCode::implementation_specific_error;
  }
}

void Journal::go_on(std::uint64_t last_body, std::uint64_t last_number) {
  body_number_ = last_body;
  appended_ = committed_ = last_number;
}

void Journal::put(const Session& session, std::string_view rest, std::string_view value,
                  std::uint64_t body) {
  assert(session.stored);
  records_.put({records::session_space, session.number, rest}, value, body);
}

// --- Sessions ------------------------------------------------------------------------------------

void Journal::connected(Session& session) {
  if (!outlives_the_process(session)) {
    if (session.stored) ended(session);
    return;
  }
  session.stored = true;
  changed(session);
}

void Journal::changed(const Session& session) {
  put(session, rest_of(Part::session), encode(state_of(session, clock_)));
}

void Journal::ended(Session& session) {
  assert(session.stored);
  session.stored = false;
  records_.erase_group(records::session_space, session.number);
  std::erase(to_renumber_, &session);
}

void Journal::subscribed(const Subscription& subscription) {
  put(*subscription.session, rest_of(Part::subscription, subscription.name()),
      encode(state_of(subscription)));
}

void Journal::unsubscribed(const Session& session, std::string_view name) {
  records_.erase({records::session_space, session.number, rest_of(Part::subscription, name)});
}

void Journal::received_qos2(const Session& session, std::uint16_t packet_id) {
  put(session, rest_of(Part::received, packet_id), {});
}

void Journal::released_qos2(const Session& session, std::uint16_t packet_id) {
  records_.erase({records::session_space, session.number, rest_of(Part::received, packet_id)});
}

// --- Messages ------------------------------------------------------------------------------------

// One body for all who get the message.
std::uint64_t Journal::body_of(const Message& message) {
  assert(!message.is_slice());
  if (last_body_ == message.buffer) return body_number_;
  last_body_ = message.buffer;
  records_.put({store::body_space, ++body_number_, {}}, encode(packet_of(message, clock_)));
  return body_number_;
}

std::uint32_t Journal::next_number(Session& session) {
  if (session.last_stored >= options_.renumber_at) {
    if (std::find(to_renumber_.begin(), to_renumber_.end(), &session) == to_renumber_.end()) {
      to_renumber_.push_back(&session);
    }
  }
  assert(session.last_stored < UINT32_MAX);
  return ++session.last_stored;
}

void Journal::put_entry(const Session& session, const Delivery& delivery,
                        const records::Entry& entry) {
  const std::uint64_t body = delivery.message ? body_of(delivery.message) : 0;
  put(session, rest_of(Part::entry, delivery.stored), encode(entry), body);
}

void Journal::queued(Session& session, PendingEntry& entry, Waits waits) {
  Delivery& delivery = entry.delivery;
  assert(delivery.stored == 0 && delivery.qos > 0 && delivery.packet_id == 0);
  delivery.stored = next_number(session);
  records::Entry written = entry_of(delivery);
  written.subscription = entry.subscription;
  written.interval_ms = entry.interval_ms();
  written.epoch = entry.epoch;
  written.waits = waits;
  put_entry(session, delivery, written);
}

void Journal::number(Session& session, Delivery& delivery) {
  assert(delivery.qos > 0 && !delivery.bound_apart);
  if (delivery.stored != 0) {
    delivery.bound_apart = true;
  } else {
    delivery.stored = next_number(session);
  }
}

void Journal::bound(Session& session, const Delivery& delivery, std::uint32_t subscription) {
  assert(delivery.stored != 0 && delivery.packet_id != 0);
  const auto state =
      delivery.qos == 2 ? InflightState::awaits_pubrec : InflightState::awaits_puback;
  if (delivery.bound_apart) {
    // Its place among the others that were sent is now, not when it was queued.
    const records::Bound bound{delivery.packet_id, next_number(session), state};
    return put(session, rest_of(Part::bound, delivery.stored), encode(bound));
  }
  records::Entry entry = entry_of(delivery);
  entry.subscription = subscription;
  entry.state = state;
  put_entry(session, delivery, entry);
}

void Journal::released(const Session& session, const Inflight& entry) {
  assert(entry.state == InflightState::awaits_pubcomp && !entry.delivery.message);
  if (entry.delivery.bound_apart) {
    const records::Bound bound{entry.delivery.packet_id, session.last_stored, entry.state};
    return put(session, rest_of(Part::bound, entry.delivery.stored), encode(bound));
  }
  records::Entry written = entry_of(entry.delivery);
  written.subscription = entry.subscription;
  written.state = entry.state;
  put_entry(session, entry.delivery, written);
}

void Journal::gone(const Session& session, std::uint32_t stored, bool bound_apart) {
  if (stored == 0) return;
  assert(session.stored);
  records_.erase({records::session_space, session.number, rest_of(Part::entry, stored)});
  if (!bound_apart) return;
  records_.erase({records::session_space, session.number, rest_of(Part::bound, stored)});
}

// All of the session's entries, under numbers from 1 on.
void Journal::renumber(Session& session) {
  assert(session.stored);
  session.last_stored = 0;
  const auto erase = [&](Delivery& delivery) {
    gone(session, delivery);
    delivery.stored = 0;
    delivery.bound_apart = false;
  };
  const auto for_each_held = [&](auto f) {
    if (session.deferred.read().rate_limits.empty()) return;
    session.deferred.write().rate_limits.for_each_held([&](PendingEntry& entry) {
      if (entry.delivery.qos > 0) f(entry);
    });
  };
  session.inflight.for_each_unsettled([&](Inflight& entry) { erase(entry.delivery); });
  session.pending.for_each_lasting([&](PendingEntry& entry, auto) { erase(entry.delivery); });
  for_each_held([&](PendingEntry& entry) { erase(entry.delivery); });
  session.inflight.for_each_unsettled([&](Inflight& entry) {
    entry.delivery.stored = next_number(session);
    records::Entry written = entry_of(entry.delivery);
    written.subscription = entry.subscription;
    written.state = entry.state;
    put_entry(session, entry.delivery, written);
  });
  session.pending.for_each_lasting(
      [&](PendingEntry& entry, Waits waits) { queued(session, entry, waits); });
  for_each_held([&](PendingEntry& entry) { queued(session, entry, Waits::cell); });
}

// --- Values --------------------------------------------------------------------------------------

void Journal::retained(std::string_view topic, const BufferRef& value,
                       std::optional<std::string_view> user, bool at_once) {
  if (!outlives_the_process(topic)) return;
  if (at_once) {
    const Values::Retained* const later = later_retained(topic);
    if (later != nullptr && later->ends_newest) erase_newest(topic);
    erase_value(due_.retained, topic);
    erase_value(waiting_.retained, topic);
    return put_retained(topic, value, user);
  }
  Values::Retained& later = place_of(due_.retained, waiting_.retained, std::string(topic));
  later.value = value;
  later.user.reset();
  if (user) later.user = std::string(*user);
  expect_values();
}

Journal::Values::Retained* Journal::later_retained(std::string_view topic) {
  Values::Retained* const due = find_value(due_.retained, topic);
  return due != nullptr ? due : find_value(waiting_.retained, topic);
}

void Journal::expect_values() {
  if (values_due_ns_ == 0) values_due_ns_ = clock_.now_ns + options_.values_interval_ns;
}

void Journal::newest(std::string_view topic, const BufferRef& value) {
  if (!outlives_the_process(topic)) return;
  place_of(due_.newest, waiting_.newest, std::string(topic)) = value;
  expect_values();
}

void Journal::newest_gone(std::string_view topic) {
  erase_value(due_.newest, topic);
  erase_value(waiting_.newest, topic);
  if (Values::Retained* const later = later_retained(topic)) {
    later->ends_newest = true;
  } else {
    erase_newest(topic);
  }
}

void Journal::erase_newest(std::string_view topic) {
  records_.erase({records::newest_space, 0, topic});
}

void Journal::put_retained(std::string_view topic, const BufferRef& value,
                           std::optional<std::string_view> user) {
  const store::Key key{records::retained_space, 0, topic};
  if (!value) return records_.erase(key);
  records_.put(key, encode(retained_of(value, user, clock_)));
}

// Some of them; the rest stays due. All together may be more than the store may hold, after a time in
// which the disk was behind. Retained ones first: a newest value that is written down came after one
// that ends the newest value before it.
void Journal::write_some_values() {
  if (due_.empty()) std::swap(due_, waiting_);
  const std::uint64_t most = std::min(options_.waiting_bytes_max / values_part, values_bytes_max);
  const std::uint64_t full = records_.bytes().size() + std::max<std::uint64_t>(1, most);
  const auto write = [&](auto& values, auto put) {
    while (!values.empty() && records_.bytes().size() < full) {
      put(values.begin()->first, values.begin()->second);
      values.erase(values.begin());
    }
  };
  write(due_.retained, [&](const std::string& topic, const Values::Retained& one) {
    put_retained(topic, one.value, one.user);
    if (one.ends_newest) erase_newest(topic);
  });
  write(due_.newest, [&](const std::string& topic, const BufferRef& value) {
    records_.put({records::newest_space, 0, topic}, encode(packet_of(message_of(value), clock_)));
  });
  if (!due_.empty()) return;
  due_ = {};  // their tables
  values_due_ns_ = 0;
  if (!waiting_.empty()) expect_values();
}

}  // namespace millrace::broker
