// How a subscription is served: the operator's rule, the `$latest/` prefix, the user properties of
// the SUBSCRIBE, the default of its QoS; the highest that speaks decides. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/broker/command.hpp"
#include "protocol/topic.hpp"
#include "server/config/config.hpp"
#include "server/mqtt/delivery_options.hpp"

namespace millrace::server {

// The least time between two values at that rate.
std::uint32_t interval_ms_of(double hz);

struct DeliveryChoice {
  broker::Mode mode = broker::Mode::every;
  broker::ShapeFields shape;
  std::uint32_t history = 0;  // of those that were asked for; how many are kept is another matter
};

// A rate limit, a change filter or ticks skip values, and a weight tells those apart that wait to be
// replaced; so they need a mode that may: where no mode was chosen, they choose `latest`; with `every` they have no effect. A budget is the
// client's, whatever the mode; of the rule's and the wish's the smaller one applies. Shared
// subscriptions are always `every`, and have no shape.
DeliveryChoice choose_delivery(const protocol::ParsedFilter& filter, std::uint8_t qos,
                               const DeliveryWish& wish, const DeliveryConfig& rules,
                               std::string_view user, std::string_view listener);

}  // namespace millrace::server
