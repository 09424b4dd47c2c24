#include "core/broker/topic_hash.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <vector>

namespace millrace::broker {
namespace {

TEST(TopicHash, SeesEveryByteOfEveryLength) {
  for (std::size_t length = 1; length <= 70; ++length) {
    const std::string base(length, 'a');
    std::set<std::uint64_t> seen = {topic_hash(base)};
    for (std::size_t at = 0; at < length; ++at) {
      for (const char c : {'b', 'c', '\xC3'}) {
        std::string changed = base;
        changed[at] = c;
        EXPECT_TRUE(seen.insert(topic_hash(changed)).second) << length << " at " << at;
      }
    }
  }
}

TEST(TopicHash, KeepsApartAMillionTopicsInAllItsBits) {
  // 2^20 names and 64 bits: not one collision is expected in the whole, and in 20 bits of it as
  // many as chance has (each of 2^20 places stays empty with probability 1/e).
  std::vector<std::uint64_t> whole;
  std::vector<bool> low(1u << 20);
  std::vector<bool> high(1u << 20);
  for (unsigned i = 0; i < 1u << 20; ++i) {
    const std::string topic =
        "site/" + std::to_string(i % 97) + "/device/" + std::to_string(i) + "/value";
    const std::uint64_t hash = topic_hash(topic);
    whole.push_back(hash);
    low[hash & 0xFFFFF] = true;
    high[hash >> 44] = true;
  }
  std::sort(whole.begin(), whole.end());
  EXPECT_EQ(std::adjacent_find(whole.begin(), whole.end()), whole.end());
  for (const auto& places : {low, high}) {
    const auto used = static_cast<double>(std::count(places.begin(), places.end(), true));
    EXPECT_NEAR(used / (1u << 20), 0.632, 0.003);
  }
}

TEST(TopicHash, FlipsHalfOfItsBitsWhenOneBitOfTheTopicFlips) {
  double flipped = 0;
  unsigned trials = 0;
  for (std::size_t length = 1; length <= 40; ++length) {
    std::string topic;
    for (std::size_t i = 0; i < length; ++i) topic.push_back(static_cast<char>('a' + i % 26));
    const std::uint64_t before = topic_hash(topic);
    for (std::size_t bit = 0; bit < 8 * length; ++bit) {
      std::string other = topic;
      other[bit / 8] = static_cast<char>(other[bit / 8] ^ 1 << bit % 8);
      flipped += __builtin_popcountll(before ^ topic_hash(other));
      ++trials;
    }
  }
  EXPECT_NEAR(flipped / trials, 32.0, 0.5);
}

TEST(TopicHash, IsTheSameForTheSameNameAtAnyAddress) {
  const std::string name = "sensors/hall/7/temperature";
  for (std::size_t shift = 0; shift < 16; ++shift) {
    const std::string moved = std::string(shift, '-') + name;
    EXPECT_EQ(topic_hash(std::string_view(moved).substr(shift)), topic_hash(name));
  }
  EXPECT_EQ(topic_hash(""), topic_hash(std::string_view(name).substr(0, 0)));
}

// Without a key whoever reads the code can write names whose second eight bytes make one factor 0:
// then the first eight do not count.
TEST(TopicHash, AKeyTakesApartWhatWasChosenToCollide) {
  const std::uint64_t state = 32u * 0x6A09'E667'F3BC'C909u ^ 0x3C6E'F372'FE94'F82B;
  std::string second(sizeof state, '\0');
  std::memcpy(second.data(), &state, sizeof state);
  std::vector<std::string> names;
  for (char c = 'a'; c <= 'z'; ++c)
    names.push_back(std::string(8, c) + second + "the other half!!");
  const auto distinct = [&] {
    std::set<std::uint64_t> hashes;
    for (const std::string& name : names) hashes.insert(topic_hash(name));
    return hashes.size();
  };
  EXPECT_EQ(distinct(), 1u);
  for (const std::uint64_t key : {std::uint64_t{1}, std::uint64_t{0x9E37'79B9'7F4A'7C15}}) {
    set_topic_hash_key(key);
    EXPECT_EQ(distinct(), names.size());
  }
  set_topic_hash_key(0);
}

}  // namespace
}  // namespace millrace::broker
