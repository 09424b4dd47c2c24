// CPU time and resident memory of the server under test (a process or a cgroup), and CPU time of
// this thread, from /proc and /sys.
//
// One thread. If the server ends during the run, its last values are kept and is_gone() is true.
#pragma once

#include <cstdint>
#include <string>

#include "loadtest/clock.hpp"

namespace millrace::loadtest {

class ServerProbe {
 public:
  // pid 0 and an empty cgroup: nothing is measured, is_on() is false.
  // Throws std::runtime_error when there is no such process or cgroup.
  ServerProbe(int pid, std::string cgroup);

  bool is_on() const { return pid_ != 0 || !cgroup_.empty(); }
  bool is_gone() const { return gone_; }
  void sample();
  // Samples every 100 ms; the peak is the largest sample.
  void sample_if_due(Nanos now);

  double cpu_s() const { return cpu_s_; }
  std::uint64_t rss_bytes() const { return rss_bytes_; }
  std::uint64_t rss_start_bytes() const { return rss_start_bytes_; }
  std::uint64_t rss_peak_bytes() const { return rss_peak_bytes_; }

 private:
  bool read_process();
  bool read_cgroup();

  const int pid_;
  const std::string cgroup_;
  bool gone_ = false;
  double cpu_s_ = 0;
  std::uint64_t rss_bytes_ = 0;
  std::uint64_t rss_start_bytes_ = 0;
  std::uint64_t rss_peak_bytes_ = 0;
  Nanos next_sample_ns_ = 0;
};

// CPU seconds of the calling thread, user and system.
double thread_cpu_s();
// Seconds for which the calling thread was runnable and waited for a core; 0 if the kernel does not
// report it.
double thread_starved_s();

}  // namespace millrace::loadtest
