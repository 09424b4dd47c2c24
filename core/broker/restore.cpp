#include "core/broker/restore.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include "core/broker/message.hpp"
#include "core/broker/publisher_acks.hpp"
#include "protocol/topic.hpp"

namespace millrace::broker {

using records::Kind;
using records::Part;

namespace {

constexpr std::int64_t ns_per_s = 1'000'000'000;
// A session's entries are numbered anew long before this (Journal::Options::renumber_at).
constexpr std::uint32_t entry_number_max = 0xFFFF0000;

// Stands for the rules that the last process had, which are not known: nothing is equal to them.
std::shared_ptr<const TopicRules> unknown_rules() {
  static const auto rules =
      std::make_shared<const TopicRules>(std::vector<TopicRule>{{false, "#", {}}}, false);
  return rules;
}

bool is_sent_state(InflightState state, std::uint8_t qos) {
  return qos == 1 ? state == InflightState::awaits_puback
                  : state == InflightState::awaits_pubrec || state == InflightState::awaits_pubcomp;
}

}  // namespace

void Restore::add(const store::Record& record) {
  if (record.key.space == records::session_space) return add_of_session(record);
  switch (records::kind_of(record.key)) {
    case Kind::body:
      return add_body(record);
    case Kind::retained:
      return add_retained(record);
    case Kind::newest:
      return add_newest(record);
    default:
      ++figures_.orphans;
  }
}

// `ages`: its Message Expiry Interval has gone on meanwhile.
BufferRef Restore::packet_of(const records::Packet& packet, bool ages) const {
  std::uint64_t elapsed_s = 0;
  if (ages && packet.received_ns < time_of_day_ns_) {
    elapsed_s = (time_of_day_ns_ - packet.received_ns) / ns_per_s;
  }
  BufferRef buffer =
      restore_packet(store::bytes_of(packet.bytes), packet.is_v5, now_ns_, elapsed_s);
  if (buffer) buffer->origin = packet.origin;
  return buffer;
}

void Restore::add_body(const store::Record& record) {
  last_body_ = std::max(last_body_, record.key.group);
  const auto packet = records::decode_packet(record.value);
  BufferRef buffer = packet ? packet_of(*packet, true) : nullptr;
  if (!buffer) {
    ++figures_.orphans;
    return;
  }
  bodies_.emplace(record.key.group, std::move(buffer));
}

void Restore::add_retained(const store::Record& record) {
  const auto retained = records::decode_retained(record.value);
  BufferRef buffer = retained ? packet_of(retained->packet, true) : nullptr;
  if (!buffer || message_of(buffer).topic() != record.key.rest) {
    ++figures_.orphans;
    return;
  }
  std::optional<std::string_view> user;
  if (retained->has_user) user = retained->user;
  if (parts_.values.restore(std::move(buffer), user)) ++figures_.retained;
}

void Restore::add_newest(const store::Record& record) {
  const auto packet = records::decode_packet(record.value);
  BufferRef buffer = packet ? packet_of(*packet, true) : nullptr;
  if (!buffer || message_of(buffer).topic() != record.key.rest) {
    ++figures_.orphans;
    return;
  }
  parts_.values.restore_newest(std::move(buffer));
  ++figures_.newest;
}

// --- Sessions ------------------------------------------------------------------------------------

void Restore::add_of_session(const store::Record& record) {
  // The body may be missing, and must not be taken for another one that is numbered later.
  last_body_ = std::max(last_body_, record.body);
  if (record.key.group != group_) {
    end_session();
    group_ = record.key.group;
    if (!begin_session(record)) {
      session_ = nullptr;
      forgotten_.push_back(group_);
    }
    return;
  }
  if (session_ == nullptr) {
    ++figures_.orphans;
    return;
  }
  bool known = false;
  const std::string_view rest = record.key.rest;
  const auto number = records::number_of(rest);
  switch (records::kind_of(record.key)) {
    case Kind::subscription:
      known = add_subscription(rest.substr(1), record.value);
      break;
    case Kind::received:
      known = number && *number <= UINT16_MAX;
      if (known && session_->deferred.write()
                       .received_qos2.insert(static_cast<std::uint16_t>(*number))
                       .second) {
        parts_.batch.ledger().charge(Holding::sessions, PublisherAcks::received_bytes);
      }
      break;
    case Kind::bound: {
      const auto bound = records::decode_bound(record.value);
      known = number && bound;
      if (known) {
        bound_.emplace(*number, *bound);
        note_number(*number);  // its entry may be missing: likewise
      }
      break;
    }
    case Kind::entry:
      known = number && *number != 0 && add_entry(*number, record);
      break;
    default:
      break;
  }
  if (!known) ++figures_.orphans;
}

// Null: it has no owner any more.
RightsRef Restore::rights_of(const records::SessionState& state) const {
  auto* rights = new Rights;
  const RightsRef before(rights);
  rights->owner = state.owner;
  rights->credential = state.credential;
  if (!authority_) return before;
  return authority_->renew(*before, {state.client_id, state.address, state.listener});
}

// Rules that there are now are applied when all of the session is there: see finish().
void Restore::restore_rights(Session& session, const records::SessionState& state,
                             RightsRef rights) {
  if (!state.address.empty() || state.listener != UINT16_MAX) {
    session.arrived.write() = {state.address, state.listener};
  }
  if (!rights || (!rights->subscribe && !rights->receive)) {
    session.rights = std::move(rights);
    return;
  }
  auto* before = new Rights;
  session.rights.reset(before);
  before->owner = state.owner;
  before->credential = state.credential;
  before->subscribe = unknown_rules();
  to_judge_.emplace_back(&session, std::move(rights));
}

bool Restore::begin_session(const store::Record& record) {
  const bool is_session = record.key.rest == records::rest_of(Part::session);
  const auto state = is_session ? records::decode_session(record.value) : std::nullopt;
  if (!state || parts_.sessions.find(state->client_id) != nullptr) {
    ++figures_.orphans;
    return false;
  }
  RightsRef rights = state->has_rights ? rights_of(*state) : nullptr;
  if (state->has_rights && !rights) {
    ++figures_.revoked;
    return false;
  }
  session_ = &parts_.sessions.restore(state->client_id, record.key.group);
  session_->is_v5 = state->is_v5;
  session_->expiry_s = state->expiry_s;
  restore_deadlines(*session_, *state, rights.get());
  restore_rights(*session_, *state, std::move(rights));
  restored_.push_back(session_);
  ++figures_.sessions;
  return true;
}

std::int64_t Restore::monotonic_ns(std::uint64_t unix_ns) const {
  if (unix_ns == 0) return 0;
  if (unix_ns <= time_of_day_ns_) return now_ns_;  // it is due
  const auto latest = static_cast<std::uint64_t>(INT64_MAX - now_ns_);
  return now_ns_ + static_cast<std::int64_t>(std::min(unix_ns - time_of_day_ns_, latest));
}

void Restore::restore_deadlines(Session& session, const records::SessionState& state,
                                const Rights* rights) {
  Deadlines& deadlines = session.deadlines.write();
  const auto packet = records::decode_packet(state.will);
  BufferRef will = packet ? packet_of(*packet, false) : nullptr;
  if (will) {
    Message message = message_of(std::move(will));
    const PublishedHow how{message.qos, message.retain};
    if (rights != nullptr && rights->publish_refusal(message.topic(), how)) {
      parts_.batch.stats().drop(Drop::revoked);
    } else {
      deadlines.will = ConnectRequest::Will{std::move(message), state.will_delay_s};
    }
  }
  if (!state.connected) {
    deadlines.expires_at_ns = monotonic_ns(state.expires_at_ns);
    if (deadlines.will) deadlines.will_at_ns = monotonic_ns(state.will_at_ns);
    return;
  }
  were_connected_.push_back(&session);
  if (state.expiry_s != never_expires) {
    deadlines.expires_at_ns = now_ns_ + state.expiry_s * ns_per_s;
  }
  if (deadlines.will) {
    deadlines.will_at_ns = now_ns_ + std::min(state.will_delay_s, state.expiry_s) * ns_per_s;
  }
}

bool Restore::add_subscription(std::string_view name, std::string_view value) {
  const auto state = records::decode_subscription(value);
  if (!state || state->filter_bytes == 0 || state->filter_bytes > name.size()) return false;
  // The client says it by the same name again, and is to mean the same subscription.
  const auto parsed = protocol::parse_filter(name);
  if (!parsed || parsed->share_group != state->share_group ||
      parsed->filter.size() != state->filter_bytes) {
    return false;
  }
  SubscriptionRequest wanted;
  wanted.name = name;
  wanted.filter = name.substr(name.size() - state->filter_bytes);
  wanted.share_group = state->share_group;
  wanted.qos = state->qos;
  wanted.no_local = state->no_local;
  wanted.retain_as_published = state->retain_as_published;
  wanted.mode = state->mode;
  wanted.shape = make_shape(state->shape);
  if (!parts_.router.restore(*session_, wanted, state->identifier, state->number)) return false;
  ++figures_.subscriptions;
  return true;
}

// New entries are numbered after it.
void Restore::note_number(std::uint32_t number) {
  if (number > entry_number_max) return;
  session_->last_stored = std::max(session_->last_stored, number);
}

bool Restore::add_entry(std::uint32_t number, const store::Record& record) {
  const auto entry = records::decode_entry(record.value);
  if (!entry) return false;
  if (number > entry_number_max) return false;
  note_number(number);
  parts_.router.skip_number(entry->subscription);
  Delivery delivery;
  delivery.stored = number;
  delivery.qos = entry->qos;
  delivery.retain = entry->retain;
  if (!entry->identifiers.empty()) {
    delivery.identifiers.reset(new SubscriptionIdentifiers);
    delivery.identifiers->values = entry->identifiers;
  }
  const auto body = bodies_.find(record.body);
  if (body != bodies_.end()) delivery.message = message_of(body->second);
  const auto bound = bound_.find(number);
  delivery.bound_apart = bound != bound_.end();
  delivery.packet_id = delivery.bound_apart ? bound->second.packet_id : entry->packet_id;
  const InflightState state = delivery.bound_apart ? bound->second.state : entry->state;
  const std::uint32_t order = delivery.bound_apart ? bound->second.order : number;
  if (delivery.bound_apart) bound_.erase(bound);
  if (delivery.packet_id > InflightWindow::identifier_count || order > entry_number_max)
    return false;
  note_number(order);
  const bool needs_message = delivery.packet_id == 0 || state != InflightState::awaits_pubcomp;
  if (needs_message && !delivery.message) {
    lost_.emplace_back(session_, number);
    return false;
  }
  if (delivery.packet_id == 0) {
    PendingEntry pending;
    pending.delivery = std::move(delivery);
    pending.subscription = entry->subscription;
    pending.epoch = entry->epoch;
    pending.since_ns = now_ns_;
    pending.shape = rate_limit(entry->interval_ms);
    pending_.emplace_back(std::move(pending), entry->waits);
  } else {
    if (!is_sent_state(state, delivery.qos)) return false;
    if (!needs_message) delivery.message = Message{};
    inflight_.emplace_back(order, Inflight(delivery, entry->subscription, state));
  }
  ++figures_.messages;
  return true;
}

// What was sealed stands before what came later, and what comes from now on stands behind all of it:
// in the store, too.
void Restore::push_pending() {
  std::stable_sort(pending_.begin(), pending_.end(), [](const auto& left, const auto& right) {
    return left.first.epoch < right.first.epoch;
  });
  PendingQueue& queue = session_->pending;
  for (auto& [entry, waits] : pending_) {
    queue.restore_epoch(entry.epoch);
    switch (waits) {
      case Waits::every:
        queue.push_every(std::move(entry));
        break;
      case Waits::adaptive:
        queue.push_adaptive(std::move(entry));
        break;
      case Waits::cell:
        queue.push_cell(std::move(entry));
        break;
      case Waits::fixed:
        queue.push_fixed(std::move(entry));
        break;
    }
  }
  pending_.clear();
}

void Restore::end_session() {
  for (const auto& [number, bound] : bound_) {
    lost_.emplace_back(session_, number);
    ++figures_.orphans;
  }
  bound_.clear();
  if (session_ == nullptr) return;
  std::sort(inflight_.begin(), inflight_.end(),
            [](const auto& left, const auto& right) { return left.first < right.first; });
  std::vector<Inflight> sent;
  for (auto& [order, entry] : inflight_) sent.push_back(std::move(entry));
  inflight_.clear();
  session_->inflight.restore(sent);
  push_pending();
  parts_.deliverer.restored(*session_);
  parts_.backlog.update_gauges(*session_);
  parts_.timers.reschedule(*session_, parts_.batch);
  session_ = nullptr;
}

RestoreFigures Restore::finish(Journal* journal) {
  end_session();
  bodies_.clear();
  if (journal != nullptr) {
    for (Session* session : restored_) session->stored = true;
    for (const std::uint64_t group : forgotten_) journal->forget(group);
    for (const auto& [session, number] : lost_) journal->gone(*session, number, true);
    for (const Session* session : were_connected_) journal->changed(*session);
    if (figures_.newest > 0 && !journal->keeps_newest()) parts_.values.forget_stored_newest();
  }
  // By the journal, as this may drop what waits.
  for (auto& [session, rights] : to_judge_) parts_.revoker.apply(*session, std::move(rights));
  parts_.revoker.forget_compared();
  return figures_;
}

}  // namespace millrace::broker
