// One read of a connection: its packets, and the commands that they become. CONNECT and AUTH, PUBLISH,
// SUBSCRIBE and UNSUBSCRIBE have files of their own. It is between the steps [1] to [4] of a message's
// walk (docs/architecture.md): on_received() takes each packet of a read through [1] and [2],
// settles what buffer the messages keep, and submits [4].
#include <algorithm>
#include <variant>

#include "protocol/decode.hpp"
#include "protocol/encode.hpp"
#include "server/mqtt/connection.hpp"

namespace millrace::server {

using protocol::PacketType;

void Connection::on_readable() {
  thread_.awake();
  const StreamUserRef keep(this);
  if (state_ == State::lingering) return discard_input();
  if (ended() || reading_paused_) return;
  if (reader_.has_held()) {
    ReceivedBytes held;
    reader_.take_held(held);
    on_received(held);
    if (!ended()) read_on();
    return;
  }
  if (read_stopped_) return;
  if (read_once() && !ended()) read_on();
}

bool Connection::read_once() {
  ReceivedBytes received;
  const IoResult result = reader_.receive(*stream_, received);
  switch (result.status) {
    case IoStatus::ok:
      break;
    case IoStatus::again:
      return true;
    case IoStatus::broken:
      fault(ReasonCode::protocol_error);
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
  if (past_connect()) {
    last_received_tick_ = thread_.wheel().tick();
    bytes_received_ += result.bytes;
  }
  if (received.is_over_budget()) {
    refuse_bytes();
    return false;
  }
  if (!received.empty()) on_received(received);
  return true;
}

void Connection::discard_input() {
  broker::Buffer& buffer = thread_.read_memory().buffers.current();
  const IoResult result = stream_->read({buffer.data(), buffer.capacity()});
  if (result.status != IoStatus::ok && result.status != IoStatus::again) return leave();
  stream_->wait_readable();
}

// --- The packets of a read -----------------------------------------------------------------------

void Connection::on_received(ReceivedBytes& received) {
  in_read_ = true;
  ReadCounts counts;
  handle_packets(received, counts);
  count(counts);
  if (submission_.settle_slices(received)) reader_.hand_over();
  if (!ended()) keep_rest(received);
  in_read_ = false;
  submission_.submit();
  if (state_ == State::closed) return release_if_done();
  if (ended()) return write();
  const bool answered = held_ && release_answers();
  // An answer may have taken a hand-over while its packet was handled.
  if (answered || !writer_.idle()) write();
}

// The whole packets at the front, until one says that the rest must wait.
void Connection::handle_packets(ReceivedBytes& received, ReadCounts& counts) {
  hold_rest_ = false;
  const bool is_costly = submission_.is_costly();
  while (!received.rest().empty()) {
    const bool before_connect = state_ == State::awaiting_connect;
    const Config& config = thread_.config();
    const auto found =
        received.next(past_connect() ? config.packet_bytes_max : config.connect_bytes_max,
                      before_connect ? protocol::first_packet_version : version_);
    if (!found) {
      fault(found.error());
      break;
    }
    // [MQTT-3.1.0-1], seen at the first byte.
    if (before_connect && received.rest()[0] >> 4 != static_cast<int>(PacketType::connect)) {
      fault(ReasonCode::protocol_error);
      break;
    }
    if (!*found) break;
    const protocol::Frame& frame = **found;
    const bool exchanges = frame.type == PacketType::auth || frame.type == PacketType::disconnect;
    if (state_ == State::authenticating && !exchanges) {  // [MQTT-3.1.2-30]
      fault(ReasonCode::protocol_error);
      break;
    }
    if (!handle_packet(frame, received.rest().first(frame.packet_bytes), received, counts)) break;
    received.take(frame.packet_bytes);
    if (is_costly && submission_.is_at_limit()) [[unlikely]]
      hold_rest_ = true;
    // An answer may have taken a hand-over that ended it: nothing is added behind Close.
    if (hold_rest_ || ended()) break;
  }
}

void Connection::count(const ReadCounts& counts) {
  IoCounters& counters = thread_.counters();
  thread_.count_received(counts.spelled_out_bytes);  // a pass ends by them, too
  for (std::size_t qos = 0; qos < qos_count; ++qos) {
    if (counts.messages[qos] == 0) continue;
    messages_received_ += counts.messages[qos];
    counters.messages_received[qos].add(counts.messages[qos]);
    counters.message_bytes_received[qos].add(counts.payload_bytes[qos]);
    counters.packets_received[static_cast<std::size_t>(PacketType::publish)].add(
        counts.messages[qos]);
  }
}

void Connection::keep_rest(const ReceivedBytes& received) {
  if (received.rest().empty()) return;
  const Config& config = thread_.config();
  const bool known = past_connect();
  std::uint32_t packet_bytes = 0;
  if (!hold_rest_) {
    const auto header = protocol::frame_header(
        received.rest(), known ? config.packet_bytes_max : config.connect_bytes_max,
        state_ == State::awaiting_connect ? protocol::first_packet_version : version_);
    if (header && *header) packet_bytes = (*header)->packet_bytes;
  }
  const auto rest = hold_rest_ ? PacketReader::Rest::held : PacketReader::Rest::partial;
  const auto trust = known ? PacketReader::Trust::client : PacketReader::Trust::unauthenticated;
  partial_since_tick_ = thread_.wheel().tick();
  if (!reader_.keep(received, rest, trust, packet_bytes)) refuse_bytes();
}

// There is no memory for the rest of a packet.
void Connection::refuse_bytes() {
  const ReasonCode reason = past_connect() ? ReasonCode::quota_exceeded : ReasonCode::server_busy;
  close({reason, CloseCause::limit, past_connect()});
}

bool Connection::handle_packet(const protocol::Frame& frame, Bytes packet, ReceivedBytes& received,
                               ReadCounts& counts) {
  if (frame.type == PacketType::publish) [[likely]] {
    return handle_publish(frame, packet, received, counts);
  }
  thread_.counters().packets_received[static_cast<std::size_t>(frame.type)].add();
  // Who the client is, CONNECT says itself.
  if (tracing() && frame.type != PacketType::connect) [[unlikely]]
    trace_packet(TraceKind::received, frame.type, packet.size());
  switch (frame.type) {
    case PacketType::puback:
    case PacketType::pubrec:
    case PacketType::pubrel:
    case PacketType::pubcomp:
      return handle_ack(frame, packet);
    case PacketType::connect: {
      const bool goes_on = handle_connect(frame, packet);
      if (tracing()) [[unlikely]]
        trace_packet(TraceKind::received, frame.type, packet.size());
      return goes_on;
    }
    default:
      return handle_other(frame, packet);
  }
}

bool Connection::handle_ack(const protocol::Frame& frame, Bytes packet) {
  const auto ack = protocol::decode_ack(frame, packet, version_);
  if (!ack) return fault(ack.error());
  submission_.add_ack(*ack);
  return true;
}

bool Connection::handle_other(const protocol::Frame& frame, Bytes packet) {
  auto decoded = protocol::decode(frame, packet, version_);
  if (!decoded) return fault(decoded.error());
  if (auto* subscribe = std::get_if<protocol::Subscribe>(&*decoded)) return handle(*subscribe);
  if (auto* unsubscribe = std::get_if<protocol::Unsubscribe>(&*decoded)) {
    return handle(*unsubscribe);
  }
  if (auto* disconnect = std::get_if<protocol::Disconnect>(&*decoded)) return handle(*disconnect);
  if (std::holds_alternative<protocol::Pingreq>(*decoded)) {
    std::vector<std::uint8_t> pingresp;
    protocol::encode_pingresp(pingresp);
    answer(pingresp, PacketType::pingresp);
    return true;
  }
  if (auto* auth = std::get_if<protocol::Auth>(&*decoded)) {
    if (!handshake_) return fault(ReasonCode::protocol_error);  // [MQTT-4.12.0-7]
    return follow(handshake_->authenticate(*auth));
  }
  return fault(ReasonCode::protocol_error);  // a server's packet
}

bool Connection::handle(protocol::Disconnect& packet) {
  std::optional<std::uint32_t> new_expiry_s;
  if (packet.properties.session_expiry_interval) {
    const std::uint32_t wanted = *packet.properties.session_expiry_interval;
    if (zero_expiry_ && wanted != 0) return fault(ReasonCode::protocol_error);  // [MQTT-3.14.2-2]
    new_expiry_s = std::min(wanted, thread_.config().session.expiry_max_seconds);
  }
  close({packet.reason, CloseCause::client_disconnect}, new_expiry_s);
  return false;
}

// The peer broke a rule: this connection ends, and no other.
bool Connection::fault(ReasonCode reason) {
  const bool tell = state_ != State::awaiting_connect;
  close({reason, CloseCause::protocol_fault, tell && version_ == protocol::Version::v5});
  return false;
}

}  // namespace millrace::server
