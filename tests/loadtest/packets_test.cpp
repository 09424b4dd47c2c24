#include "loadtest/packets.hpp"

#include <gtest/gtest.h>

using namespace std::string_literals;

namespace millrace::loadtest {
namespace {

TEST(Packets, EncodesConnectOfBothVersions) {
  ConnectFields f;
  f.client_id = "c"s;
  EXPECT_EQ(encode_connect(f), "\x10\x0D\0\4MQTT\4\2\0\0\0\1c"s);
  f.version = MqttVersion::v5;
  f.username = "u"s;
  f.password = "p"s;
  f.keepalive_s = 258;
  EXPECT_EQ(encode_connect(f), "\x10\x14\0\4MQTT\5\xC2\1\2\0\0\1c\0\1u\0\1p"s);
}

TEST(Packets, ASessionThatIsKeptIsNotClean) {
  ConnectFields f;
  f.client_id = "c"s;
  f.is_kept = true;
  EXPECT_EQ(encode_connect(f), "\x10\x0D\0\4MQTT\4\0\0\0\0\1c"s);
  f.version = MqttVersion::v5;
  EXPECT_EQ(encode_connect(f), "\x10\x13\0\4MQTT\5\0\0\0\5\x11\0\0\x0E\x10\0\1c"s);
}

TEST(Packets, EncodesSubscribeWithUserProperties) {
  SubscribeFields f;
  f.filters = {"a", "b/#"};
  f.qos = 1;
  EXPECT_EQ(encode_subscribe(f), "\x82\x0C\0\1\0\1a\1\0\3b/#\1"s);
  f.version = MqttVersion::v5;
  f.filters = {"a"};
  f.user_properties = {{"k", "v"}};
  EXPECT_EQ(encode_subscribe(f), "\x82\x0E\0\1\7\x26\0\1k\0\1v\0\1a\1"s);
}

TEST(Packets, PubrelHasItsReservedBit) {
  std::vector<char> out;
  append_ack(out, PacketType::pubrel, 0x0102);
  append_ack(out, PacketType::puback, 3);
  EXPECT_EQ(std::string(out.begin(), out.end()), "\x62\2\1\2\x40\2\0\3"s);
}

TEST(Packets, ReadsTheLimitsOfAConnack) {
  const auto plain = read_connack(MqttVersion::v3_1_1, "\0\0"s);
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->receive_maximum, 65'535);
  // Receive Maximum 20, a user property, Maximum QoS 1.
  const auto v5 = read_connack(MqttVersion::v5, "\0\0\x0C\x21\0\x14\x26\0\1k\0\1v\x24\1"s);
  ASSERT_TRUE(v5);
  EXPECT_EQ(v5->receive_maximum, 20);
  EXPECT_EQ(v5->maximum_qos, 1);
  EXPECT_FALSE(read_connack(MqttVersion::v5, "\0\0\3\x21\0"s)) << "truncated";
  EXPECT_FALSE(read_connack(MqttVersion::v5, "\0\0\2\x7E\0"s)) << "unknown property";
}

TEST(Packets, ReadsSubackAndAckReasons) {
  const auto suback = read_suback(MqttVersion::v5, "\0\1\0\0\x87"s);
  ASSERT_TRUE(suback);
  EXPECT_EQ(suback->codes, (std::vector<std::uint8_t>{0, 0x87}));
  EXPECT_EQ(read_ack("\0\7"s)->reason, 0);
  EXPECT_EQ(read_ack("\0\7\x97"s)->reason, 0x97);
  EXPECT_FALSE(read_ack("\0"s));
}

TEST(Packets, HeadsAreReadByteByByte) {
  const std::string bytes = "\x30\xFF\xFF\xFF\x7F"s;
  PacketHead head{};
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_EQ(read_head(bytes.data(), n, head), HeadStatus::incomplete);
  }
  ASSERT_EQ(read_head(bytes.data(), bytes.size(), head), HeadStatus::complete);
  EXPECT_EQ(head.body_bytes, 268'435'455u);
  const std::string endless = "\x30\xFF\xFF\xFF\xFF\x01"s;
  EXPECT_EQ(read_head(endless.data(), endless.size(), head), HeadStatus::malformed);
}

}  // namespace
}  // namespace millrace::loadtest
