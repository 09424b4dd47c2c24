// Topic names and topic filters: validation and matching. Pure, no allocation; any thread. Source:
// MQTT 5.0 section 4.7 and 4.8.2 (3.1.1: 4.7); the prefixes `$latest/` and `$history/` are Millrace's.
//
// matches, covers and overlaps expect valid arguments, without one of these prefixes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "protocol/reason_code.hpp"

namespace millrace::protocol {

constexpr std::size_t topic_bytes_max = 65'535;
constexpr std::size_t levels_unlimited = std::numeric_limits<std::size_t>::max();

// "a/b" and "/" have two levels.
[[nodiscard]] std::size_t level_count(std::string_view topic) noexcept;

// UTF-8, 1 to 65,535 bytes, no wildcards, at most `levels_max` levels.
[[nodiscard]] bool valid_topic_name(std::string_view topic,
                                    std::size_t levels_max = levels_unlimited) noexcept;

// UTF-8, 1 to 65,535 bytes, '#' alone on the last level, '+' alone on its level. The prefixes are
// ordinary levels here: see parse_filter.
[[nodiscard]] bool valid_topic_filter(std::string_view filter,
                                      std::size_t levels_max = levels_unlimited) noexcept;

// The parts of a filter of SUBSCRIBE. The views point into the argument.
struct ParsedFilter {
  std::string_view filter;       // the filter without prefixes
  std::string_view share_group;  // empty: not shared
  bool latest = false;           // `$latest/<filter>`
  std::string_view options;      // `$latest;<options>/<filter>`; what they may be is the server's
  std::uint32_t history = 0;     // `$history/<n>/<filter>`; 0: without that prefix

  [[nodiscard]] bool shared() const noexcept { return !share_group.empty(); }
};

// `$share/group/filter` [MQTT-4.8.2-1], [MQTT-4.8.2-2]; `$latest/filter`, `$latest;options/filter`;
// `$history/n/filter`, of which n is a whole number above 0. TopicFilterInvalid: a malformed filter
// or prefix, more than `levels_max` levels (prefixes not counted), or two prefixes. `$share/` is accepted in MQTT 3 too, since existing 3.1.1
// clients use it.
[[nodiscard]] Result<ParsedFilter> parse_filter(std::string_view filter,
                                                std::size_t levels_max = levels_unlimited) noexcept;

// Whether a filter of SUBSCRIBE begins with one of these prefixes, or is one without what follows.
[[nodiscard]] bool has_prefix(std::string_view filter) noexcept;

// `$latest`, `$latest/...` or `$latest;...`: names to which no client may publish.
[[nodiscard]] bool is_latest_topic(std::string_view topic) noexcept;

// `$history` or below it: the same.
[[nodiscard]] bool is_history_topic(std::string_view topic) noexcept;

// `$SYS` or below it.
[[nodiscard]] bool is_sys_topic(std::string_view topic) noexcept;

// A name under `$SYS`, `$share`, `$latest` or `$history`: reserved for the server, clients must not publish
// there.
[[nodiscard]] bool is_reserved_topic(std::string_view topic) noexcept;

// Whether `filter` matches `topic`. A filter that starts with a wildcard matches no topic that
// starts with '$'. [MQTT-4.7.2-1]
[[nodiscard]] bool matches(std::string_view filter, std::string_view topic) noexcept;

// Whether `wide` matches every topic that `narrow` matches.
[[nodiscard]] bool covers(std::string_view wide, std::string_view narrow) noexcept;

// Whether there is a topic that both match.
[[nodiscard]] bool overlaps(std::string_view a, std::string_view b) noexcept;

}  // namespace millrace::protocol
