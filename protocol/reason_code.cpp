#include "protocol/reason_code.hpp"

#include <boost/throw_exception.hpp>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "protocol/require.hpp"
#include "protocol/version.hpp"

namespace millrace::protocol {

std::string_view to_string(ReasonCode code) noexcept {
  switch (code) {
    case ReasonCode::Success:
      return "success";
    case ReasonCode::GrantedQoS1:
      return "granted qos 1";
    case ReasonCode::GrantedQoS2:
      return "granted qos 2";
    case ReasonCode::DisconnectWithWillMessage:
      return "disconnect with will message";
    case ReasonCode::NoMatchingSubscribers:
      return "no matching subscribers";
    case ReasonCode::NoSubscriptionExisted:
      return "no subscription existed";
    case ReasonCode::ContinueAuthentication:
      return "continue authentication";
    case ReasonCode::ReAuthenticate:
      return "re-authenticate";
    case ReasonCode::UnspecifiedError:
      return "unspecified error";
    case ReasonCode::MalformedPacket:
      return "malformed packet";
    case ReasonCode::ProtocolError:
      return "protocol error";
    case ReasonCode::ImplementationSpecificError:
      return "implementation specific error";
    case ReasonCode::UnsupportedProtocolVersion:
      return "unsupported protocol version";
    case ReasonCode::ClientIdentifierNotValid:
      return "client identifier not valid";
    case ReasonCode::BadUserNameOrPassword:
      return "bad user name or password";
    case ReasonCode::NotAuthorized:
      return "not authorized";
    case ReasonCode::ServerUnavailable:
      return "server unavailable";
    case ReasonCode::ServerBusy:
      return "server busy";
    case ReasonCode::Banned:
      return "banned";
    case ReasonCode::ServerShuttingDown:
      return "server shutting down";
    case ReasonCode::BadAuthenticationMethod:
      return "bad authentication method";
    case ReasonCode::KeepAliveTimeout:
      return "keep alive timeout";
    case ReasonCode::SessionTakenOver:
      return "session taken over";
    case ReasonCode::TopicFilterInvalid:
      return "topic filter invalid";
    case ReasonCode::TopicNameInvalid:
      return "topic name invalid";
    case ReasonCode::PacketIdentifierInUse:
      return "packet identifier in use";
    case ReasonCode::PacketIdentifierNotFound:
      return "packet identifier not found";
    case ReasonCode::ReceiveMaximumExceeded:
      return "receive maximum exceeded";
    case ReasonCode::TopicAliasInvalid:
      return "topic alias invalid";
    case ReasonCode::PacketTooLarge:
      return "packet too large";
    case ReasonCode::MessageRateTooHigh:
      return "message rate too high";
    case ReasonCode::QuotaExceeded:
      return "quota exceeded";
    case ReasonCode::AdministrativeAction:
      return "administrative action";
    case ReasonCode::PayloadFormatInvalid:
      return "payload format invalid";
    case ReasonCode::RetainNotSupported:
      return "retain not supported";
    case ReasonCode::QoSNotSupported:
      return "qos not supported";
    case ReasonCode::UseAnotherServer:
      return "use another server";
    case ReasonCode::ServerMoved:
      return "server moved";
    case ReasonCode::SharedSubscriptionsNotSupported:
      return "shared subscriptions not supported";
    case ReasonCode::ConnectionRateExceeded:
      return "connection rate exceeded";
    case ReasonCode::MaximumConnectTime:
      return "maximum connect time";
    case ReasonCode::SubscriptionIdentifiersNotSupported:
      return "subscription identifiers not supported";
    case ReasonCode::WildcardSubscriptionsNotSupported:
      return "wildcard subscriptions not supported";
  }
  return "unknown";
}

std::uint8_t connack_return_code(ReasonCode code) noexcept {
  switch (code) {
    case ReasonCode::Success:
      return 0;
    case ReasonCode::UnsupportedProtocolVersion:
      return 1;
    case ReasonCode::ClientIdentifierNotValid:
      return 2;
    case ReasonCode::BadUserNameOrPassword:
      return 4;
    case ReasonCode::NotAuthorized:
    case ReasonCode::Banned:
    case ReasonCode::BadAuthenticationMethod:
    case ReasonCode::TopicNameInvalid:
    case ReasonCode::PacketTooLarge:
    case ReasonCode::PayloadFormatInvalid:
    case ReasonCode::RetainNotSupported:
    case ReasonCode::QoSNotSupported:
      return 5;
    default:
      return 3;
  }
}

void throw_exception_from_error(ReasonCode const& code, boost::source_location const& where) {
  boost::throw_with_location(std::runtime_error(std::string(to_string(code))), where);
}

std::string_view to_string(PacketType type) noexcept {
  switch (type) {
    case PacketType::Connect:
      return "CONNECT";
    case PacketType::Connack:
      return "CONNACK";
    case PacketType::Publish:
      return "PUBLISH";
    case PacketType::Puback:
      return "PUBACK";
    case PacketType::Pubrec:
      return "PUBREC";
    case PacketType::Pubrel:
      return "PUBREL";
    case PacketType::Pubcomp:
      return "PUBCOMP";
    case PacketType::Subscribe:
      return "SUBSCRIBE";
    case PacketType::Suback:
      return "SUBACK";
    case PacketType::Unsubscribe:
      return "UNSUBSCRIBE";
    case PacketType::Unsuback:
      return "UNSUBACK";
    case PacketType::Pingreq:
      return "PINGREQ";
    case PacketType::Pingresp:
      return "PINGRESP";
    case PacketType::Disconnect:
      return "DISCONNECT";
    case PacketType::Auth:
      return "AUTH";
  }
  return "unknown";
}

namespace detail {

void broken_invariant(const char* what) noexcept {
  std::fprintf(stderr, "millrace: broken invariant: %s\n", what);
  std::abort();
}

}  // namespace detail
}  // namespace millrace::protocol
