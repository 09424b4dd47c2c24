// Traces (server/observe/trace.hpp) over the API: /trace. They show what clients other than the one
// that asks say and are told, so only administrators have them.
#include <chrono>
#include <optional>
#include <utility>

#include "server/api/answers.hpp"
#include "server/api/api.hpp"
#include "server/api/trace_query.hpp"
#include "server/http/problem.hpp"
#include "server/http/target.hpp"
#include "server/observe/log.hpp"
#include "server/observe/trace.hpp"

namespace millrace::server {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t entries_in_answer_max = 1000;

Json json_of(const Trace& trace) {
  const auto left = trace.ends_at - Trace::Clock::now();
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(left).count();
  const Trace::Counts counts = trace.counts();
  return {{"id", trace.id},
          {"kind", word_of(trace.subject.kind)},
          {"subject", trace.subject.text},
          {"user", trace.subject.user ? Json(*trace.subject.user) : Json(nullptr)},
          {"running", seconds > 0},
          {"seconds_left", std::max<std::int64_t>(0, seconds)},
          {"recorded", counts.recorded},
          {"skipped", counts.skipped}};
}

Json json_of(const TraceEntry& entry) {
  const auto or_null = [](const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
  };
  return {{"sequence", entry.sequence},    {"time", time_text(entry.at)},
          {"kind", word_of(entry.kind)},   {"client", or_null(entry.client)},
          {"user", or_null(entry.user)},   {"address", or_null(entry.address)},
          {"topic", or_null(entry.topic)}, {"text", entry.text}};
}

// Of the path's rest; null: there is none, and the exchange is answered.
Traces::Ref find_trace(const HttpExchange::Ptr& exchange) {
  const std::string& text = exchange->request().rest;
  const auto id = parse_number<std::uint64_t>(text);
  auto found = id ? traces().find(*id) : nullptr;
  if (!found) exchange->answer(problem(404, "no trace \"" + text + "\""));
  return found;
}

}  // namespace

void ApiRoutes::start_trace(const Ptr& exchange) {
  std::string fault;
  const auto query = parse_trace_query(exchange->request(), fault);
  if (!query) return exchange->answer(problem(400, fault));
  rights_.manage(exchange, [=, this](const std::shared_ptr<const Grants>& grants) {
    const auto trace = traces().start(query->subject, std::chrono::minutes(query->minutes));
    if (!trace) {
      return exchange->answer(
          problem(503, "as many traces run as may (DELETE /trace/ID ends one)"));
    }
    log_info("api.trace", {{"kind", word_of(trace->subject.kind)},
                           {"subject", trace->subject.text},
                           {"minutes", query->minutes},
                           {"user", grants->user()},
                           {"peer", exchange->request().peer}});
    watch_traces();
    answer_json(*exchange, json_of(*trace), 201);
  });
}

// Those whose time is over cost nothing any more.
void ApiRoutes::watch_traces() {
  if (!traces().end_due()) return;
  trace_timer_.expires_after(std::chrono::seconds(1));
  trace_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) watch_traces();
  });
}

void ApiRoutes::list_traces(const Ptr& exchange) {
  if (!check_no_parameters(*exchange)) return;
  rights_.manage(exchange, [exchange](const auto&) {
    Json list = Json::array();
    for (const auto& trace : traces().all()) list.push_back(json_of(*trace));
    answer_json(*exchange, {{"traces", std::move(list)}});
  });
}

void ApiRoutes::read_trace(const Ptr& exchange) {
  const HttpRequest& request = exchange->request();
  std::optional<std::uint64_t> given;
  if (request.query.empty()) given = 0;
  if (request.query.size() == 1 && request.query[0].first == "after") {
    given = parse_number<std::uint64_t>(request.query[0].second);
  }
  if (!given) return exchange->answer(problem(400, "?after=, and the `next` of the answer before"));
  rights_.manage(exchange, [exchange, after = *given](const auto&) {
    const auto trace = find_trace(exchange);
    if (!trace) return;
    Json list = Json::array();
    std::uint64_t next = after;
    for (const TraceEntry& entry : trace->entries(after, entries_in_answer_max)) {
      list.push_back(json_of(entry));
      next = entry.sequence;
    }
    answer_json(*exchange,
                {{"trace", json_of(*trace)}, {"entries", std::move(list)}, {"next", next}});
  });
}

void ApiRoutes::forget_trace(const Ptr& exchange) {
  if (!check_no_parameters(*exchange)) return;
  rights_.manage(exchange, [exchange](const auto&) {
    const auto trace = find_trace(exchange);
    if (!trace) return;
    traces().forget(trace->id);
    answer_nothing(*exchange);
  });
}

}  // namespace millrace::server
