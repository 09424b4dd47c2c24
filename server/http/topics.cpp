#include "server/http/topics.hpp"

#include <cstdio>
#include <random>
#include <utility>

#include "protocol/topic.hpp"
#include "server/http/cross_origin.hpp"
#include "server/http/refusal.hpp"
#include "server/http/topic_list.hpp"
#include "server/http/topic_poll.hpp"

namespace millrace::server {

namespace {

std::string make_run() {
  std::random_device random;
  char text[17];
  std::snprintf(text, sizeof text, "%08x%08x", random(), random());
  return text;
}

}  // namespace

TopicRoutes::TopicRoutes(HttpServer& http, const broker::TopicTable& topics,
                         const HttpConfig& limits, Worker& worker,
                         std::shared_ptr<const Access> access, Guests* guests)
    : http_(http),
      topics_(topics),
      long_polls_max_(limits.long_polls_max),
      wait_seconds_max_(limits.wait_seconds_max),
      origins_(limits.origins),
      run_(make_run()),
      access_(http.context(), worker, counters_.password_checks_refused, std::move(access), guests),
      lists_(http.context()) {
  http.route("GET", "/topics", "topics and their newest values' sizes and ages; ?filter=a/%23",
             [this](HttpExchange::Ptr exchange) { get_list(std::move(exchange)); });
  http.route("GET", "/topics/*", "the newest value of a topic; waits with Prefer: wait=seconds",
             [this](HttpExchange::Ptr exchange) { get_topic(std::move(exchange)); });
  if (origins_.empty()) return;
  for (const char* pattern : {"/topics", "/topics/*"}) {
    http.route("OPTIONS", pattern, "",
               [this](HttpExchange::Ptr exchange) { answer_preflight(*exchange, origins_); });
  }
}

void TopicRoutes::get_list(HttpExchange::Ptr exchange) {
  allow_origin(*exchange, origins_);
  std::string fault;
  auto query = parse_topic_list_query(exchange->request(), fault);
  if (!query) return exchange->answer(refusal(400, std::move(fault)));
  access_.judge(exchange, query->filter, [this, exchange, query](HttpAccess::Verdict verdict) {
    if (verdict.refusal) return exchange->answer(std::move(*verdict.refusal));
    auto list = std::make_shared<TopicList>(topics_, *query, std::move(verdict.rules), exchange);
    list->start();
    if (lists_.add(std::move(list))) return;
    counters_.lists_refused.add();
    exchange->answer(busy("too many lists are being made already"));
  });
}

void TopicRoutes::get_topic(HttpExchange::Ptr exchange) {
  allow_origin(*exchange, origins_);
  const HttpRequest& request = exchange->request();
  if (!protocol::valid_topic_name(request.rest)) {
    return exchange->answer(refusal(
        400, "not a topic name (for a filter: /topics?filter=...): \"" + request.rest + "\""));
  }
  access_.judge(exchange, request.rest, [this, exchange](HttpAccess::Verdict verdict) {
    if (verdict.refusal) return exchange->answer(std::move(*verdict.refusal));
    answer_topic(exchange, std::move(verdict));
  });
}

void TopicRoutes::answer_topic(HttpExchange::Ptr exchange, HttpAccess::Verdict verdict) {
  TopicQuestion question(exchange->request(), run_, wait_seconds_max_);
  TopicAnswer answer = question.ask(topics_);
  if (!answer.may_change) return exchange->answer(std::move(answer.response));
  if (counters_.long_polls.value() >= long_polls_max_) {
    counters_.long_polls_refused.add();
    return exchange->answer(busy("too many requests wait already (http.long_polls_max)"));
  }
  const auto poll = std::make_shared<TopicPoll>(
      http_.context(), topics_, std::move(question), counters_.long_polls, std::move(exchange),
      [this, verdict = std::move(verdict)](const HttpExchange::Ptr& waited, HttpResponse response) {
        answer_late(waited, verdict, std::move(response));
      });
  poll->start();
}

// After a wait: what was granted before a reload may be denied since.
void TopicRoutes::answer_late(const HttpExchange::Ptr& exchange, const HttpAccess::Verdict& verdict,
                              HttpResponse response) {
  if (access_.is_current(verdict)) return exchange->answer(std::move(response));
  access_.judge(exchange, exchange->request().rest,
                [this, exchange, response = std::move(response)](HttpAccess::Verdict again) {
                  if (again.refusal) return exchange->answer(std::move(*again.refusal));
                  answer_late(exchange, again, response);
                });
}

std::vector<MetricRow> topic_metric_rows(const TopicCounters& counters) {
  return {
      counter_row("millrace_http_long_polls", MetricType::gauge,
                  "HTTP requests that wait for a newer value of a topic.", counters.long_polls),
      counter_row("millrace_http_long_polls_refused_total", MetricType::counter,
                  "HTTP requests that were not allowed to wait because of http.long_polls_max.",
                  counters.long_polls_refused),
      counter_row("millrace_http_password_checks_refused_total", MetricType::counter,
                  "HTTP requests answered 503 because of access.password_checks_max.",
                  counters.password_checks_refused),
      counter_row("millrace_http_lists_refused_total", MetricType::counter,
                  "Requests for a list of topics that were answered 503 because too many waited.",
                  counters.lists_refused)};
}

}  // namespace millrace::server
