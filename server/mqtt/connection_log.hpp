// What the log says about connections: who came, who was refused and why, who left, who was denied
// what. Each line names address, client identifier and user as far as they are known, and is
// repeated at most once in log.repeat_seconds for the same client; a trace gets every one.
#pragma once

#include <string_view>

#include "protocol/reason_code.hpp"
#include "protocol/version.hpp"
#include "server/config/config.hpp"
#include "server/net/stream.hpp"
#include "server/observe/counters.hpp"

namespace millrace::server {

// Whom a line is about.
struct LogClient {
  std::string_view id;    // empty: CONNECT has not been read
  std::string_view user;  // empty: anonymous, or not known
};

void log_connected(Stream& stream, const ListenerConfig& listener, protocol::Version version,
                   const LogClient& client);
// At info if the client had been admitted, else at debug; a fault of the peer at warning.
void log_connection_end(Stream& stream, const ListenerConfig& listener, protocol::Version version,
                        protocol::ReasonCode reason, CloseCause cause, const LogClient& client,
                        bool had_come_in);
void log_subscribe_denied(Stream& stream, const ListenerConfig& listener, const LogClient& client,
                          std::string_view filter);
// A client exceeded the server's Receive Maximum, and receive_maximum_policy is `warn`.
void log_receive_maximum_exceeded(Stream& stream, const ListenerConfig& listener);

}  // namespace millrace::server
