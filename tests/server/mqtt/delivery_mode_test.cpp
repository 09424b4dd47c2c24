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

TEST(DeliveryMode, NeverConflatesSharedSubscriptions) {
  DeliveryWish wish;
  wish.mode = Mode::latest;
  wish.max_rate_hz = 1;
  const DeliveryChoice choice = choose("$share/g/a", 0, wish);
  EXPECT_EQ(choice.mode, Mode::every);
  EXPECT_EQ(choice.interval_ms, 0u);
}

TEST(DeliveryMode, TurnsARateIntoAnIntervalAndLatest) {
  DeliveryWish wish;
  wish.max_rate_hz = 4;
  const DeliveryChoice choice = choose("a", 1, wish);
  EXPECT_EQ(choice.mode, Mode::latest);
  EXPECT_EQ(choice.interval_ms, 250u);
}

TEST(DeliveryMode, RefusesWishesThatMeanNothing) {
  protocol::Properties properties;
  properties.user_properties = {{"delivery", "sometimes"}};
  EXPECT_EQ(parse_delivery_wish(properties).error(),
            protocol::ReasonCode::implementation_specific_error);
  for (const char* rate : {"0", "-1", "nan", "inf", "fast", "1 ", ""}) {
    properties.user_properties = {{"max-rate-hz", rate}};
    EXPECT_TRUE(parse_delivery_wish(properties).has_error()) << rate;
  }
}

TEST(DeliveryMode, ReadsItsUserPropertiesAndLeavesOthersAlone) {
  protocol::Properties properties;
  properties.user_properties = {{"x", "y"}, {"delivery", "latest"}, {"max-rate-hz", "0.5"}};
  const auto wish = parse_delivery_wish(properties);
  ASSERT_TRUE(wish);
  EXPECT_EQ(wish->mode, Mode::latest);
  EXPECT_EQ(wish->max_rate_hz, 0.5);
}

}  // namespace
}  // namespace millrace::server
