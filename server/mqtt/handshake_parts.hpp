// What a handshake keeps while it takes time. Internal to handshake*.cpp.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/packet.hpp"
#include "server/auth/scram.hpp"
#include "server/mqtt/handshake.hpp"
#include "server/net/guests.hpp"
#include "server/net/http_hook.hpp"

namespace millrace::server {

// The authentication method whose data is a token, in CONNECT and in each AUTH.
inline constexpr std::string_view jwt_method = "JWT";
// How often a client may renew its token: each time costs the I/O thread a signature.
inline constexpr double renewals_per_second = 4;

// What waits in the worker's line, or for the hook. Their thread has everything but `owner` and
// `ticket`, and the I/O thread all of it once the answer was posted back.
struct Handshake::PasswordCheck {
  Handshake* owner = nullptr;  // null: the connection ended meanwhile
  Worker::Ticket ticket;       // null: the hook has it
  bool refused = false;        // not looked at: its place was needed
  // A CONNECT with a password.
  std::shared_ptr<const Access> access;
  protocol::Connect connect;
  std::string address;  // of its arrival
  std::uint16_t listener = 0;
  protocol::Result<std::shared_ptr<const Grants>> answer = protocol::ReasonCode::unspecified_error;
  std::optional<HttpHook::Answer> said;  // by the hook
  // Or a token alone.
  std::optional<std::string> token;
  std::string client_id;
  // Or the proof of a password (SCRAM).
  std::optional<ScramExchange> exchange;
  std::string proof;
  protocol::Result<std::string> last_data = protocol::ReasonCode::unspecified_error;
};

// Of a client whose CONNECT named an authentication method (MQTT 5.0, section 4.12).
struct Handshake::Authentication {
  std::string_view method;
  std::optional<protocol::Connect> connect;  // until the first exchange ends
  std::optional<ScramExchange> exchange;     // under way: the next AUTH answers its challenge
  std::string last_data;                     // of the server in the first exchange, for CONNACK
  RateBucket renewals{renewals_per_second, RateBucket::Clock::now()};  // of a token
};

}  // namespace millrace::server
