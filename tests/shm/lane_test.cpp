// Lanes: what a publisher's process writes is copied, then checked; garbage hurts itself alone.
#include "core/shm/lane.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <string>
#include <vector>

#include "process.hpp"

namespace millrace::shm {
namespace {

using Drained = LaneReader::Drained;

class Lane : public ::testing::Test {
 protected:
  Lane() { EXPECT_EQ(writer.open(reader->lane_fd(), reader->control_fd()), nullptr); }
  LaneResult put(std::string_view topic, std::string_view payload) {
    return writer.put(topic, std::as_bytes(std::span(payload)), 0);
  }
  Drained drain() {
    return reader->drain(1'000'000, [this](const LaneMessage& message) {
      seen.emplace_back(reinterpret_cast<const char*>(message.payload.data()),
                        message.payload.size());
      return message.topic != "forbidden";
    });
  }

  std::unique_ptr<LaneReader> reader =
      LaneReader::make({.data_bytes = 4'096, .frame_bytes_max = 1'024});
  LaneWriter writer;
  std::vector<std::string> seen;
};

TEST_F(Lane, HandsOverInOrderAcrossTheWrap) {
  for (int i = 0; i < 1'000; ++i) {
    ASSERT_EQ(put("topic", std::to_string(i)), LaneResult::taken);
    writer.flush();
    ASSERT_EQ(drain(), Drained::empty);
    ASSERT_EQ(seen.back(), std::to_string(i));
  }
  EXPECT_EQ(reader->taken(), 1'000u);
}

TEST_F(Lane, FullIsFullAndNothingAcceptedIsLost) {
  int accepted = 0;
  while (put("topic", std::to_string(accepted)) == LaneResult::taken) ++accepted;
  writer.flush();
  EXPECT_EQ(put("topic", "x"), LaneResult::full);
  drain();
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(accepted));
  EXPECT_EQ(put("topic", "y"), LaneResult::taken);
}

TEST_F(Lane, TooLargeIsRefusedByTheWriter) {
  EXPECT_EQ(put("topic", std::string(1'024, 'x')), LaneResult::too_large);
}

TEST_F(Lane, RingsOnceForASleepAndNeverWhileTheServerIsAwake) {
  put("t", "1");
  EXPECT_TRUE(writer.flush()) << "a fresh lane sleeps";
  put("t", "2");
  EXPECT_FALSE(writer.flush()) << "rung already";
  reader->wake_up();
  put("t", "3");
  EXPECT_FALSE(writer.flush());
  drain();
  EXPECT_TRUE(reader->go_to_sleep());
  put("t", "4");
  EXPECT_TRUE(writer.flush());
}

TEST_F(Lane, DoesNotSleepOverAPublish) {
  reader->wake_up();
  put("t", "1");
  EXPECT_FALSE(writer.flush());
  EXPECT_FALSE(reader->go_to_sleep());
}

TEST_F(Lane, TellsThePublisherWhatWasRefused) {
  put("forbidden", "x");
  put("allowed", "y");
  writer.flush();
  drain();
  EXPECT_EQ(writer.refused(), 1u);
  EXPECT_TRUE(writer.is_drained());
}

TEST_F(Lane, ControlPageCannotBeWrittenByTheClient) {
  EXPECT_EQ(
      ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, reader->control_fd(), 0),
      MAP_FAILED);
}

// Every way in which a client can lie about its lane.
TEST_F(Lane, GarbageIsAFaultAndReadsNothingOutside) {
  struct Lie {
    const char* what;
    std::uint64_t tail;
    std::uint32_t payload_bytes;
  };
  for (const Lie& lie : {Lie{"tail beyond the lane", 1 << 20, 0}, Lie{"tail not aligned", 33, 0},
                         Lie{"tail backwards", ~0ull - 7, 0}, Lie{"frame beyond the tail", 64, 500},
                         Lie{"frame beyond its limit", 4'096, 4'000},
                         Lie{"length that wraps", 4'096, ~0u}, Lie{"half a header", 16, 0}}) {
    auto lying = LaneReader::make({.data_bytes = 4'096, .frame_bytes_max = 1'024});
    Mapping lane = Mapping::map_ring(lying->lane_fd(), 4'096, Access::read_write);
    const FrameHeader header{lie.payload_bytes, 4, FrameKind::message, 0, 1, 0};
    store_header(lane.data() + page_bytes, header);
    lane.as<LaneHeader>()->tail.store(lie.tail);
    int taken = 0;
    EXPECT_EQ(lying->drain(100, [&](const LaneMessage&) { return ++taken > 0; }), Drained::faulty)
        << lie.what;
    EXPECT_EQ(taken, 0) << lie.what;
  }
}

TEST_F(Lane, PublisherKilledInMidWriteLeavesOnlyWholeMessages) {
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
