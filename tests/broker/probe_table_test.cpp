#include "core/broker/probe_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

namespace millrace::broker {
namespace {

using Table = ProbeTable<std::uint32_t>;

std::uint32_t find(const Table& table, std::uint32_t wanted, auto&& hash_of) {
  return table.find(hash_of(wanted), [&](std::uint32_t slot) { return slot == wanted; });
}

std::multiset<std::uint32_t> contents(const Table& table) {
  std::multiset<std::uint32_t> all;
  table.for_each([&](std::uint32_t slot) { all.insert(slot); });
  return all;
}

TEST(ProbeTable, IsEmptyBeforeItsFirstUse) {
  const Table table;
  EXPECT_EQ(table.size(), 0u);
  EXPECT_TRUE(contents(table).empty());
  EXPECT_EQ(find(table, 1, [](std::uint32_t) { return 0; }), 0u);
}

TEST(ProbeTable, AsksTheOwnerWhichOfOneHashIsMeant) {
  const auto hash_of = [](std::uint32_t) { return std::uint64_t{3}; };
  Table table;
  for (std::uint32_t slot = 1; slot <= 3; ++slot) table.insert(slot, hash_of);
  EXPECT_EQ(table.find(3, [](std::uint32_t slot) { return slot % 2 == 0; }), 2u);
  EXPECT_EQ(table.find(3, [](std::uint32_t slot) { return slot > 3; }), 0u);
}

// Few homes, so that runs are long, overlap and go around the end.
TEST(ProbeTable, LosesThemInEveryOrderWhateverTheirHomes) {
  for (const std::uint64_t homes : {1u, 2u, 3u, 8u}) {
    const auto hash_of = [&](std::uint32_t slot) { return 8 - slot % homes; };
    std::vector<std::uint32_t> order{1, 2, 3, 4, 5, 6};
    do {
      Table table;
      for (std::uint32_t slot = 1; slot <= 6; ++slot) table.insert(slot, hash_of);
      std::multiset<std::uint32_t> expected{1, 2, 3, 4, 5, 6};
      for (const std::uint32_t gone : order) {
        table.erase(gone, hash_of);
        expected.erase(gone);
        ASSERT_EQ(table.size(), expected.size());
        for (std::uint32_t slot = 1; slot <= 6; ++slot) {
          ASSERT_EQ(find(table, slot, hash_of), expected.contains(slot) ? slot : 0);
        }
      }
    } while (std::ranges::next_permutation(order).found);
  }
}

TEST(ProbeTable, AgreesWithASetThroughRandomChanges) {
  const auto hash_of = [](std::uint32_t slot) { return slot * 0x9E3779B97F4A7C15ull >> 40; };
  std::mt19937 random(3);
  Table table;
  std::multiset<std::uint32_t> expected;
  for (int step = 0; step < 20'000; ++step) {
    const std::uint32_t slot = 1 + random() % 500;
    if (!expected.contains(slot)) {
      table.insert(slot, hash_of);
      expected.insert(slot);
    } else {
      table.erase(slot, hash_of);
      expected.erase(slot);
    }
    const std::uint32_t asked = 1 + random() % 500;
    ASSERT_EQ(find(table, asked, hash_of), expected.contains(asked) ? asked : 0);
  }
  EXPECT_EQ(contents(table), expected);
}

}  // namespace
}  // namespace millrace::broker
