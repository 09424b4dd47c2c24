#include "core/broker/processor.hpp"

#include <algorithm>
#include <cassert>
#include <type_traits>
#include <utility>

#include "core/broker/check.hpp"
#include "protocol/encode.hpp"

namespace millrace::broker {

using protocol::ReasonCode;

Processor::Processor(const ProcessorLimits& limits)
    : batch_(limits),
      values_(batch_),
      router_(batch_, values_.topics().routes()),
      demand_(router_.index()),
      publisher_acks_(batch_),
      backlog_(batch_,
               [this](Session& session, ReasonCode why) { sessions_.disconnect(session, why); }),
      deliverer_({batch_, timers_, values_, backlog_, publisher_acks_}),
      fan_out_(batch_, values_, router_, deliverer_),
      revoker_({batch_, router_, backlog_, publisher_acks_, deliverer_, fan_out_}),
      sessions_({batch_, timers_, router_, deliverer_, fan_out_, revoker_}),
      memory_guard_({batch_, router_, values_, backlog_, sessions_}) {}

void Processor::open_local_side(const shm::RegistryOptions& options, LocalSide::Deliver deliver) {
  assert(!local_);
  local_ =
      std::make_unique<LocalSide>(options, router_.index(), values_.topics(), std::move(deliver));
  fan_out_.set_local(local_.get());
}

std::int64_t Processor::next_deadline_ns() const {
  std::int64_t next = timers_.next_ns();
  if (local_) next = std::min(next, local_->next_deadline_ns());
  if (journal_ && journal_->next_deadline_ns() != 0) {
    next = std::min(next, journal_->next_deadline_ns());
  }
  return next;
}

// --- The store -----------------------------------------------------------------------------------

void Processor::begin_restore(std::shared_ptr<const Authority> authority, std::int64_t now_ns,
                              std::uint64_t time_of_day_ns) {
  holder_.enter();
  batch_.begin(now_ns);
  values_.begin_batch();
  restore_ = std::make_unique<Restore>(
      Restore::Parts{batch_, timers_, router_, values_, backlog_, deliverer_, sessions_, revoker_},
      std::move(authority), now_ns, time_of_day_ns);
}

RestoreFigures Processor::finish_restore(store::CommitLog& log, std::uint64_t last_number,
                                         const Journal::Options& options) {
  journal_ = std::make_unique<Journal>(log, batch_, options);
  batch_.set_journal(journal_.get());
  journal_->begin(batch_.now_ns(), restore_->time_of_day_ns());
  journal_->go_on(restore_->last_body(), last_number);
  return finish_restore();
}

RestoreFigures Processor::finish_restore() {
  const RestoreFigures figures = restore_->finish(journal_.get());
  restore_.reset();
  // What fell due meanwhile happens before anybody can connect.
  while (timers_.next_ns() <= batch_.now_ns() || sessions_.has_due_wills()) {
    sessions_.fire_timers();
    publish_due_wills();
  }
  values_.store_noted(local_.get());
  deliverer_.serve_all();
  finish_batch();
  return figures;
}

void Processor::close_journal() {
  if (journal_) journal_->close();
}

void Processor::write_state(std::int64_t now_ns, std::uint64_t time_of_day_ns, bool newest_values,
                            const std::function<void(const store::Record&)>& visit) {
  assert(!journal_);
  broker::write_state(sessions_, values_, {now_ns, time_of_day_ns}, newest_values, visit);
}

// Topics beyond a lowered limit go as new ones come; sessions and subscriptions stay.
void Processor::set_limits(const ProcessorLimits& limits) {
  batch_.set_limits(limits);
  values_.topics().set_limits(limits.slots);
  values_.history().set_limits(limits.history);
}

// --- The batch -----------------------------------------------------------------------------------

void Processor::begin(std::int64_t now_ns, std::uint64_t time_of_day_ns) {
  holder_.enter();
  MILLRACE_CHECK(!sessions_.has_due_wills() || batch_.has_more());  // none is forgotten
  batch_.begin(now_ns);
  values_.begin_batch();
  if (local_) local_->begin(time_of_day_ns);
  if (journal_) journal_->begin(now_ns, time_of_day_ns);
  commands_ = 0;
}

void Processor::finish() {
  MILLRACE_CHECK(holder_.held_here());
  sessions_.review_some();
  sessions_.fire_timers();
  memory_guard_.finish_batch();
  if (journal_ && journal_->too_much_waits()) [[unlikely]]
    shed_answers();
  if (backlog_.has_heritable()) [[unlikely]]
    sessions_.hand_on_some(backlog_);
  if (batch_.awaited().has_done()) [[unlikely]]
    tell_awaited();
  publish_due_wills();
  values_.store_noted(local_.get());
  if (local_ && local_->finish(batch_.now_ns(), values_.sequence())) batch_.ask_for_more();
  deliverer_.serve_all();
  tell_sequence();
  if (!told_.empty()) [[unlikely]]
    tell_publishers();
  if (!inquiries_.empty()) [[unlikely]]
    answer_inquiries();
  if (!demand_.at_rest()) [[unlikely]]
    tell_demand();
  // Serving may have dropped some.
  if (batch_.awaited().has_done()) [[unlikely]]
    batch_.ask_for_more();
  finish_batch();
}

// The end of a batch: what it brought is handed over, and to the store.
void Processor::finish_batch() {
  // Wills that are left over are in no record any more: they go into the batch that publishes them.
  if (journal_ && !sessions_.has_due_wills()) journal_->seal();
  batch_.finish();
  deliverer_.finish_batch();
  sessions_.forget_ended();
  backlog_.free_discarded();
  router_.forget_ended();
  update_gauges();
  batch_.stats().batches.add();
  if (commands_ > 0) batch_.stats().batch_commands.record(commands_);
  sessions_.finish_review();
  holder_.leave();
}

// The disk does not keep up, or fails, and clients go on without waiting for answers. Those that are
// owed most have to connect again, and send what was not acknowledged once more.
void Processor::shed_answers() {
  for (const OutboxRef& outbox : journal_->shed_answers()) {
    if (!outbox->attached()) continue;
    batch_.stats().unanswered_ends.add();
    sessions_.disconnect(*outbox->session, ReasonCode::quota_exceeded);
  }
}

// What became due by a command is published with that command: a takeover's will comes before what
// the new client says next [MQTT-3.1.4-3]. A will may end another session by an overflow policy,
// and so bring one more: a list, not a recursion, and within a budget.
void Processor::publish_due_wills() {
  for (std::uint32_t budget = batch_.limits().timers_per_batch; sessions_.has_due_wills();) {
    if (budget-- == 0) return batch_.ask_for_more();
    Message will = sessions_.take_due_will();
    PublishContext context(will);
    publish(context);
  }
}

// A session in which nothing waits has had all that is stored now. Before it subscribes, that says
// nothing.
void Processor::tell_sequence() {
  for (Outbox* outbox : batch_.wanting_sequence()) {
    if (!outbox->attached() || !outbox->has_staged()) continue;
    const Session& session = *outbox->session;
    const bool subscribes = session.subscriptions.read().of.size() > 0;
    const bool complete = subscribes && session.has_everything();
    outbox->staged().complete_to = complete ? values_.sequence() : 0;
  }
}

// The values of the batch are stored: who reads one now finds it.
void Processor::tell_publishers() {
  for (Told& one : told_) one.done(one.why);
  told_.clear();
}

// After the deliveries of the batch, so that its figures are those that the clients will see.
void Processor::answer_inquiries() {
  const std::uint32_t budget = batch_.limits().inquiry_sessions_per_batch;
  inquiries_.step({sessions_, router_.index(), batch_.limits(), batch_.now_ns()}, budget);
  batch_.stats().work_units.add(budget);
  if (!inquiries_.empty()) batch_.ask_for_more();
}

void Processor::tell_demand() {
  const std::uint32_t budget = batch_.limits().inquiry_sessions_per_batch;
  if (demand_.step(budget)) batch_.ask_for_more();
}

void Processor::update_gauges() {
  ProcessorStats& stats = batch_.stats();
  MILLRACE_CHECK(stats.slow_sessions.value() <= stats.sessions_connected.value());
  stats.sessions.set(sessions_.size());
  stats.subscriptions.set(router_.subscription_count());
  stats.shared_groups.set(router_.group_count());
  stats.topics.set(values_.topics().size());
  stats.topic_bytes.set(values_.topics().bytes());
  stats.retained.set(values_.topics().retained_count());
  if (journal_) stats.commit_waits.set(journal_->gate().size());
}

// --- Commands ------------------------------------------------------------------------------------

bool Processor::apply_some(Command& command) {
  MILLRACE_CHECK(holder_.held_here());
  const std::uint32_t bytes = command.charged_bytes();  // some commands are moved from below
  ++commands_;
  bool is_over = true;
  if (command.outbox == nullptr) {
    apply_of_server(command);
  } else {
    Outbox& outbox = *command.outbox;
    batch_.touch(outbox);
    auto* const publish = command.get_if<command::Publish>();
    if (publish != nullptr && outbox.attached()) [[likely]] {
      apply_publish(outbox.session, std::move(publish->message));
    } else {
      is_over = apply_of_connection(outbox, command);
    }
  }
  if (is_over) [[likely]]
    count_applied(command, bytes);
  if (sessions_.has_due_wills()) [[unlikely]]
    publish_due_wills();
  return is_over;
}

void Processor::count_applied(const Command& command, std::uint32_t bytes) {
  applied_bytes_ += bytes;
  if (command.outbox != nullptr) command.outbox->count_applied(bytes);  // alive until finish()
}

void Processor::discard(Command& command) {
  MILLRACE_CHECK(holder_.held_here() && command.outbox != nullptr);
  batch_.touch(*command.outbox);
  count_applied(command, command.charged_bytes());
  batch_.stats().stale_commands.add();
}

bool Processor::apply_of_connection(Outbox& outbox, Command& command) {
  MILLRACE_CHECK(!outbox.attached() || outbox.session->outbox == &outbox);
  if (auto* connect = command.get_if<command::Connect>()) {
    sessions_.connect(outbox, *connect->request);
    return true;
  }
  if (auto* close = command.get_if<command::Close>()) {
    sessions_.close(outbox, *close);
    return true;
  }
  if (!outbox.attached()) {
    batch_.stats().stale_commands.add();
    return true;
  }
  Session& session = *outbox.session;
  if (auto* refused = command.get_if<command::RefusedPublish>()) {
    publisher_acks_.acknowledge(session, refused->qos, refused->packet_id, refused->reason);
    return true;
  }
  return apply_control(session, *command.get_if<command::Control>());
}

bool Processor::apply_control(Session& session, command::Control& control) {
  bool is_over = true;
  const auto apply_body = [&](auto& body) {
    using Body = std::remove_reference_t<decltype(body)>;
    if constexpr (std::is_same_v<Body, command::Drained>) {
      deliverer_.apply(session, body);
    } else if constexpr (std::is_same_v<Body, command::Puback> ||
                         std::is_same_v<Body, command::Pubrec> ||
                         std::is_same_v<Body, command::Pubcomp>) {
      apply_ack(session, body);
    } else if constexpr (std::is_same_v<Body, command::Pubrel>) {
      publisher_acks_.apply(session, body);
    } else if constexpr (std::is_same_v<Body, command::Subscribe>) {
      is_over = apply_subscribe(session, *body.request);
    } else if constexpr (std::is_same_v<Body, command::Unsubscribe>) {
      is_over = apply_unsubscribe(session, *body.request);
    } else {
      assert(!"applied above, or a command of the server's own, which has no outbox");
    }
  };
  boost::variant2::visit(apply_body, control);
  return is_over;
}

void Processor::apply_of_server(Command& command) {
  if (auto* publish = command.get_if<command::Publish>()) {
    apply_publish(nullptr, std::move(publish->message));
  } else if (auto* publish_for = command.get_if<command::PublishFor>()) {
    apply_publish_for(*publish_for->request);
  } else if (auto* announce = command.get_if<command::Announce>()) {
    PublishContext context(*announce->message);
    route_and_fan_out(context);
  } else if (auto* local = command.get_if<command::Local>()) {
    assert(local_);
    local_->hold(std::move(local->request));
  } else if (auto* limits = command.get_if<command::Limits>()) {
    set_limits(*limits->limits);
  } else if (auto* committed = command.get_if<command::Committed>()) {
    assert(journal_);
    journal_->committed(committed->number);
  } else if (auto* review = command.get_if<command::Review>()) {
    sessions_.begin_review(std::move(*review->request));
  } else if (auto* inquire = command.get_if<command::Inquire>()) {
    inquiries_.add(std::move(inquire->inquiry));
  } else if (auto* expel = command.get_if<command::Expel>()) {
    const ExpelRequest& request = *expel->request;
    const bool found = sessions_.expel(request.client_id, request.with_session);
    if (request.done) request.done(found);
  } else if (auto* watch = command.get_if<command::Watch>()) {
    demand_.watch(std::move(*watch->request));
  } else {
    assert(!"a command of a connection names its outbox");
  }
}

template <class Ack>
void Processor::apply_ack(Session& session, const Ack& ack) {
  MILLRACE_CHECK(ack.packet_id != 0);
  if (!deliverer_.apply(session, ack)) sessions_.disconnect(session, ReasonCode::protocol_error);
}

void Processor::tell_awaited() {
  publisher_acks_.tell_awaited(
      [this](Session& session, ReasonCode why) { sessions_.disconnect(session, why); });
}

// --- Publishing ----------------------------------------------------------------------------------

void Processor::apply_publish(Session* from, Message&& message) {
  MILLRACE_CHECK(message && message.qos <= 2);
  batch_.stats().published[message.qos].add();
  PublishContext context(message, from);
  if (from == nullptr || message.qos == 0) {
    publish(context);
  } else {
    apply_acknowledged(*from, context);
  }
}

void Processor::apply_acknowledged(Session& from, PublishContext& context) {
  MILLRACE_CHECK(from.connected() && context.from == &from);
  const std::uint8_t qos = context.message.qos;
  const std::uint16_t packet_id = context.message.packet_id;
  if (journal_ && refuse_unwritten(from, qos, packet_id)) [[unlikely]]
    return;
  if (qos == 2) {
    switch (publisher_acks_.receive_qos2(from, packet_id)) {
      case PublisherAcks::Received::first:
        break;
      case PublisherAcks::Received::again:
        if (publisher_acks_.await_again(from, packet_id)) return;
        return publisher_acks_.acknowledge(from, qos, packet_id, ReasonCode::success);
      case PublisherAcks::Received::too_many:
        return sessions_.disconnect(from, ReasonCode::receive_maximum_exceeded);
    }
  }
  // A client that can be told is told at once: nothing of the message happens. Else it is delivered.
  if (context.message.retain && from.is_v5 &&
      values_.retain_refusal(context.message, from.owner())) {
    batch_.stats().drop(Drop::retained_refused);
    return publisher_acks_.refuse(from, qos, packet_id, ReasonCode::quota_exceeded);
  }
  context.can_withhold = true;
  const std::size_t matched = publish(context);
  MILLRACE_CHECK(context.withholder == nullptr || context.withholder->connected());
  if (context.is_awaited) [[unlikely]] {
    if (publisher_acks_.await(from, qos, packet_id)) return;
    return sessions_.disconnect(from, ReasonCode::receive_maximum_exceeded);
  }
  if (!from.connected()) return;  // its own overflow policy ended it
  if (context.withholder != nullptr) {
    if (!publisher_acks_.withhold(*context.withholder, from, qos, packet_id)) {
      sessions_.disconnect(from, ReasonCode::receive_maximum_exceeded);
    }
    return;
  }
  // Only a server may say that nobody subscribes (MQTT 5.0, table 3-4).
  const bool heard = matched > 0 || from.origin != 0;
  publisher_acks_.acknowledge(from, qos, packet_id,
                              heard ? ReasonCode::success : ReasonCode::no_matching_subscribers);
}

void Processor::apply_publish_for(PublishRequest& request) {
  MILLRACE_CHECK(request.message && request.message.qos <= 2);
  batch_.stats().published[request.message.qos].add();
  std::optional<PublishRefusal> why;
  if (request.done) why = refusal_of(request);
  if (!why) {
    PublishContext context(request.message);
    context.owner = &request.rights;
    publish(context);
  }
  if (request.done) told_.push_back({std::move(request.done), why});
}

// Who asks over HTTP can always be told, and cannot wait until the store writes again: while it does
// not, what would have to be in it is refused whatever `store.on_failure` says to clients that wait.
std::optional<PublishRefusal> Processor::refusal_of(const PublishRequest& request) {
  const Message& message = request.message;
  const bool is_stored = message.retain || message.qos > 0;
  if (is_stored && journal_ && journal_->trouble() != store::Trouble::none) [[unlikely]] {
    batch_.stats().unwritten_refusals.add();
    return journal_->trouble() == store::Trouble::no_space ? PublishRefusal::store_is_full
                                                           : PublishRefusal::store_fails;
  }
  if (!message.retain) return std::nullopt;
  const auto why = values_.retain_refusal(message, owner_of(request.rights));
  if (why) batch_.stats().drop(Drop::retained_refused);
  return why;
}

// Nothing of it happens, so its publisher may send it again. What has been taken waits as before. A
// link's peer is a server: it would drop what is refused, and sends again what is not answered.
bool Processor::refuse_unwritten(Session& from, std::uint8_t qos, std::uint16_t packet_id) {
  if (!from.is_v5 || from.origin != 0) return false;
  const auto refusal = journal_->refusal();
  if (!refusal || (qos == 2 && PublisherAcks::has_received(from, packet_id))) return false;
  batch_.stats().unwritten_refusals.add();
  publisher_acks_.refuse_at_once(from, qos, packet_id, *refusal);
  return true;
}

std::size_t Processor::route_and_fan_out(PublishContext& context) {
  Topic& topic = values_.topic_of(context.message);
  const Route& route = router_.route_of(topic);
  return fan_out_.publish(topic, route, context);
}

std::size_t Processor::publish(PublishContext& context) {
  const std::size_t matched = route_and_fan_out(context);
  if (matched == 0) batch_.stats().unmatched.add();
  return matched;
}

// --- Subscribing ---------------------------------------------------------------------------------

// A request of very many filters is applied in parts, of which each is costly to its client.
std::uint64_t Processor::units_per_call() const {
  return std::max(1u, batch_.limits().units_per_batch / 4);
}

bool Processor::apply_subscribe(Session& session, SubscribeRequest& request) {
  if (request.rights_revision < sessions_.rights_revision()) [[unlikely]] {
    sessions_.review(session);
    if (!session.connected()) return true;  // its user is gone, or what it was handed on overflowed
    judge_anew(session, request);
    request.rights_revision = sessions_.rights_revision();
  }
  std::vector<ReasonCode>& answers = request.answers;
  backlog_.seal(session);  // what waits keeps its order whatever changes now
  const std::uint64_t last_unit = batch_.spent() + units_per_call();
  while (answers.size() < request.filters.size() && batch_.spent() < last_unit) {
    const SubscriptionRequest& wanted = request.filters[answers.size()];
    batch_.spend(1);
    answers.push_back(wanted.refused ? *wanted.refused
                                     : subscribe(session, wanted, request.identifier));
  }
  session.update_binding();
  const bool is_over = answers.size() == request.filters.size();
  if (is_over && request.packet_id != 0) {
    protocol::Suback suback;
    suback.packet_id = request.packet_id;
    suback.reasons = std::move(answers);
    suback.reasons.insert(suback.reasons.end(), request.beyond, ReasonCode::quota_exceeded);
    explain(session, request, suback);
    answer(session, suback);
  }
  if (!session.connected()) return true;
  // What was stored up to here goes out ahead of what this batch still brings.
  values_.store_noted(local_.get());
  deliverer_.serve(session);
  return is_over;
}

// Only as far as the client takes packets of that size [MQTT-3.9.2-1], [MQTT-3.9.2-2].
void Processor::explain(const Session& session, SubscribeRequest& request,
                        protocol::Suback& suback) {
  if (request.granted.empty() && request.fault.empty()) return;
  protocol::Properties properties;
  for (std::string& granted : request.granted) {
    properties.user_properties.emplace_back("granted", std::move(granted));
  }
  if (!request.fault.empty()) properties.reason_string = std::move(request.fault);
  suback.properties = std::move(properties);
  if (session.packet_bytes_max == 0) return;
  std::vector<std::uint8_t> bytes;
  protocol::encode(suback, session.outbox->version, bytes);
  if (bytes.size() > session.packet_bytes_max) suback.properties = {};
}

// It was allowed before a reload that is applied already.
void Processor::judge_anew(const Session& session, SubscribeRequest& request) {
  if (!session.rights) return;
  for (SubscriptionRequest& wanted : request.filters) {
    if (wanted.refused) continue;
    auto rules = session.rights->subscription(wanted.filter);
    if (rules) {
      wanted.rules = std::move(*rules);
      wanted.qos = std::min(wanted.qos, session.rights->subscription_qos_max(wanted.filter));
    } else {
      wanted.refused = rules.error();
    }
  }
}

ReasonCode Processor::subscribe(Session& session, const SubscriptionRequest& wanted,
                                std::uint32_t identifier) {
  constexpr std::uint64_t units_per_level = 3;  // of the index
  batch_.spend(demand_.units());
  batch_.spend(units_per_level *
               static_cast<std::uint64_t>(std::ranges::count(wanted.filter, '/')));
  const Router::Subscribed subscribed = router_.subscribe(session, wanted, identifier);
  if (subscribed.subscription == nullptr) return ReasonCode::quota_exceeded;
  if (auto cursor = values_.begin_snapshot(*subscribed.subscription, wanted, subscribed.is_new)) {
    deliverer_.add_snapshot(session, std::move(*cursor));
  }
  return static_cast<ReasonCode>(wanted.qos);
}

bool Processor::apply_unsubscribe(Session& session, UnsubscribeRequest& request) {
  std::vector<const Subscription*> ended;
  std::vector<ReasonCode>& answers = request.answers;
  const std::uint64_t last_unit = batch_.spent() + units_per_call();
  while (answers.size() < request.names.size() && batch_.spent() < last_unit) {
    const std::string& name = request.names[answers.size()];
    batch_.spend(1);
    if (const Subscription* subscription = router_.unsubscribe(session, name)) {
      batch_.spend(static_cast<std::uint64_t>(std::ranges::count(name, '/')));
      ended.push_back(subscription);
      answers.push_back(ReasonCode::success);
    } else {
      answers.push_back(ReasonCode::no_subscription_existed);
    }
  }
  deliverer_.drop_snapshots(session, ended);
  backlog_.unsubscribed(session, ended);
  deliverer_.serve_later(session);
  session.update_binding();
  if (answers.size() < request.names.size()) return false;
  if (request.packet_id != 0) {
    protocol::Unsuback unsuback;
    unsuback.packet_id = request.packet_id;
    unsuback.reasons = std::move(answers);
    answer(session, unsuback);
  }
  return true;
}

// A client that does not take packets of that size is sent nothing [MQTT-3.1.2-24]; without the
// answer it has no use of the connection.
template <class Answer>
void Processor::answer(Session& session, const Answer& packet) {
  Outbox& outbox = *session.outbox;
  batch_.touch(outbox);
  std::vector<std::uint8_t> bytes;
  protocol::encode(packet, outbox.version, bytes);
  if (session.packet_bytes_max != 0 && bytes.size() > session.packet_bytes_max) {
    return sessions_.disconnect(session, ReasonCode::packet_too_large);
  }
  if (session.stored && journal_->answers_wait()) {
    journal_->gate().answers(outbox).add(bytes);
  } else {
    outbox.staged().control.add(bytes);
  }
}

}  // namespace millrace::broker
