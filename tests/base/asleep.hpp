// Whether a thread of this process sleeps in the kernel: what a test waits for before it wakes one.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>

namespace millrace::base {

// Shared by a thread and who waits until it sleeps.
class Sleeper {
 public:
  // The thread, right before what puts it to sleep.
  void about_to_sleep() { id_.store(static_cast<int>(::syscall(SYS_gettid))); }
  // Another one: returns when that thread sleeps.
  void wait_until_asleep() const {
    while (id_.load() == 0 || state() != 'S') std::this_thread::yield();
  }

 private:
  // As /proc/PID/stat has it, behind the name in brackets.
  char state() const {
    std::ifstream file("/proc/self/task/" + std::to_string(id_.load()) + "/stat");
    std::string line;
    std::getline(file, line);
    const std::size_t end = line.rfind(')');
    return end == std::string::npos || end + 2 >= line.size() ? '?' : line[end + 2];
  }

  std::atomic<int> id_{0};
};

}  // namespace millrace::base
