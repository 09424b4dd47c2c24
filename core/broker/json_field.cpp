// Source: RFC 8259 (JSON), RFC 6901 (JSON Pointer).
#include "core/broker/json_field.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace millrace::broker {

namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
// What stands after a number, or a word.
bool ends_word(char c) {
  return is_space(c) || c == ',' || c == '}' || c == ']' || c == ':';
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool at_end() const { return at_ == text_.size(); }
  std::size_t at() const { return at_; }
  char next() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (next() != c) return false;
    ++at_;
    return true;
  }
  // Past a string, of which the opening quote is next; what is between the quotes. False: no end.
  bool string(std::string_view& content) {
    const std::size_t begin = ++at_;
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\\') {
        if (++at_ == text_.size()) return false;
      } else if (text_[at_] == '"') {
        content = text_.substr(begin, at_++ - begin);
        return true;
      }
    }
    return false;
  }
  // Past a value, whatever is in it. False: the text ends before.
  bool skip() {
    std::size_t depth = 0;
    do {
      const char c = next();
      std::string_view ignored;
      if (c == '"') {
        if (!string(ignored)) return false;
      } else if (c == '{' || c == '[') {
        ++at_;
        ++depth;
      } else if (c == '}' || c == ']') {
        if (depth == 0) return false;  // there is no value
        ++at_;
        --depth;
      } else if (c == ',' || c == ':') {
        if (depth == 0) return false;
        ++at_;
      } else {
        const std::size_t begin = at_;
        while (at_ < text_.size() && !ends_word(text_[at_])) ++at_;
        if (at_ == begin) return false;
      }
    } while (depth > 0);
    return true;
  }
  std::string_view from(std::size_t begin) const { return text_.substr(begin, at_ - begin); }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

// Is a name of the text what a token of the pointer says? In it `~1` stands for '/', `~0` for '~'.
bool names(std::string_view token, std::string_view name) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < token.size(); ++i, ++at) {
    char wanted = token[i];
    if (wanted == '~' && i + 1 < token.size()) wanted = token[++i] == '1' ? '/' : '~';
    if (at == name.size() || name[at] != wanted) return false;
  }
  return at == name.size();
}

// The place that a token says in an array; nothing: it is no place.
std::optional<std::size_t> place_of(std::string_view token) {
  constexpr std::size_t digits_max = 9;
  if (token.empty() || token.size() > digits_max) return std::nullopt;
  if (token.size() > 1 && token.front() == '0') return std::nullopt;
  std::size_t place = 0;
  for (const char c : token) {
    if (c < '0' || c > '9') return std::nullopt;
    place = 10 * place + static_cast<std::size_t>(c - '0');
  }
  return place;
}

// To the value of the member of that name; false: there is none.
bool enter_object(Scanner& scanner, std::string_view token) {
  if (!scanner.take('{')) return false;
  do {
    if (scanner.next() != '"') return false;
    std::string_view name;
    if (!scanner.string(name) || !scanner.take(':')) return false;
    if (names(token, name)) return true;
    if (!scanner.skip()) return false;
  } while (scanner.take(','));
  return false;
}

bool enter_array(Scanner& scanner, std::string_view token) {
  const auto place = place_of(token);
  if (!place || !scanner.take('[')) return false;
  for (std::size_t i = 0; i < *place; ++i) {
    if (!scanner.skip() || !scanner.take(',')) return false;
  }
  return true;
}

}  // namespace

bool is_json_pointer(std::string_view pointer) noexcept {
  if (!pointer.empty() && pointer.front() != '/') return false;
  for (std::size_t i = 0; i < pointer.size(); ++i) {
    if (pointer[i] != '~') continue;
    if (i + 1 == pointer.size() || (pointer[i + 1] != '0' && pointer[i + 1] != '1')) return false;
  }
  return true;
}

std::optional<std::string_view> json_field(std::string_view text,
                                           std::string_view pointer) noexcept {
  Scanner scanner(text);
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const std::size_t end = std::min(pointer.find('/'), pointer.size());
    const std::string_view token = pointer.substr(0, end);
    pointer.remove_prefix(end);
    const bool entered =
        scanner.next() == '[' ? enter_array(scanner, token) : enter_object(scanner, token);
    if (!entered) return std::nullopt;
  }
  scanner.next();
  const std::size_t begin = scanner.at();
  if (!scanner.skip()) return std::nullopt;
  return scanner.from(begin);
}

}  // namespace millrace::broker
