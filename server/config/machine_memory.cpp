// Source: the kernel's documentation, admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
#include "server/config/machine_memory.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <vector>

namespace millrace::server {

namespace {

constexpr std::uint64_t unlimited = UINT64_MAX;

// The number at the beginning of a file; else, as where "max" stands, no limit.
std::uint64_t limit_in(const std::string& file) {
  std::ifstream in(file);
  std::uint64_t bytes = 0;
  return in >> bytes ? bytes : unlimited;
}

std::uint64_t total_bytes(const std::string& root) {
  std::ifstream in(root + "/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t kib = 0;
    if (words >> name >> kib && name == "MemTotal:") return kib * 1024;
  }
  return unlimited;
}

// The group's limit, and those of the groups around it, which hold for it as well. In a container
// the group's path may be one outside; the root of what is mounted is the container's then.
std::uint64_t limit_of_group(const std::string& mount, std::string path, const char* file) {
  std::uint64_t limit = unlimited;
  for (;;) {
    limit = std::min(limit, limit_in(mount + path + "/" + file));
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return limit;
    path.erase(slash);
  }
}

}  // namespace

std::uint64_t machine_memory_bytes(const std::string& root) {
  std::uint64_t bytes = total_bytes(root);
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // number:controllers:path
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string path = line.substr(second + 1);
    if (controllers == ",,") {
      bytes = std::min(bytes, limit_of_group(root + "/sys/fs/cgroup", path, "memory.max"));
    } else if (controllers.find(",memory,") != std::string::npos) {
      bytes = std::min(
          bytes, limit_of_group(root + "/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"));
    }
  }
  return bytes;
}

}  // namespace millrace::server
