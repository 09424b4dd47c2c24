// StoreHost: the durable store of a server: finds in its folder what the last process left, gives it
// to the processor, and tells the processor from then on what is on the disk.
//
// Threads: main's; what is const any.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/broker/inbox.hpp"
#include "core/broker/processor.hpp"
#include "core/store/store.hpp"
#include "server/config/config.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

class StoreHost {
 public:
  // Opens the store and restores the processor from it. Throws store::StoreError.
  StoreHost(const StoreConfig& config, broker::Processor& processor,
            std::shared_ptr<const broker::Authority> authority);

  // Before the first command of a front-end.
  void start(broker::Inbox& inbox);
  // Before the inbox stops: the processor is told nothing any more.
  void end_reports();
  // After the inbox: writes what is left; with `off`, everything.
  void stop();

  // Nothing is gained by waiting: no answer waits for the disk, or the disk does not work.
  bool is_quiet() const {
    return !store_.acknowledgements_wait() || store_.idle() ||
           store_.state() != store::Store::State::good;
  }
  // Why the server is not ready; empty: it is.
  std::string fault() const;

  const store::Store& engine() const { return store_; }
  const store::Recovery& recovery() const { return recovery_; }
  const broker::RestoreFigures& restored() const { return restored_; }
  double recovery_seconds() const { return recovery_seconds_; }

 private:
  void restore(Durability durability, std::shared_ptr<const broker::Authority> authority);
  void log_damage() const;
  void write_all();
  void submit(std::uint64_t number);
  void report(std::string_view event, const std::string& detail) const;

  const std::string path_;
  const Durability durability_;
  const bool newest_values_;
  const OnStoreFailure on_failure_;
  const std::uint64_t waiting_bytes_max_;
  broker::Processor& processor_;
  store::PosixFiles files_;
  store::Store store_;
  store::Recovery recovery_;
  broker::RestoreFigures restored_;
  double recovery_seconds_ = 0;
  broker::Inbox* inbox_ = nullptr;
  std::mutex submit_mutex_;
  std::atomic<bool> closed_{false};  // nothing is submitted any more
};

// Null: there is no store, and no samples.
std::vector<MetricRow> store_metric_rows(const StoreHost* host,
                                         const broker::ProcessorStats& stats);

}  // namespace millrace::server
