// README's tables are what the program prints, so that they cannot drift.
#include <gtest/gtest.h>

#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

// What stands in README between <!-- name:begin --> and <!-- name:end -->.
std::string between_markers(const std::string& name) {
  std::ifstream stream(MILLRACE_SOURCE_DIR "/README.md");
  std::ostringstream whole;
  whole << stream.rdbuf();
  const std::string text = whole.str();
  const std::string begin = "<!-- " + name + ":begin -->\n", end = "<!-- " + name + ":end -->";
  const auto from = text.find(begin), to = text.find(end);
  if (from == std::string::npos || to == std::string::npos) return "no markers for " + name;
  return text.substr(from + begin.size(), to - from - begin.size());
}

std::string printed(const std::string& option) {
  return test::run(std::string(MILLRACE_BINARY) + " check " + option).output;
}

TEST(Readme, HasTheConfigurationTableOfThisProgram) {
  EXPECT_EQ(between_markers("config"), printed("--print-table")) << "run deploy/update-readme.sh";
}

TEST(Readme, HasTheMetricsTableOfThisProgram) {
  EXPECT_EQ(between_markers("metrics"), printed("--print-metrics"))
      << "run deploy/update-readme.sh";
}

}  // namespace
}  // namespace millrace::server
