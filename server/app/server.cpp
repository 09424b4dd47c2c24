#include "server/app/server.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "server/app/limits.hpp"
#include "server/app/warnings.hpp"
#include "server/config/session_name.hpp"
#include "server/console/console.hpp"
#include "server/mqtt/delivery_mode.hpp"
#include "server/observe/broker_metrics.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {

namespace {

// How long a reload waits for the processor.
constexpr std::chrono::seconds reload_patience{10};
// How long drain() waits before costly requests are cut short (Inbox::hurry).
constexpr std::chrono::milliseconds costly_patience{500};
// Of a client identifier in the log.
constexpr std::size_t client_bytes_max = 200;

std::vector<std::string> listener_names(const Config& config) {
  std::vector<std::string> names;
  for (const ListenerConfig& listener : config.listeners) names.push_back(listener.name);
  for (std::size_t i = 0; i < config.http.listeners.size(); ++i) {
    names.push_back(http_listener_label(i));
  }
  return names;
}

// A client at a time, once in log.repeat_seconds: there may be very many.
void log_memory_event(const broker::MemoryEvent& event) {
  const std::string_view what = event.ended ? "memory.session_ended" : "memory.queue_shed";
  const std::string client(parse_session_name(event.client_id).id.substr(0, client_bytes_max));
  const auto verdict = peer_log_limiter().ask(std::string(what) + event.owner + ' ' + client);
  if (!verdict.log) return;
  log_warn(what, {{"client", client},
                  {"user", event.owner},
                  {"bytes", event.held_bytes},
                  {"messages", event.messages},
                  {"suppressed", verdict.suppressed}});
}

// What `/events` asks for is what `$latest/` asks for, and operators' rules are above both.
EventRoutes::ChooseDelivery delivery_of_events(std::shared_ptr<const Settings> settings) {
  return [settings = std::move(settings)](std::string_view filter, std::string_view user,
                                          std::optional<double> max_rate_hz) {
    protocol::ParsedFilter latest;
    latest.filter = filter;
    latest.latest = true;
    DeliveryWish wish;
    wish.max_rate_hz = max_rate_hz;
    const DeliveryChoice choice =
        choose_delivery(latest, 0, wish, settings->config.delivery, user, "http");
    return EventRoutes::Delivery{choice.mode, broker::make_shape(choice.shape)};
  };
}

EventRoutes::Options event_options(const Config& config) {
  EventRoutes::Options options;
  options.streams_max = config.http.event_streams_max;
  options.levels_max = config.mqtt.topic_levels_max;
  // What a browser shows is to be fresh on any link, unless somebody asks for other bounds.
  options.outbox = config.outbox;
  if (options.outbox.unread_bytes == 0) {
    options.outbox.unread_bytes = OutboxConfig().unread_bytes;
  }
  return options;
}

}  // namespace

Server::Server(std::shared_ptr<const Settings> settings)
    : settings_(std::move(settings)),
      processor_(processor_limits(config())),
      inbox_(inbox_limits(config()), processor_),
      memory_watch_(processor_.ledger()),
      guests_(config()),
      certificate_ends_(listener_names(config())),
      http_(config().http,
            [this](const std::string& host, std::uint16_t port) {
              return takes_ipv4_too(config(), host, port);
            }),
      topics_http_(http_, processor_.topics(), config().http, worker_, settings_->access, &guests_),
      events_http_(http_, inbox_, topics_http_, event_options(config()),
                   delivery_of_events(settings_)) {
  if (config().access.http.is_set()) hook_ = std::make_unique<HttpHook>(config().access.http);
  for (std::uint32_t i = 0; i < config().io_threads(); ++i) {
    threads_.push_back(std::make_unique<IoThread>(inbox_, worker_, settings_));
  }
  std::vector<IoThread*> all;
  for (const auto& thread : threads_) {
    thread->set_guests(&guests_);
    thread->set_hook(hook_.get());
    all.push_back(thread.get());
  }
  for (const ListenerConfig& listener : config().listeners) {
    IoThread& home = *all[listeners_.size() % all.size()];
    const TlsSetup& tls = settings_->tls.at(listeners_.size());
    listeners_.push_back(std::make_unique<Listener>(listener, all, home, tls.context));
  }
  upstreams_ = std::make_unique<Upstreams>(all);
  if (!config().store.path.empty()) {
    store_ = std::make_unique<StoreHost>(config().store, processor_, settings_->access);
  }
  if (!config().local.socket.empty()) {
    local_host_ = std::make_unique<LocalHost>(settings_, processor_, inbox_);
  }
  processor_.report_memory(log_memory_event);
  sys_topics_ =
      std::make_unique<SysTopics>(counters(), processor_.stats(), inbox_, broker::Inbox::now_ns());
  heartbeat_ = make_heartbeat();
  std::vector<const Listener*> listening;
  for (const auto& listener : listeners_) listening.push_back(listener.get());
  api_ = std::make_unique<ApiRoutes>(
      ApiRoutes::Parts{http_, inbox_, processor_, topics_http_, events_http_, all,
                       std::move(listening), local_host_.get(), guests_, *upstreams_},
      settings_);
  apply_settings();
  add_metrics();
  add_console_routes(http_);
  add_standard_routes(
      http_, metrics_, [this] { return readiness(); }, metrics_guard());
}

Server::~Server() {
  // Connections submit, so their threads end before the inbox; outboxes signal the threads, so
  // the threads' objects are still there when the processor's thread ends.
  if (local_host_) local_host_->stop();
  for (const auto& thread : threads_) thread->stop();
  for (const auto& thread : threads_) thread->join();
  if (hook_) hook_->stop();
  worker_.stop();  // it posts to the threads' objects, as the hook does
  http_.stop();    // readers of events submit, too
  if (store_) store_->end_reports();
  inbox_.stop();
  if (store_) store_->stop();
}

std::unique_ptr<Heartbeat> Server::make_heartbeat() {
  std::vector<Heartbeat::Post> posts;
  for (const auto& thread : threads_) {
    posts.push_back([io = thread.get()](std::function<void()> task) { io->post(std::move(task)); });
  }
  Heartbeat::Processor processor{[this] { return inbox_.idle(); },
                                 [this] { return processor_.stats().batches.value(); }};
  return std::make_unique<Heartbeat>(std::move(posts), std::move(processor));
}

MetricsGuard Server::metrics_guard() {
  if (config().http.metrics_public) return {};
  return [this](const HttpExchange::Ptr& exchange, std::function<void()> then) {
    topics_http_.access().judge_metrics(exchange, [=](HttpAccess::Verdict verdict) {
      verdict.refusal ? exchange->answer(std::move(*verdict.refusal)) : then();
    });
  };
}

void Server::add_metrics() {
  metrics_.add(io_metric_rows(counters()));
  metrics_.add(worker_metric_rows(worker_));
  if (hook_) metrics_.add(HttpHook::metric_rows(hook_.get()));
  metrics_.add(guests_.metric_rows());
  metrics_.add(certificate_ends_.metric_rows());
  metrics_.add(process_metric_rows());
  metrics_.add(log_metric_rows());
  metrics_.add(http_metric_rows(http_.counters()));
  metrics_.add(topic_metric_rows(topics_http_.counters()));
  metrics_.add(event_metric_rows(events_http_.counters()));
  metrics_.add(broker_metric_rows(processor_.stats(), inbox_));
  metrics_.add(memory_metric_rows(processor_.stats(), processor_.ledger()));
  if (store_) metrics_.add(store_metric_rows(store_.get(), processor_.stats()));
  if (local_host_) metrics_.add(local_metric_rows(local_host_.get()));
  metrics_.add(upstreams_->metric_rows());
}

void Server::start() {
  if (store_) store_->start(inbox_);
  inbox_.start();
  for (const auto& thread : threads_) thread->start();
  http_.start();
  log_info("listening", {{"transport", "http"},
                         {"address", config().http.host},
                         {"port", http_.port()},
                         {"listener", "http"},
                         {"tls", "off"}});
  for (std::size_t i = 0; i < config().http.listeners.size(); ++i) {
    const HttpListenerConfig& listener = config().http.listeners[i];
    const bool tls = listener.uses_tls();
    log_info("listening", {{"transport", tls ? "https" : "http"},
                           {"address", listener.host},
                           {"port", http_.port(i + 1)},
                           {"listener", http_listener_label(i)},
                           {"tls", tls ? to_string(listener.tls.version_min) : "off"}});
  }
  upstreams_->apply(*settings_);
  // Each thread has run what was posted to it: what upstreams subscribe to goes before any client.
  on_each_thread([](IoThread&) {});
  for (const auto& listener : listeners_) {
    listener->start(clients_of(config(), listener->config()));
  }
  if (local_host_) local_host_->start();
  ready_.store(true, std::memory_order_relaxed);
}

std::uint16_t Server::port(std::string_view listener) const {
  for (const auto& candidate : listeners_) {
    if (candidate->config().name == listener) return candidate->port();
  }
  return 0;
}

std::vector<const IoCounters*> Server::counters() const {
  std::vector<const IoCounters*> counters;
  for (const auto& thread : threads_) {
    counters.push_back(&static_cast<const IoThread&>(*thread).counters());
  }
  return counters;
}

std::string Server::readiness() const {
  if (!ready_.load(std::memory_order_relaxed)) return "draining";
  const std::string fault = store_ ? store_->fault() : "";
  return fault.empty() ? upstreams_->missing() : fault;
}

bool Server::at_rest() const {
  // What the store has committed by now is a command in the inbox.
  return inbox_.idle() && (!store_ || (store_->is_quiet() && inbox_.idle()));
}

bool Server::reload(std::shared_ptr<const Settings> settings, const GivesUp& gives_up) {
  settings_ = std::move(settings);
  apply_settings();
  limit_processor();
  // Before the connections: a will of one that they end by the new rules is judged by those, too.
  begin_review();
  const Deadline deadline = std::chrono::steady_clock::now() + reload_patience;
  // Until `done`, or until gives_up() says that there is no more time.
  const auto wait_for = [&](bool (Server::*done)()) {
    bool is_done = false;
    wait_until(deadline, [&] {
      is_done = (this->*done)();
      return is_done || (gives_up && gives_up());
    });
    return is_done;
  };
  const bool taken = wait_for(&Server::submit_unsubmitted);
  topics_http_.set_access(settings_->access);
  events_http_.set_rules(delivery_of_events(settings_));
  api_->set_settings(settings_);
  on_each_thread([&](IoThread& thread) {
    thread.set_settings(settings_);
    thread.wheel().for_each([](Resident& resident) { resident.apply_settings(); });
  });
  if (local_host_) local_host_->set_settings(settings_);
  upstreams_->apply(*settings_);
  if (wait_for(&Server::finish_reload)) return true;
  log_warn("reload.review", {{"state", taken ? "sessions are still being judged by the new rules"
                                             : "the queue to the processor is full"}});
  return false;
}

bool Server::finish_reload() {
  return submit_unsubmitted() && (!reviewed_ || reviewed_->load(std::memory_order_acquire));
}

void Server::renew_tls(std::shared_ptr<const Settings> settings) {
  settings_ = std::move(settings);
  apply_tls();
  api_->set_settings(settings_);
  on_each_thread([&](IoThread& thread) {
    thread.set_settings(settings_);
    thread.wheel().for_each([](Resident& resident) { resident.apply_settings(); });
  });
  upstreams_->apply(*settings_);
}

void Server::apply_settings() {
  apply_tls();
  if (hook_) hook_->forget();
  guests_.set_ban(config().access.ban);
  worker_.set_delay_max(std::chrono::milliseconds(config().access.login_delay_max_ms));
}

void Server::apply_tls() {
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    listeners_[i]->set_tls(settings_->tls.at(i).context);
    certificate_ends_.set(i, settings_->tls.at(i));
  }
  HttpServer::TlsContexts http_tls;
  for (const TlsSetup& tls : settings_->http_tls) {
    certificate_ends_.set(listeners_.size() + http_tls.size(), tls);
    http_tls.push_back(tls.context);
  }
  http_.set_tls(std::move(http_tls));
  if (hook_) hook_->set_tls(settings_->hook_tls.context);
}

// Limits and rights take their turn in the queue like everything that concerns sessions. What it does
// not take stays here until it does.
bool Server::submit_unsubmitted() {
  while (!unsubmitted_.empty()) {
    if (inbox_.submit({&unsubmitted_.front(), 1}) == 0) return false;
    unsubmitted_.pop_front();
  }
  return true;
}

void Server::limit_processor() {
  auto limits = std::make_unique<broker::ProcessorLimits>(processor_limits(config()));
  unsubmitted_.push_back({nullptr, broker::command::Limits{std::move(limits)}});
}

void Server::begin_review() {
  reviewed_ = std::make_shared<std::atomic<bool>>(false);
  auto request = std::make_unique<broker::ReviewRequest>();
  request->authority = settings_->access;
  request->done = [reviewed = reviewed_] { reviewed->store(true, std::memory_order_release); };
  unsubmitted_.push_back({nullptr, broker::command::Review{std::move(request)}});
}

void Server::on_each_thread(const std::function<void(IoThread&)>& task) {
  std::mutex mutex;
  std::condition_variable done;
  std::size_t left = threads_.size();
  for (const auto& thread : threads_) {
    thread->post([&, io = thread.get()] {
      task(*io);
      std::lock_guard lock(mutex);
      --left;
      done.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  done.wait(lock, [&] { return left == 0; });
}

std::size_t Server::connection_count() const {
  std::size_t count = 0;
  for (const auto& thread : threads_) count += thread->resident_count();
  return count;
}

bool Server::wait_until(Deadline deadline, const std::function<bool()>& done) {
  while (!done()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// What goes on by itself, as the stored values for somebody who subscribed to very much, is not waited
// for: it ends with its connection.
bool Server::wait_until_applied(Deadline deadline) {
  // Two batches end after the last command was taken: the second one began after that.
  std::optional<std::uint64_t> batches_before;
  return wait_until(deadline, [&] {
    if (at_rest()) return true;
    const std::uint64_t batches = processor_.stats().batches.value();
    if (!inbox_.has_taken_all() || (store_ && !store_->is_quiet())) {
      batches_before.reset();
      return false;
    }
    if (!batches_before) batches_before = batches;
    return batches >= *batches_before + 2;
  });
}

bool Server::drain() {
  const Deadline deadline =
      std::chrono::steady_clock::now() + std::chrono::seconds(config().drain_seconds);
  ready_.store(false, std::memory_order_relaxed);
  log_info("draining", {{"connections", connection_count()}});
  for (const auto& listener : listeners_) listener->stop();
  on_each_thread([](IoThread& thread) {
    thread.wheel().for_each([](Resident& resident) { resident.stop_reading(); });
  });
  bool clean = wait_until(std::min(deadline, std::chrono::steady_clock::now() + costly_patience),
                          [&] { return at_rest(); });
  if (!clean) {
    inbox_.hurry();
    clean = wait_until_applied(deadline);
  }
  for (const auto which : {Resident::Which::with_will, Resident::Which::all}) {
    on_each_thread([&](IoThread& thread) {
      thread.dispatch_ready();
      thread.wheel().for_each([&](Resident& resident) { resident.end(which); });
    });
    clean = wait_until_applied(deadline) && clean;
  }
  clean = wait_until(deadline, [&] { return connection_count() == 0; }) && clean;
  return clean;
}

}  // namespace millrace::server
