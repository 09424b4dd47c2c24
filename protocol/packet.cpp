// The reasons allowed in each packet: the tables of MQTT 5.0, 3.2.2.2 (CONNACK), 3.4.2.1 (PUBACK),
// 3.5.2.1 (PUBREC), 3.6.2.1 (PUBREL), 3.7.2.1 (PUBCOMP), 3.9.3 (SUBACK), 3.11.3
// (UNSUBACK), 3.14.2.1 (DISCONNECT), 3.15.2.1 (AUTH).
#include "protocol/packet.hpp"

#include <algorithm>
#include <initializer_list>

namespace millrace::protocol {
namespace {

using enum ReasonCode;

bool one_of(ReasonCode reason, std::initializer_list<ReasonCode> list) noexcept {
  return std::find(list.begin(), list.end(), reason) != list.end();
}

bool connack_reason(ReasonCode reason) noexcept {
  return one_of(reason, {success,
                         unspecified_error,
                         malformed_packet,
                         protocol_error,
                         implementation_specific_error,
                         unsupported_protocol_version,
                         client_identifier_not_valid,
                         bad_user_name_or_password,
                         not_authorized,
                         server_unavailable,
                         server_busy,
                         banned,
                         bad_authentication_method,
                         topic_name_invalid,
                         packet_too_large,
                         quota_exceeded,
                         payload_format_invalid,
                         retain_not_supported,
                         qos_not_supported,
                         use_another_server,
                         server_moved,
                         connection_rate_exceeded});
}

// PUBACK and PUBREC, from both sides: a bridge, too, may report that it has no matching
// subscribers.
bool received_reason(ReasonCode reason) noexcept {
  return one_of(reason, {success, no_matching_subscribers, unspecified_error,
                         implementation_specific_error, not_authorized, topic_name_invalid,
                         packet_identifier_in_use, quota_exceeded, payload_format_invalid});
}

bool suback_reason(ReasonCode reason) noexcept {
  return one_of(reason,
                {granted_qos0, granted_qos1, granted_qos2, unspecified_error,
                 implementation_specific_error, not_authorized, topic_filter_invalid,
                 packet_identifier_in_use, quota_exceeded, shared_subscriptions_not_supported,
                 subscription_identifiers_not_supported, wildcard_subscriptions_not_supported});
}

bool unsuback_reason(ReasonCode reason) noexcept {
  return one_of(reason,
                {success, no_subscription_existed, unspecified_error, implementation_specific_error,
                 not_authorized, topic_filter_invalid, packet_identifier_in_use});
}

bool disconnect_reason(ReasonCode reason, Sender sender) noexcept {
  if (reason == disconnect_with_will_message) return sender == Sender::client;
  if (one_of(reason, {normal_disconnection, unspecified_error, malformed_packet, protocol_error,
                      implementation_specific_error, topic_name_invalid, receive_maximum_exceeded,
                      topic_alias_invalid, packet_too_large, message_rate_too_high, quota_exceeded,
                      administrative_action, payload_format_invalid})) {
    return true;
  }
  return sender == Sender::server &&
         one_of(reason,
                {not_authorized, server_busy, server_shutting_down, keep_alive_timeout,
                 session_taken_over, topic_filter_invalid, retain_not_supported, qos_not_supported,
                 use_another_server, server_moved, shared_subscriptions_not_supported,
                 connection_rate_exceeded, maximum_connect_time,
                 subscription_identifiers_not_supported, wildcard_subscriptions_not_supported});
}

bool auth_reason(ReasonCode reason, Sender sender) noexcept {
  if (reason == success) return sender == Sender::server;
  if (reason == re_authenticate) return sender == Sender::client;
  return reason == continue_authentication;
}

}  // namespace

bool reason_allowed(PacketType type, ReasonCode reason, Sender sender) noexcept {
  switch (type) {
    case PacketType::connack:
      return connack_reason(reason);
    case PacketType::puback:
    case PacketType::pubrec:
      return received_reason(reason);
    case PacketType::pubrel:
    case PacketType::pubcomp:
      return one_of(reason, {success, packet_identifier_not_found});
    case PacketType::suback:
      return suback_reason(reason);
    case PacketType::unsuback:
      return unsuback_reason(reason);
    case PacketType::disconnect:
      return disconnect_reason(reason, sender);
    case PacketType::auth:
      return auth_reason(reason, sender);
    default:
      return false;
  }
}

}  // namespace millrace::protocol
