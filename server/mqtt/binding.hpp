// What an outbox's binding means for the connection that writes it. The kernel's send buffer is a
// hidden queue: where values may be replaced until they are bound, it is kept small.
//
// Threads: any; pure but for the socket.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/broker/outbox.hpp"
#include "server/config/config.hpp"

namespace millrace::server {

// How much the kernel may hold that is not sent yet.
void limit_unsent_bytes(int fd, broker::Outbox::Binding binding, const OutboxConfig& config);

// Of what was written, so much is reported to the processor at once: a quarter of the smallest credit
// that may apply. So light traffic sends no reports, and a connection that is written without a stop
// does not use up its credit. A collapsed backlog has the credit of `latest`.
inline std::uint64_t report_bytes(broker::Outbox::Binding binding, const OutboxConfig& config) {
  const std::uint64_t credit = binding == broker::Outbox::Binding::early
                                   ? config.credit_bytes
                                   : std::min(config.credit_bytes, config.latest_credit_bytes);
  return credit / 4;
}

}  // namespace millrace::server
