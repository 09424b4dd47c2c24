// The table of ratios: Millrace's data structures compared with others, in one process and one run.
//
// A benchmark file adds its lines with `add_comparison`, from a static initialiser or from main's
// start; `millrace-bench --table [filter]` measures them and prints the state of the machine and
// one line per rival: the work, our median and range, the rival's, the ratio of the medians and the
// range of the ratios within a round, the ratio to reach.
// All contenders of a comparison are measured alternately (ours, first rival, second rival, ours,
// ...), so that other load on the machine or a changing clock rate affects all of them equally:
// trust the ratio, not the absolute figures. Called from one thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace millrace::bench {

/// One short run (about 50 to 200 ms) that returns its figure in the comparison's unit.
using Measure = std::function<double()>;

enum class Better { higher, lower };

struct Rival {
  std::string name;
  Measure measure;         // empty: `figure` is a fixed goal, measured elsewhere
  double ratio_min = 1.0;  // how many times better than the rival ours has to be
  double figure = 0.0;
};

struct Comparison {
  std::string work;  // "MPSC, 8 bytes, singles, 2 producers"
  std::string unit;  // "M/s", "ns"
  Better better = Better::higher;
  Measure ours;
  std::vector<Rival> rivals;
};

/// Returns true, so that it can initialise a static.
bool add_comparison(Comparison comparison);

/// The machine's processor, its cores, and their present load, in a line or two.
std::string machine_state();

/// Measures every comparison whose work contains `filter`, `rounds` times each, and prints the
/// table on stdout. Returns the number of lines whose ratio was not reached.
int print_table(const std::string& filter, int rounds);

}  // namespace millrace::bench
