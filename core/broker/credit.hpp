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

// The same by what the connection's subscriptions ask for.
inline std::uint32_t credit_bytes(const Outbox& outbox, const ProcessorLimits& limits) {
  const bool is_latest = outbox.binding() == Outbox::Binding::latest;
  return credit_bytes(outbox, is_latest ? Mode::latest : Mode::every, limits);
}
inline bool is_credit_used_up(const Outbox& outbox, const ProcessorLimits& limits) {
  return outbox.outstanding_bytes >= credit_bytes(outbox, limits);
}

}  // namespace millrace::broker
