#include "core/broker/change_filter.hpp"

#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <system_error>

#include "core/base/trimmed.hpp"
#include "core/broker/json_field.hpp"
#include "core/broker/topic_hash.hpp"

namespace millrace::broker {

namespace {

// A field is not looked for in more than this, for each reader has the processor look.
constexpr std::size_t searched_bytes_max = 64 * 1024;

// Also as a JSON string of one.
std::optional<double> number_of(std::string_view text) {
  text = base::trimmed(text, " \t\r\n");
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = text.substr(1, text.size() - 2);
  }
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return std::isfinite(number) ? std::optional(number) : std::nullopt;
}

}  // namespace

ComparedValue compared_value(const ShapeFields& shape, std::span<const std::uint8_t> payload) {
  std::string_view text(reinterpret_cast<const char*>(payload.data()), payload.size());
  if (!shape.field.empty() && text.size() <= searched_bytes_max) {
    text = json_field(text, shape.field).value_or(text);
  }
  ComparedValue value;
  if (shape.changes != Changes::unequal) {
    if (const auto number = number_of(text)) {
      value.number = *number;
      value.is_number = true;
      return value;
    }
  }
  value.hash = topic_hash(text);
  return value;
}

bool is_change(const ShapeFields& shape, const ComparedValue& sent, const ComparedValue& now) {
  if (sent.is_number != now.is_number) return true;
  if (!now.is_number) return sent.hash != now.hash;
  if (sent.number == now.number) return false;
  double least = shape.delta;
  if (shape.changes == Changes::by_percent) least *= std::abs(sent.number) / 100;
  // From 20.3 to 20.8 is half a degree, though not quite in binary.
  constexpr double nearly = 1 - 1e-9;
  return std::abs(now.number - sent.number) >= nearly * least;
}

}  // namespace millrace::broker
