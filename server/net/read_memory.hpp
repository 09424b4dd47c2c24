// ReadMemory: what the connections of an I/O thread share for what they read.
//
// Threads: the I/O thread alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/broker/ledger.hpp"
#include "server/net/receive_buffers.hpp"
#include "server/net/unauthenticated_budget.hpp"

namespace millrace::server {

struct ReadMemory {
  ReadMemory(std::uint32_t buffer_bytes, std::size_t unauthenticated_bytes_max,
             const broker::Ledger& of_all)
      : buffers(buffer_bytes), budget(unauthenticated_bytes_max), ledger(of_all) {}

  bool has_room_for(std::uint64_t bytes) const { return ledger.has_room_for(bytes); }

  ReceiveBuffers buffers;
  UnauthenticatedBudget budget;
  const broker::Ledger& ledger;  // of the server
};

}  // namespace millrace::server
