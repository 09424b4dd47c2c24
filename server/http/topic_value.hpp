// The newest value of a topic as somebody beside the processor sees it. Any thread.
#pragma once

#include <cstdint>
#include <optional>

#include "core/broker/message.hpp"
#include "core/broker/topic_table.hpp"

namespace millrace::server {

struct TopicValue {
  broker::Message message;
  latest::Version version = 0;
  std::int64_t age_ns = 0;  // since it was received
};

// Nothing, if the topic has no value (yet), if its message has expired [MQTT-3.3.2-5], or if it was
// cleared: an empty retained message deletes what is retained [MQTT-3.3.1-6] and is no value
// itself. An empty message that is not retained is a value like any other.
std::optional<TopicValue> value_of(const broker::Topic& topic, std::int64_t now_ns);

}  // namespace millrace::server
