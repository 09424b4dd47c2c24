// Source: MQTT 5.0 sections 3.1, 3.1.2.4, 3.1.2.5, 3.1.3.2.2, 3.14, 4.1, 4.8.2.
#include "core/broker/sessions.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include "core/base/malloc_bytes.hpp"
#include "core/broker/journal.hpp"
#include "core/broker/publisher_acks.hpp"
#include "core/broker/shared_leftovers.hpp"

namespace millrace::broker {

using protocol::ReasonCode;

namespace {

constexpr std::int64_t ns_per_s = 1'000'000'000;

Arrival arrival_of(const ConnectRequest& request) {
  return {request.client_id, request.address, request.listener};
}

std::optional<ReasonCode> will_refusal(const Rights& rights, const Message& will) {
  return rights.publish_refusal(will.topic(), {will.qos, will.retain});
}

}  // namespace

const Session* Sessions::find(std::string_view client_id) const {
  const auto found = by_client_id_.find(client_id);
  return found == by_client_id_.end() ? nullptr : found->get();
}

Session* Sessions::find_present(std::string_view client_id) {
  const auto found = by_client_id_.find(client_id);
  return found == by_client_id_.end() ? nullptr : found->get();
}

// --- Connections ---------------------------------------------------------------------------------

void Sessions::connect(Outbox& outbox, ConnectRequest& request) {
  assert(!request.client_id.empty() && !outbox.attached());
  intrusive_ptr_add_ref(&outbox);  // until close()

  if (const auto refusal = refusal_of(request)) {
    outbox.staged().close = *refusal;
    return;
  }
  Journal* const journal = batch_.journal();
  const bool keeps_none = journal != nullptr && (journal->failed() || journal->refusal());
  if (keeps_none && request.session_expiry_s != 0 && request.origin == 0) {
    outbox.staged().close = ReasonCode::server_unavailable;  // it could not be kept
    return;
  }
  Session* before = find_present(request.client_id);
  if (before != nullptr && before->connected()) {  // [MQTT-3.1.4-3]
    batch_.stats().takeovers.add();
    // The session goes on, so a delayed will has not happened yet [MQTT-3.1.3-9].
    disconnect(*before, ReasonCode::session_taken_over);
    before = find_present(request.client_id);  // it may have ended by that
  }
  const bool was_stored = before != nullptr && before->stored;
  const bool present = before != nullptr && !request.clean_start;
  if (present) {
    revoker_.apply(*before, request.rights);
    revoker_.before_resume(*before);
  } else if (before != nullptr) {
    end(*before);  // [MQTT-3.1.2-4]
  } else if (!has_room(request)) {
    outbox.staged().close = ReasonCode::quota_exceeded;
    return;
  }
  Session& session = present ? *before : start(request);
  attach(session, outbox, request);
  outbox.staged().connected = Handover::Connected{present};
  if (journal != nullptr) {
    journal->connected(session);
    if ((was_stored || session.stored) && journal->answers_wait()) {
      journal->gate().hold_connack(outbox);
    }
  }
  if (present) deliverer_.resume(session);
}

// For one more session. Who has one may come back to it: that is how what waits in it gets less. For
// that of a link there always is: without it, what is published does not wait for the link.
bool Sessions::has_room(const ConnectRequest& request) {
  if (request.origin != 0) return true;
  if (by_client_id_.size() >= batch_.limits().sessions_max) return false;
  if (batch_.users().is_full(request.rights ? std::string_view(request.rights->owner) : "")) {
    batch_.stats().user_refusals.add();
    return false;
  }
  if (!batch_.ledger().is_scarce()) return true;
  batch_.stats().memory_refusals.add();
  return false;
}

// Also brings the rights of both sides up to date: a CONNECT may have been allowed before a reload
// that is applied already.
std::optional<ReasonCode> Sessions::refusal_of(ConnectRequest& request) {
  if (is_outdated(request.rights)) {
    request.rights = authority_->renew(*request.rights, arrival_of(request));
    if (!request.rights) return ReasonCode::not_authorized;
    if (request.will) {
      const auto refusal = will_refusal(*request.rights, request.will->message);
      if (refusal) return refusal;
    }
  }
  Session* present = find_present(request.client_id);
  if (present == nullptr) return std::nullopt;
  review(*present);
  present = find_present(request.client_id);
  const std::string_view owner = request.rights ? std::string_view(request.rights->owner) : "";
  if (present == nullptr || present->owner() == owner) return std::nullopt;
  batch_.stats().sessions_foreign.add();
  // Who has no name cannot keep one who has from an identifier. What waits there is for neither.
  if (present->owner().empty()) {
    end(*present, ReasonCode::session_taken_over);
    return std::nullopt;
  }
  return ReasonCode::client_identifier_not_valid;
}

// The session, its identifier, its place among the others, and the rare parts that most get.
std::uint64_t Sessions::memory_bytes(const Session& session) {
  std::uint64_t bytes = base::malloc_bytes(sizeof(Session)) + 64 +
                        base::malloc_bytes(sizeof(SubscriptionSet)) +
                        base::malloc_bytes(sizeof(Deadlines));
  bytes += base::malloc_bytes(8 + session.client_id.size());
  bytes += session.deferred.read().received_qos2.size() * PublisherAcks::received_bytes;
  return bytes;
}

Session& Sessions::start(const ConnectRequest& request) {
  Session& session = add(request.client_id, session_number_ + 1);
  session.rights = request.rights;
  return session;
}

Session& Sessions::restore(std::string_view client_id, std::uint64_t number) {
  return add(client_id, number);
}

Session& Sessions::add(const ClientId& client_id, std::uint64_t number) {
  auto session = std::make_unique<Session>();
  session->client_id = client_id;
  session->number = number;
  session_number_ = std::max(session_number_, number);
  batch_.ledger().charge(Holding::sessions, memory_bytes(*session));
  const auto [place, is_new] = by_client_id_.insert(std::move(session));
  assert(is_new);
  static_cast<void>(is_new);
  return **place;
}

void Sessions::attach(Session& session, Outbox& outbox, ConnectRequest& request) {
  assert(!session.connected() && !session.ended);
  assert(session.client_id == request.client_id && request.receive_maximum > 0);
  assert(outbox.outstanding_bytes == 0 && outbox.credit_raise == 0);  // never attached before
  session.outbox = &outbox;
  session.is_v5 = outbox.version == protocol::Version::v5;
  session.bytes_may_pass = !outbox.encodes_anew && request.packet_bytes_max == 0;
  session.receive_maximum = request.receive_maximum;
  session.packet_bytes_max = request.packet_bytes_max;
  session.expiry_s = request.session_expiry_s;
  session.conflated = 0;
  session.origin = request.origin;
  if (request.origin != 0) {
    deliverer_.make_spool(session, request.queue, std::move(request.figures));
  }
  if (request.peer_forgot && !session.deferred.read().received_qos2.empty()) {
    auto& received = session.deferred.write().received_qos2;
    batch_.ledger().release(Holding::sessions, received.size() * PublisherAcks::received_bytes);
    received.clear();
  }
  session.arrived.reset();
  if (!request.address.empty()) {
    session.arrived.write() = {std::move(request.address), request.listener};
  }
  set_will(session, std::move(request.will));
  outbox.session = &session;
  router_.update_groups(session);
  batch_.stats().sessions_connected.add();
  session.update_binding();
  batch_.note_held(session);
}

// With a new connection nothing is due any more that was due before.
void Sessions::set_will(Session& session, std::optional<ConnectRequest::Will>&& will) {
  const Deadlines& before = session.deadlines.read();
  if (!will && !before.will && before.expires_at_ns == 0) return;
  Deadlines& deadlines = session.deadlines.write();
  deadlines.will = std::move(will);
  deadlines.will_at_ns = 0;
  deadlines.expires_at_ns = 0;
}

void Sessions::close(Outbox& outbox, const command::Close& close) {
  batch_.keep_until_finished(OutboxRef(&outbox, /*add_ref=*/false));
  if (!outbox.attached()) return;
  Session& session = *outbox.session;
  if (close.session_expiry_s) session.expiry_s = *close.session_expiry_s;
  // [MQTT-3.14.4-3]: a normal DISCONNECT discards the will.
  detach(session, close.reason == ReasonCode::normal_disconnection ? Will::discard : Will::publish);
}

void Sessions::disconnect(Session& session, ReasonCode reason) {
  assert(session.connected());
  batch_.touch(*session.outbox);
  session.outbox->staged().close = reason;
  detach(session, Will::publish);
}

void Sessions::end(Session& session, ReasonCode reason) {
  session.expiry_s = 0;
  session.connected() ? disconnect(session, reason) : end(session);
}

void Sessions::detach(Session& session, Will will) {
  assert(session.connected() && session.outbox->session == &session);
  session.outbox->session = nullptr;
  // Bound deliveries go with the connection. QoS 1 and 2 are inflight and stay in the session.
  session.outbox.reset();
  router_.update_groups(session);
  assert(batch_.stats().sessions_connected.value() > 0);
  batch_.stats().sessions_connected.subtract();
  deliverer_.part(session);
  assert(!session.ended && !session.counted_slow);

  if (will == Will::discard && session.deadlines.read().will) {
    session.deadlines.write().will.reset();
  }
  if (session.expiry_s == 0) return end(session);
  Deadlines& deadlines = session.deadlines.write();
  if (session.expiry_s != never_expires) {
    deadlines.expires_at_ns = batch_.now_ns() + session.expiry_s * ns_per_s;
  }
  if (deadlines.will) {
    const std::uint32_t delay_s = std::min(deadlines.will->delay_s, session.expiry_s);
    deadlines.will_at_ns = batch_.now_ns() + delay_s * ns_per_s;
    if (delay_s == 0) make_will_due(session);
  }
  batch_.note_less(session);
  if (session.stored) batch_.journal()->changed(session);
  timers_.reschedule(session, batch_);
}

bool Sessions::expel(std::string_view client_id, bool with_session) {
  Session* const session = find_present(client_id);
  if (session == nullptr) return false;
  if (with_session) {
    end(*session, ReasonCode::administrative_action);
  } else if (session->connected()) {
    disconnect(*session, ReasonCode::administrative_action);
  }
  return true;
}

// --- The end of a session ------------------------------------------------------------------------

void Sessions::end(Session& session) {
  assert(!session.connected() && !session.ended);
  make_will_due(session);  // [MQTT-3.1.2-8]
  session.ended = true;
  if (session.stored) batch_.journal()->ended(session);
  SharedHeirs heirs = hand_on_shared(session);
  assert(session.subscriptions.read().shared_count == 0);
  deliverer_.clear(session, std::move(heirs));
  batch_.note_held(session);
  timers_.cancel(session);
  const auto found = by_client_id_.find(session.client_id);
  assert(found != by_client_id_.end() && found->get() == &session);
  ended_.push_back({std::move(by_client_id_.extract(found).value())});
  ended_left_ += session.subscriptions.read().of.slot_count() + session.inflight.unsettled();
  remove_subscriptions(ended_.back());
}

// What few subscriptions most have go at once; then the batch's removals are used up.
void Sessions::remove_subscriptions(Ended& ended) {
  if (removals_left_ == 0) return;
  Session& session = *ended.session;
  const std::uint32_t before = ended.next_slot;
  ended.next_slot = router_.remove_some(session, before, removals_left_);
  assert(ended.next_slot >= before && ended.next_slot - before <= removals_left_);
  removals_left_ -= ended.next_slot - before;
  ended_left_ -= std::min<std::uint64_t>(ended_left_, ended.next_slot - before);
}

// Nothing names the session any more, and no gauge counts it.
bool Sessions::is_forgotten(const Session& session) {
  return session.ended && !session.connected() && session.pending.empty() &&
         session.deadlines.read().timer_ns == 0 && !session.deferred.read().snapshot_turn &&
         !session.waits_for_service && !session.counted_slow && session.holding_rank == 0 &&
         session.waiting_rank == 0 && session.user_kib == 0;
}

void Sessions::forget_ended() {
  // The more is left, the more a batch removes, so that it never becomes much more than what ended
  // in a few batches.
  removals_left_ += static_cast<std::uint32_t>(ended_left_ / 64);
  while (!ended_.empty()) {
    Ended& ended = ended_.front();
    remove_subscriptions(ended);
    const auto forgotten =
        static_cast<std::uint32_t>(ended.session->inflight.forget_some(removals_left_));
    assert(forgotten <= removals_left_);
    removals_left_ -= forgotten;
    ended_left_ -= std::min<std::uint64_t>(ended_left_, forgotten);
    batch_.stats().work_units.add(forgotten);
    if (ended.next_slot < ended.session->subscriptions.read().of.slot_count() ||
        removals_left_ == 0) {
      break;
    }
    assert(is_forgotten(*ended.session));
    batch_.ledger().release(Holding::sessions, memory_bytes(*ended.session));
    ended_.pop_front();
  }
  if (!ended_.empty()) batch_.ask_for_more();
  removals_left_ = batch_.limits().removals_per_batch;
  hand_on_left_ = batch_.limits().handed_on_per_batch();
}

// What is inflight goes at once, and so does what waits if it is little. Else it has the heirs that
// this returns; and so has all of it while another session's is handed on.
SharedHeirs Sessions::hand_on_shared(Session& session) {
  SharedLeftovers leftovers(session);
  if (leftovers.never()) return {};
  if (hands_on_) {
    SharedHeirs heirs = leftovers.heirs();
    session.inflight.for_each_unsettled([&](Inflight& entry) {
      if (entry.delivery.qos != 1 || !heirs.groups.contains(entry.subscription)) return;
      PendingEntry left;
      left.delivery.message = entry.delivery.message;
      left.delivery.qos = 1;
      left.subscription = entry.subscription;
      heirs.sent.push_every(std::move(left));
    });
    router_.leave_groups(session);
    return heirs;
  }
  session.inflight.for_each_unsettled(
      [&](Inflight& entry) { leftovers.add(entry.subscription, entry.delivery); });
  SharedHeirs heirs;
  if (session.pending.size() <= hand_on_left_) {
    hand_on_left_ -= session.pending.size();
    session.pending.for_each(
        [&](const PendingEntry& entry) { leftovers.add(entry.subscription, entry.delivery); });
  } else {
    heirs = leftovers.heirs();
  }
  router_.leave_groups(session);
  hands_on_ = true;
  leftovers.hand_on(fan_out_);
  hands_on_ = false;
  return heirs;
}

// A member that gets one may end by it, and leave more.
void Sessions::hand_on_some(Backlog& backlog) {
  hands_on_ = true;
  for (std::uint32_t budget = batch_.limits().handed_on_per_batch();
       budget > 0 && backlog.has_heritable(); --budget) {
    auto next = backlog.next_heritable();
    if (!next) break;
    batch_.stats().work_units.add();
    SharedGroup* const group = next->group == nullptr ? nullptr : router_.find_group(*next->group);
    if (group == nullptr) continue;
    Message& message = next->entry.delivery.message;
    PublishContext context(message);
    fan_out_.to_group(RouteGroup(*group), context);
  }
  hands_on_ = false;
}

// --- Time ----------------------------------------------------------------------------------------

void Sessions::make_will_due(Session& session) {
  if (session.deadlines.read().will && is_outdated(session.rights)) {
    judge_will(session, authority_->renew(*session.rights, session.arrival()).get());
  }
  if (!session.deadlines.read().will) return;
  Deadlines& deadlines = session.deadlines.write();
  assert(deadlines.will->message);
  due_wills_.push_back(std::move(deadlines.will->message));
  deadlines.will.reset();
  deadlines.will_at_ns = 0;
}

Message Sessions::take_due_will() {
  assert(has_due_wills());
  BufferRef will = std::move(due_wills_.front().buffer);
  due_wills_.pop_front();
  batch_.stats().wills.add();
  assert(will->unique());               // its bytes are constant for any other holder
  will->received_ns = batch_.now_ns();  // its Message Expiry Interval begins here (3.1.3.2.4)
  return message_of(std::move(will));
}

void Sessions::fire_timers() {
  std::uint32_t budget = batch_.limits().timers_per_batch;
  // A session that ends may leave much to others.
  const std::uint64_t last_unit = batch_.spent() + batch_.limits().units_per_batch / 4 + 1;
  while (timers_.next_ns() <= batch_.now_ns()) {
    if (budget-- == 0 || batch_.spent() >= last_unit) return batch_.ask_for_more();
    fire(*timers_.take_due(batch_.now_ns()));
  }
}

void Sessions::fire(Session& session) {
  assert(!session.ended);
  const Deadlines& deadlines = session.deadlines.read();
  const std::int64_t now_ns = batch_.now_ns();
  assert(deadlines.will_at_ns == 0 || deadlines.will);
  assert(session.connected() || session.expiry_s != 0);  // else it ended with its connection
  if (deadlines.will_at_ns != 0 && deadlines.will_at_ns <= now_ns) {
    make_will_due(session);
    batch_.note_less(session);
    if (session.stored) batch_.journal()->changed(session);
  }
  if (deadlines.expires_at_ns != 0 && deadlines.expires_at_ns <= now_ns) {
    assert(!session.connected());
    batch_.stats().sessions_expired.add();
    return end(session);  // [MQTT-3.1.2-23]
  }
  deliverer_.on_timer(session);
  timers_.reschedule(session, batch_);
}

// --- Rights --------------------------------------------------------------------------------------

void Sessions::begin_review(ReviewRequest request) {
  assert(!authority_ || request.authority->revision() >= authority_->revision());
  authority_ = std::move(request.authority);
  review_ = ReviewUnderWay{std::move(request.done), false, 0, by_client_id_.bucket_count()};
}

void Sessions::review_some() {
  if (!review_) return;
  // New sessions may have moved others to other buckets; one that was reviewed already costs little.
  if (review_->bucket_count != by_client_id_.bucket_count()) {
    review_->bucket_count = by_client_id_.bucket_count();
    review_->bucket = 0;
  }
  for (std::uint64_t units = 0; units < batch_.limits().review_units_per_batch;) {
    if (review_->bucket == review_->bucket_count) {
      review_->over = true;
      return;
    }
    units += 1 + review_bucket(review_->bucket++);
  }
  batch_.ask_for_more();
}

void Sessions::finish_review() {
  if (!review_ || !review_->over) return;
  revoker_.forget_compared();
  const std::function<void()> done = std::move(review_->done);
  review_.reset();
  if (done) done();
}

std::uint64_t Sessions::review_bucket(std::size_t bucket) {
  std::vector<Session*> sessions;  // some may end by the review of another
  for (auto one = by_client_id_.begin(bucket); one != by_client_id_.end(bucket); ++one) {
    sessions.push_back(one->get());
  }
  std::uint64_t units = 0;
  for (Session* session : sessions) units += session->ended ? 0 : review(*session);
  return units;
}

std::uint64_t Sessions::review(Session& session) {
  if (!is_outdated(session.rights)) return 1;
  RightsRef rights = authority_->renew(*session.rights, session.arrival());
  judge_will(session, rights.get());
  if (rights) return 1 + revoker_.apply(session, std::move(rights));
  batch_.stats().sessions_revoked.add();
  const std::uint64_t units = 1 + session.subscriptions.read().of.size() + session.pending.size();
  end(session, ReasonCode::not_authorized);
  return units;
}

// `rights`: null: the owner does not exist any more.
void Sessions::judge_will(Session& session, const Rights* rights) {
  const auto& will = session.deadlines.read().will;
  if (!will) return;
  if (rights != nullptr && !will_refusal(*rights, will->message)) return;
  Deadlines& deadlines = session.deadlines.write();
  deadlines.will.reset();
  deadlines.will_at_ns = 0;
  if (session.stored) batch_.journal()->changed(session);
  batch_.stats().drop(Drop::revoked);
}

}  // namespace millrace::broker
