// Local clients of the server: which processes may connect, what they may read and publish.
//
// ControlLoop moves the bytes, and broker::LocalSide fills the rings. Between them this class
// applies the access rules to local processes as to MQTT clients, and passes requests and messages
// to the processor as commands.
//
// Thread contract: made, started and stopped by the main thread; the functions of ControlHost run
// on the control loop's thread; set_settings() and the figures may be called by any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/processor.hpp"
#include "server/local/control_loop.hpp"
#include "server/local/user_grants.hpp"
#include "server/net/io_thread.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

class LocalHost final : public ControlHost {
 public:
  // Opens the socket and the processor's local side. Throws std::runtime_error that says what
  // failed.
  LocalHost(std::shared_ptr<const Settings> settings, broker::Processor& processor,
            broker::Inbox& inbox);
  ~LocalHost() override;

  void start();
  void stop();
  void set_settings(std::shared_ptr<const Settings> settings);

  ControlFigures control_figures() const { return loop_->figures(); }
  shm::Registry::Figures figures() const { return processor_.local_side()->figures(); }

  // --- ControlHost, on the control loop's thread ---
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
  void submit(broker::LocalRequest::What what, shm::ClientId client, shm::Request request);
  void add_retained(broker::Message message, broker::RightsRef rights);
  // True when all of it was submitted.
  bool submit_waiting();

  mutable std::mutex settings_mutex_;
  std::shared_ptr<const Settings> settings_;  // under settings_mutex_
  broker::Processor& processor_;
  broker::Inbox& inbox_;
  std::unique_ptr<ControlLoop> loop_;

  // --- The control loop's thread alone ---
  std::vector<broker::Command> waiting_;  // in order; not yet taken by the inbox
  UserGrants grants_;
};

// `host` may be null where the rows are only listed.
std::vector<MetricRow> local_metric_rows(const LocalHost* host);

}  // namespace millrace::server
