#include "server/observe/log_writer.hpp"

#include <poll.h>
#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <string_view>
#include <thread>
#include <utility>

namespace millrace::server {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds patience_at_end{1000};
constexpr int poll_ms = 50;

}  // namespace

// Runs on the pool's thread alone, but for close_by() and the counts.
class LogWriter::Sink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  Sink(int fd, std::function<std::string(std::uint64_t)> lost_line)
      : fd_(fd), lost_line_(std::move(lost_line)) {}

  void set_pool(spdlog::details::thread_pool& pool) { pool_ = &pool; }
  // From then on what cannot be written at once is dropped.
  void close_by(Clock::time_point time) {
    close_by_.store(time.time_since_epoch().count(), std::memory_order_relaxed);
  }
  std::uint64_t done() const { return done_.load(std::memory_order_relaxed); }
  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    // What was lost is older than this line.
    const std::uint64_t lost = pool_->overrun_counter();
    if (lost > told_ && put(lost_line_(lost - told_) + "\n")) told_ = lost;
    const bool written = put(std::string(message.payload.data(), message.payload.size()) + "\n");
    if (!written) dropped_.fetch_add(1, std::memory_order_relaxed);
    done_.fetch_add(1, std::memory_order_relaxed);
  }
  void flush_() override {}

  // A write of at most PIPE_BUF bytes to what poll() calls writable does not wait.
  bool put(std::string_view text) {
    while (!text.empty()) {
      const auto close_by = close_by_.load(std::memory_order_relaxed);
      const bool over = Clock::now().time_since_epoch().count() >= close_by;
      pollfd writable{fd_, POLLOUT, 0};
      if (::poll(&writable, 1, over ? 0 : poll_ms) < 1) {
        if (over) return false;
        continue;
      }
      const auto part = std::min<std::size_t>(text.size(), PIPE_BUF);
      const ssize_t count = ::write(fd_, text.data(), part);
      if (count < 0 && errno != EINTR && errno != EAGAIN) return false;
      if (count > 0) text.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }

  const int fd_;
  const std::function<std::string(std::uint64_t)> lost_line_;
  spdlog::details::thread_pool* pool_ = nullptr;  // whose thread this is
  std::uint64_t told_ = 0;                        // of the lost lines
  std::atomic<Clock::rep> close_by_{Clock::time_point::max().time_since_epoch().count()};
  std::atomic<std::uint64_t> done_{0};
  std::atomic<std::uint64_t> dropped_{0};
};

LogWriter::LogWriter(int fd, std::size_t lines_max,
                     std::function<std::string(std::uint64_t)> lost_line)
    : pool_(std::make_shared<spdlog::details::thread_pool>(lines_max, 1)),
      sink_(std::make_shared<Sink>(fd, std::move(lost_line))),
      logger_(std::make_shared<spdlog::async_logger>(
          "millrace", sink_, pool_, spdlog::async_overflow_policy::overrun_oldest)) {
  sink_->set_pool(*pool_);
  logger_->set_level(spdlog::level::trace);
}

LogWriter::~LogWriter() {
  sink_->close_by(Clock::now() + patience_at_end);
  logger_.reset();
  pool_.reset();  // joins its thread
}

void LogWriter::write(const std::string& line) {
  written_.fetch_add(1, std::memory_order_relaxed);
  logger_->log(spdlog::level::info, spdlog::string_view_t(line));
}

void LogWriter::flush(std::chrono::milliseconds patience) {
  const std::uint64_t written = written_.load(std::memory_order_relaxed);
  const auto end = Clock::now() + patience;
  while (sink_->done() + pool_->overrun_counter() < written && Clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

std::uint64_t LogWriter::lines_lost() const {
  return pool_->overrun_counter() + sink_->dropped();
}

}  // namespace millrace::server
