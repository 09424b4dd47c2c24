// The result of one run: named figures in the order of output, histograms, and warnings. A figure's
// name ends with its unit. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "loadtest/histogram.hpp"
#include "loadtest/options.hpp"

namespace millrace::loadtest {

struct Result {
  using Value = std::variant<std::string, std::int64_t, double>;

  std::vector<std::pair<std::string, Value>> figures;
  std::vector<std::pair<std::string, Histogram>> histograms;  // values in nanoseconds
  std::vector<std::string> warnings;
  bool has_faults = false;  // lost, duplicated, out of order, foreign, on a wrong topic

  void add(std::string name, std::string value) { figures.emplace_back(name, std::move(value)); }
  void add(std::string name, const char* value) { figures.emplace_back(name, std::string(value)); }
  void add(std::string name, double value) { figures.emplace_back(name, value); }
  void add(std::string name, std::uint64_t value) {
    figures.emplace_back(name, static_cast<std::int64_t>(value));
  }
  void add(std::string name, std::int64_t value) { figures.emplace_back(name, value); }
  // p50, p90, p99, p99.9, max and mean in microseconds, and the histogram itself.
  void add_times(const std::string& name, const Histogram& times);
};

// The figures that every result begins with: scenario and parameters.
Result begin_result(const Options& options);

std::string to_table(const Result& result);
std::string to_json(const Result& result, bool with_histograms);
std::string to_csv_head(const Result& result);
std::string to_csv_line(const Result& result);

}  // namespace millrace::loadtest
