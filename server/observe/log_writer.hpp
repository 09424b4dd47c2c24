// LogWriter: writes finished lines of the log to a descriptor, on a thread of its own, so that a
// reader of standard error that stalls (a stopped terminal, a full pipe) holds up no thread that logs.
//
// spdlog brings the bounded queue and the thread; what does not fit pushes out the oldest line,
// which is counted, and said in the log itself once lines can be written again. The end waits for
// the reader for a moment, not for ever.
//
// Threads: write(), flush() and lines_lost() any.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace spdlog {
class async_logger;
namespace details {
class thread_pool;
}
}  // namespace spdlog

namespace millrace::server {

class LogWriter {
 public:
  // `lost_line` makes the line that says how many were lost.
  LogWriter(int fd, std::size_t lines_max, std::function<std::string(std::uint64_t)> lost_line);
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // One line, without its end. Never waits.
  void write(const std::string& line);
  // Until what was written before is out or lost, or the time is over.
  void flush(std::chrono::milliseconds patience);

  std::uint64_t lines_lost() const;

 private:
  class Sink;

  std::shared_ptr<spdlog::details::thread_pool> pool_;
  std::shared_ptr<Sink> sink_;
  std::shared_ptr<spdlog::async_logger> logger_;
  std::atomic<std::uint64_t> written_{0};  // by callers of write()
};

}  // namespace millrace::server
