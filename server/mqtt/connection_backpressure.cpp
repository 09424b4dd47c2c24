// Back-pressure of a connection: when it stops to read, and when it goes on. It stops while what it
// submitted is at its limit in the queue, while answers wait that the client does not read, and
// while a message of it waits because of a rate. What it holds back meanwhile is handled in turns,
// as reads are.
#include "server/mqtt/connection.hpp"

namespace millrace::server {

void Connection::read_on() {
  if (state_ == State::checking) return;  // on_password_checked() will
  if (!must_pause()) return ask_to_read();
  reading_paused_ = true;
  last_received_tick_ = thread_.wheel().tick();
  if (!pause_counted_) {
    thread_.counters().read_pauses.add();
    if (is_over_rate()) thread_.counters().rate_pauses.add();
  }
  pause_counted_ = true;
  if (has_rate_limit()) schedule_check();
  // What was applied between the check and this has brought no call.
  resume_reading();
}

std::size_t Connection::control_bytes() const {
  return writer_.control_bytes() + (held_ ? held_->bytes() : 0);
}

bool Connection::must_pause() const {
  return submission_.is_at_limit() || is_over_rate() ||
         control_bytes() >= thread_.config().outbox.control_bytes_max;
}

// The low mark: half of each limit.
bool Connection::may_resume() const {
  return submission_.is_below_low_mark() && !is_over_rate() &&
         control_bytes() <= thread_.config().outbox.control_bytes_max / 2;
}

void Connection::resume_reading() {
  if (!reading_paused_ || ended()) return;
  if (!may_resume()) {
    if (past_connect()) submission_.ask_for_progress();
    // Applied since the check: it may have been the last, and then nothing would call.
    if (!may_resume()) return;
  }
  last_received_tick_ = thread_.wheel().tick();
  reading_paused_ = false;
  if (past_connect() && !held_) submission_.forget_progress();
  ask_to_read();
}

// What was held comes in turn with what others on the thread have to read: it may be much.
void Connection::ask_to_read() {
  if (reader_.has_held()) return stream_->post_readable();
  pause_counted_ = false;
  stream_->wait_readable();
}

}  // namespace millrace::server
