// What the kernel knows of the server under test (a process or a cgroup) and of this thread: CPU
// time and resident memory.
//
// One thread. A server that ends during the run leaves its last known figures, and is_gone() says
// so.
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
  // The peak is that of the samples: a sample every 100 ms is cheap enough.
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
// Seconds for which the calling thread could have run and no core was free; 0 where the kernel does
// not tell.
double thread_starved_s();

}  // namespace millrace::loadtest
