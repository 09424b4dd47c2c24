// How a subscription is served: the operator's rule, the `$latest/` prefix, the user properties of
// the SUBSCRIBE, the default of its QoS; the highest that speaks decides. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/broker/command.hpp"
#include "protocol/packet.hpp"
#include "protocol/topic.hpp"
#include "server/config/config.hpp"

namespace millrace::server {

// What the user properties `delivery` and `max-rate-hz` of one SUBSCRIBE ask for, for every filter
// in it. ImplementationSpecificError: a value that means nothing.
struct DeliveryWish {
  std::optional<broker::Mode> mode;
  std::optional<double> max_rate_hz;
};
protocol::Result<DeliveryWish> parse_delivery_wish(const protocol::Properties& properties);

// The least time between two values at that rate.
std::uint32_t interval_ms_of(double hz);

struct DeliveryChoice {
  broker::Mode mode = broker::Mode::every;
  std::uint32_t interval_ms = 0;
};

// A rate limit keeps the newest value only, so it needs a mode that may replace values: where no
// mode was chosen, the limit chooses `latest`; with `every` it has no effect. Shared subscriptions
// are always `every`.
DeliveryChoice choose_delivery(const protocol::ParsedFilter& filter, std::uint8_t qos,
                               const DeliveryWish& wish, const DeliveryConfig& rules,
                               std::string_view user, std::string_view listener);

}  // namespace millrace::server
