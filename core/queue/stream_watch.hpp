// Tells the consumer of a queue whether producers are writing just ahead of the slots that it
// reads, so that a pause before the next read saves cache line transfers.
//
// Thread contract: used by the consumer only.
// Invariant: pauses after which nothing new was found become rare. A thread that pushes and pops in
// turn, or a consumer whose producers have no core to run on, pauses once in 64 looks, not each
// time.
#pragma once

#include <algorithm>
#include <cstddef>

namespace millrace::queue {

class StreamWatch {
 public:
  /// Whether to pause before the next look. In a stream, each call that returns false brings the
  /// next pause nearer.
  bool flows() {
    if (!streaming_) return false;
    if (looks_left_ == 0) return true;
    --looks_left_;
    return false;
  }

  /// To be called after a pause; `more`: something was written during it.
  void paused(bool more) {
    skip_ = more ? 0 : std::min(2 * skip_ + 1, kLooksMax);
    looks_left_ = skip_;
  }

  /// To be called after a look that found `run` items. `to_the_end`: it ended at the end of the
  /// group of slots, so it does not show whether more follow, and the last judgement is kept.
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
  unsigned skip_ = 0;        // looks to make without a pause, after one that brought nothing
  unsigned looks_left_ = 0;  // how many of those are still to be made
};

}  // namespace millrace::queue
