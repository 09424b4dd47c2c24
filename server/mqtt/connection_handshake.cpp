// From CONNECT to the session, on the connection's side: what each step of the handshake
// (handshake.hpp) means for its state. Source: MQTT 5.0 sections 3.1, 3.2 and 4.12.
#include <algorithm>
#include <utility>

#include "server/mqtt/connection.hpp"
#include "server/net/peer_address.hpp"

namespace millrace::server {

using protocol::PacketType;

namespace {
// How often it is looked whether a client still waits for its password to be checked.
constexpr std::uint32_t checking_ticks = 2;
}  // namespace

bool Connection::handle_connect(const protocol::Frame& frame, Bytes packet) {
  if (state_ != State::awaiting_connect)
    return fault(ReasonCode::protocol_error);  // [MQTT-3.1.0-2]
  HandshakeUser& user = *this;
  const bool unwelcome = guest() != nullptr && guest()->refusal();
  handshake_ = std::make_unique<Handshake>(thread_, user, turned_away_ || unwelcome);
  if (unwelcome) handshake_->turn_away_with(*guest()->refusal());
  Handshake::Step step = handshake_->connect(frame, packet);
  version_ = handshake_->version();
  packet_bytes_max_ = handshake_->packet_bytes_max();
  client_id_ = handshake_->client_id();
  return follow(std::move(step));
}

// Says whether to go on with the next packet.
bool Connection::follow(Handshake::Step step) {
  switch (step.kind) {
    case Handshake::Step::Kind::refused:
      close({step.reason, step.cause, step.has_answer});
      return false;
    case Handshake::Step::Kind::checking:
      // What the client sent behind CONNECT waits where it is.
      state_ = State::checking;
      last_received_tick_ = thread_.wheel().tick();
      patience_ticks_ = checking_ticks;
      schedule_check();
      hold_rest_ = true;
      return true;
    case Handshake::Step::Kind::exchanging:
      if (!past_connect()) state_ = State::authenticating;
      answer(step.auth, PacketType::auth);
      return true;
    case Handshake::Step::Kind::admitted:
      if (guest() != nullptr &&
          !guest()->enter_user(handshake_->grants()->user(), handshake_->client_id().view())) {
        close({ReasonCode::quota_exceeded, CloseCause::limit, true});
        return false;
      }
      accept();
      return true;
    case Handshake::Step::Kind::confirmed:
      grants_ = handshake_->grants();
      note_expiry();
      answer(step.auth, PacketType::auth);
      return true;
  }
  return true;
}

std::string Connection::client_address() const {
  return stream_->peer().host;
}

std::uint16_t Connection::listener_number() const {
  return server::listener_number(thread_.config(), listener_.name);
}

std::optional<std::string> Connection::certified_user() const {
  return stream_->certified_user(listener_.tls.user_from);
}

void Connection::on_password_checked() {
  const StreamUserRef keep(this);
  if (ended()) return;
  last_received_tick_ = thread_.wheel().tick();
  if (!follow(handshake_->password_checked())) return;
  ReceivedBytes held;
  if (reader_.has_held()) reader_.take_held(held);
  on_received(held);
  if (!ended()) read_on();
}

// The client is admitted: from here on there is a session to speak to.
void Connection::accept() {
  Handshake::Terms& terms = handshake_->terms();
  last_received_tick_ = thread_.wheel().tick();
  connected_tick_ = last_sent_tick_ = last_received_tick_;
  state_ = State::connecting;
  grants_ = handshake_->grants();
  client_id_ = terms.request->client_id;
  receive_maximum_ = static_cast<std::uint16_t>(std::min(thread_.config().receive_maximum, 65535u));
  is_bridge_ = terms.is_bridge;
  takes_reasons_ = terms.takes_reasons;
  zero_expiry_ = terms.zero_expiry;
  if (terms.state_topic) uncommon_.write().state_topic = std::move(terms.state_topic);
  if (terms.wish) uncommon_.write().wish = std::move(terms.wish);
  has_will_ = terms.request->will.has_value();
  const std::uint32_t keep_alive_ticks = IoThread::ticks(terms.keep_alive_seconds);
  patience_ticks_ = keep_alive_ticks + keep_alive_ticks / 2;  // [MQTT-3.1.2-22]
  schedule_check();
  note_expiry();

  writer_.set_peer(version_, terms.aliases_max);
  broker::OutboxRef outbox(new broker::Outbox(thread_.ready_list(), *this));
  outbox->version = version_;
  outbox->encodes_anew = terms.aliases_max > 0;
  terms.request->keeps = outbox;
  submission_.open(std::move(outbox), std::move(terms.request));
}

}  // namespace millrace::server
