// Worker: one thread for what takes too long for the threads that serve sockets: checking
// passwords.
//
// Its line is bounded: what does not fit is refused at once, and whoever asked says so to its peer.
//
// Threads: try_post() and waiting() any; stop() one, and nothing is posted after it.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <cstddef>
#include <functional>
#include <vector>

#include "server/observe/metrics.hpp"

namespace millrace::server {

class Worker {
 public:
  ~Worker() { stop(); }

  // False: `limit` tasks wait or run already, and this one does not.
  bool try_post(std::size_t limit, std::function<void()> task);

  // Tasks that wait or run.
  std::size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }

  // Waits for the running task; those behind it are dropped.
  void stop();

 private:
  std::atomic<std::size_t> waiting_{0};
  boost::asio::thread_pool pool_{1};
};

std::vector<MetricRow> worker_metric_rows(const Worker& worker);

}  // namespace millrace::server
