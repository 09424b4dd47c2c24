#include "server/upstream/nats_subject.hpp"

#include <optional>

#include "protocol/topic.hpp"

namespace millrace::server {

namespace {

constexpr std::string_view empty_level = "/";
constexpr std::string_view hex_digits = "0123456789ABCDEF";

bool is_escaped(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte <= ' ' || byte == 0x7F || c == '%' || c == '*' || c == '>';
}

// One level of a topic, as one token of a subject.
void put_level(std::string_view level, std::string& subject) {
  if (level.empty()) subject += empty_level;
  for (const char c : level) {
    if (c == '.') {
      subject += "//";
    } else if (is_escaped(c)) {
      const auto byte = static_cast<unsigned char>(c);
      subject += '%';
      subject += hex_digits[byte >> 4];
      subject += hex_digits[byte & 15];
    } else {
      subject += c;
    }
  }
}

// The character that the three at `text`'s begin stand for.
std::optional<char> escape_at(std::string_view text) {
  if (text.size() < 3 || text[0] != '%') return std::nullopt;
  const auto high = hex_digits.find(text[1]);
  const auto low = hex_digits.find(text[2]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  const char c = static_cast<char>(16 * high + low);
  return is_escaped(c) ? std::optional(c) : std::nullopt;
}

// False: no level is called so.
bool put_token(std::string_view token, std::string& topic) {
  if (token.empty()) return false;
  if (token == empty_level) return true;
  for (std::size_t i = 0; i < token.size(); ++i) {
    if (token[i] == '/') {
      if (i + 1 == token.size() || token[i + 1] != '/') return false;
      topic += '.';
      ++i;
    } else if (const auto c = escape_at(token.substr(i))) {
      topic += *c;
      i += 2;
    } else {
      topic += token[i];
    }
  }
  return true;
}

// Calls `each` with every part of `text` between separators.
template <class Each>
void for_parts(std::string_view text, char separator, Each each) {
  for (;;) {
    const auto end = text.find(separator);
    each(text.substr(0, end));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

NatsName to_subject(std::string_view topic, std::string& subject) {
  if (topic.starts_with('$')) return NatsName::reserved;
  if (topic.size() > subject_bytes_max) return NatsName::too_long;  // it only becomes longer
  std::string made;
  made.reserve(topic.size() + 16);
  for_parts(topic, '/', [&](std::string_view level) {
    if (!made.empty()) made += '.';
    put_level(level, made);
  });
  if (made.size() > subject_bytes_max) return NatsName::too_long;
  subject = std::move(made);
  return NatsName::mapped;
}

NatsName to_topic(std::string_view subject, std::string& topic) {
  if (subject.starts_with('$')) return NatsName::reserved;
  std::string made;
  made.reserve(subject.size());
  bool is_first = true, is_mapped = true;
  for_parts(subject, '.', [&](std::string_view token) {
    if (!is_first) made += '/';
    is_first = false;
    is_mapped = is_mapped && put_token(token, made);
  });
  if (!is_mapped || !protocol::valid_topic_name(made)) return NatsName::no_topic;
  topic = std::move(made);
  return NatsName::mapped;
}

std::vector<std::string> subjects_of(std::string_view filter) {
  if (filter.starts_with('$')) return {};
  std::string subject, parent;
  bool has_rest = false;
  for_parts(filter, '/', [&](std::string_view level) {
    if (level == "#") {
      has_rest = true;
      parent = subject;
    }
    if (!subject.empty()) subject += '.';
    if (level == "#") {
      subject += '>';
    } else if (level == "+") {
      subject += '*';
    } else {
      put_level(level, subject);
    }
  });
  if (subject.size() > subject_bytes_max) return {};
  std::vector<std::string> subjects;
  // `/#` covers no topic that is above it: it would be the empty one.
  if (has_rest && !parent.empty() && parent != empty_level) subjects.push_back(std::move(parent));
  subjects.push_back(std::move(subject));
  return subjects;
}

}  // namespace millrace::server
