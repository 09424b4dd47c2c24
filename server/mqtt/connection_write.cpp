// [9] encode, write, as the connection sees it: takes what was handed over, lets the Writer write
// it, waits for writability, and reports what drained.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "protocol/encode.hpp"
#include "server/mqtt/connection.hpp"

namespace millrace::server {

using broker::Outbox;
using protocol::PacketType;

namespace {
// For `late` the kernel may hold this many times what it may hold for `latest`.
constexpr std::uint32_t late_lowat_factor = 8;
}  // namespace

void Connection::on_outbox_ready() {
  const StreamUserRef keep(this);
  if (kept_commands_) {
    submit_kept();
    submit_commands();  // notices that `close` went with them
  }
  if (ended()) return;
  take_handover();
  if (reading_paused_) resume_reading();
}

void Connection::take_handover() {
  auto handover = outbox_->take();
  if (!handover) return;
  if (handover->connected && !greeted_) {
    state_ = State::connected;
    send_connack(handover->connected->session_present);
    if (ended()) return;  // it would have been too large
  }
  account_control(handover->control);
  const auto end = handover->close;
  writer_.add(std::move(handover), *outbox_);
  if (outbox_->binding() != binding_) apply_binding();
  if (end) {
    close({*end, CloseCause::processor, true});
  } else {
    write();
  }
}

// Counts what the processor answered; each end of an exchange gives the client one more of its
// Receive Maximum.
void Connection::account_control(Bytes control) {
  IoCounters& counters = thread_.counters();
  while (control.size() >= 2) {
    const auto found = protocol::frame(control, protocol::packet_bytes_limit, version_);
    if (!found || !*found) break;
    const protocol::Frame& frame = **found;
    counters.packets_sent[static_cast<std::size_t>(frame.type)].add();
    const bool refused = frame.packet_bytes > 4 && frame.type == PacketType::Pubrec &&
                         protocol::is_failure(static_cast<ReasonCode>(control[4]));
    if (frame.type == PacketType::Puback || frame.type == PacketType::Pubcomp || refused) {
      if (unacknowledged_ > 0) --unacknowledged_;
    }
    control = control.subspan(frame.packet_bytes);
  }
}

void Connection::say_farewell() {
  if (!greeted_) return send_refusal(ending_->reason);
  if (version_ != protocol::Version::v5) return;  // MQTT 3 has no words for it
  protocol::Disconnect disconnect;
  disconnect.reason = ending_->reason;
  redirect(disconnect.reason, disconnect.properties);
  protocol::encode(protocol::Packet(std::move(disconnect)), version_, writer_.control());
  thread_.counters().packets_sent[static_cast<std::size_t>(PacketType::Disconnect)].add();
}

// A server that is full or shuts down may know another one. (MQTT 5.0, section 4.11)
void Connection::redirect(ReasonCode& reason, protocol::Properties& properties) const {
  constexpr std::size_t other_bytes = 16;  // of CONNACK or DISCONNECT, at most
  const std::string& server = thread_.config().mqtt.server_reference;
  const bool could_go =
      reason == ReasonCode::ServerShuttingDown || ending_->cause == CloseCause::limit;
  if (version_ != protocol::Version::v5 || server.empty() || !could_go) return;
  // [MQTT-3.1.2-24]
  if (packet_bytes_max_ != 0 && server.size() + other_bytes > packet_bytes_max_) return;
  reason = ReasonCode::UseAnotherServer;
  properties.server_reference = server;
}

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
  Writer::Status status =
      writer_.write(*stream_, thread_.piece(), thread_.counters(), outbox_.get());
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

// Rarely enough that light traffic never pays for it, often enough that credit never runs dry: at a
// quarter of the smallest credit that may apply. A backlog that collapsed has that of `latest`.
void Connection::report_drained() {
  if (ended() || !past_connect()) return;
  const OutboxConfig& config = thread_.config().outbox;
  const std::uint64_t credit = outbox_->binding() == Outbox::Binding::early
                                   ? config.credit_bytes
                                   : std::min(config.credit_bytes, config.latest_credit_bytes);
  if (writer_.unreported_bytes() < credit / 4) return;
  add_command(broker::command::Drained{writer_.unreported_bytes(), was_blocked_});
  was_blocked_ = false;
  writer_.reported();
  if (!in_read_) submit_commands();
}

// The kernel's send buffer is a hidden queue: for a subscriber whose values may be replaced it is
// kept small, so that they are bound late.
void Connection::apply_binding() {
  binding_ = outbox_->binding();
  const std::uint32_t bytes = thread_.config().outbox.notsent_lowat_bytes;
  int lowat = -1;  // the system's default
  if (binding_ == Outbox::Binding::latest) lowat = static_cast<int>(bytes);
  if (binding_ == Outbox::Binding::late) lowat = static_cast<int>(bytes * late_lowat_factor);
  ::setsockopt(stream_->fd(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
}

}  // namespace millrace::server
