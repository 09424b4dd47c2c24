// PUBLISH: the view, the owning packet, and the header that is written for each delivery.
#include "protocol/publish.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "bytes.hpp"

namespace millrace::protocol::test {
namespace {

constexpr auto malformed = ReasonCode::malformed_packet;
constexpr auto protocol = ReasonCode::protocol_error;
constexpr auto v3_1 = Version::v3_1;
constexpr auto v3_1_1 = Version::v3_1_1;
constexpr auto v5 = Version::v5;
constexpr auto server = Sender::server;

// A view that keeps its packet alive.
struct Viewed {
  Bytes packet;
  PublishView view;
};

Viewed view_of(std::string_view text, Version version, Sender sender = Sender::client) {
  Viewed viewed{bytes(text), {}};
  const Frame found = frame(viewed.packet, packet_bytes_limit, version).value().value();
  viewed.view = decode_publish(found, viewed.packet, version, sender).value();
  return viewed;
}

std::string_view payload_of(const PublishView& view) {
  return {reinterpret_cast<const char*>(view.payload.data()), view.payload.size()};
}

TEST(Publish, IsReadAndWritten) {
  Publish plain{.topic = "a/b",
                .payload = "hi",
                .qos = QoS::at_most_once,
                .retain = false,
                .dup = false,
                .packet_id = 0,
                .properties = {}};
  Publish empty = plain;
  empty.payload.clear();
  empty.retain = true;
  Publish twice = plain;
  twice.qos = QoS::exactly_once;
  twice.dup = true;
  twice.retain = true;
  twice.packet_id = 0xFFFF;
  Publish rich = plain;
  rich.qos = QoS::at_least_once;
  rich.packet_id = 1;
  rich.properties.payload_format_indicator = 1;
  rich.properties.message_expiry_interval = 9;
  rich.properties.response_topic = "r";
  rich.properties.correlation_data = "c";
  rich.properties.topic_alias = 5;
  rich.properties.user_properties = {{"k", "1"}, {"k", "2"}};
  Publish aliased;
  aliased.properties.topic_alias = 5;
  Publish matched = plain;
  matched.properties.subscription_identifiers = {1, 200};
  expect_good({
      {"3.1.1", R"(30 { "a/b" 'hi' })", plain, v3_1_1},
      {"3.1", R"(30 { "a/b" 'hi' })", plain, v3_1},
      {"5", R"(30 { "a/b" {} 'hi' })", plain},
      {"from a server", R"(30 { "a/b" {} 'hi' })", plain, v5, server},
      {"no payload, retained", R"(31 { "a/b" })", empty, v3_1_1},
      {"QoS 2, repeated", R"(3d { "a/b" ffff 'hi' })", twice, v3_1_1},
      {"properties",
       R"(32 { "a/b" 0001 { 01 01 02 00000009 08 "r" 09 "c" 23 0005 26 "k" "1" 26 "k" "2" } 'hi' })",
       rich},
      {"alias alone", R"(30 { "" { 23 0005 } })", aliased},
      {"subscription identifiers", R"(30 { "a/b" { 0b 01 0b c801 } 'hi' })", matched, v5, server},
  });
}

TEST(Publish, RejectsWhatIsMalformed) {
  expect_faults({
      {"empty", "30 00", malformed},
      {"half a length", "30 { 00 }", malformed},
      {"topic cut off", "30 { 0005 'a' }", malformed},
      {"no identifier", R"(32 { "a" })", malformed},
      {"half an identifier", R"(32 { "a" 00 })", malformed},
      {"identifier 0", R"(32 { "a" 0000 {} })", protocol},
      {"identifier 0, 3.1.1", R"(34 { "a" 0000 })", protocol, v3_1_1},
      {"no properties", R"(30 { "a" })", malformed},
      {"properties beyond the end", R"(30 { "a" 03 23 00 })", malformed},
      {"length of properties cut off", R"(30 { "a" 80 })", malformed},
      {"length of properties in five bytes", R"(30 { "a" 8080808001 })", malformed},
      {"length of properties padded", R"(30 { "a" 8000 })", malformed},
      {"QoS 3", R"(36 { "a" 0001 {} })", malformed},                             // 3.3.1-4
      {"repeated at QoS 0", R"(38 { "a" {} })", malformed},                      // 3.3.1-2
      {"topic not UTF-8", "30 { 0001 ff {} }", malformed},                       // 3.3.2-1
      {"topic with NUL", "30 { 0003 610062 {} }", malformed},                    // 1.5.4-2
      {"topic with surrogate", "30 { 0003 eda080 {} }", malformed},              // 1.5.4-1
      {"topic with '#'", R"(30 { "a/#" {} })", ReasonCode::topic_name_invalid},  // 3.3.2-2
      {"topic with '+'", R"(30 { "a/+/b" })", ReasonCode::topic_name_invalid, v3_1_1},
      {"no topic, no alias", R"(30 { "" {} })", protocol},
      {"no topic, 3.1.1", R"(30 { "" })", ReasonCode::topic_name_invalid, v3_1_1},
      {"alias 0", R"(30 { "a" { 23 0000 } })", ReasonCode::topic_alias_invalid},
      {"two aliases", R"(30 { "a" { 23 0001 23 0001 } })", protocol},
      {"two expiries", R"(30 { "a" { 02 00000001 02 00000001 } })", protocol},
      {"format 2", R"(30 { "a" { 01 02 } })", protocol},
      {"response topic with wildcard", R"(30 { "a" { 08 "r/#" } })",
       ReasonCode::topic_name_invalid},
      {"subscription identifier of a client", R"(30 { "a" { 0b 01 } })", protocol},
      {"subscription identifier 0", R"(30 { "a" { 0b 00 } })", protocol, v5, server},
      {"property of others", R"(30 { "a" { 21 0001 } })", malformed},
  });
}

TEST(Publish, MayBeRepeatedAtQos0In3_1) {
  EXPECT_TRUE(decode_text(R"(38 { "a" })", v3_1).has_value());
  EXPECT_TRUE(decode_text(R"(38 { "a" })", v3_1_1).has_error());
}

TEST(PublishView, PointsIntoThePacketAndKnowsItsOffsets) {
  const auto [packet, view] =
      view_of(R"(3b { "a/b" 1234 { 01 01 23 0007 02 0000000a 26 "k" "v" 09 "c" } 'payload' })", v5);
  EXPECT_EQ(view.topic, "a/b");
  EXPECT_EQ(payload_of(view), "payload");
  EXPECT_EQ(view.qos, QoS::at_least_once);
  EXPECT_TRUE(view.retain);
  EXPECT_TRUE(view.dup);
  EXPECT_EQ(view.packet_id, 0x1234);
  EXPECT_EQ(view.topic_alias, 7);
  EXPECT_TRUE(view.has_message_expiry);
  EXPECT_EQ(view.message_expiry_interval, 10u);
  EXPECT_EQ(view.payload_format_indicator, 1);
  EXPECT_FALSE(view.has_response_topic);
  EXPECT_TRUE(view.has_correlation_data);
  EXPECT_TRUE(view.has_user_properties);

  const auto* const base = packet.data();
  EXPECT_EQ(reinterpret_cast<const std::uint8_t*>(view.topic.data()), base + view.topic_offset);
  EXPECT_EQ(view.payload.data(), base + view.payload_offset);
  EXPECT_EQ(view.properties.bytes.data(), base + view.properties_offset);
  EXPECT_EQ(view.properties_offset + view.properties.bytes.size(), view.payload_offset);
  EXPECT_EQ(base[view.packet_id_offset()], 0x12);
  EXPECT_EQ(view.properties.topic_alias_at, 2u);
  EXPECT_EQ(view.properties.expiry_at, 5u);
  EXPECT_EQ(view.properties.subscription_identifiers_bytes, 0u);
}

TEST(PublishView, HasNoPropertiesIn3_1_1) {
  const auto [packet, view] = view_of(R"(30 { "t" 'xy' })", v3_1_1);
  EXPECT_TRUE(view.properties.bytes.empty());
  EXPECT_EQ(view.properties_offset, view.payload_offset);
  EXPECT_EQ(view.payload_offset, 5u);
  EXPECT_EQ(payload_of(view), "xy");
  EXPECT_EQ(view.packet_id, 0);
}

TEST(PublishView, IgnoresWhatFollowsThePacket) {
  const Bytes two = bytes(R"(30 { "t" {} 'xy' } c0 00)");
  const Frame found = frame(two, packet_bytes_limit).value().value();
  EXPECT_EQ(payload_of(decode_publish(found, two, v5).value()), "xy");
}

TEST(PublishView, NotesARequestsResponseTopic) {
  EXPECT_TRUE(view_of(R"(30 { "t" { 08 "r" } })", v5).view.has_response_topic);
}

// --- the header of a delivery --------------------------------------------------------------------

// Size, raw pointer and vector agree; the packet with its payload equals `expected`.
void expect_header(PublishHeader header, std::string_view payload, std::string_view expected) {
  header.payload_bytes = payload.size();
  Bytes appended = {0xAA};
  encode_publish_header(header, appended);
  EXPECT_EQ(appended.size(), 1 + publish_header_bytes(header));
  EXPECT_EQ(appended[0], 0xAA);

  Bytes packet(publish_header_bytes(header));
  EXPECT_EQ(encode_publish_header(header, packet.data()), packet.data() + packet.size());
  EXPECT_TRUE(std::equal(packet.begin(), packet.end(), appended.begin() + 1, appended.end()));
  packet.insert(packet.end(), payload.begin(), payload.end());
  EXPECT_EQ(packet, bytes(expected));
}

PublishHeader header_of(const PublishView& view, Version version) {
  PublishHeader header;
  header.version = version;
  header.qos = view.qos;
  header.retain = view.retain;
  header.topic = view.topic;
  header.packet_id = view.packet_id;
  header.properties = view.properties;
  return header;
}

TEST(PublishHeader, EqualsTheReceivedPacketIfNothingChanges) {
  for (const char* text : {R"(30 { "a/b" {} 'hi' })", R"(31 { "a/b" { 26 "k" "v" } })",
                           R"(34 { "a/b" 0009 { 02 00000005 03 "t" } 'hi' })"}) {
    const auto [packet, view] = view_of(text, v5);
    expect_header(header_of(view, v5), payload_of(view), text);
  }
  const auto [packet, view] = view_of(R"(32 { "a/b" 0102 'hi' })", v3_1_1);
  expect_header(header_of(view, v3_1_1), "hi", R"(32 { "a/b" 0102 'hi' })");
}

TEST(PublishHeader, CrossesVersions) {
  const auto [packet, view] = view_of(R"(32 { "a" 0001 { 02 00000005 26 "k" "v" } 'hi' })", v5);
  expect_header(header_of(view, v3_1_1), "hi", R"(32 { "a" 0001 'hi' })");
  const auto [old_packet, old_view] = view_of(R"(32 { "a" 0001 'hi' })", v3_1_1);
  expect_header(header_of(old_view, v5), "hi", R"(32 { "a" 0001 {} 'hi' })");
}

TEST(PublishHeader, HasItsOwnFlagsAndIdentifier) {
  PublishHeader header;
  header.topic = "t";
  header.qos = QoS::exactly_once;
  header.dup = true;
  header.retain = true;
  header.packet_id = 0xABCD;
  expect_header(header, "x", R"(3d { "t" abcd {} 'x' })");
  header.qos = QoS::at_most_once;
  header.dup = false;
  expect_header(header, "x", R"(31 { "t" {} 'x' })");
}

TEST(PublishHeader, DropsTheReceivedAliasWhereverItStands) {
  for (const char* text : {R"(30 { "t" { 23 0007 02 00000009 26 "k" "v" } })",
                           R"(30 { "t" { 02 00000009 23 0007 26 "k" "v" } })",
                           R"(30 { "t" { 02 00000009 26 "k" "v" 23 0007 } })"}) {
    const auto [packet, view] = view_of(text, v5);
    PublishHeader header = header_of(view, v5);
    expect_header(header, "", R"(30 { "t" { 02 00000009 26 "k" "v" } })");
    header.message_expiry_interval = 4;
    expect_header(header, "", R"(30 { "t" { 02 00000004 26 "k" "v" } })");
    header.topic_alias = 0x0102;
    expect_header(header, "", R"(30 { "t" { 02 00000004 26 "k" "v" 23 0102 } })");
    header.topic = "";
    expect_header(header, "", R"(30 { "" { 02 00000004 26 "k" "v" 23 0102 } })");
  }
  const auto [packet, view] = view_of(R"(30 { "t" { 23 0007 } })", v5);
  expect_header(header_of(view, v5), "", R"(30 { "t" {} })");
}

TEST(PublishHeader, AddsAnExpiryWhereThereWasNone) {
  const auto [packet, view] = view_of(R"(30 { "t" { 26 "k" "v" } 'p' })", v5);
  PublishHeader header = header_of(view, v5);
  header.message_expiry_interval = 0x01020304;
  expect_header(header, "p", R"(30 { "t" { 26 "k" "v" 02 01020304 } 'p' })");
}

TEST(PublishHeader, AddsSubscriptionIdentifiersAndDropsReceivedOnes) {
  const std::uint32_t identifiers[] = {1, 128, 268'435'455};
  const auto [packet, view] = view_of(
      R"(30 { "t" { 0b 05 23 0007 26 "k" "v" 0b ff7f 02 00000009 0b 06 } 'p' })", v5, server);
  EXPECT_EQ(view.properties.subscription_identifiers_bytes, 7u);
  PublishHeader header = header_of(view, v5);
  expect_header(header, "p", R"(30 { "t" { 26 "k" "v" 02 00000009 } 'p' })");
  header.subscription_identifiers = identifiers;
  header.message_expiry_interval = 1;
  expect_header(header, "p",
                R"(30 { "t" { 26 "k" "v" 02 00000001 0b 01 0b 8001 0b ffffff7f } 'p' })");
}

// A head, and the received properties and payload behind it from where they stand.
void expect_in_parts(const PublishHeader& header, const PublishView& view, const char* expected) {
  Bytes packet(publish_head_bytes(header));
  EXPECT_EQ(encode_publish_head(header, packet.data()), packet.data() + packet.size());
  const auto rest = view.properties.bytes.subspan(unchanged_from(header));
  packet.insert(packet.end(), rest.begin(), rest.end());
  packet.insert(packet.end(), view.payload.begin(), view.payload.end());
  EXPECT_EQ(packet, bytes(expected));
}

TEST(PublishHeader, LeavesReceivedPropertiesWhereTheyStand) {
  const std::uint32_t identifiers[] = {1, 128};
  const auto [packet, view] = view_of(R"(32 { "t" 0001 { 26 "k" "v" 26 "k" "w" } 'p' })", v5);
  PublishHeader header = header_of(view, v5);
  header.payload_bytes = view.payload.size();
  expect_in_parts(header, view, R"(32 { "t" 0001 { 26 "k" "v" 26 "k" "w" } 'p' })");
  header.topic_alias = 7;
  header.subscription_identifiers = identifiers;
  expect_in_parts(header, view,
                  R"(32 { "t" 0001 { 23 0007 0b 01 0b 8001 26 "k" "v" 26 "k" "w" } 'p' })");
}

TEST(PublishHeader, CountsDownAnExpiryBeforeThem) {
  const auto [packet, view] = view_of(R"(30 { "t" { 01 01 02 00000009 26 "k" "v" } 'p' })", v5);
  PublishHeader header = header_of(view, v5);
  header.payload_bytes = view.payload.size();
  header.message_expiry_interval = 4;
  EXPECT_EQ(unchanged_from(header), 7u);
  expect_in_parts(header, view, R"(30 { "t" { 01 01 02 00000004 26 "k" "v" } 'p' })");
  header.topic_alias = 7;
  expect_in_parts(header, view, R"(30 { "t" { 01 01 02 00000004 23 0007 26 "k" "v" } 'p' })");
}

TEST(PublishHeader, CountsLengthsAtTheirEdges) {
  // Around 127 and 16,383 bytes, of the properties and of the whole packet.
  for (const std::size_t bytes_of :
       {1u,      110u,    118u,    119u,    120u,    121u,    122u,    123u,
        124u,    125u,    126u,    127u,    128u,    16'370u, 16'376u, 16'377u,
        16'378u, 16'379u, 16'380u, 16'381u, 16'382u, 16'383u, 16'384u, 65'535u}) {
    Publish publish;
    publish.topic = "t";
    publish.properties.content_type = std::string(bytes_of, 'c');
    const Bytes packet = encoded(publish, v5);
    const Frame found = frame(packet, packet_bytes_limit).value().value();
    ASSERT_EQ(found.packet_bytes, packet.size());
    const auto view = decode_publish(found, packet, v5).value();
    Bytes written;
    encode_publish_header(header_of(view, v5), written);
    EXPECT_EQ(written, packet);

    publish.properties = {};
    publish.payload = std::string(bytes_of, 'p');
    const Bytes with_payload = encoded(publish, v5);
    PublishHeader header;
    header.topic = "t";
    header.payload_bytes = bytes_of;
    EXPECT_EQ(publish_header_bytes(header) + bytes_of, with_payload.size());
  }
}

TEST(PublishHeaderDeathTest, WithoutAnIdentifierAtQos1Aborts) {
  PublishHeader header;
  header.topic = "t";
  header.qos = QoS::at_least_once;
  Bytes out;
  EXPECT_DEATH(encode_publish_header(header, out), "broken invariant");
}

}  // namespace
}  // namespace millrace::protocol::test
