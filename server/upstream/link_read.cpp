// One read of a link: its packets, and what becomes of them. As in a Connection
// (server/mqtt/connection_read.cpp), but the other side is a server.
#include <utility>
#include <variant>

#include "core/broker/inbox.hpp"
#include "core/broker/message.hpp"
#include "protocol/decode.hpp"
#include "server/upstream/crossing.hpp"
#include "server/upstream/hops.hpp"
#include "server/upstream/link.hpp"

namespace millrace::server {

namespace command = broker::command;
using protocol::PacketType;
using protocol::Version;

void Link::on_readable() {
  thread_.awake();
  const StreamUserRef keep(this);
  if (state_ == State::lingering) return discard_input();
  if (ended() || reading_paused_ || read_stopped_) return;
  if (read_once() && !ended()) read_on();
}

void Link::read_on() {
  if (must_pause()) {
    reading_paused_ = true;
    thread_.counters().read_pauses.add();
    // What was applied between the check and this has brought no call.
    resume_reading();
  } else {
    stream_->wait_readable();
  }
}

bool Link::read_once() {
  ReceivedBytes received;
  const IoResult result = reader_.receive(*stream_, received);
  switch (result.status) {
    case IoStatus::ok:
      break;
    case IoStatus::again:
      return true;
    case IoStatus::broken:
      return fault(ReasonCode::protocol_error, "the transport's rules");
    case IoStatus::end:
    case IoStatus::failed:
      lost();
      return false;
  }
  IoCounters& counters = thread_.counters();
  counters.reads.add();
  counters.bytes_received.add(result.bytes);
  thread_.count_received(result.bytes);
  bytes_received_ += result.bytes;
  last_received_tick_ = thread_.wheel().tick();
  if (received.is_over_budget()) {
    close({Why::fault, "there is no memory for its packet"}, ReasonCode::quota_exceeded);
    return false;
  }
  if (!received.empty()) on_received(received);
  return true;
}

void Link::discard_input() {
  broker::Buffer& buffer = thread_.read_memory().buffers.current();
  const IoResult result = stream_->read({buffer.data(), buffer.capacity()});
  if (result.status != IoStatus::ok && result.status != IoStatus::again) return leave();
  stream_->wait_readable();
}

// --- The packets of a read -----------------------------------------------------------------------

void Link::on_received(ReceivedBytes& received) {
  in_read_ = true;
  handle_packets(received);
  if (submission_.settle_slices(received)) reader_.hand_over();
  if (!ended()) keep_rest(received);
  in_read_ = false;
  submission_.submit();
  if (leaves_now_) return leave();
  if (state_ == State::closed) return release_if_done();
  if (ended() || !writer_.idle()) write();
}

void Link::handle_packets(ReceivedBytes& received) {
  hold_rest_ = false;
  while (!received.rest().empty()) {
    const std::size_t bytes_max =
        state_ == State::up ? config().packet_bytes_max : config().connect_bytes_max;
    const auto found = received.next(bytes_max, version_);
    if (!found) {
      fault(found.error(), "a packet");
      break;
    }
    if (!*found) break;
    const protocol::Frame& frame = **found;
    if (!handle_packet(frame, received.rest().first(frame.packet_bytes), received)) break;
    received.take(frame.packet_bytes);
    if (hold_rest_ || ended()) break;
  }
}

void Link::keep_rest(const ReceivedBytes& received) {
  if (received.rest().empty()) return;
  std::uint32_t packet_bytes = 0;
  if (!hold_rest_) {
    const auto header =
        protocol::frame_header(received.rest(), config().packet_bytes_max, version_);
    if (header && *header) packet_bytes = (*header)->packet_bytes;
  }
  const auto rest = hold_rest_ ? PacketReader::Rest::held : PacketReader::Rest::partial;
  if (!reader_.keep(received, rest, PacketReader::Trust::client, packet_bytes)) {
    close({Why::fault, "there is no memory for its packet"}, ReasonCode::quota_exceeded);
  }
}

bool Link::handle_packet(const protocol::Frame& frame, Bytes packet, ReceivedBytes& received) {
  thread_.counters().packets_received[static_cast<std::size_t>(frame.type)].add();
  if (state_ == State::greeting) {
    if (frame.type == PacketType::connack) return handle_connack(frame, packet);
    return fault(ReasonCode::protocol_error, "a packet before CONNACK");
  }
  switch (frame.type) {
    case PacketType::publish:
      return handle_publish(frame, packet, received);
    case PacketType::puback:
    case PacketType::pubrec:
    case PacketType::pubrel:
    case PacketType::pubcomp:
      return handle_ack(frame, packet);
    default:
      return handle_other(frame, packet);
  }
}

bool Link::handle_connack(const protocol::Frame& frame, Bytes packet) {
  // A server that does not know MQTT 5 answers in its own version: without properties.
  constexpr std::uint32_t connack_bytes_3 = 4;
  const Version version = frame.packet_bytes == connack_bytes_3 ? Version::v3_1_1 : version_;
  const auto decoded = protocol::decode(frame, packet, version, protocol::Sender::server);
  if (!decoded) return fault(decoded.error(), "CONNACK");
  const auto& connack = std::get<protocol::Connack>(*decoded);
  if (refuses_version(connack.reason)) {
    close({Why::wrong_version, refusal_text(connack)});
    return false;
  }
  if (protocol::is_failure(connack.reason)) {
    close({Why::refused, refusal_text(connack)});
    return false;
  }
  if (version != version_) return fault(ReasonCode::malformed_packet, "CONNACK");
  come_up(connack);
  return !ended();
}

bool Link::handle_ack(const protocol::Frame& frame, Bytes packet) {
  const auto ack = protocol::decode_ack(frame, packet, version_, protocol::Sender::server);
  if (!ack) return fault(ack.error(), "an acknowledgement");
  submission_.add_ack(*ack);
  return true;
}

bool Link::handle_other(const protocol::Frame& frame, Bytes packet) {
  const auto decoded = protocol::decode(frame, packet, version_, protocol::Sender::server);
  if (!decoded) return fault(decoded.error(), protocol::to_string(frame.type));
  if (const auto* suback = std::get_if<protocol::Suback>(&*decoded)) return handle(*suback);
  if (const auto* unsuback = std::get_if<protocol::Unsuback>(&*decoded)) return handle(*unsuback);
  if (std::holds_alternative<protocol::Pingresp>(*decoded)) {
    if (ping_sent_ns_ == 0) return true;
    const std::int64_t took_ns = broker::Inbox::now_ns() - std::exchange(ping_sent_ns_, 0);
    stats_.round_trip_ns.set(static_cast<std::uint64_t>(took_ns));
    return true;
  }
  if (const auto* disconnect = std::get_if<protocol::Disconnect>(&*decoded)) {
    std::string text = "it says: " + std::string(protocol::to_string(disconnect->reason));
    if (disconnect->properties.reason_string) {
      text += ": " + *disconnect->properties.reason_string;
    }
    close({Why::told, std::move(text)});
    return false;
  }
  return fault(ReasonCode::protocol_error, protocol::to_string(frame.type));
}

// The upstream broke a rule: the link ends.
bool Link::fault(ReasonCode reason, std::string_view what) {
  std::string text(protocol::to_string(reason));
  text.append(": ").append(what);
  close({Why::fault, std::move(text)}, reason);
  return false;
}

// --- PUBLISH -------------------------------------------------------------------------------------

bool Link::handle_publish(const protocol::Frame& frame, Bytes packet, ReceivedBytes& received) {
  auto decoded = protocol::decode_publish(frame, packet, version_, protocol::Sender::server);
  if (!decoded) return fault(decoded.error(), "PUBLISH");
  protocol::PublishView& view = *decoded;
  if (view.topic_alias != 0) {
    const auto refused = aliases_in_.resolve(view, config().topic_alias_maximum.in);
    if (refused) return fault(*refused, "a topic alias");
  }
  const TopicMap::Rule* rule = plan_.map.inbound(view.topic);
  const bool renames = rule != nullptr && rule->renames();
  const std::string renamed = renames ? TopicMap::to_local(*rule, view.topic) : std::string();
  const std::string_view topic = renames ? std::string_view(renamed) : view.topic;
  const auto counted = view.has_user_properties ? view.properties.bytes : Bytes();
  const auto why = refusal_in(plan_, rule, topic, counted, config().mqtt.topic_levels_max);
  if (why) {
    refuse_publish(view, *why);
    return true;
  }
  const auto qos = static_cast<std::size_t>(view.qos);
  IoCounters& counters = thread_.counters();
  counters.messages_received[qos].add();
  counters.message_bytes_received[qos].add(view.payload.size());
  stats_.messages_in.add();
  ++messages_received_;
  stats_.bytes_in.add(view.payload.size());
  // In MQTT 5 the link counts itself, so each message is written anew.
  const bool as_it_is = !is_v5() && !renames && (!view.retain || rule->config.retained);
  if (as_it_is) {
    submission_.add_publish(received.slice(frame.packet_bytes, view, version_));
  } else {
    submit_anew(view, *rule, topic);
  }
  return true;
}

// Drops the message and counts it. At QoS 1 and 2 it is still acknowledged, in its turn: the upstream
// is not to send it again.
void Link::refuse_publish(const protocol::PublishView& view, LinkRefusal why) {
  stats_.refused[static_cast<std::size_t>(why)].add();
  if (view.qos == protocol::QoS::at_most_once) return;
  const auto reason = why == LinkRefusal::hops ? ReasonCode::implementation_specific_error
                                               : ReasonCode::topic_name_invalid;
  submission_.add(
      command::RefusedPublish{view.packet_id, static_cast<std::uint8_t>(view.qos), reason});
}

// In a buffer of its own: with the local name, and without what is the upstream's alone.
void Link::submit_anew(const protocol::PublishView& view, const TopicMap::Rule& rule,
                       std::string_view topic) {
  broker::MessageParts parts;
  parts.topic = topic;
  parts.payload = view.payload;
  if (is_v5()) parts.properties = with_one_more_hop(view.properties, edited_properties_);
  parts.qos = static_cast<std::uint8_t>(view.qos);
  parts.retain = view.retain && rule.config.retained;
  parts.duplicate = view.dup;
  parts.packet_id = view.packet_id;
  parts.version = version_;
  parts.origin = plan_.origin;
  submission_.add_publish(broker::build_message(parts, broker::Inbox::now_ns()));
  // An alias of a few bytes may stand for a name of 64 KiB: one read may become far more bytes.
  if (submission_.is_at_limit()) hold_rest_ = true;
}

// --- Back-pressure -------------------------------------------------------------------------------

bool Link::must_pause() const {
  return reader_.has_held() || submission_.is_at_limit() ||
         writer_.control_bytes() >= config().outbox.control_bytes_max;
}

// The low mark: half of each limit.
bool Link::may_resume() const {
  return submission_.is_below_low_mark() &&
         writer_.control_bytes() <= config().outbox.control_bytes_max / 2;
}

void Link::resume_reading() {
  while (reading_paused_ && !ended()) {
    if (!may_resume()) {
      if (submission_.is_open()) submission_.ask_for_progress();
      // Applied since the check: it may have been the last, and then nothing would call.
      if (!may_resume()) return;
    }
    if (!reader_.has_held()) break;
    ReceivedBytes held;
    reader_.take_held(held);
    on_received(held);
    if (!ended() && must_pause()) continue;  // still paused
    break;
  }
  if (!reading_paused_ || ended()) return;
  reading_paused_ = false;
  if (submission_.is_open()) submission_.forget_progress();
  stream_->wait_readable();
}

}  // namespace millrace::server
