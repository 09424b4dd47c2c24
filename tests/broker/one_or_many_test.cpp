#include "core/broker/one_or_many.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace millrace::broker {
namespace {

using Numbers = std::vector<int>;

Numbers sorted(const OneOrMany<int>& list) {
  Numbers numbers;
  for (const int* item : list.all()) numbers.push_back(*item);
  std::ranges::sort(numbers);
  return numbers;
}

TEST(OneOrMany, TakesOnePointerOfSpace) {
  EXPECT_EQ(sizeof(OneOrMany<int>), sizeof(int*));
}

TEST(OneOrMany, GrowsFromNoneToMany) {
  std::array<int, 4> items{0, 1, 2, 3};
  OneOrMany<int> list;
  EXPECT_TRUE(list.empty());
  EXPECT_TRUE(list.all().empty());
  Numbers expected;
  for (int& item : items) {
    list.push_back(&item);
    expected.push_back(item);
    EXPECT_FALSE(list.empty());
    EXPECT_EQ(sorted(list), expected);
    EXPECT_EQ(list.all().back(), &item) << "in the order of their coming";
  }
}

TEST(OneOrMany, LosesThemInEveryOrder) {
  std::array<int, 4> items{0, 1, 2, 3};
  std::array<int, 4> order{0, 1, 2, 3};
  do {
    OneOrMany<int> list;
    for (int& item : items) list.push_back(&item);
    Numbers expected{0, 1, 2, 3};
    for (const int gone : order) {
      const auto all = list.all();
      const auto found = std::ranges::find(all, &items[static_cast<std::size_t>(gone)]);
      ASSERT_NE(found, all.end());
      list.erase(static_cast<std::size_t>(found - all.begin()));
      std::erase(expected, gone);
      ASSERT_EQ(sorted(list), expected);
    }
    ASSERT_TRUE(list.empty());
    list.push_back(&items[0]);
    ASSERT_EQ(sorted(list), Numbers{0}) << "usable again";
  } while (std::ranges::next_permutation(order).found);
}

TEST(OneOrMany, PutsTheLastWhereOneWent) {
  std::array<int, 3> items{0, 1, 2};
  OneOrMany<int> list;
  for (int& item : items) list.push_back(&item);
  list.erase(0);
  ASSERT_EQ(list.all().size(), 2u);
  EXPECT_EQ(list.all()[0], &items[2]);
  EXPECT_EQ(list.all()[1], &items[1]);
}

TEST(OneOrMany, MovesWithWhatItHolds) {
  std::array<int, 2> items{0, 1};
  OneOrMany<int> many;
  for (int& item : items) many.push_back(&item);
  OneOrMany<int> moved(std::move(many));
  EXPECT_EQ(sorted(moved), (Numbers{0, 1}));
  OneOrMany<int> assigned;
  assigned.push_back(&items[1]);
  assigned = std::move(moved);
  EXPECT_EQ(sorted(assigned), (Numbers{0, 1}));
  assigned = OneOrMany<int>();
  EXPECT_TRUE(assigned.empty());
}

}  // namespace
}  // namespace millrace::broker
