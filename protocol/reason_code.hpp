// The reason codes of MQTT 5, and Result, a value or a reason code.
//
// Every fault of a peer is a ReasonCode inside a Result; nothing in protocol/ throws. Any thread.
// Source: MQTT 5.0, section 2.4 and the tables of 3.2.2.2 and 3.14.2.1.
#pragma once

#include <boost/assert/source_location.hpp>
#include <boost/system/result.hpp>
#include <cstdint>
#include <string_view>

namespace millrace::protocol {

// A value has several names if MQTT 5 names it differently in different packets: 0x00 is Success,
// NormalDisconnection and GrantedQoS0.
enum class ReasonCode : std::uint8_t {
  success = 0x00,
  normal_disconnection = 0x00,
  granted_qos0 = 0x00,
  granted_qos1 = 0x01,
  granted_qos2 = 0x02,
  disconnect_with_will_message = 0x04,
  no_matching_subscribers = 0x10,
  no_subscription_existed = 0x11,
  continue_authentication = 0x18,
  re_authenticate = 0x19,
  unspecified_error = 0x80,
  malformed_packet = 0x81,
  protocol_error = 0x82,
  implementation_specific_error = 0x83,
  unsupported_protocol_version = 0x84,
  client_identifier_not_valid = 0x85,
  bad_user_name_or_password = 0x86,
  not_authorized = 0x87,
  server_unavailable = 0x88,
  server_busy = 0x89,
  banned = 0x8A,
  server_shutting_down = 0x8B,
  bad_authentication_method = 0x8C,
  keep_alive_timeout = 0x8D,
  session_taken_over = 0x8E,
  topic_filter_invalid = 0x8F,
  topic_name_invalid = 0x90,
  packet_identifier_in_use = 0x91,
  packet_identifier_not_found = 0x92,
  receive_maximum_exceeded = 0x93,
  topic_alias_invalid = 0x94,
  packet_too_large = 0x95,
  message_rate_too_high = 0x96,
  quota_exceeded = 0x97,
  administrative_action = 0x98,
  payload_format_invalid = 0x99,
  retain_not_supported = 0x9A,
  qos_not_supported = 0x9B,
  use_another_server = 0x9C,
  server_moved = 0x9D,
  shared_subscriptions_not_supported = 0x9E,
  connection_rate_exceeded = 0x9F,
  maximum_connect_time = 0xA0,
  subscription_identifiers_not_supported = 0xA1,
  wildcard_subscriptions_not_supported = 0xA2,
};

// "malformed packet", "topic alias invalid", ...: for logs and metric labels. A value outside the
// enumeration gives "unknown".
[[nodiscard]] std::string_view to_string(ReasonCode code) noexcept;

// 0x80 and above: the operation failed.
[[nodiscard]] constexpr bool is_failure(ReasonCode code) noexcept {
  return static_cast<std::uint8_t>(code) >= 0x80;
}

// The return code of a 3.1 or 3.1.1 CONNACK: 0 accepted, 1 unacceptable protocol version, 2
// identifier rejected, 3 server unavailable, 4 bad user name or password, 5 not authorized.
// A reason without an equivalent in 3.1.1 gets the code that makes a client react correctly: 3 if
// it should try again later (quota, rate, busy, shutting down), 5 if it is not permitted to
// connect.
[[nodiscard]] std::uint8_t connack_return_code(ReasonCode code) noexcept;

template <class T>
using Result = boost::system::result<T, ReasonCode>;

// Found by argument-dependent lookup from Result<T>::value() when there is none.
[[noreturn]] void throw_exception_from_error(ReasonCode const& code,
                                             boost::source_location const& where);

}  // namespace millrace::protocol
