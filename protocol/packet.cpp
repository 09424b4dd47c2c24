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
  return one_of(reason, {Success,
                         UnspecifiedError,
                         MalformedPacket,
                         ProtocolError,
                         ImplementationSpecificError,
                         UnsupportedProtocolVersion,
                         ClientIdentifierNotValid,
                         BadUserNameOrPassword,
                         NotAuthorized,
                         ServerUnavailable,
                         ServerBusy,
                         Banned,
                         BadAuthenticationMethod,
                         TopicNameInvalid,
                         PacketTooLarge,
                         QuotaExceeded,
                         PayloadFormatInvalid,
                         RetainNotSupported,
                         QoSNotSupported,
                         UseAnotherServer,
                         ServerMoved,
                         ConnectionRateExceeded});
}

// PUBACK and PUBREC, from both sides: a bridge, too, may report that it has no matching
// subscribers.
bool received_reason(ReasonCode reason) noexcept {
  return one_of(reason, {Success, NoMatchingSubscribers, UnspecifiedError,
                         ImplementationSpecificError, NotAuthorized, TopicNameInvalid,
                         PacketIdentifierInUse, QuotaExceeded, PayloadFormatInvalid});
}

bool suback_reason(ReasonCode reason) noexcept {
  return one_of(reason, {GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError,
                         ImplementationSpecificError, NotAuthorized, TopicFilterInvalid,
                         PacketIdentifierInUse, QuotaExceeded, SharedSubscriptionsNotSupported,
                         SubscriptionIdentifiersNotSupported, WildcardSubscriptionsNotSupported});
}

bool unsuback_reason(ReasonCode reason) noexcept {
  return one_of(reason,
                {Success, NoSubscriptionExisted, UnspecifiedError, ImplementationSpecificError,
                 NotAuthorized, TopicFilterInvalid, PacketIdentifierInUse});
}

bool disconnect_reason(ReasonCode reason, Sender sender) noexcept {
  if (reason == DisconnectWithWillMessage) return sender == Sender::Client;
  if (one_of(reason, {NormalDisconnection, UnspecifiedError, MalformedPacket, ProtocolError,
                      ImplementationSpecificError, TopicNameInvalid, ReceiveMaximumExceeded,
                      TopicAliasInvalid, PacketTooLarge, MessageRateTooHigh, QuotaExceeded,
                      AdministrativeAction, PayloadFormatInvalid})) {
    return true;
  }
  return sender == Sender::Server &&
         one_of(reason, {NotAuthorized, ServerBusy, ServerShuttingDown, KeepAliveTimeout,
                         SessionTakenOver, TopicFilterInvalid, RetainNotSupported, QoSNotSupported,
                         UseAnotherServer, ServerMoved, SharedSubscriptionsNotSupported,
                         ConnectionRateExceeded, MaximumConnectTime,
                         SubscriptionIdentifiersNotSupported, WildcardSubscriptionsNotSupported});
}

bool auth_reason(ReasonCode reason, Sender sender) noexcept {
  if (reason == Success) return sender == Sender::Server;
  if (reason == ReAuthenticate) return sender == Sender::Client;
  return reason == ContinueAuthentication;
}

}  // namespace

bool reason_allowed(PacketType type, ReasonCode reason, Sender sender) noexcept {
  switch (type) {
    case PacketType::Connack:
      return connack_reason(reason);
    case PacketType::Puback:
    case PacketType::Pubrec:
      return received_reason(reason);
    case PacketType::Pubrel:
    case PacketType::Pubcomp:
      return one_of(reason, {Success, PacketIdentifierNotFound});
    case PacketType::Suback:
      return suback_reason(reason);
    case PacketType::Unsuback:
      return unsuback_reason(reason);
    case PacketType::Disconnect:
      return disconnect_reason(reason, sender);
    case PacketType::Auth:
      return auth_reason(reason, sender);
    default:
      return false;
  }
}

}  // namespace millrace::protocol
