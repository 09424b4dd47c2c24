#include "server/observe/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "server/config/words.hpp"

namespace millrace::server {

namespace {

using Json = nlohmann::ordered_json;

std::atomic<LogFormat> format_in_use{LogFormat::text};

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::trace:
      return spdlog::level::trace;
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warn:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::off:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

// The lines are made here, so that text and JSON escape alike; spdlog owns level, lock and sink.
spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = std::make_unique<spdlog::logger>("millrace",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *instance;
}

// 2026-11-21T03:35:01.123Z
std::string time_text(std::chrono::system_clock::time_point time) {
  using std::chrono::duration_cast;
  const auto since_epoch = time.time_since_epoch();
  const auto ms = duration_cast<std::chrono::milliseconds>(since_epoch).count();
  const std::time_t seconds = static_cast<std::time_t>(ms / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char day[32], text[48];
  std::strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text, sizeof text, "%s.%03dZ", day, static_cast<int>(ms % 1000));
  return text;
}

Json json_of(const LogValue& value) {
  return std::visit([](const auto& inner) { return Json(inner); }, value.value());
}

bool is_plain(std::string_view text) {
  const auto plain = [](unsigned char c) {
    return c > 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '=';
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), plain);
}

std::string text_of(const LogValue& value) {
  const auto* text = std::get_if<std::string_view>(&value.value());
  if (text != nullptr && is_plain(*text)) return std::string(*text);
  return json_of(value).dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace

std::string format_log_line(LogFormat format, std::chrono::system_clock::time_point time,
                            LogLevel level, std::string_view event, LogFields fields) {
  if (format == LogFormat::json) {
    Json line = {{"time", time_text(time)}, {"level", word_of(level)}, {"event", event}};
    for (const LogField& field : fields) line[std::string(field.name)] = json_of(field.value);
    return line.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  std::string line = time_text(time) + " ";
  line += word_of(level);
  line.append(6 - std::min<std::size_t>(5, word_of(level).size()), ' ');
  line += event;
  for (const LogField& field : fields) {
    line.append(" ").append(field.name).append("=").append(text_of(field.value));
  }
  return line;
}

void setup_log(const LogConfig& config) {
  format_in_use.store(config.format, std::memory_order_relaxed);
  logger().set_level(spdlog_level(config.level));
  peer_log_limiter().set_interval(std::chrono::seconds(config.repeat_seconds));
}

bool logs(LogLevel level) {
  return logger().should_log(spdlog_level(level));
}

void log(LogLevel level, std::string_view event, LogFields fields) {
  if (level == LogLevel::off || !logs(level)) return;
  const std::string line = format_log_line(format_in_use.load(std::memory_order_relaxed),
                                           std::chrono::system_clock::now(), level, event, fields);
  logger().log(spdlog_level(level), spdlog::string_view_t(line));
}

LogLimiter& peer_log_limiter() {
  static LogLimiter limiter(std::chrono::seconds(LogConfig().repeat_seconds));
  return limiter;
}

void LogLimiter::set_interval(Clock::duration interval) {
  const std::lock_guard lock(mutex_);
  interval_ = interval;
}

LogLimiter::Verdict LogLimiter::ask(std::string_view key, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (interval_ <= Clock::duration::zero()) return {true, 0};
  if (entries_.size() >= peers_max_) forget_old(now);
  const bool full = entries_.size() >= peers_max_ && !entries_.contains(std::string(key));
  const auto [found, is_new] = entries_.try_emplace(full ? std::string() : std::string(key));
  Entry& entry = found->second;
  if (!is_new && now - entry.logged_at < interval_) {
    ++entry.suppressed;
    return {};
  }
  const Verdict verdict{true, entry.suppressed};
  entry = {now, 0};
  return verdict;
}

void LogLimiter::forget_old(Clock::time_point now) {
  std::erase_if(entries_,
                [&](const auto& entry) { return now - entry.second.logged_at >= interval_; });
}

}  // namespace millrace::server
