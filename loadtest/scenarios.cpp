#include "loadtest/scenarios.hpp"

namespace millrace::loadtest {

std::vector<Result> run_scenario(const Options& options) {
  std::vector<Result> results;
  switch (options.scenario) {
    case Scenario::slow:
      results.push_back(run_slow(options));
      break;
    case Scenario::fresh:
      results.push_back(run_fresh(options));
      break;
    case Scenario::idle:
      results.push_back(run_idle(options));
      break;
    case Scenario::connect:
      results.push_back(run_connect(options));
      break;
    case Scenario::soak:
      results.push_back(run_soak(options));
      break;
    default:
      if (options.rates_per_s.empty()) results.push_back(run_stream(options, std::nullopt));
      for (const double rate : options.rates_per_s) results.push_back(run_stream(options, rate));
  }
  return results;
}

}  // namespace millrace::loadtest
