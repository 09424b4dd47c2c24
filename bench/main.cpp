// millrace-bench: Google Benchmark over core/, or the table of ratios.
//
//   millrace-bench [--benchmark_filter=...]          each benchmark separately
//   millrace-bench --table [FILTER] [--rounds=N]     compared with competitors, as ratios:
//                                                    median and range of N interleaved rounds (9)
//
// --table exits with 1 if the median of a line's ratios is below its required ratio.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>

#include "bench/table.hpp"

namespace {

int run_table(int argc, char** argv) {
  std::string filter;
  int rounds = 9;
  for (int i = 2; i < argc; ++i) {
    const std::string_view argument = argv[i];
    constexpr std::string_view kRounds = "--rounds=";
    if (argument.starts_with(kRounds)) {
      rounds = std::max(1, std::atoi(argv[i] + kRounds.size()));
    } else {
      filter = argument;
    }
  }
  return millrace::bench::print_table(filter, rounds) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--table") return run_table(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return EXIT_FAILURE;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return EXIT_SUCCESS;
}
