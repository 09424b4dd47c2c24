// PUBACK, PUBREC, PUBREL and PUBCOMP, as packets that own their properties and as Ack.
#include "bytes.hpp"

namespace millrace::protocol::test {
namespace {

constexpr auto malformed = ReasonCode::malformed_packet;
constexpr auto protocol = ReasonCode::protocol_error;
constexpr auto v3_1_1 = Version::v3_1_1;
constexpr auto v5 = Version::v5;

struct Kind {
  PacketType type;
  const char* first_byte;
  const char* reason;  // a failure that is allowed in it
};

constexpr Kind kinds[] = {{PacketType::puback, "40", "87"},
                          {PacketType::pubrec, "50", "91"},
                          {PacketType::pubrel, "62", "92"},
                          {PacketType::pubcomp, "70", "92"}};

Result<Ack> decode_short(const std::string& text, Version version, Sender sender = Sender::client) {
  const Bytes packet = bytes(text);
  const auto found = frame(packet, packet_bytes_limit, version);
  if (found.has_error()) return found.error();
  return decode_ack(found->value(), packet, version, sender);
}

// Both decoders must report this fault.
void expect_fault(const std::string& text, ReasonCode reason, Version version,
                  Sender sender = Sender::client) {
  SCOPED_TRACE(text);
  const auto ack = decode_short(text, version, sender);
  ASSERT_TRUE(ack.has_error());
  EXPECT_EQ(ack.error(), reason);
  const auto packet = decode_text(text, version, sender);
  ASSERT_TRUE(packet.has_error());
  EXPECT_EQ(packet.error(), reason);
}

template <class Packed>
void expect_read_and_written(const Kind& kind) {
  SCOPED_TRACE(kind.first_byte);
  const std::string first = kind.first_byte;
  Packed plain;
  plain.packet_id = 0x1234;
  Packed failed = plain;
  failed.reason = static_cast<ReasonCode>(std::stoi(kind.reason, nullptr, 16));
  Packed rich = failed;
  rich.properties.reason_string = "no";
  rich.properties.user_properties = {{"a", "b"}};
  Packed content = rich;
  content.reason = ReasonCode::success;
  const std::string short_text = first + "{ 1234 }";
  const std::string failed_text = first + "{ 1234" + kind.reason + "}";
  const std::string rich_text = first + "{ 1234" + kind.reason + R"({ 1f "no" 26 "a" "b" } })";
  const std::string content_text = first + R"({ 1234 00 { 1f "no" 26 "a" "b" } })";
  expect_good({
      {"3.1", short_text.c_str(), plain, Version::v3_1},
      {"3.1.1", short_text.c_str(), plain, v3_1_1},
      {"5", short_text.c_str(), plain},
      {"reason", failed_text.c_str(), failed},
      {"properties", rich_text.c_str(), rich},
      {"properties of a success", content_text.c_str(), content},
  });
  EXPECT_EQ(decode_short(short_text, v5).value(), (Ack{kind.type, 0x1234, ReasonCode::success}));
  EXPECT_EQ(decode_short(failed_text, v5).value(), (Ack{kind.type, 0x1234, failed.reason}));
  EXPECT_EQ(decode_short(rich_text, v5).value(), (Ack{kind.type, 0x1234, failed.reason}));
  // A longer encoding of the same packet.
  EXPECT_TRUE(decode_text(first + "{ 1234 00 {} }", v5).value() == Packet{plain});
  // 3.1.1 has no reasons.
  EXPECT_EQ(encoded(rich, v3_1_1), bytes(short_text));
}

TEST(Acks, AreReadAndWritten) {
  expect_read_and_written<Puback>(kinds[0]);
  expect_read_and_written<Pubrec>(kinds[1]);
  expect_read_and_written<Pubrel>(kinds[2]);
  expect_read_and_written<Pubcomp>(kinds[3]);
}

TEST(Acks, RejectWhatIsMalformed) {
  for (const Kind& kind : kinds) {
    const std::string first = kind.first_byte;
    for (const Version version : {Version::v3_1, v3_1_1, v5}) {
      expect_fault(first + "00", malformed, version);
      expect_fault(first + "{ 01 }", malformed, version);
      expect_fault(first + "{ 0000 }", protocol, version);
    }
    expect_fault(first + "{ 0001 00 }", malformed, v3_1_1);
    expect_fault(first + "{ 0001 00 {} }", malformed, v3_1_1);
    expect_fault(first + "{ 0000 00 }", protocol, v5);
    expect_fault(first + "{ 0001 01 }", protocol, v5);
    expect_fault(first + "{ 0001 8e }", protocol, v5);
    expect_fault(first + "{ 0001 00 {} 00 }", malformed, v5);
    expect_fault(first + "{ 0001 00 05 1f }", malformed, v5);
    expect_fault(first + "{ 0001 00 80 }", malformed, v5);
    expect_fault(first + R"({ 0001 00 { 1f "a" 1f "b" } })", protocol, v5);
    expect_fault(first + "{ 0001 00 { 21 0001 } }", malformed, v5);
    expect_fault(first + "{ 0001 00 { 1f 0001 ff } }", malformed, v5);
  }
}

TEST(Acks, HaveTheReasonsOfTheirTables) {
  for (const Kind& kind : kinds) {
    for (unsigned value = 0; value < 256; ++value) {
      const auto reason = static_cast<ReasonCode>(value);
      for (const Sender sender : {Sender::client, Sender::server}) {
        Bytes packet = bytes(std::string(kind.first_byte) + "{ 0001 00 }");
        packet.back() = static_cast<std::uint8_t>(value);
        const auto ack = decode_ack(frame(packet, 100).value().value(), packet, v5, sender);
        EXPECT_EQ(ack.has_value(), reason_allowed(kind.type, reason, sender)) << value;
      }
    }
  }
  // A bridge is a client too, and may report that there was no matching subscriber.
  for (const Sender sender : {Sender::client, Sender::server}) {
    for (const PacketType type : {PacketType::puback, PacketType::pubrec}) {
      EXPECT_TRUE(reason_allowed(type, ReasonCode::no_matching_subscribers, sender));
    }
    EXPECT_FALSE(reason_allowed(PacketType::pubrel, ReasonCode::no_matching_subscribers, sender));
  }
}

TEST(Acks, CountTheirReasons) {
  const auto count = [](PacketType type, Sender sender) {
    unsigned allowed = 0;
    for (unsigned value = 0; value < 256; ++value) {
      if (reason_allowed(type, static_cast<ReasonCode>(value), sender)) ++allowed;
    }
    return allowed;
  };
  // The rows of the specification's tables.
  EXPECT_EQ(count(PacketType::connack, Sender::server), 22u);
  EXPECT_EQ(count(PacketType::puback, Sender::server), 9u);
  EXPECT_EQ(count(PacketType::pubrec, Sender::server), 9u);
  EXPECT_EQ(count(PacketType::pubrel, Sender::server), 2u);
  EXPECT_EQ(count(PacketType::pubcomp, Sender::server), 2u);
  EXPECT_EQ(count(PacketType::suback, Sender::server), 12u);
  EXPECT_EQ(count(PacketType::unsuback, Sender::server), 7u);
  EXPECT_EQ(count(PacketType::disconnect, Sender::server), 28u);
  EXPECT_EQ(count(PacketType::disconnect, Sender::client), 14u);
  EXPECT_EQ(count(PacketType::auth, Sender::server), 2u);
  EXPECT_EQ(count(PacketType::auth, Sender::client), 2u);
  EXPECT_EQ(count(PacketType::publish, Sender::client), 0u);
}

TEST(Acks, AreWrittenWithoutAPacketStruct) {
  Bytes out = {0xAA};
  encode_ack(PacketType::puback, 1, ReasonCode::success, v5, out);
  encode_ack(PacketType::pubrec, 2, ReasonCode::quota_exceeded, v5, out);
  encode_ack(PacketType::pubrel, 3, ReasonCode::success, v3_1_1, out);
  encode_ack(PacketType::pubcomp, 0xFFFE, ReasonCode::packet_identifier_not_found, v3_1_1, out);
  EXPECT_EQ(out, bytes("aa 40020001 5003000297 62020003 7002fffe"));
}

TEST(Acks, MayBeRepeatedIn3_1) {
  EXPECT_TRUE(decode_short("6a { 0001 }", Version::v3_1).has_value());
  EXPECT_TRUE(decode_short("6a { 0001 }", v3_1_1).has_error());
}

TEST(AcksDeathTest, WritingIdentifier0Aborts) {
  Bytes out;
  EXPECT_DEATH(encode(Puback{}, v5, out), "broken invariant");
}

}  // namespace
}  // namespace millrace::protocol::test
