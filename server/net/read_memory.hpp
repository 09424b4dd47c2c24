// ReadMemory: what the connections of an I/O thread share for what they read.
//
// Threads: the I/O thread alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "server/net/receive_buffers.hpp"
#include "server/net/unauthenticated_budget.hpp"

namespace millrace::server {

struct ReadMemory {
  ReadMemory(std::uint32_t buffer_bytes, std::size_t unauthenticated_bytes_max)
      : buffers(buffer_bytes), budget(unauthenticated_bytes_max) {}

  ReceiveBuffers buffers;
  UnauthenticatedBudget budget;
};

}  // namespace millrace::server
