#include "core/broker/message.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

std::string text(std::span<const std::uint8_t> bytes) {
  return {bytes.begin(), bytes.end()};
}

TEST(Message, KnowsWhereItsPartsStand) {
  const Message made = message("a/b", "hello", 1, true, 7);
  EXPECT_EQ(made.topic(), "a/b");
  EXPECT_EQ(text(made.payload()), "hello");
  EXPECT_EQ(made.packet_id, 7);
  EXPECT_EQ(made.qos, 1);
  EXPECT_TRUE(made.retain);
  EXPECT_FALSE(made.is_slice());
}

TEST(Message, ACopyToKeepPinsNothing) {
  const Message made = message("a/b", "hello");
  BufferRef large = Buffer::allocate(1000);
  large->received_ns = 42;
  std::memcpy(large->data() + 10, made.packet(), made.packet_bytes);
  Message slice = made;
  slice.buffer = large;
  slice.packet_offset = 10;
  const Message kept = slice.copy_to_keep();
  EXPECT_EQ(kept.buffer->capacity(), made.packet_bytes);
  EXPECT_EQ(kept.buffer->received_ns, 42);
  EXPECT_EQ(kept.topic(), "a/b");
  EXPECT_EQ(text(kept.payload()), "hello");
}

TEST(Message, AStoredPointerIsTheWholeMessage) {
  const std::uint8_t properties[] = {0x02, 0, 0, 0, 9, 0x08, 0, 1, 'r'};
  MessageParts parts;
  parts.topic = "t";
  parts.properties.bytes = properties;
  parts.properties.expiry_at = 0;
  parts.qos = 2;
  parts.packet_id = 3;
  const Message made = build_message(parts, 5'000'000'000);
  const Message again = message_of(made.copy_to_keep().buffer);
  EXPECT_EQ(again.topic(), "t");
  EXPECT_EQ(again.topic_hash, made.topic_hash);
  EXPECT_EQ(again.expires_at_s, clock_seconds(5'000'000'000) + 9);
  EXPECT_TRUE(again.request);
  EXPECT_TRUE(again.is_v5);
  EXPECT_EQ(again.qos, 2);
}

// So many user properties, and a Message Expiry Interval before or behind them.
std::vector<std::uint8_t> properties_with(std::size_t count, bool expiry_first) {
  const std::vector<std::uint8_t> expiry = {0x02, 0, 0, 0, 9};
  std::vector<std::uint8_t> all;
  if (expiry_first) all = expiry;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t one[] = {0x26, 0, 1, 'k', 0, 1, static_cast<std::uint8_t>('a' + i % 26)};
    all.insert(all.end(), std::begin(one), std::end(one));
  }
  if (!expiry_first) all.insert(all.end(), expiry.begin(), expiry.end());
  return all;
}

Message message_with(const std::vector<std::uint8_t>& properties, std::uint32_t expiry_at) {
  MessageParts parts;
  parts.topic = "t";
  parts.properties.bytes = properties;
  parts.properties.expiry_at = expiry_at;
  parts.qos = 1;
  parts.packet_id = 3;
  return build_message(parts, 5'000'000'000);
}

TEST(Message, ShowsItsPropertiesAsTheyCame) {
  const auto plain = properties_with(2, true);
  const Message made = message_with(plain, 0);
  EXPECT_EQ(made.properties().expiry_at, 0u);
  EXPECT_TRUE(std::ranges::equal(made.properties().bytes, plain));
  EXPECT_TRUE(message("t", "p").properties().bytes.empty());
}

TEST(Message, HasItsExpiryBeforeManyOtherProperties) {
  const auto last = properties_with(30'000, false);
  const Message made = message_with(last, static_cast<std::uint32_t>(last.size() - 5));
  EXPECT_EQ(made.expires_at_s, clock_seconds(5'000'000'000) + 9);
  EXPECT_EQ(made.properties().expiry_at, 0u);
  EXPECT_TRUE(std::ranges::equal(made.properties().bytes, properties_with(30'000, true)));
}

TEST(Message, HoldsAPacketWithALongHeader) {
  const std::string payload(300'000, 'p');
  const Message made = message("topic", payload);
  EXPECT_EQ(made.topic_offset, 6);
  EXPECT_EQ(text(message_of(made.buffer).payload()), payload);
}

}  // namespace
}  // namespace millrace::broker
