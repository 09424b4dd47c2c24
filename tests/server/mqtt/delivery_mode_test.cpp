#include "server/mqtt/delivery_mode.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

using broker::Mode;

protocol::ParsedFilter parsed(std::string_view filter) {
  return *protocol::parse_filter(filter);
}

DeliveryChoice choose(std::string_view filter, std::uint8_t qos, const DeliveryWish& wish = {},
                      const DeliveryConfig& rules = {}) {
  return choose_delivery(parsed(filter), qos, wish, rules, "user", "listener");
}

TEST(DeliveryMode, FollowsTheQosByDefault) {
  EXPECT_EQ(choose("a", 0).mode, Mode::adaptive);
  EXPECT_EQ(choose("a", 1).mode, Mode::every);
  EXPECT_EQ(choose("a", 2).mode, Mode::every);
}

TEST(DeliveryMode, PutsTheRuleAboveThePrefixAboveThePropertyAboveTheQos) {
  DeliveryWish wish;
  wish.mode = Mode::adaptive;
  EXPECT_EQ(choose("a", 1, wish).mode, Mode::adaptive);
  EXPECT_EQ(choose("$latest/a", 1, wish).mode, Mode::latest);
  DeliveryConfig rules;
  rules.rules.emplace_back();
  rules.rules.back().filter = "a/#";
  rules.rules.back().mode = Mode::every;
  EXPECT_EQ(choose("$latest/a", 0, wish, rules).mode, Mode::every);
  EXPECT_EQ(choose("b", 0, {}, rules).mode, Mode::adaptive);
}

TEST(DeliveryMode, AsksTheFirstRuleThatMatchesFilterUserAndListener) {
  DeliveryConfig rules;
  rules.rules.resize(3);
  rules.rules[0].user = "somebody else";
  rules.rules[0].mode = Mode::every;
  rules.rules[1].listener = "listener";
  rules.rules[1].mode = Mode::latest;
  rules.rules[2].mode = Mode::adaptive;
  EXPECT_EQ(choose("a", 1, {}, rules).mode, Mode::latest);
}

TEST(DeliveryMode, BeginsWithTheHistoryOfTheRuleThePrefixOrTheProperty) {
  DeliveryWish wish;
  wish.history = 3;
  EXPECT_EQ(choose("a", 0, wish).history, 3u);
  EXPECT_EQ(choose("$history/7/a", 0, wish).history, 7u);
  EXPECT_EQ(choose("$history/7/a", 0).mode, Mode::adaptive) << "as without the prefix";
  EXPECT_EQ(choose("$share/g/a", 0, wish).history, 0u);
  DeliveryConfig rules;
  rules.rules.emplace_back();
  rules.rules.back().history = 0;
  EXPECT_EQ(choose("$history/7/a", 0, wish, rules).history, 0u);
}

TEST(DeliveryMode, IsLatestWithAWeightUnlessSomethingElseWasChosen) {
  DeliveryWish wish;
  wish.weight = 50;
  EXPECT_EQ(choose("a", 1, wish).mode, Mode::latest);
  EXPECT_EQ(choose("a", 1, wish).shape.weight, 50u);
  wish.mode = Mode::every;
  EXPECT_EQ(choose("a", 1, wish).shape.weight, 0u) << "nothing of it is replaced, or overtaken";
  DeliveryConfig rules;
  rules.rules.emplace_back();
  rules.rules.back().weight = 100;
  EXPECT_EQ(choose("a", 0, {}, rules).shape.weight, 100u);
}

TEST(DeliveryMode, NeverConflatesSharedSubscriptions) {
  DeliveryWish wish;
  wish.mode = Mode::latest;
  wish.max_rate_hz = 1;
  const DeliveryChoice choice = choose("$share/g/a", 0, wish);
  EXPECT_EQ(choice.mode, Mode::every);
  EXPECT_TRUE(choice.shape.empty());
}

TEST(DeliveryMode, TurnsARateIntoAnIntervalAndLatest) {
  DeliveryWish wish;
  wish.max_rate_hz = 4;
  const DeliveryChoice choice = choose("a", 1, wish);
  EXPECT_EQ(choice.mode, Mode::latest);
  EXPECT_EQ(choice.shape.interval_ms, 250u);
}

TEST(DeliveryMode, MakesAFilterOfADifferenceOrAFieldOrByName) {
  using broker::Changes;
  DeliveryWish wish;
  wish.heartbeat_s = 10;
  EXPECT_TRUE(choose("a", 0, wish).shape.empty()) << "a heartbeat alone keeps nothing back";
  wish.field = "/t";
  DeliveryChoice choice = choose("a", 1, wish);
  EXPECT_EQ(choice.mode, Mode::latest);
  EXPECT_EQ(choice.shape.changes, Changes::unequal);
  EXPECT_EQ(choice.shape.field, "/t");
  EXPECT_EQ(choice.shape.heartbeat_s, 10u);
  wish.delta_percent = 5;
  choice = choose("a", 0, wish);
  EXPECT_EQ(choice.shape.changes, Changes::by_percent);
  EXPECT_EQ(choice.shape.delta, 5);
  wish.unchanged = UnchangedValues::send;
  EXPECT_TRUE(choose("a", 0, wish).shape.empty());
  wish.unchanged = UnchangedValues::skip;
  wish.mode = Mode::every;
  EXPECT_TRUE(choose("a", 0, wish).shape.empty()) << "`every` skips nothing";
}

TEST(DeliveryMode, FiltersByTheRuleWhateverTheClientSays) {
  using broker::Changes;
  DeliveryConfig rules;
  rules.rules.emplace_back();
  rules.rules.back().delta = 2;
  DeliveryWish wish;
  wish.unchanged = UnchangedValues::send;
  wish.delta_percent = 50;
  const DeliveryChoice choice = choose("a", 0, wish, rules);
  EXPECT_EQ(choice.shape.changes, Changes::by);
  EXPECT_EQ(choice.shape.delta, 2);
  rules.rules.back() = {};
  rules.rules.back().unchanged = UnchangedValues::send;
  wish.unchanged = UnchangedValues::skip;
  EXPECT_TRUE(choose("a", 0, wish, rules).shape.empty());
}

TEST(DeliveryMode, SendsTheNewestValuesAtTicks) {
  DeliveryWish wish;
  wish.tick_ms = 100;
  EXPECT_EQ(choose("a", 1, wish).mode, Mode::latest);
  EXPECT_EQ(choose("a", 1, wish).shape.tick_ms, 100u);
  DeliveryConfig rules;
  rules.rules.emplace_back();
  rules.rules.back().tick_ms = 500;
  EXPECT_EQ(choose("a", 0, wish, rules).shape.tick_ms, 500u);
  wish.mode = Mode::every;
  EXPECT_TRUE(choose("a", 0, wish).shape.empty());
}

TEST(DeliveryMode, TakesTheSmallerBudgetOfTheRuleAndTheWish) {
  DeliveryConfig rules;
  rules.rules.emplace_back();
  rules.rules.back().budget_bytes_per_s = 5000;
  DeliveryWish wish;
  EXPECT_EQ(choose("a", 0, wish, rules).shape.budget_bytes_per_s, 5000u);
  wish.budget_bytes_per_s = 9000;
  EXPECT_EQ(choose("a", 0, wish, rules).shape.budget_bytes_per_s, 5000u);
  wish.budget_bytes_per_s = 1000;
  EXPECT_EQ(choose("a", 0, wish, rules).shape.budget_bytes_per_s, 1000u);
  EXPECT_EQ(choose("a", 0, wish).shape.budget_bytes_per_s, 1000u);
}

TEST(DeliveryMode, LeavesTheModeToTheQosWhereOnlyABudgetIsAskedFor) {
  DeliveryWish wish;
  wish.budget_bytes_per_s = 1000;
  EXPECT_EQ(choose("a", 0, wish).mode, Mode::adaptive);
  EXPECT_EQ(choose("a", 1, wish).mode, Mode::every);
  EXPECT_EQ(choose("a", 1, wish).shape.budget_bytes_per_s, 1000u) << "for its other subscriptions";
}

}  // namespace
}  // namespace millrace::server
