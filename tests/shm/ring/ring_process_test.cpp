// Rings between real processes: all faults of a consumer except those at the control socket.
#include <gtest/gtest.h>
#include <sched.h>

#include <string>
#include <thread>
#include <vector>

#include "core/shm/ring/ring_reader.hpp"
#include "core/shm/ring/ring_writer.hpp"
#include "tests/shm/futex.hpp"
#include "tests/shm/process.hpp"

namespace millrace::shm {
namespace {

using base::Block;
using base::never;
using base::Yield;
using test::Child;
using test::Signal;

std::span<const std::byte> number(const std::uint64_t& value) {
  return std::as_bytes(std::span(&value, 1));
}

template <class Wait>
bool read_to(RingReader& reader, std::uint64_t last, const Wait& wait) {
  RingReader::Frame frame;
  std::uint64_t sequence = reader.next_sequence();
  while (sequence <= last) {
    while (reader.next(frame)) {
      std::uint64_t value = 0;
      std::memcpy(&value, frame.payload.data(), sizeof value);
      if (frame.sequence != sequence || value != sequence) return false;
      ++sequence;
    }
    reader.release();
    if (sequence <= last) reader.wait(wait, never);
  }
  return reader.missed() == 0;
}

std::unique_ptr<RingWriter> lossless_ring(std::uint64_t lease_ns = 0) {
  return RingWriter::make({.data_bytes = 16'384,
                           .frame_bytes_max = 1'024,
                           .lossless = true,
                           .overflow_bytes_max = 16'384,
                           .lease_ns = lease_ns});
}

// Writes sequences up to `last`, waiting for space where a server would use its overflow.
void write_to(RingWriter& writer, std::uint64_t last, std::uint64_t now = 0) {
  while (writer.next_sequence() <= last) {
    while (!writer.has_room(5, 8)) {
      writer.release(now);
      ::sched_yield();
    }
    const std::uint64_t value = writer.next_sequence();
    writer.append("topic", number(value), 0, 0);
    if (value % 7 == 0) writer.release(now);
  }
  writer.release(now);
}

template <class Wait>
class RingAcross : public ::testing::Test {};
using Waits = ::testing::Types<Yield, Block>;
TYPED_TEST_SUITE(RingAcross, Waits);

TYPED_TEST(RingAcross, ThreeProcessesSeeEveryFrameInOrder) {
  constexpr std::uint64_t last = 50'000;
  auto writer = lossless_ring();
  std::vector<std::unique_ptr<Child>> readers;
  for (std::uint64_t i = 1; i <= 3; ++i) {
    const auto start = writer->add_reader(i, false, 0);
    readers.push_back(std::make_unique<Child>([&] {
      RingReader reader;
      return !reader.open(writer->fd(), start.consumer_page->fd(), start.position,
                          start.sequence) &&
             read_to(reader, last, TypeParam{});
    }));
  }
  write_to(*writer, last);
  for (auto& reader : readers) EXPECT_TRUE(reader->succeeded());
}

TYPED_TEST(RingAcross, ChainOfThreeKeepsItsOrder) {
  constexpr std::uint64_t last = 20'000;
  auto writer = lossless_ring();
  std::vector<Attachment> starts;
  for (std::uint64_t i = 1; i <= 3; ++i) starts.push_back(writer->add_reader(i, false, 0));
  std::vector<std::unique_ptr<Child>> readers;
  for (std::size_t i = 0; i < 3; ++i) {
    readers.push_back(std::make_unique<Child>([&, i] {
      RingReader reader;
      if (reader.open(writer->fd(), starts[i].consumer_page->fd(), 0, 1)) return false;
      if (i > 0 && !reader.add_predecessor(i, starts[i - 1].consumer_page->fd())) return false;
      if (i < 2 && !reader.add_follower(i + 2, starts[i + 1].consumer_page->fd())) return false;
      return read_to(reader, last, TypeParam{});
    }));
  }
  write_to(*writer, last);
  for (auto& reader : readers) EXPECT_TRUE(reader->succeeded());
}

TEST(RingFault, LossyReaderKilledInMidReadAffectsNoOther) {
  auto writer = RingWriter::make({.data_bytes = 4'096, .frame_bytes_max = 1'024});
  const auto start = writer->add_reader(1, false, 0);
  Signal reading;
  Child reader([&] {
    RingReader reader;
    RingReader::Frame frame;
    if (reader.open(writer->fd(), start.consumer_page->fd(), 0, 1)) return false;
    reader.wait(Block{}, never);
    if (!reader.next(frame)) return false;
    reading.raise();
    for (;;) ::pause();
  });
  write_to(*writer, 1);
  reading.await();
  reader.send(SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(reader.await()));
  write_to(*writer, 10'000);
  EXPECT_EQ(writer->next_sequence(), 10'001u);
}

TEST(RingFault, ReaderKilledWhileItHoldsTheGateNoLongerHoldsItOnceLifted) {
  auto writer = lossless_ring();
  const auto dead = writer->add_reader(1, false, 0);
  const auto alive = writer->add_reader(2, false, 0);
  Signal reading;
  Child victim([&] {
    RingReader reader;
    RingReader::Frame frame;
    if (reader.open(writer->fd(), dead.consumer_page->fd(), 0, 1)) return false;
    reader.wait(Block{}, never);
    if (!reader.next(frame)) return false;
    reading.raise();
    for (;;) ::pause();
  });
  Child reader([&] {
    RingReader reader;
    return !reader.open(writer->fd(), alive.consumer_page->fd(), 0, 1) &&
           read_to(reader, 20'000, Block{});
  });
  write_to(*writer, 1);
  reading.await();
  victim.send(SIGKILL);
  victim.await();
  dead.consumer_page->lift();  // as the control loop does when its connection ends
  write_to(*writer, 20'000);
  EXPECT_TRUE(reader.succeeded());
}

TEST(RingFault, StoppedLosslessReaderIsEvictedAfterItsLease) {
  auto writer = lossless_ring(1'000);
  const auto stopped = writer->add_reader(1, false, 0);
  const auto alive = writer->add_reader(2, false, 0);
  Child victim([&] {
    ::raise(SIGSTOP);
    return true;
  });
  Child reader([&] {
    RingReader reader;
    return !reader.open(writer->fd(), alive.consumer_page->fd(), 0, 1) &&
           read_to(reader, 2'000, Block{});
  });
  victim.await_stop();
  std::uint64_t now = 1;
  while (writer->next_sequence() <= 2'000) {
    const std::uint64_t value = writer->next_sequence();
    writer->append("topic", number(value), 0, 0);
    writer->release(now);
    while (writer->has_overflow()) {  // time passes only while the other reader has nothing to read
      now += alive.consumer_page->position() == writer->tail() ? 1'000 : 0;
      writer->release(now);
      ::sched_yield();
    }
  }
  EXPECT_TRUE(reader.succeeded());
  EXPECT_EQ(stopped.consumer_page->eviction(), Eviction::lease_ended);
  victim.send(SIGCONT);
}

// The page of a follower stays with its predecessor's process when that one leaves.
TEST(RingFault, FormerPredecessorThatTakesASleepAwayDoesNotKeepIt) {
  auto writer = RingWriter::make({});
  const auto start = writer->add_reader(1, false, 0);
  const auto before = writer->add_reader(2, false, 0);
  RingReader reader;
  ASSERT_EQ(reader.open(writer->fd(), start.consumer_page->fd(), 0, 1), nullptr);
  ASSERT_TRUE(reader.add_predecessor(2, before.consumer_page->fd()));
  reader.remove_neighbour(2);
  std::thread sleeper([&] { EXPECT_TRUE(reader.wait(Block{}, never)); });
  Signal taken;
  Child former([&] {
    const Mapping page = Mapping::map(start.consumer_page->fd(), page_bytes, Access::read_only);
    const std::atomic<std::uint32_t>& word = page.as<const PositionPage>()->sleep_word;
    const std::atomic<std::uint32_t> elsewhere{0};
    while (test::move_sleepers(word, elsewhere, 1) != 1) ::sched_yield();
    taken.raise();
    for (;;) ::pause();
    return false;
  });
  taken.await();
  write_to(*writer, 1);
  sleeper.join();
}

TEST(RingFault, ClosingTheRingWakesASleeper) {
  auto writer = lossless_ring();
  const auto start = writer->add_reader(1, false, 0);
  Signal ready;
  Child reader([&] {
    RingReader reader;
    if (reader.open(writer->fd(), start.consumer_page->fd(), 0, 1)) return false;
    ready.raise();
    return !reader.wait(Block{}, never) && reader.eviction() == Eviction::ring_closed;
  });
  ready.await();
  writer->close();
  EXPECT_TRUE(reader.succeeded());
}

TEST(RingFault, WriterKilledInMidBatchLeavesOnlyWholeFrames) {
  auto writer = RingWriter::make({.data_bytes = 65'536, .frame_bytes_max = 1'024});
  const auto start = writer->add_reader(1, false, 0);
  Signal wrote;
  Child server([&] {
    write_to(*writer, 70);
    const std::uint64_t value = 71;
    writer->append("topic", number(value), 0, 0);  // never released
    wrote.raise();
    for (;;) ::pause();
    return false;
  });
  wrote.await();
  server.send(SIGKILL);
  server.await();
  RingReader reader;
  ASSERT_EQ(reader.open(writer->fd(), start.consumer_page->fd(), 0, 1), nullptr);
  EXPECT_TRUE(read_to(reader, 70, Block{}));
  RingReader::Frame frame;
  EXPECT_FALSE(reader.next(frame));
}

}  // namespace
}  // namespace millrace::shm
