// Counters that one thread writes and all may read, and the text that Prometheus reads.
#include "server/observe/metrics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "protocol/reason_code.hpp"
#include "server/http/server.hpp"
#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string scrape_of(const IoCounters& first, const IoCounters& second) {
  Metrics metrics;
  metrics.add(io_metric_rows({&first, &second}));
  return scrape(metrics);
}

TEST(Metrics, AddsUpWhatTheThreadsCounted) {
  IoCounters first, second;
  first.messages_received[1].add(3);
  second.messages_received[1].add(4);
  first.accepted[0].add(5);
  second.closed[0].add(2);
  const std::string text = scrape_of(first, second);
  EXPECT_THAT(text, HasSubstr("millrace_messages_received_total{qos=\"1\"} 7"));
  EXPECT_THAT(text, HasSubstr("millrace_connections_accepted_total{transport=\"tcp\"} 5"));
  EXPECT_THAT(text, HasSubstr("millrace_connections_open{transport=\"tcp\"} 3"));
}

TEST(Metrics, NamesFaultsByReasonOnceTheyOccur) {
  IoCounters first, second;
  EXPECT_THAT(scrape_of(first, second), Not(HasSubstr("reason=")));
  first.protocol_faults[static_cast<std::size_t>(protocol::ReasonCode::malformed_packet)].add();
  EXPECT_THAT(scrape_of(first, second),
              HasSubstr("millrace_protocol_faults_total{reason=\"malformed packet\"} 1"));
}

TEST(Metrics, HistogramsAreCumulativeAndInSeconds) {
  IoCounters first, second;
  first.publish_to_write.observe(10'000);           // on the first bound
  second.publish_to_write.observe(10'001, 2);       // just over it
  second.publish_to_write.observe(60'000'000'000);  // over all
  const std::string text = scrape_of(first, second);
  EXPECT_THAT(text, HasSubstr("millrace_publish_to_write_seconds_bucket{le=\"1e-05\"} 1"));
  EXPECT_THAT(text, HasSubstr("millrace_publish_to_write_seconds_bucket{le=\"2.5e-05\"} 3"));
  EXPECT_THAT(text, HasSubstr("millrace_publish_to_write_seconds_bucket{le=\"10\"} 3"));
  EXPECT_THAT(text, HasSubstr("millrace_publish_to_write_seconds_bucket{le=\"+Inf\"} 4"));
  EXPECT_THAT(text, HasSubstr("millrace_publish_to_write_seconds_count 4"));
}

TEST(Metrics, ProcessFiguresAreThisProcess) {
  Metrics metrics;
  metrics.add(process_metric_rows());
  std::map<std::string, double> values;
  for (const auto& family : metrics.Collect()) {
    ASSERT_EQ(family.metric.size(), 1u);
    values[family.name] = family.metric[0].gauge.value;
  }
  EXPECT_GT(values["process_resident_memory_bytes"], 1e6);
  EXPECT_GT(values["process_virtual_memory_bytes"], values["process_resident_memory_bytes"]);
  EXPECT_GE(values["process_open_fds"], 3);
  EXPECT_GE(values["process_max_fds"], values["process_open_fds"]);
  EXPECT_GE(values["process_threads"], 1);
  EXPECT_GT(values["process_start_time_seconds"], 1.6e9);
  EXPECT_LE(values["process_start_time_seconds"], static_cast<double>(std::time(nullptr)) + 1);
}

TEST(Metrics, EveryRowHasAProperName) {
  const HttpCounters http;
  Metrics metrics;
  metrics.add(io_metric_rows({}));
  metrics.add(http_metric_rows(http));
  metrics.add(process_metric_rows());
  std::set<std::string> names;
  for (const MetricRow& row : metrics.rows()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name << " stands twice";
    EXPECT_EQ(row.type == MetricType::counter, row.name.ends_with("_total")) << row.name;
    EXPECT_TRUE(row.name.starts_with("millrace_") || row.name.starts_with("process_")) << row.name;
    EXPECT_TRUE(row.help.ends_with('.')) << row.name;
  }
}

TEST(Metrics, PassPromtool) {
  if (!test::has_program("promtool")) GTEST_SKIP() << "promtool is not installed";
  IoCounters io;
  io.protocol_faults[0x81].add();
  io.packets_received[3].add();
  io.publish_to_write.observe(5);
  const HttpCounters http;
  Metrics metrics;
  metrics.add(io_metric_rows({&io}));
  metrics.add(http_metric_rows(http));
  metrics.add(process_metric_rows());
  const test::Folder folder;
  const std::string file = folder.write("metrics.txt", scrape(metrics));
  const auto finished = test::run("promtool check metrics < " + file);
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_EQ(finished.output, "");
}

TEST(Metrics, MayBeScrapedWhileTheThreadsCount) {
  IoCounters io;
  Metrics metrics;
  metrics.add(io_metric_rows({&io}));
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop.load()) {
      io.accepted[0].add();
      io.closed[0].add();
      io.publish_to_write.observe(1'000);
    }
  });
  std::uint64_t last = 0;
  for (int i = 0; i < 200; ++i) {
    const auto families = metrics.Collect();
    const auto now = static_cast<std::uint64_t>(families.front().metric.front().counter.value);
    EXPECT_GE(now, last);
    last = now;
  }
  stop.store(true);
  writer.join();
}

TEST(MetricsTable, HasALineForEachRow) {
  const auto rows = process_metric_rows();
  const std::string table = metrics_table_markdown(rows);
  EXPECT_EQ(static_cast<std::size_t>(std::count(table.begin(), table.end(), '\n')),
            rows.size() + 2);
  EXPECT_THAT(table, HasSubstr("| `process_open_fds` | gauge |  | Open file descriptors. |"));
}

}  // namespace
}  // namespace millrace::server
