#include "server/auth/worker.hpp"

#include <boost/asio/post.hpp>
#include <utility>

namespace millrace::server {

bool Worker::try_post(std::size_t limit, std::function<void()> task) {
  if (waiting_.fetch_add(1, std::memory_order_relaxed) >= limit) {
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  boost::asio::post(pool_, [this, task = std::move(task)] {
    task();
    waiting_.fetch_sub(1, std::memory_order_relaxed);
  });
  return true;
}

void Worker::stop() {
  pool_.stop();
  pool_.join();
}

std::vector<MetricRow> worker_metric_rows(const Worker& worker) {
  return {
      {"millrace_password_checks_waiting",
       MetricType::gauge,
       {},
       "Clients whose password is being checked or waits to be.",
       [&worker](MetricWriter& writer) { writer.sample(static_cast<double>(worker.waiting())); }}};
}

}  // namespace millrace::server
