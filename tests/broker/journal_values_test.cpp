// Values in the store, retained and newest ones. Many that wait for it go there in parts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>

#include "tests/broker/journal_fixture.hpp"

namespace millrace::broker {
namespace {

using testing::ElementsAre;

TEST_F(JournalTest, RetainedMessagesAreThereUntilTheyAreCleared) {
  Peer& sender = writer();
  sender.publish("a", "1", 1, true).publish("a", "2", 1, true).publish("b", "3", 1, true);
  sender.publish("b", "", 1, true).publish("c", "not retained", 1);
  world.restart();
  EXPECT_EQ(world.restored.retained, 1u);
  Peer& reader = world.peer("reader").connect().subscribe("#");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("2"));
}

TEST_F(JournalTest, ARetainedMessageAtQoS0IsWrittenOnceAnInterval) {
  Peer& sender = writer();
  const std::uint64_t before = world.log->records;
  for (int i = 0; i < 1000; ++i) sender.publish("a", std::to_string(i), 0, true);
  EXPECT_EQ(world.log->records, before);
  EXPECT_LE(world.processor.next_deadline_ns(), world.now_ns + second_ns);
  world.advance_ms(1000);
  EXPECT_EQ(world.log->records, before + 1);
  world.restart();
  Peer& reader = world.peer("reader").connect().subscribe("#");
  EXPECT_THAT(reader.read().payloads(), ElementsAre("999"));
}

TEST(Journal, KeepsTheNewestValueOfEachTopicWhereItIsTold) {
  const Journal::Options newest{.newest_values = true};
  World world;
  world.open_store(newest);
  const auto writer = [&]() -> Peer& { return world.peer("writer").connect(); };
  Peer& sender = writer();
  const std::uint64_t before = world.log->records;
  for (int i = 0; i < 100; ++i) sender.publish("a", std::to_string(i), i % 2);
  sender.publish("b", "retained", 0, true).publish("c", "x").publish("c", "");
  EXPECT_EQ(world.log->records, before + 1);  // of "c" nothing is to be kept
  world.advance_ms(1000);
  EXPECT_EQ(world.log->records, before + 3);
  world.restart(0, nullptr, 0, newest);
  EXPECT_EQ(world.restored.newest, 1u);
  EXPECT_EQ(world.restored.retained, 1u);
  Peer& reader = world.peer("reader").connect().subscribe("#", 0, Mode::latest);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("99", "retained"));
  EXPECT_FALSE(reader.got[0].retain);
  EXPECT_TRUE(reader.got[1].retain);
  writer().publish("a", "retained, too", 0, true).publish("b", "newer");
  world.advance_ms(1000);
  world.restart(0, nullptr, 0, newest);
  EXPECT_EQ(world.restored.newest, 1u);  // of "b", which has a retained one beside
  EXPECT_EQ(world.restored.retained, 2u);
  Peer& again = world.peer("again").connect().subscribe("b", 0, Mode::latest);
  EXPECT_THAT(again.read().payloads(), testing::Contains("newer"));
  world.restart();  // not told
  world.run_until_idle();
  world.restart(0, nullptr, 0, newest);
  EXPECT_EQ(world.restored.newest, 0u);
}

TEST(Journal, ANewestValueThatMadeRoomIsNotKept) {
  const Journal::Options newest{.newest_values = true};
  ProcessorLimits limits;
  limits.slots.count_max = 2;
  World world(limits);
  world.open_store(newest);
  Peer& sender = world.peer("writer").connect();
  for (const char* topic : {"a", "b"}) sender.publish(topic, "x");
  world.advance_ms(1000);
  for (const char* topic : {"c", "d", "e"}) sender.publish(topic, "x");
  world.advance_ms(1000);
  world.restart(0, nullptr, 0, newest);
  EXPECT_EQ(world.restored.newest, 2u);
  Peer& reader = world.peer("reader").connect().subscribe("#", 0, Mode::latest).read();
  ASSERT_EQ(reader.got.size(), 2u);
  EXPECT_EQ(reader.got[0].topic, "d");
  EXPECT_EQ(reader.got[1].topic, "e");
}

// One that a start with lower limits refused is in the store still.
TEST_F(JournalTest, ARetainedValueThatWasRefusedAtTheStartComesBackUnlessItWasCleared) {
  writer().publish("a", "x", 1, true).publish("b", "x", 1, true).publish("c", "x", 1, true);
  const auto restart_with_room_for = [&](std::uint64_t count) {
    world.limits.slots.count_max = count;
    world.restart();
    return world.restored.retained;
  };
  ASSERT_EQ(restart_with_room_for(1), 1u);
  writer().publish("b", "", 0, true).publish("c", "not retained", 1);
  world.advance_ms(1000);
  EXPECT_EQ(restart_with_room_for(10), 2u);
  Peer& reader = world.peer("reader").connect().subscribe("b").subscribe("c").read();
  EXPECT_THAT(reader.payloads(), ElementsAre("x")) << "of c";
}

// Else a client could have the store write for nothing, as often as it likes.
TEST_F(JournalTest, ATopicThatIsClearedIsWrittenOnlyIfTheStoreHasAValueOfIt) {
  writer().publish("a", "x", 1, true).publish("b", "x", 1, true);
  world.limits.slots.count_max = 1;
  world.restart();
  Peer& sender = writer();
  const std::uint64_t before = world.log->records;
  for (int i = 0; i < 10; ++i) sender.publish("never/" + std::to_string(i), "", 1, true);
  for (int i = 0; i < 10; ++i) sender.publish("b", "", 1, true);
  EXPECT_EQ(world.log->records, before + 1);
}

// --- Many values ---------------------------------------------------------------------------------

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
