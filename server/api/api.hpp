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

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/processor.hpp"
#include "server/api/clients.hpp"
#include "server/api/rights.hpp"
#include "server/auth/settings.hpp"
#include "server/http/events.hpp"
#include "server/http/server.hpp"
#include "server/http/topics.hpp"
#include "server/local/local_host.hpp"
#include "server/net/io_thread.hpp"

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

  struct Parts {
    HttpServer& http;
    broker::Inbox& inbox;
    const broker::Processor& processor;
    TopicRoutes& topics;
    EventRoutes& events;
    std::vector<IoThread*> threads;
    const LocalHost* local_host;  // null: there are no local readers
    std::shared_ptr<const Settings> settings;
  };
  // Adds its routes.
  explicit ApiRoutes(Parts parts);
  ApiRoutes(const ApiRoutes&) = delete;
  ApiRoutes& operator=(const ApiRoutes&) = delete;

  void set_settings(std::shared_ptr<const Settings> settings);
  // Who carries out a reload. Any thread.
  void set_reload(Reload reload);

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

  void add_routes();
  // A route that needs the right to read, and takes no parameters.
  void add_reading(const std::string& path, std::function<Json()> make);

  void list_clients(const Ptr& exchange);
  void list_slow(const Ptr& exchange);
  void begin_list(const Ptr& exchange, ClientQuery query);
  void describe_rows(const WeakAsker& asker, ClientPage page);
  void get_client(const Ptr& exchange);
  void expel_client(const Ptr& exchange);
  void list_topics(const Ptr& exchange);
  void publish(const Ptr& exchange, bool retain);
  void clear_topic(const Ptr& exchange);
  void submit_publish(const Ptr& exchange, broker::Message message);
  void reload(const Ptr& exchange);

  Json server_json() const;
  Json queue_json() const;
  Json rings_json() const;
  Json limits_json() const;
  Json config_json_of() const;

  AskerRef keep(const Ptr& exchange);
  void forget(const AskerRef& asker);
  // Runs `task` with the asker on the HTTP thread, if it still waits; forgets it then. Any thread.
  void resume(const WeakAsker& asker, std::function<void(const Ptr&)> task);
  // The queue has no room for all of them: answers so.
  void submit(const AskerRef& asker, std::vector<broker::Command> commands);
  std::shared_ptr<const Settings> settings() const;

  const Parts parts_;
  ApiRights rights_;
  const std::int64_t start_ns_ = broker::Inbox::now_ns();
  mutable std::mutex mutex_;
  std::shared_ptr<const Settings> settings_;  // under mutex_
  Reload reload_;                             // under mutex_
  std::vector<AskerRef> askers_;
};

}  // namespace millrace::server
