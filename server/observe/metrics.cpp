#include "server/observe/metrics.hpp"

#include <prometheus/text_serializer.h>

#include <cassert>
#include <cstdlib>
#include <limits>
#include <utility>

namespace millrace::server {

namespace {

prometheus::MetricType family_type(MetricType type) {
  switch (type) {
    case MetricType::counter:
      return prometheus::MetricType::Counter;
    case MetricType::gauge:
      return prometheus::MetricType::Gauge;
    case MetricType::histogram:
      return prometheus::MetricType::Histogram;
  }
  return prometheus::MetricType::Untyped;
}

const char* type_word(MetricType type) {
  return type == MetricType::counter ? "counter"
         : type == MetricType::gauge ? "gauge"
                                     : "histogram";
}

}  // namespace

prometheus::ClientMetric& MetricWriter::add(std::initializer_list<std::string_view> label_values) {
  if (label_values.size() != label_names_.size()) {
    std::fprintf(stderr, "metric %s: %zu label values for %zu labels\n", family_.name.c_str(),
                 label_values.size(), label_names_.size());
    std::abort();
  }
  prometheus::ClientMetric metric;
  auto name = label_names_.begin();
  for (const std::string_view value : label_values) {
    metric.label.push_back({*name++, std::string(value)});
  }
  family_.metric.push_back(std::move(metric));
  return family_.metric.back();
}

void MetricWriter::sample(double value, std::initializer_list<std::string_view> label_values) {
  prometheus::ClientMetric& metric = add(label_values);
  metric.counter.value = value;
  metric.gauge.value = value;
}

void MetricWriter::histogram(std::span<const std::uint64_t> bounds,
                             std::span<const std::uint64_t> buckets, std::uint64_t sum, double unit,
                             std::initializer_list<std::string_view> label_values) {
  prometheus::ClientMetric& metric = add(label_values);
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    count += buckets[i];
    const double bound = i < bounds.size() ? static_cast<double>(bounds[i]) * unit
                                           : std::numeric_limits<double>::infinity();
    metric.histogram.bucket.push_back({count, bound});
  }
  metric.histogram.sample_count = count;
  metric.histogram.sample_sum = static_cast<double>(sum) * unit;
}

MetricRow counter_row(std::string name, MetricType type, std::string help, const Counter& counter) {
  return {std::move(name), type, {}, std::move(help), [&counter](MetricWriter& writer) {
            writer.sample(static_cast<double>(counter.value()));
          }};
}

void Metrics::add(MetricRow row) {
  rows_.push_back(std::move(row));
}

void Metrics::add(std::vector<MetricRow> rows) {
  for (MetricRow& row : rows) add(std::move(row));
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  std::vector<prometheus::MetricFamily> families;
  families.reserve(rows_.size());
  for (const MetricRow& row : rows_) {
    prometheus::MetricFamily family;
    family.name = row.name;
    family.help = row.help;
    family.type = family_type(row.type);
    MetricWriter writer(family, row.labels);
    row.read(writer);
    families.push_back(std::move(family));
  }
  return families;
}

std::string scrape(const prometheus::Collectable& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.Collect());
}

std::string metrics_table_markdown(const std::vector<MetricRow>& rows) {
  std::string table = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n";
  for (const MetricRow& row : rows) {
    std::string labels;
    for (const std::string& label : row.labels) labels += (labels.empty() ? "" : ", ") + label;
    table += "| `" + row.name + "` | " + type_word(row.type) + " | " + labels + " | " + row.help +
             " |\n";
  }
  return table;
}

}  // namespace millrace::server
