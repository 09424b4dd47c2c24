// The delivery contract: byte budgets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "core/broker/processor.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::Version;
using testing::ElementsAre;

constexpr std::uint32_t budget = 10'000;

SubscriptionRequest budgeted(std::string filter, Mode mode = Mode::latest, int qos = 0,
                             std::uint32_t bytes_per_s = budget) {
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = std::move(filter);
  wanted.mode = mode;
  wanted.qos = static_cast<std::uint8_t>(qos);
  ShapeFields fields;
  fields.budget_bytes_per_s = bytes_per_s;
  wanted.shape = make_shape(fields);
  return wanted;
}

// A value of about 200 bytes that begins with its number.
std::string value(int number) {
  std::string text = std::to_string(number);
  return text + std::string(200 - text.size(), ' ');
}
int number_of(const Got& got) {
  return std::stoi(got.payload);
}

struct Budget : testing::Test {
  World world;
  Peer& reader = world.peer("reader", Version::v5).connect();
  Peer& writer = world.peer("writer").connect();

  // So many milliseconds, each with a new value of one of four topics.
  void publish_for(int milliseconds, int qos = 0) {
    for (int i = 0; i < milliseconds; ++i) {
      ++number;
      writer.publish("t/" + std::to_string(number % 4), value(number), qos);
      newest["t/" + std::to_string(number % 4)] = number;
      world.advance_ms(1);
      read();
    }
  }
  // In steps, as the server's timers are: what comes later than 20 ms is not made up for.
  void wait(int milliseconds) {
    for (int passed = 0; passed < milliseconds; passed += 5) {
      world.advance_ms(5);
      read();
    }
  }
  void read() {
    reader.read();
    for (const Got& got : reader.got) {
      if (got.qos > 0) reader.acknowledge(protocol::PacketType::puback, got.packet_id);
      int& last = seen[got.topic];
      EXPECT_GT(number_of(got), last) << "the order of " << got.topic;
      last = number_of(got);
    }
    count += reader.got.size();
    reader.got.clear();
  }
  const Session& session() const { return *world.processor.find_session("reader"); }

  int number = 0;
  std::size_t count = 0;
  std::map<std::string, int> newest;
  std::map<std::string, int> seen;
};

TEST_F(Budget, IsKeptAndUsed) {
  reader.subscribe(budgeted("t/#"));
  publish_for(1000);
  const std::uint64_t before = reader.handed_over_bytes;
  publish_for(5000);
  const std::uint64_t sent = reader.handed_over_bytes - before;
  EXPECT_LE(sent, 5 * budget + 300);
  EXPECT_GE(sent, 5 * budget * 95 / 100);
}

TEST_F(Budget, LetsTheLastValueOfEachTopicThrough) {
  reader.subscribe(budgeted("t/#"));
  publish_for(2000);
  EXPECT_NE(seen, newest);
  wait(200);
  EXPECT_EQ(seen, newest);
  EXPECT_EQ(world.processor.stats().pending.value(), 0u);
  for (const Drop why : {Drop::queue_oldest, Drop::queue_newest}) {
    EXPECT_EQ(dropped(world, why), 0u);
  }
}

TEST_F(Budget, LetsTheLastValueThroughAtQos1) {
  reader.subscribe(budgeted("t/#", Mode::latest, 1));
  publish_for(1000, 1);
  wait(200);
  EXPECT_EQ(seen, newest);
}

TEST_F(Budget, ServesAllTopicsInTurn) {
  reader.subscribe(budgeted("#"));
  for (int i = 0; i < 20; ++i) {
    for (int burst = 0; burst < 10; ++burst) writer.publish("hot", value(++number));
    writer.publish("rare/" + std::to_string(i), value(++number));
    world.advance_ms(10);
    read();
  }
  wait(1000);
  EXPECT_EQ(seen.size(), 21u);
}

TEST_F(Budget, OfAnAdaptiveReaderConflatesItsBacklogWhenThatIsTooOld) {
  reader.subscribe(budgeted("t/#", Mode::adaptive));
  publish_for(900);
  EXPECT_EQ(world.processor.stats().conflated.value(), 0u) << "in order, as long as it may";
  publish_for(3000);
  EXPECT_TRUE(session().pending.collapsed());
  EXPECT_LE(session().pending.size(), 4u);
  EXPECT_GT(world.processor.stats().conflated.value(), 0u);
  wait(3000);
  EXPECT_EQ(seen, newest);
  EXPECT_EQ(world.processor.stats().slow_sessions.value(), 0u);
}

TEST_F(Budget, NeitherHoldsBackNorCountsWhatIsNeverReplaced) {
  reader.subscribe(budgeted("t/#"));
  SubscriptionRequest commands;
  commands.name = commands.filter = "command/#";
  commands.mode = Mode::every;
  commands.qos = 1;
  reader.subscribe(commands);
  publish_for(100);
  const std::size_t before = count;
  for (int i = 0; i < 50; ++i) writer.publish("command/x", value(++number), 1);
  world.apply(request("t/9", value(++number), world.now_ns));
  reader.read();
  const auto of_commands = std::ranges::count(reader.got, "command/x", &Got::topic);
  EXPECT_EQ(of_commands, 50);
  read();
  const std::size_t commands_seen = count - before;
  publish_for(1000);
  EXPECT_GE(count - before - commands_seen, 40u) << "the budget is there for the values";
}

TEST_F(Budget, HoldsForStoredValuesToo) {
  for (int i = 0; i < 100; ++i) writer.publish("s/" + std::to_string(i), value(i + 1));
  reader.subscribe(budgeted("s/#"));
  read();
  EXPECT_LE(count, 3u);
  wait(5000);
  EXPECT_EQ(seen.size(), 100u);
}

TEST_F(Budget, EndsWithTheLastSubscriptionThatBringsOne) {
  reader.subscribe(budgeted("t/#")).subscribe(budgeted("u/#", Mode::latest, 0, 5000));
  EXPECT_EQ(session().deferred.read().pace.budget_bytes_per_s(), 5000u);
  reader.unsubscribe("t/#").unsubscribe("u/#").subscribe("t/#", 0, Mode::latest);
  EXPECT_FALSE(session().is_paced);
  publish_for(100);
  EXPECT_EQ(count, 100u);
}

TEST_F(Budget, IsNotHadAnewByConnectingAgain) {
  Peer& first = world.peer("lasting", Version::v5).connect(false, 3600);
  first.subscribe(budgeted("t/#"));
  writer.publish("t/0", std::string(5000, 'x'));
  first.read();
  EXPECT_EQ(first.got.size(), 1u);
  first.close();
  Peer& second = world.peer("lasting", Version::v5).connect(false, 3600);
  writer.publish("t/1", "y");
  EXPECT_EQ(second.read().got.size(), 0u);
  world.advance_ms(600);
  EXPECT_EQ(second.read().got.size(), 1u);
}

}  // namespace
}  // namespace millrace::broker
