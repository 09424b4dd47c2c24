// Publisher rings: frames are copied, then checked; garbage affects only the client that wrote it.
#include "core/shm/ring/publisher_ring.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/shm/process.hpp"

namespace millrace::shm {
namespace {

using Drained = PublisherRingReader::Drained;

class PublisherRing : public ::testing::Test {
 protected:
  PublisherRing() { EXPECT_EQ(writer.open(reader->ring_fd(), reader->control_fd()), nullptr); }
  PublisherRingResult put(std::string_view topic, std::string_view payload) {
    return writer.put(topic, std::as_bytes(std::span(payload)), 0);
  }
  Drained drain() {
    return reader->drain(1'000'000, [this](const PublisherRingMessage& message) {
      seen.emplace_back(reinterpret_cast<const char*>(message.payload.data()),
                        message.payload.size());
      return message.topic != "forbidden";
    });
  }

  std::unique_ptr<PublisherRingReader> reader =
      PublisherRingReader::make({.data_bytes = 4'096, .frame_bytes_max = 1'024});
  PublisherRingWriter writer;
  std::vector<std::string> seen;
};

TEST_F(PublisherRing, HandsOverInOrderAcrossTheWrap) {
  for (int i = 0; i < 1'000; ++i) {
    ASSERT_EQ(put("topic", std::to_string(i)), PublisherRingResult::taken);
    writer.flush();
    ASSERT_EQ(drain(), Drained::empty);
    ASSERT_EQ(seen.back(), std::to_string(i));
  }
  EXPECT_EQ(reader->taken(), 1'000u);
}

TEST_F(PublisherRing, WorksOnASystemWithLargerPages) {
  for (const std::size_t system_page : {16'384u, 65'536u}) {
    reader = PublisherRingReader::make(
        {.data_bytes = 4'096, .frame_bytes_max = 1'024, .system_page = system_page});
    ASSERT_TRUE(reader);
    ASSERT_EQ(writer.open(reader->ring_fd(), reader->control_fd()), nullptr);
    for (int i = 0; i < 5'000; ++i) {
      ASSERT_EQ(put("topic", std::to_string(i)), PublisherRingResult::taken);
      writer.flush();
      ASSERT_EQ(drain(), Drained::empty);
      ASSERT_EQ(seen.back(), std::to_string(i));
    }
  }
}

TEST_F(PublisherRing, RefusesWhenFullAndLosesNothingAccepted) {
  int accepted = 0;
  while (put("topic", std::to_string(accepted)) == PublisherRingResult::taken) ++accepted;
  writer.flush();
  EXPECT_EQ(put("topic", "x"), PublisherRingResult::full);
  drain();
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(accepted));
  EXPECT_EQ(put("topic", "y"), PublisherRingResult::taken);
}

TEST_F(PublisherRing, TooLargeIsRefusedByTheWriter) {
  EXPECT_EQ(put("topic", std::string(1'024, 'x')), PublisherRingResult::too_large);
}

TEST_F(PublisherRing, WakesTheServerOnceForEachSleepAndNotWhileItIsAwake) {
  put("t", "1");
  EXPECT_TRUE(writer.flush()) << "the server of a new ring sleeps";
  put("t", "2");
  EXPECT_FALSE(writer.flush()) << "woken already";
  reader->wake_up();
  put("t", "3");
  EXPECT_FALSE(writer.flush());
  drain();
  EXPECT_TRUE(reader->go_to_sleep());
  put("t", "4");
  EXPECT_TRUE(writer.flush());
}

TEST_F(PublisherRing, DoesNotSleepIfSomethingWasPublished) {
  reader->wake_up();
  put("t", "1");
  EXPECT_FALSE(writer.flush());
  EXPECT_FALSE(reader->go_to_sleep());
}

TEST_F(PublisherRing, TellsThePublisherHowManyWereRefused) {
  put("forbidden", "x");
  put("allowed", "y");
  writer.flush();
  drain();
  EXPECT_EQ(writer.refused(), 1u);
  EXPECT_TRUE(writer.is_drained());
}

TEST_F(PublisherRing, ControlPageCannotBeWrittenByTheClient) {
  EXPECT_EQ(
      ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, reader->control_fd(), 0),
      MAP_FAILED);
}

// Every invalid content that a client can write into its publisher ring.
TEST_F(PublisherRing, GarbageIsAFaultAndReadsNothingOutside) {
  struct Garbage {
    const char* what;
    std::uint64_t tail;
    std::uint32_t payload_bytes;
  };
  for (const Garbage& garbage :
       {Garbage{"tail beyond the ring", 1 << 20, 0}, Garbage{"tail not aligned", 33, 0},
        Garbage{"tail backwards", ~0ull - 7, 0}, Garbage{"frame beyond the tail", 64, 500},
        Garbage{"frame beyond its limit", 4'096, 4'000}, Garbage{"length that wraps", 4'096, ~0u},
        Garbage{"half a header", 16, 0}}) {
    auto bad = PublisherRingReader::make({.data_bytes = 4'096, .frame_bytes_max = 1'024});
    const std::size_t header_bytes = ring_header_bytes(system_page_bytes());
    Mapping ring = Mapping::map(bad->ring_fd(), header_bytes + 4'096, Access::read_write);
    const FrameHeader header{garbage.payload_bytes, 4, FrameKind::message, 0, 1, 0};
    store_header(ring.data() + header_bytes, header);
    ring.as<PublisherRingHeader>()->tail.store(garbage.tail);
    int taken = 0;
    EXPECT_EQ(bad->drain(100, [&](const PublisherRingMessage&) { return ++taken > 0; }),
              Drained::faulty)
        << garbage.what;
    EXPECT_EQ(taken, 0) << garbage.what;
  }
}

TEST_F(PublisherRing, PublisherKilledInMidWriteLeavesOnlyWholeMessages) {
  test::Signal wrote;
  test::Child publisher([&] {
    put("t", "whole");
    writer.flush();
    put("t", "never flushed");
    wrote.raise();
    for (;;) ::pause();
    return false;
  });
  wrote.await();
  publisher.send(SIGKILL);
  publisher.await();
  EXPECT_EQ(drain(), Drained::empty);
  EXPECT_EQ(seen, std::vector<std::string>{"whole"});
}

}  // namespace
}  // namespace millrace::shm
