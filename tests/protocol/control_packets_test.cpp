#include "protocol/control_packets.hpp"

#include "bytes.hpp"

namespace millrace::protocol::test {
namespace {

TEST(ControlPackets, AreCountedAsTheyAreEncoded) {
  ControlPackets packets;
  packets.add_ack(PacketType::puback, 1, ReasonCode::success, Version::v5);
  packets.add_ack(PacketType::pubrec, 2, ReasonCode::success, Version::v5);
  packets.add_ack(PacketType::pubrec, 3, ReasonCode::quota_exceeded, Version::v5);
  packets.add(bytes("90 { 000a {} 00 }"));
  packets.add_uncounted(bytes("d0 00"));
  EXPECT_EQ(packets.bytes(), bytes("40020001 50020002 5003000397 9004000a0000 d000"));
  EXPECT_EQ(packets.count_of(PacketType::puback), 1u);
  EXPECT_EQ(packets.count_of(PacketType::pubrec), 2u);
  EXPECT_EQ(packets.count_of(PacketType::suback), 1u);
  EXPECT_EQ(packets.count_of(PacketType::pingresp), 0u);
  // A PUBREC ends the exchange only when it refuses.
  EXPECT_EQ(packets.exchanges_ended(), 2u);
}

TEST(ControlPackets, AddUpWhenTheyAreAppended) {
  ControlPackets first, second;
  first.add_ack(PacketType::puback, 1, ReasonCode::success, Version::v3_1_1);
  second.add_ack(PacketType::pubcomp, 2, ReasonCode::success, Version::v3_1_1);
  first.append(second);
  EXPECT_EQ(first.bytes(), bytes("40020001 70020002"));
  EXPECT_EQ(first.exchanges_ended(), 2u);
  first.forget_counts();
  EXPECT_EQ(first.exchanges_ended(), 0u);
  EXPECT_EQ(first.size(), 8u);
  first.clear(0);
  EXPECT_TRUE(first.empty());
}

}  // namespace
}  // namespace millrace::protocol::test
