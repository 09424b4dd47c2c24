#include "core/broker/route.hpp"

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

Route route_to(Session& session) {
  Route route;
  route.targets.emplace_back().session = &session;
  return route;
}

TEST(CachedRoute, SaysThatItWasNeverComputed) {
  const CachedRoute cached;
  EXPECT_TRUE(cached.never_computed());
  EXPECT_TRUE(cached.route().empty());
}

TEST(CachedRoute, KeepsTheVersionOfAMatchAndOfNone) {
  Session session;
  CachedRoute cached;
  cached.set(Route{}, 0);
  EXPECT_FALSE(cached.never_computed());
  EXPECT_EQ(cached.version(), 0U);
  EXPECT_TRUE(cached.route().empty());

  cached.set(route_to(session), 7);
  EXPECT_EQ(cached.version(), 7U);
  ASSERT_EQ(cached.route().targets.size(), 1U);
  EXPECT_EQ(cached.route().targets[0].session, &session);
}

TEST(CachedRoute, StaysWhenNothingTouchedIt) {
  Session session;
  CachedRoute none;
  none.set(Route{}, 1);
  none.still_valid(2);
  EXPECT_EQ(none.version(), 2U);
  EXPECT_TRUE(none.route().empty());

  CachedRoute some;
  some.set(route_to(session), 1);
  some.still_valid(2);
  EXPECT_EQ(some.version(), 2U);
  EXPECT_EQ(some.route().targets.size(), 1U);
}

TEST(CachedRoute, GivesWayToTheNext) {
  Session first;
  Session second;
  CachedRoute cached;
  cached.set(route_to(first), 1);
  cached.set(route_to(second), 2);
  EXPECT_EQ(cached.route().targets[0].session, &second);
  cached.set(Route{}, 3);
  EXPECT_TRUE(cached.route().empty());
  EXPECT_EQ(cached.version(), 3U);
}

}  // namespace
}  // namespace millrace::broker
