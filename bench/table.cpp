#include "bench/table.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

namespace millrace::bench {
namespace {

// A function-local static, because other files add to it before main.
std::vector<Comparison>& comparisons() {
  static std::vector<Comparison> all;
  return all;
}

/// Median and range of the rounds.
struct Spread {
  double median;
  double lowest;
  double highest;
};

Spread spread(std::vector<double> figures) {
  std::ranges::sort(figures);
  return {figures[figures.size() / 2], figures.front(), figures.back()};
}

std::string text(const Spread& spread, int digits) {
  char line[96];
  if (spread.lowest == spread.highest) {
    std::snprintf(line, sizeof line, "%.*f", digits, spread.median);
  } else {
    std::snprintf(line, sizeof line, "%.*f (%.*f to %.*f)", digits, spread.median, digits,
                  spread.lowest, digits, spread.highest);
  }
  return line;
}

/// Measures the contenders alternately, `rounds` times; one row for each, the first is ours.
std::vector<std::vector<double>> measure(const Comparison& comparison, int rounds) {
  std::vector<std::vector<double>> figures(1 + comparison.rivals.size());
  for (int round = 0; round < rounds; ++round) {
    figures[0].push_back(comparison.ours());
    for (std::size_t i = 0; i < comparison.rivals.size(); ++i) {
      const Rival& rival = comparison.rivals[i];
      figures[i + 1].push_back(rival.measure ? rival.measure() : rival.figure);
    }
  }
  return figures;
}

/// How many times better ours is, round by round.
Spread ratios(Better better, const std::vector<double>& ours, const std::vector<double>& theirs) {
  std::vector<double> each;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    each.push_back(better == Better::higher ? ours[i] / theirs[i] : theirs[i] / ours[i]);
  }
  return spread(std::move(each));
}

std::string line_of(const char* path, const char* start) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(start))
      return line.substr(line.find_first_not_of(": \t", std::strlen(start)));
  }
  return "unknown";
}

}  // namespace

bool add_comparison(Comparison comparison) {
  comparisons().push_back(std::move(comparison));
  return true;
}

std::string machine_state() {
  double load[3] = {};
  std::ignore = getloadavg(load, 3);
  utsname system{};
  uname(&system);
  char line[256];
  std::snprintf(line, sizeof line, "%s, %u cores, %s %s, load %.1f %.1f %.1f, governor %s",
                line_of("/proc/cpuinfo", "model name").c_str(), std::thread::hardware_concurrency(),
                system.sysname, system.release, load[0], load[1], load[2],
                line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "").c_str());
  return line;
}

int print_table(const std::string& filter, int rounds) {
  int missed = 0;
  std::printf("Median (range) of %d interleaved rounds. Before: %s\n\n", rounds,
              machine_state().c_str());
  std::printf("| work | unit | ours | against | theirs | ratio | to reach |\n");
  std::printf("| --- | --- | --- | --- | --- | --- | --- |\n");
  for (const Comparison& comparison : comparisons()) {
    if (comparison.work.find(filter) == std::string::npos) continue;
    const auto figures = measure(comparison, rounds);
    for (std::size_t i = 0; i < comparison.rivals.size(); ++i) {
      const Rival& rival = comparison.rivals[i];
      const Spread ratio = ratios(comparison.better, figures[0], figures[i + 1]);
      const bool reached = ratio.median >= rival.ratio_min;
      missed += reached ? 0 : 1;
      std::printf("| %s | %s | %s | %s | %s | %s | %.2f%s |\n", comparison.work.c_str(),
                  comparison.unit.c_str(), text(spread(figures[0]), 1).c_str(), rival.name.c_str(),
                  text(spread(figures[i + 1]), 1).c_str(), text(ratio, 2).c_str(), rival.ratio_min,
                  reached ? "" : " missed");
      std::fflush(stdout);
    }
  }
  std::printf("\nAfter: %s\n", machine_state().c_str());
  return missed;
}

}  // namespace millrace::bench
