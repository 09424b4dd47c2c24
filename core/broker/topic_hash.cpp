#include "core/broker/topic_hash.hpp"

#include <bit>
#include <cstring>

namespace millrace::broker {

namespace {

// Odd, about half of their bits set, no pattern: the fractions of the square roots of 2, 3 and 5.
constexpr std::uint64_t salt_length = 0x6A09'E667'F3BC'C909;
constexpr std::uint64_t salt_left = 0xBB67'AE85'84CA'A73B;
constexpr std::uint64_t salt_right = 0x3C6E'F372'FE94'F82B;

// Written once, before there are threads.
std::uint64_t hash_key = 0;

std::uint64_t folded_product(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

template <class Word>
std::uint64_t load(const char* at) noexcept {
  Word word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

}  // namespace

void set_topic_hash_key(std::uint64_t key) noexcept {
  hash_key = key;
}

std::uint64_t topic_hash(std::string_view topic) noexcept {
  const char* at = topic.data();
  const std::size_t count = topic.size();
  // Both factors are keyed: where one is 0 the other is lost, and with it what it was made of.
  const std::uint64_t key_left = std::rotl(hash_key, 32) ^ salt_left;
  std::uint64_t state = count * salt_length ^ salt_right ^ hash_key;
  std::uint64_t left = 0;
  std::uint64_t right = 0;
  if (count > 16) [[unlikely]] {
    const char* const last = at + count - 16;
    for (; at < last; at += 16) {
      state =
          folded_product(load<std::uint64_t>(at) ^ key_left, load<std::uint64_t>(at + 8) ^ state);
    }
    at = last;  // overlaps what was mixed in already; its bytes count once more, which does no harm
  }
  if (count >= 8) {
    left = load<std::uint64_t>(at);
    right = load<std::uint64_t>(topic.data() + count - 8);
  } else if (count >= 4) {
    left = load<std::uint32_t>(at);
    right = load<std::uint32_t>(at + count - 4);
  } else if (count > 0) {
    left = load<std::uint8_t>(at) << 16 | load<std::uint8_t>(at + count / 2) << 8 |
           load<std::uint8_t>(at + count - 1);
  }
  const std::uint64_t mixed = folded_product(left ^ key_left, right ^ state);
  return folded_product(mixed ^ salt_right, state ^ key_left);
}

}  // namespace millrace::broker
