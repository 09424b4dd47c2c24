// The delivery contract: the modes `adaptive` and `latest`, and which of several counts. What happens
// at the limits of `every`: processor_limits_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/broker/processor.hpp"
#include "tests/broker/messages.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::Version;
using testing::ElementsAre;

TEST(Latest, BeginsWithTheNewestValueRetainedOrNot) {
  World world;
  Peer& writer = world.peer("writer").connect();
  writer.publish("live", "1").publish("live", "2").publish("kept", "r", 0, true);
  writer.publish("both", "old", 0, true).publish("both", "new").publish("empty", "");
  Peer& reader = world.peer("reader").connect().subscribe("#", 0, Mode::latest);
  reader.read();
  ASSERT_THAT(reader.payloads(), ElementsAre("new", "r", "2"));
  EXPECT_FALSE(reader.got[0].retain);
  EXPECT_TRUE(reader.got[1].retain);
  EXPECT_FALSE(reader.got[2].retain);
}

TEST(Latest, ReplacesAWaitingValueInPlace) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("#", 0, Mode::latest);
  Peer& writer = world.peer("writer").connect();
  writer.publish("fill", big);
  for (int i = 0; i < 100; ++i) {
    writer.publish("hot", std::to_string(i));
    if (i == 50) writer.publish("rare", "r");
  }
  reader.read();
  EXPECT_THAT(reader.payloads(), ElementsAre(big, "99", "r"));
  EXPECT_EQ(world.processor.stats().conflated.value(), 99u);
}

TEST(Latest, AtQoS1LeavesInflightAloneAndEndsWithTheFinalValue) {
  World world;
  Peer& reader = world.peer("reader");
  reader.receive_maximum = 1;
  reader.connect().subscribe("a", 1, Mode::latest);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 10; ++i) writer.publish("a", std::to_string(i), 1);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("0"));
  reader.send(command::Puback{1, {}});
  EXPECT_THAT(reader.read().payloads(), ElementsAre("0", "9"));
}

TEST(Latest, KeepsTheFinalValueForASessionThatComesBack) {
  World world;
  world.peer("reader").connect(false, 100).subscribe("a", 1, Mode::latest).close();
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 10; ++i) writer.publish("a", std::to_string(i), 1);
  EXPECT_THAT(world.peer("reader").connect(false, 100).read().payloads(), ElementsAre("9"));
}

void send_request(World& world, std::string_view payload) {
  world.apply(request("a", payload, world.now_ns));
}

TEST(Latest, NeverConflatesARequest) {
  World world;
  Peer& reader = world.peer("reader", Version::v5).connect().subscribe("a", 0, Mode::latest);
  Peer& writer = world.peer("writer").connect();
  writer.publish("fill", "").publish("a", big);
  writer.publish("a", "1").publish("a", "2");
  send_request(world, "r1");
  send_request(world, "r2");
  writer.publish("a", "3").publish("a", "4");
  EXPECT_THAT(reader.read().payloads(), ElementsAre(big, "2", "r1", "r2", "4"));
}

TEST(Latest, HoldsNoMoreRequestsThanAQueue) {
  for (const Mode mode : {Mode::latest, Mode::adaptive}) {
    ProcessorLimits limits;
    limits.queue_messages = 3;
    World world(limits);
    Peer& reader = world.peer("reader", Version::v5).connect().subscribe("a", 0, mode);
    Peer& writer = world.peer("writer").connect();
    const std::string all_credit(3'000'000, 'x');
    for (int round = 1; round <= 2; ++round) {
      writer.publish("a", all_credit).publish("a", "value");
      for (int i = 0; i < 10; ++i) send_request(world, std::to_string(i));
      EXPECT_THAT(reader.read().payloads(), ElementsAre(all_credit, "value", "0", "1", "2"));
      reader.got.clear();
      EXPECT_EQ(dropped(world, Drop::queue_newest), 7u * static_cast<unsigned>(round));
    }
    limits.queue_messages = 100;
    limits.queue_bytes = 2 * request("a", "0", 1).charged_bytes();
    world.apply({nullptr, command::Limits{std::make_unique<ProcessorLimits>(limits)}});
    writer.publish("a", all_credit);
    for (int i = 0; i < 10; ++i) send_request(world, std::to_string(i));
    EXPECT_THAT(reader.read().payloads(), ElementsAre(all_credit, "0", "1"));
  }
}

TEST(Latest, HoldsValuesOfNoMoreTopicsThanAreStored) {
  ProcessorLimits limits;
  limits.slots.count_max = 3;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe("#", 0, Mode::latest);
  Peer& writer = world.peer("writer").connect();
  writer.publish("fill", big);
  for (int i = 0; i < 10; ++i) writer.publish("t/" + std::to_string(i), std::to_string(i));
  EXPECT_THAT(reader.read().payloads(), ElementsAre(big, "7", "8", "9"));
  EXPECT_EQ(dropped(world, Drop::queue_oldest), 7u);
}

// What waited before a SUBSCRIBE is not replaced by what comes after it.
TEST(Latest, HoldsNoMoreBytesThanAreStoredHoweverOftenItSubscribes) {
  ProcessorLimits limits;
  limits.slots.bytes_max = 50'000;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe("a", 0, Mode::latest);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 10; ++i) {
    writer.publish("a", big);
    reader.subscribe("b", 0, Mode::latest);
  }
  writer.publish("a", "the last");
  EXPECT_LE(world.processor.stats().pending_bytes.value(), 50'000u);
  EXPECT_THAT(reader.read().payloads(), ElementsAre(big, big, big, "the last"));
}

TEST(Adaptive, KeepsNoMoreRequestsThanTheQueueMayHold) {
  ProcessorLimits limits;
  limits.queue_messages = 2;
  World world(limits);
  Peer& reader = world.peer("reader", Version::v5).connect().subscribe("a");
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", std::string(300'000, 'x'));
  for (const char* payload : {"r1", "r2", "r3"}) send_request(world, payload);
  writer.publish("a", "value");
  EXPECT_EQ(dropped(world, Drop::queue_newest), 1u);
  reader.read();
  reader.got.erase(reader.got.begin());
  EXPECT_THAT(reader.payloads(), ElementsAre("r1", "r2", "value"));
  for (const char* payload : {"r4", "r5"}) send_request(world, payload);
  EXPECT_EQ(dropped(world, Drop::queue_newest), 1u);
}

TEST(Adaptive, DeliversEachMessageInOrderWhileItKeepsUp) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("a");
  Peer& writer = world.peer("writer").connect();
  std::vector<std::string> sent;
  for (int i = 0; i < 1000; ++i) {
    sent.push_back(std::to_string(i) + std::string(1000, '.'));
    writer.publish("a", sent.back());
  }
  // 1 MB waits: more than the credit, less than the backlog.
  EXPECT_EQ(reader.read().payloads(), sent);
  EXPECT_EQ(world.processor.stats().conflated.value(), 0u);
}

TEST(Adaptive, CollapsesWhenTooMuchWaits) {
  ProcessorLimits limits;
  limits.credit_bytes = 10'000;
  limits.adaptive_backlog_bytes = 100'000;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe("#");
  Peer& writer = world.peer("writer").connect();
  writer.publish("rare", "r");
  for (int i = 0; i < 1000; ++i) {
    writer.publish("hot/" + std::to_string(i % 2), std::to_string(i) + std::string(1000, '.'));
  }
  reader.read();
  EXPECT_LT(reader.handed_over_bytes, 20'000u);
  EXPECT_EQ(reader.got.front().payload, "r");
  const auto payloads = reader.payloads();
  EXPECT_TRUE(payloads[payloads.size() - 2].starts_with("998"));
  EXPECT_TRUE(payloads.back().starts_with("999"));
  // It keeps up again, so it sees each message again.
  reader.got.clear();
  for (int i = 0; i < 5; ++i) writer.publish("hot", std::to_string(i));
  EXPECT_THAT(reader.read().payloads(), ElementsAre("0", "1", "2", "3", "4"));
}

// The connection knows better than the configuration what its reader has room for.
TEST(Latest, IsBoundWithinTheCreditThatTheConnectionTells) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("#", 0, Mode::latest);
  Peer& writer = world.peer("writer").connect();
  const auto tell = [&](std::optional<std::uint32_t> credit) {
    reader.send(command::Drained{std::exchange(reader.undrained_bytes, 0), false, credit});
    reader.take();
  };
  reader.read();
  tell(0);
  for (int i = 0; i < 5; ++i) writer.publish("t", std::to_string(i));
  reader.take();
  EXPECT_EQ(reader.undrained_bytes, 0u);
  tell(1);
  EXPECT_THAT(reader.payloads(), ElementsAre("4")) << "one more, and the newest";
  for (int i = 5; i < 10; ++i) writer.publish(std::to_string(i), std::string(200, '.'));
  tell(500);
  EXPECT_GE(reader.undrained_bytes, 500u);
  EXPECT_LE(reader.undrained_bytes, 800u);
  tell(std::nullopt);
  EXPECT_EQ(world.processor.stats().pending.value(), 0u) << "as configured";
}

TEST(Latest, ForgetsTheCreditOfTheConnectionWithTheLastSuchSubscription) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("#", 0, Mode::latest);
  Peer& writer = world.peer("writer").connect();
  reader.read();
  reader.send(command::Drained{0, false, 0});
  reader.unsubscribe("$latest/#").subscribe("#");
  // On its way when the binding changed.
  reader.send(command::Drained{0, false, 0});
  reader.unsubscribe("#").subscribe("#", 0, Mode::latest);
  writer.publish("t", "1");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1"));
}

class LatestWithSmallCredit : public testing::Test {
 protected:
  void publish_three() {
    for (const char* topic : {"a", "b", "c"}) writer.publish(topic, std::string(40, '.'));
  }
  std::uint64_t slow() const { return world.processor.stats().slow_sessions.value(); }
  static ProcessorLimits small_credit() {
    ProcessorLimits limits;
    limits.credit_bytes = limits.credit_latest_bytes = 50;
    return limits;
  }

  const ProcessorLimits limits = small_credit();
  World world{limits};
  Peer& reader = world.peer("reader").connect().subscribe("#", 0, Mode::latest);
  Peer& writer = world.peer("writer").connect();
};

// No command tells of the time: the processor has to be woken for it, and once.
TEST_F(LatestWithSmallCredit, IsSlowWhileItsValuesHaveWaitedForLong) {
  publish_three();
  world.run_until_idle();
  EXPECT_EQ(slow(), 0u);
  EXPECT_EQ(world.processor.next_deadline_ns(), world.now_ns + limits.stale_ns());
  world.advance_ms(limits.adaptive_stale_after_ms - 1);
  writer.publish("c", "newer");
  EXPECT_EQ(slow(), 0u);
  world.advance_ms(1);
  EXPECT_EQ(slow(), 1u);
  EXPECT_EQ(world.processor.next_deadline_ns(), Processor::no_deadline);
  writer.publish("c", "newer still");
  EXPECT_EQ(slow(), 1u);
  reader.read();
  EXPECT_EQ(slow(), 0u);
  EXPECT_EQ(reader.got.back().payload, "newer still");
}

// Each value waits for a while, but none for long.
TEST_F(LatestWithSmallCredit, IsNotSlowWhileItTakesWhatItGets) {
  for (int turn = 0; turn < 50; ++turn) {
    publish_three();
    world.advance_ms(limits.adaptive_stale_after_ms / 2);
    EXPECT_EQ(slow(), 0u) << turn;
    reader.read();
  }
}

// Its cells all fit into a small credit at times; that is not yet catching up.
TEST(Adaptive, HasASmallCreditUntilItHasCaughtUp) {
  ProcessorLimits limits;
  limits.credit_bytes = 10'000;
  limits.credit_latest_bytes = 1'000;
  limits.adaptive_backlog_bytes = 20'000;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe("#");
  Peer& writer = world.peer("writer").connect();
  const auto publish = [&](int count) {
    for (int i = 0; i < count; ++i) writer.publish("t", std::string(200, '.'));
  };
  const auto drain_to = [&](std::uint32_t left) {
    const std::uint32_t bytes = reader.undrained_bytes - left;
    reader.undrained_bytes = left;
    reader.send(command::Drained{bytes, false});
    reader.take();
  };
  publish(200);
  reader.take();
  EXPECT_EQ(world.processor.stats().slow_sessions.value(), 1u);
  for (int turn = 0; turn < 20; ++turn) {
    drain_to(500);
    publish(20);
    reader.take();
    EXPECT_LE(reader.undrained_bytes, 1'210u) << turn;
  }
  EXPECT_EQ(world.processor.stats().slow_sessions.value(), 1u);
  reader.read();
  EXPECT_EQ(world.processor.stats().slow_sessions.value(), 0u);
  publish(30);
  reader.take();
  EXPECT_GT(reader.undrained_bytes, 5'000u) << "each message again";
}

// All that waits fits into the socket of a slow reader when that has just been emptied a little.
TEST(Adaptive, HasNotCaughtUpWhileItsSocketStillRefuses) {
  ProcessorLimits limits;
  limits.adaptive_backlog_bytes = 20'000;
  limits.credit_bytes = 10'000;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe("#");
  Peer& writer = world.peer("writer").connect();
  const auto is_slow = [&] { return world.processor.stats().slow_sessions.value() == 1; };
  for (int i = 0; i < 200; ++i) writer.publish("t", std::string(200, '.'));
  reader.take();
  ASSERT_TRUE(is_slow());
  reader.report_drained(/*blocked=*/true);
  reader.read();
  EXPECT_TRUE(is_slow());
  world.advance_ms(999);
  EXPECT_TRUE(is_slow());
  writer.publish("t", "once more");
  reader.take();
  reader.report_drained(/*blocked=*/true);
  world.advance_ms(999);
  EXPECT_TRUE(is_slow());
  world.advance_ms(1);
  EXPECT_FALSE(is_slow()) << "nothing was refused for a second, and nothing came";
}

// The socket refused the last of it, and then nothing comes any more: no command tells of the time.
TEST(Adaptive, CatchesUpByTheClockWhenNothingMoreComes) {
  ProcessorLimits limits;
  limits.adaptive_backlog_bytes = 20'000;
  limits.credit_bytes = 10'000;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe("#");
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 200; ++i) writer.publish("t", std::string(200, '.'));
  reader.take();
  const std::uint32_t unwritten = std::exchange(reader.undrained_bytes, 0) / 2;
  reader.send(command::Drained{unwritten, false});
  reader.take();
  reader.undrained_bytes += unwritten;
  world.advance_ms(5000);
  ASSERT_EQ(world.processor.stats().slow_sessions.value(), 1u);
  reader.report_drained(/*blocked=*/true);
  reader.take();
  reader.report_drained(/*blocked=*/true);
  EXPECT_EQ(world.processor.stats().slow_sessions.value(), 1u);
  world.advance_ms(1001);
  EXPECT_EQ(world.processor.stats().slow_sessions.value(), 0u);
}

TEST(Adaptive, CollapsesWhenTheOldestHasWaitedTooLong) {
  ProcessorLimits limits;
  limits.credit_bytes = 10'000;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe("a");
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", big);
  for (int i = 0; i < 10; ++i) writer.publish("a", std::to_string(i));
  world.advance_ms(999);
  EXPECT_EQ(world.processor.stats().conflated.value(), 0u);
  world.advance_ms(2);
  EXPECT_EQ(world.processor.stats().conflated.value(), 9u);
  EXPECT_EQ(world.processor.stats().slow_sessions.value(), 1u);
  EXPECT_THAT(reader.read().payloads(), ElementsAre(big, "9"));
  EXPECT_EQ(world.processor.stats().slow_sessions.value(), 0u);
}

// Nothing is written for what expired, so no report tells that it has caught up.
TEST(Adaptive, HasCaughtUpWhenAllThatWaitedHasExpired) {
  ProcessorLimits limits;
  limits.adaptive_backlog_bytes = 1000;
  limits.credit_bytes = 1000;
  limits.credit_latest_bytes = 1000;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe("#");
  Peer& writer = world.peer("writer").connect();
  writer.publish("fill", big);
  for (int i = 0; i < 20; ++i) {
    static constexpr std::uint8_t expires_in_2_s[] = {0x02, 0, 0, 0, 2};
    const std::string payload(100, '.');
    MessageParts parts;
    parts.topic = "a";
    parts.payload = {reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()};
    parts.properties.bytes = expires_in_2_s;
    world.apply(publish_command(build_message(parts, world.now_ns)));
  }
  ASSERT_EQ(world.processor.stats().slow_sessions.value(), 1u);
  world.advance_ms(5000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre(big));
  EXPECT_EQ(world.processor.stats().pending.value(), 0u);
  EXPECT_EQ(world.processor.stats().slow_sessions.value(), 0u);
}

TEST(Modes, AChangeOfSubscriptionKeepsTheOrderOfWhatWaits) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("a", 0, Mode::latest);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", big).publish("a", "1").publish("a", "2");
  reader.subscribe("a", 1, Mode::every);
  writer.publish("a", "3").publish("a", "4", 1);
  EXPECT_THAT(reader.read().payloads(), ElementsAre(big, "2", "3", "4"));
}

// Whichever of the two is matched first, and whether they are one copy or two.
TEST(Modes, ALimitGivesWayToASubscriptionThatIsToGetEachMessage) {
  for (const auto version : {Version::v3_1_1, Version::v5}) {
    for (const bool limit_all : {false, true}) {
      World world;
      Peer& reader = world.peer("reader", version).connect();
      SubscriptionRequest wanted = limited(limit_all ? "#" : "a");
      SubscriptionRequest each;
      each.name = each.filter = limit_all ? "a" : "#";
      each.mode = Mode::adaptive;
      reader.subscribe(wanted, version == Version::v5 ? 1 : 0);
      reader.subscribe(each, version == Version::v5 ? 2 : 0);
      Peer& writer = world.peer("writer").connect();
      writer.publish("a", std::string(300'000, 'x'));
      for (const char* value : {"1", "2", "3"}) writer.publish("a", value);
      world.advance_ms(500);
      reader.read();
      std::vector<std::string> got = reader.payloads();
      std::erase_if(got, [](const std::string& payload) { return payload.size() > 1; });
      EXPECT_TRUE(std::ranges::is_sorted(got));
      got.erase(std::unique(got.begin(), got.end()), got.end());
      EXPECT_THAT(got, ElementsAre("1", "2", "3"));
    }
  }
}

TEST(Modes, TheStrongestOfASessionCountsForATopic) {
  World world;
  Peer& reader = world.peer("reader", Version::v5).connect();
  reader.subscribe("a", 0, Mode::latest);
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = "#";
  wanted.mode = Mode::every;
  reader.subscribe(wanted, 5);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", std::string(300'000, 'x'));
  for (int i = 0; i < 3; ++i) writer.publish("a", std::to_string(i));
  reader.read();
  std::vector<std::string> rest = reader.payloads();
  rest.erase(rest.begin(), rest.begin() + 2);
  EXPECT_THAT(rest, ElementsAre("0", "0", "1", "1", "2", "2"));
}

}  // namespace
}  // namespace millrace::broker
