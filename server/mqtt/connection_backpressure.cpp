// Back-pressure of a connection: when it stops to read, and when it goes on. It stops while what it
// submitted is at its limit in the queue, while answers wait that the client does not read, and
// while the client is over its rate.
#include "server/mqtt/connection.hpp"

namespace millrace::server {

void Connection::read_on() {
  if (state_ == State::checking) return;  // on_password_checked() will
  if (must_pause()) {
    reading_paused_ = true;
    last_received_tick_ = thread_.wheel().tick();
    thread_.counters().read_pauses.add();
    if (is_over_rate()) thread_.counters().rate_pauses.add();
    if (has_rate_limit()) schedule_check();
    // What was applied between the check and this has brought no call.
    resume_reading();
  } else {
    stream_->wait_readable();
  }
}

std::size_t Connection::control_bytes() const {
  return writer_.control_bytes() + (held_ ? held_->bytes() : 0);
}

bool Connection::must_pause() const {
  return reader_.has_held() || submission_.is_at_limit() || is_over_rate() ||
         control_bytes() >= thread_.config().outbox.control_bytes_max;
}

// The low mark: half of each limit.
bool Connection::may_resume() const {
  return submission_.is_below_low_mark() && !is_over_rate() &&
         control_bytes() <= thread_.config().outbox.control_bytes_max / 2;
}

void Connection::resume_reading() {
  while (reading_paused_ && !ended()) {
    if (!may_resume()) {
      if (past_connect()) submission_.ask_for_progress();
      // Applied since the check: it may have been the last, and then nothing would call.
      if (!may_resume()) return;
    }
    last_received_tick_ = thread_.wheel().tick();
    if (!reader_.has_held()) break;
    ReceivedBytes held;
    reader_.take_held(held);
    on_received(held);
    if (!ended() && must_pause()) continue;  // still paused
    break;
  }
  if (!reading_paused_ || ended()) return;
  reading_paused_ = false;
  if (past_connect() && !held_) submission_.forget_progress();
  stream_->wait_readable();
}

}  // namespace millrace::server
