#include "server/upstream/upstream.hpp"

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

#include "core/broker/message.hpp"
#include "server/auth/crypto.hpp"
#include "server/mqtt/bridge_state.hpp"
#include "server/net/tcp_stream.hpp"
#include "server/net/tls_stream.hpp"
#include "server/net/websocket_client.hpp"
#include "server/observe/log.hpp"
#include "server/upstream/nats_link.hpp"
#include "server/upstream/spool_session.hpp"

namespace millrace::server {

namespace {

constexpr std::uint32_t resolving_ticks = IoThread::ticks(10);
constexpr std::uint32_t dialing_ticks = IoThread::ticks(10);
// A link that was up for less does not count as a good one.
constexpr std::uint32_t good_link_ticks = IoThread::ticks(10);
constexpr std::uint32_t announce_again_ticks = 4;
// An upstream may say something else each time.
constexpr std::size_t failures_max = 32;

std::uint32_t random_number() {
  std::uint32_t number = 0;
  random_bytes(sizeof number).copy(reinterpret_cast<char*>(&number), sizeof number);
  return number;
}

std::uint32_t ticks_of_ms(std::uint32_t ms) {
  constexpr std::uint32_t tick_ms = IoThread::tick_ns / 1'000'000;
  return (ms + tick_ms - 1) / tick_ms;
}

template <class Filter>
std::vector<std::string> filters_of(const UpstreamPlan& plan, bool (UpstreamRule::*crosses)() const,
                                    Filter filter) {
  std::vector<std::string> filters;
  for (const TopicMap::Rule& rule : plan.map.rules()) {
    if ((rule.config.*crosses)()) filters.push_back(rule.*filter);
  }
  return filters;
}

// Those of `before` and of `stale` that are not among `now`.
void gather_stale(std::vector<std::string>& stale, std::vector<std::string> before,
                  const std::vector<std::string>& now) {
  stale.insert(stale.end(), before.begin(), before.end());
  std::ranges::sort(stale);
  const auto repeated = std::ranges::unique(stale);
  stale.erase(repeated.begin(), repeated.end());
  std::erase_if(stale,
                [&](const std::string& one) { return std::ranges::find(now, one) != now.end(); });
}

}  // namespace

Upstream::Upstream(IoThread& thread, UpstreamPlanRef plan)
    : thread_(thread),
      required_(plan->config.required),
      stats_(std::make_shared<UpstreamStats>()),
      plan_(std::move(plan)),
      turns_(plan_->addresses.size()),
      back_off_(plan_->config.retry_max_seconds * 1000),
      dialect_(first_dialect(plan_->config)) {}

Upstream::~Upstream() = default;

void Upstream::start() {
  thread_.post([self = shared_from_this()] {
    self->announce(Announced::down);
    self->prepare();
  });
}

void Upstream::change(UpstreamPlanRef plan) {
  thread_.post([self = shared_from_this(), plan = std::move(plan)] { self->apply_change(plan); });
}

void Upstream::remove() {
  thread_.post([self = shared_from_this()] {
    if (self->state_ == State::over || self->removed_) return;
    self->removed_ = true;
    self->begins_anew_ = false;
    self->stop_trying();
    log_info("upstream.removed", {{"upstream", self->name()}});
    if (self->link_) return self->link_->leave_politely("it was removed");
    self->finish_removal();
  });
}

// --- Its session here ----------------------------------------------------------------------------

// Makes it subscribe to what goes out by the present plan, and to nothing else. There is no link.
void Upstream::prepare() {
  if (errand_) {
    prepares_again_ = true;
    return;
  }
  state_ = State::preparing;
  watch_demand();
  auto subscribe = spool_subscriptions(*plan_, {}, SubscribesAs::spool);
  const bool goes_out = !subscribe->filters.empty();
  if (!goes_out && stale_here_.empty()) return begin_round();
  auto request = spool_session_request(*plan_, *stats_);
  request->receive_maximum = 1;  // what waits is left for a link
  open_errand(std::move(request));
  if (!stale_here_.empty()) {
    auto unsubscribe = std::make_unique<broker::UnsubscribeRequest>();
    unsubscribe->names = std::exchange(stale_here_, {});
    errand_->add(broker::command::Unsubscribe{std::move(unsubscribe)});
  }
  if (goes_out) errand_->add(broker::command::Subscribe{std::move(subscribe)});
  errand_->add_close(protocol::ReasonCode::normal_disconnection, std::nullopt);
  run_errand();
}

// The processor answers when it has counted, and whenever the answer changes.
void Upstream::watch_demand() {
  demand_.reset();
  watch_ = std::make_unique<broker::WatchRequest>();
  watch_->origin = plan_->origin;
  if (!removed_) {
    for (const TopicMap::Rule& rule : plan_->map.rules()) {
      if (rule.config.follows_demand()) watch_->filters.push_back(rule.local_filter);
    }
  }
  watch_->tell = [weak = weak_from_this(), number = ++watch_number_](std::vector<bool> wanted) {
    const auto self = weak.lock();
    if (!self) return;
    self->thread_.post([self, number, wanted] { self->on_demand(number, wanted); });
  };
  submit_watch();
}

void Upstream::submit_watch() {
  broker::Command command{nullptr, broker::command::Watch{std::move(watch_)}};
  if (thread_.inbox().submit({&command, 1}) == 1) return;
  // The queue is full: later.
  watch_ = std::move(command.get_if<broker::command::Watch>()->request);
  if (is_linked()) thread_.wheel().schedule(*this, thread_.wheel().tick() + announce_again_ticks);
}

void Upstream::on_demand(std::uint64_t watch, const std::vector<bool>& wanted) {
  if (watch != watch_number_ || state_ == State::over || removed_) return;  // of another plan
  std::vector<bool> by_rule;
  std::size_t next = 0;
  for (const TopicMap::Rule& rule : plan_->map.rules()) {
    by_rule.push_back(!rule.config.follows_demand() || wanted[next++]);
  }
  demand_ = by_rule;
  if (link_ && !begins_anew_) link_->set_demand(std::move(by_rule));
}

// A connection of the session from which nobody reads.
void Upstream::open_errand(std::unique_ptr<broker::ConnectRequest> request) {
  class Nobody final : public broker::OutboxOwner {
    void on_outbox_ready() override {}
  } nobody;
  broker::OutboxRef outbox(new broker::Outbox(thread_.ready_list(), nobody));
  outbox->forget_owner();
  request->keeps = outbox;
  errand_.emplace(thread_);
  errand_->open(std::move(outbox), std::move(request));
}

// What the queue does not take now it takes later.
void Upstream::run_errand() {
  errand_->submit();
  if (!errand_->is_over()) return schedule(announce_again_ticks);
  errand_.reset();
  const bool again = std::exchange(prepares_again_, false);
  if (state_ == State::over) return;
  if (!removed_) return again ? prepare() : begin_round();
  if (state_ != State::leaving) return finish_removal();
  state_ = State::removed;
  if (wanted_ == announced_ && is_linked()) unlink();
}

// --- Attempts ------------------------------------------------------------------------------------

void Upstream::begin_round() {
  turns_.begin_round();
  try_address();
}

void Upstream::try_address() {
  address_text_ = plan_->config.addresses[turns_.index()];
  endpoints_.clear();
  if (plan_->config.type == UpstreamType::nats) return begin_nats_link();
  state_ = State::resolving;
  schedule(resolving_ticks);
  resolving_ =
      std::make_unique<Resolving>(thread_, address().host, address().port,
                                  [this](Resolved resolved) { on_resolved(std::move(resolved)); });
}

void Upstream::on_resolved(Resolved resolved) {
  resolving_.reset();
  if (resolved.endpoints.empty()) return attempt_failed("its name: " + resolved.fault);
  endpoints_.assign(resolved.endpoints.begin(), resolved.endpoints.end());
  try_endpoint();
}

void Upstream::try_endpoint() {
  state_ = State::dialing;
  schedule(dialing_ticks);
  try {
    dial_ = std::make_unique<Dial>(thread_.poller(), endpoints_.front(),
                                   thread_.config().connection, [this](int fd) { on_dialed(fd); });
  } catch (const std::system_error& error) {
    attempt_failed(error.what());
  }
}

void Upstream::on_dialed(int fd) {
  thread_.awake();
  dial_.reset();
  if (fd < 0) return attempt_failed(to_string(endpoints_.front()) + ": " + std::strerror(-fd));
  begin_link(fd);
}

void Upstream::begin_link(int fd) {
  state_ = State::linked;
  link_was_up_ = rule_refused_ = false;
  schedule(TimerWheel::slot_count - 2);
  auto stream = make_stream(fd);
  const boost::intrusive_ptr<Link> made(
      new Link(thread_, shared_from_this(), std::move(stream),
               {plan_, stats_, dialect_, stale_there_, rules_changed_, subscribed_, demand_,
                to_string(address().transport)}));
  link_ = std::shared_ptr<UpstreamLink>(made.get(), [made](UpstreamLink*) {});
  const auto link = link_;  // it may be over before start() returns
  link->start();
}

// libnats finds the address and connects by itself.
void Upstream::begin_nats_link() {
  state_ = State::linked;
  link_was_up_ = rule_refused_ = false;
  schedule(TimerWheel::slot_count - 2);
  link_ = std::make_shared<NatsLink>(thread_, shared_from_this(),
                                     NatsLink::Setting{plan_, stats_, address(), demand_});
  const auto link = link_;
  link->start();
}

std::unique_ptr<Stream> Upstream::make_stream(int fd) {
  Poller& poller = thread_.poller();
  const UpstreamTlsConfig& tls = plan_->config.tls;
  const TlsServer server{tls.server_name.empty() ? address().host : tls.server_name,
                         tls.verify == TlsVerify::full};
  const auto target = [&] {
    return WebSocketTarget{millrace::server::address_text(address().host, address().port),
                           address().path};
  };
  switch (address().transport) {
    case Transport::tcp:
      return std::make_unique<TcpStream>(poller, fd);
    case Transport::tls:
      return std::make_unique<TlsStream>(poller, fd, *plan_->tls, &server);
    case Transport::ws:
      return make_websocket_client(poller, fd, target());
    case Transport::unix_socket:  // no address of an upstream names it
      break;
    case Transport::wss:
      return make_secure_websocket_client(poller, fd, *plan_->tls, server, target());
  }
  return nullptr;
}

// Another endpoint, another address, or another time.
void Upstream::attempt_failed(const std::string& why) {
  stats_->failures.add();
  const bool is_new =
      failures_.size() < failures_max && failures_.insert(address_text_ + ": " + why).second;
  log(is_new ? LogLevel::warn : LogLevel::debug, "upstream.unreachable",
      {{"upstream", name()}, {"address", address_text_}, {"error", why}});
  if (endpoints_.size() > 1) {
    endpoints_.pop_front();
    return try_endpoint();
  }
  if (turns_.next()) return try_address();
  wait_a_while();
}

void Upstream::wait_a_while() {
  state_ = State::waiting;
  endpoints_.clear();
  schedule(ticks_of_ms(back_off_.next_ms(random_number())));
}

void Upstream::stop_trying() {
  resolving_.reset();
  dial_.reset();
  endpoints_.clear();
}

void Upstream::schedule(std::uint32_t ticks) {
  due_tick_ = thread_.wheel().tick() + ticks + 1;
  thread_.wheel().schedule(*this, due_tick_);
}

void Upstream::on_due() {
  const auto keep = shared_from_this();
  const auto left = static_cast<std::int32_t>(due_tick_ - thread_.wheel().tick());
  // Scheduled anew in any case; what follows may change it.
  thread_.wheel().schedule(
      *this, left > 0 ? due_tick_ : thread_.wheel().tick() + TimerWheel::slot_count - 2);
  if (wanted_ != announced_) announce(wanted_);
  if (watch_) submit_watch();
  if (left > 0 && state_ != State::over) return;
  switch (state_) {
    case State::preparing:
    case State::leaving:
      if (errand_) run_errand();
      return;
    case State::waiting:
      return begin_round();
    case State::resolving:
      resolving_.reset();
      return attempt_failed("its name was not resolved in time");
    case State::dialing:
      dial_.reset();
      return attempt_failed(to_string(endpoints_.front()) + ": no answer in time");
    case State::linked:
      return schedule(TimerWheel::slot_count - 2);
    case State::removed:
      if (wanted_ == announced_ && is_linked()) unlink();
      return;
    case State::over:
      if (errand_) errand_->submit();
      return;
  }
}

// --- The link ------------------------------------------------------------------------------------

void Upstream::on_link_up(const LinkTerms& terms) {
  link_was_up_ = true;
  up_since_tick_ = thread_.wheel().tick();
  failures_.clear();
  stats_->connects.add();
  stats_->up.set(1);
  const bool is_nats = plan_->config.type == UpstreamType::nats;
  log_info("upstream.up", {{"upstream", name()},
                           {"address", address_text_},
                           {"version", is_nats ? "nats" : to_string(dialect_)},
                           {"session", terms.session_present ? "resumed" : "new"}});
  if (!is_nats && (terms.qos_max < 2 || !terms.takes_retained)) {
    log_warn(
        "upstream.limits",
        {{"upstream", name()}, {"qos_max", terms.qos_max}, {"retained", terms.takes_retained}});
  }
  announce(Announced::up);
}

// What it refused is asked for again by the next link: it may be allowed by then.
void Upstream::on_link_subscribed() {
  subscribed_ = !rule_refused_;
  stale_there_.clear();
}

void Upstream::on_link_closed(LinkEnd end) {
  const auto keep = shared_from_this();
  link_.reset();
  const bool was_up = std::exchange(link_was_up_, false);
  if (was_up) {
    stats_->up.set(0);
    const bool wanted = end.why == LinkEnd::Why::wanted;
    log(wanted ? LogLevel::info : LogLevel::warn, "upstream.down",
        {{"upstream", name()}, {"address", address_text_}, {"reason", end.text}});
    announce(Announced::down);
    if (thread_.wheel().tick() - up_since_tick_ >= good_link_ticks) back_off_.reset();
    dialect_ = first_dialect(plan_->config);  // it may know more when it is back
  }
  if (removed_) return finish_removal();
  if (state_ == State::over) return;
  if (std::exchange(begins_anew_, false)) return prepare();
  if (was_up) return wait_a_while();
  if (end.why == LinkEnd::Why::wrong_version) {
    const Dialect refused = std::exchange(dialect_, next_dialect(plan_->config, dialect_));
    if (dialect_ != first_dialect(plan_->config) && dialect_ != refused) return try_endpoint();
  }
  attempt_failed(end.text);
}

void Upstream::on_rule_refused(std::string_view filter, std::string_view why) {
  rule_refused_ = true;
  log_warn("upstream.rule", {{"upstream", name()}, {"filter", filter}, {"refused", why}});
}

// --- Changes -------------------------------------------------------------------------------------

void Upstream::apply_change(UpstreamPlanRef plan) {
  if (state_ == State::over) return;
  const bool is_back = std::exchange(removed_, false);
  const UpstreamPlanRef before = std::exchange(plan_, std::move(plan));
  required_.store(plan_->config.required, std::memory_order_relaxed);
  if (!is_back && same_link(*before, *plan_)) return;  // new certificates: for the next connection
  note_stale(*before);
  rules_changed_ = true;
  ++watch_number_;  // what is answered now is about the plan before
  demand_.reset();
  subscribed_ = false;
  dialect_ = first_dialect(plan_->config);
  turns_ = AddressTurns(plan_->addresses.size());
  back_off_ = BackOff(plan_->config.retry_max_seconds * 1000);
  failures_.clear();
  log_info("upstream.changed", {{"upstream", name()}});
  if (is_back) announce(Announced::down);
  begin_anew();
}

void Upstream::begin_anew() {
  if (link_) {
    begins_anew_ = true;
    return link_->leave_politely("its configuration changed");
  }
  stop_trying();
  prepare();
}

void Upstream::note_stale(const UpstreamPlan& before) {
  gather_stale(stale_here_,
               filters_of(before, &UpstreamRule::goes_out, &TopicMap::Rule::local_filter),
               filters_of(*plan_, &UpstreamRule::goes_out, &TopicMap::Rule::local_filter));
  gather_stale(stale_there_,
               filters_of(before, &UpstreamRule::comes_in, &TopicMap::Rule::remote_filter),
               filters_of(*plan_, &UpstreamRule::comes_in, &TopicMap::Rule::remote_filter));
}

// The session goes, with what waits in it, and the state.
void Upstream::finish_removal() {
  if (errand_) return;  // and then
  announce(Announced::removed);
  watch_demand();
  auto request = std::make_unique<broker::ConnectRequest>();
  request->client_id = plan_->session;
  request->origin = plan_->origin;
  open_errand(std::move(request));
  errand_->add_close(protocol::ReasonCode::normal_disconnection, std::uint32_t{0});
  state_ = State::leaving;
  run_errand();
}

void Upstream::end(Which which) {
  if (which != Which::all) return;
  stop_trying();
  state_ = State::over;
}

void Upstream::abandon() {
  stop_trying();
  state_ = State::over;
  if (errand_) errand_->give_up();
  if (is_linked()) unlink();
}

// --- Its state, for everybody --------------------------------------------------------------------

void Upstream::announce(Announced what) {
  wanted_ = what;
  if (submit_announcement()) {
    announced_ = wanted_;
  } else if (is_linked()) {  // the queue is full: later
    thread_.wheel().schedule(*this, thread_.wheel().tick() + announce_again_ticks);
  }
}

bool Upstream::submit_announcement() {
  const std::string topic = bridge_state_topic(name());
  const std::string_view text = wanted_ == Announced::up     ? "1"
                                : wanted_ == Announced::down ? "0"
                                                             : "";
  auto message = std::make_unique<broker::Message>(broker::build_message(
      {.topic = topic,
       .payload = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()},
       .retain = true,
       .version = protocol::Version::v3_1_1},
      broker::Inbox::now_ns()));
  broker::Command command{nullptr, broker::command::Announce{std::move(message)}};
  return thread_.inbox().submit({&command, 1}) == 1;
}

}  // namespace millrace::server
