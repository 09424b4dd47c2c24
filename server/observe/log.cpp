#include "server/observe/log.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/container_hash/hash.hpp>
#include <cstdio>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "server/config/words.hpp"
#include "server/observe/log_writer.hpp"
#include "server/observe/trace.hpp"

namespace millrace::server {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t lines_max = 2048;  // that wait for the reader of standard error

std::atomic<LogFormat> format_in_use{LogFormat::text};
std::atomic<LogLevel> level_in_use{LogLevel::info};

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

std::string line_of_now(LogLevel level, std::string_view event, LogFields fields) {
  return format_log_line(format_in_use.load(std::memory_order_relaxed),
                         std::chrono::system_clock::now(), level, event, fields);
}

// Lives until the process ends; then it waits for a moment for what was logged.
LogWriter& writer() {
  static LogWriter instance(STDERR_FILENO, lines_max, [](std::uint64_t lost) {
    return line_of_now(LogLevel::warn, "log.lost", {{"lines", lost}});
  });
  return instance;
}

bool writes(LogLevel level) {
  const LogLevel least = level_in_use.load(std::memory_order_relaxed);
  return level >= least && least != LogLevel::off;
}

const std::string_view* find_text_field(LogFields fields, std::string_view name) {
  for (const LogField& field : fields) {
    const auto* text = std::get_if<std::string_view>(&field.value.value());
    if (text != nullptr && field.name == name) return text;
  }
  return nullptr;
}

std::string_view text_field(LogFields fields, std::string_view name) {
  const std::string_view* const text = find_text_field(fields, name);
  return text == nullptr ? std::string_view() : *text;
}

// Where somebody else does something to a client, `user` is who does it, and `owner` whose the client is.
TraceClient client_of(LogFields fields) {
  const bool has_owner = find_text_field(fields, "owner") != nullptr;
  return {text_field(fields, "client"), text_field(fields, has_owner ? "owner" : "user")};
}

// What the entry has fields for is not said again in its text.
std::string text_for_trace(LogLevel level, std::string_view event, LogFields fields) {
  std::string text = std::string(word_of(level)) + " " + std::string(event);
  for (const LogField& field : fields) {
    if (field.name == "client" || field.name == "peer" || field.name == "topic") continue;
    text.append(" ").append(field.name).append("=").append(text_of(field.value));
  }
  return text;
}

void trace(LogLevel level, std::string_view event, LogFields fields) {
  traces().record(
      TraceKind::log, client_of(fields), text_field(fields, "topic"),
      [&] { return std::string(text_field(fields, "peer")); },
      [&] { return text_for_trace(level, event, fields); });
}

}  // namespace

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
  level_in_use.store(config.level, std::memory_order_relaxed);
  peer_log_limiter().set_interval(std::chrono::seconds(config.repeat_seconds));
}

bool logs(LogLevel level) {
  return writes(level) || tracing();
}

void log(LogLevel level, std::string_view event, LogFields fields, bool repeated) {
  if (level == LogLevel::off) return;
  if (tracing()) [[unlikely]]
    trace(level, event, fields);
  if (!repeated && writes(level)) writer().write(line_of_now(level, event, fields));
}

void flush_log() {
  writer().flush(std::chrono::seconds(10));
}

std::uint64_t log_lines_lost() {
  return writer().lines_lost();
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
  if (entries_.size() >= peers_max_ && now >= next_forgetting_) {
    forget_old(now);
    next_forgetting_ = now + std::chrono::seconds(1);  // it looks at all of them
  }
  const std::uint64_t hashed = hash(key);
  const bool full = entries_.size() >= peers_max_ && !entries_.contains(hashed);
  const auto [found, is_new] = entries_.try_emplace(full ? 0 : hashed);
  Entry& entry = found->second;
  if (!is_new && now - entry.logged_at < interval_) {
    ++entry.suppressed;
    return {};
  }
  const Verdict verdict{true, entry.suppressed};
  entry = {now, 0};
  return verdict;
}

std::uint64_t LogLimiter::random_seed() {
  std::random_device source;
  return std::uniform_int_distribution<std::uint64_t>()(source);
}

std::uint64_t LogLimiter::hash(std::string_view key) const {
  std::size_t hash = seed_;
  boost::hash_range(hash, key.begin(), key.end());
  return hash;
}

void LogLimiter::forget_old(Clock::time_point now) {
  std::erase_if(entries_,
                [&](const auto& entry) { return now - entry.second.logged_at >= interval_; });
}

}  // namespace millrace::server
