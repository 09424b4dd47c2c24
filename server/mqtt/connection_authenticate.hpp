// What a connection keeps of its client's authentication while it takes time: a password that the
// worker checks, an exchange of AUTH packets. Internal to server/connection_*.cpp.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "protocol/packet.hpp"
#include "server/auth/scram.hpp"
#include "server/mqtt/connection.hpp"

namespace millrace::server {

// A CONNECT whose password is being checked. The worker reads `access` and `connect` and writes
// `answer`; everything else, and all of it once the answer was posted back, is the I/O thread's.
struct Connection::PasswordCheck {
  Connection* owner;  // null: it has gone
  std::shared_ptr<const Access> access;
  protocol::Connect connect;
  protocol::Result<std::shared_ptr<const Grants>> answer = ReasonCode::UnspecifiedError;
};

// Of a client whose CONNECT named an authentication method (MQTT 5.0, section 4.12).
struct Connection::EnhancedAuthentication {
  std::optional<protocol::Connect> connect;  // until the first exchange ends
  std::optional<ScramExchange> exchange;     // under way: the next AUTH answers its challenge
  std::string last_data;                     // the server's last word of the first one, for CONNACK
};

}  // namespace millrace::server
