// HTTP beside MQTT: metrics, health, and whatever routes others add. One thread of its own, so that
// a scrape never holds up a message.
//
//     HttpServer http(config.http);
//     http.route("GET", "/metrics", "what Prometheus scrapes", [&](HttpExchange::Ptr exchange) {
//       exchange->answer(200, metrics_content_type, scrape(metrics));
//     });
//     http.start();
//
// A handler runs on the HTTP thread and may answer later, from any thread, by keeping the exchange
// (a long poll); `exchange->on_gone` tells it that the client did not wait. An exchange that is
// dropped unanswered is answered 500. A route that ends in "/*" takes every path below it; the
// longest match wins. HEAD is answered by GET's handler. Anything else: 404, or 405 with Allow.
//
// It listens at http.host, and wherever http.listeners says; each of these may serve a part of the
// routes, and speak TLS.
//
// Threads: route() before start(); start() and stop() from one thread; set_tls() any. Whoever answers
// from another thread stops doing so before the server is destroyed.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "server/config/config.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

struct HttpRequest {
  std::string method;
  std::string path;                                          // percent-decoded, without the query
  std::string rest;                                          // what "/*" stood for, percent-decoded
  std::vector<std::pair<std::string, std::string>> query;    // in order, decoded
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  std::string peer;  // the client's address

  // The first value of that name; empty if there is none.
  std::string_view query_value(std::string_view name) const;
  std::string_view header(std::string_view name) const;
};

struct HttpResponse {
  unsigned status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

// The body of an answer that is made piece by piece (HttpExchange::begin). The HTTP thread alone.
class HttpBody {
 public:
  virtual ~HttpBody() = default;
  // The next piece, not empty. Only one at a time: not before `taken` was called for the one before.
  virtual void write(std::string piece) = 0;
  // From now on the socket is given so many bytes at once.
  virtual void limit_writes(std::size_t bytes_max) = 0;
  // Of the socket, for what TCP tells about it, until on_gone; -1: it is closed.
  virtual int fd() const = 0;
  // After the last piece was taken.
  virtual void end() = 0;
  // Ends the connection so that the client can see that this was not all.
  virtual void abort() = 0;
};

// One request and its one answer. Any thread may answer; only the first answer counts.
class HttpExchange {
 public:
  using Ptr = std::shared_ptr<HttpExchange>;
  using Begin = std::function<std::shared_ptr<HttpBody>(HttpResponse, std::function<void()>)>;

  HttpExchange(HttpRequest request, std::function<void(HttpResponse)> deliver, Begin begin = {});
  ~HttpExchange();
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

  const HttpRequest& request() const { return request_; }
  void answer(HttpResponse response);
  void answer(unsigned status, std::string_view content_type, std::string body);
  // Stands in the answer, whatever that is. To be called by the handler, before anybody answers.
  void add_header(std::string name, std::string value);

  // Answers with a body that comes in pieces, of a length that nobody knows yet, and ends the
  // connection with it; the head goes with the first piece. `taken` is called on the HTTP thread
  // each time that the socket has taken a piece. A client that takes nothing of one for
  // http.timeout_seconds is gone. Null: it was answered, or is gone. The HTTP thread alone.
  std::shared_ptr<HttpBody> begin(HttpResponse head, std::function<void()> taken);

  // Called once, on the HTTP thread, if the client goes (or the server stops) before the answer, or
  // before the end of a body in pieces; at once if it is gone already. To be called on the HTTP
  // thread, by the handler.
  void on_gone(std::function<void()> callback);
  void gone();  // the server's

 private:
  friend class HttpServer;

  HttpRequest request_;                                       // constant once a handler has it
  std::vector<std::pair<std::string, std::string>> headers_;  // of the answer; likewise
  std::mutex mutex_;
  std::function<void(HttpResponse)> deliver_;     // under mutex_; empty: answered
  Begin begin_;                                   // the HTTP thread's
  std::weak_ptr<HttpBody> body_;                  // the HTTP thread's, of begin()
  std::function<void()> on_gone_;                 // the HTTP thread's
  bool gone_ = false;                             // the HTTP thread's
  const HttpListenerConfig* listener_ = nullptr;  // where it came in; once a handler has it
};

using HttpHandler = std::function<void(HttpExchange::Ptr)>;

// What the HTTP thread counts. Written by that thread alone.
struct HttpCounters {
  Counter connections_accepted;
  Counter connections_closed;
  Counter connections_refused;       // no place was left
  Counter too_many;                  // connections that found all ordinary places taken
  Counter too_many_of_address;       // connections that found those of their address taken
  Counter connections_evicted;       // silent ones, to make room
  Counter connections_revoked;       // the client's certificate does not hold any more
  std::array<Counter, 6> responses;  // by the status's first digit
};
std::vector<MetricRow> http_metric_rows(const HttpCounters& counters);

class HttpServer {
 public:
  // Whether a socket on `::` does.
  using TakesIpv4Too = std::function<bool(const std::string& host, std::uint16_t port)>;
  explicit HttpServer(const HttpConfig& config, const TakesIpv4Too& takes_ipv4_too = {});
  ~HttpServer();

  // `about` stands on the start page; empty: not listed there. It takes the place of an earlier one of
  // the same method and pattern.
  void route(std::string method, std::string pattern, std::string about, HttpHandler handler);
  // The same for what a monitor asks: it is served when all ordinary places are taken, too.
  void route_for_monitors(std::string pattern, std::string about, HttpHandler handler);
  // Method and pattern of each.
  std::vector<std::pair<std::string, std::string>> routes() const;

  // For new connections: those of http.listeners, in their order; null: in clear. Others go on, but
  // those whose client's certificate these would not accept are closed, also while they wait for an
  // answer or are sent one.
  using TlsContexts = std::vector<std::shared_ptr<boost::asio::ssl::context>>;
  void set_tls(TlsContexts contexts);

  // Binds and listens; throws std::runtime_error with the address and the reason.
  void start();
  void stop();  // closes everything, joins the thread; unanswered exchanges are told on_gone

  // The routes that are served where this request came in, as links.
  std::string start_page(const HttpExchange& exchange) const;

  // After start(). 0: http.port; from 1 on: http.listeners.
  std::uint16_t port(std::size_t listener = 0) const { return listeners_.at(listener)->port; }
  const HttpCounters& counters() const { return counters_; }
  boost::asio::io_context& context() { return context_; }  // for timers of long polls

 private:
  class Connection;  // connection.hpp
  struct Route {
    std::string method, pattern, about;
    HttpHandler handler;
    bool for_monitors = false;
  };
  struct Listener {
    Listener(boost::asio::io_context& context, HttpListenerConfig from, std::string called,
             bool ipv4_too)
        : config(std::move(from)),
          label(std::move(called)),
          takes_ipv4_too(ipv4_too),
          acceptor(context),
          timer(context) {}

    const HttpListenerConfig config;
    const std::string label;  // what the log calls it
    const bool takes_ipv4_too;
    boost::asio::ip::tcp::acceptor acceptor;
    boost::asio::steady_timer timer;                 // while accepting pauses
    std::shared_ptr<boost::asio::ssl::context> tls;  // the HTTP thread's; null: in clear
    std::uint16_t port = 0;
  };
  // Why a connection found no ordinary place. It is then on a reserved one, and is served only what a
  // monitor asks for.
  enum class Shortage : std::uint8_t { none, too_many, too_many_of_address };
  static constexpr std::size_t reserved_places = 16;  // beyond http.connections_max

  void open(Listener& listener);
  void accept(Listener& listener);
  void pause_accepting(Listener& listener);
  void take(Listener& listener, boost::asio::ip::tcp::socket socket);
  void forget(Connection* connection);
  // `task` may close it.
  template <class Task>
  void for_each_connection(const Task& task);
  using Which = std::function<bool(const Connection&)>;
  // Closes the one of these connections that has been silent for longest; false: there is none.
  bool make_room(const Which& which);
  std::size_t count(const Which& which) const;
  // Whether there is an ordinary place for a connection of that address; makes room for it.
  Shortage find_place(const std::string& address);
  void dispatch(HttpExchange::Ptr exchange, const Listener& listener, Shortage shortage);
  static bool serves(const HttpListenerConfig& listener, const Route& route);
  // Whether a request for that host is meant for this server.
  bool answers_for(const std::string& host) const;
  std::string allowed_methods(std::string_view path, const Listener& listener) const;
  const Route* find(std::string_view method, std::string_view path, const Listener& listener) const;

  const HttpConfig config_;
  std::vector<Route> routes_;  // constant after start()
  HttpCounters counters_;
  // The HTTP thread's. Outlives the context, whose last handlers hold connections.
  std::map<Connection*, std::weak_ptr<Connection>> connections_;
  boost::asio::io_context context_{1};
  std::vector<std::unique_ptr<Listener>>
      listeners_;  // the first is that of http.host and http.port
  std::thread thread_;
};

// /metrics, /healthz and /readyz. `ready` is asked on the HTTP thread: empty means ready, else why
// not. `may_read_metrics` calls `then`, or answers the exchange; none: everybody may.
using MetricsGuard = std::function<void(const HttpExchange::Ptr&, std::function<void()> then)>;
void add_standard_routes(HttpServer& http, const Metrics& metrics,
                         std::function<std::string()> ready, MetricsGuard may_read_metrics = {});

}  // namespace millrace::server
