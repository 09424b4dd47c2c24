// The fuzz target of what strangers send to the HTTP port, and to WebSocket listeners before the
// upgrade: a whole request, as server/http/connection.cpp and the handlers take it apart.
//
// What must hold, beside the absence of crashes: what is decoded has no zero byte; credentials are in
// what was sent; what a query asks for is within its limits, or there is a reason; and a message that
// is published is the one that was asked for.
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "protocol/topic.hpp"
#include "server/api/clients.hpp"
#include "server/api/publish_query.hpp"
#include "server/api/rights.hpp"
#include "server/api/subscribers.hpp"
#include "server/api/topic_values.hpp"
#include "server/api/trace_query.hpp"
#include "server/config/http_url.hpp"
#include "server/http/access.hpp"
#include "server/http/event_query.hpp"
#include "server/http/event_text.hpp"
#include "server/http/target.hpp"
#include "server/http/topic_headers.hpp"
#include "server/http/topic_list.hpp"
#include "server/net/http_host.hpp"
#include "server/net/websocket_upgrade.hpp"

namespace server = millrace::server;
namespace http = boost::beast::http;

namespace {

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

void check_credentials(const std::string& authorization) {
  const auto basic = server::parse_basic_credentials(authorization);
  if (basic) check(basic->user.find(':') == std::string::npos, "a user name has no colon");
  const auto bearer = server::parse_bearer_token(authorization);
  if (bearer) check(authorization.ends_with(*bearer), "a token stands in the header");
  check(!basic || !bearer, "a header has one scheme");
}

// Whatever they are: the handlers judge them, and say why not.
void check_queries(const server::HttpRequest& request) {
  std::string fault;
  if (const auto list = server::parse_topic_list_query(request, fault)) {
    check(list->limit <= server::TopicListQuery::limit_max, "a list has a limit");
    check(millrace::protocol::valid_topic_filter(list->filter), "a list has a filter");
  } else {
    check(!fault.empty(), "a list that is refused is refused for a reason");
  }
  fault.clear();
  if (const auto values = server::parse_topic_values_query(request, fault)) {
    check(millrace::protocol::valid_topic_filter(values->filter), "values have a filter");
  } else {
    check(!fault.empty(), "values that are refused are refused for a reason");
  }
  fault.clear();
  if (!server::parse_client_query(request, fault)) {
    check(!fault.empty(), "clients that are refused are refused for a reason");
  }
  static_cast<void>(server::is_cross_origin(request));
  static_cast<void>(server::preferred_wait_seconds(request));
  static_cast<void>(server::none_match_names(request, "\"1-2\""));
}

void check_events(const server::HttpRequest& request) {
  constexpr std::uint32_t levels_max = 128;
  std::string fault;
  if (const auto events = server::parse_event_query(request, levels_max, fault)) {
    check(!events->filters.empty() && events->filters.size() <= server::EventQuery::filters_max,
          "events have filters, of a limited number");
    for (const std::string& filter : events->filters) {
      check(millrace::protocol::valid_topic_filter(filter), "each of them is a filter");
    }
    check(!events->max_rate_hz || *events->max_rate_hz > 0, "a rate is more than none");
  } else {
    check(!fault.empty(), "events that are refused are refused for a reason");
  }
  const std::string_view last(request.header("last-event-id"));
  if (server::parse_event_id(last, "run")) check(last.starts_with("run-"), "an id is of its run");
}

void check_traces(const server::HttpRequest& request) {
  std::string fault;
  if (const auto trace = server::parse_trace_query(request, fault)) {
    check(!trace->subject.text.empty() && trace->minutes > 0, "a trace has a subject and a time");
    check(trace->minutes <= server::Traces::time_max.count(), "and ends");
  } else {
    check(!fault.empty(), "a trace that is refused is refused for a reason");
  }
}

// Its answer names the topic, and JSON has no room for bytes that are no text.
void check_subscriptions(const server::HttpRequest& request) {
  const std::string topic(request.query_value("topic"));
  if (!millrace::protocol::valid_topic_name(topic)) return;
  check(!server::json_of(topic, server::Subscribers()).dump().empty(), "subscribers are told");
}

void check_publish(const server::HttpRequest& request) {
  std::string fault;
  const auto query = server::parse_publish_query(request, false, fault);
  if (!query) return check(!fault.empty(), "what is not published is refused for a reason");
  if (!millrace::protocol::valid_topic_name(request.rest)) return;
  const auto message = server::make_message(request, *query);
  check(message.topic() == request.rest, "a message has the topic that was asked for");
  check(message.payload_bytes() == request.body.size(), "and the whole body");
}

void check_request(std::string_view text) {
  http::request_parser<http::string_body> parser;
  parser.header_limit(16 * 1024);
  parser.body_limit(64 * 1024);
  parser.eager(true);
  boost::beast::error_code error;
  parser.put(boost::asio::buffer(text), error);
  if (!parser.is_header_done()) return;
  const auto& message = parser.get();
  const std::string target(message.target());
  server::HttpRequest request;
  request.method = std::string(message.method_string());
  request.body = message.body();
  for (const auto& field : message) {
    std::string name(field.name_string());
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    request.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  static_cast<void>(server::host_of_authority(request.header("host")));
  static_cast<void>(server::split_target(target));
  check_credentials(std::string(request.header("authorization")));
  if (!server::parse_http_target(target, request.path, request.query)) return;
  check(request.path.find('\0') == std::string::npos, "a path has no zero byte");
  request.rest = request.path.substr(request.path.rfind('/') + 1);
  check_queries(request);
  check_events(request);
  check_traces(request);
  check_subscriptions(request);
  check_publish(request);
}

void check_upgrade(std::span<const std::uint8_t> bytes) {
  server::ListenerConfig listener;
  listener.transport = server::Transport::ws;
  listener.origins = {"https://example.com"};
  server::WebSocketUpgrade upgrade;
  static_cast<void>(upgrade.take(bytes, listener));
}

void check_http_url(std::string_view text) {
  std::string fault;
  const auto url = server::parse_http_url(text, fault);
  check(url.has_value() == fault.empty(), "a URL that is refused is refused for a reason");
  if (!url) return;
  check(!url->host.empty() && url->target.starts_with('/'), "a URL has a host and a target");
  const std::string head = url->target + url->host_field();
  check(head.find_first_of(" \r\n") == std::string::npos, "it begins no header of its own");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t count) {
  const std::string_view text(reinterpret_cast<const char*>(data), count);
  check_request(text);
  check_upgrade({data, count});
  check_http_url(text);
  return 0;
}
