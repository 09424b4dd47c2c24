// What happens at the limits: overflow of a queue of `every`, and the credit of a connection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/broker/processor.hpp"
#include "tests/broker/messages.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::ReasonCode;
using protocol::Version;
using testing::ElementsAre;

TEST(Every, DropsTheOldestAtItsLimit) {
  ProcessorLimits limits;
  limits.queue_messages = 3;
  World world(limits);
  world.peer("reader").connect(false, 100).subscribe("a", 1, Mode::every).close();
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 5; ++i) writer.publish("a", std::to_string(i), 1);
  Peer& reader = world.peer("reader").connect(false, 100);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("2", "3", "4"));
  EXPECT_EQ(dropped(world, Drop::queue_oldest), 2u);
}

TEST(Every, TakesNewLimitsWithWhatComesNext) {
  World world;
  world.peer("reader").connect(false, 100).subscribe("a", 1, Mode::every).close();
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 5; ++i) writer.publish("a", std::to_string(i), 1);
  auto limits = std::make_unique<ProcessorLimits>();
  limits->queue_messages = 2;
  world.apply({nullptr, command::Limits{std::move(limits)}});
  EXPECT_EQ(dropped(world, Drop::queue_oldest), 0u);
  writer.publish("a", "5", 1);
  EXPECT_EQ(dropped(world, Drop::queue_oldest), 4u);
  EXPECT_THAT(world.peer("reader").connect(false, 100).read().payloads(), ElementsAre("4", "5"));
}

TEST(Every, DropsTheNewestIfToldSo) {
  ProcessorLimits limits;
  limits.queue_bytes = 40;
  limits.overflow = Overflow::drop_newest;
  World world(limits);
  world.peer("reader").connect(false, 100).subscribe("a", 1, Mode::every).close();
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 5; ++i) writer.publish("a", "1234567" + std::to_string(i), 1);
  Peer& reader = world.peer("reader").connect(false, 100);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("12345670", "12345671"));
  EXPECT_EQ(dropped(world, Drop::queue_newest), 3u);
}

TEST(Every, DisconnectsIfToldSo) {
  ProcessorLimits limits;
  limits.queue_messages = 2;
  limits.overflow = Overflow::disconnect;
  World world(limits);
  Peer& reader = world.peer("reader");
  reader.receive_maximum = 1;
  reader.connect().subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 5; ++i) writer.publish("a", std::to_string(i), 1);
  reader.read();
  EXPECT_EQ(reader.closed, ReasonCode::quota_exceeded);
  EXPECT_EQ(dropped(world, Drop::queue_disconnect), 1u);
}

// A will, or what a local process publishes, has no acknowledgement to keep.
TEST(Every, DropsTheOldestOfWhatNobodyWaitsToHaveAcknowledged) {
  ProcessorLimits limits;
  limits.queue_messages = 2;
  limits.overflow = Overflow::backpressure;
  World world(limits);
  Peer& reader = world.peer("reader");
  reader.receive_maximum = 1;
  reader.connect().subscribe("a", 1, Mode::every);
  for (int i = 0; i < 5; ++i) {
    world.apply(publish_command(message("a", std::to_string(i), 1, false, 1, world.now_ns)));
  }
  EXPECT_EQ(dropped(world, Drop::queue_oldest), 2u);
  EXPECT_EQ(world.processor.stats().pending.value(), 2u);
}

TEST(Every, KeepsNoQoS0MessageForTheSessionItDisconnects) {
  ProcessorLimits limits;
  limits.queue_messages = 2;
  limits.credit_bytes = 1000;
  limits.overflow = Overflow::disconnect;
  World world(limits);
  Peer& reader = world.peer("reader").connect(false, 100).subscribe("a", 0, Mode::every);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", big);
  for (int i = 0; i < 3; ++i) writer.publish("a", std::to_string(i));
  reader.read();
  ASSERT_EQ(reader.closed, ReasonCode::quota_exceeded);
  EXPECT_EQ(world.processor.stats().pending.value(), 0u);
  EXPECT_EQ(dropped(world, Drop::disconnected), 3u);
}

TEST(Every, WithholdsAcknowledgementsIfToldSo) {
  ProcessorLimits limits;
  limits.queue_messages = 4;
  limits.overflow = Overflow::backpressure;
  limits.receive_maximum = 3;
  World world(limits);
  Peer& reader = world.peer("reader");
  reader.receive_maximum = 1;
  reader.connect().subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer", Version::v5).connect();
  for (int i = 0; i < 8; ++i) writer.publish("a", std::to_string(i), 1);
  EXPECT_EQ(writer.read().control.size(), 5u);  // one inflight, four waiting; three withheld
  for (std::uint16_t id = 1; id <= 8; ++id) {
    reader.read();
    reader.send(command::Puback{id, {}});
  }
  EXPECT_THAT(reader.read().payloads(), ElementsAre("0", "1", "2", "3", "4", "5", "6", "7"));
  EXPECT_EQ(writer.read().control.size(), 8u);
  for (int i = 0; i < 9; ++i) writer.publish("a", "more", 1);
  EXPECT_EQ(writer.read().closed, ReasonCode::receive_maximum_exceeded);
}

TEST(Credit, BindsNoMoreThanTheConnectionMayHold) {
  ProcessorLimits limits;
  limits.credit_bytes = 1000;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 100; ++i) writer.publish("a", std::string(100, 'x'), 1);
  reader.take();
  EXPECT_LE(reader.undrained_bytes, 1000u + 110u);
  EXPECT_EQ(reader.read().got.size(), 100u);
}

// What the reader is handed over at most when it took all it had and more waits for it.
std::uint32_t handed_over_next(Peer& reader) {
  reader.report_drained();
  reader.take();
  return reader.undrained_bytes;
}

TEST(Credit, GrowsForWhoTakesAllAtOnceWhileMoreWaits) {
  ProcessorLimits limits;
  limits.credit_bytes = 1000;
  limits.credit_max_bytes = 3000;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe("a", 0, Mode::every);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 200; ++i) writer.publish("a", std::string(100, 'x'));
  reader.take();
  EXPECT_LE(reader.undrained_bytes, 1110u);
  EXPECT_GE(handed_over_next(reader), 2000u);
  EXPECT_GE(handed_over_next(reader), 3000u);
  EXPECT_LE(handed_over_next(reader), 3110u) << "and no further";
  // Nothing waits any more: what it may owe when it stalls becomes what it was.
  for (int i = 0; i < 300; ++i) {
    reader.read();
    writer.publish("a", "x");
  }
  reader.take();
  reader.report_drained();
  for (int i = 0; i < 200; ++i) writer.publish("a", std::string(100, 'x'));
  reader.take();
  EXPECT_LE(reader.undrained_bytes, 1110u + 32);
}

TEST(Credit, CopiesASmallSliceOutOfALargeBuffer) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("a");
  const Message small = message("a", "v");
  BufferRef large = Buffer::allocate(65536);
  std::memcpy(large->data() + 100, small.packet(), small.packet_bytes);
  Message slice = small;
  slice.buffer = large;
  slice.packet_offset = 100;
  world.apply(publish_command(std::move(slice)));
  EXPECT_TRUE(large->unique());
  EXPECT_THAT(reader.read().payloads(), ElementsAre("v"));
}

}  // namespace
}  // namespace millrace::broker
