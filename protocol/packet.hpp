// The packets of MQTT as values that own their data, for everything but the hot path, where PUBLISH
// is a PublishView (publish.hpp) and an acknowledgement an Ack (decode.hpp). Any thread.
//
// One struct serves all versions. A field that a version does not have is left at its default by
// decode and not written by encode. Source: MQTT 5.0 and 3.1.1, chapter 3.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "protocol/properties.hpp"
#include "protocol/reason_code.hpp"
#include "protocol/version.hpp"

namespace millrace::protocol {

struct Will {
  std::string topic;
  std::string payload;
  QoS qos = QoS::at_most_once;
  bool retain = false;
  Properties properties;

  friend bool operator==(const Will&, const Will&) = default;
};

struct Connect {
  Version version = Version::v5;
  // The highest bit of the protocol level, in 3.1 and 3.1.1: the client is another broker's bridge,
  // whose subscriptions all have No Local and Retain As Published. An extension of mosquitto's.
  bool bridge = false;
  bool clean_start = true;  // clean session in 3.1.1
  std::uint16_t keep_alive_seconds = 0;
  std::string client_id;
  std::optional<Will> will;
  std::optional<std::string> user_name;
  std::optional<std::string> password;  // any bytes
  Properties properties;

  friend bool operator==(const Connect&, const Connect&) = default;
};

struct Connack {
  bool session_present = false;
  ReasonCode reason = ReasonCode::success;  // in 3.x the reason equivalent to the return code
  Properties properties;

  friend bool operator==(const Connack&, const Connack&) = default;
};

struct Publish {
  std::string topic;
  std::string payload;
  QoS qos = QoS::at_most_once;
  bool retain = false;
  bool dup = false;
  std::uint16_t packet_id = 0;  // 0 exactly at QoS 0
  Properties properties;

  friend bool operator==(const Publish&, const Publish&) = default;
};

// The four acknowledgements have the same members; the template argument makes them distinct types.
template <PacketType type_value>
struct Acknowledgement {
  static constexpr PacketType type = type_value;
  std::uint16_t packet_id = 0;
  ReasonCode reason = ReasonCode::success;
  Properties properties;

  friend bool operator==(const Acknowledgement&, const Acknowledgement&) = default;
};
using Puback = Acknowledgement<PacketType::puback>;
using Pubrec = Acknowledgement<PacketType::pubrec>;
using Pubrel = Acknowledgement<PacketType::pubrel>;
using Pubcomp = Acknowledgement<PacketType::pubcomp>;

enum class RetainHandling : std::uint8_t { send = 0, send_if_new = 1, do_not_send = 2 };

struct Subscription {
  std::string filter;  // as it was sent, prefixes included: see parse_filter
  QoS qos = QoS::at_most_once;
  bool no_local = false;
  bool retain_as_published = false;
  RetainHandling retain_handling = RetainHandling::send;

  friend bool operator==(const Subscription&, const Subscription&) = default;
};

struct Subscribe {
  std::uint16_t packet_id = 0;
  std::vector<Subscription> subscriptions;
  Properties properties;

  friend bool operator==(const Subscribe&, const Subscribe&) = default;
};

struct Suback {
  std::uint16_t packet_id = 0;
  std::vector<ReasonCode> reasons;  // any failure is 0x80 in 3.x
  Properties properties;

  friend bool operator==(const Suback&, const Suback&) = default;
};

struct Unsubscribe {
  std::uint16_t packet_id = 0;
  std::vector<std::string> filters;
  Properties properties;

  friend bool operator==(const Unsubscribe&, const Unsubscribe&) = default;
};

struct Unsuback {
  std::uint16_t packet_id = 0;
  std::vector<ReasonCode> reasons;  // empty in 3.x
  Properties properties;

  friend bool operator==(const Unsuback&, const Unsuback&) = default;
};

struct Pingreq {
  friend bool operator==(const Pingreq&, const Pingreq&) = default;
};

struct Pingresp {
  friend bool operator==(const Pingresp&, const Pingresp&) = default;
};

struct Disconnect {
  ReasonCode reason = ReasonCode::normal_disconnection;
  Properties properties;

  friend bool operator==(const Disconnect&, const Disconnect&) = default;
};

struct Auth {
  ReasonCode reason = ReasonCode::success;
  Properties properties;

  friend bool operator==(const Auth&, const Auth&) = default;
};

using Packet = std::variant<Connect, Connack, Publish, Puback, Pubrec, Pubrel, Pubcomp, Subscribe,
                            Suback, Unsubscribe, Unsuback, Pingreq, Pingresp, Disconnect, Auth>;

// The alternatives have the order of PacketType.
[[nodiscard]] inline PacketType packet_type(const Packet& packet) noexcept {
  return static_cast<PacketType>(packet.index() + 1);
}

// Whether MQTT 5 allows this reason in this packet from this sender.
[[nodiscard]] bool reason_allowed(PacketType type, ReasonCode reason, Sender sender) noexcept;

// Otherwise `return ReasonCode::X` from a function that returns Result<Packet> would be a packet.
static_assert(!std::is_constructible_v<Packet, ReasonCode>);

}  // namespace millrace::protocol
