// A reload is one step: all of it or nothing, and what must wait for a restart is said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/config/config.hpp"
#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Reload : public ::testing::Test {
 protected:
  ConfigSources file_with(const std::string& text) {
    ConfigSources sources;
    sources.file = folder_.write("millrace.json", text);
    return sources;
  }
  test::Folder folder_;
};

TEST_F(Reload, TakesWhatCanChangeAndNamesWhatCannot) {
  const Config running = load_config(file_with("{}")).config;
  const auto reloaded = reload_config(
      running, file_with(R"({"log": {"level": "debug"}, "http": {"port": 1}, "inflight_max": 5,
                             "access": {"rules": [{"effect": "allow"}]}})"));
  EXPECT_TRUE(reloaded.ok());
  EXPECT_THAT(reloaded.applied, ElementsAre("access.rules", "log.level"));
  EXPECT_THAT(reloaded.needs_restart, ElementsAre("http.port", "inflight_max"));
  EXPECT_EQ(reloaded.config.log.level, LogLevel::debug);
  EXPECT_EQ(reloaded.config.access.rules.size(), 1u);
  EXPECT_EQ(reloaded.config.http.port, running.http.port);
}

TEST_F(Reload, WithoutAChangeDoesNothing) {
  const ConfigSources sources = file_with(R"({"log": {"level": "warn"}})");
  const auto reloaded = reload_config(load_config(sources).config, sources);
  EXPECT_TRUE(reloaded.ok());
  EXPECT_THAT(reloaded.applied, IsEmpty());
  EXPECT_THAT(reloaded.needs_restart, IsEmpty());
}

TEST_F(Reload, WithAFaultAnywhereChangesNothing) {
  const Config running = load_config(file_with("{}")).config;
  const auto reloaded =
      reload_config(running, file_with(R"({"log": {"level": "debug"}, "inflight_max": 0})"));
  EXPECT_FALSE(reloaded.ok());
  EXPECT_EQ(reloaded.config.log.level, LogLevel::info);
  EXPECT_THAT(reloaded.applied, IsEmpty());
}

TEST_F(Reload, NeverLeavesOldListenersOpenWithoutAuthentication) {
  // Listeners stay until a restart; taking the permission away under them is refused.
  const Config running = load_config(file_with(R"({"listeners": [{"host": "0.0.0.0"}],
                                "access": {"allow_anonymous": true}})"))
                             .config;
  const auto reloaded = reload_config(running, file_with("{}"));
  EXPECT_FALSE(reloaded.ok());
  EXPECT_EQ(reloaded.config.access.allow_anonymous, true);
}

TEST_F(Reload, LooksAtTheCommandLineAgain) {
  ConfigSources sources = file_with("{}");
  sources.sets = {"log.level=error"};
  const Config running = load_config(sources).config;
  folder_.write("millrace.json", R"({"log": {"level": "debug", "format": "json"}})");
  const auto reloaded = reload_config(running, sources);
  EXPECT_EQ(reloaded.config.log.level, LogLevel::error);
  EXPECT_EQ(reloaded.config.log.format, LogFormat::json);
}

}  // namespace
}  // namespace millrace::server
