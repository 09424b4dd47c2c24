// What tests publish and subscribe to, where it takes more than a topic and a payload.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "core/broker/command.hpp"
#include "core/broker/message.hpp"

namespace millrace::broker {

// A message of this payload takes all of the `latest` credit.
inline const std::string big(20'000, 'x');

// A message with a Message Expiry Interval.
inline Message expiring(std::string_view topic, std::uint8_t seconds, std::uint8_t qos,
                        std::int64_t now_ns) {
  const std::uint8_t expiry[] = {0x02, 0, 0, 0, seconds};
  constexpr std::string_view payload = "expiring";
  MessageParts parts;
  parts.topic = topic;
  parts.payload = {reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()};
  parts.properties.bytes = expiry;
  parts.properties.expiry_at = 0;
  parts.qos = qos;
  parts.packet_id = qos;
  return build_message(parts, now_ns);
}

// A member of `$share/group/filter`.
inline SubscriptionRequest shared(std::string group, std::string filter, int qos) {
  SubscriptionRequest wanted;
  wanted.name.append("$share/").append(group).append("/").append(filter);
  wanted.filter = std::move(filter);
  wanted.share_group = std::move(group);
  wanted.qos = static_cast<std::uint8_t>(qos);
  wanted.mode = Mode::every;
  return wanted;
}

}  // namespace millrace::broker
