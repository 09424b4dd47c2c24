#include "server/http/target.hpp"

#include <charconv>

namespace millrace::server {

bool percent_decode(std::string_view text, bool plus_is_space, std::string& out) {
  out.clear();
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '+' && plus_is_space) c = ' ';
    if (c == '%') {
      if (text.size() - i < 3) return false;
      unsigned value = 0;
      const char* digits = text.data() + i + 1;
      const auto [end, error] = std::from_chars(digits, digits + 2, value, 16);
      if (error != std::errc() || end != digits + 2) return false;
      c = static_cast<char>(value);
      i += 2;
    }
    if (c == '\0') return false;
    out += c;
  }
  return true;
}

bool parse_http_target(std::string_view target, std::string& path,
                       std::vector<std::pair<std::string, std::string>>& query) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    const auto slash = target.find('/', scheme.size());
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  if (!target.starts_with('/')) return false;
  target = target.substr(0, target.find('#'));
  const auto mark = target.find('?');
  if (!percent_decode(target.substr(0, mark), false, path)) return false;
  std::string_view rest = mark == std::string_view::npos ? "" : target.substr(mark + 1);
  while (!rest.empty()) {
    const auto end = rest.find('&');
    const std::string_view part = rest.substr(0, end);
    rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
    const auto equals = part.find('=');
    std::string name, value;
    if (!percent_decode(part.substr(0, equals), true, name)) return false;
    if (equals != std::string_view::npos && !percent_decode(part.substr(equals + 1), true, value)) {
      return false;
    }
    if (!name.empty()) query.emplace_back(std::move(name), std::move(value));
  }
  return true;
}

}  // namespace millrace::server
