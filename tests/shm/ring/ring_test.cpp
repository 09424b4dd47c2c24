// One ring with writer and readers in one thread: what readers get, and what they miss.
#include <cstring>
#include <string>
#include <vector>

#include "tests/shm/ring/ring_fixture.hpp"

namespace millrace::shm {
namespace {

TEST_F(Ring, HandsOverWhatWasPublished) {
  make({});
  auto reader = attach();
  writer->append("a/b", bytes("hello"), frame_retain, 42);
  RingReader::Frame frame;
  EXPECT_FALSE(reader->next(frame)) << "nothing before the release";
  writer->release(now);
  ASSERT_TRUE(reader->next(frame));
  EXPECT_EQ(frame.topic, "a/b");
  EXPECT_EQ(text(frame.payload), "hello");
  EXPECT_EQ(frame.sequence, 1u);
  EXPECT_EQ(frame.time_ns, 42u);
  EXPECT_EQ(frame.flags, frame_retain);
  EXPECT_EQ(frame.kind, FrameKind::message);
  EXPECT_FALSE(reader->next(frame));
  EXPECT_TRUE(reader->release());
}

TEST_F(Ring, CarriesEverySizeAcrossTheWrap) {
  make(small);
  auto reader = attach();
  RingReader::Frame frame;
  for (std::size_t size = 0; size < 1024 - sizeof(FrameHeader) - 8; ++size) {
    std::string payload(size, static_cast<char>('a' + size % 26));
    if (size > 0) payload.front() = '<', payload.back() = '>';
    const std::string topic(size % 9, 't');
    publish(topic, payload);
    ASSERT_TRUE(reader->next(frame));
    ASSERT_EQ(frame.topic, topic);
    ASSERT_EQ(text(frame.payload), payload);
    ASSERT_TRUE(reader->release());
  }
  EXPECT_EQ(reader->missed(), 0u);
}

TEST_F(Ring, IsReadOnASystemWithLargerPages) {
  for (const std::size_t system_page : {16'384u, 65'536u}) {
    RingOptions options = small;
    options.system_page = system_page;
    make(options);
    consumer_pages.clear();
    auto reader = attach();
    const std::string payload(900, 'x');
    for (std::uint64_t i = 1; i <= 200; ++i) {
      publish("abc", payload);
      RingReader::Frame frame;
      ASSERT_TRUE(reader->next(frame));
      ASSERT_EQ(frame.sequence, i);
      ASSERT_EQ(text(frame.payload), payload);
      reader->release();
    }
  }
}

// A reader that gets a single frame from each load of the tail pauses between loads; it still
// returns each frame once.
TEST_F(Ring, PausingBetweenLooksLosesNothing) {
  make({});
  auto reader = attach();
  RingReader::Frame frame;
  for (std::uint64_t i = 1; i <= 200; ++i) {
    publish("abc", "x");
    ASSERT_TRUE(reader->next(frame));
    EXPECT_EQ(frame.sequence, i);
    reader->release();
  }
  EXPECT_FALSE(reader->next(frame));
  publish_many(100);
  EXPECT_EQ(read_sequences(*reader).size(), 100u);
}

TEST_F(Ring, LappedReaderGoesOnAtTheOldestAndKnowsWhatItMissed) {
  make(small);
  auto reader = attach();
  publish_many(1'000);
  const auto seen = read_sequences(*reader);
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back(), 1'000u);
  EXPECT_EQ(reader->missed(), seen.front() - 1);
  for (std::size_t i = 1; i < seen.size(); ++i) EXPECT_EQ(seen[i], seen[i - 1] + 1);
  EXPECT_GE(seen.size(), 4096u / 88 * 9 / 10) << "a lapped reader loses little more than one lap";
}

TEST_F(Ring, LagIsNoneForAReaderBeyondTheTail) {
  make(small);
  auto reader = attach();
  publish_many(1);
  for (int i = 0; i < 200; ++i) writer->append("abc", bytes(std::string(61, 'x')), 0, 0);
  RingReader::Frame frame;
  EXPECT_FALSE(reader->next(frame)) << "lapped by a batch that is not released yet";
  EXPECT_EQ(reader->lag_bytes(), 0u);
  writer->release(now);
  EXPECT_GT(reader->lag_bytes(), 0u);
}

TEST_F(Ring, FiguresCountWhatReadersMissedWithinWhatIsPossible) {
  make(small);
  auto reader = attach();
  publish_many(1'000);
  read_sequences(*reader);
  writer->inspect(now);
  EXPECT_EQ(writer->stats().lapped, reader->missed());
  publish_many(1'000);
  read_sequences(*reader);
  writer->remove_reader(1);
  EXPECT_EQ(writer->stats().lapped, reader->missed()) << "counted before it left";
  attach();
  page(1)->missed.store(~0ull);
  writer->inspect(now);
  EXPECT_LE(writer->stats().lapped, reader->missed() + writer->next_sequence());
}

TEST_F(Ring, ReleaseSaysWhetherTheFrameWasStillValid) {
  make(small);
  auto reader = attach();
  publish_many(1);
  RingReader::Frame frame;
  ASSERT_TRUE(reader->next(frame));
  publish_many(100);
  EXPECT_FALSE(reader->release());
  read_sequences(*reader);
  publish_many(1);
  ASSERT_TRUE(reader->next(frame));
  EXPECT_TRUE(reader->release());
}

TEST_F(Ring, ReleaseSaysNothingOfFramesThatWereLostUnread) {
  make(small);
  auto reader = attach();
  publish_many(1'000);
  EXPECT_TRUE(reader->release()) << "none was returned";
  RingReader::Frame frame;
  ASSERT_TRUE(reader->next(frame));
  ASSERT_TRUE(reader->last_is_intact());
  EXPECT_TRUE(reader->release());
  ASSERT_TRUE(reader->next(frame));
  publish_many(1'000);
  ASSERT_TRUE(reader->next(frame)) << "another one, from behind the gap";
  EXPECT_FALSE(reader->release()) << "of the first";
}

TEST_F(Ring, JoinsAtNowOrAtTheOldest) {
  make(small);
  publish_many(1'000);
  auto late = attach(false);
  auto old = attach(true);
  const auto seen = read_sequences(*old);
  EXPECT_GT(seen.size(), 30u);
  EXPECT_EQ(seen.back(), 1'000u);
  publish_many(1);
  EXPECT_EQ(read_sequences(*late), std::vector<std::uint64_t>{1'001});
  EXPECT_EQ(old->missed(), 0u);
  EXPECT_EQ(late->missed(), 0u);
}

TEST_F(Ring, OldestOfAnEmptyRingIsNow) {
  make(small);
  auto reader = attach(true);
  publish_many(2);
  EXPECT_EQ(read_sequences(*reader), (std::vector<std::uint64_t>{1, 2}));
}

TEST_F(Ring, OversizeLeavesAMarkerThatUsesUpASequence) {
  make(small);
  auto reader = attach();
  publish("big", std::string(5'000, 'x'));
  publish("small", "y");
  RingReader::Frame frame;
  ASSERT_TRUE(reader->next(frame));
  EXPECT_EQ(frame.kind, FrameKind::oversize);
  EXPECT_EQ(frame.topic, "big");
  std::uint64_t size = 0;
  ASSERT_EQ(frame.payload.size(), sizeof size);
  std::memcpy(&size, frame.payload.data(), sizeof size);
  EXPECT_EQ(size, 5'000u);
  ASSERT_TRUE(reader->next(frame));
  EXPECT_EQ(frame.sequence, 2u);
  EXPECT_EQ(reader->missed(), 0u);
  EXPECT_EQ(writer->stats().oversize, 1u);
}

TEST_F(Ring, RefusesMemoryOfAnotherLayout) {
  UniqueFd fd = make_memory("test", 2 * page_bytes);
  const auto consumer_page = ConsumerPage::make(1, 1, 0);
  RingReader reader;
  EXPECT_STREQ(reader.open(fd.get(), consumer_page->fd(), 0, 1),
               "the memory that was handed over is of another kind than expected");
  const Mapping mapping = Mapping::map(fd.get(), page_bytes, Access::read_write);
  auto* header = new (mapping.data()) RingHeader;
  header->stamp.version = layout_version + 1;
  EXPECT_THAT(reader.open(fd.get(), consumer_page->fd(), 0, 1), ::testing::NotNull());
}

TEST(RingWriterOptions, InconsistentOptionsAreRefused) {
  EXPECT_FALSE(RingWriter::make({.data_bytes = 5'000}));
  EXPECT_FALSE(RingWriter::make({.data_bytes = 2'048, .frame_bytes_max = 100}));
  EXPECT_FALSE(RingWriter::make({.data_bytes = 4'096, .frame_bytes_max = 1'025}));
  EXPECT_FALSE(RingWriter::make({.data_bytes = 4'096, .frame_bytes_max = 8}));
}

}  // namespace
}  // namespace millrace::shm
