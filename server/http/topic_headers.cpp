#include "server/http/topic_headers.hpp"

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <cctype>
#include <limits>
#include <string>
#include "core/base/trimmed.hpp"

namespace millrace::server {

namespace {

constexpr std::size_t media_type_bytes_max = 255;

bool is_token(std::string_view text) {
  constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return (c < 0x80 && std::isalnum(c)) || marks.find(static_cast<char>(c)) != marks.npos;
  });
}

// Calls visit(part) for each part of a list, not splitting inside quotes; stops when it is true.
template <typename Visit>
bool any_part(std::string_view list, char separator, Visit&& visit) {
  bool quoted = false;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= list.size(); ++i) {
    if (i < list.size()) {
      if (list[i] == '"') quoted = !quoted;
      if (quoted || list[i] != separator) continue;
    }
    const std::string_view part = base::trimmed(list.substr(begin, i - begin));
    begin = i + 1;
    if (!part.empty() && visit(part)) return true;
  }
  return false;
}

// The same over all header lines of that name.
template <typename Visit>
bool any_header_part(const HttpRequest& request, std::string_view name, Visit&& visit) {
  return std::any_of(request.headers.begin(), request.headers.end(), [&](const auto& header) {
    return header.first == name && any_part(header.second, ',', visit);
  });
}

std::optional<std::uint32_t> to_seconds(std::string_view text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = text.substr(1, text.size() - 2);
  }
  if (text.empty()) return std::nullopt;
  std::uint64_t seconds = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    seconds = std::min<std::uint64_t>(seconds * 10 + static_cast<std::uint64_t>(c - '0'),
                                      std::numeric_limits<std::uint32_t>::max());
  }
  return static_cast<std::uint32_t>(seconds);
}

// Of "wait = 10; unknown=parameter".
std::optional<std::uint32_t> wait_of(std::string_view preference) {
  preference = preference.substr(0, preference.find(';'));
  const auto equals = preference.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  if (!boost::beast::iequals(base::trimmed(preference.substr(0, equals)), "wait"))
    return std::nullopt;
  return to_seconds(base::trimmed(preference.substr(equals + 1)));
}

}  // namespace

bool has_none_match(const HttpRequest& request) {
  return !request.header("if-none-match").empty();
}

bool none_match_names(const HttpRequest& request, std::string_view etag) {
  return any_header_part(request, "if-none-match", [&](std::string_view candidate) {
    if (candidate.starts_with("W/")) candidate.remove_prefix(2);
    return candidate == "*" || candidate == etag;
  });
}

std::optional<std::uint32_t> preferred_wait_seconds(const HttpRequest& request) {
  std::optional<std::uint32_t> seconds;
  any_header_part(request, "prefer", [&](std::string_view preference) {
    seconds = wait_of(preference);
    return seconds.has_value();
  });
  return seconds;
}

bool valid_media_type(std::string_view text) {
  if (text.size() > media_type_bytes_max) return false;
  const auto slash = text.find('/');
  if (slash == std::string_view::npos || !is_token(text.substr(0, slash))) return false;
  const auto end = text.find(';');
  const std::string_view subtype = text.substr(slash + 1, end - slash - 1);
  if (!is_token(base::trimmed(subtype)) || subtype.starts_with(' ')) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace millrace::server
