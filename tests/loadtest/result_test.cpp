#include "loadtest/result.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::loadtest {
namespace {

Result sample() {
  Result r;
  r.add("label", "a \"quoted\", one");
  r.add("delivered", std::uint64_t{8'312'345});
  r.add("rate_per_s", 1234.56);
  Histogram h;
  h.record(1'000, 99);
  h.record(9'000'000);
  r.add_times("latency", h);
  r.warnings.push_back("beware");
  return r;
}

TEST(Result, JsonIsOneObjectAndKeepsTheHistogramIfAsked) {
  const std::string bare = to_json(sample(), false);
  EXPECT_THAT(bare,
              testing::StartsWith("{\"label\": \"a \\\"quoted\\\", one\", \"delivered\": 8312345"));
  EXPECT_THAT(bare, testing::HasSubstr("\"latency_max_us\": 9000.0"));
  EXPECT_THAT(bare, testing::HasSubstr("\"warnings\": [\"beware\"]"));
  EXPECT_THAT(bare, testing::Not(testing::HasSubstr("histograms")));
  const std::string full = to_json(sample(), true);
  EXPECT_THAT(full, testing::HasSubstr("\"histograms_ns\": {\"latency\": [[1003, 99], ["));
}

TEST(Result, TableGroupsDigitsAndShowsWarnings) {
  const std::string table = to_table(sample());
  EXPECT_THAT(table, testing::HasSubstr("8,312,345"));
  EXPECT_THAT(table, testing::HasSubstr("1,234.6"));
  EXPECT_THAT(table, testing::HasSubstr("! beware"));
}

TEST(Result, CsvHasAHeadForEveryColumn) {
  const std::string head = to_csv_head(sample());
  const std::string line = to_csv_line(sample());
  EXPECT_THAT(head, testing::StartsWith("label,delivered,rate_per_s,latency_p50_us"));
  EXPECT_THAT(line, testing::StartsWith("\"a \"\"quoted\"\", one\",8312345,1234.6"));
  EXPECT_THAT(head, testing::EndsWith(",warnings"));
  EXPECT_THAT(line, testing::EndsWith(",beware"));
}

}  // namespace
}  // namespace millrace::loadtest
