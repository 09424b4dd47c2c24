#include "core/broker/pace.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <random>
#include <utility>

namespace millrace::broker {
namespace {

constexpr std::int64_t ms = 1'000'000;
constexpr std::int64_t second = 1000 * ms;

TEST(Pace, IsOpenUntilSomethingIsSpent) {
  Pace pace;
  EXPECT_FALSE(pace.is_set());
  pace.add_budget(1000);
  EXPECT_TRUE(pace.is_set());
  EXPECT_TRUE(pace.is_open(0));
  pace.spend(100, second);
  EXPECT_FALSE(pace.is_open(second));
  EXPECT_TRUE(pace.is_open(pace.open_ns()));
}

TEST(Pace, AppliesTheSmallestOfItsBudgetsUntilAllHaveEnded) {
  Pace pace;
  pace.add_budget(3000);
  pace.add_budget(1000);
  pace.add_budget(2000);
  EXPECT_EQ(pace.bytes_per_s(), 1000u);
  pace.remove_budget();
  EXPECT_EQ(pace.bytes_per_s(), 1000u);
  pace.remove_budget();
  pace.remove_budget();
  EXPECT_FALSE(pace.is_set());
  pace.add_budget(2000);
  EXPECT_EQ(pace.bytes_per_s(), 2000u);
}

TEST(Pace, IsNotOpenedByABudgetThatEndsAndComesAgain) {
  Pace pace;
  pace.add_budget(1000);
  pace.spend(500, second);
  pace.remove_budget();
  pace.add_budget(1000);
  EXPECT_FALSE(pace.is_open(second));
}

TEST(Pace, ReckonsWithTheLargestMessageAtTheSmallestBudget) {
  Pace pace;
  pace.add_budget(1);
  pace.spend(UINT32_MAX, 0);
  EXPECT_GT(pace.open_ns(), INT64_MAX / 4);
}

// Whoever sends whenever it is open, at whatever times it looks.
TEST(Pace, KeepsTheBudgetInAnySecondButForOneMessageAndUsesMostOfIt) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    std::mt19937_64 random(seed);
    const auto budget = static_cast<std::uint32_t>(1000 + random() % 1'000'000);
    const auto message_max = 1 + random() % 2000;
    Pace pace;
    pace.add_budget(budget);
    std::deque<std::pair<std::int64_t, std::uint64_t>> sent;  // in the last second
    std::uint64_t in_window = 0;
    std::uint64_t total = 0;
    std::int64_t now = 5 * second;
    while (now < 15 * second) {
      now += static_cast<std::int64_t>(random() % (15 * ms));  // it looks late, but not very late
      while (pace.is_open(now)) {
        const auto bytes = static_cast<std::uint32_t>(1 + random() % message_max);
        while (!sent.empty() && sent.front().first < now - second) {
          in_window -= sent.front().second;
          sent.pop_front();
        }
        ASSERT_LE(in_window, budget) << "seed " << seed << ": before the last message";
        pace.spend(bytes, now);
        sent.emplace_back(now, bytes);
        in_window += bytes;
        total += bytes;
      }
    }
    EXPECT_GE(static_cast<double>(total), 0.97 * 10 * budget) << "seed " << seed;
  }
}

}  // namespace
}  // namespace millrace::broker
