// Tells the consumer of a queue whether producers are writing right behind what it reads, so that a
// pause before it takes more is worth its time.
//
// Thread contract: the consumer's own.
// What holds: pauses that bring nothing become rare. A thread that pushes and pops by turns, or a
// consumer whose producers have no core to run on, pauses once in 64 looks, not each time.
#pragma once

#include <algorithm>
#include <cstddef>

namespace millrace::queue {

class StreamWatch {
 public:
  /// Whether to pause before the next look. A look in a stream that is not followed by a pause
  /// brings the next pause nearer.
  bool flows() {
    if (!streaming_) return false;
    if (looks_left_ == 0) return true;
    --looks_left_;
    return false;
  }

  /// The pause is over; `more`: something was written meanwhile.
  void paused(bool more) {
    skip_ = more ? 0 : std::min(2 * skip_ + 1, kLooksMax);
    looks_left_ = skip_;
  }

  /// A look found `run` items; `to_the_end`: it ended with the group of slots, so that it does not
  /// tell whether more follow, and what the look before it told stays true.
  void saw(std::size_t run, bool to_the_end) {
    if (run >= kStream) {
      streaming_ = true;
    } else if (!to_the_end) {
      streaming_ = false;
    }
  }

 private:
  static constexpr std::size_t kStream = 16;  // items found at once that make it a stream
  static constexpr unsigned kLooksMax = 63;

  bool streaming_ = false;
  unsigned skip_ = 0;        // looks without a pause after the last pause that brought nothing
  unsigned looks_left_ = 0;  // of them
};

}  // namespace millrace::queue
