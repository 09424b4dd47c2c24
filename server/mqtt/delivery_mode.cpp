#include "server/mqtt/delivery_mode.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace millrace::server {

using broker::Mode;

namespace {

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

// What applies of the two: the rule's where it speaks.
template <class Value>
void override_by(const std::optional<Value>& rules, std::optional<Value>& wished) {
  if (rules) wished = rules;
}

// The wish as the rule leaves it, but for the mode.
DeliveryWish ruled(const DeliveryWish& wish, const DeliveryRule* rule) {
  DeliveryWish wanted = wish;
  if (rule == nullptr) return wanted;
  override_by(rule->max_rate_hz, wanted.max_rate_hz);
  override_by(rule->unchanged, wanted.unchanged);
  override_by(rule->field, wanted.field);
  override_by(rule->heartbeat_s, wanted.heartbeat_s);
  override_by(rule->tick_ms, wanted.tick_ms);
  override_by(rule->history, wanted.history);
  override_by(rule->weight, wanted.weight);
  if (rule->delta || rule->delta_percent) {
    wanted.delta = rule->delta;
    wanted.delta_percent = rule->delta_percent;
    if (!rule->unchanged) wanted.unchanged.reset();
  }
  if (rule->budget_bytes_per_s) {
    constexpr std::uint32_t any = std::numeric_limits<std::uint32_t>::max();
    wanted.budget_bytes_per_s =
        std::min(*rule->budget_bytes_per_s, wanted.budget_bytes_per_s.value_or(any));
  }
  return wanted;
}

// A field, or a least difference, asks for a filter; `send` asks for none.
void set_filter(const DeliveryWish& wanted, broker::ShapeFields& shape) {
  using broker::Changes;
  if (wanted.unchanged == UnchangedValues::send) return;
  if (wanted.delta || wanted.delta_percent) {
    shape.changes = wanted.delta ? Changes::by : Changes::by_percent;
    shape.delta = wanted.delta ? *wanted.delta : *wanted.delta_percent;
  } else if (wanted.unchanged == UnchangedValues::skip || wanted.field) {
    shape.changes = Changes::unequal;
  }
  if (!shape.filters()) return;
  shape.field = wanted.field.value_or("");
  shape.heartbeat_s = wanted.heartbeat_s.value_or(0);
}

}  // namespace

std::uint32_t interval_ms_of(double hz) {
  const double ms = std::round(1000.0 / hz);
  constexpr double max = std::numeric_limits<std::uint32_t>::max();
  return static_cast<std::uint32_t>(std::clamp(ms, 1.0, max));
}

DeliveryChoice choose_delivery(const protocol::ParsedFilter& filter, std::uint8_t qos,
                               const DeliveryWish& wish, const DeliveryConfig& rules,
                               std::string_view user, std::string_view listener) {
  if (filter.shared()) return {};
  const DeliveryRule* rule = first_match(rules, filter.filter, user, listener);
  DeliveryWish asked = wish;
  if (filter.history > 0) asked.history = filter.history;
  const DeliveryWish wanted = ruled(asked, rule);
  DeliveryChoice choice;
  choice.history = wanted.history.value_or(0);
  if (wanted.max_rate_hz) choice.shape.interval_ms = interval_ms_of(*wanted.max_rate_hz);
  set_filter(wanted, choice.shape);
  choice.shape.tick_ms = wanted.tick_ms.value_or(0);
  choice.shape.weight = wanted.weight.value_or(0);
  if (rule != nullptr && rule->mode) {
    choice.mode = *rule->mode;
  } else if (filter.latest) {
    choice.mode = Mode::latest;
  } else if (wanted.mode) {
    choice.mode = *wanted.mode;
  } else if (choice.shape.is_per_topic() || choice.shape.tick_ms != 0) {
    choice.mode = Mode::latest;
  } else {
    choice.mode = qos == 0 ? Mode::adaptive : Mode::every;
  }
  if (choice.mode == Mode::every) choice.shape = {};
  choice.shape.budget_bytes_per_s = wanted.budget_bytes_per_s.value_or(0);
  return choice;
}

}  // namespace millrace::server
