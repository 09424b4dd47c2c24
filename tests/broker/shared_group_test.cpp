#include "core/broker/shared_group.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/broker/route.hpp"
#include "tests/broker/parts.hpp"

namespace millrace::broker {
namespace {

using testing::ElementsAre;
using testing::Pair;
using testing::UnorderedElementsAre;

// --- Whose turn it is ---

class Group : public testing::Test {
 protected:
  Client& member(int qos = 1, std::shared_ptr<const TopicRules> rules = {}) {
    SubscriptionRequest wanted = shared("g", "a/#", qos);
    wanted.rules = std::move(rules);
    Client& client = parts.client();
    parts.subscribe(client, wanted);
    return client;
  }
  void lose_connection(Client& client) {
    client.lose_connection();
    parts.router.update_groups(client.session);
  }
  void connect(Client& client) {
    client.connect();
    parts.router.update_groups(client.session);
  }
  static void fall_behind(Client& client) {
    client.session.pending.push_every(waiting(message("a/b", "waits"), 1));
  }
  // The number of the session whose turn it is; 0: nobody's.
  std::uint64_t take_turn(int qos = 1, std::string_view topic = "a/b") {
    const Message what = message(topic, "v", qos, false, qos > 0 ? 1 : 0);
    const Route& route = parts.router.route_of(parts.topic(topic));
    const Subscription* member = parts.router.take_turn(route.groups.at(0), what);
    return member == nullptr ? 0 : member->session->number;
  }
  std::vector<std::uint64_t> take_turns(int count, int qos = 1) {
    std::vector<std::uint64_t> numbers;
    for (int i = 0; i < count; ++i) numbers.push_back(take_turn(qos));
    return numbers;
  }

  Parts parts;
};

TEST_F(Group, GoesRoundItsLiveMembers) {
  for (int i = 0; i < 3; ++i) member();
  EXPECT_THAT(take_turns(6), ElementsAre(1, 2, 3, 1, 2, 3));
}

TEST_F(Group, PassesOverWhoIsBehindWhileSomebodyHasRoom) {
  member();
  fall_behind(member());
  member();
  EXPECT_THAT(take_turns(4), ElementsAre(1, 3, 1, 3));
  for (const auto& client : parts.clients) {
    if (client->session.pending.empty()) fall_behind(*client);
  }
  std::map<std::uint64_t, int> turns;
  for (const std::uint64_t number : take_turns(9)) ++turns[number];
  EXPECT_THAT(turns, ElementsAre(Pair(1, 3), Pair(2, 3), Pair(3, 3)));
}

TEST_F(Group, GivesToWhoIsOfflineOnlyWhatWaitsForHim) {
  Client& queues = member(1);
  Client& queues_too = member(2);
  Client& does_not = member(0);
  for (Client* client : {&queues, &queues_too, &does_not}) lose_connection(*client);
  EXPECT_THAT(take_turns(4, 1), ElementsAre(1, 2, 1, 2));
  EXPECT_EQ(take_turn(0), 0u) << "QoS 0 waits for nobody";
  connect(does_not);
  EXPECT_THAT(take_turns(3, 2), ElementsAre(3, 3, 3)) << "a live member before all others";
}

// A reload may leave a member less than it had while it is away.
TEST_F(Group, GivesToNobodyWhoseNewQoSWaitsForNothing) {
  Client& client = member(2);
  Subscription& subscription = *client.session.subscriptions.read().of.find("$share/g/a/#");
  lose_connection(client);
  parts.router.set_rules(subscription, nullptr, 1);
  EXPECT_EQ(take_turn(1), 1u);
  parts.router.set_rules(subscription, nullptr, 0);
  EXPECT_EQ(take_turn(1), 0u);
  connect(client);
  EXPECT_EQ(take_turn(1), 1u);
}

TEST_F(Group, LeavesOutWhoMayNotReadTheTopicAndAsksRulesOnce) {
  const auto rules = std::make_shared<const TopicRules>(std::vector<TopicRule>{{false, "a/secret"}},
                                                        /*otherwise_allow=*/true);
  member(1, rules);
  member(1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(take_turn(1, "a/secret"), 2u);
  EXPECT_THAT(take_turns(2), UnorderedElementsAre(1, 2));
  lose_connection(*parts.clients[1]);
  EXPECT_EQ(take_turn(1, "a/secret"), 2u) << "it waits for him, as the live one may not read it";
  parts.router.unsubscribe(parts.clients[1]->session, "$share/g/a/#");
  EXPECT_EQ(take_turn(1, "a/secret"), 0u);
}

TEST_F(Group, NeverGivesToASessionThatHasEnded) {
  Client& gone = member();
  member();
  gone.session.ended = true;  // it still stands in the group
  EXPECT_THAT(take_turns(3), ElementsAre(2, 2, 2));
}

TEST_F(Group, LooksAtFewMembersHoweverManyThereAre) {
  constexpr std::uint64_t count = 1000;
  for (std::uint64_t i = 0; i < count; ++i) member();
  take_turn();  // its topic is routed
  base::Counter& work = parts.batch.stats().work_units;
  std::uint64_t before = work.value();
  for (int i = 0; i < 10; ++i) take_turn();
  EXPECT_LE(work.value() - before, 10u);
  for (const auto& client : parts.clients) fall_behind(*client);
  before = work.value();
  take_turn();
  EXPECT_LE(work.value() - before, 64u) << "all are behind";
  for (const auto& client : parts.clients) lose_connection(*client);
  before = work.value();
  take_turn();
  EXPECT_LE(work.value() - before, 1u) << "all are offline";
}

// Members come, go, lose and get back their connections: who gets the next message is always one
// that can take it, and one that does so best.
TEST_F(Group, HasEachMemberInTheOneListWhereItStands) {
  std::minstd_rand random(9);
  parts.subscribe(parts.client(), shared("g", "a/#", 1));  // so that the group stays
  std::map<std::uint64_t, int> qos_of{{1, 1}};
  for (int round = 0; round < 5000; ++round) {
    Client& client = parts.clients.size() < 12
                         ? parts.client()
                         : *parts.clients[1 + random() % (parts.clients.size() - 1)];
    const std::uint64_t number = client.session.number;
    switch (random() % 3) {
      case 0: {
        const int qos = static_cast<int>(random() % 3);
        parts.subscribe(client, shared("g", "a/#", qos));
        parts.router.update_groups(client.session);
        qos_of[number] = qos;
        break;
      }
      case 1:
        parts.router.unsubscribe(client.session, "$share/g/a/#");
        qos_of.erase(number);
        break;
      default:
        client.session.connected() ? lose_connection(client) : connect(client);
    }
    if (random() % 4 == 0) {
      Client& first = *parts.clients[0];
      first.session.connected() ? lose_connection(first) : connect(first);
    }
    int live = 0;
    for (const auto& [of, qos] : qos_of) live += parts.clients[of - 1]->session.connected() ? 1 : 0;
    const std::uint64_t taker = take_turn(1);
    ASSERT_TRUE(qos_of.contains(taker)) << "round " << round;
    const bool takes_live = parts.clients[taker - 1]->session.connected();
    ASSERT_EQ(takes_live, live > 0);
    ASSERT_TRUE(takes_live || qos_of[taker] > 0);
    ASSERT_EQ(parts.router.subscription_count(), qos_of.size());
    if (round % 10 == 0) parts.router.forget_ended();
  }
}

TEST(SharedGroup, MayBeOfAMemberWhoseOwnFilterMatchesToo) {
  Parts parts;
  Client& client = parts.client();
  parts.subscribe(client, shared("g", "a", 0));
  parts.subscribe(client, to("a"));
  EXPECT_EQ(parts.publish(message("a", "v")), 2u);
  parts.next_batch();
  EXPECT_THAT(client.take_payloads(), ElementsAre("v", "v"));
}

// --- Through the processor ---

TEST(SharedGroup, LeavesOutWhoIsOfflineAndWouldNotQueue) {
  World world;
  Peer& plain_member = world.peer("qos 0").connect(true, 100).subscribe(shared("g", "a/#", 0));
  Peer& queues = world.peer("qos 1").connect(true, 100).subscribe(shared("g", "a/#", 1));
  plain_member.close();
  queues.close();
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 4; ++i) writer.publish("a/b", "v", 1);
  EXPECT_EQ(world.processor.find_session("qos 1")->pending.size(), 4u);
  Peer& back = world.peer("qos 0").connect(false, 100);
  writer.publish("a/b", "v", 1);
  EXPECT_EQ(back.read().got.size(), 1u);
  back.unsubscribe("$share/g/a/#");
  EXPECT_EQ(world.processor.stats().subscriptions.value(), 1u);
  EXPECT_EQ(world.processor.stats().shared_groups.value(), 1u);
}

TEST(SharedGroup, GoesOnInTurnAsMembersComeAndGo) {
  constexpr std::size_t count = 1000;
  World world;
  std::vector<Peer*> all;
  for (std::size_t i = 0; i < count; ++i) {
    all.push_back(&world.peer("member" + std::to_string(i)).connect(true, 100));
    all.back()->subscribe(shared("g", "a/#", 0));
  }
  Peer& writer = world.peer("writer").connect();
  for (std::size_t i = 0; i < count; i += 2) all[i]->close();
  for (std::size_t i = 0; i < 2 * count; ++i) writer.publish("a/b", "v");
  for (std::size_t i = 1; i < count; i += 2) ASSERT_EQ(all[i]->read().got.size(), 4u) << i;
}

TEST(SharedGroup, PassesOverWhoMayNotReadTheTopic) {
  World world;
  const auto rules = std::make_shared<const TopicRules>(std::vector<TopicRule>{{false, "a/secret"}},
                                                        /*otherwise_allow=*/true);
  std::vector<Peer*> limited;
  for (int i = 0; i < 100; ++i) {
    SubscriptionRequest wanted = shared("g", "a/#", 1);
    wanted.rules = rules;
    limited.push_back(&world.peer("limited" + std::to_string(i)).connect(true, 100));
    limited.back()->subscribe(wanted);
  }
  Peer& reader = world.peer("reader").connect(true, 100).subscribe(shared("g", "a/#", 1));
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 5; ++i) writer.publish("a/secret", "v", 1);
  EXPECT_EQ(reader.read().got.size(), 5u);
  reader.close();
  writer.publish("a/secret", "v", 1);
  EXPECT_EQ(world.processor.find_session("reader")->pending.size(), 1u);
  for (Peer* one : limited) ASSERT_TRUE(one->read().got.empty());
}

}  // namespace
}  // namespace millrace::broker
