// The MQTT packets that a load generator writes and reads, as bytes. They do not use the server's
// protocol layer, so that a fault in that does not go unnoticed here. The measured PUBLISH packets
// are made by PublishRing, the hot path.
//
// No I/O, no state; any thread. Source: MQTT 3.1.1 and MQTT 5.0, chapters 2 and 3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::loadtest {

enum class MqttVersion : std::uint8_t { v3_1_1 = 4, v5 = 5 };

enum class PacketType : std::uint8_t {
  connect = 1,
  connack = 2,
  publish = 3,
  puback = 4,
  pubrec = 5,
  pubrel = 6,
  pubcomp = 7,
  subscribe = 8,
  suback = 9,
  pingreq = 12,
  pingresp = 13,
  disconnect = 14,
};

struct ConnectFields {
  MqttVersion version = MqttVersion::v3_1_1;
  std::string client_id;
  std::string username;
  std::string password;
  std::uint16_t keepalive_s = 0;
  bool is_kept = false;  // the session outlives its connection, on MQTT 5 for an hour
};

struct SubscribeFields {
  MqttVersion version = MqttVersion::v3_1_1;
  std::uint16_t packet_id = 1;
  std::vector<std::string> filters;
  std::uint8_t qos = 0;
  std::vector<std::pair<std::string, std::string>> user_properties;  // MQTT 5 only
};

std::string encode_connect(const ConnectFields& fields);
std::string encode_subscribe(const SubscribeFields& fields);
std::string encode_pingreq();
std::string encode_disconnect();
// PUBACK, PUBREC, PUBREL or PUBCOMP without a reason: the same 4 bytes in both versions.
void append_ack(std::vector<char>& out, PacketType type, std::uint16_t packet_id);
// A PUBLISH that is not measured.
std::string encode_publish(MqttVersion version, std::string_view topic, std::string_view payload,
                           std::uint8_t qos, std::uint16_t packet_id);
void append_varint(std::string& out, std::uint32_t value);

struct PacketHead {
  std::uint8_t first_byte;
  std::uint32_t head_bytes;  // 2..5
  std::uint32_t body_bytes;  // Remaining Length
};

enum class HeadStatus { complete, incomplete, malformed };

// Reads a fixed header; the body may be missing.
inline HeadStatus read_head(const char* p, std::size_t n, PacketHead& head) {
  std::uint32_t length = 0;
  for (unsigned i = 1; i <= 4; ++i) {
    if (n <= i) return HeadStatus::incomplete;
    const auto byte = static_cast<std::uint8_t>(p[i]);
    length |= static_cast<std::uint32_t>(byte & 0x7F) << (7 * (i - 1));
    if (byte < 0x80) {
      head = {static_cast<std::uint8_t>(p[0]), i + 1, length};
      return HeadStatus::complete;
    }
  }
  return HeadStatus::malformed;
}

inline std::uint16_t read_u16(const char* p) {
  return static_cast<std::uint16_t>(static_cast<std::uint8_t>(p[0]) << 8 |
                                    static_cast<std::uint8_t>(p[1]));
}

struct Connack {
  bool session_present;
  std::uint8_t code;  // 0: accepted
  std::uint16_t receive_maximum;
  std::uint8_t maximum_qos;
};
std::optional<Connack> read_connack(MqttVersion version, std::string_view body);

struct Suback {
  std::uint16_t packet_id;
  std::vector<std::uint8_t> codes;
};
std::optional<Suback> read_suback(MqttVersion version, std::string_view body);

struct Ack {
  std::uint16_t packet_id;
  std::uint8_t reason;
};
std::optional<Ack> read_ack(std::string_view body);

// Reads a variable byte integer from the front of `bytes` and removes it.
std::optional<std::uint32_t> take_varint(std::string_view& bytes);

}  // namespace millrace::loadtest
