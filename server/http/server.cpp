// Routing: which handler takes a request, and what a client is told if none does.
#include "server/http/server.hpp"

#include <algorithm>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/beast/core/string.hpp>
#include <set>
#include <stdexcept>

#include "server/auth/login_delays.hpp"
#include "server/http/connection.hpp"
#include "server/http/problem.hpp"
#include "server/http/refusal.hpp"

namespace millrace::server {

namespace {

bool is_prefix_pattern(std::string_view pattern) {
  return pattern.ends_with("/*");
}

bool fits(std::string_view pattern, std::string_view path) {
  if (!is_prefix_pattern(pattern)) return pattern == path;
  pattern.remove_suffix(1);  // keeps the slash
  return path.starts_with(pattern);
}

}  // namespace

std::string_view HttpRequest::query_value(std::string_view name) const {
  for (const auto& [key, value] : query) {
    if (key == name) return value;
  }
  return {};
}

std::string_view HttpRequest::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

HttpExchange::HttpExchange(HttpRequest request, std::function<void(HttpResponse)> deliver,
                           Begin begin)
    : request_(std::move(request)), deliver_(std::move(deliver)), begin_(std::move(begin)) {}

HttpExchange::~HttpExchange() {
  answer(500, "text/plain; charset=utf-8", "no answer was made\n");
}

void HttpExchange::answer(HttpResponse response) {
  std::function<void(HttpResponse)> deliver;
  {
    const std::lock_guard lock(mutex_);
    deliver.swap(deliver_);
  }
  if (!deliver) return;
  response.headers.insert(response.headers.end(), headers_.begin(), headers_.end());
  deliver(std::move(response));
}

void HttpExchange::add_header(std::string name, std::string value) {
  headers_.emplace_back(std::move(name), std::move(value));
}

void HttpExchange::answer(unsigned status, std::string_view content_type, std::string body) {
  HttpResponse response;
  response.status = status;
  response.content_type = content_type;
  response.body = std::move(body);
  answer(std::move(response));
}

std::shared_ptr<HttpBody> HttpExchange::begin(HttpResponse head, std::function<void()> taken) {
  {
    const std::lock_guard lock(mutex_);
    if (!deliver_ || gone_) return nullptr;
    deliver_ = nullptr;
  }
  head.headers.insert(head.headers.end(), headers_.begin(), headers_.end());
  auto body = std::exchange(begin_, nullptr)(std::move(head), std::move(taken));
  body_ = body;
  return body;
}

void HttpExchange::on_gone(std::function<void()> callback) {
  if (gone_) {
    callback();
  } else {
    on_gone_ = std::move(callback);
  }
}

void HttpExchange::gone() {
  if (std::exchange(gone_, true)) return;
  {
    const std::lock_guard lock(mutex_);
    if (!deliver_ && body_.expired()) return;  // answered already
    deliver_ = nullptr;
  }
  if (on_gone_) std::exchange(on_gone_, nullptr)();
}

HttpServer::HttpServer(const HttpConfig& config, const TakesIpv4Too& takes_ipv4_too)
    : config_(config) {
  std::vector<HttpListenerConfig> all = {{config.host, config.port, config.serves, {}}};
  all.insert(all.end(), config.listeners.begin(), config.listeners.end());
  for (HttpListenerConfig& one : all) {
    const bool ipv4_too = !takes_ipv4_too || takes_ipv4_too(one.host, one.port);
    std::string label =
        listeners_.empty() ? http_listener_name : http_listener_label(listeners_.size() - 1);
    listeners_.push_back(
        std::make_unique<Listener>(context_, std::move(one), std::move(label), ipv4_too));
  }
  route("GET", "/", "", [this](HttpExchange::Ptr exchange) {
    exchange->answer(200, "text/html; charset=utf-8", start_page(*exchange));
  });
}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::route(std::string method, std::string pattern, std::string about,
                       HttpHandler handler) {
  std::erase_if(routes_, [&](const Route& earlier) {
    return earlier.method == method && earlier.pattern == pattern;
  });
  routes_.push_back(
      {std::move(method), std::move(pattern), std::move(about), std::move(handler), false});
}

void HttpServer::route_for_monitors(std::string pattern, std::string about, HttpHandler handler) {
  routes_.push_back({"GET", std::move(pattern), std::move(about), std::move(handler), true});
}

std::vector<std::pair<std::string, std::string>> HttpServer::routes() const {
  std::vector<std::pair<std::string, std::string>> all;
  for (const Route& route : routes_) all.emplace_back(route.method, route.pattern);
  return all;
}

// Of http.serves.
bool HttpServer::serves(const HttpListenerConfig& listener, const Route& route) {
  const bool is_topics =
      route.pattern.starts_with("/topics") || route.pattern.starts_with("/events");
  const char* const part = route.for_monitors ? "metrics" : is_topics ? "topics" : "api";
  const auto& parts = listener.serves;
  return std::find(parts.begin(), parts.end(), part) != parts.end();
}

const HttpServer::Route* HttpServer::find(std::string_view method, std::string_view path,
                                          const Listener& listener) const {
  const Route* best = nullptr;
  for (const Route& route : routes_) {
    if (route.method != method || !fits(route.pattern, path) || !serves(listener.config, route))
      continue;
    if (!is_prefix_pattern(route.pattern)) return &route;
    if (best == nullptr || route.pattern.size() > best->pattern.size()) best = &route;
  }
  return best;
}

std::string HttpServer::allowed_methods(std::string_view path, const Listener& listener) const {
  std::set<std::string> methods;
  for (const Route& route : routes_) {
    if (!fits(route.pattern, path) || !serves(listener.config, route)) continue;
    methods.insert(route.method);
    if (route.method == "GET") methods.insert("HEAD");
  }
  std::string joined;
  for (const std::string& method : methods) joined += (joined.empty() ? "" : ", ") + method;
  return joined;
}

void HttpServer::dispatch(HttpExchange::Ptr exchange, const Listener& listener, Shortage shortage) {
  exchange->listener_ = &listener.config;
  HttpRequest& request = exchange->request_;
  std::string_view method = request.method;
  if (method == "HEAD") method = "GET";
  const Route* route = find(method, request.path, listener);
  if (shortage != Shortage::none && (route == nullptr || !route->for_monitors)) {
    HttpResponse why = refusal(503, "too many connections (http.connections_max)");
    if (shortage == Shortage::too_many_of_address) {
      why = refusal(429, "too many connections of this address (http.connections_per_address_max)");
    }
    return exchange->answer(refusal_at(request.path, std::move(why)));
  }
  if (route != nullptr) {
    if (is_prefix_pattern(route->pattern)) {
      request.rest = request.path.substr(route->pattern.size() - 1);
    }
    return route->handler(std::move(exchange));
  }
  HttpResponse response;
  const std::string methods = allowed_methods(request.path, listener);
  response.status = methods.empty() ? 404 : 405;
  response.body = methods.empty() ? "not found\n" : "method not allowed\n";
  if (request.path.starts_with("/api/")) {
    response = problem(response.status,
                       methods.empty() ? "there is no " + request.path : "it takes " + methods);
  }
  if (!methods.empty()) response.headers.emplace_back("Allow", methods);
  exchange->answer(std::move(response));
}

std::string HttpServer::start_page(const HttpExchange& exchange) const {
  std::string page =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Millrace</title>"
      "</head>\n<body><h1>Millrace " MILLRACE_VERSION "</h1>\n<ul>\n";
  for (const Route& route : routes_) {
    if (route.about.empty() || !serves(*exchange.listener_, route)) continue;
    const bool is_link = route.method == "GET" && !is_prefix_pattern(route.pattern);
    page += "<li>" + route.method + " ";
    page += is_link ? "<a href=\"" + route.pattern + "\">" + route.pattern + "</a>" : route.pattern;
    page += " &ndash; " + route.about + "</li>\n";
  }
  return page + "</ul></body></html>\n";
}

void HttpServer::start() {
  for (const auto& listener : listeners_) open(*listener);
  for (const auto& listener : listeners_) accept(*listener);
  thread_ = std::thread([this] { context_.run(); });
}

void HttpServer::open(Listener& listener) {
  namespace asio = boost::asio;
  const HttpListenerConfig& config = listener.config;
  asio::ip::tcp::acceptor& acceptor = listener.acceptor;
  boost::system::error_code error;
  const auto address = asio::ip::make_address(config.host, error);
  const asio::ip::tcp::endpoint endpoint(address, config.port);
  if (!error) acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error && address.is_v6()) {
    acceptor.set_option(asio::ip::v6_only(!listener.takes_ipv4_too), error);
  }
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    throw std::runtime_error("http: cannot listen on " + config.host + " port " +
                             std::to_string(config.port) + ": " + error.message());
  }
  listener.port = acceptor.local_endpoint().port();
}

template <class Task>
void HttpServer::for_each_connection(const Task& task) {
  const auto connections = connections_;  // close() takes them out one by one
  for (const auto& [key, connection] : connections) {
    if (const auto alive = connection.lock()) task(*alive);
  }
}

void HttpServer::set_tls(TlsContexts contexts) {
  const auto set = [this, contexts = std::move(contexts)] {
    for (std::size_t i = 0; i < contexts.size() && i + 1 < listeners_.size(); ++i) {
      listeners_[i + 1]->tls = contexts[i];
    }
    for_each_connection([](Connection& connection) { connection.close_if_revoked(); });
  };
  // Before start() there is nobody else.
  thread_.joinable() ? boost::asio::post(context_, set) : set();
}

void HttpServer::accept(Listener& listener) {
  listener.acceptor.async_accept(
      [this, &listener](boost::system::error_code error, boost::asio::ip::tcp::socket socket) {
        if (error == boost::asio::error::operation_aborted || !listener.acceptor.is_open()) return;
        if (error) return pause_accepting(listener);
        take(listener, std::move(socket));
        accept(listener);
      });
}

// Out of descriptors, most likely: trying again at once would spin.
void HttpServer::pause_accepting(Listener& listener) {
  listener.timer.expires_after(std::chrono::milliseconds(100));
  listener.timer.async_wait([this, &listener](boost::system::error_code error) {
    if (!error) accept(listener);
  });
}

std::size_t HttpServer::count(const Which& which) const {
  return static_cast<std::size_t>(
      std::count_if(connections_.begin(), connections_.end(),
                    [&](const auto& item) { return which(*item.first); }));
}

bool HttpServer::make_room(const Which& which) {
  Connection* longest = nullptr;
  for (const auto& [connection, reference] : connections_) {
    if (!which(*connection) || !connection->is_silent()) continue;
    if (longest == nullptr || connection->silent_since() < longest->silent_since()) {
      longest = connection;
    }
  }
  if (longest == nullptr) return false;
  if (const auto alive = connections_.at(longest).lock()) alive->close();
  counters_.connections_evicted.add();
  return true;
}

// Its own silent connections make room before those of others do.
HttpServer::Shortage HttpServer::find_place(const std::string& address) {
  const std::size_t of_address_max = config_.connections_per_address_max;
  const auto ordinary = [](const Connection& one) { return !one.is_reserved(); };
  const auto of_address = [&](const Connection& one) {
    return !one.is_reserved() && one.address() == address;
  };
  if (of_address_max > 0 && count(of_address) >= of_address_max && !make_room(of_address)) {
    counters_.too_many_of_address.add();
    return Shortage::too_many_of_address;
  }
  if (count(ordinary) >= config_.connections_max && !make_room(ordinary)) {
    counters_.too_many.add();
    return Shortage::too_many;
  }
  return Shortage::none;
}

void HttpServer::take(Listener& listener, boost::asio::ip::tcp::socket socket) {
  counters_.connections_accepted.add();
  PeerAddress peer = peer_address(socket.native_handle());
  const Shortage shortage = find_place(address_group(peer.host));
  const auto reserved = [](const Connection& one) { return one.is_reserved(); };
  if (shortage != Shortage::none && count(reserved) >= reserved_places && !make_room(reserved)) {
    counters_.connections_refused.add();
    counters_.connections_closed.add();
    return;
  }
  const auto connection =
      std::make_shared<Connection>(*this, listener, std::move(socket), std::move(peer), shortage);
  connections_.emplace(connection.get(), connection);
  connection->start();
}

// By DNS rebinding, the name of a stranger's web page can stand for this machine, but a numeric address
// cannot. So numeric addresses are served, and names only if they are known (see http_host.hpp).
bool HttpServer::answers_for(const std::string& host) const {
  if (host == "localhost" || is_address(host)) return true;
  return std::any_of(config_.hosts.begin(), config_.hosts.end(), [&](const std::string& ours) {
    return ours == "*" || boost::beast::iequals(ours, host);
  });
}

void HttpServer::forget(Connection* connection) {
  if (connections_.erase(connection) > 0) counters_.connections_closed.add();
}

void HttpServer::stop() {
  if (!thread_.joinable()) return;
  boost::asio::post(context_, [this] {
    boost::system::error_code ignored;
    for (const auto& listener : listeners_) {
      listener->acceptor.close(ignored);
      listener->timer.cancel();
    }
    for_each_connection([](Connection& connection) { connection.close(); });
    context_.stop();
  });
  thread_.join();
}

void add_standard_routes(HttpServer& http, const Metrics& metrics,
                         std::function<std::string()> ready, MetricsGuard may_read_metrics) {
  http.route_for_monitors(
      "/metrics", "what Prometheus scrapes",
      [&metrics, guard = std::move(may_read_metrics)](HttpExchange::Ptr exchange) {
        const auto answer = [&metrics, exchange] {
          exchange->answer(200, metrics_content_type, scrape(metrics));
        };
        guard ? guard(exchange, answer) : answer();
      });
  http.route_for_monitors("/healthz", "200 while the process is alive",
                          [](HttpExchange::Ptr exchange) {
                            exchange->answer(200, "text/plain; charset=utf-8", "ok\n");
                          });
  http.route_for_monitors("/readyz", "200 while clients are served, else 503 and why",
                          [ready = std::move(ready)](HttpExchange::Ptr exchange) {
                            const std::string why_not = ready();
                            exchange->answer(
                                why_not.empty() ? 200 : 503, "text/plain; charset=utf-8",
                                why_not.empty() ? "ready\n" : "not ready: " + why_not + "\n");
                          });
}

std::vector<MetricRow> http_metric_rows(const HttpCounters& counters) {
  return {
      counter_row("millrace_http_connections_accepted_total", MetricType::counter,
                  "HTTP connections accepted.", counters.connections_accepted),
      {"millrace_http_connections_open",
       MetricType::gauge,
       {},
       "HTTP connections open now.",
       [&](MetricWriter& writer) {
         const double closed = static_cast<double>(counters.connections_closed.value());
         writer.sample(static_cast<double>(counters.connections_accepted.value()) - closed);
       }},
      counter_row(
          "millrace_http_connections_refused_total", MetricType::counter,
          "HTTP connections closed at once because no place was left, not even a reserved one.",
          counters.connections_refused),
      {"millrace_http_connections_turned_away_total",
       MetricType::counter,
       {"reason"},
       "HTTP connections that were served what monitors ask for and nothing else, or closed, "
       "because of http.connections_max (too_many) or http.connections_per_address_max "
       "(too_many_of_address).",
       [&](MetricWriter& writer) {
         writer.sample(static_cast<double>(counters.too_many.value()), {"too_many"});
         writer.sample(static_cast<double>(counters.too_many_of_address.value()),
                       {"too_many_of_address"});
       }},
      counter_row(
          "millrace_http_connections_evicted_total", MetricType::counter,
          "HTTP connections that asked for nothing and were closed to make room for another.",
          counters.connections_evicted),
      counter_row("millrace_http_connections_revoked_total", MetricType::counter,
                  "HTTP connections closed because the client's certificate did not hold any more "
                  "when the files of TLS were read again.",
                  counters.connections_revoked),
      {"millrace_http_responses_total",
       MetricType::counter,
       {"class"},
       "HTTP responses by the status's first digit.",
       [&](MetricWriter& writer) {
         constexpr std::array<std::string_view, 6> words = {"", "1xx", "2xx", "3xx", "4xx", "5xx"};
         for (std::size_t i = 2; i < words.size(); ++i) {
           writer.sample(static_cast<double>(counters.responses[i].value()), {words[i]});
         }
       }},
  };
}

}  // namespace millrace::server
