// [3] message: a received PUBLISH becomes a Message, or is refused. Source: MQTT 5.0 section 3.3.
#include <algorithm>
#include <utility>

#include "core/broker/message.hpp"
#include "protocol/topic.hpp"
#include "server/mqtt/connection.hpp"
#include "server/mqtt/connection_log.hpp"

namespace millrace::server {

using protocol::QoS;
using protocol::Version;

bool Connection::handle_publish(const protocol::Frame& frame, Bytes packet, Incoming& incoming) {
  auto decoded = protocol::decode_publish(frame, packet, version_);
  if (!decoded) {
    thread_.counters().packets_received[static_cast<std::size_t>(frame.type)].add();
    return fault(decoded.error());
  }
  protocol::PublishView& view = *decoded;
  const auto qos = static_cast<std::size_t>(view.qos);
  ++incoming.messages[qos];
  incoming.payload_bytes[qos] += view.payload.size();

  const MqttConfig& mqtt = thread_.config().mqtt;
  if (qos > mqtt.qos_max) return fault(ReasonCode::QoSNotSupported);  // [MQTT-3.2.2-11]
  if (view.retain && !mqtt.retain_available) return fault(ReasonCode::RetainNotSupported);
  if (view.topic_alias != 0) {
    if (const auto reason = resolve_alias(view)) return fault(*reason);
  }
  if (view.qos != QoS::AtMostOnce && !count_unacknowledged()) {
    return fault(ReasonCode::ReceiveMaximumExceeded);  // [MQTT-3.3.4-9]
  }
  if (const auto reason = refusal_of(view)) {
    refuse_publish(view, *reason);
    return true;
  }

  broker::Message message = take_message(view, packet, incoming);
  const std::uint32_t bytes = message.packet_bytes;
  submitted_bytes_ += bytes;
  add_command(broker::command::Publish{std::move(message), bytes});
  return true;
}

// After this the view's topic is spelled out. [MQTT-3.3.2-8] to [MQTT-3.3.2-12]
std::optional<protocol::ReasonCode> Connection::resolve_alias(protocol::PublishView& view) {
  const std::uint32_t max = thread_.config().topic_alias_maximum.in;
  if (view.topic_alias > max) return ReasonCode::TopicAliasInvalid;
  if (!aliases_in_) aliases_in_ = std::make_unique<std::vector<std::string>>();
  auto& aliases = *aliases_in_;
  if (!view.topic.empty()) {
    if (aliases.size() < view.topic_alias) aliases.resize(view.topic_alias);
    aliases[view.topic_alias - 1u] = view.topic;
    return std::nullopt;
  }
  if (view.topic_alias > aliases.size() || aliases[view.topic_alias - 1u].empty()) {
    return ReasonCode::ProtocolError;
  }
  view.topic = aliases[view.topic_alias - 1u];
  return std::nullopt;
}

// False: more than Receive Maximum are not acknowledged yet. MQTT 3 knows no such limit.
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
  if (protocol::is_reserved_topic(view.topic)) return ReasonCode::TopicNameInvalid;
  const std::uint32_t levels_max = thread_.config().mqtt.topic_levels_max;
  // Fewer bytes cannot make that many levels.
  if (view.topic.size() >= levels_max && protocol::level_count(view.topic) > levels_max) {
    return ReasonCode::TopicNameInvalid;
  }
  return grants_->publish_refusal(view.topic);
}

// Acknowledged in its turn, with the reason where there is a word for it; dropped, and counted.
void Connection::refuse_publish(const protocol::PublishView& view, ReasonCode reason) {
  thread_.counters().publish_denied.add();
  if (view.qos == QoS::AtMostOnce) return;
  const auto qos = static_cast<std::uint8_t>(view.qos);
  add_command(broker::command::RefusedPublish{view.packet_id, qos, reason});
}

broker::Message Connection::take_message(const protocol::PublishView& view, Bytes packet,
                                         Incoming& incoming) {
  if (view.topic_alias != 0) [[unlikely]] {
    broker::MessageParts parts;
    parts.topic = view.topic;
    parts.payload = view.payload;
    parts.properties = view.properties;
    parts.qos = static_cast<std::uint8_t>(view.qos);
    parts.retain = view.retain;
    parts.duplicate = view.dup;
    parts.packet_id = view.packet_id;
    parts.version = version_;
    return broker::build_message(parts, broker::Inbox::now_ns());
  }
  if (incoming.references == 0) prepare_holder(incoming);
  ++incoming.references;
  incoming.publish_bytes += packet.size();
  incoming.last_publish = thread_.commands().size();
  const auto offset = static_cast<std::uint32_t>(packet.data() - incoming.bytes.data());
  return broker::make_message(broker::BufferRef(incoming.holder, /*add_ref=*/false), offset,
                              static_cast<std::uint32_t>(packet.size()), view, version_);
}

// Before the first message of a read.
void Connection::prepare_holder(Incoming& incoming) {
  if (incoming.exact) {
    const auto count = static_cast<std::uint32_t>(incoming.bytes.size());
    incoming.own = broker::Buffer::allocate(count);
    std::copy(incoming.bytes.begin(), incoming.bytes.end(), incoming.own->data());
    incoming.holder = incoming.own.get();
  }
  incoming.holder->received_ns = broker::Inbox::now_ns();
  incoming.holder->holds_v5 = version_ == Version::v5;
}

}  // namespace millrace::server
