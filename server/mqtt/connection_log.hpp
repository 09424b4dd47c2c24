// What the log says about connections: one line for an end that somebody should know of.
#pragma once

#include "protocol/reason_code.hpp"
#include "protocol/version.hpp"
#include "server/config/config.hpp"
#include "server/net/stream.hpp"
#include "server/observe/counters.hpp"

namespace millrace::server {

// Ordinary ends at debug, a peer's faults at warning.
void log_connection_end(Stream& stream, const ListenerConfig& listener, protocol::Version version,
                        protocol::ReasonCode reason, CloseCause cause);
// A client sent more than its Receive Maximum, and was let.
void log_receive_maximum_exceeded(Stream& stream, const ListenerConfig& listener);

}  // namespace millrace::server
