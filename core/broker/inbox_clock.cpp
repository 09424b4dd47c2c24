// The server's clock, in a file of its own: a program that brings its own Inbox::now_ns() links
// that one instead of this.
#include "core/base/clock.hpp"
#include "core/broker/inbox.hpp"

namespace millrace::broker {

std::int64_t Inbox::now_ns() {
  return base::now_ns();
}

}  // namespace millrace::broker
