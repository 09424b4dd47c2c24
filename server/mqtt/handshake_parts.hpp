// What a handshake keeps while it takes time. Internal to handshake*.cpp.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "protocol/packet.hpp"
#include "server/auth/scram.hpp"
#include "server/mqtt/handshake.hpp"

namespace millrace::server {

// A CONNECT whose password is being checked. The worker reads `access` and `connect` and writes
// `answer`; everything else, and all of it once the answer was posted back, is the I/O thread's.
struct Handshake::PasswordCheck {
  Handshake* owner;  // null: the connection ended meanwhile
  std::shared_ptr<const Access> access;
  protocol::Connect connect;
  protocol::Result<std::shared_ptr<const Grants>> answer = protocol::ReasonCode::UnspecifiedError;
};

// Of a client whose CONNECT named an authentication method (MQTT 5.0, section 4.12).
struct Handshake::Authentication {
  std::optional<protocol::Connect> connect;  // until the first exchange ends
  std::optional<ScramExchange> exchange;     // under way: the next AUTH answers its challenge
  std::string last_data;                     // of the server in the first exchange, for CONNACK
};

}  // namespace millrace::server
