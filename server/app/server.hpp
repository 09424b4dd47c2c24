// Server: what runs while the app runs. Built in the order of the walk, ended in the opposite one.
//
// Threads: main's; the metrics that it registers are read by the HTTP thread.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/processor.hpp"
#include "server/api/api.hpp"
#include "server/app/certificate_ends.hpp"
#include "server/app/heartbeat.hpp"
#include "server/app/memory_watch.hpp"
#include "server/app/store_host.hpp"
#include "server/config/config.hpp"
#include "server/http/events.hpp"
#include "server/http/server.hpp"
#include "server/http/topics.hpp"
#include "server/local/local_host.hpp"
#include "server/mqtt/listener.hpp"
#include "server/net/guests.hpp"
#include "server/net/http_hook.hpp"
#include "server/net/io_thread.hpp"
#include "server/observe/metrics.hpp"
#include "server/observe/sys_topics.hpp"
#include "server/upstream/upstreams.hpp"

namespace millrace::server {

class Server {
 public:
  // Binds every port. Throws std::exception that says what is wrong.
  explicit Server(std::shared_ptr<const Settings> settings);
  ~Server();

  void start();
  // The figures as of now, under $SYS/broker/.
  void publish_sys_topics() { sys_topics_->publish(broker::Inbox::now_ns()); }
  // To be called about every quarter of a second.
  void watch_memory() { memory_watch_.look(); }
  // Gives every I/O thread and the processor the new settings, and new TLS handshakes their
  // certificates. True: every connection and session has been judged by the new access rules.
  // False: ten seconds have passed, or gives_up() has returned true; the rest is to be done by
  // finish_reload(). The listeners are those of before: they change with a restart alone.
  using GivesUp = std::function<bool()>;
  [[nodiscard]] bool reload(std::shared_ptr<const Settings> settings, const GivesUp& gives_up = {});
  // Gives new TLS handshakes the certificates of these settings, which differ in nothing else, and
  // ends the connections whose client certificates do not hold any more.
  void renew_tls(std::shared_ptr<const Settings> settings);
  // Offers the processor once more what its full queue did not take of a reload. True: all has been
  // taken, and every session is judged.
  bool finish_reload();
  // Which threads have not answered since the last call; empty: all are at work. See Heartbeat.
  std::string stalled_threads() { return heartbeat_->stalled_threads(); }
  // Who carries out a reload, or the end, that the management API asks for.
  void set_controls(ApiRoutes::Reload reload, ApiRoutes::Drain drain) {
    api_->set_controls(std::move(reload), std::move(drain));
  }
  // True if everything ended by itself within the time that the configuration allows.
  bool drain();

  const Settings& settings() const { return *settings_; }
  const Config& config() const { return settings_->config; }
  // Of the listener of that name, after construction; 0: there is none.
  std::uint16_t port(std::string_view listener) const;
  std::size_t connection_count() const;
  // For the tests: what the I/O threads counted.
  std::vector<const IoCounters*> counters() const;

 private:
  using Deadline = std::chrono::steady_clock::time_point;

  std::unique_ptr<Heartbeat> make_heartbeat();
  void add_metrics();
  MetricsGuard metrics_guard();
  bool submit_unsubmitted();
  void limit_processor();
  void begin_review();
  // What of the settings others hold copies of.
  void apply_settings();
  void apply_tls();
  std::string readiness() const;
  // Nothing that was submitted waits for the processor, and no answer for the disk.
  bool at_rest() const;
  // Runs `task` on every I/O thread and waits until it is done on all.
  void on_each_thread(const std::function<void(IoThread&)>& task);
  bool wait_until(Deadline deadline, const std::function<bool()>& done);
  // Until all that was submitted is applied and handed over, and on the disk.
  bool wait_until_applied(Deadline deadline);

  std::shared_ptr<const Settings> settings_;
  broker::Processor processor_;
  broker::Inbox inbox_;
  MemoryWatch memory_watch_;
  std::unique_ptr<StoreHost> store_;  // null: store.path is empty
  Worker worker_;
  Guests guests_;
  std::vector<std::unique_ptr<IoThread>> threads_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::unique_ptr<Upstreams> upstreams_;
  std::unique_ptr<LocalHost> local_host_;  // null: local.socket is empty
  std::unique_ptr<SysTopics> sys_topics_;
  CertificateEnds certificate_ends_;
  Metrics metrics_;
  std::unique_ptr<HttpHook> hook_;  // null: there is none
  HttpServer http_;
  TopicRoutes topics_http_;
  std::unique_ptr<Heartbeat> heartbeat_;
  EventRoutes events_http_;
  std::unique_ptr<ApiRoutes> api_;
  std::atomic<bool> ready_{false};
  // Of reloads: what the processor is to be given, in order; and, once it has all, whether every
  // session is judged by the newest rules.
  std::deque<broker::Command> unsubmitted_;
  std::shared_ptr<std::atomic<bool>> reviewed_;
};

}  // namespace millrace::server
