#include "server/upstream/hops.hpp"

#include <gtest/gtest.h>

#include "protocol/decode.hpp"
#include "protocol/encode.hpp"

namespace millrace::server {
namespace {

using protocol::UserProperty;

struct Received {
  std::vector<std::uint8_t> packet;
  protocol::PublishView view;
};

Received received(protocol::Properties properties) {
  protocol::Publish publish;
  publish.topic = "t";
  publish.properties = std::move(properties);
  Received made;
  protocol::encode(protocol::Packet(publish), protocol::Version::v5, made.packet);
  const auto frame = **protocol::frame(made.packet, made.packet.size());
  made.view = *protocol::decode_publish(frame, made.packet, protocol::Version::v5);
  return made;
}

// What a receiver of a PUBLISH with these properties finds in it.
protocol::Properties sent_on(const protocol::RawProperties& raw) {
  return *protocol::decode_properties(
      raw.bytes, protocol::property_scope(protocol::PacketType::publish), protocol::Sender::server);
}

TEST(Hops, AreNoneBeforeTheFirstLink) {
  protocol::Properties properties;
  properties.user_properties = {{"other", "07"}};
  EXPECT_EQ(hops_of(received(properties).view.properties.bytes), 0u);
  EXPECT_EQ(hops_of({}), 0u);
}

TEST(Hops, AreRaisedByEachLink) {
  protocol::Properties properties;
  properties.message_expiry_interval = 60;
  properties.content_type = "text/plain";
  properties.user_properties = {{"a", "b"}};
  properties.correlation_data = "c";
  Received message = received(properties);
  for (std::uint32_t hops = 1; hops <= 30; ++hops) {
    std::vector<std::uint8_t> buffer;
    const auto raised = with_one_more_hop(message.view.properties, buffer);
    EXPECT_EQ(hops_of(raised.bytes), hops);
    protocol::Properties after = sent_on(raised);
    EXPECT_EQ(after.user_properties.size(), 2u);
    EXPECT_EQ(after.user_properties[0], UserProperty("a", "b"));
    std::erase_if(after.user_properties,
                  [](const UserProperty& one) { return one.first == hops_property; });
    EXPECT_EQ(after, properties) << "everything else is as it was";
    message = received(sent_on(raised));
  }
}

TEST(Hops, OfAFormThatNoLinkWritesCrossNone) {
  for (const char* value : {"", "1", "-1", "1x", "x1", "123", "99"}) {
    protocol::Properties properties;
    properties.user_properties = {{std::string(hops_property), value}};
    EXPECT_EQ(hops_of(received(properties).view.properties.bytes), hops_limit) << value;
  }
}

TEST(Hops, TakeNoMoreRoomThanIsAllowedFor) {
  std::vector<std::uint8_t> buffer;
  const auto raised = with_one_more_hop({}, buffer);
  EXPECT_LE(raised.bytes.size() + 3 + 3, hops_bytes_max) << "and each length a byte to four";
}

}  // namespace
}  // namespace millrace::server
