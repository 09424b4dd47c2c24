#include "server/app/run.hpp"

#include <sys/resource.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <ctime>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "core/broker/topic_hash.hpp"
#include "server/app/file_watch.hpp"
#include "server/app/server.hpp"
#include "server/app/service_manager.hpp"
#include "server/app/settings.hpp"
#include "server/app/warnings.hpp"
#include "server/auth/crypto.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {

namespace {

constexpr std::chrono::milliseconds memory_interval{250};

void log_faults(std::string_view event, const std::vector<ConfigFault>& faults) {
  for (const ConfigFault& fault : faults) log_error(event, {{"fault", fault.to_string()}});
}

void log_warnings(const Settings& settings) {
  for (const Warning& warning : warnings_of(settings, std::time(nullptr))) {
    log_warn("unsafe", {{"path", warning.path}, {"warning", warning.message}});
  }
}

// A soft limit of 1,024 is there for programs that use select(); this one does not.
void raise_descriptor_limit(const Config& config) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (before != limit.rlim_max && setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    log_warn("descriptors.limit", {{"limit", before}, {"error", std::strerror(errno)}});
    return;
  }
  log_info("descriptors", {{"limit", limit.rlim_cur}, {"before", before}});
  if (limit.rlim_cur < config.connection.count_max) {
    log_warn("descriptors.limit",
             {{"limit", limit.rlim_cur}, {"connection.count_max", config.connection.count_max}});
  }
}

// Of a reload that is not finished: how many keys changed, for the line in the log at its end.
using UnfinishedReload = std::optional<std::size_t>;

void log_reloaded(std::size_t changed) {
  log_info("reloaded", {{"changed", changed}});
}

// Whether the process has been asked to end, also while a reload keeps the main thread from its
// signals.
class EndRequest {
 public:
  EndRequest() {
    signals_.async_wait([this](const boost::system::error_code& error, int) {
      if (!error) came_ = true;
    });
  }
  bool has_come() {
    context_.poll();
    return came_;
  }

 private:
  boost::asio::io_context context_;
  boost::asio::signal_set signals_{context_, SIGTERM, SIGINT};
  bool came_ = false;
};

// A faulty configuration changes nothing, and says why.
ReloadResult reload(Server& server, const ConfigSources& sources, UnfinishedReload& unfinished,
                    EndRequest& end_request) {
  const ReloadedConfig loaded = reload_config(server.config(), sources);
  std::vector<ConfigFault> faults = loaded.faults;
  std::shared_ptr<const Settings> settings;
  if (loaded.ok()) settings = make_settings(loaded.config, faults);
  if (!settings) {
    log_faults("reload.fault", faults);
    ReloadResult refused;
    for (const ConfigFault& fault : faults) refused.faults.push_back(fault.to_string());
    return refused;
  }
  const bool done =
      server.reload(std::move(settings), [&end_request] { return end_request.has_come(); });
  setup_log(loaded.config.log);
  log_warnings(server.settings());
  for (const std::string& path : loaded.needs_restart) {
    log_warn("reload.needs_restart", {{"path", path}});
  }
  unfinished.reset();
  if (done) {
    log_reloaded(loaded.applied.size());
  } else {
    unfinished = loaded.applied.size();
  }
  return {{}, loaded.applied, loaded.needs_restart};
}

// Reads the files of TLS again when they have changed.
class TlsWatch {
 public:
  TlsWatch(Server& server, boost::asio::io_context& context) : server_(server), timer_(context) {
    files_.set_files(tls_files_of(server_.config()));
  }

  void start() {
    if (server_.config().tls_files.watch_seconds > 0) wait();
  }
  // Around a reload, which reads them too, unless it is refused.
  void before_reload() {
    before_ = files_;
    files_.note_read();
  }
  void after_reload(bool refused) {
    if (refused) {
      files_ = before_;
    } else {
      files_.set_files(tls_files_of(server_.config()));
    }
  }

 private:
  void wait() {
    timer_.expires_after(std::chrono::seconds(server_.config().tls_files.watch_seconds));
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      if (files_.have_changed()) read_again();
      wait();
    });
  }
  void read_again() {
    std::vector<ConfigFault> faults;
    auto settings = read_tls_again(server_.settings(), faults);
    if (!settings) return log_faults("tls.fault", faults);
    server_.renew_tls(std::move(settings));
    log_info("tls.reloaded", {});
    log_warnings(server_.settings());
  }

  Server& server_;
  boost::asio::steady_timer timer_;
  FileWatch files_, before_;
};

// What the service manager is told while the server serves.
class Announcer {
 public:
  Announcer(Server& server, ServiceManager& manager, boost::asio::io_context& context)
      : server_(server), manager_(manager), timer_(context), tls_watch_(server, context) {}

  void start() {
    tls_watch_.start();
    if (!manager_.is_there()) return;
    manager_.ready(status());
    tick();
  }
  ReloadResult reload(const ConfigSources& sources) {
    manager_.reloading();
    tls_watch_.before_reload();
    ReloadResult result = server::reload(server_, sources, unfinished_, end_request_);
    tls_watch_.after_reload(!result.faults.empty());
    reload_refused_ = !result.faults.empty();
    manager_.ready(status());
    return result;
  }
  // Submits what the processor's queue had no room for, and logs the end of the reload.
  void finish_reload() {
    if (!unfinished_ || !server_.finish_reload()) return;
    log_reloaded(*unfinished_);
    unfinished_.reset();
  }

 private:
  std::string status() const {
    const std::size_t count = server_.connection_count();
    return "serves " + std::to_string(count) + (count == 1 ? " connection" : " connections") +
           (reload_refused_ ? "; the last reload was refused, see the log" : "");
  }
  void tick() {
    manager_.status(status());
    if (manager_.wants_heartbeat()) beat();
    timer_.expires_after(manager_.interval());
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) tick();
    });
  }
  void beat() {
    const std::string who = server_.stalled_threads();
    if (who.empty()) return manager_.alive();
    log_error("stalled", {{"threads", who}});
  }

  Server& server_;
  ServiceManager& manager_;
  boost::asio::steady_timer timer_;
  TlsWatch tls_watch_;
  bool reload_refused_ = false;
  UnfinishedReload unfinished_;
  EndRequest end_request_;
};

void serve_until_signal(Server& server, const ConfigSources& sources, ServiceManager& manager) {
  boost::asio::io_context signals_context;
  boost::asio::signal_set signals(signals_context, SIGTERM, SIGINT, SIGHUP);
  Announcer announcer(server, manager, signals_context);
  std::function<void()> wait = [&] {
    signals.async_wait([&](const boost::system::error_code& error, int signal) {
      if (error || signal != SIGHUP) return signals_context.stop();
      announcer.reload(sources);
      wait();
    });
  };
  wait();
  server.set_controls(
      [&](std::function<void(ReloadResult)> done) {
        boost::asio::post(signals_context,
                          [&, done = std::move(done)] { done(announcer.reload(sources)); });
      },
      [&] { boost::asio::post(signals_context, [&] { signals_context.stop(); }); });
  server.start();
  announcer.start();
  boost::asio::steady_timer timer(signals_context);
  const std::chrono::seconds interval(server.config().sys.interval_seconds);
  std::function<void()> publish = [&] {
    server.publish_sys_topics();
    timer.expires_after(interval);
    timer.async_wait([&](const boost::system::error_code& error) {
      if (!error) publish();
    });
  };
  if (interval.count() > 0) publish();
  boost::asio::steady_timer memory_timer(signals_context);
  std::function<void()> watch_memory = [&] {
    server.watch_memory();
    announcer.finish_reload();
    memory_timer.expires_after(memory_interval);
    memory_timer.async_wait([&](const boost::system::error_code& error) {
      if (!error) watch_memory();
    });
  };
  watch_memory();
  signals_context.run();
  server.set_controls({}, {});  // the context ends
}

}  // namespace

int run(std::shared_ptr<const Settings> settings, const ConfigSources& sources) {
  // A peer that is gone is an error of the write, not of the process.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // so is a file that may not grow any more: the write fails
  try {
    std::uint64_t key = 0;
    random_bytes(sizeof key).copy(reinterpret_cast<char*>(&key), sizeof key);
    broker::set_topic_hash_key(key);
    raise_descriptor_limit(settings->config);
    Server server(std::move(settings));
    log_warnings(server.settings());
    ServiceManager manager(ServiceManager::from_environment());
    serve_until_signal(server, sources, manager);
    manager.stopping("sends what is queued, and ends");
    const bool clean = server.drain();
    log_info("stopped", {{"clean", clean}});
    return 0;
  } catch (const std::exception& error) {
    log_error("start.failed", {{"error", error.what()}});
    return 1;
  }
}

}  // namespace millrace::server
