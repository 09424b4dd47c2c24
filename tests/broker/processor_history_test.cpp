// Subscriptions that begin with the last values of their topics.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <string>
#include <utility>

#include "core/broker/processor.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::Version;
using testing::ElementsAre;
using testing::IsEmpty;

ProcessorLimits with_history(std::uint32_t depth = 10) {
  ProcessorLimits limits;
  limits.history.depth = depth;
  return limits;
}

SubscriptionRequest beginning_with(std::uint32_t history, std::string filter,
                                   Mode mode = Mode::adaptive, int qos = 0) {
  SubscriptionRequest wanted;
  wanted.name = "$history/" + std::to_string(history) + "/" + filter;
  wanted.filter = std::move(filter);
  wanted.history = history;
  wanted.mode = mode;
  wanted.qos = static_cast<std::uint8_t>(qos);
  return wanted;
}

struct JoinsLate : testing::Test {
  World world{with_history()};
  Peer& writer = world.peer("writer").connect();
  Peer& reader = world.peer("reader", Version::v5).connect();

  const ProcessorStats& stats() const { return world.processor.stats(); }
  JoinsLate& publish(std::string_view topic, std::string_view value, int qos = 0,
                     bool retain = false) {
    writer.publish(topic, value, qos, retain);
    return *this;
  }
};

TEST_F(JoinsLate, BeginsWithTheLastValuesOldestFirstThenLive) {
  publish("a", "1").publish("a", "2").publish("a", "3").publish("b", "1");
  reader.subscribe(beginning_with(2, "#"));
  publish("a", "4");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("2", "3", "1", "4"));
  EXPECT_EQ(stats().history_sent.value(), 3u);
  EXPECT_FALSE(reader.got.front().retain);
}

TEST_F(JoinsLate, HoldsBackWhatIsPublishedUntilTheHistoryIsSent) {
  for (int i = 0; i < 10; ++i) publish("a", std::to_string(i) + std::string(50'000, '.'));
  reader.subscribe("b", 0, Mode::every);
  reader.subscribe(beginning_with(10, "a", Mode::every));
  publish("a", "live").publish("b", "live");
  reader.take();
  EXPECT_LT(reader.got.size(), 10u) << "its credit is used up";
  reader.read();
  ASSERT_EQ(reader.got.size(), 12u);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(reader.got[static_cast<std::size_t>(i)].payload[0], '0' + i);
  }
  EXPECT_EQ(reader.got[10].payload, "live");
  EXPECT_FALSE(world.processor.find_session("reader")->is_paced);
}

TEST_F(JoinsLate, GetsTheRetainedValueThoughItIsOlder) {
  publish("a", "retained", 0, true);
  for (int i = 0; i < 3; ++i) publish("a", std::to_string(i));
  publish("b", "1", 0, true).publish("b", "2");
  reader.subscribe(beginning_with(2, "#"));
  EXPECT_THAT(reader.read().payloads(), ElementsAre("retained", "1", "2", "1", "2"));
  std::vector<bool> retained;
  for (const Got& got : reader.got) retained.push_back(got.retain);
  EXPECT_THAT(retained, ElementsAre(true, false, false, true, false));
}

TEST_F(JoinsLate, GetsNoRequestsAndNothingOfATopicThatWasCleared) {
  publish("a", "1");
  world.apply(request("a", "request", world.now_ns));
  publish("a", "2").publish("b", "1").publish("b", "");
  reader.subscribe(beginning_with(5, "#"));
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "2"));
}

TEST_F(JoinsLate, GetsNothingThatItsRulesDeny) {
  publish("a/open", "1").publish("a/closed", "1");
  SubscriptionRequest wanted = beginning_with(5, "a/#");
  wanted.rules = std::make_shared<const TopicRules>(std::vector<TopicRule>{{false, "a/closed"}},
                                                    /*otherwise_allow=*/true);
  reader.subscribe(wanted);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1"));
  EXPECT_EQ(reader.got.front().topic, "a/open");
}

TEST_F(JoinsLate, IsSentQos1AsItsWindowAllows) {
  Peer& slow = world.peer("slow", Version::v5);
  slow.receive_maximum = 1;
  slow.connect();
  for (int i = 0; i < 3; ++i) publish("a", std::to_string(i), 1);
  slow.subscribe(beginning_with(3, "a", Mode::every, 1));
  publish("a", "live", 1);
  for (int i = 0; i < 4; ++i) {
    slow.read();
    ASSERT_EQ(slow.got.size(), static_cast<std::size_t>(i) + 1);
    slow.acknowledge(protocol::PacketType::puback, slow.got.back().packet_id);
  }
  EXPECT_THAT(slow.read().payloads(), ElementsAre("0", "1", "2", "live"));
}

TEST_F(JoinsLate, EndsItsHistoryWithTheConnection) {
  for (int i = 0; i < 10; ++i) publish("a", std::to_string(i) + std::string(50'000, '.'), 1);
  Peer& lasting = world.peer("lasting", Version::v5).connect(false, 3600);
  SubscriptionRequest wanted = beginning_with(10, "a", Mode::every, 1);
  wanted.retain_handling = 2;
  lasting.subscribe(wanted);
  lasting.take();
  lasting.close();
  publish("a", "live", 1);
  Peer& again = world.peer("lasting", Version::v5).connect(false, 3600);
  again.read();
  ASSERT_FALSE(again.got.empty());
  EXPECT_EQ(again.got.back().payload, "live");
  for (const Got& got : again.got) EXPECT_EQ(got.duplicate, got.payload != "live");
}

// The retained value is owed to the session, however it is connected [MQTT-3.3.1-9].
TEST_F(JoinsLate, GetsTheRetainedValueOnItsNextConnection) {
  for (int i = 0; i < 10; ++i)
    publish("a", std::to_string(i) + std::string(50'000, '.'), 1, i == 9);
  Peer& lasting = world.peer("lasting", Version::v5).connect(false, 3600);
  lasting.subscribe(beginning_with(10, "a", Mode::every, 1)).take();
  ASSERT_LT(lasting.got.size(), 9u);
  lasting.close();
  Peer& again = world.peer("lasting", Version::v5).connect(false, 3600);
  again.read();
  ASSERT_FALSE(again.got.empty());
  EXPECT_EQ(again.got.back().payload[0], '9');
  EXPECT_TRUE(again.got.back().retain);
}

TEST_F(JoinsLate, GetsTheRetainedValueThoughItsRingTurnedOverMeanwhile) {
  for (int i = 0; i < 10; ++i)
    publish("a", std::to_string(i) + std::string(50'000, '.'), 0, i == 9);
  reader.subscribe(beginning_with(10, "a", Mode::every)).take();
  const std::size_t sent = reader.got.size();
  ASSERT_LT(sent, 9u);
  for (int i = 0; i < 10; ++i) publish("a", "live");
  reader.read();
  ASSERT_EQ(reader.got.size(), sent + 11);
  EXPECT_EQ(reader.got[sent].payload[0], '9');
  EXPECT_TRUE(reader.got[sent].retain);
  EXPECT_EQ(reader.got[sent + 1].payload, "live");
}

// What was sent last is not what it will be compared with.
TEST_F(JoinsLate, ComparesWithTheLastValueOfItsHistory) {
  const std::string padding(50'000, '.');
  publish("a", "1" + padding).publish("a", "2" + padding);
  SubscriptionRequest wanted = beginning_with(2, "a", Mode::latest);
  ShapeFields fields;
  fields.changes = Changes::unequal;
  wanted.shape = make_shape(fields);
  reader.subscribe(wanted).take();
  ASSERT_EQ(reader.got.size(), 1u) << "its credit is used up";
  publish("a", "1" + padding);
  reader.read();
  ASSERT_EQ(reader.got.size(), 3u);
  EXPECT_EQ(reader.got[1].payload[0], '2');
  EXPECT_EQ(reader.got[2].payload[0], '1');
}

TEST_F(JoinsLate, IsOnItsWayToAnotherSubscriptionWhenItEnds) {
  for (int i = 0; i < 10; ++i) publish("a", std::string(50'000, '.'));
  reader.subscribe("b").subscribe(beginning_with(10, "a"));
  publish("b", "live");
  reader.take();
  reader.unsubscribe("$history/10/a");
  reader.read();
  EXPECT_EQ(reader.got.back().payload, "live");
}

TEST_F(JoinsLate, GoesWithItsTopic) {
  ProcessorLimits limits = with_history();
  limits.slots.count_max = 10;
  World small(limits);
  Peer& sender = small.peer("writer").connect();
  for (int i = 0; i < 100; ++i) sender.publish("t/" + std::to_string(i), "x");
  small.run_until_idle();
  EXPECT_EQ(small.processor.topics().size(), 10u);
  EXPECT_EQ(small.processor.stats().history_values.value(), 10u);
}

TEST_F(JoinsLate, IsBoundedOverManyTopics) {
  ProcessorLimits limits = with_history();
  limits.history.bytes_max = 256 * 1024;
  World small(limits);
  Peer& sender = small.peer("writer").connect();
  for (int i = 0; i < 20'000; ++i) sender.publish("t/" + std::to_string(i), "value");
  small.run_until_idle();
  const ProcessorStats& stats = small.processor.stats();
  EXPECT_EQ(stats.topics.value(), 20'000u);
  EXPECT_LE(stats.history_bytes.value(), 256u * 1024);
  EXPECT_EQ(stats.history_values.value() + stats.history_evicted.value(), 20'000u);
  Peer& late = small.peer("late").connect().subscribe(beginning_with(5, "#"));
  do {
    late.read();
  } while (small.processor.has_more());
  EXPECT_EQ(late.got.size(), stats.history_values.value());
}

TEST_F(JoinsLate, IsGivenUpWhileMemoryIsScarce) {
  ProcessorLimits limits = with_history(100);
  limits.memory_bytes = 4 << 20;
  World small(limits);
  Peer& sender = small.peer("writer").connect();
  for (int i = 0; i < 2000; ++i) {
    sender.publish("t/" + std::to_string(i % 50), std::string(4000, '.'));
    small.advance_ms(3);
  }
  EXPECT_GT(small.processor.stats().history_evicted.value(), 0u);
  EXPECT_FALSE(small.processor.ledger().is_scarce());
}

TEST(History, CostsNothingWithoutADepth) {
  World world;
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 10; ++i) writer.publish("a", "x");
  EXPECT_EQ(world.processor.stats().history_bytes.value(), 0u);
  Peer& reader = world.peer("reader").connect().subscribe(beginning_with(5, "a"));
  EXPECT_THAT(reader.read().payloads(), IsEmpty());
}

// Against a model: what comes is, for each topic, the last values before the SUBSCRIBE, then each one
// after it, whatever the reader reads when.
TEST(History, IsWholeAndInOrderOverManySeeds) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    std::mt19937_64 random(seed);
    ProcessorLimits limits = with_history(50);
    limits.credit_bytes = 400;
    limits.credit_max_bytes = 800;
    limits.snapshot_topics_per_batch = 8;
    World world(limits);
    Peer& writer = world.peer("writer").connect();
    const std::uint32_t count = 1 + static_cast<std::uint32_t>(random() % 5);
    std::map<std::string, std::deque<std::string>> wanted;
    std::uint64_t number = 0;
    const auto publish = [&](bool is_live) {
      const std::string topic = "t/" + std::to_string(random() % 6);
      const std::string payload = std::to_string(++number) + std::string(random() % 80, '.');
      writer.publish(topic, payload, 0, random() % 4 == 0);
      wanted[topic].push_back(payload);
      if (!is_live && wanted[topic].size() > count) wanted[topic].pop_front();
    };
    for (std::uint64_t i = random() % 40; i > 0; --i) publish(false);
    Peer& reader = world.peer("reader", Version::v5).connect();
    SubscriptionRequest request = beginning_with(count, "t/#", Mode::every);
    request.retain_handling = 2;
    reader.subscribe(request);
    for (std::uint64_t i = random() % 40; i > 0; --i) {
      publish(true);
      if (random() % 3 == 0) reader.read();
    }
    do {
      reader.read();
    } while (world.processor.has_more());
    std::map<std::string, std::deque<std::string>> got;
    for (const Got& one : reader.got) got[one.topic].push_back(one.payload);
    ASSERT_EQ(got, wanted) << "seed " << seed;
  }
}

}  // namespace
}  // namespace millrace::broker
