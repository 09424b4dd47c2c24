// Credit: how many bytes a connection may have bound and not reported as written.
//
// Threads: the processor's holder alone, who changes what an outbox says of it.
#pragma once

#include <cstdint>

#include "core/broker/command.hpp"
#include "core/broker/limits.hpp"
#include "core/broker/outbox.hpp"

namespace millrace::broker {

// By the mode of what is bound. A collapsed backlog has that of `latest`.
inline std::uint32_t credit_bytes(const Outbox& outbox, Mode mode, const ProcessorLimits& limits) {
  if (mode == Mode::latest) return outbox.late_credit_bytes.value_or(limits.credit_latest_bytes);
  return limits.credit_bytes + outbox.credit_raise;
}

}  // namespace millrace::broker
