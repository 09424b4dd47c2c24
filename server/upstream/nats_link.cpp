#include "server/upstream/nats_link.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/broker/inbox.hpp"
#include "server/auth/crypto.hpp"
#include "server/upstream/crossing.hpp"
#include "server/upstream/hops.hpp"
#include "server/upstream/nats_headers.hpp"
#include "server/upstream/nats_subject.hpp"
#include "server/upstream/spool_session.hpp"

namespace millrace::server {

namespace command = broker::command;

namespace {

constexpr std::uint32_t closing_ticks = IoThread::ticks(5);
constexpr std::uint32_t look_ticks = IoThread::ticks(1);
// For a stream's acknowledgement; and when nobody had an answer: the stream has no leader, or is not
// there.
constexpr std::uint32_t ack_ticks = IoThread::ticks(10);
constexpr std::uint32_t no_responders_ticks = IoThread::ticks(2);
constexpr std::size_t told_max = 32;

std::string url_of(const UpstreamAddress& address) {
  return (address.uses_tls() ? "tls://" : "nats://") + address_text(address.host, address.port);
}

std::string random_name() {
  std::string name;
  for (const char byte : random_bytes(16)) {
    constexpr std::string_view digits = "0123456789abcdef";
    name += digits[static_cast<unsigned char>(byte) >> 4];
    name += digits[static_cast<unsigned char>(byte) & 15];
  }
  return name;
}

NatsHeaders headers_of(natsMsg& message) {
  NatsHeaders headers;
  const char** keys = nullptr;
  int count = 0;
  if (natsMsgHeader_Keys(&message, &keys, &count) != NATS_OK) return headers;
  free(keys);
  for (const char* name : nats_header_names) {
    const char** values = nullptr;
    if (natsMsgHeader_Values(&message, name, &values, &count) != NATS_OK) continue;
    for (int i = 0; i < count; ++i) headers.emplace_back(name, values[i]);
    free(values);
  }
  return headers;
}

// An error of the server, as in HTTP (no leader, no resources), which passes; others are the
// message's, which would be refused again. A stream that is full refuses by its own rule (`discard
// new`), though with a 503, too.
bool passes(const nlohmann::json& error) {
  constexpr int stream_store_failed = 10077;  // nats-server, server/errors.json
  const auto number = [&](const char* name) {
    const auto found = error.find(name);
    return found != error.end() && found->is_number_integer() ? found->get<int>() : 0;
  };
  return error.is_object() && number("code") >= 500 && number("err_code") != stream_store_failed;
}

LinkRefusal refusal_of(NatsName name) {
  switch (name) {
    case NatsName::reserved:
      return LinkRefusal::reserved;
    case NatsName::too_long:
      return LinkRefusal::too_long;
    default:
      return LinkRefusal::topic;
  }
}

}  // namespace

NatsLink::NatsLink(IoThread& thread, std::shared_ptr<LinkOwner> owner, Setting setting)
    : thread_(thread),
      owner_(std::move(owner)),
      setting_(std::move(setting)),
      plan_(*setting_.plan),
      stats_(*setting_.stats),
      submission_(thread),
      client_(std::make_shared<NatsClient>(thread, static_cast<NatsOwner&>(*this), setting_.plan,
                                           url_of(setting_.address))),
      demand_(setting_.demand),
      asked_(plan_.map.rules().size()) {
  terms_.qos_max = 1;
  terms_.keep_alive_seconds = plan_.config.keep_alive_seconds;
  terms_.receive_maximum =
      static_cast<std::uint16_t>(std::min<std::uint32_t>(65535, thread_.config().inflight_max));
}

void NatsLink::start() {
  keep_ = shared_from_this();  // until release_if_done()
  thread_.count_resident(false);
  schedule(look_ticks);
  client_->start();
}

void NatsLink::describe(broker::ConnectionFacts& facts) const {
  constexpr std::uint32_t ticks_per_second = IoThread::ticks(1);
  facts.address = setting_.address.host;
  facts.port = setting_.address.port;
  facts.listener = "upstream " + plan_.config.name;
  facts.transport = setting_.address.uses_tls() ? "tls" : "tcp";
  facts.keep_alive_seconds = terms_.keep_alive_seconds;
  facts.connected_seconds = (thread_.wheel().tick() - connected_tick_) / ticks_per_second;
  facts.messages_received = messages_received_;
  facts.messages_sent = messages_sent_;
}

// --- What happened -------------------------------------------------------------------------------

void NatsLink::on_nats_events() {
  thread_.awake();
  const auto keep = shared_from_this();
  NatsClient::Events events = client_->take();
  if (events.connected && state_ == State::connecting) come_up();
  if (events.round_trip_ns > 0) {
    stats_.round_trip_ns.set(static_cast<std::uint64_t>(events.round_trip_ns));
  }
  if (events.overflow > 0) refuse(LinkRefusal::overflow, events.overflow);
  for (const auto& [subject, why] : events.refused) tell_once(subject, why);
  std::ranges::move(events.messages, std::back_inserter(incoming_));
  if (state_ == State::up) {
    for (const std::uint16_t packet_id : events.too_large) {
      refuse(LinkRefusal::too_large);
      const auto found = pending_.find(packet_id);
      if (found != pending_.end()) finish(found, ReasonCode::implementation_specific_error);
    }
    if (events.drained_bytes > 0) {
      submission_.add(command::Drained{static_cast<std::uint32_t>(events.drained_bytes), false});
    }
    take_in();
    submission_.submit();
  }
  if (events.subscribed && !std::exchange(subscribed_, true) && owner_) {
    owner_->on_link_subscribed();
  }
  if (events.fault) close({Why::lost, *events.fault});
  if (events.closed) leave();
}

void NatsLink::on_outbox_ready() {
  const auto keep = shared_from_this();
  if (submission_.has_kept()) {
    submission_.submit();
    release_if_done();
  }
  if (ended()) return;
  take_handover();
  if (ended()) return;
  take_in();
  submission_.submit();
}

void NatsLink::come_up() {
  state_ = State::up;
  connected_tick_ = thread_.wheel().tick();
  broker::OutboxRef outbox(new broker::Outbox(thread_.ready_list(), *this));
  outbox->version = protocol::Version::v5;
  outbox->encodes_anew = true;
  auto request = spool_session_request(plan_, stats_);
  request->version = protocol::Version::v5;
  request->receive_maximum = terms_.receive_maximum;
  request->peer_forgot = true;
  request->keeps = outbox;
  submission_.open(std::move(outbox), std::move(request));
  auto subscribe = spool_subscriptions(plan_, terms_, SubscribesAs::link);
  if (!subscribe->filters.empty()) submission_.add(command::Subscribe{std::move(subscribe)});
  std::vector<NatsClient::Change> changes;
  const auto& rules = plan_.map.rules();
  if (std::ranges::any_of(rules, [](const auto& rule) { return rule.config.jetstream; })) {
    inbox_ = "_INBOX." + random_name() + ".";
    changes.push_back({rules.size(), {inbox_ + "*"}});
  }
  client_->change(std::move(changes));
  follow_demand();
}

// --- What comes in -------------------------------------------------------------------------------

void NatsLink::set_demand(std::vector<bool> wanted) {
  demand_ = std::move(wanted);
  if (state_ == State::up) follow_demand();
}

void NatsLink::follow_demand() {
  std::vector<NatsClient::Change> changes;
  const auto& rules = plan_.map.rules();
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (!rules[i].config.comes_in()) continue;
    const bool wanted = !rules[i].config.follows_demand() || (demand_ && (*demand_)[i]);
    if (wanted == asked_[i]) continue;
    asked_[i] = wanted;
    changes.push_back({i, {}});
    if (wanted) changes.back().subjects = subjects_of(rules[i].remote_filter);
  }
  // Without a change, too, as long as the owner has not heard that all stands.
  if (!changes.empty() || !subscribed_) client_->change(std::move(changes));
}

// As much as the processor takes.
void NatsLink::take_in() {
  std::uint64_t bytes = 0;
  while (!incoming_.empty() && !read_stopped_) {
    if (submission_.is_at_limit()) {
      submission_.submit();
      submission_.ask_for_progress();
      // Applied since the check: it may have been the last, and then nothing would call.
      if (submission_.is_at_limit()) break;
    }
    const NatsMessage message = std::move(incoming_.front());
    incoming_.pop_front();
    bytes += NatsClient::size_of(*message);
    take_in_one(*message);
  }
  if (bytes > 0) client_->let_in(bytes);
  send_leaving();  // what acknowledgements let go
}

void NatsLink::take_in_one(natsMsg& message) {
  const std::string_view subject = natsMsg_GetSubject(&message);
  if (!inbox_.empty() && subject.starts_with(inbox_)) return take_ack(message);
  std::string there;
  if (const NatsName name = to_topic(subject, there); name != NatsName::mapped) {
    return refuse(refusal_of(name));
  }
  const auto headers = from_nats_headers(headers_of(message));
  if (!headers) return refuse(LinkRefusal::headers);
  const TopicMap::Rule* rule = plan_.map.inbound(there);
  const std::string here =
      rule != nullptr && rule->renames() ? TopicMap::to_local(*rule, there) : there;
  const auto why =
      refusal_in(plan_, rule, here, headers->properties, config().mqtt.topic_levels_max);
  if (why) return refuse(*why);
  const auto bytes = static_cast<std::size_t>(natsMsg_GetDataLength(&message));
  std::vector<std::uint8_t> raised;
  broker::MessageParts parts;
  parts.topic = here;
  parts.payload = {reinterpret_cast<const std::uint8_t*>(natsMsg_GetData(&message)), bytes};
  parts.properties = with_one_more_hop(headers->raw(), raised);
  parts.retain = headers->retain && rule->config.retained;
  parts.origin = plan_.origin;
  constexpr std::size_t around = 16;  // fixed header and lengths
  if (around + here.size() + raised.size() + bytes > config().packet_bytes_max) {
    return refuse(LinkRefusal::too_large);
  }
  IoCounters& counters = thread_.counters();
  counters.messages_received[0].add();
  counters.message_bytes_received[0].add(bytes);
  stats_.messages_in.add();
  stats_.bytes_in.add(bytes);
  ++messages_received_;
  submission_.add_publish(broker::build_message(parts, broker::Inbox::now_ns()));
}

void NatsLink::refuse(LinkRefusal why, std::uint64_t count) {
  stats_.refused[static_cast<std::size_t>(why)].add(count);
}

// --- What goes out -------------------------------------------------------------------------------

void NatsLink::take_handover() {
  broker::Outbox& outbox = *submission_.outbox();
  auto handover = outbox.take();
  if (!handover) return;
  if (handover->connected) owner_->on_link_up(terms_);
  std::uint32_t refused_bytes = 0;
  for (broker::HandoverItem& item : handover->deliveries) {
    auto& delivery = boost::variant2::get<broker::Delivery>(item);
    NatsClient::Outgoing message;
    if (const auto why = prepare(delivery, message)) {
      refuse(*why);
      refused_bytes += delivery.charge_bytes();
      constexpr auto refused = ReasonCode::implementation_specific_error;
      if (delivery.qos == 1) settle(delivery.packet_id, refused);
      if (delivery.qos == 2) submission_.add(command::Pubrec{delivery.packet_id, refused});
      continue;
    }
    message.delivery = std::move(delivery);
    if (order_.admit(message)) put_out(std::move(message));
  }
  const auto end = handover->close;
  outbox.recycle(std::move(handover));
  send_leaving();
  if (refused_bytes > 0) submission_.add(command::Drained{refused_bytes, false});
  submission_.submit();
  if (end) close({Why::processor, std::string(protocol::to_string(*end))});
}

std::optional<LinkRefusal> NatsLink::prepare(const broker::Delivery& delivery,
                                             NatsClient::Outgoing& message) {
  if (const auto why = refusal_out(plan_, delivery.message, true)) return why;
  const TopicMap::Rule& rule = *plan_.map.outbound(delivery.message.topic());
  // By rules before these it waited for an acknowledgement that none of these gives.
  if (delivery.qos > (rule.config.jetstream ? 1 : 0)) return LinkRefusal::no_rule;
  const NatsName name =
      rule.renames()
          ? to_subject(TopicMap::to_remote(rule, delivery.message.topic()), message.subject)
          : to_subject(delivery.message.topic(), message.subject);
  if (name != NatsName::mapped) return refusal_of(name);
  message.retain = delivery.retain && rule.config.retained;
  return std::nullopt;
}

// Its turn has come.
void NatsLink::put_out(NatsClient::Outgoing message) {
  const broker::Delivery& delivery = message.delivery;
  stats_.messages_out.add();
  stats_.bytes_out.add(delivery.message.payload_bytes());
  ++messages_sent_;
  if (delivery.qos == 1) {
    const std::string number = std::to_string(++last_number_);
    message.reply = inbox_ + std::to_string(delivery.packet_id) + "-" + number;
    message.id = inbox_ + number;
    Pending& pending = pending_[delivery.packet_id];
    pending = {last_number_, message, thread_.wheel().tick() + ack_ticks};
  }
  leaving_.push_back(std::move(message));
}

void NatsLink::send_leaving() {
  if (leaving_.empty()) return;
  const bool late = submission_.outbox()->binding() != broker::Outbox::Binding::early;
  client_->send(std::exchange(leaving_, {}), late);
}

void NatsLink::settle(std::uint16_t packet_id, ReasonCode reason) {
  submission_.add(command::Puback{packet_id, reason});
}

// --- JetStream -----------------------------------------------------------------------------------

void NatsLink::take_ack(natsMsg& message) {
  const std::string_view name =
      std::string_view(natsMsg_GetSubject(&message)).substr(inbox_.size());
  std::uint16_t packet_id = 0;
  std::uint64_t number = 0;
  const char* const end = name.data() + name.size();
  const auto [dash, fault] = std::from_chars(name.data(), end, packet_id);
  if (fault != std::errc() || dash == end) return;
  if (std::from_chars(dash + 1, end, number).ec != std::errc()) return;
  const auto found = pending_.find(packet_id);
  if (found == pending_.end() || found->second.number != number) return;
  const std::string& subject = found->second.message.subject;
  if (natsMsg_IsNoResponders(&message)) {
    tell_once(subject, "no stream takes it");
    found->second.again_tick = thread_.wheel().tick() + no_responders_ticks;
    return;
  }
  const char* const data = natsMsg_GetData(&message);
  const auto said =
      nlohmann::json::parse(data, data + natsMsg_GetDataLength(&message), nullptr, false);
  if (!said.is_object()) return;  // it is no stream that answers
  ReasonCode reason = ReasonCode::success;
  if (const auto error = said.find("error"); error != said.end()) {
    const bool has_text = error->is_object() && error->contains("description");
    tell_once(subject, "JetStream: " + (has_text ? (*error)["description"].dump() : error->dump()));
    if (passes(*error)) {
      found->second.again_tick = thread_.wheel().tick() + no_responders_ticks;
      return;
    }
    refuse(LinkRefusal::stream);
    reason = ReasonCode::implementation_specific_error;
  } else if (!said.contains("stream")) {
    return;
  }
  finish(found, reason);
}

// It has its answer: the next of its subject leaves.
void NatsLink::finish(PendingMap::iterator pending, ReasonCode reason) {
  const std::uint16_t packet_id = pending->first;
  const std::string subject = std::move(pending->second.message.subject);
  pending_.erase(pending);
  settle(packet_id, reason);
  for (NatsClient::Outgoing& next : order_.next(subject)) put_out(std::move(next));
}

void NatsLink::send_again() {
  if (pending_.empty() || client_->has_unsent()) return;
  std::vector<NatsClient::Outgoing> batch;
  const std::uint32_t tick = thread_.wheel().tick();
  for (auto& [packet_id, pending] : pending_) {
    if (static_cast<std::int32_t>(pending.again_tick - tick) > 0) continue;
    pending.again_tick = tick + ack_ticks;
    tell_once(pending.message.subject, "it is sent again: no stream has acknowledged it");
    batch.push_back(pending.message);
    batch.back().charged = false;
  }
  if (!batch.empty()) client_->send(std::move(batch), false);
}

// --- Time, and the end ---------------------------------------------------------------------------

void NatsLink::tell_once(std::string_view subject, std::string why) {
  if (told_.size() >= told_max || !told_.insert(why).second || !owner_) return;
  owner_->on_rule_refused(subject, why);
}

void NatsLink::schedule(std::uint32_t ticks) {
  thread_.wheel().schedule(*this, thread_.wheel().tick() + ticks + 1);
}

void NatsLink::on_due() {
  const auto keep = shared_from_this();
  schedule(look_ticks);
  if (state_ == State::up) send_again();
  if (!ended()) return;
  // libnats takes its time: it is not waited for.
  const bool late = static_cast<std::int32_t>(closing_ends_tick_ - thread_.wheel().tick()) <= 0;
  if (state_ == State::closing && late) leave();
  release_if_done();
}

void NatsLink::leave_politely(std::string why) {
  close({Why::wanted, std::move(why)});
}

void NatsLink::end(Which which) {
  if (which != Which::all) return;
  // What is held back would end with this server. Of what has a publisher that waits, none may stand
  // in the stream before another: it is sent again to the next server, all of it in order.
  for (NatsClient::Outgoing& message : order_.take_all()) {
    if (message.delivery.stored == 0) put_out(std::move(message));
  }
  send_leaving();
  leave_politely("this server ends");
}

void NatsLink::abandon() {
  const auto keep = shared_from_this();
  if (submission_.is_open() && !submission_.has_close()) {
    submission_.add_close(ReasonCode::server_shutting_down, std::nullopt);
  }
  submission_.give_up();
  if (!end_) end_ = LinkEnd{Why::wanted, "this server ends"};
  leave();
  release_if_done();
}

void NatsLink::close(LinkEnd end) {
  if (ended()) return;
  const auto keep = shared_from_this();
  end_ = std::move(end);
  state_ = State::closing;
  closing_ends_tick_ = thread_.wheel().tick() + closing_ticks;
  incoming_.clear();
  pending_.clear();
  order_ = {};
  leaving_.clear();
  if (submission_.is_open()) {
    submission_.add_close(ReasonCode::normal_disconnection, std::nullopt);
    submission_.submit();
  }
  client_->stop();
}

void NatsLink::leave() {
  if (state_ == State::closed) return;
  if (!end_) close({Why::lost, "the connection ended"});
  state_ = State::closed;
  client_->forget();
  if (const auto owner = std::exchange(owner_, nullptr)) owner->on_link_closed(std::move(*end_));
  release_if_done();
}

// The last reference may go: nothing of the link may be touched after this, unless it is held.
void NatsLink::release_if_done() {
  if (state_ != State::closed || !submission_.is_over() || !keep_) return;
  if (submission_.is_open()) submission_.outbox()->forget_owner();
  if (is_linked()) unlink();
  thread_.discount_resident(false);
  const auto last = std::move(keep_);
}

}  // namespace millrace::server
