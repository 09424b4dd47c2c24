// Which rules concern a client, by who it is and how it came.
#include "server/auth/user_rules.hpp"

#include <gtest/gtest.h>

#include <string>

#include "server/auth/access.hpp"

namespace millrace::server {
namespace {

using broker::Arrival;
using protocol::ReasonCode;

constexpr auto allow = AccessEffect::allow;
constexpr auto deny = AccessEffect::deny;
constexpr auto all = AccessAction::all;

AccessRule rule(AccessEffect effect, std::string filter, AccessAction action = all) {
  AccessRule rule;
  rule.effect = effect;
  rule.action = action;
  rule.filter = std::move(filter);
  return rule;
}

AccessConfig with(std::vector<AccessRule> rules) {
  AccessConfig config;
  config.rules = std::move(rules);
  return config;
}

bool may_publish(const UserRules& rules, const std::string& user, const Arrival& arrival,
                 std::string_view topic, broker::PublishedHow how = {}) {
  const auto lists = rules.of(user, arrival);
  return !lists.publish || !lists.publish->refusal(topic, how);
}

// --- Placeholders ---

TEST(FillIn, PutsTheNamesInTheirPlaces) {
  EXPECT_EQ(fill_in("users/%u/%c/#", "ann", "c1", true), "users/ann/c1/#");
  EXPECT_EQ(fill_in("of-%u-%c", "ann", "c1", true), "of-ann-c1");
  EXPECT_EQ(fill_in("100%/%x/%", "ann", "c1", true), "100%/%x/%");
}

TEST(FillIn, DoesNotLookAtWhatItFilledIn) {
  EXPECT_EQ(fill_in("%u/x", "a%c", "c1", true), "a%c/x");
}

TEST(FillIn, ANameThatWouldWidenAnAllowingRuleMakesItVoid) {
  for (const char* name : {"", "+", "#", "a/b", "a+", "a#", "/", "$SYS", "$share"}) {
    EXPECT_EQ(fill_in("%u/#", name, "c", true), std::nullopt) << name;
    EXPECT_EQ(fill_in("x/%c", "u", name, true), std::nullopt) << name;
    EXPECT_EQ(fill_in("x/pre-%c", "u", name, true), std::nullopt) << name;
  }
}

TEST(FillIn, ANameThatIsNoLevelNeverNarrowsADenyingRule) {
  EXPECT_EQ(fill_in("%u/keys", "a/b", "c", false), "#");
  EXPECT_EQ(fill_in("x/pre-%c/y", "u", "a/b", false), "x/#");
  EXPECT_EQ(fill_in("%u/keys", "a+b", "c/d", false), "+/keys");
  EXPECT_EQ(fill_in("x/pre-%c/#", "u", "#", false), "x/+/#");
  EXPECT_EQ(fill_in("%u/keys", "$SYS", "c", false), "$SYS/keys");
}

TEST(UserRules, GiveEachClientItsOwnTopics) {
  const UserRules rules(with({rule(allow, "u/%u/#"), rule(allow, "c/%c")}), {});
  EXPECT_TRUE(rules.ask_arrival());
  EXPECT_TRUE(may_publish(rules, "ann", {"c1", {}}, "u/ann/x"));
  EXPECT_FALSE(may_publish(rules, "bob", {"c1", {}}, "u/ann/x"));
  EXPECT_TRUE(may_publish(rules, "bob", {"c1", {}}, "c/c1"));
  EXPECT_FALSE(may_publish(rules, "bob", {"c2", {}}, "c/c1"));
  for (const char* hostile : {"#", "+", "ann/x"}) {
    EXPECT_FALSE(may_publish(rules, hostile, {hostile, {}}, "u/ann/x")) << hostile;
    EXPECT_FALSE(may_publish(rules, hostile, {hostile, {}}, "c/c1")) << hostile;
  }
}

TEST(UserRules, TakeTheClientsOwnIdentifierWhereEachUserHasThem) {
  const UserRules rules(with({rule(allow, "c/%c")}), {});
  EXPECT_TRUE(may_publish(rules, "ann", {std::string_view("ann\0c1", 6), {}}, "c/c1"));
}

// --- Whom a rule concerns ---

TEST(UserRules, ConcernClientsByTheirIdentifier) {
  AccessRule one = rule(allow, "one"), group = rule(allow, "group");
  one.client_id = "c1";
  group.client_id = "c*";
  const UserRules rules(with({one, group}), {});
  EXPECT_TRUE(may_publish(rules, "", {"c1", {}}, "one"));
  EXPECT_FALSE(may_publish(rules, "", {"c12", {}}, "one"));
  EXPECT_TRUE(may_publish(rules, "", {"c12", {}}, "group"));
  EXPECT_FALSE(may_publish(rules, "", {"d", {}}, "group"));
}

TEST(UserRules, ConcernClientsByTheirAddress) {
  AccessRule inside = rule(allow, "plant");
  inside.address = {"10.0.0.0/8", "fd00::/8"};
  const UserRules rules(with({inside}), {});
  EXPECT_TRUE(may_publish(rules, "", {"c", "10.9.9.9"}, "plant"));
  EXPECT_TRUE(may_publish(rules, "", {"c", "fd00::1"}, "plant"));
  EXPECT_FALSE(may_publish(rules, "", {"c", "11.0.0.1"}, "plant"));
  EXPECT_FALSE(may_publish(rules, "", {"c", ""}, "plant"));
}

TEST(UserRules, ConcernClientsByTheirListener) {
  AccessRule tls = rule(allow, "tls"), http = rule(allow, "http");
  tls.listener = "tls";
  http.listener = "http";
  const UserRules rules(with({tls, http}), {"tcp", "tls"});
  EXPECT_TRUE(may_publish(rules, "", {"c", {}, 1}, "tls"));
  EXPECT_FALSE(may_publish(rules, "", {"c", {}, 0}, "tls"));
  EXPECT_FALSE(may_publish(rules, "", {"c", {}}, "tls"));
  EXPECT_TRUE(may_publish(rules, "", {{}, {}, http_listener}, "http"));
  EXPECT_FALSE(may_publish(rules, "", {{}, {}, local_listener}, "http"));
}

TEST(UserRules, ThatConcernNobodyHereLeaveTheOrderOfTheOthers) {
  AccessRule other = rule(deny, "a");
  other.client_id = "other";
  const UserRules rules(with({other, rule(allow, "a")}), {});
  EXPECT_TRUE(may_publish(rules, "", {"c", {}}, "a"));
  EXPECT_FALSE(may_publish(rules, "", {"other", {}}, "a"));
}

TEST(UserRules, ThatAskForNothingButTheUserAreShared) {
  const UserRules rules(with({rule(allow, "a")}), {});
  EXPECT_FALSE(rules.ask_arrival());
  EXPECT_EQ(rules.of("ann", {"c", "1.2.3.4"}).publish, rules.of("bob", {}).publish);
}

// --- What they concern ---

TEST(UserRules, ConcernMessagesByQosAndRetain) {
  AccessRule quiet = rule(allow, "a", AccessAction::publish);
  quiet.qos_max = 1;
  AccessRule kept = rule(deny, "kept", AccessAction::publish);
  kept.retained = true;
  const UserRules rules(with({quiet, kept, rule(allow, "kept")}), {});
  EXPECT_TRUE(may_publish(rules, "", {}, "a", {1, true}));
  EXPECT_FALSE(may_publish(rules, "", {}, "a", {2, true}));
  EXPECT_FALSE(may_publish(rules, "", {}, "kept", {0, true}));
  EXPECT_TRUE(may_publish(rules, "", {}, "kept", {0, false}));
}

TEST(Grants, AReceivingRuleLimitsWhatComesAndNotTheSubscription) {
  const Grants grants("", with({rule(deny, "a/secret", AccessAction::receive),
                                rule(allow, "#", AccessAction::subscribe)}));
  EXPECT_EQ(*grants.subscription("b/#"), nullptr);
  for (const char* filter : {"a/secret", "a/#"}) {
    const auto rules = grants.subscription(filter);
    ASSERT_TRUE(rules.has_value() && *rules) << filter;
    EXPECT_FALSE((*rules)->permit("a/secret"));
    EXPECT_TRUE((*rules)->permit("a/b"));
  }
  EXPECT_FALSE(grants.rights()->may_read("a/secret"));
  EXPECT_TRUE(grants.publish_refusal("a/secret").has_value());  // what no rule matches is denied
}

TEST(Grants, BothKindsOfRulesLimitWhatASubscriptionBrings) {
  const Grants grants("", with({rule(deny, "a/kept", AccessAction::subscribe),
                                rule(deny, "a/secret", AccessAction::receive),
                                rule(allow, "#", AccessAction::subscribe)}));
  const auto rules = grants.subscription("a/#");
  ASSERT_TRUE(rules.has_value() && *rules);
  EXPECT_FALSE((*rules)->permit("a/kept"));
  EXPECT_FALSE((*rules)->permit("a/secret"));
  EXPECT_TRUE((*rules)->permit("a/b"));
  EXPECT_EQ(grants.subscription("a/kept").error(), ReasonCode::not_authorized);
}

TEST(Grants, ASubscriptionIsGrantedTheQosOfItsRule) {
  AccessRule quiet = rule(allow, "a/#", AccessAction::subscribe);
  quiet.qos_max = 0;
  const Grants grants("", with({quiet, rule(allow, "#", AccessAction::subscribe)}));
  EXPECT_EQ(grants.rights()->subscription_qos_max("a/+"), 0);
  EXPECT_EQ(grants.rights()->subscription_qos_max("b"), 2);
}

// --- Reload ---

TEST(Access, AsksAgainHowAClientCameWhenItsRightsAreRenewed) {
  std::vector<ConfigFault> faults;
  const auto before = Access::make(AccessConfig{}, faults);
  const auto grants = *before->authenticate({}, {}, {"c1", "10.0.0.1"});
  AccessRule inside = rule(allow, "own/%c");
  inside.address = {"10.0.0.0/8"};
  const auto now = Access::make(with({inside}), faults);
  const auto is_own = [](const broker::Rights& rights, std::string_view topic) {
    return !rights.publish_refusal(topic, {});
  };
  EXPECT_TRUE(is_own(*now->renew(*grants->rights(), {"c1", "10.0.0.1"}), "own/c1"));
  EXPECT_FALSE(is_own(*now->renew(*grants->rights(), {"c1", "10.0.0.1"}), "own/c2"));
  EXPECT_FALSE(is_own(*now->renew(*grants->rights(), {"c1", "11.0.0.1"}), "own/c1"));
  EXPECT_TRUE(is_own(*now->readmit(*grants, {"c1", "10.0.0.1"})->rights(), "own/c1"));
}

}  // namespace
}  // namespace millrace::server
