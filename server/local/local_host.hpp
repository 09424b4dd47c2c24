// The server's control socket for processes of this host: who comes in, what they may read and publish.
//
// ControlLoop moves the bytes, broker::LocalSide decides what is in the rings; in between stand
// the access rules, which answer for local processes as they do for MQTT clients, and the inbox,
// into which requests and publishes go as commands like any other.
//
// Threads: made, started and stopped by main's; the host's functions run on the control socket's own thread;
// set_settings() and the figures may be called by any.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/processor.hpp"
#include "server/local/control_loop.hpp"
#include "server/net/io_thread.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

class LocalHost final : public ControlHost {
 public:
  // Opens the socket and the processor's local side. Throws std::exception that says what is wrong.
  LocalHost(std::shared_ptr<const Settings> settings, broker::Processor& processor,
            broker::Inbox& inbox);
  ~LocalHost() override;

  void start();
  void stop();
  void set_settings(std::shared_ptr<const Settings> settings);

  ControlFigures control_figures() const { return loop_->figures(); }
  shm::Registry::Figures figures() const { return processor_.local_side()->figures(); }

  // --- ControlHost, on the control socket's thread ---
  std::optional<std::string> admit(const shm::Credentials& peer) override;
  std::optional<shm::Refusal> check_filter(const std::string& user,
                                           const std::string& filter) override;
  void ask(shm::ClientId client, shm::Request request) override;
  void gone(shm::ClientId client) override;
  bool has_room_for_publishes() override;
  bool publish(shm::ClientId client, const std::string& user,
               const shm::PublisherRingMessage& message) override;
  void flush_publishes() override;

 private:
  std::shared_ptr<const Settings> settings() const;
  const Grants& grants_of(const std::string& user, const Settings& settings);
  void submit(broker::LocalRequest::What what, shm::ClientId client, shm::Request request);
  // True when nothing is left.
  bool submit_waiting();

  mutable std::mutex settings_mutex_;
  std::shared_ptr<const Settings> settings_;  // under settings_mutex_
  broker::Processor& processor_;
  broker::Inbox& inbox_;
  std::unique_ptr<ControlLoop> loop_;

  // --- The control socket's thread alone ---
  std::vector<broker::Command> waiting_;  // in order; what the inbox did not take stays
  std::shared_ptr<const Settings> grants_from_;
  std::unordered_map<std::string, std::shared_ptr<const Grants>> grants_;
};

// `control socket` may be null where the rows are only listed.
std::vector<MetricRow> local_metric_rows(const LocalHost* host);

}  // namespace millrace::server
