// What the keys of the configuration choose from; the words for these are in words.hpp. Pure.
#pragma once

#include <cstdint>

#include "core/broker/command.hpp"
#include "core/shm/wire/wire.hpp"
#include "core/store/store.hpp"

namespace millrace::server {

enum class Transport : std::uint8_t { tcp, tls, ws, wss, unix_socket };
enum class WaitStrategy : std::uint8_t { spin, yield, block };
using DeliveryMode = broker::Mode;
enum class UnchangedValues : std::uint8_t { send, skip };
using OverflowPolicy = broker::Overflow;
enum class LogLevel : std::uint8_t { trace, debug, info, warn, error, off };
enum class LogFormat : std::uint8_t { text, json };
enum class AccessEffect : std::uint8_t { allow, deny };
enum class AccessAction : std::uint8_t { publish, subscribe, receive, all };
enum class LimitPolicy : std::uint8_t { enforce, warn };
// What a client identifier is unique in.
enum class SessionScope : std::uint8_t { server, user };
enum class RefusalReason : std::uint8_t { not_authorized, unspecified };
enum class ClientCertificate : std::uint8_t { none, optional, required };
// Which part of a client's certificate is its user name.
enum class CertificateUser : std::uint8_t { none, common_name, alternative_name, subject };
enum class TlsVersion : std::uint8_t { v1_2, v1_3 };
using RingPolicy = shm::Policy;
// What crosses a link to another broker: from there to here, from here to there.
enum class Direction : std::uint8_t { in, out, both };
// When a publisher's message that goes out counts as taken: here, or when the upstream has it.
enum class AckBy : std::uint8_t { edge, upstream };
enum class UpstreamType : std::uint8_t { mqtt, nats };
enum class MqttVersion : std::uint8_t { v3_1_1, v5 };
// What of an upstream's certificate is checked: who signed it and whose it is; who signed it; nothing.
enum class TlsVerify : std::uint8_t { full, signer, insecure };
using Durability = store::Durability;
// What a publisher is told at QoS 1 and 2 while the store cannot write: nothing, or that it cannot.
enum class OnStoreFailure : std::uint8_t { wait, refuse };

const char* to_string(Transport);
const char* to_string(WaitStrategy);
const char* to_string(DeliveryMode);
const char* to_string(OverflowPolicy);
const char* to_string(LogLevel);
const char* to_string(LogFormat);
const char* to_string(AccessEffect);
const char* to_string(AccessAction);
const char* to_string(LimitPolicy);
const char* to_string(SessionScope);
const char* to_string(RefusalReason);
const char* to_string(ClientCertificate);
const char* to_string(CertificateUser);
const char* to_string(TlsVersion);
const char* to_string(RingPolicy);
const char* to_string(Direction);
const char* to_string(UpstreamType);
const char* to_string(MqttVersion);
const char* to_string(TlsVerify);
const char* to_string(Durability);
const char* to_string(OnStoreFailure);

}  // namespace millrace::server
