// Enumerations that every header of protocol/ uses: version, packet type, QoS, sender.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace::protocol {

// The values are the protocol levels of CONNECT.
enum class Version : std::uint8_t { v3_1 = 3, v3_1_1 = 4, v5 = 5 };

// Added to the level of 3.1 and 3.1.1 by bridges of other brokers. See Connect::bridge.
constexpr unsigned bridge_bit = 0x80;

[[nodiscard]] constexpr std::string_view to_string(Version version) noexcept {
  switch (version) {
    case Version::v3_1:
      return "3.1";
    case Version::v3_1_1:
      return "3.1.1";
    case Version::v5:
      return "5.0";
  }
  return "unknown";
}

enum class PacketType : std::uint8_t {
  connect = 1,
  connack,
  publish,
  puback,
  pubrec,
  pubrel,
  pubcomp,
  subscribe,
  suback,
  unsubscribe,
  unsuback,
  pingreq,
  pingresp,
  disconnect,
  auth,
};

// "PUBLISH", "CONNECT", ...
[[nodiscard]] std::string_view to_string(PacketType type) noexcept;

enum class QoS : std::uint8_t { at_most_once = 0, at_least_once = 1, exactly_once = 2 };

// The sender of the packet to be decoded; a few rules depend on it.
enum class Sender : std::uint8_t { client, server };

}  // namespace millrace::protocol
