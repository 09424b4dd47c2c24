// What a connection sends: takes what was handed over, lets the Writer write it, waits for
// writability, and reports what drained.
#include <algorithm>
#include <utility>

#include "protocol/encode.hpp"
#include "server/mqtt/binding.hpp"
#include "server/mqtt/connection.hpp"

namespace millrace::server {

using broker::Outbox;
using protocol::PacketType;

namespace {
CloseCause cause_of(protocol::ReasonCode reason, bool greeted) {
  if (!greeted) return CloseCause::refused;
  const bool revoked = reason == protocol::ReasonCode::not_authorized;
  return revoked ? CloseCause::revoked : CloseCause::processor;
}
}  // namespace

void Connection::on_outbox_ready() {
  const StreamUserRef keep(this);
  if (submission_.has_kept()) {
    submission_.submit();
    release_if_done();
  }
  if (state_ >= State::lingering) return;
  const bool taken = take_handover();
  const bool answered = held_ && release_answers();
  if (taken || answered || state_ == State::closing) write();
  if (reading_paused_) resume_reading();
}

// False: nothing was handed over since the last time.
bool Connection::take_handover() {
  Outbox& outbox = *submission_.outbox();
  auto handover = outbox.take();
  if (!handover) return false;
  if (handover->connected && !greeted_) send_connack(handover->connected->session_present);
  count_control(handover->control);
  if (tracing()) [[unlikely]]
    trace_handover(*handover);
  const auto end = handover->close;
  writer_.add(std::move(handover), outbox);
  if (outbox.binding() != binding_) apply_binding();
  if (end && state_ == State::closing && !greeted_) {  // refused after all
    ending_->reason = *end;
    ending_->tell_peer = true;
  }
  if (end && !greeted_) held_.reset();  // nothing follows a CONNACK that refuses [MQTT-3.2.0-1]
  if (end) close({*end, cause_of(*end, greeted_), true, true});
  return true;
}

void Connection::send_connack(bool session_present) {
  if (!ended()) state_ = State::connected;
  greeted_ = true;
  log_connected(*stream_, listener_, version_, log_client());
  thread_.counters().connected[version_index(static_cast<std::uint8_t>(version_))].add();
  thread_.counters().packets_sent[static_cast<std::size_t>(PacketType::connack)].add();
  const auto connack = handshake_->connack(session_present);
  if (tracing()) [[unlikely]]
    trace_packet(TraceKind::sent, PacketType::connack, connack.size());
  writer_.add_control(connack);
  if (handshake_->is_over()) handshake_.reset();
}

void Connection::count_control(protocol::ControlPackets& control) {
  if (control.empty()) return;
  IoCounters& counters = thread_.counters();
  for (const PacketType type : {PacketType::puback, PacketType::pubrec, PacketType::pubrel,
                                PacketType::pubcomp, PacketType::suback, PacketType::unsuback}) {
    const std::uint32_t count = control.count_of(type);
    if (count > 0) counters.packets_sent[static_cast<std::size_t>(type)].add(count);
  }
  unacknowledged_ -= std::min(unacknowledged_, control.exchanges_ended());
  control.forget_counts();
}

// --- Answers of the connection's own -------------------------------------------------------------

// At once, if all that was submitted before it has been applied, and nothing of that waits to be
// handed over; else it is held until that has been written. CONNACK may come later than its CONNECT
// is applied: it may wait for the disk.
void Connection::answer(Bytes packet, PacketType type) {
  thread_.counters().packets_sent[static_cast<std::size_t>(type)].add();
  if (tracing()) [[unlikely]]
    trace_packet(TraceKind::sent, type, packet.size());
  if (!past_connect() || (greeted_ && !held_ && submission_.all_applied() && !take_handover())) {
    return writer_.add_control(packet);
  }
  if (!held_) held_ = std::make_unique<HeldAnswers>();
  held_->hold(packet, submission_.mark());
}

// Gives the writer the held answers that are due. True: there is something new to write.
bool Connection::release_answers() {
  if (!held_) return false;
  std::uint32_t applied = submission_.applied_commands();
  if (held_->waits_for_commands(applied)) {
    submission_.ask_for_progress();
    applied = submission_.applied_commands();
  }
  // What those commands brought was handed over before they were seen to be applied.
  const bool taken = take_handover();
  if (!held_) return taken;  // it ended the connection, and that has answered
  if (!greeted_) return taken;
  const auto due =
      held_->take_due(applied, writer_.deliveries_added(), writer_.deliveries_written());
  if (!due.empty()) writer_.add_control(due);
  if (held_->empty()) held_.reset();
  return taken || !due.empty();
}

// --- Writing -------------------------------------------------------------------------------------

void Connection::on_writable() {
  thread_.awake();
  const StreamUserRef keep(this);
  write_blocked_ = false;
  if (state_ == State::closed) return;
  write();
  if (reading_paused_) resume_reading();
}

void Connection::write() {
  if (write_blocked_ || state_ >= State::lingering) return;
  // Nothing precedes CONNACK but AUTH.
  if (!greeted_ && state_ != State::closing && state_ != State::authenticating) return;
  const std::uint64_t sent_before = thread_.counters().bytes_sent.value();
  Writer::Status status = Writer::Status::written;
  do {
    status = writer_.write(*stream_, thread_.piece(), thread_.counters(), submission_.outbox());
  } while (held_ && status == Writer::Status::written && release_answers());
  const std::uint64_t sent = thread_.counters().bytes_sent.value() - sent_before;
  bytes_sent_ += sent;
  if (sent > 0) last_sent_tick_ = thread_.wheel().tick();
  if (sent > 0 && read_stopped_ && state_ == State::closing) {
    last_received_tick_ = thread_.wheel().tick();  // it still takes what it is owed
  }
  if (state_ >= State::lingering) return;  // a hand-over among them ended it
  if (status == Writer::Status::written) {
    const IoStatus flushed = stream_->flush();
    if (flushed == IoStatus::again) status = Writer::Status::blocked;
    if (flushed == IoStatus::failed) status = Writer::Status::failed;
  }
  switch (status) {
    case Writer::Status::failed:
      return lost();
    case Writer::Status::blocked:
      write_blocked_ = was_blocked_ = true;
      stream_->wait_writable();
      break;
    case Writer::Status::written:
      if (state_ == State::closing) return finish_closing();
      break;
  }
  report_drained();
}

// When report_bytes() are written, or when late_ says so.
void Connection::report_drained() {
  if (ended() || !past_connect()) return;
  if (submission_.outbox()->binding() != binding_) apply_binding();
  const std::uint32_t bytes = writer_.unreported_bytes();
  const bool says_more = late_ && late_->written(bytes);
  if (bytes < report_bytes(binding_, thread_.config().outbox) && !says_more) return;
  broker::command::Drained drained;
  drained.bytes = bytes;
  drained.blocked = was_blocked_;
  was_blocked_ = false;
  if (late_) late_->report(drained);
  writer_.reported();
  submission_.add(drained);
  if (!in_read_) submission_.submit();
}

void Connection::on_reader_progress() {
  const StreamUserRef keep(this);
  report_drained();
}

void Connection::apply_binding() {
  binding_ = submission_.outbox()->binding();
  if (binding_ != Outbox::Binding::latest || thread_.config().outbox.unread_bytes == 0) {
    writer_.set_late(nullptr);
    late_.reset();
  } else if (!late_) {
    LateBinding::User& user = *this;
    late_ = std::make_unique<LateBinding>(thread_, user, stream_->fd());
    writer_.set_late(&late_->terms());
  }
  limit_unsent_bytes(stream_->fd(), binding_, thread_.config().outbox);
}

}  // namespace millrace::server
