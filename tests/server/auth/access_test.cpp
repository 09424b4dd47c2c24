// Who may come in, and who may do what.
#include "server/auth/access.hpp"

#include <gtest/gtest.h>

#include "server/auth/user_file.hpp"
#include "tests/server/files.hpp"

namespace millrace::server {
namespace {

using protocol::ReasonCode;

constexpr auto allow = AccessEffect::allow;
constexpr auto deny = AccessEffect::deny;
constexpr auto publish = AccessAction::publish;
constexpr auto subscribe = AccessAction::subscribe;
constexpr auto all = AccessAction::all;

AccessConfig with_rules(std::vector<AccessRule> rules, AccessEffect otherwise = deny) {
  AccessConfig config;
  config.rules = std::move(rules);
  config.otherwise = otherwise;
  return config;
}

bool may_publish(const Grants& grants, std::string_view topic) {
  return !grants.publish_refusal(topic);
}

// The whole filter, or a part of it.
bool may_subscribe(const Grants& grants, std::string_view filter) {
  return grants.subscription(filter).has_value();
}

TEST(Grants, WithoutRulesAllowEverything) {
  const Grants grants("", AccessConfig{});
  EXPECT_TRUE(may_publish(grants, "a/b"));
  EXPECT_TRUE(may_subscribe(grants, "#"));
}

TEST(Grants, TheFirstRuleThatMatchesWins) {
  const Grants grants("", with_rules({{deny, {}, publish, "a/secret"}, {allow, {}, all, "a/#"}}));
  EXPECT_FALSE(may_publish(grants, "a/secret"));
  EXPECT_TRUE(may_publish(grants, "a/other"));
  const Grants other("", with_rules({{allow, {}, all, "a/#"}, {deny, {}, publish, "a/secret"}}));
  EXPECT_TRUE(may_publish(other, "a/secret"));
}

TEST(Grants, WithRulesButNoMatchTheDefaultDecides) {
  const std::vector<AccessRule> rules = {{allow, {}, all, "a/#"}};
  EXPECT_FALSE(may_publish(Grants("", with_rules(rules)), "b"));
  EXPECT_FALSE(may_subscribe(Grants("", with_rules(rules)), "b"));
  EXPECT_TRUE(may_publish(Grants("", with_rules(rules, allow)), "b"));
}

TEST(Grants, WithoutRulesTheDefaultDecidesIfItIsSet) {
  EXPECT_FALSE(may_publish(Grants("", with_rules({}, deny)), "a"));
  EXPECT_FALSE(may_subscribe(Grants("", with_rules({}, deny)), "#"));
  EXPECT_TRUE(may_publish(Grants("", with_rules({}, allow)), "a"));
}

TEST(Grants, WithRulesAndNoDefaultWhatNoneMatchesIsDenied) {
  AccessConfig config;
  config.rules = {{allow, {}, all, "a/#"}};
  EXPECT_FALSE(may_publish(Grants("", config), "b"));
}

TEST(Grants, RulesForSubscribersDoNotTouchPublishers) {
  const Grants grants("", with_rules({{deny, {}, subscribe, "#"}}, allow));
  EXPECT_TRUE(may_publish(grants, "a"));
  EXPECT_FALSE(may_subscribe(grants, "a"));
}

TEST(Grants, AnAllowedSubscriptionMustBeCoveredAsAWhole) {
  const Grants grants("", with_rules({{allow, {}, subscribe, "a/+"}}));
  EXPECT_TRUE(may_subscribe(grants, "a/b"));
  EXPECT_TRUE(may_subscribe(grants, "a/+"));
  EXPECT_FALSE(may_subscribe(grants, "a/#"));
  EXPECT_FALSE(may_subscribe(grants, "#"));
}

TEST(Grants, AWildcardDoesNotReachAroundADeniedTopic) {
  const Grants grants("", with_rules({{deny, {}, subscribe, "a/secret"}}, allow));
  EXPECT_FALSE(may_subscribe(grants, "a/secret"));
  for (const char* wider : {"a/+", "#"}) {
    const auto rules = grants.subscription(wider);
    ASSERT_TRUE(rules.has_value() && *rules) << wider;
    EXPECT_FALSE((*rules)->permit("a/secret"));
    EXPECT_TRUE((*rules)->permit("a/other"));
  }
  EXPECT_EQ(*grants.subscription("b/#"), nullptr);
}

TEST(Grants, ARuleSaysWithWhichReasonItRefuses) {
  using enum RefusalReason;
  const Grants grants("", with_rules({{deny, {}, all, "a", unspecified},
                                      {deny, {}, all, "b", not_authorized},
                                      {allow, {}, all, "c"}}));
  EXPECT_EQ(grants.subscription("a").error(), ReasonCode::unspecified_error);
  EXPECT_EQ(grants.publish_refusal("a"), ReasonCode::unspecified_error);
  EXPECT_EQ(grants.subscription("b").error(), ReasonCode::not_authorized);
  EXPECT_EQ(grants.subscription("d").error(), ReasonCode::not_authorized);
  EXPECT_EQ(grants.publish_refusal("d"), ReasonCode::not_authorized);
}

TEST(Grants, RulesConcernTheirUserAlone) {
  const auto config = with_rules({{allow, "ann", all, "ann/#"}, {allow, "", all, "public/#"}});
  EXPECT_TRUE(may_publish(Grants("ann", config), "ann/x"));
  EXPECT_FALSE(may_publish(Grants("bob", config), "ann/x"));
  EXPECT_TRUE(may_publish(Grants("", config), "public/x"));
  EXPECT_FALSE(may_publish(Grants("ann", config), "public/x"));
}

TEST(Grants, KeepTheOrderOfRulesForOneAndForAll) {
  const auto config = with_rules({{deny, "ann", all, "a/b"},
                                  {allow, {}, all, "a/#"},
                                  {deny, {}, all, "b"},
                                  {allow, "ann", all, "b"}});
  for (const char* user : {"ann", "bob"}) {
    const Grants grants(user, config);
    EXPECT_EQ(may_publish(grants, "a/b"), grants.user() != "ann");
    EXPECT_TRUE(may_subscribe(grants, "a/c"));
    EXPECT_FALSE(may_publish(grants, "b"));
  }
}

class Authenticate : public ::testing::Test {
 protected:
  Authenticate() {
    const std::string text = with_user("", "ann", PasswordHash::make("secret", 10).to_string());
    config_.password_file = folder_.write("passwd", text);
  }
  std::shared_ptr<const Access> access() {
    std::vector<ConfigFault> faults;
    auto made = Access::make(config_, faults);
    EXPECT_TRUE(faults.empty());
    return made;
  }
  test::Folder folder_;
  AccessConfig config_;
};

TEST_F(Authenticate, LetsTheRightPasswordIn) {
  const auto result = access()->authenticate("ann", "secret");
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ((*result)->user(), "ann");
}

TEST_F(Authenticate, RefusesWhatIsWrong) {
  const auto who = access();
  EXPECT_EQ(who->authenticate("ann", "Secret").error(), ReasonCode::bad_user_name_or_password);
  EXPECT_EQ(who->authenticate("ann", "").error(), ReasonCode::bad_user_name_or_password);
  EXPECT_EQ(who->authenticate("ann", {}).error(), ReasonCode::bad_user_name_or_password);
  EXPECT_EQ(who->authenticate("bob", "secret").error(), ReasonCode::bad_user_name_or_password);
  EXPECT_EQ(who->authenticate("", "").error(), ReasonCode::bad_user_name_or_password);
  EXPECT_EQ(who->authenticate({}, {}).error(), ReasonCode::not_authorized);
}

TEST_F(Authenticate, LetsTheAnonymousInOnlyIfAllowed) {
  config_.allow_anonymous = true;
  const auto who = access();
  EXPECT_EQ((*who->authenticate({}, {}))->user(), "");
  // A name that was given is verified nevertheless.
  EXPECT_EQ(who->authenticate("ann", "x").error(), ReasonCode::bad_user_name_or_password);
}

TEST_F(Authenticate, WithoutAPasswordFileNobodysNameIsBelieved) {
  config_.password_file.clear();
  EXPECT_EQ((*access()->authenticate("admin", "x"))->user(), "");
}

TEST_F(Authenticate, WithKeysForScramAloneNoPasswordIsTaken) {
  EXPECT_EQ(access()->scram(), nullptr);
  config_.scram_file =
      folder_.write("scram", with_user("", "ann", ScramKeys::make("secret", 4096).to_string()));
  config_.password_file.clear();
  const auto who = access();
  ASSERT_NE(who->scram(), nullptr);
  EXPECT_EQ(who->scram()->size(), 1u);
  EXPECT_EQ(who->authenticate("ann", "secret").error(), ReasonCode::not_authorized);
  EXPECT_EQ(who->authenticate({}, {}).error(), ReasonCode::not_authorized);
}

TEST_F(Authenticate, SharesOneGrantsAUser) {
  const auto who = access();
  EXPECT_EQ(*who->authenticate("ann", "secret"), *who->authenticate("ann", "secret"));
}

// --- Reload ---

class Reload : public Authenticate {
 protected:
  using GrantsRef = std::shared_ptr<const Grants>;

  void set_password(const std::string& user, const std::string& password) {
    config_.password_file = folder_.write(
        "passwd",
        user.empty() ? "" : with_user("", user, PasswordHash::make(password, 10).to_string()));
  }
  void set_scram(const std::string& user, const std::string& password) {
    config_.scram_file =
        folder_.write("scram", with_user("", user, ScramKeys::make(password, 4096).to_string()));
  }
};

TEST_F(Reload, GivesWhoComesInAsBeforeTheRightsOfNow) {
  const GrantsRef before = *access()->authenticate("ann", "secret");
  config_.rules = {{deny, "ann", publish, "a"}, {allow, {}, all, "#"}};
  const auto now = access();
  const GrantsRef grants = now->readmit(*before);
  ASSERT_NE(grants, nullptr);
  EXPECT_FALSE(may_publish(*grants, "a"));
  EXPECT_TRUE(may_publish(*before, "a"));
  EXPECT_GT(now->revision(), before->rights()->revision);
  EXPECT_EQ(grants->rights()->revision, now->revision());
  EXPECT_EQ(now->renew(*before->rights()), grants->rights());
}

TEST_F(Reload, KnowsNoUserThatIsGone) {
  const GrantsRef before = *access()->authenticate("ann", "secret");
  set_password("bob", "secret");
  EXPECT_EQ(access()->readmit(*before), nullptr);
  EXPECT_EQ(access()->renew(*before->rights()), nullptr);
}

TEST_F(Reload, EndsConnectionsOfAnOldPasswordAndNotTheSessionsOfItsUser) {
  const GrantsRef before = *access()->authenticate("ann", "secret");
  set_password("ann", "other");
  EXPECT_EQ(access()->readmit(*before), nullptr);
  const auto rights = access()->renew(*before->rights());
  ASSERT_NE(rights, nullptr);
  EXPECT_EQ(rights->owner, "ann");
}

TEST_F(Reload, JudgesTheAnonymousByWhetherTheyMayComeIn) {
  config_.allow_anonymous = true;
  const GrantsRef before = *access()->authenticate({}, {});
  EXPECT_NE(access()->readmit(*before), nullptr);
  config_.allow_anonymous = false;
  EXPECT_EQ(access()->readmit(*before), nullptr);
  EXPECT_EQ(access()->renew(*before->rights()), nullptr);
}

TEST_F(Reload, JudgesWhoCameByCertificateByRulesAlone) {
  const GrantsRef before = *access()->grants_of_certified("carol");
  EXPECT_NE(access()->readmit(*before), nullptr);
  set_password("carol", "x");
  // The user of that name is the same, however it was verified.
  EXPECT_EQ((*access()->authenticate("carol", "x"))->rights()->owner, before->rights()->owner);
}

TEST_F(Reload, JudgesWhoCameByScramByItsKeys) {
  set_scram("ann", "secret");
  const auto first = access();
  const ScramKeys keys = first->scram()->keys_of("ann");
  const GrantsRef before = *first->grants_of_scram("ann", keys);
  EXPECT_NE(access()->readmit(*before), nullptr);
  set_scram("ann", "other");
  EXPECT_EQ(access()->readmit(*before), nullptr);
  EXPECT_EQ(access()->grants_of_scram("ann", keys).error(), ReasonCode::not_authorized);
  EXPECT_NE(access()->renew(*before->rights()), nullptr);
  set_scram("bob", "secret");
  EXPECT_EQ(access()->renew(*before->rights()), nullptr);
}

TEST_F(Authenticate, AMissingFileIsAFault) {
  config_.password_file = "/nonexistent";
  std::vector<ConfigFault> faults;
  EXPECT_EQ(Access::make(config_, faults), nullptr);
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0].path, "access.password_file");
}

}  // namespace
}  // namespace millrace::server
