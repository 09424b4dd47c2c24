// What rules say about topics and filters, and that the processor keeps to it everywhere.
#include "core/broker/topic_rules.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "protocol/topic.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::ReasonCode;
using Extent = TopicRules::Extent;
using Names = std::vector<std::string>;

std::shared_ptr<const TopicRules> all_but(std::string filter) {
  return std::make_shared<const TopicRules>(std::vector<TopicRule>{{false, std::move(filter)}},
                                            /*otherwise_allow=*/true);
}

TEST(TopicRules, TheFirstThatMatchesDecides) {
  const TopicRules rules({{true, "a/open"}, {false, "a/#", ReasonCode::unspecified_error}}, true);
  EXPECT_TRUE(rules.permit("a/open"));
  EXPECT_EQ(rules.refusal("a/x"), ReasonCode::unspecified_error);
  EXPECT_TRUE(rules.permit("b"));
}

TEST(TopicRules, AFilterThatIsCoveredByADenialIsRefused) {
  const TopicRules rules({{false, "a/+", ReasonCode::unspecified_error}}, true);
  EXPECT_EQ(rules.extent("a/b").error(), ReasonCode::unspecified_error);
  EXPECT_EQ(rules.extent("a/+").error(), ReasonCode::unspecified_error);
}

TEST(TopicRules, AFilterThatOverlapsADenialIsGrantedInPart) {
  const TopicRules rules({{false, "a/+"}}, true);
  for (const char* filter : {"#", "+/+", "a/#", "+/b"}) {
    EXPECT_EQ(*rules.extent(filter), Extent::part) << filter;
  }
  EXPECT_EQ(*rules.extent("b/#"), Extent::whole);
  EXPECT_EQ(*rules.extent("$SYS/#"), Extent::whole);
}

TEST(TopicRules, AnEarlierAllowanceMakesALaterDenialVoid) {
  const TopicRules rules({{true, "a/#"}, {false, "a/b"}}, false);
  EXPECT_EQ(*rules.extent("a/#"), Extent::whole);
  EXPECT_EQ(rules.extent("#").error(), ReasonCode::not_authorized);
}

TEST(TopicRules, ConcernMessagesOfTheirQosAndRetainAlone) {
  TopicRule plain{true, "a"};
  plain.qos_max = 1;
  plain.retained = false;
  const TopicRules rules({plain}, false);
  EXPECT_FALSE(rules.refusal("a", {1, false}));
  EXPECT_TRUE(rules.refusal("a", {2, false}));
  EXPECT_TRUE(rules.refusal("a", {0, true}));
}

TEST(TopicRules, GrantAFilterTheQosOfTheRuleThatCoversIt) {
  TopicRule low{true, "a/+"};
  low.qos_max = 0;
  const TopicRules rules({low, {true, "a/#"}}, false);
  EXPECT_EQ(rules.qos_max("a/b"), 0);
  EXPECT_EQ(rules.qos_max("a/#"), 2);
  EXPECT_EQ(TopicRules({}, true).qos_max("a"), 2);
}

TEST(TopicRules, OfSeveralListsAllMustPermit) {
  TopicRule low{true, "a/#"};
  low.qos_max = 1;
  const auto one = std::make_shared<const TopicRules>(std::vector<TopicRule>{low}, false);
  const TopicRules both({{false, "a/secret", ReasonCode::unspecified_error}}, true, {one});
  EXPECT_TRUE(both.permit("a/b"));
  EXPECT_EQ(both.refusal("a/secret"), ReasonCode::unspecified_error);
  EXPECT_EQ(both.refusal("b"), ReasonCode::not_authorized);
  EXPECT_EQ(*both.extent("a/b"), Extent::whole);
  EXPECT_EQ(*both.extent("a/+"), Extent::part);
  EXPECT_FALSE(both.extent("#"));
  EXPECT_EQ(both.qos_max("a/b"), 1);
  EXPECT_EQ(both.size(), 2u);
  EXPECT_FALSE(TopicRules({}, true, {one}).allow_all());
  EXPECT_EQ(TopicRules({}, true, {one}),
            TopicRules({}, true, {std::make_shared<TopicRules>(*one)}));
  EXPECT_FALSE(TopicRules({}, true, {one}) == TopicRules({}, true));
}

// What they say does not depend on how they are kept: many are kept by their prefixes.
TEST(TopicRules, SayTheSameHoweverManyThereAre) {
  std::mt19937 random(3);
  const auto pick = [&](auto&& from) { return std::string(from[random() % std::size(from)]); };
  const auto name = [&](bool wildcards) {
    static constexpr const char* literal[] = {"a", "b", "", "$x", "ab"};
    static constexpr const char* any[] = {"a", "b", "", "ab", "+", "+"};
    std::string made = wildcards ? pick(any) : pick(literal);
    for (unsigned i = random() % 4; i > 0; --i)
      made += "/" + (wildcards ? pick(any) : pick(literal));
    if (wildcards && random() % 3 == 0) made += "/#";
    return made.empty() ? std::string("/") : made;
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<TopicRule> rules;
    for (int i = 0; i < 30; ++i) rules.push_back({random() % 2 == 0, name(random() % 2 == 0)});
    const TopicRules all(rules, round % 2 == 0);
    for (int i = 0; i < 20; ++i) {
      const std::string topic = name(false);
      std::optional<ReasonCode> refusal =
          round % 2 == 0 ? std::nullopt : std::optional(ReasonCode::not_authorized);
      for (const TopicRule& rule : rules) {
        if (!protocol::matches(rule.filter, topic)) continue;
        refusal = rule.allow ? std::nullopt : std::optional(rule.refusal);
        break;
      }
      ASSERT_EQ(all.refusal(topic), refusal) << topic;
      const std::string filter = name(true);
      bool part = false;
      bool denied = round % 2 != 0;
      for (const TopicRule& rule : rules) {
        if (protocol::covers(rule.filter, filter)) {
          denied = !rule.allow;
          break;
        }
        part |= !rule.allow && protocol::overlaps(rule.filter, filter);
      }
      const auto extent = all.extent(filter);
      ASSERT_EQ(extent.has_value(), !denied) << filter;
      if (denied) continue;
      ASSERT_EQ(*extent, part ? Extent::part : Extent::whole) << filter;
    }
  }
}

TEST(TopicRules, AreHeldAgainstWhatTheyMayHaveToDoWithAlone) {
  std::vector<TopicRule> rules;
  for (int i = 0; i < 1000; ++i) rules.push_back({false, "plant/line" + std::to_string(i) + "/#"});
  rules.push_back({true, "#"});
  const TopicRules all(std::move(rules), false);
  EXPECT_EQ(all.count_met_by("plant/line7/a"), 2u);
  EXPECT_EQ(all.count_met_by("plant/line7/+"), 2u);
  EXPECT_EQ(all.count_met_by("plant/other/#"), 1u);
  EXPECT_EQ(all.count_met_by("other/+/a"), 1u);
  EXPECT_EQ(all.count_met_by("plant/+/a"), 1001u) << "each of them may take a part";
}

// --- the processor ---

SubscriptionRequest limited(std::string filter, Mode mode, std::string denied) {
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = std::move(filter);
  wanted.qos = 1;
  wanted.mode = mode;
  wanted.rules = all_but(std::move(denied));
  return wanted;
}

Names topics_of(const Peer& peer) {
  Names names;
  for (const Got& one : peer.got) names.push_back(one.topic);
  return names;
}

class DeniedTopics : public ::testing::TestWithParam<Mode> {};
INSTANTIATE_TEST_SUITE_P(EachMode, DeniedTopics,
                         ::testing::Values(Mode::every, Mode::adaptive, Mode::latest));

TEST_P(DeniedTopics, AreNeverDeliveredLive) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe(limited("#", GetParam(), "a/secret"));
  Peer& writer = world.peer("writer").connect();
  for (int round = 0; round < 2; ++round) {  // the second by the cached match
    writer.publish("a/secret", "x", 1).publish("a/open", "x", 1);
  }
  EXPECT_EQ(topics_of(reader.read()), (Names{"a/open", "a/open"}));
}

TEST_P(DeniedTopics, AreNeverDeliveredFromStore) {
  World world;
  Peer& writer = world.peer("writer").connect();
  writer.publish("a/secret", "x", 1, true).publish("a/open", "x", 1, true);
  Peer& reader = world.peer("reader").connect().subscribe(limited("+/+", GetParam(), "a/secret"));
  EXPECT_EQ(topics_of(reader.read()), Names{"a/open"});
}

TEST(DeniedTopics, AreNeverQueuedForTheAbsent) {
  World world;
  world.peer("reader").connect(false, 100).subscribe(limited("#", Mode::every, "a/#")).close();
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "x", 1).publish("a/b", "x", 1).publish("b", "x", 1);
  Peer& reader = world.peer("reader").connect(false, 100);
  EXPECT_EQ(topics_of(reader.read()), Names{"b"});
}

TEST(DeniedTopics, FollowTheNewestSubscription) {
  World world;
  Peer& writer = world.peer("writer").connect();
  Peer& reader = world.peer("reader").connect().subscribe(limited("#", Mode::every, "a"));
  writer.publish("a", "1").publish("b", "1");
  reader.subscribe(limited("#", Mode::every, "b"));
  writer.publish("a", "2").publish("b", "2");
  EXPECT_EQ(topics_of(reader.read()), (Names{"b", "a"}));
}

TEST(DeniedTopics, ComeThroughAnotherSubscriptionThatMayReadThem) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe(limited("#", Mode::every, "a"));
  reader.subscribe("a", 0, Mode::every);
  world.peer("writer").connect().publish("a", "x", 1);
  ASSERT_EQ(reader.read().got.size(), 1u);
  EXPECT_EQ(reader.got[0].qos, 0);  // not raised by the one that may not
}

SubscriptionRequest shared(std::string denied) {
  SubscriptionRequest wanted = limited("#", Mode::every, std::move(denied));
  wanted.share_group = "g";
  wanted.name = "$share/g/#";
  return wanted;
}

TEST(DeniedTopics, GoToTheMembersOfAGroupThatMayReadThem) {
  World world;
  Peer& first = world.peer("first").connect().subscribe(shared("a"));
  Peer& second = world.peer("second").connect().subscribe(shared("b"));
  Peer& writer = world.peer("writer", protocol::Version::v5).connect();
  for (int i = 0; i < 4; ++i) writer.publish("a", "x", 1).publish("b", "x", 1);
  EXPECT_EQ(topics_of(first.read()), Names(4, "b"));
  EXPECT_EQ(topics_of(second.read()), Names(4, "a"));
}

TEST(DeniedTopics, StayInTheirGroupWhenAMemberLeavesThemBehind) {
  World world;
  Peer& may = world.peer("may").connect().subscribe(shared("x"));
  Peer& may_not = world.peer("may-not").connect().subscribe(shared("a"));
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1", 1);
  EXPECT_EQ(topics_of(may.read()), Names{"a"});  // and not acknowledged
  may.close();                                   // ends the session
  EXPECT_TRUE(may_not.read().got.empty());
  writer.publish("a", "2", 1);  // nobody may read it now
  EXPECT_TRUE(may_not.read().got.empty());
  EXPECT_EQ(world.processor.stats().unmatched.value(), 1u);
}

}  // namespace
}  // namespace millrace::broker
