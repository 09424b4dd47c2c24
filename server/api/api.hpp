// The management API: /api/v1, JSON, as server/api/openapi.json describes it. Read by the page, by
// the CLI and by anybody; docs/api.md tells it with examples.
//
// What it says of sessions the processor answers by commands in its queue; what it says of
// connections their I/O threads; figures come from counters. Nothing here takes a lock that the way
// of a message takes.
//
// Threads: constructed before http.start(); set_settings() any thread; everything else the HTTP
// thread. The HttpServer rests before this is destroyed; what others still hold by then holds
// nothing of this.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/processor.hpp"
#include "server/api/client_search.hpp"
#include "server/api/clients.hpp"
#include "server/api/rights.hpp"
#include "server/auth/settings.hpp"
#include "server/http/events.hpp"
#include "server/http/server.hpp"
#include "server/http/topics.hpp"
#include "server/local/local_host.hpp"
#include "server/mqtt/listener.hpp"
#include "server/net/guests.hpp"
#include "server/net/io_thread.hpp"
#include "server/upstream/upstreams.hpp"

namespace millrace::server {

struct ReloadResult {
  std::vector<std::string> faults;  // not empty: nothing was changed
  std::vector<std::string> changed;
  std::vector<std::string> needs_restart;
};

class ApiRoutes {
 public:
  // Returns at once; calls back on any other thread, once, when the reload is over.
  using Reload = std::function<void(std::function<void(ReloadResult)>)>;
  // Returns at once; the server ends as at SIGTERM.
  using Drain = std::function<void()>;

  struct Parts {
    HttpServer& http;
    broker::Inbox& inbox;
    const broker::Processor& processor;
    TopicRoutes& topics;
    EventRoutes& events;
    std::vector<IoThread*> threads;
    std::vector<const Listener*> listeners;
    const LocalHost* local_host;  // null: there are no local readers
    Guests& guests;
    const Upstreams& upstreams;
  };
  // Adds its routes.
  ApiRoutes(Parts parts, std::shared_ptr<const Settings> settings);
  ApiRoutes(const ApiRoutes&) = delete;
  ApiRoutes& operator=(const ApiRoutes&) = delete;

  void set_settings(std::shared_ptr<const Settings> settings);
  // Who carries out a reload, and the end of the server. Any thread.
  void set_controls(Reload reload, Drain drain);

 private:
  using Ptr = HttpExchange::Ptr;
  using Json = nlohmann::ordered_json;

  // What waits for an answer from another thread: kept here, named there by a weak pointer, so that
  // nobody else keeps an exchange longer than the HTTP thread lasts.
  struct Asker {
    Ptr exchange;
  };
  using AskerRef = std::shared_ptr<Asker>;
  using WeakAsker = std::weak_ptr<Asker>;

  // Of those that the processor has, or that are on their way to it.
  static constexpr long questions_max = 1024;

  void add_routes();
  // A route that needs the right to read, and takes no parameters.
  void add_reading(const std::string& path, std::function<Json()> make);

  void list_clients(const Ptr& exchange);
  void list_slow(const Ptr& exchange);
  void begin_list(const Ptr& exchange, ClientQuery query);
  void begin_list_by_connection(const Ptr& exchange, ClientQuery query);
  // Runs `then` with the rows and their connections on the HTTP thread, if the asker still waits.
  // Any thread; what one thread hands in is answered in that order.
  void describe_rows(const WeakAsker& asker, std::vector<ClientRow> rows,
                     std::function<void(std::vector<ClientRow>)> then);
  // To an asker that still waits. The HTTP thread.
  void answer_page(const WeakAsker& asker, const ClientPage& page);
  // Runs `then` on the HTTP thread with the session that the request means; if there is none, or
  // several, the exchange is answered. `then` holds no exchange: see Asker.
  void find_client(const Ptr& exchange, ClientChoice choice,
                   std::function<void(const Ptr&, FoundClient)> then);
  void get_client(const Ptr& exchange);
  void describe_client(const WeakAsker& asker, ClientDetail detail);
  void expel_client(const Ptr& exchange);
  void expel_session(const Ptr& exchange, const FoundClient& found, bool with_session,
                     const std::string& by);
  void list_subscribers(const Ptr& exchange);
  void list_topics(const Ptr& exchange);
  void publish(const Ptr& exchange, bool retain);
  void clear_topic(const Ptr& exchange);
  void submit_publish(const Ptr& exchange, broker::Message message, const Grants& grants);
  // Why the server takes no such message from anybody; nothing: it does.
  std::optional<HttpResponse> refusal_of(broker::PublishedHow how, std::size_t packet_bytes) const;
  void lift_ban(const Ptr& exchange);
  // server/api/traces.cpp
  void start_trace(const Ptr& exchange);
  void list_traces(const Ptr& exchange);
  void read_trace(const Ptr& exchange);
  void forget_trace(const Ptr& exchange);
  void watch_traces();
  void reload(const Ptr& exchange);
  void drain(const Ptr& exchange);

  Json server_json() const;
  Json queue_json() const;
  Json rings_json() const;
  Json limits_json() const;
  Json config_json_of() const;
  Json upstreams_json() const;
  Json bans_json() const;

  AskerRef keep(const Ptr& exchange);
  void forget(const AskerRef& asker);
  // Runs `task` with the asker on the HTTP thread, if it still waits; forgets it then. Any thread.
  void resume(const WeakAsker& asker, std::function<void(const Ptr&)> task);
  void inquire(const AskerRef& asker, std::unique_ptr<broker::Inquiry> inquiry);
  // The queue has no room for it, or too many questions wait: answers so.
  void submit(const AskerRef& asker, broker::Command command);
  std::shared_ptr<const Settings> settings() const;

  const Parts parts_;
  ApiRights rights_;
  const std::int64_t start_ns_ = broker::Inbox::now_ns();
  mutable std::mutex mutex_;
  std::shared_ptr<const Settings> settings_;  // under mutex_
  Reload reload_;                             // under mutex_
  Drain drain_;                               // under mutex_
  std::vector<AskerRef> askers_;
  // Each question holds it until the processor lets go of the question, whoever still waits for that.
  using Ticket = std::shared_ptr<const int>;
  const Ticket ticket_ = std::make_shared<const int>();
  boost::asio::steady_timer drain_timer_{parts_.http.context()};
  boost::asio::steady_timer trace_timer_{parts_.http.context()};  // runs while a trace does
};

}  // namespace millrace::server
