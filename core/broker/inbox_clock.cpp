// The server's clock, in a file of its own: a program that brings its own Inbox::now_ns() links
// that one instead of this.
#include <chrono>

#include "core/broker/inbox.hpp"

namespace millrace::broker {

std::int64_t Inbox::now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace millrace::broker
