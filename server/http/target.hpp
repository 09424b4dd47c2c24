// The target of an HTTP request, taken apart. Pure; any thread. Source: RFC 9112 section 3.2,
// RFC 3986.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace millrace::server {

// "%2F" to "/". False: a broken escape, or a zero byte.
bool percent_decode(std::string_view text, bool plus_is_space, std::string& out);

// "/topics/a%2Fb?wait=5" (or the absolute form) to its decoded path and query. False: malformed.
bool parse_http_target(std::string_view target, std::string& path,
                       std::vector<std::pair<std::string, std::string>>& query);

// The number that the whole text is; nothing: it is none, or out of range.
template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return number;
}

}  // namespace millrace::server
