// Many values that wait for the store go there in parts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>

#include "core/broker/journal.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using testing::ElementsAre;

constexpr std::int64_t second_ns = 1'000'000'000;

// A hundred retained values and a hundred newest ones that are due, of which ten fit into one batch.
class ManyValues : public testing::Test {
 protected:
  static constexpr int count = 100;

  ManyValues() {
    world.open_store(options);
    for (int i = 0; i < count; ++i) {
      sender.publish("r/" + std::to_string(i), std::string(100, 'x'), 0, true);
      sender.publish("n/" + std::to_string(i), std::string(100, 'x'));
    }
    before = world.log->records;
    world.now_ns += second_ns;
  }
  void run_batch() {
    world.processor.begin(world.now_ns, world.unix_ns());
    world.processor.finish();
  }
  bool are_due() const { return world.processor.next_deadline_ns() <= world.now_ns; }
  std::uint64_t written() const { return world.log->records - before; }

  const Journal::Options options{.newest_values = true, .waiting_bytes_max = 16'000};
  World world;
  Peer& sender = world.peer("writer").connect();
  std::uint64_t before = 0;
};

TEST_F(ManyValues, AreWrittenInPartsAndEachOnceAnInterval) {
  std::uint64_t last = 0;
  for (int batches = 0; are_due(); ++batches) {
    ASSERT_LE(batches, 2 * count);
    run_batch();
    EXPECT_LE(written() - last, 10u);
    sender.publish("r/7", "again", 0, true).publish("n/7", "again");
    last = written();
  }
  EXPECT_EQ(written(), 2u * count);
  world.advance_ms(1000);
  EXPECT_EQ(written(), 2u * count + 2);
  world.restart(0, nullptr, 0, options);
  EXPECT_EQ(world.restored.retained, static_cast<std::uint64_t>(count));
  EXPECT_EQ(world.restored.newest, static_cast<std::uint64_t>(count));
  Peer& reader = world.peer("reader").connect();
  reader.subscribe("r/7", 0, Mode::latest).subscribe("n/7", 0, Mode::latest);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("again", "again"));
}

TEST_F(ManyValues, AreNotWrittenOverWhatCameAfterThem) {
  run_batch();
  ASSERT_TRUE(are_due());
  for (int i = 0; i < count; ++i) {
    sender.publish("r/" + std::to_string(i), "later", 1, true);
    sender.publish("n/" + std::to_string(i), "");
  }
  world.advance_ms(1000);
  ASSERT_FALSE(are_due());
  world.restart(0, nullptr, 0, options);
  EXPECT_EQ(world.restored.newest, 0u);
  Peer& reader = world.peer("reader").connect().subscribe("r/+").read();
  EXPECT_THAT(reader.payloads(), testing::AllOf(testing::SizeIs(count), testing::Each("later")));
}

TEST_F(ManyValues, AreAllWrittenAtTheEnd) {
  sender.publish("r/new", "x", 0, true);
  world.processor.close_journal();
  EXPECT_EQ(written(), 2u * count + 1);
}

// --- A newest value in the store that a retained one replaces -----------------------------------------

class Replaced : public testing::Test {
 protected:
  Replaced() {
    world.open_store(options);
    sender.publish("a", "newest");
    world.advance_ms(1000);
    state = world.log->state(world.log->appended());
    seen = world.log->appended();
  }
  bool has(std::uint8_t space, const std::string& topic) const {
    return state.contains({int{space}, 0, topic});
  }
  bool knows(const std::string& topic) const {
    return has(records::retained_space, topic) || has(records::newest_space, topic);
  }
  // Calls f() for what a process would find that starts with one more batch, and so on to the last.
  void for_each_batch(const std::function<void()>& f) {
    for (; seen < world.log->appended(); f()) store::take_in(state, world.log->batch(++seen));
  }
  // There is a value of the topic at any moment; at the end it is the retained one.
  void expect_no_gap() {
    ASSERT_LT(seen, world.log->appended());
    for_each_batch([&] { EXPECT_TRUE(knows("a")) << "with " << seen << " batches"; });
    EXPECT_TRUE(has(records::retained_space, "a"));
    EXPECT_FALSE(has(records::newest_space, "a"));
  }

  const Journal::Options options{.newest_values = true, .waiting_bytes_max = 16'000};
  World world;
  Peer& sender = world.peer("writer").connect();
  store::State state;      // what the store has
  std::uint64_t seen = 0;  // with so many batches
};

TEST_F(Replaced, GoesInTheBatchInWhichTheOtherComes) {
  sender.publish("a", "retained", 0, true);
  world.advance_ms(1000);
  expect_no_gap();
}

TEST_F(Replaced, GoesWithOneThatTookThePlaceOfAnotherThatWaited) {
  sender.publish("a", "retained", 0, true).publish("b", "x", 1, true);
  sender.publish("a", "again", 0, true);
  world.advance_ms(1000);
  expect_no_gap();
}

TEST_F(Replaced, GoesWithOneThatIsWrittenAtOnceAfterOneThatWaited) {
  sender.publish("a", "retained", 0, true).publish("a", "again", 1, true);
  expect_no_gap();
}

TEST_F(Replaced, GoesWithOneThatIsClearedBeforeItIsWritten) {
  sender.publish("a", "retained", 0, true).publish("a", "", 0, true);
  world.advance_ms(1000);
  for_each_batch([] {});
  EXPECT_FALSE(knows("a"));
}

// Values that are many, so that they are written in parts; the last one of each topic is what stays.
TEST_F(Replaced, LeavesNoGapInAnyOrderOfChanges) {
  constexpr int topics = 40;
  std::mt19937 random(1);
  std::map<std::string, bool> is_retained;  // of its newest value
  std::set<std::string> had_retained, known;
  const auto look = [&] {
    for (const std::string& topic : known) EXPECT_TRUE(knows(topic)) << topic;
    for (const auto& [topic, retained] : is_retained) {
      if (knows(topic)) known.insert(topic);
    }
  };
  for (int step = 0; step < 2'000; ++step) {
    const std::string topic = "t/" + std::to_string(random() % topics);
    const bool retain = random() % 2 == 0;
    sender.publish(topic, std::string(100, 'x'), random() % 8 == 0 ? 1 : 0, retain);
    is_retained[topic] = retain;
    if (retain) had_retained.insert(topic);
    if (random() % 4 == 0) world.now_ns += static_cast<std::int64_t>(random() % 300) * 1'000'000;
    for_each_batch(look);
  }
  for (int i = 0; i < 2 * topics; ++i) world.advance_ms(1000);
  for_each_batch(look);
  for (const auto& [topic, retained] : is_retained) {
    EXPECT_EQ(has(records::retained_space, topic), had_retained.contains(topic)) << topic;
    EXPECT_EQ(has(records::newest_space, topic), !retained) << topic;
  }
}

}  // namespace
}  // namespace millrace::broker
