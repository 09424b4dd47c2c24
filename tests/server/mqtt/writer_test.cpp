#include "server/mqtt/writer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "core/broker/inbox.hpp"
#include "protocol/decode.hpp"
#include "tests/server/mqtt/scripted_stream.hpp"

namespace millrace::server {
namespace {

using broker::Delivery;
using broker::Handover;
using protocol::Version;
using Bytes = std::vector<std::uint8_t>;

struct NoOwner : broker::OutboxOwner {
  void on_outbox_ready() override {}
};

broker::Message message(std::string_view topic, std::string_view payload,
                        Version version = Version::v5) {
  broker::MessageParts parts;
  parts.topic = topic;
  parts.payload = {reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()};
  parts.version = version;
  return broker::build_message(parts, broker::Inbox::now_ns());
}

broker::PacketRun as_is(broker::Message of) {
  const std::uint32_t offset = of.packet_offset, bytes = of.packet_bytes;
  const auto payload_bytes = static_cast<std::uint32_t>(of.payload_bytes());
  return {std::move(of.buffer), offset, bytes, payload_bytes, 1};
}

Delivery encoded(broker::Message of) {
  Delivery delivery;
  delivery.message = std::move(of);
  return delivery;
}

struct WriterTest : testing::Test {
  broker::ReadyList ready_list{[] {}};
  NoOwner owner;
  broker::OutboxRef outbox{new broker::Outbox(ready_list, owner)};
  IoCounters counters;
  WriterPiece piece;
  ScriptedStream stream;
  Writer writer;

  void hand_over(std::vector<broker::HandoverItem> deliveries, Bytes control = {}) {
    auto handover = std::make_unique<Handover>();
    handover->control.add_uncounted(control);
    handover->deliveries = std::move(deliveries);
    writer.add(std::move(handover), *outbox);
  }
  Writer::Status write() { return writer.write(stream, piece, counters, outbox.get()); }

  // The topic and the payload of each PUBLISH that was taken, aliases resolved; "ack" for others.
  std::vector<std::string> packets(Version version = Version::v5) const {
    std::vector<std::string> found;
    std::vector<std::string> aliases(256);
    std::span<const std::uint8_t> left(stream.taken);
    while (!left.empty()) {
      const auto frame = protocol::frame(left, protocol::packet_bytes_limit, version);
      if (!frame || !*frame) {
        found.push_back("broken");
        break;
      }
      if ((*frame)->type != protocol::PacketType::publish) {
        found.push_back("ack");
      } else {
        const auto view =
            protocol::decode_publish(**frame, left, version, protocol::Sender::server);
        if (!view) {
          found.push_back("malformed");
          break;
        }
        std::string topic(view->topic);
        if (view->topic_alias != 0 && !topic.empty()) aliases[view->topic_alias] = topic;
        if (topic.empty()) topic = aliases[view->topic_alias];
        found.push_back(topic + '=' + std::string(view->payload.begin(), view->payload.end()));
      }
      left = left.subspan((*frame)->packet_bytes);
    }
    return found;
  }
};

const Bytes puback = {0x40, 2, 0, 1};

TEST_F(WriterTest, WritesControlAheadOfDeliveries) {
  writer.set_peer(Version::v5, 0);
  hand_over({as_is(message("a", "1")), encoded(message("b", "2"))}, puback);
  EXPECT_EQ(write(), Writer::Status::written);
  EXPECT_EQ(packets(), (std::vector<std::string>{"ack", "a=1", "b=2"}));
  EXPECT_EQ(stream.writes, 1u);
  EXPECT_TRUE(writer.idle());
}

TEST_F(WriterTest, NeverCutsABegunPacketByControl) {
  writer.set_peer(Version::v5, 0);
  hand_over({encoded(message("a", "1")), encoded(message("b", "2"))});
  stream.room = 3;
  EXPECT_EQ(write(), Writer::Status::blocked);
  hand_over({encoded(message("c", "3"))}, puback);
  stream.room = SIZE_MAX;
  EXPECT_EQ(write(), Writer::Status::written);
  EXPECT_EQ(packets(), (std::vector<std::string>{"a=1", "ack", "b=2", "c=3"}));
}

TEST_F(WriterTest, SendsTheSameStreamHoweverLittleIsTakenAtOnce) {
  const std::string large(3000, 'x');
  std::vector<std::string> expected = {"ack", "t/0=0"};
  for (int i = 1; i < 20; ++i) {
    expected.push_back("t/" + std::to_string(i % 5) + '=' + (i % 4 == 0 ? large : "v"));
  }
  for (const std::size_t step : {1u, 2u, 3u, 7u, 50u, 1000u, 4001u}) {
    Writer fresh;
    std::swap(writer, fresh);
    writer.set_peer(Version::v5, 3);
    stream.taken.clear();
    std::vector<broker::HandoverItem> deliveries = {encoded(message("t/0", "0"))};
    for (int i = 1; i < 20; ++i) {
      deliveries.push_back(
          encoded(message("t/" + std::to_string(i % 5), i % 4 == 0 ? large : "v")));
    }
    hand_over(std::move(deliveries), puback);
    Writer::Status status;
    do {
      stream.room = step;
      status = write();
    } while (status == Writer::Status::blocked);
    EXPECT_EQ(status, Writer::Status::written) << step;
    EXPECT_EQ(packets(), expected) << "taking " << step << " bytes at once";
    EXPECT_TRUE(writer.idle());
  }
}

// A receiver reckons by the size of what comes how much of its buffer it may advertise.
TEST_F(WriterTest, CutsSmallMessagesIntoWritesOfOneSizeWhileItBindsLate) {
  const LateTerms terms{.write_bytes_max = 1000};
  writer.set_peer(Version::v5, 3);
  writer.set_late(&terms);
  std::vector<std::string> expected;
  std::vector<broker::HandoverItem> deliveries;
  const std::string large(3000, 'x');
  for (int i = 0; i < 30; ++i) {
    const std::string payload =
        i == 20 ? large : std::string(200 + static_cast<std::size_t>(i), 'v');
    expected.push_back("t=" + payload);
    deliveries.push_back(encoded(message("t", payload)));
  }
  hand_over(std::move(deliveries));
  EXPECT_EQ(write(), Writer::Status::written);
  EXPECT_EQ(packets(), expected);
  ASSERT_GE(stream.write_bytes.size(), 7u);
  const auto whole = std::count(stream.write_bytes.begin(), stream.write_bytes.end(), 1000u);
  const auto large_ones = std::count_if(stream.write_bytes.begin(), stream.write_bytes.end(),
                                        [](std::size_t bytes) { return bytes > 1000; });
  EXPECT_GE(whole, static_cast<std::ptrdiff_t>(stream.write_bytes.size()) - 3);
  EXPECT_EQ(large_ones, 1) << "a large message goes out in one write";
}

TEST_F(WriterTest, ReportsOnlyDeliveriesThatAreWhollyWritten) {
  writer.set_peer(Version::v5, 0);
  const Delivery first = encoded(message("a", "1"));
  const std::uint32_t charge = first.charge_bytes();
  hand_over({first, encoded(message("b", "2"))});
  stream.room = charge + 1;
  EXPECT_EQ(write(), Writer::Status::blocked);
  EXPECT_EQ(writer.unreported_bytes(), charge);
  writer.reported();
  stream.room = SIZE_MAX;
  EXPECT_EQ(write(), Writer::Status::written);
  EXPECT_EQ(writer.unreported_bytes(), charge);
  EXPECT_EQ(counters.messages_sent[0].value(), 2u);
}

TEST_F(WriterTest, SpellsATopicOutOnceAndThenSendsItsAlias) {
  writer.set_peer(Version::v5, 1);
  hand_over({encoded(message("a/long/topic", "1")), encoded(message("a/long/topic", "2")),
             encoded(message("another", "3"))});
  EXPECT_EQ(write(), Writer::Status::written);
  EXPECT_EQ(packets(), (std::vector<std::string>{"a/long/topic=1", "a/long/topic=2", "another=3"}));
  const std::string bytes(stream.taken.begin(), stream.taken.end());
  EXPECT_EQ(bytes.find("a/long/topic", bytes.find("a/long/topic") + 1), std::string::npos);
}

TEST_F(WriterTest, SpellsATopicOutAgainIfThePacketThatIntroducedItsAliasWasNotSent) {
  writer.set_peer(Version::v5, 8);
  hand_over({encoded(message("a/long/topic", "1")), encoded(message("b/long/topic", "2"))});
  stream.room = 5;  // inside the first packet
  EXPECT_EQ(write(), Writer::Status::blocked);
  stream.room = SIZE_MAX;
  EXPECT_EQ(write(), Writer::Status::written);
  EXPECT_EQ(packets(), (std::vector<std::string>{"a/long/topic=1", "b/long/topic=2"}));
}

TEST_F(WriterTest, EncodesForTheVersionOfItsPeer) {
  writer.set_peer(Version::v3_1_1, 0);
  hand_over({encoded(message("a", "1", Version::v5))});
  EXPECT_EQ(write(), Writer::Status::written);
  EXPECT_EQ(stream.taken, (Bytes{0x30, 4, 0, 1, 'a', '1'}));
}

TEST_F(WriterTest, GathersManySmallPacketsIntoOneWrite) {
  writer.set_peer(Version::v3_1_1, 0);
  std::vector<broker::HandoverItem> deliveries;
  for (int i = 0; i < 1000; ++i) deliveries.push_back(as_is(message("a", "1", Version::v3_1_1)));
  hand_over(std::move(deliveries));
  EXPECT_EQ(write(), Writer::Status::written);
  EXPECT_EQ(stream.writes, 1u);
  EXPECT_EQ(packets(Version::v3_1_1).size(), 1000u);
}

TEST_F(WriterTest, GivesItsHandoverBack) {
  writer.set_peer(Version::v5, 0);
  hand_over({encoded(message("a", "1"))});
  EXPECT_EQ(write(), Writer::Status::written);
  EXPECT_TRUE(outbox->staged().empty());  // the spare, cleared
  EXPECT_GT(outbox->staged().deliveries.capacity(), 0u);
}

}  // namespace
}  // namespace millrace::server
