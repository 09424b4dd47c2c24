#include "loadtest/procfs.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace millrace::loadtest {

ServerProbe::ServerProbe(int pid, std::string cgroup) : pid_(pid), cgroup_(std::move(cgroup)) {
  if (!is_on()) return;
  sample();
  if (gone_) {
    throw std::runtime_error(pid_ != 0 ? "no process " + std::to_string(pid_)
                                       : cgroup_ + " is not a cgroup v2 with cpu and memory");
  }
  rss_start_bytes_ = rss_bytes_;
}

void ServerProbe::sample() {
  if (!is_on()) return;
  if (!(pid_ != 0 ? read_process() : read_cgroup())) gone_ = true;
  rss_peak_bytes_ = std::max(rss_peak_bytes_, rss_bytes_);
}

void ServerProbe::sample_if_due(Nanos now) {
  if (!is_on() || now < next_sample_ns_) return;
  next_sample_ns_ = now + 100 * kMillisecond;
  sample();
}

bool ServerProbe::read_process() {
  const std::string folder = "/proc/" + std::to_string(pid_);
  std::ifstream stat(folder + "/stat");
  std::string line;
  if (!std::getline(stat, line)) return false;
  // The second field is a name in parentheses, which may contain any characters; count from its
  // end.
  std::istringstream fields(line.substr(line.rfind(')') + 2));
  std::string skipped;
  for (int i = 3; i < 14; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  if (!(fields >> user >> system)) return false;
  cpu_s_ = (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));

  std::ifstream statm(folder + "/statm");
  std::uint64_t size_pages = 0;
  std::uint64_t resident_pages = 0;
  if (!(statm >> size_pages >> resident_pages)) return false;
  if (resident_pages == 0) return false;  // a zombie
  rss_bytes_ = resident_pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  return true;
}

bool ServerProbe::read_cgroup() {
  std::ifstream stat(cgroup_ + "/cpu.stat");
  bool found = false;
  std::string key;
  for (double value = 0; stat >> key >> value;) {
    if (key == "usage_usec") {
      cpu_s_ = value / 1e6;
      found = true;
    }
  }
  std::ifstream memory(cgroup_ + "/memory.current");
  return found && static_cast<bool>(memory >> rss_bytes_);
}

double thread_cpu_s() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double thread_starved_s() {
  std::ifstream schedstat("/proc/thread-self/schedstat");
  double ran_ns = 0;
  double starved_ns = 0;
  return schedstat >> ran_ns >> starved_ns ? starved_ns / 1e9 : 0;
}

}  // namespace millrace::loadtest
