// The log: one line an event to standard error, as text or as JSON.
//
//     log_info("listener.ready", {{"listener", "tcp"}, {"port", 1883}});
//     2026-11-21T03:35:01.123Z info  listener.ready listener=tcp port=1883
//     {"time":"2026-11-21T03:35:01.123Z","level":"info","event":"listener.ready","listener":"tcp",...}
//
// An event is a dotted word that does not change with its circumstances; those are fields. What
// peers sent is escaped, so that no client can forge a line.
//
// No thread waits for a line to be written (log_writer.hpp): when its reader stalls, the oldest lines
// that wait are lost, and counted.
//
// While a trace runs (trace.hpp), the lines of its client, topic or address go to it, too, whatever
// their level, and those that LogLimiter holds back from standard error.
//
// Threads: setup_log at start-up and at reload, by one thread; all else by any thread. A line whose
// level is off costs two comparisons.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <variant>

#include "server/config/config.hpp"

namespace millrace::server {

class LogValue {
 public:
  LogValue(std::string_view text) : value_(text) {}               // NOLINT: meant to be implicit
  LogValue(const char* text) : value_(std::string_view(text)) {}  // NOLINT
  LogValue(const std::string& text) : value_(std::string_view(text)) {}  // NOLINT
  LogValue(bool flag) : value_(flag) {}                                  // NOLINT
  LogValue(double number) : value_(number) {}                            // NOLINT
  template <class Integer>
  requires(std::is_integral_v<Integer> && !std::is_same_v<Integer, bool>) LogValue(Integer number)
      : value_(static_cast<std::int64_t>(number)) {}  // NOLINT

  const auto& value() const { return value_; }

 private:
  std::variant<std::string_view, bool, double, std::int64_t> value_;
};

struct LogField {
  std::string_view name;
  LogValue value;
};

using LogFields = std::initializer_list<LogField>;

void setup_log(const LogConfig& config);
// Standard error takes such a line, or a trace may.
bool logs(LogLevel level);
// `repeated`: standard error is to be spared it (LogLimiter).
void log(LogLevel level, std::string_view event, LogFields fields = {}, bool repeated = false);
// Until what was logged before has been written, or lost; ten seconds at most.
void flush_log();
// Lines that could not be written, as their reader did not take them.
std::uint64_t log_lines_lost();

inline void log_debug(std::string_view event, LogFields fields = {}) {
  if (logs(LogLevel::debug)) log(LogLevel::debug, event, fields);
}
inline void log_info(std::string_view event, LogFields fields = {}) {
  if (logs(LogLevel::info)) log(LogLevel::info, event, fields);
}
inline void log_warn(std::string_view event, LogFields fields = {}) {
  if (logs(LogLevel::warn)) log(LogLevel::warn, event, fields);
}
inline void log_error(std::string_view event, LogFields fields = {}) {
  if (logs(LogLevel::error)) log(LogLevel::error, event, fields);
}

// 2026-11-21T03:35:01.123Z
std::string time_text(std::chrono::system_clock::time_point time);
// One line of the log, without its end. Pure.
std::string format_log_line(LogFormat format, std::chrono::system_clock::time_point time,
                            LogLevel level, std::string_view event, LogFields fields);

// Repeated faults of one peer: the first is logged, then one line in `interval`, with how many were
// left out. Bounded: with `peers_max` peers in one interval, new ones share one allowance.
class LogLimiter {
 public:
  using Clock = std::chrono::steady_clock;

  explicit LogLimiter(Clock::duration interval, std::size_t peers_max = 4096)
      : interval_(interval), peers_max_(peers_max), seed_(random_seed()) {}

  struct Verdict {
    bool log = false;
    std::uint64_t suppressed = 0;  // since the last line of this key
  };
  void set_interval(Clock::duration interval);
  // `key` says who and what, for instance "10.0.0.7 malformed packet".
  Verdict ask(std::string_view key, Clock::time_point now = Clock::now());

 private:
  struct Entry {
    Clock::time_point logged_at;
    std::uint64_t suppressed = 0;
  };
  static std::uint64_t random_seed();
  std::uint64_t hash(std::string_view key) const;
  void forget_old(Clock::time_point now);

  std::mutex mutex_;
  Clock::duration interval_;
  std::size_t peers_max_;
  const std::uint64_t seed_;  // so that no peer can choose a key whose hash is another's
  std::unordered_map<std::uint64_t, Entry> entries_;  // by the key's hash; 0: keys without room
  Clock::time_point next_forgetting_{};
};

// The one that all connections share; setup_log gives it log.repeat_seconds.
LogLimiter& peer_log_limiter();

}  // namespace millrace::server
