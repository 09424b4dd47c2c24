// One ring with writer and readers in one thread, step by step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <string>
#include <thread>
#include <vector>

#include "core/shm/ring/ring_reader.hpp"
#include "core/shm/ring/ring_writer.hpp"

namespace {
std::atomic<int> yields{0};
}
// In place of the system's, so that a test sees who gives its core away.
extern "C" int sched_yield() noexcept {
  ++yields;
  return static_cast<int>(::syscall(SYS_sched_yield));
}

namespace millrace::shm {
namespace {

using base::Block;
using base::Clock;
using base::never;
using base::Spin;

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class Ring : public ::testing::Test {
 protected:
  void make(RingOptions options) {
    writer = RingWriter::make(options);
    ASSERT_TRUE(writer);
  }

  std::unique_ptr<RingReader> attach(bool from_oldest = false) {
    const auto start = writer->add_reader(++consumers, from_oldest, now);
    auto reader = std::make_unique<RingReader>();
    EXPECT_EQ(reader->open(writer->fd(), start.consumer_page->fd(), start.position, start.sequence),
              nullptr);
    consumer_pages.push_back(start.consumer_page);
    return reader;
  }

  std::unique_ptr<RingReader> attach_after(std::uint64_t before) {
    const auto start = writer->add_reader(++consumers, false, now, false, true);
    auto reader = std::make_unique<RingReader>();
    EXPECT_EQ(reader->open(writer->fd(), start.consumer_page->fd(), start.position, start.sequence),
              nullptr);
    EXPECT_TRUE(reader->add_predecessor(before, consumer_pages.at(before - 1)->fd()));
    consumer_pages.push_back(start.consumer_page);
    return reader;
  }

  void publish(std::string_view topic, std::string_view payload) {
    writer->append(topic, bytes(payload), 0, 1'000);
    writer->release(now);
  }
  // Frames of 24 + 3 + 61 = 88 bytes, numbered by sequence.
  void publish_many(int count) {
    for (int i = 0; i < count; ++i) writer->append("abc", bytes(std::string(61, 'x')), 0, 0);
    writer->release(now);
  }

  std::vector<std::uint64_t> read_sequences(RingReader& reader) {
    std::vector<std::uint64_t> all;
    RingReader::Frame frame;
    while (reader.next(frame)) all.push_back(frame.sequence);
    reader.release();
    return all;
  }

  PositionPage* page(std::size_t i) {
    pages.push_back(Mapping::map(consumer_pages[i]->fd(), page_bytes, Access::read_write));
    return pages.back().as<PositionPage>();
  }

  std::unique_ptr<RingWriter> writer;
  std::vector<std::shared_ptr<ConsumerPage>> consumer_pages;
  std::vector<Mapping> pages;
  std::uint64_t consumers = 0;
  std::uint64_t now = 1;
};

constexpr RingOptions small{.data_bytes = 4096, .frame_bytes_max = 1024};
constexpr RingOptions small_lossless{
    .data_bytes = 4096, .frame_bytes_max = 1024, .lossless = true, .overflow_bytes_max = 4096};

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

TEST_F(Ring, LosslessKeepsWhatHasNoSpaceUntilTheReaderMovesOn) {
  make(small_lossless);
  auto reader = attach();
  publish_many(80);  // 7,040 bytes: the ring and part of the overflow
  EXPECT_GT(writer->stats().overflow_frames, 0u);
  EXPECT_TRUE(reader->is_waited_for());
  std::vector<std::uint64_t> all;
  while (writer->has_overflow() || !reader->has_caught_up()) {
    const auto some = read_sequences(*reader);
    all.insert(all.end(), some.begin(), some.end());
    writer->release(++now);
  }
  ASSERT_EQ(all.size(), 80u);
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], i + 1);
  EXPECT_EQ(reader->missed(), 0u);
  EXPECT_FALSE(reader->is_waited_for());
}

TEST_F(Ring, LosslessHoldsAFrameUntilItsReaderMovesOn) {
  make(small_lossless);
  auto reader = attach();
  publish("held", "in place");
  RingReader::Frame frame;
  ASSERT_TRUE(reader->next(frame));
  publish_many(80);
  EXPECT_EQ(frame.topic, "held");
  EXPECT_EQ(text(frame.payload), "in place");
  EXPECT_TRUE(reader->release());
}

TEST_F(Ring, FullOverflowEvictsTheSlowestAlone) {
  make(small_lossless);
  auto slow = attach();
  auto quick = attach();
  std::uint64_t seen = 0;
  for (int i = 0; i < 200; ++i) {
    publish_many(1);
    seen += read_sequences(*quick).size();
  }
  while (writer->has_overflow()) {
    writer->release(++now);
    seen += read_sequences(*quick).size();
  }
  seen += read_sequences(*quick).size();
  EXPECT_EQ(seen, 200u) << "the fast reader lost nothing";
  EXPECT_EQ(quick->missed(), 0u);
  EXPECT_EQ(slow->eviction(), Eviction::overflow_full);
  EXPECT_EQ(quick->eviction(), Eviction::none);
  const auto evicted = writer->take_evicted();
  ASSERT_EQ(evicted.size(), 1u);
  EXPECT_EQ(evicted[0].consumer_id, 1u);
}

TEST_F(Ring, AnEvictedReaderLearnsThatItsFrameIsNoLongerValid) {
  make(small_lossless);
  auto reader = attach();
  publish_many(1);
  RingReader::Frame frame;
  ASSERT_TRUE(reader->next(frame));
  publish_many(400);
  EXPECT_EQ(reader->eviction(), Eviction::overflow_full);
  EXPECT_FALSE(reader->release());
}

TEST_F(Ring, LosslessReaderGetsNothingFromBehindAGap) {
  make(small_lossless);
  auto reader = attach();
  publish_many(1);
  EXPECT_EQ(read_sequences(*reader), std::vector<std::uint64_t>{1});
  EXPECT_FALSE(reader->is_cut_off());
  publish_many(400);
  ASSERT_EQ(reader->eviction(), Eviction::overflow_full);
  EXPECT_EQ(read_sequences(*reader), std::vector<std::uint64_t>{});
  EXPECT_TRUE(reader->is_cut_off());
  publish_many(400);
  EXPECT_EQ(read_sequences(*reader), std::vector<std::uint64_t>{});
  EXPECT_EQ(reader->missed(), 0u);
}

TEST_F(Ring, EvictedReaderStillGetsWhatIsNotOverwritten) {
  make(small_lossless);
  auto reader = attach();
  publish_many(10);
  writer->close();
  EXPECT_EQ(read_sequences(*reader).size(), 10u);
  EXPECT_FALSE(reader->is_cut_off());
}

TEST_F(Ring, LeaseEndsOnlyWhileTheGateIsHeld) {
  RingOptions options = small_lossless;
  options.lease_ns = 100;
  make(options);
  auto idle_reader = attach();
  now = 10'000;
  writer->release(now);
  EXPECT_EQ(idle_reader->eviction(), Eviction::none) << "no frame waits for it";
  publish_many(60);
  ASSERT_TRUE(writer->has_overflow());
  writer->release(now + 99);
  EXPECT_EQ(idle_reader->eviction(), Eviction::none);
  writer->release(now + 100);
  EXPECT_EQ(idle_reader->eviction(), Eviction::lease_ended);
  EXPECT_FALSE(writer->has_overflow());
}

TEST_F(Ring, NextSlowestReaderHasAFullLease) {
  RingOptions options = small_lossless;
  options.overflow_bytes_max = 1 << 20;
  options.lease_ns = 100;
  make(options);
  auto stopped = attach(), healthy = attach();
  publish_many(200);
  read_sequences(*healthy);  // all that is in the ring
  now += 200;
  writer->release(now);
  EXPECT_EQ(consumer_pages[0]->eviction(), Eviction::lease_ended);
  now += 50;
  writer->release(now);  // the reader has not yet read the frames from the overflow
  EXPECT_EQ(consumer_pages[1]->eviction(), Eviction::none);
}

TEST_F(Ring, FollowerIsNotEvictedTogetherWithItsPredecessor) {
  RingOptions options = small_lossless;
  options.lease_ns = 100;
  make(options);
  auto stopped = attach();
  auto other = attach();
  auto follower = attach_after(1);
  writer->release(now = 1'000);
  publish_many(60);
  ASSERT_TRUE(writer->has_overflow());
  EXPECT_TRUE(read_sequences(*follower).empty()) << "it waits for its predecessor";
  writer->release(now += 100);
  EXPECT_EQ(stopped->eviction(), Eviction::lease_ended);
  EXPECT_EQ(other->eviction(), Eviction::lease_ended) << "it could have read";
  EXPECT_EQ(follower->eviction(), Eviction::none);
  follower->remove_neighbour(1);
  EXPECT_FALSE(read_sequences(*follower).empty());
  writer->release(now += 1);
  EXPECT_FALSE(writer->has_overflow());
  EXPECT_EQ(follower->eviction(), Eviction::none);
}

TEST_F(Ring, FollowerIsEvictedAfterALeaseOfItsOwn) {
  RingOptions options = small_lossless;
  options.lease_ns = 100;
  make(options);
  auto stopped = attach();
  auto follower = attach_after(1);
  writer->release(now = 1'000);
  publish_many(60);
  writer->release(now += 100);
  ASSERT_EQ(stopped->eviction(), Eviction::lease_ended);
  writer->release(now += 99);
  EXPECT_EQ(follower->eviction(), Eviction::none);
  writer->release(now += 1);
  EXPECT_EQ(follower->eviction(), Eviction::lease_ended);
}

TEST_F(Ring, ProgressRenewsTheLease) {
  RingOptions options = small_lossless;
  options.lease_ns = 100;
  make(options);
  auto reader = attach();
  publish_many(80);
  RingReader::Frame frame;
  for (int i = 0; i < 20; ++i) {  // slow, but it moves
    now += 90;
    ASSERT_TRUE(reader->next(frame));
    reader->release();
    writer->release(now);
  }
  EXPECT_EQ(reader->eviction(), Eviction::none);
}

TEST_F(Ring, GarbageInAPositionPageIsAnEvictionAndNothingElse) {
  for (const std::uint64_t garbage : {~0ull, 1ull << 40, 0ull}) {
    make(small_lossless);
    consumer_pages.clear();
    auto bad = attach();
    auto good = attach();
    publish_many(20);
    read_sequences(*bad);
    read_sequences(*good);
    writer->inspect(now);
    page(0)->position.store(garbage);
    writer->inspect(now);
    EXPECT_EQ(bad->eviction(), Eviction::bad_position) << garbage;
    EXPECT_EQ(good->eviction(), Eviction::none);
    EXPECT_EQ(writer->reader_count(), 1u);
  }
}

TEST_F(Ring, GarbageIsFoundWhenTheGateIsComputed) {
  make(small_lossless);
  auto bad = attach();
  page(0)->position.store(1 << 30);
  publish_many(100);
  EXPECT_EQ(bad->eviction(), Eviction::bad_position);
  EXPECT_FALSE(writer->has_overflow());
}

TEST_F(Ring, LiftedConsumerPageDoesNotHoldTheGate) {
  make(small_lossless);
  auto dead = attach();
  publish_many(60);
  ASSERT_TRUE(writer->has_overflow());
  consumer_pages[0]->lift();
  writer->release(now);
  EXPECT_FALSE(writer->has_overflow());
  EXPECT_EQ(writer->reader_count(), 0u);
  EXPECT_EQ(writer->stats().evictions, 0u);
}

TEST_F(Ring, ReadsOnlyWhatItsPredecessorsHaveReleased) {
  make(small);
  auto first = attach();
  auto second = attach();
  ASSERT_TRUE(second->add_predecessor(1, consumer_pages[0]->fd()));
  publish_many(3);
  EXPECT_TRUE(read_sequences(*second).empty());
  RingReader::Frame frame;
  ASSERT_TRUE(first->next(frame));
  first->release();
  EXPECT_EQ(read_sequences(*second), std::vector<std::uint64_t>{1});
  second->remove_neighbour(1);
  EXPECT_EQ(read_sequences(*second), (std::vector<std::uint64_t>{2, 3}));
}

TEST_F(Ring, FollowerThatOnlySaysThatItSleepsDoesNotHoldUpItsPredecessor) {
  make({});
  auto reader = attach();
  auto follower = attach();
  ASSERT_TRUE(reader->add_follower(2, consumer_pages[1]->fd()));
  publish_many(1);
  page(1)->sleep_word.store(1);
  RingReader::Frame frame;
  ASSERT_TRUE(reader->next(frame));
  yields = 0;
  reader->release();
  EXPECT_EQ(yields, 0);
}

TEST_F(Ring, NoSystemCallWhileNoReaderSleeps) {
  make({});
  auto reader = attach();
  for (int i = 0; i < 1'000; ++i) publish_many(1);
  EXPECT_EQ(writer->stats().wakes, 0u);
  page(0)->sleep_word.store(1);
  publish_many(1);
  publish_many(1);
  EXPECT_EQ(writer->stats().wakes, 1u) << "once for each sleep";
}

// Who sleeps on `word`: they are moved to the word on which they sleep already, and counted.
long sleepers(const std::atomic<std::uint32_t>& word) {
  return ::syscall(SYS_futex, &word, FUTEX_REQUEUE, 0, INT_MAX, &word, 0);
}

TEST_F(Ring, WakingOneReaderCostsTheSameHoweverManyOfItsThreadsSleep) {
  make({});
  attach();
  const std::atomic<std::uint32_t>& word = page(0)->sleep_word;
  page(0)->sleep_word.store(1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] { base::futex_wait(word, 1, never, base::Scope::shared); });
  }
  while (sleepers(word) != 3) ::sched_yield();
  publish_many(1);
  EXPECT_EQ(base::futex_wake(word, base::Scope::shared), 2) << "one was woken";
  for (std::thread& thread : threads) thread.join();
}

TEST_F(Ring, WaitGivesUpAtTheDeadlineAndWhenStopped) {
  make({});
  auto reader = attach();
  EXPECT_FALSE(reader->wait(Block{}, Clock::now() + std::chrono::milliseconds(2)));
  EXPECT_FALSE(reader->wait(Spin{}, Clock::now() + std::chrono::milliseconds(2)));
  reader->stop_waiting();
  EXPECT_FALSE(reader->wait(Block{}, never));
  EXPECT_FALSE(reader->wait(Spin{}, never));
  reader->resume_waiting();
  publish_many(1);
  EXPECT_TRUE(reader->wait(Block{}, never));
}

TEST_F(Ring, ArmedReaderIsWokenThroughItsPipeOnceForEachSleep) {
  make({});
  const auto start = writer->add_reader(1, false, now, true);
  RingReader reader;
  ASSERT_EQ(reader.open(writer->fd(), start.consumer_page->fd(), start.position, start.sequence),
            nullptr);
  const int pipe = start.consumer_page->wake_pipe_fd();
  char bytes[16];
  const auto wakes = [&] { return ::read(pipe, bytes, sizeof bytes); };
  EXPECT_NE(reader.arm(), RingReader::Armed::now);
  EXPECT_EQ(wakes(), -1) << "nothing was published";
  publish_many(1);
  publish_many(1);
  EXPECT_EQ(wakes(), 1);
  reader.disarm();
  EXPECT_EQ(reader.arm(), RingReader::Armed::now) << "there is something to read";
  EXPECT_EQ(read_sequences(reader), (std::vector<std::uint64_t>{1, 2}));
  publish_many(1);
  EXPECT_EQ(wakes(), -1) << "it is not asleep";
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
