// One function for each scenario: makes the connections, runs, and returns the result. All throw
// RunError if the run cannot be done. Each runs in the calling thread and closes all connections.
#pragma once

#include <optional>

#include "loadtest/options.hpp"
#include "loadtest/result.hpp"

namespace millrace::loadtest {

// one2one, fanin, fanout, qos1, latency: a closed loop, or an open one at `rate_per_s`.
Result run_stream(const Options& options, std::optional<double> rate_per_s);
Result run_slow(const Options& options);
Result run_fresh(const Options& options);
Result run_idle(const Options& options);
Result run_connect(const Options& options);
Result run_soak(const Options& options);

// Runs the scenario of the options, once for each rate.
std::vector<Result> run_scenario(const Options& options);

}  // namespace millrace::loadtest
