// The rights of local users when the settings are replaced.
#include "server/local/user_grants.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

// With one rule, for all topics.
std::shared_ptr<const Settings> settings_with(AccessEffect effect) {
  AccessConfig access;
  access.rules = {{effect, {}, AccessAction::all, "#"}};
  std::vector<ConfigFault> faults;
  auto settings = std::make_shared<Settings>();
  settings->access = Access::make(access, faults);
  EXPECT_TRUE(settings->access);
  return settings;
}

bool may_publish(const Grants& grants) {
  return !grants.publish_refusal("a");
}

TEST(UserGrants, AreThoseOfTheSettingsThatAreAskedFor) {
  UserGrants grants;
  const auto before = settings_with(AccessEffect::allow), after = settings_with(AccessEffect::deny);
  // A caller that looked at the settings before a reload asks after it; then come those that look now.
  EXPECT_TRUE(may_publish(grants.of("u", before)));
  EXPECT_FALSE(may_publish(grants.of("u", after)));
  EXPECT_FALSE(may_publish(grants.of("u", after)));
  EXPECT_TRUE(may_publish(grants.of("u", before)));
}

TEST(UserGrants, AreWorkedOutOnceForEachUser) {
  UserGrants grants;
  const auto settings = settings_with(AccessEffect::allow);
  const Grants* const one = &grants.of("one", settings);
  EXPECT_NE(&grants.of("other", settings), one);
  EXPECT_EQ(&grants.of("one", settings), one);
}

// Otherwise new settings at the address of freed ones would be taken for those.
TEST(UserGrants, HoldTheSettingsTheyAreOf) {
  UserGrants grants;
  auto settings = settings_with(AccessEffect::allow);
  const std::weak_ptr<const Settings> held = settings;
  grants.of("u", settings);
  settings.reset();
  EXPECT_FALSE(held.expired());
}

}  // namespace
}  // namespace millrace::server
