// ReceiveBuffers: the buffer that all connections of a thread read into, so that an idle connection
// holds none.
//
// A read that is worth it hands the buffer to its messages; the thread then goes on with another
// one, as a rule one that came back: the last few handed over are remembered and used again as soon
// as no message holds them.
//
// Threads: the I/O thread alone.
#pragma once

#include <array>
#include <cstdint>

#include "core/broker/buffer.hpp"

namespace millrace::server {

class ReceiveBuffers {
 public:
  explicit ReceiveBuffers(std::uint32_t buffer_bytes) : buffer_bytes_(buffer_bytes) {}

  std::uint32_t buffer_bytes() const { return buffer_bytes_; }

  // The buffer to read into. The same one until it is handed over.
  broker::Buffer& current() {
    if (!current_) current_ = obtain();
    return *current_;
  }

  // Messages hold the current one from here on.
  void hand_over() {
    lent_[next_lent_] = std::move(current_);
    next_lent_ = (next_lent_ + 1) % lent_.size();
  }

 private:
  broker::BufferRef obtain() {
    for (std::size_t i = 0; i < lent_.size(); ++i) {
      broker::BufferRef& oldest = lent_[(next_lent_ + i) % lent_.size()];
      if (oldest && oldest->unique()) return std::move(oldest);
    }
    return broker::Buffer::allocate(buffer_bytes_);
  }

  const std::uint32_t buffer_bytes_;
  broker::BufferRef current_;
  std::array<broker::BufferRef, 16> lent_;
  std::size_t next_lent_ = 0;
};

}  // namespace millrace::server
