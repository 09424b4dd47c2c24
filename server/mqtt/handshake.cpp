#include "server/mqtt/handshake.hpp"

#include <algorithm>
#include <cassert>
#include <utility>
#include <variant>

#include "core/broker/inbox.hpp"
#include "core/broker/message.hpp"
#include "protocol/decode.hpp"
#include "protocol/encode.hpp"
#include "protocol/topic.hpp"
#include "server/config/session_name.hpp"
#include "server/mqtt/bridge_state.hpp"
#include "server/mqtt/client_id.hpp"
#include "server/mqtt/handshake_parts.hpp"
#include "server/net/guests.hpp"

namespace millrace::server {

using protocol::ReasonCode;
using protocol::Version;
using Step = Handshake::Step;

namespace {

// CONNACK with a reason and no properties, in MQTT 5.
constexpr std::uint32_t bare_refusal_bytes = 5;

// The will as the PUBLISH that it will be.
broker::Message message_of_will(protocol::Will& will, Version version) {
  protocol::Publish publish;
  publish.topic = std::move(will.topic);
  publish.payload = std::move(will.payload);
  publish.qos = will.qos;
  publish.retain = will.retain;
  publish.packet_id = will.qos == protocol::QoS::at_most_once ? 0 : 1;
  publish.properties = std::move(will.properties);
  publish.properties.will_delay_interval.reset();
  std::vector<std::uint8_t> bytes;
  protocol::encode(protocol::Packet(std::move(publish)), version, bytes);

  broker::BufferRef buffer = broker::Buffer::allocate(static_cast<std::uint32_t>(bytes.size()));
  std::copy(bytes.begin(), bytes.end(), buffer->data());
  buffer->received_ns = broker::Inbox::now_ns();
  buffer->holds_v5 = version == Version::v5;
  return broker::message_of(std::move(buffer));
}

}  // namespace

Step Handshake::connect(const protocol::Frame& frame, std::span<const std::uint8_t> packet) {
  auto decoded = protocol::decode(frame, packet, Version::v5);
  if (!decoded) return refuse_undecoded(decoded.error(), frame, packet);
  auto& connect = std::get<protocol::Connect>(*decoded);
  version_ = connect.version;
  // Rights can depend on it, so a client that brings none has one from here on.
  id_assigned_ = connect.client_id.empty();
  if (id_assigned_) connect.client_id = random_client_id();
  client_id_ = std::string_view(connect.client_id);
  address_ = user_.client_address();
  packet_bytes_max_ = connect.properties.maximum_packet_size.value_or(0);
  if (turned_away_) {
    return {Step::Kind::refused, turned_away_with_, CloseCause::limit, true, {}};
  }
  if (connect.properties.authentication_method) return begin_authentication(connect);
  const Access& access = *thread_.settings().access;
  if (const auto user = user_.certified_user()) {
    return admit(connect, access.grants_of_certified(*user, arrival()));
  }
  if (thread_.hook() != nullptr && access.asks_hook(connect.user_name, connect.password)) {
    return ask_hook(connect);
  }
  // Who has a token needs no user name.
  const bool shows_something = connect.user_name || (connect.password && access.takes_tokens());
  if (shows_something && access.verifies_names()) return check_password(connect);
  return admit(connect, access.authenticate(connect.user_name, connect.password, arrival()));
}

// A CONNECT that could not be decoded is answered only where there is an answer that its sender
// understands. [MQTT-3.1.4-1]
Step Handshake::refuse_undecoded(ReasonCode reason, const protocol::Frame& frame,
                                 std::span<const std::uint8_t> packet) {
  const auto version = protocol::connect_version(frame, packet);
  version_ = version.value_or(Version::v3_1_1);
  const bool has_answer = version == Version::v5 ||
                          reason == ReasonCode::unsupported_protocol_version ||
                          reason == ReasonCode::client_identifier_not_valid;
  return {Step::Kind::refused, reason, CloseCause::protocol_fault, has_answer, {}};
}

void Handshake::count_failure() {
  thread_.counters().authentication_failures.add();
  if (Guests* guests = thread_.guests()) {
    guests->note_failure(address_group(address_), Guests::Clock::now());
  }
}

Step Handshake::refuse(ReasonCode reason) {
  // MQTT 3 has no return code for a will to an invalid or reserved topic name: the connection ends
  // without an answer.
  const bool has_answer = version_ == Version::v5 || reason != ReasonCode::topic_name_invalid;
  return {Step::Kind::refused, reason, CloseCause::refused, has_answer, {}};
}

Step Handshake::fault(ReasonCode reason) {
  return {Step::Kind::refused, reason, CloseCause::protocol_fault, version_ == Version::v5, {}};
}

Step Handshake::admit(protocol::Connect& connect,
                      protocol::Result<std::shared_ptr<const Grants>> grants) {
  // Meanwhile there may have been a reload.
  const Access& access = *thread_.settings().access;
  if (grants && (*grants)->rights()->revision != access.revision()) {
    auto readmitted = access.readmit(**grants, arrival());
    if (readmitted) {
      *grants = std::move(readmitted);
    } else {
      grants = ReasonCode::not_authorized;
    }
  }
  if (!grants) {
    count_failure();
    claimed_user_ = connect.user_name.value_or("");
    return refuse(grants.error());
  }
  grants_ = std::move(*grants);
  if (connect.will) {
    if (const auto refused = check_will(*connect.will)) return refuse(*refused);
  }
  note_bridge(connect);
  return agree(connect);
}

std::optional<ReasonCode> Handshake::check_will(const protocol::Will& will) const {
  const MqttConfig& mqtt = thread_.config().mqtt;
  if (static_cast<std::uint32_t>(will.qos) > mqtt.qos_max) return ReasonCode::qos_not_supported;
  if (will.retain && !mqtt.retain_available) return ReasonCode::retain_not_supported;
  if (!protocol::valid_topic_name(will.topic, mqtt.topic_levels_max)) {
    return ReasonCode::topic_name_invalid;
  }
  if (protocol::is_sys_topic(will.topic)) return std::nullopt;  // see note_bridge()
  if (protocol::is_reserved_topic(will.topic)) return ReasonCode::topic_name_invalid;
  const auto refused =
      grants_->publish_refusal(will.topic, {static_cast<std::uint8_t>(will.qos), will.retain});
  if (refused) thread_.counters().publish_denied.add();
  return refused;
}

// A will below `$SYS` does not refuse the connection, as a PUBLISH there does not end it: a bridge's
// own state is kept, anything else is dropped and counted. Where each user has client identifiers of
// its own, a user's bridge has no such topic: another user's could have the same.
void Handshake::note_bridge(protocol::Connect& connect) {
  const bool sys_will = connect.will && protocol::is_sys_topic(connect.will->topic);
  if (!connect.bridge && !sys_will) return;
  std::string state_topic = bridge_state_topic(connect.client_id);
  const bool is_owner =
      thread_.config().session.scope == SessionScope::server || grants_->user().empty();
  const bool own_will = is_owner && sys_will && connect.will->topic == state_topic;
  if (is_owner && (connect.bridge || own_will)) {
    terms_.state_topic = std::make_unique<std::string>(std::move(state_topic));
  }
  const auto may_not = [&](const protocol::Will& will) {
    const auto qos = static_cast<std::uint8_t>(will.qos);
    return grants_->publish_refusal(will.topic, {qos, will.retain}).has_value();
  };
  if (sys_will && (!own_will || may_not(*connect.will))) {
    thread_.counters().publish_denied.add();
    connect.will.reset();
  }
}

// --- Terms ---------------------------------------------------------------------------------------

Step Handshake::agree(protocol::Connect& connect) {
  const Config& config = thread_.config();
  const protocol::Properties& properties = connect.properties;
  protocol::Properties answer;
  agree_keep_alive(connect.keep_alive_seconds, answer);

  auto request = std::make_unique<broker::ConnectRequest>();
  request->client_id = client_id_;
  if (id_assigned_) answer.assigned_client_identifier = std::string(client_id_.view());
  if (properties.request_response_information.value_or(0) == 1) {
    std::string topic = response_information();
    if (!topic.empty()) answer.response_information = std::move(topic);
  }
  if (config.session.scope == SessionScope::user) {
    request->client_id = name_of_session(grants_->user(), client_id_);
  }
  if (!config.access.rules.empty()) {
    request->address = address_;
    request->listener = user_.listener_number();
  }
  request->rights = grants_->rights();
  request->version = version_;
  request->clean_start = connect.clean_start;
  request->session_expiry_s = agree_session_expiry(connect, answer);
  request->packet_bytes_max = packet_bytes_max_;
  // Without Receive Maximum, as in 3.1.1, the client would take any number.
  request->receive_maximum = static_cast<std::uint16_t>(
      std::min<std::uint32_t>(properties.receive_maximum.value_or(65535), config.inflight_max));
  terms_.is_bridge = connect.bridge;
  // [MQTT-3.1.2-29]
  terms_.takes_reasons = connect.version == Version::v5 &&
                         connect.properties.request_problem_information.value_or(1) != 0;
  terms_.zero_expiry = properties.session_expiry_interval.value_or(0) == 0;
  if (connect.will) {
    const std::uint32_t delay_s = connect.will->properties.will_delay_interval.value_or(0);
    request->will = broker::ConnectRequest::Will{message_of_will(*connect.will, version_), delay_s};
  }
  // A packet that makes an alias known is larger by it, and could be too large [MQTT-3.1.2-24].
  const std::uint32_t allowed =
      packet_bytes_max_ == 0 ? properties.topic_alias_maximum.value_or(0) : 0;
  terms_.aliases_max =
      static_cast<std::uint16_t>(std::min(allowed, config.topic_alias_maximum.out));
  terms_.request = std::move(request);

  protocol::Properties bare = answer;
  note_wish(properties, answer);
  encode_connack(std::move(answer));
  // Without what need not be said [MQTT-3.2.2-19], [MQTT-3.2.2-20].
  if (!fits_connack()) encode_connack(std::move(bare));
  // [MQTT-3.1.2-24]: a client that cannot be sent its CONNACK cannot be admitted.
  if (!fits_connack()) {
    const bool fits = packet_bytes_max_ >= bare_refusal_bytes;
    return {Step::Kind::refused, ReasonCode::packet_too_large, CloseCause::refused, fits, {}};
  }
  return {Step::Kind::admitted, {}, {}, false, {}};
}

// A client that asks for nothing is told nothing. One that put it wrongly is told what is wrong, and
// comes in all the same: its properties may mean something to somebody else.
void Handshake::note_wish(const protocol::Properties& properties, protocol::Properties& answer) {
  if (properties.user_properties.empty()) return;
  ParsedWish parsed = parse_delivery_wish(properties);
  if (!parsed.fault.empty()) {
    answer.reason_string = std::move(parsed.fault);
  } else if (parsed.wish.is_any()) {
    answer.user_properties.emplace_back("granted", wish_text(parsed.wish));
    terms_.wish = std::make_unique<DeliveryWish>(std::move(parsed.wish));
  }
}

void Handshake::agree_keep_alive(std::uint16_t seconds, protocol::Properties& answer) {
  const std::uint32_t max = thread_.config().mqtt.keep_alive_max_seconds;
  terms_.keep_alive_seconds = seconds;
  // Only MQTT 5 can be told a shorter one. [MQTT-3.2.2-21]
  if (version_ == Version::v5 && max != 0 && (seconds == 0 || seconds > max)) {
    terms_.keep_alive_seconds = max;
    answer.server_keep_alive = static_cast<std::uint16_t>(max);
  }
}

std::uint32_t Handshake::agree_session_expiry(const protocol::Connect& connect,
                                              protocol::Properties& answer) const {
  const std::uint32_t max = thread_.config().session.expiry_max_seconds;
  if (version_ != Version::v5) return connect.clean_start ? 0 : max;
  const std::uint32_t wanted = connect.properties.session_expiry_interval.value_or(0);
  if (wanted > max) answer.session_expiry_interval = max;
  return std::min(wanted, max);
}

// A part of the tree for answers to this client, if it may read there; else empty. (MQTT 5.0,
// 3.2.2.3.15) Where each user has client identifiers of its own, the user's name stands before it, as
// a level that is empty without one.
std::string Handshake::response_information() const {
  const MqttConfig& mqtt = thread_.config().mqtt;
  const auto is_one_level = [](std::string_view name) {
    return name.find_first_of("/+#") == std::string::npos;
  };
  const bool of_user = thread_.config().session.scope == SessionScope::user;
  const std::string_view user = of_user ? std::string_view(grants_->user()) : "";
  if (mqtt.response_prefix.empty() || !is_one_level(client_id_.view()) || !is_one_level(user))
    return {};
  std::string topic = mqtt.response_prefix + "/";
  if (of_user) topic.append(user).append("/");
  topic.append(client_id_.view());
  const std::string all_below = topic + "/#";
  if (!protocol::valid_topic_filter(all_below, mqtt.topic_levels_max)) return {};
  const auto rules = grants_->subscription(all_below);
  return rules && !*rules ? topic : std::string();  // the whole of it
}

// --- CONNACK -------------------------------------------------------------------------------------

// `answer`: the properties that answer those of CONNECT.
void Handshake::encode_connack(protocol::Properties answer) {
  protocol::Connack connack;
  if (version_ == Version::v5) {
    const Config& config = thread_.config();
    protocol::Properties& properties = connack.properties;
    properties = std::move(answer);
    if (authentication_) {  // [MQTT-4.12.0-5]
      properties.authentication_method = authentication_->method;
      if (authentication_->method == scram_method) {
        properties.authentication_data = authentication_->last_data;
      }
    }
    if (config.receive_maximum < 65535) {
      properties.receive_maximum = static_cast<std::uint16_t>(config.receive_maximum);
    }
    properties.maximum_packet_size = config.packet_bytes_max;
    if (config.topic_alias_maximum.in > 0) {
      properties.topic_alias_maximum = static_cast<std::uint16_t>(config.topic_alias_maximum.in);
    }
    const MqttConfig& mqtt = config.mqtt;
    if (mqtt.qos_max < 2) properties.maximum_qos = static_cast<std::uint8_t>(mqtt.qos_max);
    if (!mqtt.retain_available) properties.retain_available = 0;
    if (!mqtt.wildcard_available) properties.wildcard_subscription_available = 0;
    if (!mqtt.shared_available) properties.shared_subscription_available = 0;
    if (!mqtt.subscription_identifiers_available) properties.subscription_identifier_available = 0;
  }
  connack_.clear();
  protocol::encode(protocol::Packet(std::move(connack)), version_, connack_);
}

std::vector<std::uint8_t> Handshake::connack(bool session_present) {
  assert(!greeted_ && !connack_.empty());
  greeted_ = true;
  // The first byte after the fixed header; 3.1 has no such flag. [MQTT-3.2.2-2]
  if (session_present && version_ != Version::v3_1) {
    std::size_t at = 1;
    while ((connack_[at] & 0x80) != 0) ++at;
    connack_[at + 1] = 1;
  }
  return std::move(connack_);
}

}  // namespace millrace::server
