#include "core/broker/processor.hpp"

#include <algorithm>
#include <cassert>
#include <type_traits>
#include <utility>

namespace millrace::broker {

Processor::Processor(const ProcessorLimits& limits) : limits_(limits), topics_(limits.slots) {}

Processor::~Processor() = default;

void Processor::set_limits(const ProcessorLimits& limits) {
  limits_ = limits;
  topics_.set_limits(limits.slots);
}

void Processor::open_local_side(const shm::RegistryOptions& options, LocalSide::Deliver deliver) {
  local_ = std::make_unique<LocalSide>(options, index_, topics_, std::move(deliver));
}

const Session* Processor::find_session(std::string_view client_id) const {
  const auto found = sessions_.find(client_id);
  return found == sessions_.end() ? nullptr : found->second.get();
}

std::int64_t Processor::next_deadline_ns() const {
  const std::int64_t local = local_ ? local_->next_deadline_ns() : no_deadline;
  return timers_.empty() ? local : std::min(local, std::get<0>(*timers_.begin()));
}

void Processor::begin(std::int64_t now_ns) {
  assert(now_ns >= now_ns_);
  now_ns_ = now_ns;
  now_s_ = clock_seconds(now_ns);
  seed_budget_ = limits_.seeds_per_batch;
  batch_commands_ = 0;
  has_more_ = false;
}

void Processor::apply(Command& command) {
  ++batch_commands_;
  if (command.outbox == nullptr) return apply_of_server(command);
  apply_of_connection(*command.outbox, command);
}

void Processor::apply_of_connection(Outbox& outbox, Command& command) {
  touch(outbox);
  outbox.count_applied(command.charged_bytes());
  if (auto* connect = command.get_if<command::Connect>()) {
    return apply_connect(outbox, *connect->request);
  }
  if (auto* close = command.get_if<command::Close>()) return apply_close(outbox, *close);
  if (!outbox.attached()) {
    stats_.stale_commands.add();
    return;
  }
  Session& session = *outbox.session;
  const auto apply_body = [&](auto& body) {
    using Body = std::remove_reference_t<decltype(body)>;
    if constexpr (std::is_same_v<Body, command::Publish>) {
      apply_publish(&session, std::move(body.message));
    } else if constexpr (std::is_same_v<Body, command::RefusedPublish>) {
      acknowledge(session, body.qos, body.packet_id, body.reason);  // [MQTT-4.6.0-2]
    } else if constexpr (std::is_same_v<Body, command::Subscribe>) {
      apply_subscribe(session, *body.request);
    } else if constexpr (std::is_same_v<Body, command::Unsubscribe>) {
      apply_unsubscribe(session, *body.request);
    } else if constexpr (std::is_same_v<Body, command::Puback>) {
      apply_puback(session, body);
    } else if constexpr (std::is_same_v<Body, command::Pubrec>) {
      apply_pubrec(session, body);
    } else if constexpr (std::is_same_v<Body, command::Pubrel>) {
      apply_pubrel(session, body);
    } else if constexpr (std::is_same_v<Body, command::Pubcomp>) {
      apply_pubcomp(session, body);
    } else if constexpr (std::is_same_v<Body, command::Drained>) {
      apply_drained(session, body);
    } else {
      assert(!"a command of the server's own has no outbox");
    }
  };
  boost::variant2::visit(apply_body, command.body);
}

void Processor::apply_of_server(Command& command) {
  if (auto* publish = command.get_if<command::Publish>()) {
    apply_publish(nullptr, std::move(publish->message));
  } else if (auto* announce = command.get_if<command::Announce>()) {
    route(std::move(announce->message), nullptr);
  } else if (auto* local = command.get_if<command::Local>()) {
    local_->hold(std::move(local->request));
  } else if (auto* limits = command.get_if<command::Limits>()) {
    set_limits(*limits->limits);
  } else {
    assert(!"a command of a connection names its outbox");
  }
}

void Processor::touch(Outbox& outbox) {
  if (outbox.in_batch) return;
  outbox.in_batch = true;
  touched_.push_back(&outbox);
}

void Processor::serve_later(Session& session) {
  if (session.waits_for_service) return;
  const DeferredWork& deferred = session.deferred.read();
  if (session.pending.empty() && deferred.seeds.empty() && deferred.redeliver.empty()) return;
  session.waits_for_service = true;
  to_serve_.push_back(&session);
}

void Processor::finish() {
  fire_timers();
  publish_due_wills();
  store_batch_values();
  if (local_ && local_->finish(now_ns_, sequence_)) has_more_ = true;
  // Serving one session may end another one's wait, so the list may grow while it is walked.
  for (std::size_t i = 0; i < to_serve_.size(); ++i) {
    to_serve_[i]->waits_for_service = false;
    if (to_serve_[i]->connected()) serve(*to_serve_[i]);
  }
  to_serve_.clear();
  hand_over_all();
  for (Session* session : serve_again_) {
    // It may have ended after its SUBSCRIBE in this batch, or be listed for two of them.
    if (session->ended || session->waits_for_service) continue;
    session->waits_for_service = true;
    to_serve_.push_back(session);
  }
  serve_again_.clear();
  ended_sessions_.clear();
  ended_subscriptions_.clear();
  ended_groups_.clear();
  has_more_ = has_more_ || !to_serve_.empty();
  update_gauges();
  stats_.batches.add();
  if (batch_commands_ > 0) stats_.batch_commands.record(batch_commands_);
}

// [6] publish: one copy per topic and batch, however often the topic was published in it.
void Processor::store_batch_values() {
  for (BatchValue& value : batch_values_) {
    Topic& topic = *value.topic;
    Message newest = value.newest.is_slice() ? value.newest.copy_to_keep() : value.newest;
    if (value.clears_retained) topics_.store_retained(topic, nullptr);
    if (value.retained && !topics_.can_retain(topic, value.retained.packet_bytes)) {
      stats_.drop(Drop::retained_refused);
    } else if (value.retained) {
      const bool same = value.retained.buffer == value.newest.buffer &&
                        value.retained.packet_offset == value.newest.packet_offset;
      Message retained = same                        ? newest
                         : value.retained.is_slice() ? value.retained.copy_to_keep()
                                                     : value.retained;
      topics_.store_retained(topic, std::move(retained.buffer));
    }
    const Route& route = topic.cached_route.route();
    if (!route.feeds.empty()) local_->store(route.feeds, newest);
    topics_.store_newest(topic, std::move(newest.buffer));
    topic.batch_value = 0;
    releases_.add(std::move(value.newest.buffer));
  }
  releases_.flush();
  if (batch_values_.empty()) return;
  if (topics_.anyone_waits()) {
    for (const BatchValue& value : batch_values_) topics_.notify(*value.topic);
  }
  batch_values_.clear();
  last_topic_ = nullptr;  // may be evicted now
  if (const std::size_t evicted = topics_.evict()) stats_.drop(Drop::slot_evicted, evicted);
}

// [8] deliver: each touched outbox is handed over once, each I/O thread is woken once.
void Processor::hand_over_all() {
  for (Outbox* outbox : touched_) {
    outbox->in_batch = false;
    bool ring = outbox->publish_applied() && outbox->announce();
    if (outbox->has_staged()) {
      compact(outbox->staged());
      ring = outbox->hand_over() || ring;
    }
    if (!ring) continue;
    const auto wake_up = std::find_if(
        wake_ups_.begin(), wake_ups_.end(),
        [&](const WakeUp& candidate) { return candidate.list == &outbox->ready_list(); });
    if (wake_up != wake_ups_.end()) {
      wake_up->outboxes.emplace_back(outbox);
    } else {
      wake_ups_.push_back({&outbox->ready_list(), {OutboxRef(outbox)}});
    }
  }
  touched_.clear();
  for (WakeUp& wake_up : wake_ups_) {
    if (!wake_up.outboxes.empty()) wake_up.list->push(wake_up.outboxes);
  }
  closed_.clear();
}

void Processor::fire_timers() {
  std::uint32_t budget = limits_.timers_per_batch;
  while (!timers_.empty() && std::get<0>(*timers_.begin()) <= now_ns_) {
    if (budget-- == 0) {
      has_more_ = true;
      return;
    }
    Session& session = *std::get<2>(*timers_.begin());
    timers_.erase(timers_.begin());
    session.deadlines.write().timer_ns = 0;
    fire(session);
  }
}

// Keeps at most one entry per session, never later than what is due. An entry that fires too early
// finds nothing to do and is set anew.
void Processor::reschedule(Session& session) {
  std::int64_t due = no_deadline;
  const auto consider = [&](std::int64_t at) {
    if (at != 0) due = std::min(due, at);
  };
  const Deadlines& deadlines = session.deadlines.read();
  consider(deadlines.will_at_ns);
  consider(deadlines.expires_at_ns);
  consider(session.deferred.read().rate_limits.next_ns().value_or(0));
  if (session.connected() && !session.pending.collapsed() && session.pending.has_adaptive()) {
    consider(*session.pending.newest_since_ns() + stale_ns());
  }
  if (session.connected() && session.pending.collapsed()) {
    // Later than that, it is looked at again when it has drained.
    const std::int64_t unfolds_at = session.pending.blocked_at_ns() + stale_ns();
    if (unfolds_at > now_ns_) consider(unfolds_at);
  }
  const std::int64_t timer_ns = deadlines.timer_ns;
  if (due == no_deadline || (timer_ns != 0 && timer_ns <= due)) return;
  if (timer_ns != 0) timers_.erase({timer_ns, session.number, &session});
  session.deadlines.write().timer_ns = due;
  timers_.insert({due, session.number, &session});
}

void Processor::update_gauges() {
  stats_.sessions.set(sessions_.size());
  stats_.subscriptions.set(index_.size());
  stats_.shared_groups.set(groups_.size());
  stats_.topics.set(topics_.size());
  stats_.topic_bytes.set(topics_.bytes());
  stats_.retained.set(topics_.retained_count());
}

}  // namespace millrace::broker
