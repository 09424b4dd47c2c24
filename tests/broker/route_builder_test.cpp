#include "core/broker/route_builder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/broker/parts.hpp"

namespace millrace::broker {
namespace {

using testing::ElementsAre;

class Build : public testing::Test {
 protected:
  explicit Build(const ProcessorLimits& limits = {}) : parts(limits), builder(parts.batch) {}

  Route route() { return builder.build(parts.router.index(), "a/b"); }
  // A subscription of its own, by a name of its own, that matches "a/b".
  Subscription& subscribe(Client& client, SubscriptionRequest wanted,
                          std::uint32_t identifier = 0) {
    wanted.name = "$p" + std::to_string(++names) + "/" + wanted.filter;
    return parts.subscribe(client, wanted, identifier);
  }

  Parts parts;
  RouteBuilder builder;
  int names = 0;
};

TEST_F(Build, MergesWhatOneSessionSubscribedToAtTheHighestQoS) {
  Client& client = parts.client();
  const Subscription& first = subscribe(client, to("a/+", 0));
  subscribe(client, to("a/b", 2));
  subscribe(client, to("#", 1));
  subscribe(parts.client(), to("a/#", 0));
  const Route built = route();
  ASSERT_EQ(built.targets.size(), 2u);
  const auto own = std::ranges::find(built.targets, &client.session, &RouteTarget::session);
  ASSERT_NE(own, built.targets.end());
  EXPECT_EQ(own->qos, 2);
  EXPECT_EQ(own->subscription, first.number) << "the lowest, whatever the order of the matches";
}

TEST_F(Build, GivesEachTargetTheStrongestModeOfItsSession) {
  Client& client = parts.client();
  subscribe(client, to("a/b", 0, Mode::latest), 1);
  subscribe(client, to("a/+", 0, Mode::every), 2);
  subscribe(client, to("#", 0, Mode::adaptive), 3);
  subscribe(parts.client(), to("#", 0, Mode::latest));
  const Route built = route();
  ASSERT_EQ(built.targets.size(), 4u);
  for (const RouteTarget& target : built.targets) {
    const bool own = target.session == &client.session;
    EXPECT_EQ(target.mode, own ? Mode::every : Mode::latest);
  }
}

TEST_F(Build, LimitsTheRateByTheSmallestIntervalUnlessEachMessageIsWanted) {
  Client& client = parts.client();
  subscribe(client, limited("a/b", 300));
  subscribe(client, limited("a/+", 100));
  ASSERT_EQ(route().targets.size(), 1u);
  EXPECT_EQ(route().targets[0].interval_ms(), 100u);
  SubscriptionRequest adaptive = limited("#", 200);
  adaptive.mode = Mode::adaptive;
  subscribe(client, adaptive);
  EXPECT_EQ(route().targets[0].mode, Mode::latest) << "with a limit it skips values all the same";
  EXPECT_EQ(route().targets[0].interval_ms(), 100u);
  subscribe(client, to("+/b", 0, Mode::adaptive));
  EXPECT_EQ(route().targets[0].interval_ms(), 0u);
  EXPECT_EQ(route().targets[0].mode, Mode::adaptive);
}

TEST_F(Build, DoesNotLimitTheRateWhereOneOfTheMergedHasNone) {
  Client& client = parts.client();
  subscribe(client, limited("a/b", 300));
  subscribe(client, to("a/+", 0, Mode::latest));
  ASSERT_EQ(route().targets.size(), 1u);
  EXPECT_EQ(route().targets[0].interval_ms(), 0u);
}

TEST_F(Build, KeepsApartWhatOptionsTellApart) {
  Client& client = parts.client();
  subscribe(client, to("a/b"));
  SubscriptionRequest no_local = to("a/+");
  no_local.no_local = true;
  subscribe(client, no_local);
  SubscriptionRequest as_published = to("#");
  as_published.retain_as_published = true;
  subscribe(client, as_published);
  subscribe(client, to("+/b"), 7);
  EXPECT_EQ(route().targets.size(), 4u);
}

TEST_F(Build, FindsWhatToMergeAmongManyTargets) {
  Client& client = parts.client();
  constexpr std::uint32_t identifiers = 50;
  for (std::uint32_t round = 0; round < 3; ++round) {
    for (std::uint32_t identifier = 1; identifier <= identifiers; ++identifier) {
      subscribe(client, to(round == 0 ? "a/b" : "a/+", static_cast<int>(round)), identifier);
    }
  }
  for (int i = 0; i < 3; ++i) subscribe(client, to("#"));
  const Route built = route();
  ASSERT_EQ(built.targets.size(), identifiers + 1);
  std::vector<std::uint32_t> seen;
  for (const RouteTarget& target : built.targets) {
    ASSERT_TRUE(!target.identifiers || target.identifiers->values.size() == 1);
    seen.push_back(target.identifiers ? target.identifiers->values.front() : 0);
    EXPECT_EQ(target.qos, seen.back() == 0 ? 0 : 2);
  }
  std::ranges::sort(seen);
  for (std::uint32_t i = 0; i <= identifiers; ++i) ASSERT_EQ(seen[i], i);
  EXPECT_EQ(route().targets.size(), identifiers + 1) << "nothing is left over from the last build";
}

struct OneCopy : Build {
  static ProcessorLimits limits() {
    ProcessorLimits one_copy;
    one_copy.identifiers_in_one_copy = true;
    return one_copy;
  }
  OneCopy() : Build(limits()) {}
};

TEST_F(OneCopy, NamesEachIdentifierOnceInOrderAndLeavesTheSubscriptionsTheirOwn) {
  Client& client = parts.client();
  const Subscription& own = subscribe(client, to("a/b"), 9);
  for (const std::uint32_t identifier : {3u, 9u, 0u, 5u, 3u}) {
    subscribe(client, to("a/+"), identifier);
  }
  const Route built = route();
  ASSERT_EQ(built.targets.size(), 1u);
  ASSERT_TRUE(built.targets[0].identifiers);
  EXPECT_THAT(built.targets[0].identifiers->values, ElementsAre(3u, 5u, 9u));
  ASSERT_TRUE(own.extras.read().identifiers);
  EXPECT_THAT(own.extras.read().identifiers->values, ElementsAre(9u));
  EXPECT_THAT(route().targets[0].identifiers->values, ElementsAre(3u, 5u, 9u)) << "built again";
}

TEST_F(Build, HasAGroupOnceBesideWhatItsMembersGetThemselves) {
  Client& one = parts.client();
  Client& two = parts.client();
  for (Client* client : {&one, &two}) parts.subscribe(*client, shared("g", "a/+", 1));
  subscribe(one, to("a/b"));
  const Route built = route();
  EXPECT_EQ(built.groups.size(), 1u);
  ASSERT_EQ(built.targets.size(), 1u);
  EXPECT_EQ(built.targets[0].session, &one.session);
  EXPECT_EQ(built.targets[0].qos, 0) << "the group's subscription adds nothing to it";
}

TEST_F(Build, LeavesOutWhoMayNotReadTheTopicAndWhoHasEnded) {
  const auto rules =
      std::make_shared<const TopicRules>(std::vector<TopicRule>{{false, "a/b"}}, true);
  Client& may_not = parts.client();
  SubscriptionRequest judged = to("#", 2);
  judged.rules = rules;
  subscribe(may_not, judged);
  EXPECT_TRUE(route().empty());
  subscribe(may_not, to("a/+", 1));
  ASSERT_EQ(route().targets.size(), 1u);
  EXPECT_EQ(route().targets[0].qos, 1) << "what is denied counts for nothing";
  may_not.lose_connection();
  may_not.session.ended = true;  // its subscriptions are still in the index
  EXPECT_TRUE(route().empty());
}

// Whatever the options of two subscriptions of a session: copy_key() says what build() does.
TEST(RouteBuilder, SaysWhichSubscriptionsShareACopy) {
  std::minstd_rand random(5);
  const auto chance = [&] { return random() % 2 == 0; };
  int shared_copies = 0;
  for (int round = 0; round < 500; ++round) {
    ProcessorLimits limits;
    limits.identifiers_in_one_copy = chance();
    Parts parts(limits);
    Client& client = parts.client();
    std::vector<Subscription*> two;
    for (const char* filter : {"a/b", "a/+"}) {
      SubscriptionRequest wanted = random() % 5 == 0 ? shared("g", filter, 0) : to(filter);
      wanted.no_local = wanted.share_group.empty() && random() % 3 == 0;
      wanted.retain_as_published = random() % 3 == 0;
      wanted.qos = static_cast<std::uint8_t>(random() % 3);
      two.push_back(&parts.subscribe(client, wanted, static_cast<std::uint32_t>(random() % 3)));
    }
    RouteBuilder builder(parts.batch);
    const Route route = builder.build(parts.router.index(), "a/b");
    const bool one_copy = route.targets.size() + route.groups.size() == 1;
    const auto key = builder.copy_key(*two[0]);
    ASSERT_EQ(key && key == builder.copy_key(*two[1]), one_copy);
    shared_copies += one_copy ? 1 : 0;
  }
  EXPECT_GT(shared_copies, 20);
}

}  // namespace
}  // namespace millrace::broker
