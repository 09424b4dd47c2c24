#include "protocol/topic.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "protocol/utf8.hpp"

namespace millrace::protocol {
namespace {

constexpr std::string_view share_prefix = "$share/";
constexpr std::string_view latest_prefix = "$latest/";
constexpr std::string_view latest_with_options = "$latest;";
constexpr std::string_view history_prefix = "$history/";

// Iterates over the levels of a name or filter. "a/" has two; the empty string has one, which is
// empty.
class Levels {
 public:
  explicit Levels(std::string_view text) noexcept : rest_(text) {}

  [[nodiscard]] bool done() const noexcept { return done_; }

  std::string_view next() noexcept {
    const std::size_t slash = rest_.find('/');
    const std::string_view level = rest_.substr(0, slash);
    if (slash == std::string_view::npos) {
      done_ = true;
    } else {
      rest_.remove_prefix(slash + 1);
    }
    return level;
  }

 private:
  std::string_view rest_;
  bool done_ = false;
};

constexpr bool is_or_under(std::string_view root, std::string_view topic) noexcept {
  return topic.starts_with(root) && (topic.size() == root.size() || topic[root.size()] == '/');
}

constexpr bool starts_with_wildcard(std::string_view filter) noexcept {
  return filter.starts_with('#') || filter.starts_with('+');
}

// True if `filter` starts with a wildcard and `other` with '$': these never match. [MQTT-4.7.2-1]
constexpr bool kept_apart(std::string_view filter, std::string_view other) noexcept {
  return other.starts_with('$') && starts_with_wildcard(filter);
}

bool valid_length_and_text(std::string_view text) noexcept {
  // At least one character [MQTT-4.7.3-1], no U+0000 [MQTT-4.7.3-2], at most 65,535 [MQTT-4.7.3-3].
  return !text.empty() && text.size() <= topic_bytes_max && valid_utf8(text);
}

bool wildcards_in_place(std::string_view filter) noexcept {
  for (std::size_t i = 0; i < filter.size(); ++i) {
    const char c = filter[i];
    if (c != '+' && c != '#') continue;
    // A wildcard occupies a whole level [MQTT-4.7.1-2] (3.1.1: -3), and '#' is the last level
    // [MQTT-4.7.1-1] (3.1.1: -2).
    if (i != 0 && filter[i - 1] != '/') return false;
    const bool last = i + 1 == filter.size();
    if (c == '#' ? !last : !last && filter[i + 1] != '/') return false;
  }
  return true;
}

// `<n>/<filter>`, as it stands behind the prefix. False: it is something else.
bool take_history(std::string_view text, ParsedFilter& parsed) noexcept {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  const char* const end = text.data() + slash;
  const auto [stopped, error] = std::from_chars(text.data(), end, parsed.history);
  if (error != std::errc() || stopped != end || parsed.history == 0) return false;
  parsed.filter = text.substr(slash + 1);
  return true;
}

}  // namespace

std::size_t level_count(std::string_view topic) noexcept {
  return 1 + static_cast<std::size_t>(std::count(topic.begin(), topic.end(), '/'));
}

bool valid_topic_name(std::string_view topic, std::size_t levels_max) noexcept {
  return !topic.empty() && topic.size() <= topic_bytes_max &&
         check_topic_bytes(topic) == TopicBytes::valid && level_count(topic) <= levels_max;
}

bool valid_topic_filter(std::string_view filter, std::size_t levels_max) noexcept {
  return valid_length_and_text(filter) && wildcards_in_place(filter) &&
         level_count(filter) <= levels_max;
}

Result<ParsedFilter> parse_filter(std::string_view filter, std::size_t levels_max) noexcept {
  ParsedFilter parsed;
  parsed.filter = filter;
  if (filter == "$share" || filter == "$latest" || filter == "$history") {
    return ReasonCode::topic_filter_invalid;
  }
  if (filter.starts_with(share_prefix)) {
    // A group of at least one character, none of them a wildcard, and a filter after it.
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    filter.remove_prefix(share_prefix.size());
    const std::size_t slash = filter.find('/');
    if (slash == 0 || slash == std::string_view::npos) return ReasonCode::topic_filter_invalid;
    parsed.share_group = filter.substr(0, slash);
    parsed.filter = filter.substr(slash + 1);
    if (!valid_utf8(parsed.share_group) ||
        parsed.share_group.find_first_of("+#") != std::string_view::npos) {
      return ReasonCode::topic_filter_invalid;
    }
  } else if (filter.starts_with(latest_prefix)) {
    parsed.latest = true;
    parsed.filter = filter.substr(latest_prefix.size());
  } else if (filter.starts_with(latest_with_options)) {
    filter.remove_prefix(latest_with_options.size());
    const std::size_t slash = filter.find('/');
    if (slash == std::string_view::npos) return ReasonCode::topic_filter_invalid;
    parsed.latest = true;
    parsed.options = filter.substr(0, slash);
    parsed.filter = filter.substr(slash + 1);
    if (parsed.options.empty() || !valid_utf8(parsed.options) ||
        parsed.options.find_first_of("+#") != std::string_view::npos) {
      return ReasonCode::topic_filter_invalid;
    }
  } else if (filter.starts_with(history_prefix)) {
    if (!take_history(filter.substr(history_prefix.size()), parsed)) {
      return ReasonCode::topic_filter_invalid;
    }
  }
  const bool has_one = parsed.latest || parsed.shared() || parsed.history > 0;
  if (has_one && has_prefix(parsed.filter)) return ReasonCode::topic_filter_invalid;
  if (!valid_topic_filter(parsed.filter, levels_max)) return ReasonCode::topic_filter_invalid;
  return parsed;
}

bool has_prefix(std::string_view filter) noexcept {
  return is_or_under("$share", filter) || is_latest_topic(filter) || is_history_topic(filter);
}

bool is_latest_topic(std::string_view topic) noexcept {
  return is_or_under("$latest", topic) || topic.starts_with(latest_with_options);
}

bool is_history_topic(std::string_view topic) noexcept {
  return is_or_under("$history", topic);
}

bool is_sys_topic(std::string_view topic) noexcept {
  return is_or_under("$SYS", topic);
}

bool is_reserved_topic(std::string_view topic) noexcept {
  return topic.starts_with('$') && (is_sys_topic(topic) || has_prefix(topic));
}

bool matches(std::string_view filter, std::string_view topic) noexcept {
  if (kept_apart(filter, topic)) return false;
  Levels wanted(filter);
  Levels given(topic);
  while (!wanted.done() && !given.done()) {
    const std::string_view level = wanted.next();
    if (level == "#") return true;
    if (const std::string_view name = given.next(); level != "+" && level != name) return false;
  }
  // "a/#" matches "a" itself too.
  return given.done() && (wanted.done() || wanted.next() == "#");
}

bool covers(std::string_view wide, std::string_view narrow) noexcept {
  if (kept_apart(wide, narrow)) return false;
  // "+/#" is equivalent to "#", since every topic has at least one level.
  if (wide == "+/#") return true;
  Levels outer(wide);
  Levels inner(narrow);
  while (!outer.done()) {
    const std::string_view level = outer.next();
    if (level == "#") return true;
    if (inner.done()) return false;
    const std::string_view name = inner.next();
    if (name == "#") return false;
    if (level != "+" && level != name) return false;
  }
  return inner.done();
}

bool overlaps(std::string_view a, std::string_view b) noexcept {
  if (kept_apart(a, b) || kept_apart(b, a)) return false;
  Levels left(a);
  Levels right(b);
  while (!left.done() && !right.done()) {
    const std::string_view x = left.next();
    const std::string_view y = right.next();
    if (x == "#" || y == "#") return true;
    if (x != "+" && y != "+" && x != y) return false;
  }
  if (!left.done()) return left.next() == "#";
  return right.done() || right.next() == "#";
}

}  // namespace millrace::protocol
