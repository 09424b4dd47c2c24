// The descriptor of a pollable reader: an epoll set of its wake pipe, an event for replies on the
// control socket, and a timer.
//
// Thread contract: the reader's thread; signal() by any thread.
// Invariants: fd() stays the same for the life of the object, also when the reader attaches again.
#pragma once

#include <chrono>
#include <memory>

#include "core/shm/ring/memory.hpp"

namespace millrace::shm {

class PollSet {
 public:
  // Null when the system refuses a descriptor.
  static std::unique_ptr<PollSet> make();

  int fd() const { return epoll_.get(); }
  // Replaces the previous pipe. False when the system refuses.
  bool set_wake_pipe(UniqueFd pipe);
  // To be called when the server ended or has evicted the reader: the server's end of the pipe is
  // closed then, which would make fd() permanently readable.
  void remove_wake_pipe();

  // Makes fd() readable until clear().
  void signal();
  void signal_after(std::chrono::nanoseconds time);
  // Resets all signals, and drains the wake pipe.
  void clear();

 private:
  PollSet() = default;
  bool add(const UniqueFd& fd);

  UniqueFd epoll_;
  UniqueFd event_;
  UniqueFd timer_;
  UniqueFd pipe_;
};

}  // namespace millrace::shm
