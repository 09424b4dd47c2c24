// Helpers for benchmarks between processes: child processes on separate cores, whose exit status is
// checked, a clock, and distinguishable payloads. Called from one thread.
#pragma once

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace millrace::bench {

using Steady = std::chrono::steady_clock;

inline constexpr std::size_t payload_bytes = 64;
using Payload = std::array<std::byte, payload_bytes>;

// Distinct payloads, each beginning with its number: message i has number i % distinct.
inline constexpr std::uint64_t distinct = 256;
inline const std::vector<Payload> payloads = [] {
  std::vector<Payload> all(distinct);
  for (std::uint64_t i = 0; i < distinct; ++i) std::memcpy(all[i].data(), &i, sizeof i);
  return all;
}();

// Whether the payload has message i's number.
inline bool carries(const std::byte* payload, std::uint64_t i) {
  std::uint64_t value;
  std::memcpy(&value, payload, sizeof value);
  return value == i % distinct;
}

inline void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "millrace-bench: %s\n", what);
  std::abort();
}

inline double seconds_since(Steady::time_point begin) {
  return std::chrono::duration<double>(Steady::now() - begin).count();
}

// Pins the process to a core, a different one for each while there are enough: otherwise the
// scheduler may keep a forked child on its parent's core for the whole run.
inline void stay_on_core(int which) {
  const long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(which % cores), &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

// Runs `body` in a child process, whose exit status says whether its checks held.
template <class Body>
pid_t in_child(int core, Body&& body) {
  stay_on_core(0);
  const pid_t pid = ::fork();
  expect(pid >= 0, "fork");
  if (pid == 0) {
    stay_on_core(core);
    ::_exit(body() ? 0 : 1);
  }
  return pid;
}

inline void expect_success(pid_t pid) {
  int status = 0;
  expect(::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0,
         "a reader saw a gap or a wrong value");
}

struct RoundTrip {
  double p50_ns;
  double p99_ns;
};

inline RoundTrip percentiles(std::vector<double> ns) {
  std::sort(ns.begin(), ns.end());
  return {ns[ns.size() / 2], ns[ns.size() * 99 / 100]};
}

}  // namespace millrace::bench
