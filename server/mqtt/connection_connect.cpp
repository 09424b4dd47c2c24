// CONNECT: who is there, may they come in, and on what terms. Source: MQTT 5.0 and 3.1.1, sections
// 3.1 and 3.2.
#include <algorithm>
#include <utility>
#include <variant>

#include "core/broker/message.hpp"
#include "protocol/decode.hpp"
#include "protocol/encode.hpp"
#include "protocol/topic.hpp"
#include "server/mqtt/client_id.hpp"
#include "server/mqtt/connection_authenticate.hpp"

namespace millrace::server {

using protocol::Version;

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
  publish.packet_id = will.qos == protocol::QoS::AtMostOnce ? 0 : 1;
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

bool Connection::handle_connect(const protocol::Frame& frame, Bytes packet) {
  auto decoded = protocol::decode(frame, packet, Version::v5);
  if (!decoded) return refuse_undecoded(decoded.error(), frame, packet);
  auto& connect = std::get<protocol::Connect>(*decoded);
  version_ = connect.version;
  if (turned_away_) {
    close({ReasonCode::QuotaExceeded, CloseCause::limit, true});
    return false;
  }
  if (const auto refused = check_connect(connect)) return refuse(*refused);
  if (connect.properties.authentication_method) return begin_authentication(connect);
  const Access& access = *thread_.settings().access;
  if (const auto user = stream_->certified_user(listener_.tls.user_from)) {
    return admit(connect, access.grants_of_certified(*user));
  }
  if (connect.user_name && access.verifies_names()) return check_password(connect);
  return admit(connect, access.authenticate(connect.user_name, connect.password));
}

bool Connection::admit(protocol::Connect& connect,
                       protocol::Result<std::shared_ptr<const Grants>> grants) {
  last_received_tick_ = thread_.wheel().tick();
  if (!grants) {
    thread_.counters().authentication_failures.add();
    return refuse(grants.error());
  }
  grants_ = std::move(*grants);
  if (connect.will) {
    if (const auto refused = check_will(*connect.will)) return refuse(*refused);
  }
  accept(connect);
  return true;
}

// A CONNECT that could not be decoded is answered only where there is an answer that its sender
// understands. [MQTT-3.1.4-1]
bool Connection::refuse_undecoded(ReasonCode reason, const protocol::Frame& frame, Bytes packet) {
  const auto version = protocol::connect_version(frame, packet);
  version_ = version.value_or(Version::v3_1_1);
  const bool has_answer = version == Version::v5 ||
                          reason == ReasonCode::UnsupportedProtocolVersion ||
                          reason == ReasonCode::ClientIdentifierNotValid;
  if (reason == ReasonCode::UnsupportedProtocolVersion && !version) {
    // A later version than ours names 5's CONNACK; MQTT 3 clients know return code 1.
    version_ = Version::v3_1_1;
  }
  close({reason, CloseCause::protocol_fault, has_answer});
  return false;
}

// CONNACK, and DISCONNECT for a client that fails to authenticate again.
bool Connection::refuse(ReasonCode reason) {
  // A will to a name that nobody may publish to has no return code in MQTT 3: the connection ends.
  const bool has_answer = version_ == Version::v5 || reason != ReasonCode::TopicNameInvalid;
  close({reason, CloseCause::refused, has_answer});
  return false;
}

std::optional<protocol::ReasonCode> Connection::check_connect(
    const protocol::Connect& connect) const {
  // [MQTT-3.1.3-8]: without an identifier there is no session to come back to in MQTT 3.
  if (connect.client_id.empty() && version_ != Version::v5 && !connect.clean_start) {
    return ReasonCode::ClientIdentifierNotValid;
  }
  return std::nullopt;
}

std::optional<protocol::ReasonCode> Connection::check_will(const protocol::Will& will) const {
  const MqttConfig& mqtt = thread_.config().mqtt;
  if (static_cast<std::uint32_t>(will.qos) > mqtt.qos_max) return ReasonCode::QoSNotSupported;
  if (will.retain && !mqtt.retain_available) return ReasonCode::RetainNotSupported;
  if (!protocol::valid_topic_name(will.topic, mqtt.topic_levels_max) ||
      protocol::is_reserved_topic(will.topic)) {
    return ReasonCode::TopicNameInvalid;
  }
  const auto refused = grants_->publish_refusal(will.topic);
  if (refused) thread_.counters().publish_denied.add();
  return refused;
}

void Connection::accept(protocol::Connect& connect) {
  const Config& config = thread_.config();
  const protocol::Properties& properties = connect.properties;
  state_ = State::connecting;
  greeting_ = std::make_unique<Greeting>();
  set_keep_alive(connect.keep_alive_seconds, *greeting_);
  receive_maximum_ = static_cast<std::uint16_t>(std::min(config.receive_maximum, 65535u));

  auto request = std::make_unique<broker::ConnectRequest>();
  request->client_id = std::move(connect.client_id);
  if (request->client_id.empty()) {
    request->client_id = random_client_id();
    greeting_->assigned_client_id = request->client_id;
  }
  if (properties.request_response_information.value_or(0) == 1) {
    greeting_->response_information = response_information(request->client_id);
  }
  request->version = version_;
  request->clean_start = connect.clean_start;
  request->session_expiry_s = agree_session_expiry(connect, *greeting_);
  packet_bytes_max_ = properties.maximum_packet_size.value_or(0);
  request->packet_bytes_max = packet_bytes_max_;
  request->receive_maximum =
      version_ == Version::v5 ? properties.receive_maximum.value_or(65535)
                              : static_cast<std::uint16_t>(std::min(config.inflight_max, 65535u));
  zero_expiry_ = properties.session_expiry_interval.value_or(0) == 0;
  has_will_ = connect.will.has_value();
  if (has_will_) {
    const std::uint32_t delay_s = connect.will->properties.will_delay_interval.value_or(0);
    request->will = broker::ConnectRequest::Will{message_of_will(*connect.will, version_), delay_s};
  }

  // A packet that makes an alias known is larger by it, and could be too large [MQTT-3.1.2-24].
  const std::uint32_t allowed =
      packet_bytes_max_ == 0 ? properties.topic_alias_maximum.value_or(0) : 0;
  const std::uint32_t aliases = std::min(allowed, config.topic_alias_maximum.out);
  writer_.set_peer(version_, static_cast<std::uint16_t>(aliases));
  outbox_ = new broker::Outbox(thread_.ready_list(), *this);
  outbox_->version = version_;
  outbox_->assigns_aliases = aliases > 0;
  request->keeps = outbox_;
  add_command(broker::command::Connect{std::move(request)});
}

void Connection::set_keep_alive(std::uint16_t seconds, Greeting& greeting) {
  const std::uint32_t max = thread_.config().mqtt.keep_alive_max_seconds;
  std::uint32_t agreed = seconds;
  // Only MQTT 5 can be told a shorter one. [MQTT-3.2.2-21]
  if (version_ == Version::v5 && max != 0 && (agreed == 0 || agreed > max)) {
    agreed = max;
    greeting.server_keep_alive_seconds = static_cast<std::uint16_t>(max);
  }
  patience_ticks_ = IoThread::ticks(agreed) + IoThread::ticks(agreed) / 2;  // [MQTT-3.1.2-22]
  schedule_check();
}

std::uint32_t Connection::agree_session_expiry(const protocol::Connect& connect,
                                               Greeting& greeting) const {
  const std::uint32_t max = thread_.config().session.expiry_max_seconds;
  if (version_ != Version::v5) return connect.clean_start ? 0 : max;
  const std::uint32_t wanted = connect.properties.session_expiry_interval.value_or(0);
  if (wanted > max) greeting.session_expiry_seconds = max;
  return std::min(wanted, max);
}

// A part of the tree for answers to this client, if it may read there. (MQTT 5.0, 3.2.2.3.15)
std::string Connection::response_information(const std::string& client_id) const {
  const MqttConfig& mqtt = thread_.config().mqtt;
  const bool is_one_level = client_id.find_first_of("/+#") == std::string::npos;
  if (mqtt.response_prefix.empty() || !is_one_level) return {};
  std::string topic = mqtt.response_prefix + "/" + client_id;
  const std::string all_below = topic + "/#";
  if (!protocol::valid_topic_filter(all_below, mqtt.topic_levels_max)) return {};
  const auto rules = grants_->subscription(all_below);
  return rules && !*rules ? topic : std::string();  // the whole of it
}

// --- CONNACK -------------------------------------------------------------------------------------

void Connection::send_connack(bool session_present) {
  protocol::Connack connack;
  connack.session_present = session_present;
  if (version_ == Version::v5) {
    const Config& config = thread_.config();
    protocol::Properties& properties = connack.properties;
    if (!greeting_->assigned_client_id.empty()) {
      properties.assigned_client_identifier = std::move(greeting_->assigned_client_id);
    }
    if (!greeting_->response_information.empty()) {
      properties.response_information = std::move(greeting_->response_information);
    }
    if (authentication_) {  // [MQTT-4.12.0-5]
      properties.authentication_method = scram_method;
      properties.authentication_data = std::move(authentication_->last_data);
    }
    properties.server_keep_alive = greeting_->server_keep_alive_seconds;
    properties.session_expiry_interval = greeting_->session_expiry_seconds;
    if (receive_maximum_ < 65535) properties.receive_maximum = receive_maximum_;
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
  greeting_.reset();
  std::vector<std::uint8_t> bytes;
  protocol::encode(protocol::Packet(std::move(connack)), version_, bytes);
  // [MQTT-3.1.2-24]: nobody may go on without having been told what CONNACK says.
  if (packet_bytes_max_ != 0 && bytes.size() > packet_bytes_max_) {
    const bool fits = packet_bytes_max_ >= bare_refusal_bytes;
    return close({ReasonCode::PacketTooLarge, CloseCause::refused, fits});
  }
  greeted_ = true;
  thread_.counters().connected[version_index(static_cast<std::uint8_t>(version_))].add();
  thread_.counters().packets_sent[static_cast<std::size_t>(protocol::PacketType::Connack)].add();

  // In front of what was answered meanwhile (a PINGREQ that came along with the CONNECT).
  std::vector<std::uint8_t>& control = writer_.control();
  control.insert(control.begin(), bytes.begin(), bytes.end());
}

void Connection::send_refusal(ReasonCode reason) {
  protocol::Connack connack;
  redirect(reason, connack.properties);
  // Some ends have a word in DISCONNECT alone.
  const bool has_word =
      protocol::reason_allowed(protocol::PacketType::Connack, reason, protocol::Sender::Server);
  connack.reason = has_word ? reason : ReasonCode::ServerUnavailable;
  thread_.counters().packets_sent[static_cast<std::size_t>(protocol::PacketType::Connack)].add();
  writer_.control().clear();
  protocol::encode(protocol::Packet(std::move(connack)), version_, writer_.control());
}

}  // namespace millrace::server
