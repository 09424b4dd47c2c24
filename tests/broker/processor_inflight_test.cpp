// Messages at QoS 1 and 2 on their way: identifiers, acknowledgements, the Receive Maximum, and what
// is sent again.
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

TEST(Processor, AcknowledgesAndPassesAQoS2MessageOnOnce) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("a");
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "x", 2);
  --writer.next_packet_id;
  writer.publish("a", "x", 2);  // the same identifier again: a retransmission
  writer.send(command::Pubrel{1, {}});
  writer.read();
  EXPECT_THAT(reader.read().payloads(), ElementsAre("x"));
  ASSERT_EQ(writer.control.size(), 3u);
  EXPECT_EQ(protocol::packet_type(writer.control[0]), protocol::PacketType::pubrec);
  EXPECT_EQ(protocol::packet_type(writer.control[1]), protocol::PacketType::pubrec);
  EXPECT_EQ(protocol::packet_type(writer.control[2]), protocol::PacketType::pubcomp);
}

TEST(Processor, SendsAgainWhatWasNotAcknowledged) {
  World world;
  Peer& first = world.peer("reader").connect(false, 100).subscribe("a", 2, Mode::every);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1", 1).publish("a", "2", 2).publish("a", "3", 1);
  first.read();
  first.send(command::Puback{1, {}});
  first.send(command::Pubrec{2, {}});
  first.close();
  writer.publish("a", "4", 1).publish("a", "gone", 0);
  Peer& second = world.peer("reader").connect(false, 100);
  second.read();
  EXPECT_EQ(second.session_present, true);
  // Message 2 is released by PUBREL; 3 comes again; 4 was queued; QoS 0 is not kept.
  ASSERT_EQ(second.control.size(), 1u);
  EXPECT_EQ(std::get<protocol::Pubrel>(second.control[0]).packet_id, 2);
  EXPECT_THAT(second.payloads(), ElementsAre("3", "4"));
  EXPECT_TRUE(second.got[0].duplicate);
  EXPECT_FALSE(second.got[1].duplicate);
}

TEST(Processor, SendsAgainNoMoreAtOnceThanTheCreditAllows) {
  ProcessorLimits limits;
  limits.credit_bytes = 100;
  World world(limits);
  Peer& first = world.peer("reader").connect(false, 100).subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  const std::string payload(50, 'x');
  for (int i = 0; i < 10; ++i) writer.publish("a", std::to_string(i) + payload, 1);
  first.read();
  ASSERT_EQ(first.got.size(), 10u);
  first.close();
  writer.publish("a", "new", 1);
  Peer& second = world.peer("reader").connect(false, 100);
  second.take();
  EXPECT_LT(second.outbox->outstanding_bytes, 100u + 60u) << "the credit and one message";
  second.read();
  ASSERT_EQ(second.got.size(), 11u);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(second.got[i].payload, std::to_string(i) + payload);
  EXPECT_EQ(second.got.back().payload, "new") << "what is sent again goes first";
}

TEST(Processor, KeepsToTheReceiveMaximum) {
  World world;
  Peer& reader = world.peer("reader");
  reader.receive_maximum = 2;
  reader.connect().subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 5; ++i) writer.publish("a", std::to_string(i), 1);
  EXPECT_EQ(reader.read().got.size(), 2u);
  reader.send(command::Puback{1, {}});
  EXPECT_EQ(reader.read().got.size(), 3u);
  reader.send(command::Puback{3, {}});
  EXPECT_EQ(reader.read().got.size(), 4u);
}

// Five messages that were not acknowledged, for a client that is back and takes one at a time.
Peer& back_with_five_inflight(World& world, int qos) {
  Peer& before = world.peer("reader", Version::v5).connect(false, 100);
  before.subscribe("a", qos, Mode::every);
  Peer& writer = world.peer("writer").connect();
  for (int i = 1; i <= 5; ++i) writer.publish("a", std::to_string(i), 2);
  before.read().close();
  Peer& after = world.peer("reader", Version::v5);
  after.receive_maximum = 1;
  after.connect(false, 100).read();
  EXPECT_THAT(after.payloads(), ElementsAre("1"));
  return after;
}

TEST(Processor, DoesNotSendAgainWhatIsAcknowledgedBeforeItsTurn) {
  World world;
  Peer& reader = back_with_five_inflight(world, 1);
  // All in one batch: what is left of the list of what to send is longer than what is inflight.
  world.joins = [] { return true; };
  for (const std::uint16_t packet_id : {2, 4, 5}) reader.send(command::Puback{packet_id, {}});
  world.joins = {};
  reader.read();
  EXPECT_EQ(reader.got.size(), 1u) << "its Receive Maximum is used up";
  reader.send(command::Puback{1, {}});
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "3"));
  world.peer("other").connect().publish("a", "new", 1);
  reader.send(command::Puback{3, {}});
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "3", "new"));
}

TEST(Processor, DoesNotSendAgainWhatIsReceivedBeforeItsTurn) {
  World world;
  Peer& reader = back_with_five_inflight(world, 2);
  for (const std::uint16_t packet_id : {2, 4, 1}) reader.send(command::Pubrec{packet_id, {}});
  for (const std::uint16_t packet_id : {1, 4, 2}) reader.send(command::Pubcomp{packet_id, {}});
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "3"));
  reader.send(command::Pubrec{3, {}});
  reader.send(command::Pubcomp{3, {}});
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "3", "5"));
}

TEST(Processor, SendsNothingNewAheadOfWhatItSendsAgain) {
  World world;
  Peer& before = world.peer("reader", Version::v5).connect(false, 100);
  before.subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1", 1).publish("a", "2", 1);
  before.read().close();
  Peer& after = world.peer("reader", Version::v5);
  world.joins = [] { return true; };  // what is new comes in the batch of the CONNECT
  after.connect(false, 100);
  writer.publish("a", "3", 1);
  world.joins = {};
  EXPECT_THAT(after.read().payloads(), ElementsAre("1", "2", "3"));
}

TEST(Processor, DoesNotSendAgainWhatTheNewConnectionCannotTake) {
  World world;
  world.peer("reader", Version::v5).connect(false, 100).subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", std::string(100, 'x'), 1).publish("a", "small", 1);
  world.peers.front()->read().close();  // nothing is acknowledged
  Peer& again = world.peer("reader", Version::v5);
  again.packet_bytes_max = 30;
  EXPECT_THAT(again.connect(false, 100).read().payloads(), ElementsAre("small"));
  EXPECT_EQ(world.processor.stats().dropped[static_cast<int>(Drop::too_large)].value(), 1u);
  EXPECT_EQ(world.processor.stats().inflight.value(), 1u);
}

// --- Packet identifiers, and what acknowledges them ---

// [MQTT-2.2.1-4]
TEST(Processor, SkipsAnIdentifierWhoseAcknowledgementNeverComes) {
  World world;
  Peer& reader = world.peer("reader").connect(false, 100).subscribe("a", 1, Mode::every);
  Peer& writer = world.peer("writer").connect();
  constexpr std::uint16_t lost = 7;
  for (std::uint32_t i = 1; i <= InflightWindow::identifier_count + 100; ++i) {
    writer.next_packet_id = 1;
    writer.publish("a", std::to_string(i), 1);
    reader.take();
    ASSERT_EQ(reader.got.size(), 1u) << "message " << i << " did not come";
    const std::uint16_t packet_id = reader.got[0].packet_id;
    ASSERT_EQ(packet_id == lost, i == lost) << "message " << i;
    if (packet_id != lost) reader.send(command::Puback{packet_id, {}});
    reader.report_drained();
    reader.got.clear();
    writer.take();
    writer.control.clear();
  }
  EXPECT_EQ(world.processor.stats().inflight.value(), 1u);
  reader.close();
  Peer& back = world.peer("reader").connect(false, 100).read();
  EXPECT_THAT(back.payloads(), ElementsAre(std::to_string(lost)));
  back.send(command::Puback{lost, {}});
  EXPECT_EQ(world.processor.stats().inflight.value(), 0u);
}

// 3.4.2.1, 3.5.2.1: below 0x80 it has arrived, whoever wants it there.
TEST(Processor, TakesNoMatchingSubscribersForSuccess) {
  World world;
  Peer& reader = world.peer("reader", Version::v5).connect().subscribe("a", 2, Mode::every);
  Peer& writer = world.peer("writer").connect();
  writer.publish("a", "1", 1).publish("a", "2", 2);
  reader.read();
  ASSERT_EQ(reader.got.size(), 2u);
  reader.control.clear();
  reader.send(command::Puback{1, ReasonCode::no_matching_subscribers});
  reader.send(command::Pubrec{2, ReasonCode::no_matching_subscribers});
  reader.read();
  ASSERT_EQ(reader.control.size(), 1u);
  EXPECT_EQ(std::get<protocol::Pubrel>(reader.control[0]).reason, ReasonCode::success);
  reader.send(command::Pubcomp{2, {}});
  EXPECT_EQ(world.processor.stats().inflight.value(), 0u);
  EXPECT_FALSE(reader.closed);
}

// [MQTT-4.3.3-4]: PUBREL follows only a reason below 0x80.
TEST(Processor, AnswersAnErrorPubrecForAnUnknownIdentifierWithSilence) {
  World world;
  Peer& reader = world.peer("reader", Version::v5).connect();
  reader.send(command::Pubrec{9, ReasonCode::unspecified_error});
  EXPECT_TRUE(reader.read().control.empty());
  reader.send(command::Pubrec{9, {}});
  reader.read();
  ASSERT_EQ(reader.control.size(), 1u);
  EXPECT_EQ(std::get<protocol::Pubrel>(reader.control[0]).reason,
            ReasonCode::packet_identifier_not_found);
}

// [MQTT-3.3.2-5], [MQTT-3.3.2-6]: there is no lifetime left that it could be sent with.
TEST(Processor, SendsAnExpiredInflightMessageAgainAtQos2Alone) {
  for (const std::uint8_t qos : {1, 2}) {
    World world;
    Peer& reader = world.peer("reader", Version::v5);
    reader.connect(false, 100).subscribe("a", qos, Mode::every);
    world.apply(publish_command(expiring("a", 5, qos, world.now_ns)));
    ASSERT_EQ(reader.read().got.size(), 1u);
    reader.close();
    world.advance_ms(6000);
    const bool again = qos == 2;  // [MQTT-4.3.3-7]
    EXPECT_EQ(world.peer("reader", Version::v5).connect(false, 100).read().got.size(), again);
    EXPECT_EQ(world.processor.stats().inflight.value(), again);
    EXPECT_EQ(world.processor.stats().dropped[static_cast<int>(Drop::expired)].value(), !again);
  }
}

}  // namespace
}  // namespace millrace::broker
