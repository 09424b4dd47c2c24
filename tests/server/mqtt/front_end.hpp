// An I/O thread's world without the thread: the queue behind it is real, and applies nothing until
// the test says so.
#pragma once

#include <memory>
#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/processor.hpp"
#include "server/app/limits.hpp"
#include "server/auth/worker.hpp"
#include "server/net/io_thread.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {

inline std::shared_ptr<const Settings> settings_of(Config config) {
  config.log.level = LogLevel::off;
  setup_log(config.log);
  std::vector<ConfigFault> faults;
  auto access = Access::make(config.access, faults);
  return std::make_shared<const Settings>(Settings{std::move(config), std::move(access)});
}

struct FrontEnd {
  explicit FrontEnd(const Config& config = {})
      : settings(settings_of(config)),
        processor(processor_limits(settings->config)),
        inbox(limits(settings->config), processor),
        thread(inbox, worker, settings) {}

  // Applies all that the queue holds.
  void apply() {
    inbox.start();
    inbox.stop();
  }

  static broker::InboxLimits limits(const Config& config) {
    broker::InboxLimits limits = inbox_limits(config);
    limits.borrow_role = false;
    return limits;
  }

  std::shared_ptr<const Settings> settings;
  broker::Processor processor;
  broker::Inbox inbox;
  Worker worker;
  IoThread thread;
};

}  // namespace millrace::server
