// Forked child processes for tests, and pipes by which they wait for each other.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

namespace millrace::test {

// An event from one process to another, as a byte in a pipe.
class Signal {
 public:
  Signal() { EXPECT_EQ(::pipe(ends_), 0); }
  ~Signal() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  Signal(const Signal&) = delete;
  void raise() const { EXPECT_EQ(::write(ends_[1], "x", 1), 1); }
  void await() const {
    char byte;
    EXPECT_EQ(::read(ends_[0], &byte, 1), 1);
  }

 private:
  int ends_[2];
};

// Waits until the other threads of this process sleep, at most 1,000 rounds. A fork copies the
// locks of AddressSanitizer's allocator in their present state: a lock that another thread holds at
// that moment, for instance while it starts, would stay locked in the child.
inline void await_sleeping_threads() {
  const auto all_sleep = [] {
    const std::string self = std::to_string(::gettid());
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      if (task.path().filename() == self) continue;
      std::ifstream file(task.path() / "stat");
      std::string line;
      std::getline(file, line);
      const std::size_t name_end = line.rfind(')');  // "TID (NAME) STATE ..."
      if (name_end != std::string::npos && line.compare(name_end, 3, ") S") != 0) return false;
    }
    return true;
  };
  for (int turn = 0; turn < 1000 && !all_sleep(); ++turn) ::sched_yield();
}

class Child {
 public:
  // The child ends with what `body` returns: true is success.
  template <class Body>
  explicit Child(Body&& body) : pid_((await_sleeping_threads(), ::fork())) {
    if (pid_ == 0) ::_exit(body() ? 0 : 1);
  }
  ~Child() {
    if (pid_ > 0) {
      send(SIGKILL);
      await();
    }
  }
  Child(const Child&) = delete;

  void send(int signal) const { ::kill(pid_, signal); }

  // Waits until it has stopped itself. A SIGCONT sent before its SIGSTOP would have no effect.
  void await_stop() const {
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, WUNTRACED), pid_);
    EXPECT_TRUE(WIFSTOPPED(status));
  }

  // The wait status.
  int await() {
    int status = 0;
    EXPECT_EQ(::waitpid(std::exchange(pid_, -1), &status, 0) > 0, true);
    return status;
  }
  bool succeeded() {
    const int status = await();
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

 private:
  pid_t pid_;
};

}  // namespace millrace::test
