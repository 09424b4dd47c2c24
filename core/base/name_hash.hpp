// A fast 64-bit hash of names, of which any subset of bits may be used, and a fast comparison of
// two names.
//
// Words of the name are folded by 64 x 64 -> 128 bit multiplication (the idea of wyhash and mum).
// With a seed that peers do not know, it is expensive to construct colliding names; it is not a
// cryptographic hash.
//
// Thread contract: pure functions, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace millrace::base {

namespace detail {

inline std::uint64_t fold(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

template <typename Word>
std::uint64_t word_at(const char* bytes) noexcept {
  Word word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

/// The last 0 to 16 bytes of a name as two words, which overlap if there are fewer than 16. Two
/// ends of the same length have equal words exactly if their bytes are equal.
struct NameEnd {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  NameEnd(const char* bytes, std::size_t count) noexcept {
    if (count >= 8) {
      low = word_at<std::uint64_t>(bytes);
      high = word_at<std::uint64_t>(bytes + count - 8);
    } else if (count >= 4) {
      low = word_at<std::uint32_t>(bytes);
      high = word_at<std::uint32_t>(bytes + count - 4);
    } else if (count > 0) {
      low = word_at<std::uint8_t>(bytes);
      high =
          word_at<std::uint8_t>(bytes + count / 2) << 8 | word_at<std::uint8_t>(bytes + count - 1);
    }
  }
  bool operator==(const NameEnd&) const = default;
};

}  // namespace detail

inline std::uint64_t hash_name(std::string_view name, std::uint64_t seed = 0) noexcept {
  using detail::fold;
  using detail::word_at;
  constexpr std::uint64_t kA = 0x9e3779b97f4a7c15, kB = 0xd6e8feb86659fd93;
  const char* bytes = name.data();
  std::size_t left = name.size();
  std::uint64_t hash = fold(seed ^ kA, kB);  // does not wait for a byte of the name
  for (; left > 16; bytes += 16, left -= 16) {
    hash = fold(word_at<std::uint64_t>(bytes) ^ kA, word_at<std::uint64_t>(bytes + 8) ^ hash);
  }
  const detail::NameEnd end(bytes, left);
  return fold(fold(end.low ^ kB, end.high ^ hash), hash ^ kA ^ name.size());
}

/// Whether two names are equal. Inline in place of memcmp: names are short, and a call costs more.
inline bool same_name(std::string_view one, std::string_view other) noexcept {
  using detail::NameEnd;
  using detail::word_at;
  std::size_t left = one.size();
  if (left != other.size()) return false;
  const char* a = one.data();
  const char* b = other.data();
  for (; left > 16; a += 16, b += 16, left -= 16) {
    if (word_at<std::uint64_t>(a) != word_at<std::uint64_t>(b)) return false;
    if (word_at<std::uint64_t>(a + 8) != word_at<std::uint64_t>(b + 8)) return false;
  }
  return NameEnd(a, left) == NameEnd(b, left);
}

}  // namespace millrace::base
