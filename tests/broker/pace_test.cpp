#include "core/broker/pace.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <deque>
#include <random>
#include <utility>

namespace millrace::broker {
namespace {

constexpr std::int64_t ms = 1'000'000;
constexpr std::int64_t second = 1000 * ms;

ShapeFields budget_of(std::uint32_t bytes_per_s) {
  ShapeFields shape;
  shape.budget_bytes_per_s = bytes_per_s;
  return shape;
}
ShapeFields ticks_of(std::uint32_t ms) {
  ShapeFields shape;
  shape.tick_ms = ms;
  return shape;
}

TEST(Pace, IsOpenUntilSomethingIsSpent) {
  Pace pace;
  EXPECT_FALSE(pace.is_set());
  pace.add(budget_of(1000), 1);
  EXPECT_TRUE(pace.is_set());
  EXPECT_TRUE(pace.is_open(0));
  pace.spend(100, second);
  EXPECT_FALSE(pace.is_open(second));
  EXPECT_TRUE(pace.is_open(pace.due_ns(second)));
}

TEST(Pace, AppliesTheSmallestOfItsBudgetsUntilAllHaveEnded) {
  Pace pace;
  pace.add(budget_of(3000), 1);
  pace.add(budget_of(1000), 1);
  pace.add(budget_of(2000), 1);
  EXPECT_EQ(pace.budget_bytes_per_s(), 1000u);
  pace.remove(budget_of(1000));
  EXPECT_EQ(pace.budget_bytes_per_s(), 1000u);
  pace.remove(budget_of(1000));
  pace.remove(budget_of(1000));
  EXPECT_FALSE(pace.is_set());
  pace.add(budget_of(2000), 1);
  EXPECT_EQ(pace.budget_bytes_per_s(), 2000u);
}

TEST(Pace, IsNotOpenedByABudgetThatEndsAndComesAgain) {
  Pace pace;
  pace.add(budget_of(1000), 1);
  pace.spend(500, second);
  pace.remove(budget_of(1000));
  pace.add(budget_of(1000), 1);
  EXPECT_FALSE(pace.is_open(second));
}

TEST(Pace, ReckonsWithTheLargestMessageAtTheSmallestBudget) {
  Pace pace;
  pace.add(budget_of(1), 1);
  pace.spend(UINT32_MAX, 0);
  EXPECT_FALSE(pace.is_open(INT64_MAX / 4));
}

TEST(Pace, TicksAtTheSameTimesWheneverSomethingBeginsToWait) {
  Pace pace;
  pace.add(ticks_of(100), 7);
  EXPECT_TRUE(pace.is_set());
  EXPECT_FALSE(pace.is_open(5 * second)) << "also while nothing waits";
  pace.wait(5 * second);
  const std::int64_t first = pace.due_ns(5 * second);
  EXPECT_GT(first, 5 * second);
  EXPECT_LE(first, 5 * second + 100 * ms);
  pace.wait(first - 1);
  EXPECT_FALSE(pace.is_open(first - 1));
  pace.wait(first + 3 * ms);
  EXPECT_TRUE(pace.is_open(first + 3 * ms)) << "though the server is late";
  EXPECT_TRUE(pace.is_open(first + 90 * ms)) << "until nothing waits any more";
  pace.end_wait();
  EXPECT_FALSE(pace.is_open(first + 90 * ms));
  for (int i = 0; i < 20; ++i) {
    const std::int64_t now = first + (91 + 37 * i) * ms;
    pace.wait(now);
    EXPECT_EQ((pace.due_ns(now) - first) % (100 * ms), 0);
    EXPECT_GT(pace.due_ns(now), now);
    pace.end_wait();
  }
}

TEST(Pace, SpreadsTheTicksOfManyClients) {
  std::array<int, 10> clients{};
  for (std::uint64_t client = 1; client <= 10'000; ++client) {
    Pace pace;
    pace.add(ticks_of(100), client);
    pace.wait(7 * second);
    const std::int64_t away = pace.due_ns(7 * second) - 7 * second - 1;
    ++clients.at(static_cast<std::size_t>(away / (10 * ms)));
  }
  for (const int count : clients) EXPECT_NEAR(count, 1000, 20);
}

TEST(Pace, OpensAtATickThatIsWithinTheBudget) {
  Pace pace;
  ShapeFields both = budget_of(1000);
  both.tick_ms = 100;
  pace.add(both, 1);
  pace.wait(second);
  const std::int64_t tick = pace.due_ns(second);
  pace.wait(tick);
  pace.spend(500, tick);
  EXPECT_FALSE(pace.is_open(tick + 100 * ms));
  EXPECT_TRUE(pace.is_open(tick + 600 * ms)) << "the tick is not over before all has gone";
  pace.remove(both);
  EXPECT_FALSE(pace.is_set());
  EXPECT_TRUE(pace.is_open(tick + 600 * ms));
}

// Whoever sends whenever it is open, at whatever times it looks.
TEST(Pace, KeepsTheBudgetInAnySecondButForOneMessageAndUsesMostOfIt) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    std::mt19937_64 random(seed);
    const auto budget = static_cast<std::uint32_t>(1000 + random() % 1'000'000);
    const auto message_max = 1 + random() % 2000;
    Pace pace;
    pace.add(budget_of(budget), 1);
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
