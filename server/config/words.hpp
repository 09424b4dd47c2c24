// The words that the configuration uses for each enumeration's values. Pure; any thread.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "server/config/config.hpp"

namespace millrace::server {

template <class Enum>
struct Words;

template <class Enum, std::size_t N>
using WordList = std::array<std::pair<std::string_view, Enum>, N>;

template <>
struct Words<Transport> {
  static constexpr WordList<Transport, 5> list = {{{"tcp", Transport::tcp},
                                                   {"tls", Transport::tls},
                                                   {"ws", Transport::ws},
                                                   {"wss", Transport::wss},
                                                   {"unix", Transport::unix_socket}}};
};

template <>
struct Words<WaitStrategy> {
  static constexpr WordList<WaitStrategy, 3> list = {{{"spin", WaitStrategy::spin},
                                                      {"yield", WaitStrategy::yield},
                                                      {"block", WaitStrategy::block}}};
};

template <>
struct Words<DeliveryMode> {
  static constexpr WordList<DeliveryMode, 3> list = {{{"every", DeliveryMode::every},
                                                      {"adaptive", DeliveryMode::adaptive},
                                                      {"latest", DeliveryMode::latest}}};
};

template <>
struct Words<UnchangedValues> {
  static constexpr WordList<UnchangedValues, 2> list = {
      {{"send", UnchangedValues::send}, {"skip", UnchangedValues::skip}}};
};

template <>
struct Words<Durability> {
  static constexpr WordList<Durability, 3> list = {{{"commit", Durability::commit},
                                                    {"interval", Durability::interval},
                                                    {"off", Durability::off}}};
};

template <>
struct Words<OnStoreFailure> {
  static constexpr WordList<OnStoreFailure, 2> list = {
      {{"wait", OnStoreFailure::wait}, {"refuse", OnStoreFailure::refuse}}};
};

template <>
struct Words<OverflowPolicy> {
  static constexpr WordList<OverflowPolicy, 4> list = {
      {{"drop_oldest", OverflowPolicy::drop_oldest},
       {"drop_newest", OverflowPolicy::drop_newest},
       {"disconnect", OverflowPolicy::disconnect},
       {"backpressure", OverflowPolicy::backpressure}}};
};

template <>
struct Words<LogLevel> {
  static constexpr WordList<LogLevel, 6> list = {{{"trace", LogLevel::trace},
                                                  {"debug", LogLevel::debug},
                                                  {"info", LogLevel::info},
                                                  {"warn", LogLevel::warn},
                                                  {"error", LogLevel::error},
                                                  {"off", LogLevel::off}}};
};

template <>
struct Words<LogFormat> {
  static constexpr WordList<LogFormat, 2> list = {
      {{"text", LogFormat::text}, {"json", LogFormat::json}}};
};

template <>
struct Words<AccessEffect> {
  static constexpr WordList<AccessEffect, 2> list = {
      {{"allow", AccessEffect::allow}, {"deny", AccessEffect::deny}}};
};

template <>
struct Words<AccessAction> {
  static constexpr WordList<AccessAction, 4> list = {{{"publish", AccessAction::publish},
                                                      {"subscribe", AccessAction::subscribe},
                                                      {"receive", AccessAction::receive},
                                                      {"all", AccessAction::all}}};
};

template <>
struct Words<LimitPolicy> {
  static constexpr WordList<LimitPolicy, 2> list = {
      {{"enforce", LimitPolicy::enforce}, {"warn", LimitPolicy::warn}}};
};

template <>
struct Words<SessionScope> {
  static constexpr WordList<SessionScope, 2> list = {
      {{"server", SessionScope::server}, {"user", SessionScope::user}}};
};

template <>
struct Words<RefusalReason> {
  static constexpr WordList<RefusalReason, 2> list = {
      {{"not_authorized", RefusalReason::not_authorized},
       {"unspecified", RefusalReason::unspecified}}};
};

template <>
struct Words<ClientCertificate> {
  static constexpr WordList<ClientCertificate, 3> list = {
      {{"none", ClientCertificate::none},
       {"optional", ClientCertificate::optional},
       {"required", ClientCertificate::required}}};
};

template <>
struct Words<CertificateUser> {
  static constexpr WordList<CertificateUser, 4> list = {
      {{"none", CertificateUser::none},
       {"common_name", CertificateUser::common_name},
       {"alternative_name", CertificateUser::alternative_name},
       {"subject", CertificateUser::subject}}};
};

template <>
struct Words<Direction> {
  static constexpr WordList<Direction, 3> list = {
      {{"in", Direction::in}, {"out", Direction::out}, {"both", Direction::both}}};
};

template <>
struct Words<AckBy> {
  static constexpr WordList<AckBy, 2> list = {
      {{"edge", AckBy::edge}, {"upstream", AckBy::upstream}}};
};

template <>
struct Words<MqttVersion> {
  static constexpr WordList<MqttVersion, 2> list = {
      {{"3.1.1", MqttVersion::v3_1_1}, {"5", MqttVersion::v5}}};
};

template <>
struct Words<UpstreamType> {
  static constexpr WordList<UpstreamType, 2> list = {
      {{"mqtt", UpstreamType::mqtt}, {"nats", UpstreamType::nats}}};
};

template <>
struct Words<TlsVerify> {
  static constexpr WordList<TlsVerify, 3> list = {{{"full", TlsVerify::full},
                                                   {"signer", TlsVerify::signer},
                                                   {"insecure", TlsVerify::insecure}}};
};

template <>
struct Words<TlsVersion> {
  static constexpr WordList<TlsVersion, 2> list = {
      {{"1.2", TlsVersion::v1_2}, {"1.3", TlsVersion::v1_3}}};
};

template <>
struct Words<RingPolicy> {
  static constexpr WordList<RingPolicy, 2> list = {
      {{"lossy", RingPolicy::lossy}, {"lossless", RingPolicy::lossless}}};
};

template <class Enum>
constexpr std::string_view word_of(Enum value) {
  for (const auto& [word, candidate] : Words<Enum>::list) {
    if (candidate == value) return word;
  }
  return "unknown";
}

// "tcp|tls|ws|wss"
template <class Enum>
std::string words_of() {
  std::string joined;
  for (const auto& [word, value] : Words<Enum>::list) {
    if (!joined.empty()) joined += '|';
    joined += word;
  }
  return joined;
}

}  // namespace millrace::server
