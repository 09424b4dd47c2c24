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
  Success = 0x00,
  NormalDisconnection = 0x00,
  GrantedQoS0 = 0x00,
  GrantedQoS1 = 0x01,
  GrantedQoS2 = 0x02,
  DisconnectWithWillMessage = 0x04,
  NoMatchingSubscribers = 0x10,
  NoSubscriptionExisted = 0x11,
  ContinueAuthentication = 0x18,
  ReAuthenticate = 0x19,
  UnspecifiedError = 0x80,
  MalformedPacket = 0x81,
  ProtocolError = 0x82,
  ImplementationSpecificError = 0x83,
  UnsupportedProtocolVersion = 0x84,
  ClientIdentifierNotValid = 0x85,
  BadUserNameOrPassword = 0x86,
  NotAuthorized = 0x87,
  ServerUnavailable = 0x88,
  ServerBusy = 0x89,
  Banned = 0x8A,
  ServerShuttingDown = 0x8B,
  BadAuthenticationMethod = 0x8C,
  KeepAliveTimeout = 0x8D,
  SessionTakenOver = 0x8E,
  TopicFilterInvalid = 0x8F,
  TopicNameInvalid = 0x90,
  PacketIdentifierInUse = 0x91,
  PacketIdentifierNotFound = 0x92,
  ReceiveMaximumExceeded = 0x93,
  TopicAliasInvalid = 0x94,
  PacketTooLarge = 0x95,
  MessageRateTooHigh = 0x96,
  QuotaExceeded = 0x97,
  AdministrativeAction = 0x98,
  PayloadFormatInvalid = 0x99,
  RetainNotSupported = 0x9A,
  QoSNotSupported = 0x9B,
  UseAnotherServer = 0x9C,
  ServerMoved = 0x9D,
  SharedSubscriptionsNotSupported = 0x9E,
  ConnectionRateExceeded = 0x9F,
  MaximumConnectTime = 0xA0,
  SubscriptionIdentifiersNotSupported = 0xA1,
  WildcardSubscriptionsNotSupported = 0xA2,
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
