// One function a scenario: makes the connections, runs, and says what it found. All throw RunError
// when the run cannot be made. Each runs in the calling thread and leaves nothing behind.
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

// The scenario that the options name, once for each rate.
std::vector<Result> run_scenario(const Options& options);

}  // namespace millrace::loadtest
