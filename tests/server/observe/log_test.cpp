// Lines that people and programs can read, and that no peer can forge.
#include "server/observe/log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace millrace::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const std::chrono::system_clock::time_point some_time{milliseconds(1'700'000'000'123)};

std::string text(LogFields fields) {
  return format_log_line(LogFormat::text, some_time, LogLevel::info, "an.event", fields);
}

TEST(LogLine, IsReadableAsText) {
  EXPECT_EQ(text({{"port", 1883}, {"name", "tcp"}, {"ratio", 0.5}, {"on", true}}),
            "2023-11-14T22:13:20.123Z info  an.event port=1883 name=tcp ratio=0.5 on=true");
}

TEST(LogLine, QuotesWhatCouldBeMistaken) {
  EXPECT_EQ(text({{"a", "x y"}}).substr(40), "a=\"x y\"");
  EXPECT_EQ(text({{"a", ""}}).substr(40), "a=\"\"");
  EXPECT_EQ(text({{"a", "x\ny=1"}}).substr(40), "a=\"x\\ny=1\"");
  EXPECT_EQ(text({{"a", "\x1b[31m"}}).substr(40), "a=\"\\u001b[31m\"");
  EXPECT_EQ(text({{"a", "\xc2\x9b"}}).substr(40), "a=\"\\u009b\"");
}

TEST(LogLine, IsOneJsonObject) {
  const std::string line =
      format_log_line(LogFormat::json, some_time, LogLevel::warn, "an.event",
                      {{"client", "a\"b\n\xff"}, {"count", std::uint64_t{7}}, {"ok", false}});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const auto parsed = nlohmann::json::parse(line);
  EXPECT_EQ(parsed["time"], "2023-11-14T22:13:20.123Z");
  EXPECT_EQ(parsed["level"], "warn");
  EXPECT_EQ(parsed["event"], "an.event");
  EXPECT_EQ(parsed["client"], "a\"b\n\xef\xbf\xbd");
  EXPECT_EQ(parsed["count"], 7);
  EXPECT_EQ(parsed["ok"], false);
}

TEST(Log, GoesToStandardErrorAtItsLevelAndAbove) {
  testing::internal::CaptureStderr();
  setup_log({LogLevel::warn, LogFormat::text, 10});
  log_info("not.this");
  log_warn("this", {{"a", 1}});
  setup_log({LogLevel::info, LogFormat::json, 10});
  log_info("that");
  flush_log();
  const std::string written = testing::internal::GetCapturedStderr();
  EXPECT_EQ(written.find("not.this"), std::string::npos);
  EXPECT_NE(written.find("warn  this a=1\n"), std::string::npos);
  EXPECT_NE(written.find("\"event\":\"that\"}\n"), std::string::npos);
}

using Clock = LogLimiter::Clock;

TEST(LogLimiter, LogsTheFirstAndThenOnceAnIntervalWithACount) {
  LogLimiter limiter(seconds(10));
  const Clock::time_point start{};
  EXPECT_TRUE(limiter.ask("peer", start).log);
  EXPECT_FALSE(limiter.ask("peer", start + seconds(1)).log);
  EXPECT_FALSE(limiter.ask("peer", start + seconds(9)).log);
  EXPECT_TRUE(limiter.ask("other", start + seconds(9)).log);
  const auto later = limiter.ask("peer", start + seconds(10));
  EXPECT_TRUE(later.log);
  EXPECT_EQ(later.suppressed, 2u);
}

TEST(LogLimiter, IsBoundedAndForgetsTheQuiet) {
  LogLimiter limiter(seconds(10), 2);
  const Clock::time_point start{};
  EXPECT_TRUE(limiter.ask("a", start).log);
  EXPECT_TRUE(limiter.ask("b", start).log);
  EXPECT_TRUE(limiter.ask("c", start).log);   // the shared allowance
  EXPECT_FALSE(limiter.ask("d", start).log);  // used up
  EXPECT_TRUE(limiter.ask("d", start + seconds(10)).log);
  EXPECT_FALSE(limiter.ask("d", start + seconds(11)).log);
}

TEST(LogLimiter, WithNoIntervalLogsAll) {
  LogLimiter limiter(seconds(0));
  EXPECT_TRUE(limiter.ask("a").log);
  EXPECT_TRUE(limiter.ask("a").log);
}

}  // namespace
}  // namespace millrace::server
