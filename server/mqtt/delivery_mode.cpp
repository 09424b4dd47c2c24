#include "server/mqtt/delivery_mode.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace millrace::server {

using broker::Mode;
using protocol::ReasonCode;

namespace {

std::optional<Mode> mode_of(std::string_view word) {
  if (word == "every") return Mode::every;
  if (word == "adaptive") return Mode::adaptive;
  if (word == "latest") return Mode::latest;
  return std::nullopt;
}

std::optional<double> rate_of(std::string_view word) {
  double hz = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), hz);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  if (!std::isfinite(hz) || hz <= 0) return std::nullopt;
  return hz;
}

const DeliveryRule* first_match(const DeliveryConfig& config, std::string_view filter,
                                std::string_view user, std::string_view listener) {
  for (const DeliveryRule& rule : config.rules) {
    if (rule.filter && !protocol::covers(*rule.filter, filter)) continue;
    if (rule.user && *rule.user != user) continue;
    if (rule.listener && *rule.listener != listener) continue;
    return &rule;
  }
  return nullptr;
}

}  // namespace

std::uint32_t interval_ms_of(double hz) {
  const double ms = std::round(1000.0 / hz);
  constexpr double max = std::numeric_limits<std::uint32_t>::max();
  return static_cast<std::uint32_t>(std::clamp(ms, 1.0, max));
}

protocol::Result<DeliveryWish> parse_delivery_wish(const protocol::Properties& properties) {
  DeliveryWish wish;
  for (const auto& [name, value] : properties.user_properties) {
    if (name == "delivery") {
      wish.mode = mode_of(value);
      if (!wish.mode) return ReasonCode::implementation_specific_error;
    } else if (name == "max-rate-hz") {
      wish.max_rate_hz = rate_of(value);
      if (!wish.max_rate_hz) return ReasonCode::implementation_specific_error;
    }
  }
  return wish;
}

DeliveryChoice choose_delivery(const protocol::ParsedFilter& filter, std::uint8_t qos,
                               const DeliveryWish& wish, const DeliveryConfig& rules,
                               std::string_view user, std::string_view listener) {
  if (filter.shared()) return {};
  std::optional<Mode> mode;
  std::optional<double> max_rate_hz = wish.max_rate_hz;
  const DeliveryRule* rule = first_match(rules, filter.filter, user, listener);
  if (rule != nullptr && rule->max_rate_hz) max_rate_hz = rule->max_rate_hz;
  if (rule != nullptr && rule->mode) {
    mode = rule->mode;
  } else if (filter.latest) {
    mode = Mode::latest;
  } else if (wish.mode) {
    mode = wish.mode;
  } else if (max_rate_hz) {
    mode = Mode::latest;
  } else {
    mode = qos == 0 ? Mode::adaptive : Mode::every;
  }
  DeliveryChoice choice{*mode, 0};
  if (max_rate_hz && choice.mode != Mode::every) choice.interval_ms = interval_ms_of(*max_rate_hz);
  return choice;
}

}  // namespace millrace::server
