// A quick 64-bit hash of names, every bit of it usable.
//
// Words of the name are folded by 64 x 64 -> 128 bit multiplication (the idea of wyhash and mum).
// With a seed that peers cannot know, names cannot be made to collide cheaply; it is no
// cryptographic hash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace millrace::latest {

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

}  // namespace detail

inline std::uint64_t hash_name(std::string_view name, std::uint64_t seed = 0) noexcept {
  using detail::fold;
  using detail::word_at;
  constexpr std::uint64_t kA = 0x9e3779b97f4a7c15, kB = 0xd6e8feb86659fd93;
  const char* bytes = name.data();
  std::size_t left = name.size();
  std::uint64_t hash = fold(seed ^ kA, left ^ kB);
  while (left > 16) {
    hash = fold(word_at<std::uint64_t>(bytes) ^ kA, word_at<std::uint64_t>(bytes + 8) ^ hash);
    bytes += 16;
    left -= 16;
  }
  std::uint64_t low = 0, high = 0;  // the last 0 to 16 bytes, overlapping where they must
  if (left >= 8) {
    low = word_at<std::uint64_t>(bytes);
    high = word_at<std::uint64_t>(bytes + left - 8);
  } else if (left >= 4) {
    low = word_at<std::uint32_t>(bytes);
    high = word_at<std::uint32_t>(bytes + left - 4);
  } else if (left > 0) {
    low = word_at<std::uint8_t>(bytes);
    high = word_at<std::uint8_t>(bytes + left / 2) << 8 | word_at<std::uint8_t>(bytes + left - 1);
  }
  return fold(fold(low ^ kB, high ^ hash), hash ^ kA);
}

}  // namespace millrace::latest
