#include "server/http/topic_value.hpp"

#include <algorithm>
#include <utility>

namespace millrace::server {

std::optional<TopicValue> value_of(const broker::Topic& topic, std::int64_t now_ns) {
  auto loaded = topic.newest_slot.load();
  if (!loaded) return std::nullopt;
  const std::int64_t age_ns = std::max<std::int64_t>(0, now_ns - loaded->value->received_ns);
  TopicValue value{broker::message_of(std::move(loaded->value)), loaded->version, age_ns};
  const broker::Message& message = value.message;
  const bool expired =
      message.expires_at_s != 0 && message.expires_at_s <= broker::clock_seconds(now_ns);
  const bool cleared = message.retain && message.payload_bytes() == 0;
  if (expired || cleared) return std::nullopt;
  return value;
}

}  // namespace millrace::server
