// Who brings messages from elsewhere hears whether anybody here subscribes to them.
#include "core/broker/demand.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "protocol/topic.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Told = std::vector<std::vector<bool>>;

constexpr std::uint16_t link_origin = 3;

void watch(World& world, std::vector<std::string> filters, Told& told,
           std::uint16_t origin = link_origin) {
  auto request = std::make_unique<WatchRequest>();
  request->origin = origin;
  request->filters = std::move(filters);
  request->tell = [&told](std::vector<bool> wanted) { told.push_back(std::move(wanted)); };
  world.apply({nullptr, command::Watch{std::move(request)}});
}

SubscriptionRequest plain(std::string filter) {
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = std::move(filter);
  return wanted;
}

TEST(Demand, IsToldAtOnceAndWhenTheAnswerChanges) {
  Told told;  // outlives the world, which tells when its clients leave
  World world;
  watch(world, {"a/#", "b/+"}, told);
  EXPECT_THAT(told, ElementsAre(std::vector{false, false}));
  Peer& one = world.peer("one").connect().subscribe("a/1");
  EXPECT_THAT(told.back(), ElementsAre(true, false));
  Peer& two = world.peer("two").connect().subscribe("#");
  EXPECT_THAT(told.back(), ElementsAre(true, true));
  two.subscribe("b/1");
  one.unsubscribe("a/1");
  EXPECT_EQ(told.size(), 3u) << "nothing changed";
  two.unsubscribe("#");
  EXPECT_THAT(told.back(), ElementsAre(false, true));
}

TEST(Demand, EndsWithTheLastSubscriptionWhoeverHasIt) {
  Told told;  // outlives the world, which tells when its clients leave
  World world;
  watch(world, {"a/#"}, told);
  Peer& kept = world.peer("kept", protocol::Version::v5).connect(true, 100).subscribe("a/1");
  Peer& gone = world.peer("gone").connect().subscribe("a/2");
  kept.close();
  gone.close();
  world.run_until_idle();
  EXPECT_THAT(told, ElementsAre(std::vector{false}, std::vector{true})) << "a session waits";
  world.advance_ms(101'000);
  EXPECT_THAT(told.back(), ElementsAre(false));
}

TEST(Demand, CountsASharedGroupUntilItsLastMemberLeaves) {
  Told told;  // outlives the world, which tells when its clients leave
  World world;
  watch(world, {"a/#"}, told);
  SubscriptionRequest shared = plain("a/+");
  shared.name = "$share/g/a/+";
  shared.share_group = "g";
  Peer& one = world.peer("one").connect().subscribe(shared);
  Peer& two = world.peer("two").connect().subscribe(shared);
  one.close();
  world.run_until_idle();
  EXPECT_THAT(told.back(), ElementsAre(true));
  two.close();
  world.run_until_idle();
  EXPECT_THAT(told, ElementsAre(std::vector{false}, std::vector{true}, std::vector{false}));
}

TEST(Demand, IsNotWhatTheWatcherSubscribesToItself) {
  World world;
  Told told, other;
  watch(world, {"#"}, told);
  watch(world, {"#"}, other, link_origin + 1);
  Peer& link = world.peer("link", protocol::Version::v5);
  link.origin = link_origin;
  link.connect(true, 100).subscribe(plain("a/#")).close();
  EXPECT_THAT(told, ElementsAre(std::vector{false}));
  EXPECT_THAT(other.back(), ElementsAre(true)) << "of another link it is";
}

TEST(Demand, CountsWhatWasThereBefore) {
  ProcessorLimits limits;
  limits.inquiry_sessions_per_batch = 10;
  Told told;  // outlives the world, which tells when its clients leave
  World world(limits);
  Peer& one = world.peer("one").connect();
  for (int i = 0; i < 100; ++i) one.subscribe("a/" + std::to_string(i));
  watch(world, {"b/#", "a/99"}, told);
  EXPECT_THAT(told, IsEmpty()) << "it counts in slices";
  EXPECT_TRUE(world.processor.has_more());
  world.run_until_idle();
  EXPECT_THAT(told, ElementsAre(std::vector{false, true}));
  one.unsubscribe("a/99");
  EXPECT_THAT(told.back(), ElementsAre(false, false));
}

TEST(Demand, AgreesWithTheSubscriptionsThroughChangesWhileItCounts) {
  std::mt19937 random(7);
  ProcessorLimits limits;
  limits.inquiry_sessions_per_batch = 3;
  const std::vector<std::string> filters = {"a/#", "+/1", "b/2/c", "#"};
  for (int round = 0; round < 50; ++round) {
    Told told;  // outlives the world, which tells when its clients leave
    World world(limits);
    Peer& one = world.peer("one").connect();
    std::map<std::string, bool> has;
    const auto change = [&] {
      const char* firsts[] = {"a", "b", "+"};
      const char* lasts[] = {"1", "2", "2/c", "#"};
      const std::string filter = std::string(firsts[random() % 3]) + "/" + lasts[random() % 4];
      has[filter] ? one.unsubscribe(filter) : one.subscribe(filter);
      has[filter] = !has[filter];
    };
    for (unsigned i = random() % 20; i > 0; --i) change();
    watch(world, filters, told);
    for (unsigned i = random() % 20; i > 0; --i) change();
    world.run_until_idle();
    std::vector<bool> wanted;
    for (const std::string& filter : filters) {
      bool any = false;
      for (const auto& [name, there] : has) any |= there && protocol::overlaps(filter, name);
      wanted.push_back(any);
    }
    ASSERT_FALSE(told.empty());
    EXPECT_EQ(told.back(), wanted) << round;
  }
}

TEST(Demand, CountsManySubscriptionsToOneFilterInSlices) {
  ProcessorLimits limits;
  limits.inquiry_sessions_per_batch = 10;
  Told told;
  World world(limits);
  for (int i = 0; i < 100; ++i) world.peer("client " + std::to_string(i)).connect().subscribe("a");
  watch(world, {"a"}, told);
  for (int batches = 1; batches < 10; ++batches) {
    ASSERT_THAT(told, IsEmpty());
    ASSERT_TRUE(world.processor.has_more());
    world.processor.begin(world.now_ns);
    world.processor.finish();
  }
  world.run_until_idle();
  EXPECT_THAT(told, ElementsAre(std::vector{true}));
}

TEST(Demand, AgreesWithSubscriptionsToOneFilterThatComeAndGoWhileItCounts) {
  std::mt19937 random(11);
  ProcessorLimits limits;
  for (int round = 0; round < 50; ++round) {
    limits.inquiry_sessions_per_batch = 1 + random() % 4;
    Told told;
    World world(limits);
    std::vector<Peer*> peers;
    for (int i = 0; i < 8; ++i) peers.push_back(&world.peer(std::to_string(i)).connect());
    std::map<std::pair<Peer*, std::string>, bool> has;
    const auto change = [&] {
      Peer* const peer = peers[random() % peers.size()];
      const std::string filter = random() % 4 == 0 ? "b" : "a";
      bool& there = has[{peer, filter}];
      there ? peer->unsubscribe(filter) : peer->subscribe(filter);
      there = !there;
    };
    for (unsigned i = random() % 30; i > 0; --i) change();
    watch(world, {"a", "b"}, told);
    for (unsigned i = random() % 30; i > 0; --i) change();
    world.run_until_idle();
    // One after the other leaves: a count that is not exact ends too early, or never.
    for (const char* const filter : {"a", "b"}) {
      const std::size_t at = *filter == 'a' ? 0 : 1;
      std::vector<Peer*> left;
      for (Peer* peer : peers) {
        if (has[{peer, filter}]) left.push_back(peer);
      }
      for (; !left.empty(); left.pop_back()) {
        ASSERT_TRUE(told.back()[at]) << round;
        left.back()->unsubscribe(filter);
      }
      ASSERT_FALSE(told.back()[at]) << round;
    }
  }
}

TEST(Demand, OfAWatchThatIsReplacedOrOverIsToldNoMore) {
  World world;
  Told before, after;
  watch(world, {"a/#"}, before);
  watch(world, {"b/#"}, after);
  world.peer("one").connect().subscribe("a/1").subscribe("b/1");
  EXPECT_THAT(before, ElementsAre(std::vector{false}));
  EXPECT_THAT(after.back(), ElementsAre(true));
  watch(world, {}, after);
  world.peer("two").connect().subscribe("#");
  EXPECT_EQ(after.size(), 2u);
}

}  // namespace
}  // namespace millrace::broker
