// UnauthenticatedBudget: the memory that an I/O thread spends on packets of peers that have not
// authenticated yet.
//
// A peer may begin a large CONNECT and never end it. Each connection has a limit
// (connect_bytes_max) and a time-out (connect_timeout_seconds); this is the limit of all of a
// thread together. Buffers of up to 4 KiB are not counted (packet_reader.cpp): what bounds them is
// the number of connections.
//
// Threads: the I/O thread alone.
#pragma once

#include <cstddef>

namespace millrace::server {

class UnauthenticatedBudget {
 public:
  explicit UnauthenticatedBudget(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  // False: so much is not left, and nothing is taken.
  bool take(std::size_t bytes) {
    if (bytes > bytes_max_ - taken_bytes_) return false;
    taken_bytes_ += bytes;
    return true;
  }
  void give_back(std::size_t bytes) { taken_bytes_ -= bytes; }
  std::size_t taken_bytes() const { return taken_bytes_; }

 private:
  const std::size_t bytes_max_;
  std::size_t taken_bytes_ = 0;
};

}  // namespace millrace::server
