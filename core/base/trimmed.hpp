// trimmed(): a text without the white space around it.
//
// Threads: pure.
#pragma once

#include <string_view>

namespace millrace::base {

constexpr std::string_view trimmed(std::string_view text, std::string_view blanks = " \t") {
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

}  // namespace millrace::base
