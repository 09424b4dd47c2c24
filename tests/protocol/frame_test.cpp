#include "protocol/frame.hpp"

#include "bytes.hpp"

namespace millrace::protocol::test {
namespace {

constexpr std::size_t unlimited = packet_bytes_limit;

ReasonCode fault_of(std::string_view text, std::size_t packet_bytes_max = unlimited,
                    Version version = Version::v5) {
  const Bytes input = bytes(text);
  const auto found = frame(input, packet_bytes_max, version);
  return found.has_error() ? found.error() : ReasonCode::success;
}

TEST(Frame, FindsTheEndOfAPacketAmongMoreBytes) {
  const Bytes input = bytes("30 05 0001'a' 'xy' c0 00");
  const auto found = frame(input, unlimited).value();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->type, PacketType::publish);
  EXPECT_EQ(found->flags, 0);
  EXPECT_EQ(found->header_bytes, 2);
  EXPECT_EQ(found->packet_bytes, 7u);
}

TEST(Frame, AsksForMoreAtEveryPrefix) {
  Bytes input = bytes("3b c801");
  input.resize(3 + 200);
  for (std::size_t count = 0; count < input.size(); ++count) {
    const auto found = frame(std::span(input).first(count), unlimited);
    ASSERT_TRUE(found.has_value()) << count;
    EXPECT_FALSE(found->has_value()) << count;
  }
  const auto whole = frame(input, unlimited).value();
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->flags, 0x0B);
  EXPECT_EQ(whole->header_bytes, 3);
  EXPECT_EQ(whole->packet_bytes, 203u);
}

TEST(Frame, ReadsLengthsOfOneToFourBytesAtTheirEdges) {
  struct Row {
    const char* header;
    std::uint8_t header_bytes;
    std::uint32_t remaining;
  };
  for (const Row& row : {Row{"30 00", 2, 0}, Row{"30 7f", 2, 127}, Row{"30 8001", 3, 128},
                         Row{"30 ff7f", 3, 16'383}, Row{"30 808001", 4, 16'384},
                         Row{"30 ffff7f", 4, 2'097'151}, Row{"30 80808001", 5, 2'097'152}}) {
    Bytes input = bytes(row.header);
    input.resize(row.header_bytes + row.remaining);
    const auto found = frame(input, unlimited).value();
    ASSERT_TRUE(found) << row.header;
    EXPECT_EQ(found->header_bytes, row.header_bytes);
    EXPECT_EQ(found->packet_bytes, row.header_bytes + row.remaining);
  }
  // The header of 256 MB, without the body.
  EXPECT_FALSE(frame(bytes("30 ffffff7f"), unlimited).value().has_value());
}

TEST(Frame, RejectsALengthOfFiveBytes) {
  EXPECT_EQ(fault_of("30 80808080"), ReasonCode::malformed_packet);
  EXPECT_EQ(fault_of("30 ffffffff01"), ReasonCode::malformed_packet);
  EXPECT_EQ(fault_of("30 80808080 01", 10), ReasonCode::malformed_packet);
}

TEST(Frame, RejectsALengthThatIsNotTheShortestOnlyInMqtt5) {
  EXPECT_EQ(fault_of("c0 8000"), ReasonCode::malformed_packet);
  EXPECT_EQ(fault_of("c0 80808000"), ReasonCode::malformed_packet);
  EXPECT_EQ(fault_of("c0 8000", unlimited, Version::v3_1_1), ReasonCode::success);
}

TEST(Frame, RefusesAPacketThatIsTooLargeFromItsHeaderAlone) {
  EXPECT_EQ(fault_of("30 63", 100), ReasonCode::packet_too_large);
  EXPECT_EQ(fault_of("30 62", 100), ReasonCode::success);
  EXPECT_EQ(fault_of("30 ffffff7f", 2 << 20), ReasonCode::packet_too_large);
  EXPECT_EQ(fault_of("30 ffffffff01", 2 << 20), ReasonCode::malformed_packet);
  EXPECT_EQ(fault_of("30 00", 1), ReasonCode::packet_too_large);
  // The length is not complete yet, but can only be larger.
  EXPECT_EQ(fault_of("30 e4", 100), ReasonCode::packet_too_large);
}

TEST(Frame, TellsTheSizeOfAPacketAsSoonAsItsHeaderIsThere) {
  const Bytes input = bytes("30 c801 00");
  EXPECT_FALSE(frame_header(std::span(input).first(1), unlimited, Version::v5).value());
  EXPECT_FALSE(frame_header(std::span(input).first(2), unlimited, Version::v5).value());
  for (const std::size_t count : {3u, 4u}) {
    const auto found = frame_header(std::span(input).first(count), unlimited, Version::v5).value();
    ASSERT_TRUE(found) << count;
    EXPECT_EQ(found->header_bytes, 3);
    EXPECT_EQ(found->packet_bytes, 203u);
  }
  EXPECT_EQ(frame_header(input, 202, Version::v5).error(), ReasonCode::packet_too_large);
}

TEST(Frame, AllowsExactlyTheFlagsOfEachType) {
  const auto allowed = [](unsigned type, unsigned flags, Version version) -> bool {
    if (type == 0) return false;
    if (type == 1 && version == Version::v3_1) return true;
    switch (static_cast<PacketType>(type)) {
      case PacketType::publish: {
        const unsigned qos = flags >> 1 & 3;
        const bool dup = (flags & 8) != 0;
        return qos != 3 && (qos != 0 || !dup || version == Version::v3_1);
      }
      case PacketType::pubrel:
      case PacketType::subscribe:
      case PacketType::unsubscribe:
        return flags == 2 || (flags == 10 && version == Version::v3_1);
      case PacketType::auth:
        return flags == 0 && version != Version::v3_1;
      default:
        return flags == 0;
    }
  };
  for (const Version version : {Version::v3_1, Version::v3_1_1, Version::v5}) {
    for (unsigned first = 0; first < 256; ++first) {
      const Bytes input = {static_cast<std::uint8_t>(first)};  // the first byte is enough
      const auto found = frame(input, unlimited, version);
      if (allowed(first >> 4, first & 15, version)) {
        EXPECT_TRUE(found.has_value()) << first;
      } else {
        ASSERT_TRUE(found.has_error()) << first;
        EXPECT_EQ(found.error(), ReasonCode::malformed_packet) << first;
      }
    }
  }
}

}  // namespace
}  // namespace millrace::protocol::test
