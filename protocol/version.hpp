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
  Connect = 1,
  Connack,
  Publish,
  Puback,
  Pubrec,
  Pubrel,
  Pubcomp,
  Subscribe,
  Suback,
  Unsubscribe,
  Unsuback,
  Pingreq,
  Pingresp,
  Disconnect,
  Auth,
};

// "PUBLISH", "CONNECT", ...
[[nodiscard]] std::string_view to_string(PacketType type) noexcept;

enum class QoS : std::uint8_t { AtMostOnce = 0, AtLeastOnce = 1, ExactlyOnce = 2 };

// The sender of the packet to be decoded; a few rules depend on it.
enum class Sender : std::uint8_t { Client, Server };

}  // namespace millrace::protocol
