// Who would get a message of a topic, as the processor answers the management API.
#include "server/api/subscribers.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "tests/broker/world.hpp"

namespace millrace::server {
namespace {

using broker::World;
using Kind = Subscriber::Kind;

Subscribers ask(World& world, std::string topic) {
  Subscribers found;
  world.apply({nullptr, broker::command::Inquire{std::make_unique<SubscribersInquiry>(
                            std::move(topic), [&](Subscribers answer) { found = answer; })}});
  world.run_until_idle();
  std::sort(found.shown.begin(), found.shown.end(),
            [](const Subscriber& a, const Subscriber& b) { return a.filter < b.filter; });
  return found;
}

TEST(Subscribers, AreThoseWhoseFilterMatches) {
  World world;
  world.peer("here").connect().subscribe("a/+", 1).subscribe("b");
  world.peer("away").connect(false, 100).subscribe("a/b", 1, broker::Mode::every).close();
  const Subscribers found = ask(world, "a/b");
  ASSERT_EQ(found.shown.size(), 2u);
  EXPECT_EQ(found.count, 2u);
  EXPECT_EQ(found.shown[0].name, "here");
  EXPECT_EQ(found.shown[0].filter, "a/+");
  EXPECT_TRUE(found.shown[0].connected);
  EXPECT_EQ(found.shown[1].name, "away");
  EXPECT_EQ(found.shown[1].mode, broker::Mode::every);
  EXPECT_FALSE(found.shown[1].connected);
  EXPECT_EQ(ask(world, "c").count, 0u);
}

TEST(Subscribers, AreNotThoseWhoseSessionHasEnded) {
  broker::ProcessorLimits limits;
  limits.removals_per_batch = 1;
  World world(limits);
  auto& peer = world.peer("c").connect();
  for (int i = 0; i < 200; ++i) peer.subscribe("f/" + std::to_string(i));
  peer.subscribe("a").close();
  EXPECT_EQ(ask(world, "a").count, 0u);
}

TEST(Subscribers, SayWhetherTheRulesLetThemRead) {
  World world;
  broker::SubscriptionRequest wanted;
  wanted.name = wanted.filter = "#";
  wanted.rules =
      std::make_shared<const broker::TopicRules>(std::vector<broker::TopicRule>{}, false);
  world.peer("c").connect().subscribe(wanted);
  const Subscribers found = ask(world, "a");
  ASSERT_EQ(found.shown.size(), 1u);
  EXPECT_FALSE(found.shown[0].may_read);
}

TEST(Subscribers, HaveASharedGroupOnceWithItsMembers) {
  World world;
  for (const char* name : {"one", "two"}) {
    broker::SubscriptionRequest wanted;
    wanted.name = "$share/g/a/#";
    wanted.filter = "a/#";
    wanted.share_group = "g";
    world.peer(name).connect().subscribe(wanted);
  }
  const Subscribers found = ask(world, "a/b");
  ASSERT_EQ(found.shown.size(), 1u);
  EXPECT_EQ(found.shown[0].kind, Kind::group);
  EXPECT_EQ(found.shown[0].name, "g");
  EXPECT_EQ(found.shown[0].members, 2u);
}

TEST(Subscribers, AreCountedBeyondThoseThatAreShown) {
  World world;
  const std::size_t count = SubscribersInquiry::shown_max + 5;
  for (std::size_t i = 0; i < count; ++i)
    world.peer("c" + std::to_string(i)).connect().subscribe("a");
  const Subscribers found = ask(world, "a");
  EXPECT_EQ(found.shown.size(), SubscribersInquiry::shown_max);
  EXPECT_EQ(found.count, count);
  EXPECT_EQ(json_of("a", found)["more"], true);
}

}  // namespace
}  // namespace millrace::server
