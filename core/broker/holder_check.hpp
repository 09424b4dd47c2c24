// HolderCheck: the processor's role has one holder at a time; this notices when it has two.
//
// The role passes between threads (inbox.hpp), so no thread identifier is right for good: a holder
// enters for the length of a batch, and in between it asserts that it is still the one. In a
// release build all of it compiles away.
//
// Threads: any; that is what it is for.
#pragma once

#include <atomic>
#include <thread>

#include "core/broker/check.hpp"

namespace millrace::broker {

class HolderCheck {
 public:
#ifdef MILLRACE_CHECKS
  void enter() {
    const std::thread::id nobody{};
    const std::thread::id before = holder_.exchange(std::this_thread::get_id());
    MILLRACE_CHECK(before == nobody);  // else two threads hold the role
  }
  void leave() {
    MILLRACE_CHECK(held_here());
    holder_.store(std::thread::id{});
  }
  bool held_here() const {
    return holder_.load() == std::this_thread::get_id();
  }

 private:
  std::atomic<std::thread::id> holder_{};
#else
  void enter() {}
  void leave() {}
  bool held_here() const {
    return true;
  }
#endif
};

}  // namespace millrace::broker
