// README's tables are what the program prints, so that they cannot drift.
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream stream(fs::path(MILLRACE_SOURCE_DIR) / path);
  std::ostringstream whole;
  whole << stream.rdbuf();
  return whole.str();
}

// What stands in README between <!-- name:begin --> and <!-- name:end -->.
std::string between_markers(const std::string& name) {
  const std::string text = text_of("README.md");
  const std::string begin = "<!-- " + name + ":begin -->\n", end = "<!-- " + name + ":end -->";
  const auto from = text.find(begin), to = text.find(end);
  if (from == std::string::npos || to == std::string::npos) return "no markers for " + name;
  return text.substr(from + begin.size(), to - from - begin.size());
}

std::string printed(const std::string& option) {
  return test::run(std::string(MILLRACE_BINARY) + " check " + option).output;
}

// The step that a file's head comment begins with, "// [4] submit: ...", as "4 submit"; or nothing.
std::string step_of(const fs::path& path) {
  const std::string text = text_of(path);
  std::smatch found;
  const bool says = std::regex_search(text, found, std::regex(R"(^// \[(\d)\] ([a-z, ]+):)"),
                                      std::regex_constants::match_continuous);
  return says ? found.str(1) + " " + found.str(2) : "";
}

struct WalkStep {
  std::string name;              // "4 submit"
  std::vector<fs::path> linked;  // files and folders
};

std::vector<WalkStep> walk_in_readme() {
  const std::string readme = text_of("README.md");
  const auto from = readme.find("## The walk of one message");
  const std::string text = readme.substr(from, readme.find("\n## ", from) - from);
  const std::regex row(R"(\| (\d [a-z, ]+) \|[^\n]*)"), link(R"(\]\(([^)]+)\))");
  const std::sregex_iterator none;
  std::vector<WalkStep> steps;
  for (std::sregex_iterator found(text.begin(), text.end(), row); found != none; ++found) {
    steps.push_back({found->str(1), {}});
    const std::string line = found->str();
    for (std::sregex_iterator one(line.begin(), line.end(), link); one != none; ++one) {
      steps.back().linked.emplace_back(one->str(1));
    }
  }
  return steps;
}

TEST(Readme, WalksThroughTheFilesThatSayTheyDoTheStep) {
  const auto steps = walk_in_readme();
  ASSERT_EQ(steps.size(), 9u);
  std::set<fs::path> linked;
  for (const auto& step : steps) {
    bool one_does_it = false;
    for (const auto& path : step.linked) {
      ASSERT_TRUE(fs::exists(fs::path(MILLRACE_SOURCE_DIR) / path)) << path;
      one_does_it = one_does_it || step_of(path) == step.name;
      linked.insert(path);
    }
    EXPECT_TRUE(one_does_it) << "no file of step " << step.name << " begins with it";
  }
  for (const char* layer : {"protocol", "core", "server"}) {
    for (const auto& entry :
         fs::recursive_directory_iterator(fs::path(MILLRACE_SOURCE_DIR) / layer)) {
      const auto path = fs::relative(entry.path(), MILLRACE_SOURCE_DIR);
      if (entry.path().extension() != ".hpp" || step_of(path).empty()) continue;
      EXPECT_TRUE(linked.contains(path)) << path << " is a step that README does not link";
    }
  }
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
