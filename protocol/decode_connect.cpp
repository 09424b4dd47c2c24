// Decodes CONNECT, CONNACK, AUTH and DISCONNECT.
#include <utility>

#include "protocol/decode_parts.hpp"
#include "protocol/topic.hpp"
#include "protocol/writer.hpp"

namespace millrace::protocol {
namespace {

using detail::DecodeContext;
using detail::Reader;

// The connect flags, by their bits. (MQTT 5.0, 3.1.2.3)
struct ConnectFlags {
  std::uint8_t bits;

  [[nodiscard]] bool reserved() const noexcept { return (bits & 0x01) != 0; }
  [[nodiscard]] bool clean_start() const noexcept { return (bits & 0x02) != 0; }
  [[nodiscard]] bool will() const noexcept { return (bits & 0x04) != 0; }
  [[nodiscard]] unsigned will_qos() const noexcept { return bits >> 3 & 3u; }
  [[nodiscard]] bool will_retain() const noexcept { return (bits & 0x20) != 0; }
  [[nodiscard]] bool password() const noexcept { return (bits & 0x40) != 0; }
  [[nodiscard]] bool user_name() const noexcept { return (bits & 0x80) != 0; }
};

std::optional<Version> version_of(std::string_view name, unsigned level) noexcept {
  if (name == "MQTT" && level == 5) return Version::v5;
  level &= ~bridge_bit;
  if (name == "MQTT" && level == 4) return Version::v3_1_1;
  if (name == "MQIsdp" && level == 3) return Version::v3_1;
  return std::nullopt;
}

// The rules of the fixed header that frame() could not check before the version was known.
ReasonCode check_fixed_header(const Frame& frame, Version version) noexcept {
  // [MQTT-2.1.3-1] (3.1.1: [MQTT-2.2.2-2]); in 3.1 the flags are unused.
  if (version != Version::v3_1 && frame.flags != 0) return ReasonCode::malformed_packet;
  const std::size_t shortest = 1 + detail::variable_bytes(frame.packet_bytes - frame.header_bytes);
  if (version == Version::v5 && frame.header_bytes != shortest) {
    return ReasonCode::malformed_packet;  // [MQTT-1.5.5-1]
  }
  return ReasonCode::success;
}

ReasonCode check_flags(ConnectFlags flags, Version version) noexcept {
  constexpr auto malformed = ReasonCode::malformed_packet;
  if (flags.will_qos() == 3) return malformed;  // [MQTT-3.1.2-12] (3.1.1: [MQTT-3.1.2-14])
  // 3.1.1: [MQTT-3.1.2-22]. MQTT 5 allows a password (such as a token) without a user name.
  if (version != Version::v5 && flags.password() && !flags.user_name()) return malformed;
  // In 3.1 the bits checked below are unused.
  if (version == Version::v3_1) return ReasonCode::success;
  if (flags.reserved()) return malformed;  // [MQTT-3.1.2-3]
  // Without a will, its flags are 0. [MQTT-3.1.2-11], [MQTT-3.1.2-13] (3.1.1: also [MQTT-3.1.2-15])
  if (!flags.will() && (flags.will_qos() != 0 || flags.will_retain())) return malformed;
  return ReasonCode::success;
}

Will read_will(Reader& reader, ConnectFlags flags, DecodeContext context) {
  Will will;
  will.properties = read_properties(reader, PropertyScope::will, context);
  will.topic = reader.text();  // [MQTT-3.1.3-11] (3.1.1: [MQTT-3.1.3-10])
  if (reader.ok() && !valid_topic_name(will.topic)) reader.fail(ReasonCode::topic_name_invalid);
  will.payload = reader.binary();
  will.qos = static_cast<QoS>(flags.will_qos());
  will.retain = flags.will_retain();
  return will;
}

void read_credentials(Reader& reader, ConnectFlags flags, Connect& connect) {
  // In 3.1 a field may be missing although its flag is set, if the packet ends before it.
  const bool lenient = connect.version == Version::v3_1;
  if (flags.user_name() && !(lenient && reader.at_end())) connect.user_name = reader.text();
  if (flags.password() && !(lenient && reader.at_end())) connect.password = reader.binary();
}

// With an empty identifier the server assigns one. 3.1.1 allows that only with a clean session
// [MQTT-3.1.3-7], [MQTT-3.1.3-8], 3.1 not at all.
bool client_id_acceptable(const Connect& connect) noexcept {
  if (!connect.client_id.empty() || connect.version == Version::v5) return true;
  return connect.version == Version::v3_1_1 && connect.clean_start;
}

}  // namespace

std::optional<Version> connect_version(const Frame& frame,
                                       std::span<const std::uint8_t> packet) noexcept {
  if (frame.type != PacketType::connect) return std::nullopt;
  Reader reader(packet.subspan(frame.header_bytes, frame.packet_bytes - frame.header_bytes));
  const std::string_view name = reader.binary();
  const unsigned level = reader.byte();
  if (!reader.ok()) return std::nullopt;
  const std::optional<Version> version = version_of(name, level);
  return !version && name == "MQTT" && level > 5 ? Version::v5 : version;
}

namespace detail {

Result<Packet> decode_connect(const Frame& frame, Reader& reader) {
  const std::string_view name = reader.text();
  const unsigned level = reader.byte();
  if (!reader.ok()) return reader.fault();
  const std::optional<Version> version = version_of(name, level);
  // [MQTT-3.1.2-1], [MQTT-3.1.2-2]
  if (!version) return ReasonCode::unsupported_protocol_version;
  if (const auto fault = check_fixed_header(frame, *version); fault != ReasonCode::success) {
    return fault;
  }
  const DecodeContext context{*version, Sender::client};

  const ConnectFlags flags{reader.byte()};
  if (!reader.ok()) return reader.fault();
  if (const auto fault = check_flags(flags, *version); fault != ReasonCode::success) return fault;

  Connect connect;
  connect.version = *version;
  connect.bridge = (level & bridge_bit) != 0;
  connect.clean_start = flags.clean_start();
  connect.keep_alive_seconds = reader.two_bytes();
  connect.properties = read_properties(reader, property_scope(PacketType::connect), context);
  // The payload, in this order. [MQTT-3.1.3-1]
  connect.client_id = reader.text();  // [MQTT-3.1.3-4]
  if (flags.will()) connect.will = read_will(reader, flags, context);
  read_credentials(reader, flags, connect);
  reader.expect_end();
  if (!reader.ok()) return reader.fault();
  if (!client_id_acceptable(connect)) return ReasonCode::client_identifier_not_valid;
  return Packet{std::move(connect)};
}

namespace {

// The return codes of 3.x as the equivalent reasons of MQTT 5.
std::optional<ReasonCode> reason_of_return_code(std::uint8_t code) noexcept {
  switch (code) {
    case 0:
      return ReasonCode::success;
    case 1:
      return ReasonCode::unsupported_protocol_version;
    case 2:
      return ReasonCode::client_identifier_not_valid;
    case 3:
      return ReasonCode::server_unavailable;
    case 4:
      return ReasonCode::bad_user_name_or_password;
    case 5:
      return ReasonCode::not_authorized;
    default:
      return std::nullopt;
  }
}

}  // namespace

Result<Packet> decode_connack(Reader& reader, DecodeContext context) {
  const unsigned flags = reader.byte();
  const std::uint8_t code = reader.byte();
  if (!reader.ok()) return reader.fault();
  // 3.1 has no flags in this byte.
  const bool with_flags = context.version != Version::v3_1;
  if (with_flags && flags > 1) return ReasonCode::malformed_packet;  // [MQTT-3.2.2-1]
  Connack connack;
  connack.session_present = with_flags && flags == 1;
  if (context.v5()) {
    connack.reason = static_cast<ReasonCode>(code);
    // [MQTT-3.2.2-8]
    if (!reason_allowed(PacketType::connack, connack.reason, context.sender)) {
      return ReasonCode::protocol_error;
    }
  } else {
    const auto reason = reason_of_return_code(code);
    if (!reason) return ReasonCode::protocol_error;
    connack.reason = *reason;
  }
  // [MQTT-3.2.2-6] (3.1.1: [MQTT-3.2.2-4])
  if (connack.session_present && code != 0) return ReasonCode::protocol_error;
  connack.properties = read_properties(reader, property_scope(PacketType::connack), context);
  reader.expect_end();
  if (!reader.ok()) return reader.fault();
  return Packet{std::move(connack)};
}

Result<Packet> decode_disconnect(Reader& reader, DecodeContext context) {
  Disconnect disconnect;
  // An empty body is a normal disconnection; properties may be omitted. (MQTT 5.0, 3.14.2)
  if (context.v5() && !reader.at_end()) {
    disconnect.reason = static_cast<ReasonCode>(reader.byte());
    // [MQTT-3.14.2-1]
    if (!reason_allowed(PacketType::disconnect, disconnect.reason, context.sender)) {
      return ReasonCode::protocol_error;
    }
    if (!reader.at_end()) {
      disconnect.properties =
          read_properties(reader, property_scope(PacketType::disconnect), context);
    }
  }
  reader.expect_end();
  if (!reader.ok()) return reader.fault();
  return Packet{std::move(disconnect)};
}

Result<Packet> decode_auth(Reader& reader, DecodeContext context) {
  Auth auth;
  const bool empty = reader.at_end();
  if (!empty) auth.reason = static_cast<ReasonCode>(reader.byte());
  // [MQTT-3.15.2-1]
  if (!reason_allowed(PacketType::auth, auth.reason, context.sender)) {
    return ReasonCode::protocol_error;
  }
  if (!empty) {
    auth.properties = read_properties(reader, property_scope(PacketType::auth), context);
    reader.expect_end();
    if (!reader.ok()) return reader.fault();
    // Omitting the method is an error, except in the empty packet. (MQTT 5.0, 3.15.2.2.2)
    if (!auth.properties.authentication_method) return ReasonCode::protocol_error;
  }
  return Packet{std::move(auth)};
}

}  // namespace detail
}  // namespace millrace::protocol
