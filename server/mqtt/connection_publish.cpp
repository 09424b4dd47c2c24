// [2] decode: a received PUBLISH, from the Frame to the Message ([3]) that is submitted ([4]): its
// topic alias is resolved, the client's rights are asked. Called from handle_packets()
// (connection_read.cpp). Source: MQTT 5.0 section 3.3.
#include <algorithm>
#include <utility>

#include "core/broker/ledger.hpp"
#include "core/broker/message.hpp"
#include "protocol/topic.hpp"
#include "server/mqtt/connection.hpp"
#include "server/mqtt/connection_log.hpp"

namespace millrace::server {

using protocol::QoS;
using protocol::Version;

namespace {
// Of one turn of a connection: some reads' worth, about 0.1 ms.
constexpr std::uint64_t spelled_out_bytes_max = 256 * 1024;
}  // namespace

bool Connection::handle_publish(const protocol::Frame& frame, Bytes packet, ReceivedBytes& received,
                                ReadCounts& counts) {
  auto decoded = protocol::decode_publish(frame, packet, version_);
  if (!decoded) {
    thread_.counters().packets_received[static_cast<std::size_t>(frame.type)].add();
    return fault(decoded.error());
  }
  protocol::PublishView& view = *decoded;
  // What exceeds a rate waits, with all behind it, and comes here again; or it is dropped below.
  bool is_dropped = false;
  if (Guest* one = guest(); one != nullptr && one->limits_rate()) {
    const auto rate = one->take(packet.size(), view.qos == QoS::at_most_once);
    if (rate == Guest::Rate::waits) {
      hold_rest_ = true;
      return false;
    }
    is_dropped = rate == Guest::Rate::drop;
  }
  const auto qos = static_cast<std::size_t>(view.qos);
  ++counts.messages[qos];
  counts.payload_bytes[qos] += view.payload.size();

  const MqttConfig& mqtt = thread_.config().mqtt;
  if (qos > mqtt.qos_max) return fault(ReasonCode::qos_not_supported);  // [MQTT-3.2.2-11]
  if (view.retain && !mqtt.retain_available) return fault(ReasonCode::retain_not_supported);
  if (view.topic_alias != 0) {
    if (const auto reason = resolve_alias(view)) return fault(*reason);
  }
  if (tracing()) [[unlikely]]
    trace_publish(TraceKind::received, view);
  if (is_dropped) {  // its alias holds
    drop_over_rate(view);
    return true;
  }
  if (view.qos != QoS::at_most_once && !count_unacknowledged()) {
    return fault(ReasonCode::receive_maximum_exceeded);  // [MQTT-3.3.4-9]
  }
  // More than n levels take at least n bytes, their separators: a shorter name is not counted.
  if (view.topic.size() >= mqtt.topic_levels_max &&
      protocol::level_count(view.topic) > mqtt.topic_levels_max) [[unlikely]] {
    // 3.1.1 cannot refuse one message: its PUBACK and PUBREC mean success.
    if (version_ != Version::v5 && view.qos != QoS::at_most_once) {
      return fault(ReasonCode::topic_name_invalid);
    }
    refuse_publish(view, ReasonCode::topic_name_invalid);
    return true;
  }
  if (const auto reason = refusal_of(view)) {
    refuse_publish(view, *reason);
    return true;
  }
  if (view.topic_alias == 0) [[likely]] {
    submission_.add_publish(received.slice(frame.packet_bytes, view, version_));
  } else {
    submit_spelled_out(view, counts);
  }
  return true;
}

// See InboundAliases.
std::optional<protocol::ReasonCode> Connection::resolve_alias(protocol::PublishView& view) {
  if (!aliases_in_) aliases_in_ = std::make_unique<InboundAliases>();
  const std::uint64_t before = aliases_in_->bytes();
  const auto refused = aliases_in_->resolve(view, thread_.config().topic_alias_maximum.in);
  if (const std::uint64_t now = aliases_in_->bytes(); now != before) {
    broker::Ledger& ledger = thread_.inbox().ledger();
    ledger.charge_connection(now);
    ledger.release_connection(before);
  }
  return refused;
}

// False: more than Receive Maximum are not acknowledged yet, and the policy is to enforce it. MQTT
// 3 has no such limit.
bool Connection::count_unacknowledged() {
  if (version_ != Version::v5) return true;
  if (unacknowledged_ >= receive_maximum_) {
    thread_.counters().receive_maximum_exceeded.add();
    if (thread_.config().receive_maximum_policy == LimitPolicy::enforce) return false;
    log_receive_maximum_exceeded(*stream_, listener_);
  }
  ++unacknowledged_;
  return true;
}

// Why this message may not be published; the connection goes on.
std::optional<protocol::ReasonCode> Connection::refusal_of(const protocol::PublishView& view) {
  if (protocol::is_reserved_topic(view.topic)) {
    const std::string* const state_topic = uncommon_.read().state_topic.get();
    if (state_topic == nullptr || view.topic != *state_topic) return ReasonCode::topic_name_invalid;
  }
  return grants_->publish_refusal(view.topic, {static_cast<std::uint8_t>(view.qos), view.retain});
}

// Drops the message and counts it. At QoS 1 and 2 the processor still acknowledges it, after what
// was submitted before it, with the reason if the client's version has reason codes.
void Connection::refuse_publish(const protocol::PublishView& view, ReasonCode reason) {
  thread_.counters().publish_denied.add();
  if (tracing()) [[unlikely]]
    trace(TraceKind::received, view.topic,
          [&] { return "refused: " + std::string(to_string(reason)); });
  if (view.qos == QoS::at_most_once) return;
  submission_.add(
      broker::command::RefusedPublish{view.packet_id, static_cast<std::uint8_t>(view.qos), reason});
}

// At QoS 0: nobody waits for an answer.
void Connection::drop_over_rate(const protocol::PublishView& view) {
  thread_.counters().rate_drops.add();
  if (tracing()) [[unlikely]]
    trace(TraceKind::received, view.topic, [] { return std::string("dropped: over the rate"); });
}

// The packet is written anew, without the alias, into a buffer of its own.
void Connection::submit_spelled_out(const protocol::PublishView& view, ReadCounts& counts) {
  broker::MessageParts parts;
  parts.topic = view.topic;
  parts.payload = view.payload;
  parts.properties = view.properties;
  parts.qos = static_cast<std::uint8_t>(view.qos);
  parts.retain = view.retain;
  parts.duplicate = view.dup;
  parts.packet_id = view.packet_id;
  parts.version = version_;
  broker::Message message = broker::build_message(parts, broker::Inbox::now_ns());
  counts.spelled_out_bytes += message.packet_bytes;
  submission_.add_publish(std::move(message));
  // An alias of a few bytes may stand for a name of 64 KiB, so one read may become far more bytes
  // than were read: the connection's limit is looked at here too, not only between two reads, and
  // what would hold up the thread's other connections has another turn.
  if (counts.spelled_out_bytes >= spelled_out_bytes_max || submission_.is_at_limit()) {
    hold_rest_ = true;
  }
}

}  // namespace millrace::server
