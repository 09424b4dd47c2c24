#include "server/mqtt/delivery_options.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <system_error>

#include "core/broker/json_field.hpp"
#include "protocol/utf8.hpp"
#include "server/config/words.hpp"

namespace millrace::server {

using broker::Mode;

namespace {

// Longer ones are nobody's (a JSON pointer is the longest).
constexpr std::size_t options_bytes_max = 512;

// Of the words that the configuration has for it; nothing: it is none of them.
template <class Enum>
std::optional<Enum> meaning_of(std::string_view word) {
  for (const auto& [name, value] : Words<Enum>::list) {
    if (name == word) return value;
  }
  return std::nullopt;
}

template <class Number>
std::optional<Number> number_of(std::string_view word) {
  Number number{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return number;
}

// Finite, and above 0.
std::optional<double> positive(std::string_view word) {
  const auto number = number_of<double>(word);
  return number && std::isfinite(*number) && *number > 0 ? number : std::nullopt;
}

std::optional<std::uint32_t> positive_whole(std::string_view word) {
  const auto number = number_of<std::uint32_t>(word);
  return number && *number > 0 ? number : std::nullopt;
}

std::optional<std::uint32_t> tick_of(std::string_view word) {
  const auto ms = number_of<std::uint32_t>(word);
  return ms && *ms >= tick_ms_min && *ms <= tick_ms_max ? ms : std::nullopt;
}

std::optional<std::uint32_t> weight_of(std::string_view word) {
  const auto weight = positive_whole(word);
  return weight && *weight <= broker::weight_max ? weight : std::nullopt;
}

struct Option {
  std::string_view name;
  std::string_view values;  // what it may be, for who wrote something else
  bool (*take)(std::string_view value, DeliveryWish& wish);
};

// A number, or one with `%`: what the other would have said goes.
bool take_delta(std::string_view value, DeliveryWish& wish) {
  const bool is_percent = value.ends_with('%');
  const auto number = positive(is_percent ? value.substr(0, value.size() - 1) : value);
  if (!number) return false;
  wish.delta.reset();
  wish.delta_percent.reset();
  (is_percent ? wish.delta_percent : wish.delta) = number;
  return true;
}

std::optional<std::string> pointer_of(std::string_view text) {
  const bool is_good =
      text.size() <= field_bytes_max && broker::is_json_pointer(text) && protocol::valid_utf8(text);
  return is_good ? std::optional<std::string>(text) : std::nullopt;
}

// Takes the value if there is one.
template <class Value, class Wanted>
bool put(const std::optional<Value>& value, std::optional<Wanted>& into) {
  if (value) into = *value;
  return value.has_value();
}

constexpr std::array options{
    Option{"delivery", "every, adaptive or latest",
           [](std::string_view value, DeliveryWish& wish) {
             return put(meaning_of<Mode>(value), wish.mode);
           }},
    Option{"max-rate-hz", "a number above 0",
           [](std::string_view value, DeliveryWish& wish) {
             return put(positive(value), wish.max_rate_hz);
           }},
    Option{"budget-bytes-per-s", "a whole number above 0",
           [](std::string_view value, DeliveryWish& wish) {
             return put(positive_whole(value), wish.budget_bytes_per_s);
           }},
    Option{"unchanged", "skip or send",
           [](std::string_view value, DeliveryWish& wish) {
             return put(meaning_of<UnchangedValues>(value), wish.unchanged);
           }},
    Option{"delta", "a number above 0, or one with %", take_delta},
    Option{"field", "a JSON pointer, of 256 bytes at most",
           [](std::string_view value, DeliveryWish& wish) {
             return put(pointer_of(value), wish.field);
           }},
    Option{"heartbeat-s", "a whole number above 0",
           [](std::string_view value, DeliveryWish& wish) {
             return put(positive_whole(value), wish.heartbeat_s);
           }},
    Option{"tick-ms", "a whole number from 10 to 3600000",
           [](std::string_view value, DeliveryWish& wish) {
             return put(tick_of(value), wish.tick_ms);
           }},
    Option{"history", "a whole number above 0",
           [](std::string_view value, DeliveryWish& wish) {
             return put(positive_whole(value), wish.history);
           }},
    Option{"weight", "a whole number from 1 to 100",
           [](std::string_view value, DeliveryWish& wish) {
             return put(weight_of(value), wish.weight);
           }},
};

const Option* find_option(std::string_view name) {
  const auto found = std::ranges::find(options, name, &Option::name);
  return found == options.end() ? nullptr : &*found;
}

std::string fault_of(const Option& option) {
  return std::string(option.name) + " must be " + std::string(option.values);
}

// `%2F` and the like; nothing: a `%` without two hexadecimal digits.
std::optional<std::string> unescaped(std::string_view text) {
  std::string plain;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      plain += text[at];
      continue;
    }
    unsigned code = 0;
    const char* const digits = text.data() + at + 1;
    if (text.size() - at < 3) return std::nullopt;
    const auto [end, error] = std::from_chars(digits, digits + 2, code, 16);
    if (error != std::errc() || end != digits + 2) return std::nullopt;
    plain += static_cast<char>(code);
    at += 2;
  }
  return plain;
}

// As it may stand in a prefix.
std::string escaped(std::string_view text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string safe;
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code > ' ' && std::string_view("%;/+#").find(c) == std::string_view::npos) {
      safe += c;
    } else {
      safe += {'%', digits[code / 16], digits[code % 16]};
    }
  }
  return safe;
}

// In so few digits that it reads back as the same; without '+', which is a wildcard.
std::string text_of(double number) {
  std::array<char, 32> digits;
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), number);
  std::string text(digits.data(), error == std::errc() ? end : digits.data());
  std::erase(text, '+');
  return text;
}

// What of it would have no effect; empty: nothing.
std::string contradiction_in(const DeliveryWish& wish) {
  if (wish.unchanged != UnchangedValues::send) return {};
  if (wish.delta || wish.delta_percent) return "delta has no effect with unchanged=send";
  return wish.field ? "field has no effect with unchanged=send" : "";
}

template <class Value>
void lay_over(const std::optional<Value>& own, std::optional<Value>& below) {
  if (own) below = own;
}

// What `own` asks for, in place of the same in `below`.
DeliveryWish laid_over(const DeliveryWish& own, DeliveryWish below) {
  const bool has_delta = own.delta || own.delta_percent;
  const bool ends_filter = own.unchanged == UnchangedValues::send;
  const bool begins_one = has_delta || own.field;
  if (has_delta || ends_filter) {
    below.delta.reset();
    below.delta_percent.reset();
  }
  if (ends_filter) below.field.reset();
  if (begins_one && below.unchanged == UnchangedValues::send) below.unchanged.reset();
  lay_over(own.mode, below.mode);
  lay_over(own.max_rate_hz, below.max_rate_hz);
  lay_over(own.budget_bytes_per_s, below.budget_bytes_per_s);
  lay_over(own.unchanged, below.unchanged);
  lay_over(own.delta, below.delta);
  lay_over(own.delta_percent, below.delta_percent);
  lay_over(own.field, below.field);
  lay_over(own.heartbeat_s, below.heartbeat_s);
  lay_over(own.tick_ms, below.tick_ms);
  lay_over(own.history, below.history);
  lay_over(own.weight, below.weight);
  return below;
}

ParsedWish concluded(const DeliveryWish& own, const DeliveryWish& below) {
  std::string fault = contradiction_in(own);
  if (!fault.empty()) return {below, std::move(fault)};
  return {laid_over(own, below), {}};
}

}  // namespace

ParsedWish parse_delivery_wish(const protocol::Properties& properties, const DeliveryWish& wish) {
  DeliveryWish own;
  for (const auto& [name, value] : properties.user_properties) {
    const Option* const option = find_option(name);
    if (option == nullptr || option->take(value, own)) continue;
    return {wish, fault_of(*option)};
  }
  return concluded(own, wish);
}

ParsedWish parse_prefix_options(std::string_view text, const DeliveryWish& wish) {
  DeliveryWish own;
  const auto fault = [&wish](std::string what) { return ParsedWish{wish, std::move(what)}; };
  if (text.size() > options_bytes_max) return fault("the options of the prefix are too long");
  std::array<bool, options.size()> seen{};
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(';'), text.size());
    const std::string_view one = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t equals = std::min(one.find('='), one.size());
    const Option* const option = find_option(one.substr(0, equals));
    if (option == nullptr || option->name == "delivery" || equals == one.size()) {
      return fault("there is no such option of the prefix: " + std::string(one));
    }
    bool& is_seen = seen[static_cast<std::size_t>(option - options.data())];
    if (is_seen) return fault(std::string(option->name) + " is there twice");
    is_seen = true;
    const auto value = unescaped(one.substr(equals + 1));
    if (!value || !option->take(*value, own)) return fault(fault_of(*option));
  }
  return concluded(own, wish);
}

std::string granted_text(Mode mode, const broker::Shape* shape, std::uint32_t history) {
  std::string text = "delivery=";
  text += word_of(mode);
  if (history != 0) text += ";history=" + std::to_string(history);
  if (shape == nullptr) return text;
  if (shape->interval_ms != 0) text += ";max-rate-hz=" + text_of(1000.0 / shape->interval_ms);
  if (shape->budget_bytes_per_s != 0) {
    text += ";budget-bytes-per-s=" + std::to_string(shape->budget_bytes_per_s);
  }
  if (shape->tick_ms != 0) text += ";tick-ms=" + std::to_string(shape->tick_ms);
  if (shape->weight != 0) text += ";weight=" + std::to_string(shape->weight);
  if (!shape->filters()) return text;
  if (shape->changes == broker::Changes::unequal) {
    text += ";unchanged=skip";
  } else {
    text += ";delta=" + text_of(shape->delta);
    if (shape->changes == broker::Changes::by_percent) text += "%25";
  }
  if (!shape->field.empty()) text += ";field=" + escaped(shape->field);
  if (shape->heartbeat_s != 0) text += ";heartbeat-s=" + std::to_string(shape->heartbeat_s);
  return text;
}

std::string wish_text(const DeliveryWish& wish) {
  std::string text;
  const auto add = [&text](std::string_view name, const std::string& value) {
    if (!text.empty()) text += ';';
    text.append(name).append("=").append(value);
  };
  const auto add_whole = [&add](std::string_view name, const std::optional<std::uint32_t>& value) {
    if (value) add(name, std::to_string(*value));
  };
  if (wish.mode) add("delivery", std::string(word_of(*wish.mode)));
  add_whole("history", wish.history);
  if (wish.max_rate_hz) add("max-rate-hz", text_of(*wish.max_rate_hz));
  add_whole("budget-bytes-per-s", wish.budget_bytes_per_s);
  add_whole("tick-ms", wish.tick_ms);
  add_whole("weight", wish.weight);
  if (wish.unchanged) add("unchanged", *wish.unchanged == UnchangedValues::skip ? "skip" : "send");
  if (wish.delta) add("delta", text_of(*wish.delta));
  if (wish.delta_percent) add("delta", text_of(*wish.delta_percent) + "%25");
  if (wish.field) add("field", escaped(*wish.field));
  add_whole("heartbeat-s", wish.heartbeat_s);
  return text;
}

}  // namespace millrace::server
