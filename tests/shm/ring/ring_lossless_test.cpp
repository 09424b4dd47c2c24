// Lossless rings: the overflow, leases, evictions, and pages that hold garbage.
#include <string>
#include <vector>

#include "tests/shm/ring/ring_fixture.hpp"

namespace millrace::shm {
namespace {

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
  make(leased);
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
  RingOptions options = leased;
  options.overflow_bytes_max = 1 << 20;
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
  make(leased);
  auto stopped = attach();
  auto other = attach();
  auto follower = attach_after(1);
  fill_behind_a_stopped_reader();
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
  make(leased);
  auto stopped = attach();
  auto follower = attach_after(1);
  fill_behind_a_stopped_reader();
  writer->release(now += 100);
  ASSERT_EQ(stopped->eviction(), Eviction::lease_ended);
  writer->release(now += 99);
  EXPECT_EQ(follower->eviction(), Eviction::none);
  writer->release(now += 1);
  EXPECT_EQ(follower->eviction(), Eviction::lease_ended);
}

TEST_F(Ring, ProgressRenewsTheLease) {
  make(leased);
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

}  // namespace
}  // namespace millrace::shm
