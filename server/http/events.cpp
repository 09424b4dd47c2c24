#include "server/http/events.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <ctime>
#include <utility>

#include "server/http/cross_origin.hpp"
#include "server/http/event_text.hpp"
#include "server/http/refusal.hpp"

namespace millrace::server {

EventRoutes::EventRoutes(HttpServer& http, broker::Inbox& inbox, TopicRoutes& topics,
                         const Options& options, ChooseDelivery choose)
    : http_(http),
      inbox_(inbox),
      topics_(topics),
      options_(options),
      choose_(std::move(choose)),
      ready_list_([this] { boost::asio::post(http_.context(), [this] { serve_ready(); }); }),
      look_timer_(http.context()),
      timer_(http.context()) {
  ready_list_.prepare_to_sleep();
  http.route("GET", "/events", "", [this](HttpExchange::Ptr exchange) { get_events(exchange); });
  if (topics_.origins().empty()) return;
  http.route("OPTIONS", "/events", "", [this](HttpExchange::Ptr exchange) {
    answer_preflight(*exchange, topics_.origins());
  });
}

void EventRoutes::set_rules(ChooseDelivery choose) {
  {
    const std::lock_guard lock(mutex_);
    choose_ = std::move(choose);
  }
  boost::asio::post(http_.context(), [this] {
    const auto streams = streams_;
    for (const auto& stream : streams) stream->end();
    forget_ended();
  });
}

// --- Requests ------------------------------------------------------------------------------------

void EventRoutes::get_events(HttpExchange::Ptr exchange) {
  allow_origin(*exchange, topics_.origins());
  std::string fault;
  const auto query = parse_event_query(exchange->request(), options_.levels_max, fault);
  if (!query) return exchange->answer(refusal(400, std::move(fault)));
  topics_.access().judge(exchange, query->filters.front(),
                         [this, exchange, query](HttpAccess::Verdict verdict) {
                           if (verdict.refusal)
                             return exchange->answer(std::move(*verdict.refusal));
                           if (exchange->request().method == "HEAD") {
                             return exchange->answer(200, "text/event-stream", "");
                           }
                           begin(exchange, *query, verdict.grants);
                         });
}

void EventRoutes::begin(const HttpExchange::Ptr& exchange, const EventQuery& query,
                        const std::shared_ptr<const Grants>& grants) {
  if (counters_.streams.value() >= options_.streams_max) {
    counters_.streams_refused.add();
    return exchange->answer(busy("too many readers of events (http.event_streams_max)"));
  }
  const auto newer_than =
      parse_event_id(exchange->request().header("last-event-id"), topics_.run());
  auto request = std::make_unique<broker::SubscribeRequest>();
  request->packet_id = 1;
  request->rights_revision = grants->rights()->revision;
  const ChooseDelivery choose = chosen();
  for (const std::string& filter : query.filters) {
    auto rules = grants->subscription(filter);
    if (!rules) return exchange->answer(refusal(403, "not allowed to read " + filter));
    const Delivery delivery = choose(filter, grants->user(), query.max_rate_hz);
    broker::SubscriptionRequest& wanted = request->filters.emplace_back();
    wanted.name = filter;
    wanted.filter = filter;
    wanted.retain_as_published = true;
    wanted.mode = delivery.mode;
    wanted.shape = delivery.shape;
    wanted.newer_than = newer_than.value_or(0);
    wanted.rules = std::move(*rules);
  }
  const auto report_bytes = static_cast<std::uint32_t>(
      std::min(options_.outbox.credit_bytes, options_.outbox.latest_credit_bytes) / 4);
  const EventStream::Setup setup{inbox_,
                                 ready_list_,
                                 *this,
                                 counters_,
                                 topics_.run(),
                                 query.payload_bytes_max,
                                 report_bytes,
                                 newer_than.value_or(0),
                                 grants->expires_at_s()};
  const auto stream = std::make_shared<EventStream>(setup, exchange);
  streams_.push_back(stream);
  if (streams_.size() == 1) beat();
  stream->start(grants->rights(), std::move(request));
}

EventRoutes::ChooseDelivery EventRoutes::chosen() const {
  const std::lock_guard lock(mutex_);
  return choose_;
}

// --- What the processor handed over --------------------------------------------------------------

// One round of what is ready; then whatever else this thread has to do.
void EventRoutes::serve_ready() {
  ready_list_.awake();
  if (ready_list_.take(ready_)) {
    for (const broker::OutboxRef& outbox : ready_) outbox->dispatch();
    ready_.clear();
    forget_ended();
  }
  if (ready_list_.prepare_to_sleep()) return;
  boost::asio::post(http_.context(), [this] { serve_ready(); });
}

// --- Looks at what readers have read -------------------------------------------------------------

void EventRoutes::schedule_look(Look& look, std::int64_t at_ns, std::int64_t now_ns) {
  looks_.schedule(look, at_ns, now_ns);
  await_look();
}

void EventRoutes::await_look() {
  if (looks_.empty() || looks_.next_due_ns() >= look_due_ns_) return;
  look_due_ns_ = looks_.next_due_ns();
  look_timer_.expires_after(std::chrono::nanoseconds(look_due_ns_ - broker::Inbox::now_ns()));
  look_timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;  // it was set anew
    look_due_ns_ = INT64_MAX;
    looks_.advance(broker::Inbox::now_ns());
    await_look();
  });
}

// --- Heartbeats ----------------------------------------------------------------------------------

// Looks at every stream several times in the time of a heartbeat; a second, unless told otherwise.
void EventRoutes::beat() {
  timer_.expires_after(options_.heartbeat / 15);
  timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    const auto before = EventStream::Clock::now() - options_.heartbeat;
    const auto streams = streams_;
    for (const auto& stream : streams) stream->beat(before, std::time(nullptr));
    forget_ended();
    if (!streams_.empty()) beat();
  });
}

void EventRoutes::forget_ended() {
  std::erase_if(streams_, [](const auto& stream) { return stream->is_over(); });
}

// --- Metrics -------------------------------------------------------------------------------------

std::vector<MetricRow> event_metric_rows(const EventCounters& counters) {
  return {counter_row("millrace_http_event_streams", MetricType::gauge, "Readers of /events.",
                      counters.streams),
          counter_row("millrace_http_event_streams_refused_total", MetricType::counter,
                      "Readers of /events that were refused because of http.event_streams_max.",
                      counters.streams_refused),
          counter_row("millrace_http_events_total", MetricType::counter,
                      "Values sent to readers of /events.", counters.events),
          counter_row("millrace_http_event_unread_bytes", MetricType::gauge,
                      "Bytes that wait in the receive buffers of readers of /events, as far as TCP "
                      "tells (outbox.unread_bytes; 8 KiB where that is 0).",
                      counters.unread_bytes),
          counter_row("millrace_http_event_late_binding_unknown_total", MetricType::counter,
                      "Readers of /events of which the kernel does not tell what they have read: "
                      "they are sent values within outbox.latest_credit_bytes.",
                      counters.late_binding_unknown)};
}

}  // namespace millrace::server
