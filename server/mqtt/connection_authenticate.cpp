// Who is there: a password that the worker checks, or an exchange of AUTH packets, first before
// CONNACK and later whenever the client wants. Source: MQTT 5.0 sections 3.15 and 4.12; RFC 5802.
#include "server/mqtt/connection_authenticate.hpp"

#include <utility>

#include "protocol/encode.hpp"

namespace millrace::server {

using protocol::PacketType;

// --- Passwords -----------------------------------------------------------------------------------

// Nothing is read until the answer is there: what the client sent meanwhile waits where it is.
bool Connection::check_password(protocol::Connect& connect) {
  auto check = std::make_shared<PasswordCheck>();
  check->owner = this;
  check->access = thread_.settings().access;
  check->connect = std::move(connect);
  const auto task = [check, &thread = thread_] {
    check->answer = check->access->authenticate(check->connect.user_name, check->connect.password);
    thread.post([check] {
      if (check->owner != nullptr) check->owner->on_password_checked(*check);
    });
  };
  if (!thread_.worker().try_post(thread_.config().access.password_checks_max, task)) {
    thread_.counters().password_checks_refused.add();
    return refuse(ReasonCode::ServerBusy);
  }
  password_check_ = std::move(check);
  state_ = State::checking;
  return true;
}

void Connection::on_password_checked(PasswordCheck& check) {
  const StreamUserRef keep(this);
  password_check_.reset();
  if (ended()) return;
  if (!admit(check.connect, std::move(check.answer))) return;
  Incoming held;
  if (partial_.bytes > 0) {
    held.own = std::move(partial_.buffer);
    held.bytes = {held.own->data(), partial_.bytes};
    held.holder = held.own.get();
    partial_ = {};
  }
  on_received(held);
  if (!ended()) read_on();
}

void Connection::forget_password_check() {
  if (password_check_) password_check_->owner = nullptr;
}

// --- Enhanced authentication ---------------------------------------------------------------------

bool Connection::begin_authentication(protocol::Connect& connect) {
  const bool offered = connect.properties.authentication_method == scram_method &&
                       thread_.settings().access->scram() != nullptr;
  if (!offered) return refuse(ReasonCode::BadAuthenticationMethod);  // [MQTT-4.12.0-1]
  state_ = State::authenticating;
  packet_bytes_max_ = connect.properties.maximum_packet_size.value_or(0);
  authentication_ = std::make_unique<EnhancedAuthentication>();
  authentication_->connect = std::move(connect);
  return challenge(authentication_->connect->properties.authentication_data.value_or(""));
}

// AUTH goes on with the exchange, or begins another.
bool Connection::handle(protocol::Auth& packet) {
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

// Who begins again stays who it is: session and will are that user's.
bool Connection::challenge(const std::string& data) {
  const ScramFile* scram = thread_.settings().access->scram();
  auto first = parse_scram_first(data);
  if (scram == nullptr || !first || (grants_ && first->user != grants_->user())) {
    return fail_authentication();
  }
  ScramKeys keys = scram->keys_of(first->user);
  authentication_->exchange.emplace(std::move(*first), std::move(keys), scram_nonce());
  return send_auth(ReasonCode::ContinueAuthentication, authentication_->exchange->challenge());
}

bool Connection::conclude(const std::string& data) {
  const ScramExchange exchange = *std::exchange(authentication_->exchange, std::nullopt);
  auto last_data = exchange.finish(data);
  if (!last_data) return fail_authentication();
  auto grants = thread_.settings().access->grants_of(exchange.user());
  if (state_ != State::authenticating) {
    grants_ = std::move(grants);  // by the rules of now
    return send_auth(ReasonCode::Success, std::move(*last_data));
  }
  authentication_->last_data = std::move(*last_data);
  protocol::Connect connect = std::move(*authentication_->connect);
  authentication_->connect.reset();
  return admit(connect, std::move(grants));
}

// CONNACK or, for one who had come in before, DISCONNECT. [MQTT-4.12.0-4], [MQTT-4.12.1-2]
bool Connection::fail_authentication() {
  thread_.counters().authentication_failures.add();
  return refuse(ReasonCode::NotAuthorized);
}

bool Connection::send_auth(ReasonCode reason, std::string data) {
  protocol::Auth auth;
  auth.reason = reason;
  auth.properties.authentication_method = scram_method;
  auth.properties.authentication_data = std::move(data);
  std::vector<std::uint8_t> bytes;
  protocol::encode(protocol::Packet(std::move(auth)), version_, bytes);
  // Without it the exchange cannot go on. [MQTT-3.1.2-24]
  if (packet_bytes_max_ != 0 && bytes.size() > packet_bytes_max_) {
    return refuse(ReasonCode::PacketTooLarge);
  }
  std::vector<std::uint8_t>& control = writer_.control();
  control.insert(control.end(), bytes.begin(), bytes.end());
  thread_.counters().packets_sent[static_cast<std::size_t>(PacketType::Auth)].add();
  return true;
}

}  // namespace millrace::server
