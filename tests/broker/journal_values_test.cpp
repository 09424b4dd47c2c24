// Many values that wait for the store go there in parts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace millrace::broker
