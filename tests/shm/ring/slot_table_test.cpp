// The table of newest values: no torn value, no reader delays the writer.
#include "core/shm/ring/slot_table.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/shm/process.hpp"

namespace millrace::shm {
namespace {

using Found = TableReader::Found;

// Two topics of the same hash.
constexpr std::string_view one = "8yn0iYCKYHlIj4-BwPqk", other = "GReLUrM4wMqfg9yzV3KQ";

class Table : public ::testing::Test {
 protected:
  void make(TableOptions options) {
    writer = TableWriter::make(options);
    ASSERT_TRUE(writer);
    ASSERT_EQ(reader.open(writer->fd()), nullptr);
  }
  void store(std::string_view topic, std::string_view payload) {
    writer->store(topic, std::as_bytes(std::span(payload)), 1, 2);
  }
  Found read(std::string_view topic) {
    const Found found = reader.read(topic, value);
    text.assign(reinterpret_cast<const char*>(value.payload.data()), value.payload.size());
    return found;
  }
  std::uint64_t generation_after(std::string_view topic, std::string_view payload) {
    store(topic, payload);
    EXPECT_EQ(read(topic), Found::yes);
    return value.generation;
  }

  std::unique_ptr<TableWriter> writer;
  TableReader reader;
  TableReader::Value value;
  std::string text;
};

TEST_F(Table, GivesTheNewestValue) {
  make({});
  EXPECT_EQ(read("a"), Found::no);
  store("a", "1");
  store("b", "2");
  store("a", "3");
  EXPECT_EQ(read("a"), Found::yes);
  EXPECT_EQ(text, "3");
  EXPECT_EQ(value.sequence, 3u);
  EXPECT_EQ(value.flags, 1);
  EXPECT_EQ(value.time_ns, 2u);
  EXPECT_EQ(read("b"), Found::yes);
  EXPECT_EQ(text, "2");
}

TEST_F(Table, ClearedIsGone) {
  make({});
  store("a", "1");
  writer->clear("a", 0);
  EXPECT_EQ(read("a"), Found::no);
  store("a", "2");
  EXPECT_EQ(read("a"), Found::yes);
}

TEST_F(Table, TooLargeForACellIsElsewhere) {
  make({.cell_bytes = 128});
  store("a", std::string(500, 'x'));
  EXPECT_EQ(read("a"), Found::elsewhere);
  store(std::string(300, 't'), "x");
  EXPECT_EQ(read(std::string(300, 't')), Found::elsewhere);
  store("a", "small again");
  EXPECT_EQ(read("a"), Found::yes);
}

TEST_F(Table, FullWindowReusesTheLeastRecentCell) {
  make({.cell_count = 4, .window = 4});
  for (const char* topic : {"a", "b", "c", "d"}) store(topic, topic);
  store("a", "again");
  store("e", "new");
  EXPECT_EQ(writer->displaced(), 1u);
  EXPECT_EQ(read("b"), Found::no);
  for (const char* topic : {"a", "c", "d", "e"}) EXPECT_EQ(read(topic), Found::yes) << topic;
}

TEST_F(Table, TopicsOfTheSameHashHaveACellEach) {
  ASSERT_EQ(topic_hash(one), topic_hash(other));
  make({});
  const std::string large(1000, 'x');
  store(one, large);
  store(other, "2");
  EXPECT_EQ(read(one), Found::elsewhere);
  EXPECT_EQ(read(other), Found::yes);
  EXPECT_EQ(text, "2");
  store(other, large);
  store(one, "1");
  EXPECT_EQ(read(one), Found::yes);
  EXPECT_EQ(text, "1");
  EXPECT_EQ(read(other), Found::elsewhere);
  writer->clear(other, 0);
  EXPECT_EQ(read(one), Found::yes);
  EXPECT_EQ(read(other), Found::no);
}

TEST_F(Table, GenerationChangesWhenACellGoesToATopicOfTheSameHash) {
  make({.cell_count = 1, .window = 1});
  const std::uint64_t first = generation_after(one, "1");
  EXPECT_NE(generation_after(other, "2"), first);
}

TEST_F(Table, KnowsWhenAValueWasStoredThatIsNotInItsCell) {
  make({.cell_bytes = 128});
  std::uint64_t sequence = 0, time_ns = 0;
  EXPECT_FALSE(writer->when_stored("a", sequence, time_ns));
  const std::string name(300, 't');
  const std::byte payload[200] = {};
  writer->store("a", std::span(payload, 1), 0, 10);
  writer->store("a", payload, 0, 20);
  writer->store(name, payload, 0, 30);
  EXPECT_TRUE(writer->when_stored("a", sequence, time_ns));
  EXPECT_EQ(sequence, 2u);
  EXPECT_EQ(time_ns, 20u);
  EXPECT_TRUE(writer->when_stored(name, sequence, time_ns));
  EXPECT_EQ(sequence, 3u);
  EXPECT_EQ(time_ns, 30u);
}

TEST_F(Table, GenerationChangesWithTheTopicOfACell) {
  make({.cell_count = 1, .window = 1});
  const std::uint64_t first = generation_after("a", "1");
  EXPECT_EQ(generation_after("a", "2"), first);
  store("b", "3");
  EXPECT_NE(generation_after("a", "4"), first);
}

TEST_F(Table, AnotherProcessNeverSeesATornValue) {
  make({.cell_count = 2, .window = 2});
  store("a", std::string(300, 'a'));
  test::Signal ready;
  test::Child other([&] {
    TableReader mine;
    TableReader::Value got;
    if (mine.open(writer->fd())) return false;
    ready.raise();
    for (std::uint64_t last = 0; last < 20'000;) {
      const Found found = mine.read("a", got);
      if (found == Found::busy) continue;
      if (found != Found::yes || got.sequence < last) return false;
      last = got.sequence;
      for (const std::byte byte : got.payload) {
        if (byte != got.payload.front()) return false;
      }
      if (got.payload.size() != 100 + static_cast<std::size_t>(got.payload.front()) % 26 * 8 &&
          last > 1) {
        return false;
      }
    }
    return true;
  });
  ready.await();
  for (int i = 0; i < 20'000; ++i) {
    const char letter = static_cast<char>('a' + i % 26);
    store("a", std::string(100 + static_cast<std::size_t>(letter) % 26 * 8, letter));
  }
  EXPECT_TRUE(other.succeeded());
}

TEST_F(Table, ReaderOfACellWhoseWriterWasKilledInMidStoreReturnsBusy) {
  make({.cell_count = 1, .window = 1});
  store("a", "1");
  // A killed writer leaves an odd version behind. Only the writer can map the table for writing, so
  // a copy of the memory is changed.
  const Mapping as_left = Mapping::map(writer->fd(), page_bytes, Access::read_only);
  ASSERT_TRUE(as_left);
  UniqueFd copy = make_memory("test", page_bytes + 512);
  const Mapping all = Mapping::map(writer->fd(), page_bytes + 512, Access::read_only);
  Mapping mine = Mapping::map(copy.get(), page_bytes + 512, Access::read_write);
  std::memcpy(mine.data(), all.data(), page_bytes + 512);
  *reinterpret_cast<std::uint64_t*>(mine.data() + page_bytes) += 1;
  ASSERT_EQ(reader.open(copy.get()), nullptr);
  EXPECT_EQ(read("a"), Found::busy);
}

}  // namespace
}  // namespace millrace::shm
