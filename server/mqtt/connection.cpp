#include "server/mqtt/connection.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

#include "core/broker/ledger.hpp"
#include "server/config/address_range.hpp"
#include "server/config/session_name.hpp"
#include "server/mqtt/farewell.hpp"
#include "server/net/peer_address.hpp"

namespace millrace::server {

namespace {
// How long a peer may take to read the last packets and to close its end.
constexpr std::uint32_t closing_ticks = IoThread::ticks(5);
constexpr std::uint32_t lingering_ticks = IoThread::ticks(2);
// The same when the server ends: so long it may take no byte, and then stay.
constexpr std::uint32_t last_closing_ticks = IoThread::ticks(1);
constexpr std::uint32_t last_lingering_ticks = 1;
// How long reading may stand still: the processor has long applied what was submitted by then, so it
// is the peer, who does not read its answers.
constexpr std::uint32_t paused_ticks = IoThread::ticks(60);

// About what a connection takes, and TLS besides.
constexpr std::uint64_t fixed_bytes = 4 * 1024;
constexpr std::uint64_t tls_bytes = 48 * 1024;
// While memory is scarce: how much a connection may keep, and how long it may keep more.
constexpr std::size_t kept_bytes_max = 64 * 1024;
constexpr std::size_t alias_bytes_max = 256 * 1024;
constexpr std::uint32_t kept_ticks = IoThread::ticks(2);
}  // namespace

Connection::Connection(IoThread& thread, const ListenerConfig& listener,
                       std::unique_ptr<Stream> stream, bool turned_away)
    : thread_(thread),
      listener_(listener),
      stream_(std::move(stream)),
      reader_(thread.read_memory()),
      submission_(thread),
      turned_away_(turned_away) {
  thread_.inbox().ledger().charge_connection(charged_bytes());
}

Connection::~Connection() {
  thread_.inbox().ledger().release_connection(charged_bytes());
}

std::uint64_t Connection::charged_bytes() const {
  return fixed_bytes + (listener_.uses_tls() ? tls_bytes : 0) +
         (aliases_in_ ? aliases_in_->bytes() : 0);
}

void Connection::start() {
  intrusive_ptr_add_ref(this);  // until release_if_done()
  thread_.count_resident(turned_away_);
  thread_.counters().accepted[static_cast<std::size_t>(listener_.transport)].add();
  last_received_tick_ = thread_.wheel().tick();
  patience_ticks_ = IoThread::ticks(thread_.config().connect_timeout_seconds);
  schedule_check();
  make_guest();
  // Behind a proxy it is not known yet who it is.
  if (speaks_for_itself() && !is_welcome()) return;
  stream_->open(*this);
}

void Connection::make_guest() {
  Guests* const guests = thread_.guests();
  if (guests == nullptr) return;
  const ConnectionConfig& limits = thread_.config().connection;
  const auto listener = listener_number();
  if (guests->limit_addresses() || guests->limit_users() || guests->rate_of(listener) != nullptr ||
      limits.messages_per_second > 0 || limits.bytes_per_second > 0) {
    uncommon_.write().guest = std::make_unique<Guest>(*guests, listener, limits);
  }
}

// Nobody at the other end of the socket may name another address.
bool Connection::speaks_for_itself() const {
  if (!listener_.is_behind_proxies()) return true;
  const std::string peer = peer_address(stream_->fd()).host;
  return !any_contains(address_ranges(listener_.proxy_protocol_from), peer) &&
         !any_contains(address_ranges(listener_.forwarded_from), peer);
}

// A handshake of TLS costs more than a CONNECT: a connection that is not let in does not get one.
bool Connection::is_welcome() {
  Guest* const guest = this->guest();
  if (guest == nullptr || guest->has_come()) return true;
  const auto verdict = guest->enter(address_group(stream_->peer().host));
  if (verdict == Guest::Verdict::welcome) return true;
  const bool before_tls = state_ == State::opening && listener_.uses_tls();
  if (verdict != Guest::Verdict::banned && !before_tls &&
      guest->begin_telling(thread_.config().connection.turned_away_max)) {
    return true;  // its CONNECT will be told
  }
  close({*guest->refusal(), CloseCause::limit});
  return false;
}

void Connection::on_open() {
  thread_.awake();
  if (state_ != State::opening) return;
  state_ = State::awaiting_connect;
  if (!is_welcome()) return;
  // There may have been a reload since the handshake began.
  if (!certificate_holds()) return close({ReasonCode::not_authorized, CloseCause::revoked});
  stream_->wait_readable();
}

void Connection::on_open_failed() {
  thread_.awake();
  if (ended()) return;
  close({ReasonCode::protocol_error, CloseCause::handshake_fault});
}

// --- Time ----------------------------------------------------------------------------------------

void Connection::schedule_check() {
  TimerWheel& wheel = thread_.wheel();
  // One tick more: the current one has begun already.
  std::uint32_t at = patience_ticks_ == 0 ? wheel.tick() + TimerWheel::slot_count - 1
                                          : last_received_tick_ + patience_ticks_ + 1;
  // Also where it is within its rate again by now: nothing else tells that.
  if (reading_paused_ && has_rate_limit()) at = wheel.tick() + 1;
  if (expires_ && static_cast<std::int32_t>(uncommon_.read().expires_tick - at) < 0) {
    at = uncommon_.read().expires_tick;
  }
  wheel.schedule(*this, at);
}

void Connection::note_expiry() {
  constexpr std::int64_t seconds_max = 1 << 28;  // what ticks can count; eight years
  const std::int64_t left_s = grants_->expires_at_s() - std::time(nullptr);
  expires_ = grants_->expires_at_s() != 0 && left_s < seconds_max;
  if (!expires_) return;
  uncommon_.write().expires_tick =
      thread_.wheel().tick() + 1 +
      IoThread::ticks(static_cast<std::uint32_t>(std::max<std::int64_t>(0, left_s)));
  schedule_check();
}

void Connection::on_due() {
  const std::uint32_t tick = thread_.wheel().tick();
  if (has_expired(tick) && !ended()) {
    expires_ = false;
    schedule_check();
    return close({ReasonCode::not_authorized, CloseCause::expired, true});
  }
  // What it may publish comes back by the time alone.
  const StreamUserRef keep(this);
  if (reading_paused_ && has_rate_limit() && !ended()) {
    if (is_over_rate()) last_received_tick_ = tick;
    resume_reading();
    if (ended()) return;  // close() looked after its time
  }
  if (state_ == State::connected && reading_paused_ && !read_stopped_ &&
      tick - last_received_tick_ > paused_ticks) {
    schedule_check();
    return close({ReasonCode::quota_exceeded, CloseCause::limit, true});
  }
  // While the server does not read, the client's silence means nothing.
  const bool reads = !reading_paused_ && !read_stopped_;
  if (read_stopped_ && state_ == State::connected) last_received_tick_ = tick;
  const bool overdue = patience_ticks_ != 0 && tick - last_received_tick_ > patience_ticks_;
  schedule_check();
  if (!overdue) return;
  switch (state_) {
    case State::opening:
    case State::awaiting_connect:
    case State::authenticating:
      return close({ReasonCode::unspecified_error, CloseCause::connect_timeout});
    case State::checking:  // not the client's delay; but if it has left, drop the check
      if (peer_has_left(stream_->fd())) return lost();
      last_received_tick_ = tick;
      return schedule_check();
    case State::connecting:
    case State::connected:  // [MQTT-3.1.2-22]
      if (!reads && state_ == State::connected) return;
      return close({ReasonCode::keep_alive_timeout, CloseCause::keep_alive_timeout, true});
    case State::closing:
    case State::lingering:
      return leave();
    case State::closed:
      return;
  }
}

// --- Reload --------------------------------------------------------------------------------------

// The processor judges the session by itself. A CONNECT that is still being looked at is judged by
// the newest settings when that is done.
void Connection::apply_settings() {
  if (ended() || state_ == State::opening) return;
  if (!certificate_holds()) {
    const bool tell = state_ != State::awaiting_connect;
    return close({ReasonCode::not_authorized, CloseCause::revoked, tell});
  }
  if (!grants_) return;
  const std::string address = client_address();
  auto grants =
      thread_.settings().access->readmit(*grants_, {client_id_, address, listener_number()});
  if (!grants) return close({ReasonCode::not_authorized, CloseCause::revoked, true});
  grants_ = std::move(grants);
}

// --- Memory --------------------------------------------------------------------------------------

void Connection::relieve_memory() {
  if (state_ != State::connected) return;
  const std::uint32_t tick = thread_.wheel().tick();
  const bool never_ends =
      reader_.kept_bytes() > kept_bytes_max && tick - partial_since_tick_ > kept_ticks;
  const bool never_reads = control_bytes() > kept_bytes_max && reading_paused_ &&
                           tick - last_received_tick_ > kept_ticks;
  const bool hoards_names = aliases_in_ && aliases_in_->bytes() > alias_bytes_max;
  if (!never_ends && !never_reads && !hoards_names) return;
  close({ReasonCode::quota_exceeded, CloseCause::limit, true});
}

bool Connection::certificate_holds() const {
  if (listener_.tls.client_certificate == ClientCertificate::none) return true;
  const TlsSetup* newest = thread_.settings().tls_of(listener_.name);
  return newest == nullptr || stream_->certificate_holds(*newest);
}

// --- The end -------------------------------------------------------------------------------------

void Connection::stop_reading() {
  read_stopped_ = true;
  if (state_ != State::closing && state_ != State::lingering) return;
  patience_ticks_ = state_ == State::closing ? last_closing_ticks : last_lingering_ticks;
  last_received_tick_ = thread_.wheel().tick();
  schedule_check();
}

void Connection::end(Which which) {
  if (ended() || (which == Which::with_will && !has_will_)) return;
  close({ReasonCode::server_shutting_down, CloseCause::shutdown, true});
}

void Connection::abandon() {
  const StreamUserRef keep(this);
  if (past_connect() && !submission_.has_close()) {
    submission_.add_close(ReasonCode::server_shutting_down, std::nullopt);
  }
  submission_.give_up();
  if (state_ == State::closed) return release_if_done();
  leave();
}

void Connection::close(Ending ending, std::optional<std::uint32_t> new_expiry_s) {
  if (ended()) return;
  const StreamUserRef keep(this);
  ending_ = ending;
  log_connection_end(*stream_, listener_, version_, ending.reason, ending.cause, log_client(),
                     greeted_);
  IoCounters& counters = thread_.counters();
  counters.closed_by_cause[static_cast<std::size_t>(ending.cause)].add();
  if (ending.cause == CloseCause::protocol_fault) {
    counters.protocol_faults[static_cast<std::size_t>(ending.reason)].add();
  }
  const State before = state_;
  state_ = State::closing;
  reader_.forget();
  last_received_tick_ = thread_.wheel().tick();
  patience_ticks_ = read_stopped_ ? last_closing_ticks : closing_ticks;
  schedule_check();

  if (past_connect()) {
    submission_.add_close(ending.reason, new_expiry_s);
    if (!in_read_) submission_.submit();
  }
  // A lost peer cannot be told anything.
  if (ending.cause == CloseCause::peer_closed || before == State::opening) return leave();
  if (!in_read_) write();  // else at the end of the read, when its commands are submitted
}

// Called when nothing is left to write but the last packet.
void Connection::finish_closing() {
  if (!answered_) {
    if (!await_answers()) return;
    answered_ = true;
    return write();
  }
  if (ending_->tell_peer) {
    ending_->tell_peer = false;
    say_farewell();
    return write();
  }
  // After DISCONNECT the client sends nothing [MQTT-3.14.4-1], so no unread bytes reset the socket.
  if (ending_->cause == CloseCause::client_disconnect && listener_.transport == Transport::tcp) {
    return leave();
  }
  state_ = State::lingering;
  stream_->shutdown();
  last_received_tick_ = thread_.wheel().tick();
  patience_ticks_ = read_stopped_ ? last_lingering_ticks : lingering_ticks;
  schedule_check();
  stream_->wait_readable();
}

// False: the processor has not applied all of it; on_outbox_ready() goes on. A client whose CONNECT
// was good gets its CONNACK, and what came before the fault its answers, ahead of DISCONNECT.
// [MQTT-3.1.4-4], [MQTT-3.2.0-1]
bool Connection::await_answers() {
  // What the processor ended has got its last answer.
  if (!past_connect() || ending_->by_processor) return true;
  if (!submission_.all_applied()) {
    submission_.ask_for_progress();
    if (!submission_.all_applied()) return false;
  }
  take_handover();
  release_answers();
  return true;
}

void Connection::say_farewell() {
  // A server that is full or shuts down names another one, if it is configured.
  const bool could_go =
      ending_->reason == ReasonCode::server_shutting_down || ending_->cause == CloseCause::limit;
  // 0x87 alone would not tell a client whether a newer token helps.
  const bool explains = ending_->cause == CloseCause::expired && takes_reasons_;
  const Farewell farewell{version_, ending_->reason, packet_bytes_max_,
                          could_go ? thread_.config().mqtt.server_reference : std::string(),
                          explains ? "the token has expired" : std::string()};
  const auto bytes = greeted_ ? encode_disconnect(farewell) : encode_refusal(farewell);
  if (bytes.empty()) return;
  held_.reset();  // nothing follows it [MQTT-3.14.4-1]
  writer_.add_control(bytes);
  const auto type = greeted_ ? protocol::PacketType::disconnect : protocol::PacketType::connack;
  thread_.counters().packets_sent[static_cast<std::size_t>(type)].add();
  if (tracing()) [[unlikely]]
    trace_packet(TraceKind::sent, type, bytes.size());
}

LogClient Connection::log_client() const {
  if (grants_) return {parse_session_name(client_id_).id, grants_->user()};
  if (!handshake_) return {client_id_, {}};
  const auto& grants = handshake_->grants();
  return {client_id_, grants ? grants->user() : handshake_->claimed_user()};
}

void Connection::lost() {
  if (ended()) return leave();
  close({ReasonCode::unspecified_error, CloseCause::peer_closed});
}

void Connection::leave() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  writer_.set_late(nullptr);
  late_.reset();  // it looks at the socket
  stream_->close();
  IoCounters& counters = thread_.counters();
  counters.closed[static_cast<std::size_t>(listener_.transport)].add();
  if (greeted_) counters.gone[version_index(static_cast<std::uint8_t>(version_))].add();
  release_if_done();
}

// The last reference may go: nothing of the connection may be touched after this.
void Connection::release_if_done() {
  if (released_ || state_ != State::closed || in_read_ || !submission_.is_over()) return;
  released_ = true;
  handshake_.reset();
  uncommon_.reset();  // it counts no more (Guest)
  if (past_connect()) submission_.outbox()->forget_owner();
  if (is_linked()) unlink();
  thread_.discount_resident(turned_away_);
  intrusive_ptr_release(static_cast<StreamUser*>(this));
}

}  // namespace millrace::server
