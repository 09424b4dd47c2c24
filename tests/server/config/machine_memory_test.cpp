#include "server/config/machine_memory.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

class MachineMemory : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = root() + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  std::string root() const { return folder_.path(""); }
  std::uint64_t bytes() const { return machine_memory_bytes(root()); }

  test::Folder folder_;
};

TEST_F(MachineMemory, IsThatOfTheMachineWithoutAGroup) {
  write("/proc/meminfo", "MemTotal:       1000 kB\nMemFree:        10 kB\n");
  EXPECT_EQ(bytes(), 1'024'000u);
}

TEST_F(MachineMemory, IsTheLeastLimitOfTheGroupsAroundTheProcess) {
  write("/proc/meminfo", "MemTotal:       1000 kB\n");
  write("/proc/self/cgroup", "0::/system.slice/millrace.service\n");
  write("/sys/fs/cgroup/system.slice/millrace.service/memory.max", "max\n");
  EXPECT_EQ(bytes(), 1'024'000u);
  write("/sys/fs/cgroup/system.slice/memory.max", "500000\n");
  EXPECT_EQ(bytes(), 500'000u);
  write("/sys/fs/cgroup/system.slice/millrace.service/memory.max", "400000\n");
  EXPECT_EQ(bytes(), 400'000u);
  write("/sys/fs/cgroup/memory.max", "300000\n");  // as in a container
  EXPECT_EQ(bytes(), 300'000u);
}

TEST_F(MachineMemory, IsTheLimitOfAnOldGroup) {
  write("/proc/meminfo", "MemTotal:       1000 kB\n");
  write("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/1\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "600000\n");
  EXPECT_EQ(bytes(), 600'000u);
  write("/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(bytes(), 600'000u);
}

TEST(ThisMachine, HasMemory) {
  EXPECT_GT(machine_memory_bytes(), 16u << 20);
}

}  // namespace
}  // namespace millrace::server
