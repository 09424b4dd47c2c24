#include "server/mqtt/packet_reader.hpp"

#include <gtest/gtest.h>

#include "protocol/encode.hpp"
#include "tests/server/mqtt/scripted_stream.hpp"

namespace millrace::server {
namespace {

using protocol::Version;
using Bytes = std::vector<std::uint8_t>;
using Rest = PacketReader::Rest;
using Trust = PacketReader::Trust;

constexpr std::uint32_t shared_bytes = 1024;
constexpr std::size_t packet_bytes_max = 1 << 20;

struct PacketReaderTest : testing::Test {
  broker::Ledger ledger{UINT64_MAX};
  ReadMemory memory{shared_bytes, 20'000, ledger};
  UnauthenticatedBudget& budget = memory.budget;
  ScriptedStream stream;
  PacketReader reader{memory};

  Bytes publish(std::size_t payload_bytes, char fill = 'x') {
    protocol::Publish packet;
    packet.topic = "t";
    packet.payload.assign(payload_bytes, fill);
    Bytes bytes;
    protocol::encode(protocol::Packet(packet), Version::v3_1_1, bytes);
    return bytes;
  }

  // Reads all that the stream brings; the sizes of the packets.
  std::vector<std::size_t> packets(Trust trust = Trust::client) {
    std::vector<std::size_t> sizes;
    for (;;) {
      ReceivedBytes received;
      if (reader.receive(stream, received).status != IoStatus::ok) return sizes;
      over_budget = over_budget || received.is_over_budget();
      for (;;) {
        const auto frame = received.next(packet_bytes_max, Version::v3_1_1);
        if (!frame || !*frame) break;
        sizes.push_back((*frame)->packet_bytes);
        received.take((*frame)->packet_bytes);
      }
      const auto header =
          protocol::frame_header(received.rest(), packet_bytes_max, Version::v3_1_1);
      const std::uint32_t announced = header && *header ? (*header)->packet_bytes : 0;
      over_budget = !reader.keep(received, Rest::partial, trust, announced) || over_budget;
    }
  }
  bool over_budget = false;
};

TEST_F(PacketReaderTest, FindsPacketsHoweverTheyAreCut) {
  for (const std::size_t step : {1u, 2u, 3u, 7u, 100u, 1000u, 5000u}) {
    Bytes all;
    std::vector<std::size_t> expected;
    for (const std::size_t bytes : {0u, 1u, 100u, 300u, 2000u, 5u, 20'000u, 3u}) {
      const Bytes packet = publish(bytes);
      all.insert(all.end(), packet.begin(), packet.end());
      expected.push_back(packet.size());
    }
    for (std::size_t at = 0; at < all.size(); at += step) {
      const std::size_t end = std::min(all.size(), at + step);
      stream.reads.emplace_back(all.begin() + static_cast<long>(at),
                                all.begin() + static_cast<long>(end));
    }
    EXPECT_EQ(packets(), expected) << "in reads of " << step;
  }
}

TEST_F(PacketReaderTest, ASmallReadPinsABufferOfItsOwnSizeAndALargeOneTheSharedOne) {
  for (const std::size_t count : {1u, 20u}) {
    Bytes all;
    for (std::size_t i = 0; i < count; ++i) {
      const Bytes packet = publish(40);
      all.insert(all.end(), packet.begin(), packet.end());
    }
    stream.reads.push_back(all);
    ReceivedBytes received;
    ASSERT_EQ(reader.receive(stream, received).status, IoStatus::ok);
    std::vector<broker::Message> messages;
    while (!received.rest().empty()) {
      const auto frame = received.next(packet_bytes_max, Version::v3_1_1);
      const auto packet = received.rest().first((*frame)->packet_bytes);
      const auto view = protocol::decode_publish(**frame, packet, Version::v3_1_1);
      messages.push_back(received.slice((*frame)->packet_bytes, *view, Version::v3_1_1));
      received.take((*frame)->packet_bytes);
    }
    received.pay_references();
    EXPECT_EQ(received.is_shared(), count == 20);
    EXPECT_EQ(messages[0].buffer->capacity(), count == 20 ? shared_bytes : all.size());
    EXPECT_EQ(messages.back().payload_bytes(), 40u);
    if (received.is_shared()) {
      EXPECT_TRUE(received.is_worth_handing_over());
      EXPECT_EQ(received.unused_bytes(), shared_bytes - all.size());
      reader.hand_over();
    }
  }
}

TEST_F(PacketReaderTest, HoldsPacketsThatMustWaitAndGivesThemBack) {
  Bytes two = publish(1);
  const Bytes second = publish(2);
  two.insert(two.end(), second.begin(), second.end());
  two.push_back(0x30);
  stream.reads.push_back(two);
  {
    ReceivedBytes received;
    reader.receive(stream, received);
    received.take(static_cast<std::uint32_t>(publish(1).size()));
    ASSERT_TRUE(reader.keep(received, Rest::held, Trust::client, 0));
  }
  ASSERT_TRUE(reader.has_held());
  ReceivedBytes held;
  reader.take_held(held);
  EXPECT_FALSE(reader.has_held());
  EXPECT_EQ(held.rest().size(), second.size() + 1);
  EXPECT_EQ((*held.next(packet_bytes_max, Version::v3_1_1))->packet_bytes, second.size());
}

TEST_F(PacketReaderTest, AnUnauthenticatedBufferGrowsWithItsBytesAndIsChargedToTheBudget) {
  const Bytes large = publish(18'000);
  stream.reads.emplace_back(large.begin(), large.begin() + 100);
  packets(Trust::unauthenticated);
  EXPECT_EQ(budget.taken_bytes(), 0u);  // 4 KiB are everybody's
  stream.reads.emplace_back(large.begin() + 100, large.begin() + 5000);
  packets(Trust::unauthenticated);
  EXPECT_GE(budget.taken_bytes(), 5000u);
  EXPECT_LE(budget.taken_bytes(), 10'000u);
  stream.reads.emplace_back(large.begin() + 5000, large.end());
  EXPECT_EQ(packets(Trust::unauthenticated), std::vector<std::size_t>{large.size()});
  EXPECT_EQ(budget.taken_bytes(), 0u);
  EXPECT_FALSE(over_budget);
}

// The first read takes all of the buffer that there is room for.
TEST(PacketReaderMemory, APacketThatFillsItsBufferWhileThereIsNoMemoryIsRefusedOrGoesOn) {
  constexpr std::uint32_t read_bytes = 64 * 1024;
  constexpr std::uint32_t packet_bytes = 2 * read_bytes;
  for (const bool memory_comes_back : {false, true}) {
    broker::Ledger ledger{0};
    ReadMemory memory{read_bytes, 0, ledger};
    PacketReader reader(memory);
    ScriptedStream stream;
    stream.reads = {Bytes(read_bytes), Bytes(packet_bytes - read_bytes)};
    {
      ReceivedBytes received;
      ASSERT_EQ(reader.receive(stream, received).bytes, read_bytes);
      ASSERT_TRUE(reader.keep(received, Rest::partial, Trust::client, packet_bytes));
    }
    ASSERT_EQ(reader.kept_bytes(), read_bytes) << "it is full";
    if (memory_comes_back) ledger.set_limit(UINT64_MAX);
    ReceivedBytes received;
    EXPECT_EQ(reader.receive(stream, received).status, IoStatus::ok) << "not the peer's end";
    EXPECT_EQ(received.is_over_budget(), !memory_comes_back);
    EXPECT_EQ(received.rest().size(), memory_comes_back ? packet_bytes : 0);
  }
}

TEST_F(PacketReaderTest, UnauthenticatedPeersTogetherHoldNoMoreThanTheBudget) {
  const Bytes large = publish(18'000);
  PacketReader other(memory);
  stream.reads.emplace_back(large.begin(), large.begin() + 12'000);
  packets(Trust::unauthenticated);
  EXPECT_FALSE(over_budget);
  ReceivedBytes received;
  ScriptedStream second;
  second.reads.emplace_back(large.begin(), large.begin() + 900);
  other.receive(second, received);
  EXPECT_TRUE(other.keep(received, Rest::partial, Trust::unauthenticated, 18'000));
  second.reads.emplace_back(large.begin() + 900, large.begin() + 6000);
  bool refused = false;
  for (int i = 0; i < 4 && !refused; ++i) {
    ReceivedBytes more;
    if (other.receive(second, more).status != IoStatus::ok) break;
    refused = more.is_over_budget();
  }
  EXPECT_TRUE(refused);
  reader.forget();
  EXPECT_EQ(budget.taken_bytes(), 0u);
}

}  // namespace
}  // namespace millrace::server
