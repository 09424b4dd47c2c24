// Metrics: everything that Prometheus sees, from one table.
//
// A `MetricRow` says a metric's name, help, type and labels, and how its samples are read. At a
// scrape `Metrics` walks the table and builds prometheus-cpp's families, so counting costs the hot
// path nothing but single-writer counters (counters.hpp). The table in docs/metrics.md is made from
// the same rows.
//
// Threads: rows are added at start-up by one thread; after that any thread may scrape.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/histogram.hpp"
#include "server/observe/counters.hpp"

namespace millrace::server {

enum class MetricType : std::uint8_t { counter, gauge, histogram };

// Handed to a row's reader; takes its samples, label values in the order of the row's label names.
class MetricWriter {
 public:
  MetricWriter(prometheus::MetricFamily& family, const std::vector<std::string>& label_names)
      : family_(family), label_names_(label_names) {}

  void sample(double value, std::initializer_list<std::string_view> label_values = {});
  // Counts per bucket, one more than bounds; bounds and sum are multiplied by `unit`.
  void histogram(std::span<const std::uint64_t> bounds, std::span<const std::uint64_t> buckets,
                 std::uint64_t sum, double unit,
                 std::initializer_list<std::string_view> label_values = {});
  template <std::size_t count>
  void histogram(const base::PowerHistogram<count>& from, double unit) {
    std::array<std::uint64_t, count - 1> bounds;
    std::array<std::uint64_t, count> buckets;
    for (std::size_t i = 0; i < bounds.size(); ++i) bounds[i] = std::uint64_t{1} << i;
    for (std::size_t i = 0; i < count; ++i) buckets[i] = from.buckets[i].value();
    histogram(bounds, buckets, from.sum.value(), unit);
  }

 private:
  prometheus::ClientMetric& add(std::initializer_list<std::string_view> label_values);

  prometheus::MetricFamily& family_;
  const std::vector<std::string>& label_names_;
};

struct MetricRow {
  std::string name;  // millrace_..., unit last, counters end in _total
  MetricType type = MetricType::counter;
  std::vector<std::string> labels;
  std::string help;  // one sentence; stands in the exposition and in docs/metrics.md
  std::function<void(MetricWriter&)> read;
};

// One sample without labels. The counter must outlive the row.
MetricRow counter_row(std::string name, MetricType type, std::string help, const Counter& counter);

class Metrics : public prometheus::Collectable {
 public:
  void add(MetricRow row);
  void add(std::vector<MetricRow> rows);

  std::vector<prometheus::MetricFamily> Collect() const override;
  const std::vector<MetricRow>& rows() const { return rows_; }

 private:
  std::vector<MetricRow> rows_;
};

// The rows of each source. A source must outlive the Metrics that its rows were added to.
std::vector<MetricRow> io_metric_rows(std::vector<const IoCounters*> threads);
std::vector<MetricRow> process_metric_rows();
std::vector<MetricRow> log_metric_rows();

// The text exposition, by prometheus-cpp's serialiser.
std::string scrape(const prometheus::Collectable& metrics);
inline constexpr std::string_view metrics_content_type = "text/plain; version=0.0.4; charset=utf-8";

// For docs/metrics.md: one line a row.
std::string metrics_table_markdown(const std::vector<MetricRow>& rows);

}  // namespace millrace::server
