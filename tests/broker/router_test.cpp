#include "core/broker/router.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "protocol/topic.hpp"
#include "tests/broker/parts.hpp"

namespace millrace::broker {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class Routes : public testing::Test {
 protected:
  explicit Routes(const ProcessorLimits& limits = {}) : parts(limits) {}

  const Route& route_of(std::string_view topic) {
    return parts.router.route_of(parts.topic(topic));
  }
  // The numbers of the sessions that it goes to.
  std::vector<std::uint64_t> to_of(std::string_view topic) {
    std::vector<std::uint64_t> numbers;
    for (const RouteTarget& target : route_of(topic).targets) {
      numbers.push_back(target.session->number);
    }
    return numbers;
  }
  // What a session that ends goes through.
  void end(Client& client) {
    client.lose_connection();
    client.session.ended = true;
    parts.router.leave_groups(client.session);
  }

  Parts parts;
};

TEST_F(Routes, NameEachSubscriberFromItsSubscribeToItsUnsubscribe) {
  Client& one = parts.client();
  Client& two = parts.client();
  EXPECT_THAT(to_of("a/b"), IsEmpty());
  parts.subscribe(one, to("a/+"));
  EXPECT_THAT(to_of("a/b"), ElementsAre(1));
  parts.subscribe(two, to("#"));
  EXPECT_THAT(to_of("a/b"), UnorderedElementsAre(1, 2));
  EXPECT_THAT(to_of("$SYS/b"), IsEmpty());
  ASSERT_NE(parts.router.unsubscribe(one.session, "a/+"), nullptr);
  EXPECT_THAT(to_of("a/b"), ElementsAre(2));
}

TEST_F(Routes, AreNotMadeAnewForWhatDoesNotTouchTheirTopic) {
  Client& client = parts.client();
  parts.subscribe(client, to("a"));
  ASSERT_THAT(to_of("a"), ElementsAre(1));
  const std::uint64_t before = parts.batch.stats().routes_computed.value();
  parts.subscribe(client, to("b/#"));
  parts.router.unsubscribe(client.session, "b/#");
  EXPECT_THAT(to_of("a"), ElementsAre(1));
  EXPECT_EQ(parts.batch.stats().routes_computed.value(), before);
  parts.subscribe(client, to("a", 1));  // new options
  EXPECT_EQ(route_of("a").targets.at(0).qos, 1);
  EXPECT_EQ(parts.batch.stats().routes_computed.value(), before + 1);
}

TEST_F(Routes, AreMadeAnewWithinTheirMemory) {
  ProcessorLimits limits;
  limits.routes_bytes = 0;
  parts.batch.set_limits(limits);
  for (int i = 0; i < 40; ++i) parts.subscribe(parts.client(), to("+"));
  EXPECT_EQ(to_of("a").size(), 40u);
  EXPECT_EQ(to_of("b").size(), 40u) << "the other one went for it";
  EXPECT_EQ(parts.batch.stats().routes_dropped.value(), 1u);
  EXPECT_EQ(to_of("a").size(), 40u);
}

// --- Subscriptions ---

TEST_F(Routes, OfOneNameAreOneSubscriptionWithTheNewestOptions) {
  Client& client = parts.client();
  Subscription& first = parts.subscribe(client, to("a", 0, Mode::latest), 7);
  SubscriptionRequest again = to("a", 2, Mode::every);
  again.no_local = true;
  const auto [second, is_new] = parts.router.subscribe(client.session, again, 0);
  EXPECT_EQ(second, &first);
  EXPECT_FALSE(is_new);
  EXPECT_EQ(first.extras.read().identifier, 0u) << "the identifier too is that of the newest";
  const Route& route = route_of("a");
  ASSERT_EQ(route.targets.size(), 1u);
  EXPECT_EQ(route.targets[0].qos, 2);
  EXPECT_TRUE(route.targets[0].no_local);
  EXPECT_EQ(route.targets[0].mode, Mode::every);
  EXPECT_EQ(parts.router.subscription_count(), 1u);
  EXPECT_THAT(client.session.subscriptions.read().mode_counts, ElementsAre(0u, 0u, 1u));
}

TEST_F(Routes, HoldWhatEndedUntilTheBatchHas) {
  Client& client = parts.client();
  parts.subscribe(client, to("a"));
  parts.subscribe(client, shared("g", "a", 0));
  const Route before = route_of("a");
  const Subscription* plain = parts.router.unsubscribe(client.session, "a");
  const Subscription* member = parts.router.unsubscribe(client.session, "$share/g/a");
  ASSERT_TRUE(plain != nullptr && member != nullptr);
  EXPECT_EQ(plain->filter(), "a");
  EXPECT_EQ(member->name(), "$share/g/a");
  ASSERT_EQ(before.groups.size(), 1u);
  EXPECT_TRUE(before.groups[0].group->empty()) << "who still has the route may look at its group";
  EXPECT_TRUE(route_of("a").empty());
  EXPECT_EQ(parts.router.subscription_count(), 0u);
  EXPECT_EQ(parts.router.unsubscribe(client.session, "a"), nullptr);
}

TEST_F(Routes, ChargeAClientForWhatItHas) {
  Client& client = parts.client();
  const SubscriptionSet& set = client.session.subscriptions.read();
  parts.subscribe(client, to("a"));
  parts.subscribe(client, shared("g", "a", 0));
  const std::uint64_t of_two = client.session.subscriptions.read().memory_bytes;
  EXPECT_GT(of_two, 2 * sizeof(Subscription));
  parts.subscribe(client, to("a", 1));  // no new one
  EXPECT_EQ(client.session.subscriptions.read().memory_bytes, of_two);
  for (const char* name : {"a", "$share/g/a"}) parts.router.unsubscribe(client.session, name);
  EXPECT_EQ(client.session.subscriptions.read().memory_bytes, 0u);
  EXPECT_EQ(client.session.subscriptions.read().shared_count, 0u);
  EXPECT_EQ(set.of.size(), 0u);
}

struct FewRoutes : Routes {
  static ProcessorLimits limits() {
    ProcessorLimits few;
    few.subscriptions_max = 2;
    return few;
  }
  FewRoutes() : Routes(limits()) {}
};

TEST_F(FewRoutes, RefuseANewSubscriptionAndTakeNewOptionsAtTheLimit) {
  Client& client = parts.client();
  parts.subscribe(client, to("a"));
  parts.subscribe(client, to("b"));
  EXPECT_EQ(parts.router.subscribe(client.session, to("c"), 0).subscription, nullptr);
  EXPECT_THAT(to_of("c"), IsEmpty());
  EXPECT_NE(parts.router.subscribe(client.session, to("b", 2), 0).subscription, nullptr);
  parts.router.unsubscribe(client.session, "a");
  EXPECT_NE(parts.router.subscribe(client.session, to("c"), 0).subscription, nullptr);
  parts.subscribe(parts.client(), to("c"));  // the limit is each client's own
  EXPECT_EQ(to_of("c").size(), 2u);
}

struct FewRoutesInAll : Routes {
  static ProcessorLimits limits() {
    ProcessorLimits few;
    few.all_subscriptions_max = 2;
    return few;
  }
  FewRoutesInAll() : Routes(limits()) {}
};

TEST_F(FewRoutesInAll, RefuseANewSubscriptionOfAnybodyAtTheLimit) {
  Client& one = parts.client();
  Client& two = parts.client();
  parts.subscribe(one, to("a"));
  parts.subscribe(two, shared("g", "a", 0));
  EXPECT_EQ(parts.router.subscribe(two.session, to("b"), 0).subscription, nullptr);
  EXPECT_EQ(parts.router.subscribe(one.session, to("b"), 0).subscription, nullptr);
  EXPECT_EQ(parts.batch.stats().all_subscriptions_refused.value(), 2u);
  EXPECT_NE(parts.router.subscribe(one.session, to("a", 1), 0).subscription, nullptr);
  parts.router.unsubscribe(one.session, "a");
  EXPECT_NE(parts.router.subscribe(two.session, to("b"), 0).subscription, nullptr);
}

TEST_F(Routes, RefuseANewSubscriptionWhileMemoryIsScarce) {
  Client& client = parts.client();
  parts.subscribe(client, to("a"));
  parts.batch.ledger().set_limit(1);
  parts.batch.ledger().set(Holding::other, 0);
  parts.batch.ledger().set_other(1);
  parts.batch.ledger().update();
  EXPECT_EQ(parts.router.subscribe(client.session, to("b"), 0).subscription, nullptr);
  EXPECT_EQ(parts.batch.stats().memory_refusals.value(), 1u);
  EXPECT_NE(parts.router.subscribe(client.session, to("a", 1), 0).subscription, nullptr);
  EXPECT_EQ(parts.batch.stats().memory_refusals.value(), 1u);
}

TEST_F(Routes, GiveNoNumberTwiceAfterARestart) {
  Client& client = parts.client();
  ASSERT_TRUE(parts.router.restore(client.session, to("seven"), 0, 7));
  ASSERT_TRUE(parts.router.restore(client.session, to("three"), 0, 3));
  EXPECT_EQ(client.session.subscriptions.read().of.find("seven")->number, 7u);
  EXPECT_EQ(client.session.subscriptions.read().of.find("three")->number, 3u);
  EXPECT_EQ(parts.subscribe(client, to("new")).number, 8u);
  parts.router.skip_number(20);
  parts.router.skip_number(4);
  EXPECT_EQ(parts.subscribe(client, to("newer")).number, 21u);
}

TEST_F(Routes, LeaveOutWhatNewRulesDenyFromThenOn) {
  Client& client = parts.client();
  Subscription& subscription = parts.subscribe(client, to("a/#", 2));
  ASSERT_EQ(to_of("a/secret").size(), 1u);
  parts.router.set_rules(
      subscription,
      std::make_shared<const TopicRules>(std::vector<TopicRule>{{false, "a/secret"}}, true), 1);
  EXPECT_THAT(to_of("a/secret"), IsEmpty());
  EXPECT_EQ(route_of("a/open").targets.at(0).qos, 1);
  parts.router.set_rules(subscription, nullptr, 2);
  EXPECT_EQ(to_of("a/secret").size(), 1u);
  EXPECT_EQ(subscription.qos, 1) << "what was granted is not raised again";
}

// --- What ends ---

TEST_F(Routes, NameNothingOfASessionThatHasEnded) {
  Client& gone = parts.client();
  Client& stays = parts.client();
  for (int i = 0; i < 100; ++i) parts.subscribe(gone, to("a/" + std::to_string(i)));
  parts.subscribe(gone, shared("g", "a/#", 0));
  parts.subscribe(stays, to("a/#"));
  ASSERT_EQ(to_of("a/99").size(), 2u);
  end(gone);
  std::uint32_t next = 0;
  const std::uint32_t slots = gone.session.subscriptions.read().of.slot_count();
  for (int slices = 0; next < slots; ++slices) {
    const std::uint32_t before = next;
    next = parts.router.remove_some(gone.session, next, 16);
    ASSERT_LE(next - before, 16u);
    ASSERT_LT(slices, 1000);
  }
  for (int i = 0; i < 100; ++i) {
    ASSERT_THAT(to_of("a/" + std::to_string(i)), ElementsAre(stays.session.number));
  }
  EXPECT_EQ(parts.router.index().size(), 1u);
  EXPECT_EQ(parts.router.group_count(), 0u);
  EXPECT_EQ(gone.session.subscriptions.read().memory_bytes, 0u);
}

TEST_F(Routes, KeepGroupsOfOneFilterApartByTheirNames) {
  Client& client = parts.client();
  for (const char* group : {"g", "h"}) parts.subscribe(client, shared(group, "a/#", 0));
  parts.subscribe(parts.client(), shared("g", "a/#", 0));
  EXPECT_EQ(parts.router.group_count(), 2u);
  EXPECT_EQ(parts.router.subscription_count(), 3u);
  EXPECT_EQ(parts.router.index().size(), 2u) << "a match finds each group once";
  EXPECT_EQ(route_of("a/b").groups.size(), 2u);
}

TEST_F(Routes, HaveAGroupAsLongAsItHasAMember) {
  Client& one = parts.client();
  Client& two = parts.client();
  for (Client* client : {&one, &two}) parts.subscribe(*client, shared("g", "a", 0));
  parts.router.leave_groups(one.session);
  EXPECT_EQ(route_of("a").groups.size(), 1u);
  parts.router.leave_groups(two.session);
  EXPECT_EQ(parts.router.group_count(), 0u);
  EXPECT_TRUE(route_of("a").empty());
  parts.subscribe(parts.client(), shared("g", "a", 0));  // within the same batch
  ASSERT_EQ(route_of("a").groups.size(), 1u);
  EXPECT_EQ(route_of("a").groups[0].group->member_count(), 1u);
}

// Whatever is subscribed and unsubscribed in whatever order, each topic's route is what MQTT's rules
// of matching say.
TEST_F(Routes, AreThoseOfTheSubscriptionsThatMatch) {
  std::minstd_rand random(3);
  const auto pick = [&](const auto& from) { return from[random() % std::size(from)]; };
  const std::string filters[] = {"#",     "+",   "a", "a/#", "a/+", "+/b",   "a/b",  "a/b/c",
                                 "a/+/c", "+/+", "/", "/+",  "b",   "a/b/#", "$s/#", "+/b/#"};
  const std::string topics[] = {"a", "b", "a/b", "a/c", "b/b", "a/b/c", "a/x/c", "/", "/b", "$s/b"};
  std::set<std::pair<std::uint64_t, std::string>> subscribed;
  for (int i = 0; i < 5; ++i) parts.client();
  for (int round = 0; round < 3000; ++round) {
    Client& client = *parts.clients[random() % parts.clients.size()];
    const std::string filter = pick(filters);
    if (random() % 2 == 0) {
      parts.subscribe(client, to(filter));
      subscribed.emplace(client.session.number, filter);
    } else {
      const bool was_there = parts.router.unsubscribe(client.session, filter) != nullptr;
      ASSERT_EQ(was_there, subscribed.erase({client.session.number, filter}) == 1);
    }
    const std::string topic = pick(topics);
    std::set<std::uint64_t> expected;
    for (const auto& [number, of] : subscribed) {
      if (protocol::matches(of, topic)) expected.insert(number);
    }
    const std::vector<std::uint64_t> numbers = to_of(topic);
    ASSERT_EQ(std::set<std::uint64_t>(numbers.begin(), numbers.end()), expected) << topic;
    ASSERT_EQ(numbers.size(), expected.size()) << "one copy each";
    ASSERT_EQ(parts.router.subscription_count(), subscribed.size());
    if (random() % 10 == 0) parts.next_batch();
  }
}

}  // namespace
}  // namespace millrace::broker
