// After a reload every session is judged anew: whether its owner is still there, what it may read,
// and whether its will may be sent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/users.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::PacketType;
using protocol::ReasonCode;
using protocol::Version;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using UsersRef = std::shared_ptr<const Users>;

UsersRef users(std::map<std::string, User> those) {
  return std::make_shared<const Users>(std::move(those));
}
UsersRef ann_may_not_read(std::vector<TopicRule> rules) {
  return users({{"ann", {std::move(rules)}}, {"bob", {}}});
}

class Review : public ::testing::Test {
 protected:
  Peer& peer(const std::string& owner, std::string client_id, Version version = Version::v5) {
    Peer& peer = world.peer(std::move(client_id), version);
    peer.rights = before->rights_of(owner);
    return peer;
  }
  Peer& ann(Version version = Version::v5) { return peer("ann", "of ann", version); }
  Peer& ann_again() {
    Peer& peer = ann();
    peer.rights = now->rights_of("ann");
    return peer.connect(false, 100);
  }
  void reload(UsersRef next) {
    now = std::move(next);
    bool done = false;
    world.review(now, [&] { done = true; });
    world.run_until_idle();
    ASSERT_TRUE(done);
  }
  void publish(std::string_view topic, std::string_view payload, int qos = 1, bool retain = false) {
    world.apply(
        publish_command(message(topic, payload, qos, retain, qos > 0 ? 1 : 0, world.now_ns)));
  }
  std::uint64_t revoked() {
    return world.processor.stats().dropped[static_cast<std::size_t>(Drop::revoked)].value();
  }

  World world;
  UsersRef before = users({{"ann", {}}, {"bob", {}}, {"", {}}});
  UsersRef now = before;
};

ConnectRequest::Will will(std::string_view topic, std::uint32_t delay_s = 0) {
  return {message(topic, "will"), delay_s};
}

// --- Users that are gone ---

TEST_F(Review, EndsConnectionAndSessionOfAUserThatIsGone) {
  Peer& reader = peer("bob", "of bob").connect().subscribe("#");
  for (const Version version : {Version::v5, Version::v3_1_1}) {
    peer("ann", "connected" + std::to_string(static_cast<int>(version)), version)
        .connect(false, 100, will("will/connected"))
        .subscribe("t");
  }
  ann().connect(false, 100, will("will/absent", 50)).subscribe("t", 1, Mode::every).close();
  publish("t", "kept");
  reload(users({{"bob", {}}}));
  for (const auto& one : world.peers) {
    one->take();
    const bool was_connected = one->client_id.starts_with("connected");
    EXPECT_EQ(one->closed,
              was_connected ? std::optional(ReasonCode::not_authorized) : std::nullopt);
  }
  EXPECT_EQ(world.processor.stats().sessions.value(), 1u);
  EXPECT_EQ(world.processor.stats().sessions_revoked.value(), 3u);
  EXPECT_EQ(world.processor.stats().pending.value(), 0u);
  world.advance_ms(200'000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("kept"));  // no will
  EXPECT_EQ(world.processor.stats().wills.value(), 0u);
}

TEST_F(Review, RefusesAConnectThatWasAllowedBefore) {
  reload(users({{"bob", {{}, {deny("will")}}}}));
  Peer& gone = ann().connect();
  gone.take();
  EXPECT_EQ(gone.closed, ReasonCode::not_authorized);
  Peer& with_will = peer("bob", "of bob").connect(true, 0, will("will"));
  with_will.take();
  EXPECT_EQ(with_will.closed, ReasonCode::not_authorized);
  EXPECT_EQ(world.processor.stats().sessions.value(), 0u);
}

TEST_F(Review, LetsTheAnonymousInOrNot) {
  Peer& anonymous = peer("", "of nobody").connect(false, 100);
  reload(users({{"", {}}, {"ann", {}}}));
  anonymous.take();
  EXPECT_EQ(anonymous.closed, std::nullopt);
  reload(users({{"ann", {}}}));
  anonymous.take();
  EXPECT_EQ(anonymous.closed, ReasonCode::not_authorized);
}

// --- Wills ---

TEST_F(Review, AWillThatIsNotAllowedAnyMoreIsNotSent) {
  Peer& reader = peer("bob", "of bob").connect().subscribe("will/#");
  Peer& now_denied = peer("ann", "1").connect(true, 0, will("will/denied"));
  Peer& still_allowed = peer("ann", "2").connect(true, 0, will("will/allowed"));
  peer("ann", "3").connect(false, 100, will("will/denied", 50)).close();
  reload(users({{"ann", {{}, {deny("will/denied")}}}, {"bob", {}}}));
  now_denied.close();
  still_allowed.close();
  world.advance_ms(100'000);
  ASSERT_EQ(reader.read().got.size(), 1u);
  EXPECT_EQ(reader.got[0].topic, "will/allowed");
  EXPECT_EQ(revoked(), 2u);
}

TEST_F(Review, AWillIsJudgedEvenBeforeItsSessionHadItsTurn) {
  Peer& reader = peer("bob", "of bob").connect().subscribe("will");
  Peer& one = ann().connect(true, 0, will("will"));
  world.joins = [] { return true; };  // one batch: the review has not begun
  world.review(users({{"bob", {}}}));
  one.close();
  world.joins = {};
  EXPECT_THAT(reader.read().got, IsEmpty());
  EXPECT_EQ(world.processor.stats().wills.value(), 0u);
}

// --- Subscriptions ---

class ReviewModes : public Review, public ::testing::WithParamInterface<Mode> {};
INSTANTIATE_TEST_SUITE_P(EachMode, ReviewModes,
                         ::testing::Values(Mode::every, Mode::adaptive, Mode::latest));

TEST_P(ReviewModes, ASubscriptionThatIsNotAllowedAnyMoreDeliversNothingMore) {
  Peer& reader = ann().connect(false, 100).subscribe("a/#", 1, GetParam()).read();
  reload(ann_may_not_read({deny("a/#")}));
  publish("a/1", "live");
  EXPECT_THAT(reader.read().got, IsEmpty());
  EXPECT_EQ(world.processor.index().size(), 0u);
  EXPECT_EQ(world.processor.stats().subscriptions_revoked.value(), 1u);
  EXPECT_EQ(reader.closed, std::nullopt);
}

TEST_P(ReviewModes, NorDoesWhatWaitsForTheAbsent) {
  ann().connect(false, 100).subscribe("a/#", 1, GetParam()).subscribe("b", 1, GetParam()).close();
  for (const char* topic : {"a/1", "b", "a/2"}) publish(topic, topic);
  ASSERT_EQ(world.processor.stats().pending.value(), 3u);
  reload(ann_may_not_read({deny("a/#")}));
  EXPECT_EQ(world.processor.stats().pending.value(), 1u);
  EXPECT_EQ(revoked(), 2u);
  EXPECT_THAT(ann_again().read().payloads(), ElementsAre("b"));
}

TEST_P(ReviewModes, NorDoesWhatWaitsForCredit) {
  ProcessorLimits limits;
  limits.credit_bytes = limits.credit_latest_bytes = limits.credit_max_bytes = 10;
  world.apply({nullptr, command::Limits{std::make_unique<ProcessorLimits>(limits)}});
  Peer& reader = ann().connect().subscribe("#", 1, GetParam());
  reader.take();
  for (const char* topic : {"sent before", "a/1", "b"}) publish(topic, topic);
  reload(ann_may_not_read({deny("a/#")}));
  EXPECT_THAT(reader.read().payloads(), ElementsAre("sent before", "b"));
}

TEST_P(ReviewModes, AWiderSubscriptionBringsEverythingElse) {
  Peer& reader = ann().connect().subscribe("#", 1, GetParam());
  publish("a/secret", "old");
  reader.read().got.clear();
  reload(ann_may_not_read({deny("a/secret")}));
  for (const char* topic : {"a/secret", "a/open"}) publish(topic, topic);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("a/open"));
  reload(ann_may_not_read({}));
  publish("a/secret", "again");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("a/open", "again"));
}

TEST_P(ReviewModes, ASnapshotStopsAtWhatIsDenied) {
  for (int i = 0; i < 3; ++i) publish("a/" + std::to_string(i), "old", 1, /*retain=*/true);
  Peer& reader = ann();
  reader.receive_maximum = 1;
  reader.connect().subscribe("a/#", 1, GetParam());
  reader.take();
  ASSERT_EQ(reader.got.size(), 1u);
  reload(ann_may_not_read({deny("a/#")}));
  reader.acknowledge(PacketType::puback, reader.got[0].packet_id);
  EXPECT_EQ(reader.read().got.size(), 1u);
}

TEST_F(Review, WhatARateLimitHoldsBackIsNotSent) {
  SubscriptionRequest wanted;
  wanted.name = "$latest/a";
  wanted.filter = "a";
  wanted.mode = Mode::latest;
  wanted.shape = rate_limit(1000);
  Peer& reader = ann().connect().subscribe(wanted);
  publish("a", "first", 0);
  publish("a", "held", 0);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("first"));
  reload(ann_may_not_read({deny("a")}));
  world.advance_ms(5000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("first"));
}

TEST_F(Review, ACopyThatAnAllowedSubscriptionSharesStays) {
  // MQTT 3.1.1 merges them: what waits bears the number of the first.
  ann(Version::v3_1_1)
      .connect(false, 100)
      .subscribe("a/#", 1, Mode::every)
      .subscribe("a/b", 1, Mode::every)
      .close();
  publish("a/b", "shared");
  publish("a/c", "by the first alone");
  reload(ann_may_not_read({allow("a/b"), allow("a/c"), deny("a/#")}));
  EXPECT_EQ(world.processor.index().size(), 1u);
  EXPECT_THAT(ann_again().read().payloads(), ElementsAre("shared"));
}

TEST_F(Review, ACopyOfItsOwnGoesWithItsSubscription) {
  SubscriptionRequest wide;
  wide.name = wide.filter = "a/#";
  wide.qos = 1;
  wide.mode = Mode::every;
  SubscriptionRequest narrow = wide;
  narrow.name = narrow.filter = "a/b";
  ann().connect(false, 100).subscribe(wide, 1).subscribe(narrow, 2).close();
  publish("a/b", "twice");
  ASSERT_EQ(world.processor.stats().pending.value(), 2u);
  reload(ann_may_not_read({allow("a/b"), deny("a/#")}));
  Peer& again = ann_again().read();
  ASSERT_EQ(again.got.size(), 1u);
  EXPECT_THAT(again.got[0].identifiers, ElementsAre(2u));
}

TEST_F(Review, ASubscribeThatWasAllowedBeforeIsJudgedAnew) {
  Peer& reader = ann().connect();
  reload(ann_may_not_read({deny("a/#")}));
  reader.subscribe("a/#").subscribe("#");  // still by the rights of before
  publish("a/1", "a/1");
  publish("b", "b");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("b"));
  const auto& suback = std::get<protocol::Suback>(reader.control.at(0));
  EXPECT_THAT(suback.reasons, ElementsAre(ReasonCode::not_authorized));
}

// --- Inflight ---

TEST_F(Review, WhatTheAbsentClientDidNotAcknowledgeIsNotSentAgain) {
  for (const int qos : {1, 2}) {
    const std::string below = std::to_string(qos);
    Peer& first = peer("ann", below).connect(false, 100).subscribe(below + "/#", qos, Mode::every);
    publish(below + "/a", "a", qos);
    publish(below + "/b", "b", qos);
    ASSERT_EQ(first.read().got.size(), 2u);
    first.close();
  }
  reload(ann_may_not_read({deny("+/a")}));
  EXPECT_EQ(world.processor.stats().inflight.value(), 2u);
  for (const char* client_id : {"1", "2"}) {
    Peer& again = world.peer(client_id, Version::v5);
    again.rights = now->rights_of("ann");
    EXPECT_THAT(again.connect(false, 100).read().payloads(), ElementsAre("b"));
  }
}

TEST_F(Review, WhatTheConnectedClientWasSentIsNotSentAgainToItsNextConnection) {
  Peer& first = ann().connect(false, 100).subscribe("#", 1, Mode::every);
  publish("a", "a");
  publish("b", "b");
  ASSERT_EQ(first.read().got.size(), 2u);
  reload(ann_may_not_read({deny("a")}));
  EXPECT_EQ(world.processor.stats().inflight.value(), 2u);  // it may acknowledge it still
  first.close();
  EXPECT_THAT(ann_again().read().payloads(), ElementsAre("b"));
}

TEST_F(Review, WhatWaitsToBeSentAgainIsNot) {
  Peer& first = ann().connect(false, 100).subscribe("#", 1, Mode::every);
  for (const char* topic : {"b", "a/1", "a/2"}) publish(topic, topic);
  ASSERT_EQ(first.read().got.size(), 3u);
  first.close();
  Peer& second = ann();
  second.receive_maximum = 1;
  second.connect(false, 100);
  ASSERT_THAT(second.read().payloads(), ElementsAre("b"));
  reload(ann_may_not_read({deny("a/#")}));
  second.acknowledge(PacketType::puback, second.got[0].packet_id);
  EXPECT_THAT(second.read().payloads(), ElementsAre("b"));
  EXPECT_EQ(world.processor.stats().inflight.value(), 0u);
  publish("c", "c");
  EXPECT_THAT(second.read().payloads(), ElementsAre("b", "c"));
}

// --- Shared groups ---

TEST_F(Review, AnotherMemberOfTheGroupGetsWhatWaited) {
  SubscriptionRequest wanted;
  wanted.name = "$share/g/a/#";
  wanted.filter = "a/#";
  wanted.share_group = "g";
  wanted.qos = 1;
  wanted.mode = Mode::every;
  ann().connect(false, 100).subscribe(wanted).close();
  publish("a/1", "waits");
  Peer& bob = peer("bob", "of bob").connect().subscribe(wanted);
  ASSERT_THAT(bob.read().got, IsEmpty());
  reload(ann_may_not_read({deny("a/#")}));
  EXPECT_THAT(bob.read().payloads(), ElementsAre("waits"));
}

// --- The work ---

TEST_F(Review, OfManySessionsIsDoneInSlices) {
  constexpr std::uint64_t count = 3000;
  ProcessorLimits limits;
  limits.review_units_per_batch = 500;
  world.apply({nullptr, command::Limits{std::make_unique<ProcessorLimits>(limits)}});
  for (std::uint64_t i = 0; i < count; ++i) {
    peer("ann", std::to_string(i)).connect(false, 100).close();
  }
  bool done = false;
  world.review(users({{"bob", {}}}), [&] { done = true; });
  const ProcessorStats& stats = world.processor.stats();
  int batches = 1;
  for (std::uint64_t left = stats.sessions.value(); !done; ++batches) {
    ASSERT_TRUE(world.processor.has_more());
    world.processor.begin(world.now_ns);
    world.processor.finish();
    ASSERT_LE(left - stats.sessions.value(), limits.review_units_per_batch + 10);
    left = stats.sessions.value();
  }
  EXPECT_GE(batches, 6);
  EXPECT_EQ(stats.sessions.value(), 0u);
  EXPECT_EQ(stats.sessions_revoked.value(), count);
}

TEST_F(Review, GoesOnWhileSessionsComeAndMoveTheOthers) {
  ProcessorLimits limits;
  limits.review_units_per_batch = 10;
  world.apply({nullptr, command::Limits{std::make_unique<ProcessorLimits>(limits)}});
  for (int i = 0; i < 100; ++i) peer("ann", std::to_string(i)).connect(false, 100);
  now = users({{"bob", {}}});
  bool done = false;
  world.review(now, [&] { done = true; });
  for (int i = 0; i < 1000; ++i) {
    Peer& bob = world.peer("bob's " + std::to_string(i), Version::v5);
    bob.rights = now->rights_of("bob");
    bob.connect();
  }
  world.run_until_idle();
  EXPECT_TRUE(done);
  EXPECT_EQ(world.processor.stats().sessions.value(), 1000u);
}

// --- Rules of what is received, and the QoS that is granted ---

TEST_F(Review, KeepsBackWhatMayNotBeReceivedAnyMoreAndLeavesTheSubscription) {
  Peer& reader = ann().connect().subscribe("#", 1, Mode::every);
  reload(users({{"ann", {{}, {}, {deny("secret/#")}}}, {"bob", {}}}));
  publish("secret/x", "hidden");
  publish("open", "seen");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("seen"));
  reload(users({{"ann", {}}, {"bob", {}}}));
  publish("secret/x", "seen again");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("seen", "seen again"));
}

TEST_F(Review, DropsWhatWaitsForASessionAndMayNotBeReceivedAnyMore) {
  ann().connect(false, 100).subscribe("#", 1, Mode::every).close();
  publish("secret/x", "hidden");
  publish("open", "seen");
  reload(users({{"ann", {{deny("none")}, {}, {deny("secret/#")}}}, {"bob", {}}}));
  EXPECT_EQ(revoked(), 1u);
  EXPECT_THAT(ann_again().read().payloads(), ElementsAre("seen"));
}

TEST_F(Review, LowersTheQosOfASubscription) {
  Peer& reader = ann().connect().subscribe("a", 1, Mode::every);
  TopicRule low = allow("#");
  low.qos_max = 0;
  reload(users({{"ann", {{low}}}, {"bob", {}}}));
  publish("a", "x");
  ASSERT_EQ(reader.read().got.size(), 1u);
  EXPECT_EQ(reader.got[0].qos, 0);
}

}  // namespace
}  // namespace millrace::broker
