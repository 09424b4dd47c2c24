// The parts of the handshake that take time: a password that the worker checks, an exchange of AUTH
// packets, before CONNACK and whenever the client wants to authenticate again.
#include <utility>

#include "protocol/encode.hpp"
#include "server/mqtt/handshake_parts.hpp"

namespace millrace::server {

using protocol::ReasonCode;
using Step = Handshake::Step;

Handshake::Handshake(IoThread& thread, HandshakeUser& user, bool turned_away)
    : thread_(thread), user_(user), turned_away_(turned_away) {}

Handshake::~Handshake() {
  if (check_) check_->owner = nullptr;
}

// --- Passwords -----------------------------------------------------------------------------------

Step Handshake::check_password(protocol::Connect& connect) {
  auto check = std::make_shared<PasswordCheck>();
  check->owner = this;
  check->access = thread_.settings().access;
  check->connect = std::move(connect);
  const auto task = [check, &thread = thread_] {
    check->answer = check->access->authenticate(check->connect.user_name, check->connect.password);
    thread.post([check] {
      if (check->owner != nullptr) check->owner->user_.on_password_checked();
    });
  };
  if (!thread_.worker().try_post(thread_.config().access.password_checks_max, task)) {
    thread_.counters().password_checks_refused.add();
    return refuse(ReasonCode::ServerBusy);
  }
  check_ = std::move(check);
  return {Step::Kind::checking, {}, {}, false, {}};
}

Step Handshake::password_checked() {
  const std::shared_ptr<PasswordCheck> check = std::exchange(check_, nullptr);
  return admit(check->connect, std::move(check->answer));
}

// --- Enhanced authentication ---------------------------------------------------------------------

Step Handshake::begin_authentication(protocol::Connect& connect) {
  const bool offered = connect.properties.authentication_method == scram_method &&
                       thread_.settings().access->scram() != nullptr;
  if (!offered) return refuse(ReasonCode::BadAuthenticationMethod);  // [MQTT-4.12.0-1]
  authentication_ = std::make_unique<Authentication>();
  authentication_->connect = std::move(connect);
  return challenge(authentication_->connect->properties.authentication_data.value_or(""));
}

// AUTH goes on with the exchange, or begins another.
Step Handshake::authenticate(const protocol::Auth& packet) {
  if (!authentication_) return fault(ReasonCode::ProtocolError);  // [MQTT-4.12.0-7]
  // [MQTT-4.12.0-5], [MQTT-4.12.1-1]
  if (packet.properties.authentication_method != scram_method) {
    return fault(ReasonCode::ProtocolError);
  }
  const bool begins = packet.reason == ReasonCode::ReAuthenticate;
  const bool in_exchange = authentication_->exchange.has_value();
  if (begins == in_exchange || (begins && !greeted_)) return fault(ReasonCode::ProtocolError);
  const std::string data = packet.properties.authentication_data.value_or("");
  return begins ? challenge(data) : conclude(data);
}

// Who begins again stays the same user: session and will are that user's.
Step Handshake::challenge(const std::string& data) {
  const ScramFile* scram = thread_.settings().access->scram();
  auto first = parse_scram_first(data);
  if (scram == nullptr || !first || (grants_ && first->user != grants_->user())) {
    return fail_authentication();
  }
  ScramKeys keys = scram->keys_of(first->user);
  authentication_->exchange.emplace(std::move(*first), std::move(keys), scram_nonce());
  return auth_step(Step::Kind::exchanging, ReasonCode::ContinueAuthentication,
                   authentication_->exchange->challenge());
}

Step Handshake::conclude(const std::string& data) {
  const ScramExchange exchange = *std::exchange(authentication_->exchange, std::nullopt);
  auto last_data = exchange.finish(data);
  if (!last_data) return fail_authentication();
  auto grants = thread_.settings().access->grants_of(exchange.user());
  if (!authentication_->connect) {
    grants_ = std::move(grants);  // by the rules of now
    return auth_step(Step::Kind::confirmed, ReasonCode::Success, std::move(*last_data));
  }
  authentication_->last_data = std::move(*last_data);
  protocol::Connect connect = std::move(*authentication_->connect);
  authentication_->connect.reset();
  return admit(connect, std::move(grants));
}

// CONNACK or, for a client that was admitted before, DISCONNECT. [MQTT-4.12.0-4], [MQTT-4.12.1-2]
Step Handshake::fail_authentication() {
  thread_.counters().authentication_failures.add();
  return refuse(ReasonCode::NotAuthorized);
}

Step Handshake::auth_step(Step::Kind kind, ReasonCode reason, std::string data) {
  protocol::Auth auth;
  auth.reason = reason;
  auth.properties.authentication_method = scram_method;
  auth.properties.authentication_data = std::move(data);
  Step step{kind, {}, {}, false, {}};
  protocol::encode(protocol::Packet(std::move(auth)), version_, step.auth);
  // Without it the exchange cannot go on. [MQTT-3.1.2-24]
  if (packet_bytes_max_ != 0 && step.auth.size() > packet_bytes_max_) {
    return refuse(ReasonCode::PacketTooLarge);
  }
  return step;
}

}  // namespace millrace::server
