#include "bench/table.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <utility>

namespace millrace::bench {
namespace {

// A function's static, because other files add to it before main.
std::vector<Comparison>& comparisons() {
  static std::vector<Comparison> all;
  return all;
}

double median(std::vector<double> figures) {
  const auto middle = figures.begin() + static_cast<std::ptrdiff_t>(figures.size() / 2);
  std::nth_element(figures.begin(), middle, figures.end());
  return *middle;
}

/// Measures the contenders in turns; the first is ours.
std::vector<double> medians(const Comparison& comparison, int rounds) {
  std::vector<std::vector<double>> figures(1 + comparison.rivals.size());
  for (int round = 0; round < rounds; ++round) {
    figures[0].push_back(comparison.ours());
    for (std::size_t i = 0; i < comparison.rivals.size(); ++i) {
      const Rival& rival = comparison.rivals[i];
      figures[i + 1].push_back(rival.measure ? rival.measure() : rival.figure);
    }
  }
  std::vector<double> result;
  for (auto& column : figures) result.push_back(median(std::move(column)));
  return result;
}

}  // namespace

bool add_comparison(Comparison comparison) {
  comparisons().push_back(std::move(comparison));
  return true;
}

int print_table(const std::string& filter, int rounds) {
  int missed = 0;
  std::printf("| work | unit | ours | against | theirs | ratio | to reach |\n");
  std::printf("| --- | --- | --- | --- | --- | --- | --- |\n");
  for (const Comparison& comparison : comparisons()) {
    if (comparison.work.find(filter) == std::string::npos) continue;
    const std::vector<double> figures = medians(comparison, rounds);
    for (std::size_t i = 0; i < comparison.rivals.size(); ++i) {
      const Rival& rival = comparison.rivals[i];
      const double ratio = comparison.better == Better::kHigher ? figures[0] / figures[i + 1]
                                                                : figures[i + 1] / figures[0];
      const bool reached = ratio >= rival.ratio_min;
      missed += reached ? 0 : 1;
      std::printf("| %s | %s | %.1f | %s | %.1f | %.2f | %.2f%s |\n", comparison.work.c_str(),
                  comparison.unit.c_str(), figures[0], rival.name.c_str(), figures[i + 1], ratio,
                  rival.ratio_min, reached ? "" : " missed");
      std::fflush(stdout);
    }
  }
  return missed;
}

}  // namespace millrace::bench
