// Weights: which of the values that wait goes first, and that each goes in time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/broker/journal_records.hpp"
#include "core/broker/pending.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::Version;
using testing::ElementsAre;
using Lane = PendingQueue::Lane;

ShapeRef weight(std::uint32_t value) {
  ShapeFields fields;
  fields.weight = value;
  return make_shape(fields);
}

// Without a weight: 0.
PendingEntry entry(std::string_view topic, std::string_view payload, std::uint32_t of_weight,
                   int qos = 0) {
  PendingEntry made;
  made.delivery.message = message(topic, payload);
  made.delivery.qos = static_cast<std::uint8_t>(qos);
  made.subscription = 1;
  made.shape = weight(of_weight);
  return made;
}

std::string pop(PendingQueue& pending) {
  if (pending.front(Lane::newest) == nullptr) return {};
  const PendingEntry popped = pending.pop(Lane::newest);
  const auto payload = popped.delivery.message.payload();
  return {payload.begin(), payload.end()};
}

std::vector<std::string> pop_all(PendingQueue& pending) {
  std::vector<std::string> payloads;
  while (pending.newest_size() > 0) payloads.push_back(pop(pending));
  return payloads;
}

TEST(Weights, PutTheHeavierTopicFirstAndReplaceItInPlace) {
  PendingQueue pending;
  pending.push_cell(entry("position/1", "p1", 0));
  pending.push_cell(entry("position/2", "p2", 0));
  pending.push_cell(entry("trace", "t", 1));
  pending.push_cell(entry("alarm", "a1", 100));
  EXPECT_TRUE(pending.push_cell(entry("alarm", "a2", 100)));
  EXPECT_TRUE(pending.has_cell(entry("alarm", "", 100)));
  EXPECT_THAT(pop_all(pending), ElementsAre("a2", "p1", "p2", "t"));
  EXPECT_EQ(pending.bytes(), 0u);
}

TEST(Weights, KeepTheOrderOfThoseThatAreAlike) {
  PendingQueue pending;
  for (const char* name : {"a", "b", "c"}) pending.push_cell(entry(name, name, 20));
  EXPECT_THAT(pop_all(pending), ElementsAre("a", "b", "c"));
}

TEST(Weights, LetNothingPassARequestOrASeal) {
  PendingQueue pending;
  pending.push_cell(entry("position", "p", 0));
  pending.push_cell(entry("alarm", "a", 100));
  pending.push_fixed(entry("position", "request", 0));
  pending.push_cell(entry("alarm/2", "b", 100));
  EXPECT_THAT(pop_all(pending), ElementsAre("p", "a", "request", "b"));
  pending.push_cell(entry("alarm", "1", 100));
  pending.seal();
  pending.push_cell(entry("alarm", "2", 100));
  EXPECT_THAT(pop_all(pending), ElementsAre("1", "2"));
}

TEST(Weights, MakeRoomWithWhatIsLeastUrgent) {
  PendingQueue pending;
  for (const std::uint32_t of_weight : {50u, 1u, 100u}) {
    pending.push_cell(entry(std::to_string(of_weight), std::to_string(of_weight), of_weight));
  }
  EXPECT_EQ(pending.drop_some(1), 1u);
  EXPECT_THAT(pop_all(pending), ElementsAre("100", "50"));
}

TEST(Weights, AreLeftWhereTheQueueIsGoneThrough) {
  PendingQueue pending;
  pending.push_cell(entry("a", "a", 100, 1));
  pending.push_cell(entry("b", "b", 50));
  pending.push_cell(entry("c", "c", 0, 1));
  int lasting = 0;
  pending.for_each_lasting([&](PendingEntry&, Waits waits) { lasting += waits == Waits::cell; });
  EXPECT_EQ(lasting, 2);
  EXPECT_EQ(pending.lasting_size(), 2u);
  EXPECT_EQ(pending.remove_if([](const PendingEntry& one) { return one.delivery.qos == 0; }), 1u);
  EXPECT_EQ(pending.size(), 2u);
  PendingQueue taken = pending.take_all();
  EXPECT_TRUE(pending.empty());
  EXPECT_EQ(pop_all(taken).size(), 2u);
}

TEST(Weights, OutliveTheProcess) {
  records::SubscriptionState state;
  state.number = 1;
  state.filter_bytes = 1;
  state.shape.weight = 70;
  const std::string bytes = records::encode(state);
  EXPECT_EQ(records::decode_subscription(bytes)->shape.weight, 70u);
  const std::string before = bytes.substr(0, bytes.size() - 4);
  EXPECT_EQ(records::decode_subscription(before)->shape.weight, 0u) << "of a server before this";
}

TEST(Weights, PutAnAlarmBeforeThePositionsThatWait) {
  ProcessorLimits limits;
  limits.credit_latest_bytes = 100;
  World world(limits);
  Peer& writer = world.peer("writer").connect();
  Peer& reader =
      world.peer("reader", Version::v5).connect().subscribe("position/#", 0, Mode::latest);
  SubscriptionRequest alarms;
  alarms.name = alarms.filter = "alarm/#";
  alarms.mode = Mode::latest;
  alarms.shape = weight(100);
  reader.subscribe(alarms);
  for (int i = 0; i < 50; ++i) writer.publish("position/" + std::to_string(i), "p");
  writer.publish("alarm/fire", "!");
  reader.take();
  const std::size_t before = reader.got.size();
  ASSERT_LT(before, 20u) << "the others wait";
  reader.report_drained();
  reader.take();
  ASSERT_GT(reader.got.size(), before);
  EXPECT_EQ(reader.got[before].topic, "alarm/fire");
  EXPECT_EQ(reader.read().got.size(), 51u);
}

// All topics are published all the time, and the reader takes a few of them. Over any seed: each is
// served as often as its weight says, and waits for no more than its share of the others.
TEST(Weights, ShareWhatTheReaderTakesAndStarveNothing) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    std::mt19937_64 random(seed);
    const auto pick = [&](std::uint32_t count) {
      return static_cast<std::uint32_t>(random() % count);
    };
    struct Topic {
      std::uint32_t weight = 0;  // 0: none is said
      std::uint64_t served = 0;
      std::uint64_t waits_since = 0;
      std::uint64_t longest = 0;
      double share() const { return weight == 0 ? weight_unset : weight; }
    };
    std::map<std::string, Topic> topics;
    for (std::uint32_t i = 2 + pick(30); i > 0; --i) {
      topics["t" + std::to_string(i)].weight = pick(4) == 0 ? 0 : 1 + pick(weight_max);
    }
    PendingQueue pending;
    std::uint64_t pops = 0;
    const auto publish = [&](const std::string& name, Topic& topic) {
      if (!pending.push_cell(entry(name, name, topic.weight))) topic.waits_since = pops;
    };
    for (auto& [name, topic] : topics) publish(name, topic);
    constexpr std::uint64_t pops_max = 20'000;
    while (++pops < pops_max) {
      const std::string name = pop(pending);
      Topic& topic = topics.at(name);
      ++topic.served;
      topic.longest = std::max(topic.longest, pops - topic.waits_since);
      publish(name, topic);
      if (pick(3) == 0) {
        const auto other =
            std::next(topics.begin(), pick(static_cast<std::uint32_t>(topics.size())));
        publish(other->first, other->second);
      }
    }
    double shares = 0;
    for (const auto& [name, topic] : topics) shares += topic.share();
    for (const auto& [name, topic] : topics) {
      const double expected = static_cast<double>(pops) * topic.share() / shares;
      // The turns are whole numbers: 10,000 by 99 is 101.
      EXPECT_NEAR(static_cast<double>(topic.served), expected, expected * 0.02 + 3)
          << "seed " << seed << ", weight " << topic.weight;
      double others = 1;
      for (const auto& [_, other] : topics) others += other.share() / topic.share() * 1.1 + 1;
      EXPECT_LE(static_cast<double>(topic.longest), others)
          << "seed " << seed << ", weight " << topic.weight;
    }
  }
}

}  // namespace
}  // namespace millrace::broker
