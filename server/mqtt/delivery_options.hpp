// What a client asks for of its deliveries, and what it is granted: the words for it, the same in
// the user properties of MQTT 5 CONNECT and SUBSCRIBE, in the prefix of a filter, and in CONNACK and
// SUBACK.
//
//     CONNECT, SUBSCRIBE max-rate-hz = 2, budget-bytes-per-s = 20000    for what is subscribed to on the
//                                                    connection, or for every filter of the packet
//     prefix             $latest;max-rate-hz=2;budget-bytes-per-s=20000/<filter>    for this one
//     CONNACK            granted = max-rate-hz=2;budget-bytes-per-s=20000
//     SUBACK             granted = delivery=latest;max-rate-hz=2;budget-bytes-per-s=20000
//
// In a prefix `%` and two hexadecimal digits stand for a character, as `/` ends the prefix.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/broker/command.hpp"
#include "protocol/properties.hpp"
#include "server/config/config.hpp"

namespace millrace::server {

struct DeliveryWish {
  std::optional<broker::Mode> mode;
  std::optional<double> max_rate_hz;
  std::optional<std::uint32_t> budget_bytes_per_s;
  std::optional<UnchangedValues> unchanged;
  std::optional<double> delta;          // one of these two
  std::optional<double> delta_percent;  // at most
  std::optional<std::string> field;
  std::optional<std::uint32_t> heartbeat_s;
  std::optional<std::uint32_t> tick_ms;
  std::optional<std::uint32_t> history;
  std::optional<std::uint32_t> weight;

  // It asks for something.
  bool is_any() const { return *this != DeliveryWish{}; }
  friend bool operator==(const DeliveryWish&, const DeliveryWish&) = default;
};

// A wish, or what is wrong with how it was put: then `fault` is a sentence for its author.
struct ParsedWish {
  DeliveryWish wish;
  std::string fault;  // empty: none
};

// Of properties that repeat the last one counts; others than these say nothing here. What they ask for
// stands in place of the same in `wish`: where they ask for a filter, in place of none, and the other
// way round.
ParsedWish parse_delivery_wish(const protocol::Properties& properties,
                               const DeliveryWish& wish = {});

// The options of a prefix, without the first `;`, in the same way. Each may stand there once, and
// `delivery` not at all.
ParsedWish parse_prefix_options(std::string_view options, const DeliveryWish& wish);

// As CONNACK says it.
std::string wish_text(const DeliveryWish& wish);
// As SUBACK says it. `history`: so many values of each topic come first.
std::string granted_text(broker::Mode mode, const broker::Shape* shape, std::uint32_t history = 0);

}  // namespace millrace::server
