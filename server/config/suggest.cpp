#include "server/config/suggest.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace millrace::server {

// The optimal string alignment distance, row by row.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last, last(b.size() + 1), current(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = a[i - 1] == b[j - 1];
      current[j] = std::min({last[j] + 1, current[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) current[j] = std::min(current[j], before_last[j - 2] + 1);
    }
    before_last = last;
    last = current;
  }
  return last[b.size()];
}

namespace {

// The last part of a dotted path: people forget the section more often than they misspell.
std::string_view last_part(std::string_view path) {
  const auto dot = path.rfind('.');
  return dot == std::string_view::npos ? path : path.substr(dot + 1);
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  if (!best.empty()) return best;
  for (const std::string& candidate : candidates) {
    if (last_part(candidate) == last_part(word)) return candidate;
  }
  return best;
}

std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string meant = nearest(word, candidates);
  return meant.empty() ? std::string() : "; did you mean \"" + meant + "\"?";
}

std::string size_suggestion(std::string_view text) {
  std::uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc()) return "";
  std::string unit(end, text.data() + text.size());
  std::erase(unit, ' ');
  if (unit.empty()) return "";
  // KB counts by 1,000; K and KiB by 1,024.
  const std::string tail = unit.substr(1);
  if (tail != "" && tail != "B" && tail != "b" && tail != "iB") return "";
  const std::uint64_t base = tail == "" || tail == "iB" ? 1024 : 1000;
  std::uint64_t factor = base;
  switch (unit.front()) {
    case 'G':
    case 'g':
      factor *= base;
      [[fallthrough]];
    case 'M':
    case 'm':
      factor *= base;
      [[fallthrough]];
    case 'K':
    case 'k':
      break;
    default:
      return "";
  }
  if (count > 1'000'000) return "";  // that many units are no size of a key
  return "; did you mean " + std::to_string(count * factor) + "?";
}

}  // namespace millrace::server
