// [1] framing and [4] submit: a read becomes packets, and their commands one submission.
//
// Bytes arrive in the thread's buffer, which all its connections share. A read that fills a good
// part of it gives the buffer to its messages; a small one is copied to a buffer of its own size,
// so that it pins nothing. A packet that is too large for that is read straight into a buffer that
// is just its own.
#include <algorithm>
#include <cstring>
#include <iterator>

#include "server/mqtt/connection.hpp"

namespace millrace::server {

namespace {

// A CONNECT's own buffer starts this small and doubles: who has not said who it is gets no more
// memory than it has sent bytes.
constexpr std::uint32_t connect_buffer_bytes = 4096;

// How long the packet will be, as soon as its fixed header is there; 0: not yet. The header was
// checked by protocol::frame().
std::uint32_t announced_packet_bytes(std::span<const std::uint8_t> head) {
  std::uint32_t remaining = 0;
  for (std::size_t i = 1; i < head.size() && i <= 4; ++i) {
    remaining |= static_cast<std::uint32_t>(head[i] & 0x7F) << (7 * (i - 1));
    if ((head[i] & 0x80) == 0) return static_cast<std::uint32_t>(1 + i) + remaining;
  }
  return 0;
}

}  // namespace

void Connection::on_readable() {
  thread_.awake();
  const StreamUserRef keep(this);
  if (state_ == State::lingering) return discard_input();
  if (ended() || reading_paused_ || read_stopped_) return;
  if (read_once() && !ended()) read_on();
}

void Connection::read_on() {
  if (state_ == State::checking) return;  // on_password_checked() will
  if (must_pause()) {
    reading_paused_ = true;
    thread_.counters().read_pauses.add();
    // What was applied between the check and this has rung no wake-up.
    resume_reading();
  } else {
    stream_->wait_readable();
  }
}

// --- Receiving -----------------------------------------------------------------------------------

bool Connection::read_once() {
  Incoming incoming;
  const IoResult result = receive(incoming);
  switch (result.status) {
    case IoStatus::ok:
      break;
    case IoStatus::again:
      return true;
    case IoStatus::broken:
      fault(ReasonCode::ProtocolError);
      return false;
    case IoStatus::end:
    case IoStatus::failed:
      lost();
      return false;
  }
  IoCounters& counters = thread_.counters();
  counters.reads.add();
  counters.bytes_received.add(result.bytes);
  thread_.count_received(result.bytes);
  if (past_connect()) last_received_tick_ = thread_.wheel().tick();
  if (!incoming.bytes.empty()) on_received(incoming);
  return true;
}

IoResult Connection::receive(Incoming& incoming) {
  return partial_.packet_bytes > 0 ? receive_into_partial(incoming) : receive_into_shared(incoming);
}

// A large packet: nothing to handle until all of it is there.
IoResult Connection::receive_into_partial(Incoming& incoming) {
  broker::Buffer& buffer = *partial_.buffer;
  const IoResult result =
      stream_->read({buffer.data() + partial_.bytes, buffer.capacity() - partial_.bytes});
  if (result.status != IoStatus::ok) return result;
  partial_.bytes += static_cast<std::uint32_t>(result.bytes);
  if (partial_.bytes < buffer.capacity()) return result;
  if (buffer.capacity() == partial_.packet_bytes) {
    incoming.own = std::move(partial_.buffer);
    incoming.bytes = {incoming.own->data(), partial_.bytes};
    incoming.holder = incoming.own.get();
    partial_ = {};
  } else {
    auto larger = broker::Buffer::allocate(std::min(partial_.packet_bytes, 2 * buffer.capacity()));
    std::memcpy(larger->data(), buffer.data(), partial_.bytes);
    partial_.buffer = std::move(larger);
  }
  return result;
}

IoResult Connection::receive_into_shared(Incoming& incoming) {
  broker::Buffer& buffer = thread_.receive_buffers().current();
  const std::uint32_t head_bytes = partial_.bytes;
  if (head_bytes > 0) std::memcpy(buffer.data(), partial_.buffer->data(), head_bytes);
  const IoResult result =
      stream_->read({buffer.data() + head_bytes, buffer.capacity() - head_bytes});
  if (result.status != IoStatus::ok) return result;
  partial_ = {};
  const std::size_t total = head_bytes + result.bytes;
  incoming.bytes = {buffer.data(), total};
  incoming.exact = total < buffer.capacity() / 4;
  if (!incoming.exact) incoming.holder = &buffer;
  return result;
}

void Connection::discard_input() {
  broker::Buffer& buffer = thread_.receive_buffers().current();
  const IoResult result = stream_->read({buffer.data(), buffer.capacity()});
  if (result.status != IoStatus::ok && result.status != IoStatus::again) return leave();
  stream_->wait_readable();
}

// --- Framing -------------------------------------------------------------------------------------

void Connection::on_received(Incoming& incoming) {
  in_read_ = true;
  const std::size_t handled = handle_packets(incoming);
  settle_references(incoming);
  if (!ended()) keep_partial(incoming.bytes.subspan(handled));
  in_read_ = false;
  submit_commands();
  if (!ended() && writer_.control_bytes() > 0) write();
}

// Handles the whole packets at the front and returns their bytes.
std::size_t Connection::handle_packets(Incoming& incoming) {
  const Bytes bytes = incoming.bytes;
  std::size_t at = 0;
  while (at < bytes.size()) {
    const Bytes left = bytes.subspan(at);
    const bool before_connect = state_ == State::awaiting_connect;
    const Config& config = thread_.config();
    const auto found = protocol::frame(
        left, past_connect() ? config.packet_bytes_max : config.connect_bytes_max, version_);
    if (!found) {
      fault(found.error());
      break;
    }
    // [MQTT-3.1.0-1], seen at the first byte.
    if (before_connect && left[0] >> 4 != static_cast<int>(protocol::PacketType::Connect)) {
      fault(ReasonCode::ProtocolError);
      break;
    }
    if (!*found) break;
    const protocol::Frame& frame = **found;
    const bool exchanges =
        frame.type == protocol::PacketType::Auth || frame.type == protocol::PacketType::Disconnect;
    if (state_ == State::authenticating && !exchanges) {  // [MQTT-3.1.2-30]
      fault(ReasonCode::ProtocolError);
      break;
    }
    if (!handle_packet(frame, left.first(frame.packet_bytes), incoming)) break;
    at += frame.packet_bytes;
    if (state_ == State::checking) break;
  }
  return at;
}

// Pays the references that the messages of this read hold, all at once, and decides what becomes of
// the shared buffer.
void Connection::settle_references(Incoming& incoming) {
  IoCounters& counters = thread_.counters();
  for (std::size_t qos = 0; qos < qos_count; ++qos) {
    if (incoming.messages[qos] == 0) continue;
    counters.messages_received[qos].add(incoming.messages[qos]);
    counters.message_bytes_received[qos].add(incoming.payload_bytes[qos]);
    counters.packets_received[static_cast<std::size_t>(protocol::PacketType::Publish)].add(
        incoming.messages[qos]);
  }
  if (incoming.references == 0) return;
  incoming.holder->add_references(incoming.references);
  if (incoming.own) return;
  const std::uint32_t capacity = incoming.holder->capacity();
  if (incoming.publish_bytes >= capacity / 4) {
    // The last message is charged for what is pinned and used by none.
    const auto unused = static_cast<std::uint32_t>(capacity - incoming.publish_bytes);
    broker::Command& last = thread_.commands()[incoming.last_publish];
    last.get_if<broker::command::Publish>()->charged_bytes += unused;
    submitted_bytes_ += unused;
    thread_.receive_buffers().hand_over();
    return;
  }
  for (broker::Command& command : thread_.commands()) {
    auto* publish = command.get_if<broker::command::Publish>();
    if (publish != nullptr && publish->message.buffer.get() == incoming.holder) {
      publish->message = publish->message.copy_to_keep();
    }
  }
}

void Connection::keep_partial(Bytes rest) {
  if (rest.empty()) return;
  const std::uint32_t announced = announced_packet_bytes(rest);
  const auto bytes = static_cast<std::uint32_t>(rest.size());
  std::uint32_t capacity = bytes;
  // Behind a CONNECT whose password is being checked there may be any number of packets.
  if (announced > thread_.config().connection.read_bytes / 4 && state_ != State::checking) {
    partial_.packet_bytes = announced;
    capacity =
        past_connect() ? announced : std::min(announced, std::max(2 * bytes, connect_buffer_bytes));
  }
  partial_.buffer = broker::Buffer::allocate(capacity);
  partial_.bytes = bytes;
  std::memcpy(partial_.buffer->data(), rest.data(), bytes);
}

// --- Submitting ----------------------------------------------------------------------------------

void Connection::append_close(ReasonCode reason) {
  add_command(broker::command::Close{reason, new_expiry_s_});
  close_appended_ = true;
}

void Connection::submit_commands() {
  std::vector<broker::Command>& commands = thread_.commands();
  if (!commands.empty()) {
    submitted_commands_ += static_cast<std::uint32_t>(commands.size());
    std::size_t taken = 0;
    if (!kept_commands_) taken = thread_.inbox().submit(commands);
    if (taken < commands.size()) {
      if (!kept_commands_) kept_commands_ = std::make_unique<std::vector<broker::Command>>();
      kept_commands_->insert(kept_commands_->end(),
                             std::make_move_iterator(commands.begin() + static_cast<long>(taken)),
                             std::make_move_iterator(commands.end()));
    }
    commands.clear();
    if (kept_commands_) submit_kept();
  }
  if (close_appended_ && !kept_commands_) {
    close_submitted_ = true;
    release_if_done();
  }
}

// Asks for room first: what comes free after that rings the wake-up.
void Connection::submit_kept() {
  thread_.inbox().wait_for_room(outbox_);
  auto& kept = *kept_commands_;
  const std::size_t taken = thread_.inbox().submit(kept);
  kept.erase(kept.begin(), kept.begin() + static_cast<long>(taken));
  if (kept.empty()) kept_commands_.reset();
}

// --- Back-pressure -------------------------------------------------------------------------------

bool Connection::must_pause() const {
  if (kept_commands_) return true;
  const Config& config = thread_.config();
  if (writer_.control_bytes() >= config.outbox.control_bytes_max) return true;
  if (!past_connect()) return false;
  return unapplied_commands() >= config.connection.unapplied_commands ||
         unapplied_bytes() >= config.connection.unapplied_bytes;
}

// The low mark: half of each limit.
bool Connection::may_resume() const {
  if (kept_commands_) return false;
  const Config& config = thread_.config();
  if (writer_.control_bytes() > config.outbox.control_bytes_max / 2) return false;
  if (!past_connect()) return true;
  return unapplied_commands() <= config.connection.unapplied_commands / 2 &&
         unapplied_bytes() <= config.connection.unapplied_bytes / 2;
}

void Connection::resume_reading() {
  if (!reading_paused_ || ended()) return;
  if (!may_resume()) {
    if (past_connect()) outbox_->pause();
    // Applied since the check: it may have been the last, and then nothing would ring.
    if (!may_resume()) return;
  }
  if (past_connect()) outbox_->resume();
  reading_paused_ = false;
  last_received_tick_ = thread_.wheel().tick();
  stream_->wait_readable();
}

}  // namespace millrace::server
