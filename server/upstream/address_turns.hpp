// AddressTurns: which of an upstream's addresses is tried next: in a round each of them once, one
// after the other. A round begins with the address after the one that was tried last: where that was
// lost, or stands still, an attempt may hang for as long as it is allowed to.
//
// Threads: one.
#pragma once

#include <cstddef>

namespace millrace::server {

class AddressTurns {
 public:
  // `count`: at least one. The first round begins with the first.
  explicit AddressTurns(std::size_t count) : count_(count), index_(count - 1) {}

  void begin_round() {
    left_ = count_;
    next();
  }
  // False: the round is over; index() stays.
  bool next() {
    if (left_ == 0) return false;
    --left_;
    index_ = (index_ + 1) % count_;
    return true;
  }
  // The one that is, or was last, tried.
  std::size_t index() const { return index_; }

 private:
  std::size_t count_;
  std::size_t index_;
  std::size_t left_ = 0;  // of the round
};

}  // namespace millrace::server
