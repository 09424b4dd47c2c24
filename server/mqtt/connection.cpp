#include "server/mqtt/connection_authenticate.hpp"
#include "server/mqtt/connection_log.hpp"

namespace millrace::server {

namespace {
// How long a peer may take to read our last words and to close its end.
constexpr std::uint32_t closing_ticks = IoThread::ticks(5);
constexpr std::uint32_t lingering_ticks = IoThread::ticks(2);
}  // namespace

Connection::Connection(IoThread& thread, const ListenerConfig& listener,
                       std::unique_ptr<Stream> stream, bool turned_away)
    : thread_(thread), listener_(listener), stream_(std::move(stream)), turned_away_(turned_away) {}

Connection::~Connection() {
  forget_password_check();
}

void Connection::start() {
  intrusive_ptr_add_ref(this);  // until release_if_done()
  thread_.count_resident(turned_away_);
  thread_.counters().accepted[static_cast<std::size_t>(listener_.transport)].add();
  last_received_tick_ = thread_.wheel().tick();
  patience_ticks_ = IoThread::ticks(thread_.config().connect_timeout_seconds);
  schedule_check();
  stream_->open(*this);
}

void Connection::on_open() {
  thread_.awake();
  if (state_ != State::opening) return;
  state_ = State::awaiting_connect;
  stream_->wait_readable();
}

void Connection::on_open_failed() {
  thread_.awake();
  if (ended()) return;
  close({ReasonCode::ProtocolError, CloseCause::handshake_fault});
}

// --- Time ----------------------------------------------------------------------------------------

void Connection::schedule_check() {
  TimerWheel& wheel = thread_.wheel();
  // One tick more: the current one has begun already.
  wheel.schedule(*this, patience_ticks_ == 0 ? wheel.tick() + TimerWheel::slot_count - 1
                                             : last_received_tick_ + patience_ticks_ + 1);
}

void Connection::on_due() {
  const std::uint32_t tick = thread_.wheel().tick();
  // While the server does not read, the client's silence means nothing.
  if (reading_paused_ || read_stopped_) {
    if (state_ == State::connected) last_received_tick_ = tick;
  }
  const bool overdue = patience_ticks_ != 0 && tick - last_received_tick_ > patience_ticks_;
  schedule_check();
  if (!overdue) return;
  switch (state_) {
    case State::opening:
    case State::awaiting_connect:
    case State::authenticating:
      return close({ReasonCode::UnspecifiedError, CloseCause::connect_timeout});
    case State::checking:  // that time is ours
      return;
    case State::connecting:
    case State::connected:  // [MQTT-3.1.2-22]
      return close({ReasonCode::KeepAliveTimeout, CloseCause::keep_alive_timeout, true});
    case State::closing:
    case State::lingering:
      return leave();
    case State::closed:
      return;
  }
}

// --- The end -------------------------------------------------------------------------------------

void Connection::stop_reading() {
  read_stopped_ = true;
}

void Connection::end(Which which) {
  if (ended() || (which == Which::with_will && !has_will_)) return;
  close({ReasonCode::ServerShuttingDown, CloseCause::shutdown, true});
}

void Connection::abandon() {
  const StreamUserRef keep(this);
  if (past_connect() && !close_appended_) {
    append_close(ReasonCode::ServerShuttingDown);
    submit_commands();
  }
  // What the queue has not taken by now, nobody will apply.
  kept_commands_.reset();
  close_submitted_ = true;
  leave();
}

void Connection::close(Ending ending) {
  if (ended()) return;
  const StreamUserRef keep(this);
  ending_ = ending;
  log_ending(ending);
  IoCounters& counters = thread_.counters();
  counters.closed_by_cause[static_cast<std::size_t>(ending.cause)].add();
  if (ending.cause == CloseCause::protocol_fault) {
    counters.protocol_faults[static_cast<std::size_t>(ending.reason)].add();
  }
  const State before = state_;
  state_ = State::closing;
  partial_ = {};
  last_received_tick_ = thread_.wheel().tick();
  patience_ticks_ = closing_ticks;
  schedule_check();

  if (past_connect()) {
    append_close(ending.reason);
    if (!in_read_) submit_commands();
  }
  // Its commands of this read are submitted by then; a lost peer cannot be told anything.
  if (ending.cause == CloseCause::peer_closed || before == State::opening) return leave();
  write();
}

// Called when nothing is left to write but the last word.
void Connection::finish_closing() {
  if (ending_->tell_peer) {
    ending_->tell_peer = false;
    say_farewell();
    return write();
  }
  // After DISCONNECT the client sends nothing [MQTT-3.14.4-1] that could erase our words.
  if (ending_->cause == CloseCause::client_disconnect && listener_.transport == Transport::tcp) {
    return leave();
  }
  state_ = State::lingering;
  stream_->shutdown();
  last_received_tick_ = thread_.wheel().tick();
  patience_ticks_ = lingering_ticks;
  schedule_check();
  stream_->wait_readable();
}

void Connection::lost() {
  if (ended()) return leave();
  close({ReasonCode::UnspecifiedError, CloseCause::peer_closed});
}

void Connection::leave() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  stream_->close();
  IoCounters& counters = thread_.counters();
  counters.closed[static_cast<std::size_t>(listener_.transport)].add();
  if (greeted_) counters.gone[version_index(static_cast<std::uint8_t>(version_))].add();
  release_if_done();
}

// The last reference may go: nothing of the connection may be touched after this.
void Connection::release_if_done() {
  if (released_ || state_ != State::closed) return;
  if (outbox_ && !close_submitted_) return;
  released_ = true;
  if (outbox_) outbox_->forget_owner();
  if (is_linked()) unlink();
  thread_.discount_resident(turned_away_);
  intrusive_ptr_release(static_cast<StreamUser*>(this));
}

void Connection::log_ending(const Ending& ending) const {
  log_connection_end(*stream_, listener_, version_, ending.reason, ending.cause);
}

}  // namespace millrace::server
