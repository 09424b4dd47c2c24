#include "core/broker/route.hpp"

#include <gtest/gtest.h>

#include <vector>

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
  RouteCache cache;
  const std::uint64_t use = 1;
  CachedRoute cached;
  cached.set(Route{}, 0, cache, use);
  EXPECT_FALSE(cached.never_computed());
  EXPECT_EQ(cached.version(), 0U);
  EXPECT_TRUE(cached.route().empty());

  cached.set(route_to(session), 7, cache, use);
  EXPECT_EQ(cached.version(), 7U);
  ASSERT_EQ(cached.route().targets.size(), 1U);
  EXPECT_EQ(cached.route().targets[0].session, &session);
}

TEST(CachedRoute, StaysWhenNothingTouchedIt) {
  Session session;
  RouteCache cache;
  const std::uint64_t use = 1;
  CachedRoute none;
  none.set(Route{}, 1, cache, use);
  none.still_valid(2);
  EXPECT_EQ(none.version(), 2U);
  EXPECT_TRUE(none.route().empty());

  CachedRoute some;
  some.set(route_to(session), 1, cache, use);
  some.still_valid(2);
  EXPECT_EQ(some.version(), 2U);
  EXPECT_EQ(some.route().targets.size(), 1U);
}

TEST(CachedRoute, GivesWayToTheNext) {
  Session first;
  Session second;
  RouteCache cache;
  const std::uint64_t use = 1;
  CachedRoute cached;
  cached.set(route_to(first), 1, cache, use);
  cached.set(route_to(second), 2, cache, use);
  EXPECT_EQ(cached.route().targets[0].session, &second);
  cached.set(Route{}, 3, cache, use);
  EXPECT_TRUE(cached.route().empty());
  EXPECT_EQ(cached.version(), 3U);
}

// --- RouteCache ---

// Routes of so many targets each, of topics that are used in turn.
struct Routes {
  explicit Routes(std::size_t targets, std::size_t count = 3) : all(count), uses(count, 1) {
    for (std::size_t i = 0; i < count; ++i) {
      Route route;
      route.targets.resize(targets);
      all[i].set(std::move(route), 1, cache, uses[i]);
    }
  }
  RouteCache cache;
  std::vector<CachedRoute> all;
  std::vector<std::uint64_t> uses;
};

TEST(RouteCache, CountsWhatRoutesTake) {
  Routes routes(100);
  EXPECT_GE(routes.cache.memory_bytes(), 3 * 100 * sizeof(RouteTarget));
  EXPECT_LE(routes.cache.memory_bytes(), 3 * 100 * sizeof(RouteTarget) + 1000);
  for (CachedRoute& one : routes.all) one.forget(routes.cache);
  EXPECT_EQ(routes.cache.memory_bytes(), 0U);
}

TEST(RouteCache, DropsWhatWasComputedLongestAgoUnlessItIsUsed) {
  Routes routes(100);
  const std::uint64_t of_one = routes.cache.memory_bytes() / 3;
  routes.uses[0] = 2;
  EXPECT_EQ(routes.cache.drop_to(2 * of_one + 200), 1U);
  EXPECT_FALSE(routes.all[0].never_computed());
  EXPECT_TRUE(routes.all[1].never_computed());
  EXPECT_TRUE(routes.all[1].route().targets.empty());
  EXPECT_FALSE(routes.all[2].never_computed());
  EXPECT_EQ(routes.cache.drop_to(0), 2U);
  EXPECT_LE(routes.cache.memory_bytes(), 1000U);
}

TEST(RouteCache, DropsNoMoreAtATimeThanItIsTold) {
  Routes routes(100, 10);
  EXPECT_EQ(routes.cache.drop_to(0, 4), 4U);
  EXPECT_TRUE(routes.all[3].never_computed());
  EXPECT_FALSE(routes.all[4].never_computed());
  EXPECT_EQ(routes.cache.drop_to(0, 7), 6U);
}

// All are in use: the one that goes is not found by looking at each of them.
TEST(RouteCache, SparesFewInARow) {
  Routes routes(100, 200);
  for (std::uint64_t& use : routes.uses) use = 2;
  EXPECT_EQ(routes.cache.drop_to(0, 1), 1U);
  std::size_t dropped = 200;
  for (std::size_t i = 0; i < routes.all.size(); ++i) {
    if (routes.all[i].never_computed()) dropped = i;
  }
  EXPECT_GT(dropped, 0U) << "it was used";
  EXPECT_LT(dropped, 100U);
}

TEST(RouteCache, LeavesSmallRoutesAlone) {
  Routes routes(2);
  EXPECT_EQ(routes.cache.drop_to(0), 0U);
  for (const CachedRoute& one : routes.all) EXPECT_FALSE(one.never_computed());
}

TEST(RouteCache, KeepsTheFeedsOfADroppedRoute) {
  RouteCache cache;
  const std::uint64_t use = 1;
  CachedRoute cached;
  Route route;
  route.targets.resize(100);
  route.feeds.push_back(nullptr);
  cached.set(std::move(route), 1, cache, use);
  EXPECT_EQ(cache.drop_to(0), 1U);
  EXPECT_TRUE(cached.never_computed());
  EXPECT_EQ(cached.route().feeds.size(), 1U);
  cached.set(Route{}, 2, cache, use);
  EXPECT_EQ(cache.memory_bytes(), 0U);
}

}  // namespace
}  // namespace millrace::broker
