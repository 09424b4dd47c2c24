// The process figures, under the names that Prometheus' client libraries agree on.
#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "server/observe/log.hpp"
#include "server/observe/metrics.hpp"

namespace millrace::server {

namespace {

// /proc/self/stat from its third field on: the second, the name, may contain anything.
std::istringstream stat_fields() {
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  const auto end_of_name = text.rfind(')');
  return std::istringstream(end_of_name == std::string::npos ? "" : text.substr(end_of_name + 1));
}

// Field numbers as in proc(5); 3 is the first after the name.
double stat_field(int number) {
  std::istringstream fields = stat_fields();
  std::string skipped;
  for (int i = 3; i < number; ++i) fields >> skipped;
  double value = 0;
  fields >> value;
  return value;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double open_descriptors() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return 0;
  double count = 0;
  while (const dirent* entry = readdir(directory)) count += entry->d_name[0] != '.';
  closedir(directory);
  return count - 1;  // without the directory itself
}

double descriptor_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

double boot_seconds() {
  std::ifstream file("/proc/stat");
  std::string word;
  while (file >> word) {
    double value = 0;
    if (word == "btime" && file >> value) return value;
  }
  return 0;
}

MetricRow row(std::string name, MetricType type, std::string help, double (*read)()) {
  return {std::move(name), type, {}, std::move(help), [read](MetricWriter& writer) {
            writer.sample(read());
          }};
}

}  // namespace

std::vector<MetricRow> log_metric_rows() {
  return {row("millrace_log_lines_lost_total", MetricType::counter,
              "Lines of the log that were lost because standard error was not read fast enough.",
              [] { return static_cast<double>(log_lines_lost()); })};
}

std::vector<MetricRow> process_metric_rows() {
  static const double start_seconds =
      boot_seconds() + stat_field(22) / static_cast<double>(sysconf(_SC_CLK_TCK));
  return {
      row("process_cpu_seconds_total", MetricType::counter,
          "User and system processor time in seconds.", cpu_seconds),
      row("process_resident_memory_bytes", MetricType::gauge, "Resident memory in bytes.",
          [] { return stat_field(24) * static_cast<double>(sysconf(_SC_PAGESIZE)); }),
      row("process_virtual_memory_bytes", MetricType::gauge, "Virtual memory in bytes.",
          [] { return stat_field(23); }),
      row("process_open_fds", MetricType::gauge, "Open file descriptors.", open_descriptors),
      row("process_max_fds", MetricType::gauge, "The limit of open file descriptors.",
          descriptor_limit),
      row("process_threads", MetricType::gauge, "Threads.", [] { return stat_field(20); }),
      row("process_start_time_seconds", MetricType::gauge,
          "Start of the process in seconds since 1970.", [] { return start_seconds; }),
  };
}

}  // namespace millrace::server
