// SIGINT and SIGTERM for a subcommand that has something to put back before it ends.
//
// Threads: main's alone, one object at a time.
#pragma once

#include <csignal>

namespace millrace::server {

// While it lives, the first of each does not end the program but what waits (EINTR).
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  bool came() const;
  // True: the time has passed, and none came.
  bool sleep(int ms) const;

 private:
  struct sigaction int_before_ {};
  struct sigaction term_before_ {};
};

}  // namespace millrace::server
