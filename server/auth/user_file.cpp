#include "server/auth/user_file.hpp"

#include <algorithm>

namespace millrace::server {

namespace {

std::string_view without_line_end(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool is_line_of(std::string_view line, std::string_view user) {
  return line.size() > user.size() && line.starts_with(user) && line[user.size()] == ':';
}

}  // namespace

std::string_view take_part(std::string_view& rest, char separator) {
  const auto end = rest.find(separator);
  const std::string_view part = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return part;
}

void for_each_user(
    std::string_view text, std::vector<std::string>& faults,
    const std::function<std::string(std::string_view user, std::string_view secret)>& take) {
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = without_line_end(take_part(text, '\n'));
    if (line.empty() || line.front() == '#') continue;
    const auto colon = line.find(':');
    const bool has_user = colon != std::string_view::npos && colon > 0;
    const std::string fault =
        has_user ? take(line.substr(0, colon), line.substr(colon + 1)) : "must be user:hash";
    if (!fault.empty()) faults.push_back("line " + std::to_string(number) + ": " + fault);
  }
}

std::string user_stands_twice(std::string_view user) {
  return "the user \"" + std::string(user) + "\" stands twice";
}

std::string user_name_fault(std::string_view user) {
  if (user.empty()) return "is empty";
  if (user.size() > user_name_bytes_max) return "is longer than 65,535 bytes";
  if (user.front() == '#') return "must not begin with \"#\"";
  if (user.find(':') != std::string_view::npos) return "must not contain \":\"";
  const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  if (std::any_of(user.begin(), user.end(), is_control)) return "must not contain control bytes";
  return "";
}

std::string with_user(std::string_view text, std::string_view user, std::string_view secret) {
  const std::string line = std::string(user).append(":").append(secret).append("\n");
  std::string edited;
  bool replaced = false;
  while (!text.empty()) {
    const std::string_view old = take_part(text, '\n');
    if (!is_line_of(old, user)) {
      edited.append(old).append("\n");
    } else if (!replaced) {
      edited += line;
      replaced = true;
    }
  }
  return replaced ? edited : edited + line;
}

bool without_user(std::string& text, std::string_view user) {
  std::string edited;
  bool found = false;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = take_part(rest, '\n');
    if (is_line_of(line, user)) {
      found = true;
    } else {
      edited.append(line).append("\n");
    }
  }
  text = std::move(edited);
  return found;
}

}  // namespace millrace::server
