#include "core/broker/split_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <unordered_map>

namespace millrace::broker {
namespace {

std::uint64_t hashes_asked_for = 0;

struct CountedHash {
  std::size_t operator()(std::uint64_t key) const {
    ++hashes_asked_for;
    return key * 0x9E3779B97F4A7C15ull >> 16;
  }
};
using Table = SplitTable<std::uint64_t, std::uint64_t, CountedHash>;

TEST(SplitTable, HoldsWhatAMapHolds) {
  std::mt19937_64 random(7);
  Table table;
  std::unordered_map<std::uint64_t, std::uint64_t> map;
  for (int phase = 0; phase < 6; ++phase) {
    for (int i = 0; i < 20'000; ++i) {
      const std::uint64_t key = random() % 5000;
      if (random() % 10 < (phase % 2 == 0 ? 7u : 3u)) {
        table.put(key, random() % 100);
        map[key] = *table.find(key);
      } else {
        EXPECT_EQ(table.erase(key), map.erase(key) == 1);
      }
      ASSERT_EQ(table.size(), map.size());
      ASSERT_GE(table.bucket_count(), table.size());
      ASSERT_LE(table.bucket_count(), 2 * table.size() + 2);
    }
    for (std::uint64_t key = 0; key < 5000; ++key) {
      const auto in_map = map.find(key);
      const std::uint64_t* found = table.find(key);
      ASSERT_EQ(found != nullptr, in_map != map.end());
      if (found != nullptr) {
        ASSERT_EQ(*found, in_map->second);
      }
    }
  }
}

TEST(SplitTable, NoCallLooksAtMoreThanAFewElements) {
  Table table;
  std::uint64_t most = 0;
  const auto note = [&](auto&& call) {
    const std::uint64_t before = hashes_asked_for;
    call();
    most = std::max(most, hashes_asked_for - before);
  };
  constexpr std::uint64_t count = 200'000;
  for (std::uint64_t key = 0; key < count; ++key) note([&] { table.put(key, key); });
  for (std::uint64_t key = 0; key < count; ++key) note([&] { EXPECT_TRUE(table.erase(key)); });
  EXPECT_LE(most, 32u);
}

TEST(SplitTable, GivesItsMemoryBackAsItShrinks) {
  Table table;
  for (std::uint64_t key = 0; key < 10'000; ++key) table.put(key, key);
  EXPECT_LE(table.bucket_count(), 10'000u);
  for (std::uint64_t key = 0; key < 9'900; ++key) table.erase(key);
  EXPECT_LE(table.bucket_count(), 400u);
  for (std::uint64_t key = 9'900; key < 10'000; ++key) EXPECT_NE(table.find(key), nullptr);
  table.clear();
  EXPECT_EQ(table.bucket_count(), 0u);
  EXPECT_EQ(table.find(9'950), nullptr);
  table.put(1, 2);
  table.erase(1);
  EXPECT_EQ(table.bucket_count(), 0u);
}

// All in one bucket: still found, and freed without recursion.
TEST(SplitTable, TakesKeysOfOneHash) {
  struct SameHash {
    std::size_t operator()(std::uint64_t) const { return 5; }
  };
  SplitTable<std::uint64_t, int, SameHash> table;
  for (std::uint64_t key = 0; key < 2'000; ++key) table.put(key, 1);
  for (std::uint64_t key = 0; key < 2'000; key += 2) EXPECT_TRUE(table.erase(key));
  for (std::uint64_t key = 0; key < 2'000; ++key)
    EXPECT_EQ(table.find(key) != nullptr, key % 2 == 1);
  SplitTable<std::uint64_t, int, SameHash> other;
  other = std::move(table);
  EXPECT_EQ(other.size(), 1'000u);
}

}  // namespace
}  // namespace millrace::broker
