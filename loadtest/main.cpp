// millrace-load: measures any MQTT broker from one thread. See --help.
#include <cstdio>
#include <exception>
#include <fstream>

#include "loadtest/fleet.hpp"
#include "loadtest/scenarios.hpp"

namespace {

using namespace millrace::loadtest;

enum ExitCode { good = 0, failed = 1, usage = 2, faulty = 3 };

void print(const Options& options, const std::vector<Result>& results) {
  for (std::size_t i = 0; i < results.size(); ++i) {
    const Result& r = results[i];
    std::string text;
    switch (options.format) {
      case Format::table:
        if (i > 0) text += '\n';
        text += to_table(r);
        break;
      case Format::json:
        text = to_json(r, false) + "\n";
        break;
      case Format::csv:
        text = (i == 0 ? to_csv_head(r) + "\n" : std::string()) + to_csv_line(r) + "\n";
        break;
    }
    std::fputs(text.c_str(), stdout);
  }
}

void keep(const std::string& path, const std::vector<Result>& results) {
  std::ofstream file(path);
  for (const Result& r : results) file << to_json(r, true) << '\n';
  if (!file.flush()) throw RunError(path + " cannot be written");
}

int run(const Options& options) {
  const std::vector<Result> results = run_scenario(options);
  print(options, results);
  if (!options.out_file.empty()) keep(options.out_file, results);
  for (const Result& r : results) {
    if (options.strict && r.has_faults) return faulty;
  }
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto options = parse_options(argc, argv);
    return options ? run(*options) : good;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "millrace-load: %s\n", error.what());
    return usage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "millrace-load: %s\n", error.what());
    return failed;
  }
}
