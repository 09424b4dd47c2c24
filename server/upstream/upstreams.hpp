// Upstreams: all that are configured, one object for each, spread over the I/O threads.
//
// Threads: apply() is main's; missing(), for_each() and the metrics any.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/auth/settings.hpp"
#include "server/net/io_thread.hpp"
#include "server/observe/metrics.hpp"
#include "server/upstream/upstream.hpp"

namespace millrace::server {

class Upstreams {
 public:
  // The threads outlive it. None: there are no upstreams, for the table of metrics.
  explicit Upstreams(std::vector<IoThread*> threads) : threads_(std::move(threads)) {}

  // Starts those that are new, ends those that are gone, and changes those that are others now.
  void apply(const Settings& settings);

  // Why the server is not ready: a link that is required is down. Empty: none is.
  std::string missing() const;

  // Refer to this object.
  std::vector<MetricRow> metric_rows() const;
  // By name.
  void for_each(
      const std::function<void(const std::string& name, const UpstreamStats&)>& visit) const;

 private:
  std::uint16_t origin_of(const std::string& name);

  const std::vector<IoThread*> threads_;
  std::size_t next_thread_ = 0;
  // A name has the same number for good, and in the next process: stored values that came from it are
  // still known as its own. Two names of one checksum have those that their order gives them.
  std::map<std::string, std::uint16_t> origins_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Upstream>> by_name_;  // under mutex_
  // Those that were: one that comes back does so after its old link and session have ended, and with
  // the same counts.
  std::map<std::string, std::shared_ptr<Upstream>> removed_;
};

}  // namespace millrace::server
