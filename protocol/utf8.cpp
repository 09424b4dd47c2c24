#include "protocol/utf8.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace millrace::protocol {
namespace {

// The fast path skips plain ASCII; special bytes are checked one by one. Special are NUL and all
// bytes from 0x80 on, and for topics also '+' and '#', which differ in one bit: both are '+' once
// 0x08 is set.
enum class Ask : bool { text, topic };

constexpr std::uint64_t every_byte(std::uint8_t value) noexcept {
  return 0x0101'0101'0101'0101u * value;
}

// Not 0 if one of the eight bytes is special. Bytes after a special one may be reported wrongly,
// which does not change that.
template <Ask ask>
std::uint64_t special_in(std::uint64_t word) noexcept {
  const std::uint64_t zero = (word - every_byte(1)) & ~word;
  std::uint64_t found = word | zero;
  if constexpr (ask == Ask::topic) {
    const std::uint64_t plus = (word | every_byte(0x08)) ^ every_byte('+');
    found |= (plus - every_byte(1)) & ~plus;
  }
  return found & every_byte(0x80);
}

template <class Word>
Word load(const char* at) noexcept {
  Word word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

template <Ask ask>
bool special_in_16(const char* at) noexcept {
#ifdef __SSE2__
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  __m128i found = _mm_or_si128(bytes, _mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
  if constexpr (ask == Ask::topic) {
    const __m128i folded = _mm_or_si128(bytes, _mm_set1_epi8(0x08));
    found = _mm_or_si128(found, _mm_cmpeq_epi8(folded, _mm_set1_epi8('+')));
  }
  return _mm_movemask_epi8(found) != 0;
#else
  return (special_in<ask>(load<std::uint64_t>(at)) |
          special_in<ask>(load<std::uint64_t>(at + 8))) != 0;
#endif
}

// Whether all bytes are plain. The last step overlaps the one before it instead of going byte by
// byte.
template <Ask ask>
bool all_plain(const char* at, std::size_t count) noexcept {
  if (count >= 16) {
    const char* const last = at + count - 16;
    for (; at < last; at += 16) {
      if (special_in_16<ask>(at)) return false;
    }
    return !special_in_16<ask>(last);
  }
  if (count >= 8) {
    return (special_in<ask>(load<std::uint64_t>(at)) |
            special_in<ask>(load<std::uint64_t>(at + count - 8))) == 0;
  }
  if (count >= 4) {
    const std::uint64_t front = load<std::uint32_t>(at);
    return special_in<ask>(front | std::uint64_t{load<std::uint32_t>(at + count - 4)} << 32) == 0;
  }
  // Up to three bytes, padded with letters. (`at` may be null if there are none.)
  if (count == 0) return true;
  std::uint64_t word = every_byte('a');
  std::memcpy(&word, at, count);
  return special_in<ask>(word) == 0;
}

constexpr bool continues(unsigned char byte) noexcept {
  return (byte & 0xC0) == 0x80;
}

// The length of the well-formed character of two to four bytes at `at`; 0 if there is none.
// The range of the second byte excludes overlong forms, surrogates and values above U+10FFFF.
std::size_t long_character_bytes(const unsigned char* at, std::size_t left) noexcept {
  const unsigned char lead = at[0];
  if (lead < 0xC2 || lead > 0xF4) return 0;
  if (lead < 0xE0) return left >= 2 && continues(at[1]) ? 2 : 0;
  if (lead < 0xF0) {
    const unsigned char low = lead == 0xE0 ? 0xA0 : 0x80;
    const unsigned char high = lead == 0xED ? 0x9F : 0xBF;  // U+D800 and up are surrogates
    return left >= 3 && at[1] >= low && at[1] <= high && continues(at[2]) ? 3 : 0;
  }
  const unsigned char low = lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xF4 ? 0x8F : 0xBF;
  return left >= 4 && at[1] >= low && at[1] <= high && continues(at[2]) && continues(at[3]) ? 4 : 0;
}

enum class Nul : bool { forbidden, allowed };

bool well_formed(std::string_view text, Nul nul) noexcept {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = at + text.size();
  while (at < end) {
    if (*at < 0x80) {
      if (*at == 0 && nul == Nul::forbidden) return false;
      ++at;
      // Plain text usually comes in long runs: skip 16 bytes at a time.
      while (end - at >= 16 && !special_in_16<Ask::text>(reinterpret_cast<const char*>(at))) {
        at += 16;
      }
      continue;
    }
    const std::size_t bytes = long_character_bytes(at, static_cast<std::size_t>(end - at));
    if (bytes == 0) return false;
    at += bytes;
  }
  return true;
}

}  // namespace

bool valid_utf8(std::string_view text) noexcept {
  return all_plain<Ask::text>(text.data(), text.size()) || well_formed(text, Nul::forbidden);
}

bool valid_utf8_payload(std::string_view payload) noexcept {
  return all_plain<Ask::text>(payload.data(), payload.size()) || well_formed(payload, Nul::allowed);
}

TopicBytes check_topic_bytes(std::string_view topic) noexcept {
  if (all_plain<Ask::topic>(topic.data(), topic.size())) [[likely]]
    return TopicBytes::valid;
  if (!well_formed(topic, Nul::forbidden)) return TopicBytes::bad_utf8;
  return topic.find_first_of("+#") == std::string_view::npos ? TopicBytes::valid
                                                             : TopicBytes::has_wildcard;
}

}  // namespace millrace::protocol
