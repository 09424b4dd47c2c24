// The session of a link to another broker: what it gets and what it is told, where that differs from a
// client's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::ReasonCode;
using protocol::Version;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint16_t link_origin = 3;

Peer& link(World& world, std::uint16_t origin = link_origin) {
  Peer& peer = world.peer("link", Version::v5);
  peer.origin = origin;
  return peer;
}

// What a link receives carries its origin.
void bring(Peer& from, std::string_view topic, std::string_view payload, int qos = 0,
           bool retain = false, std::uint16_t packet_id = 0) {
  const Message what =
      message(topic, payload, qos, retain, packet_id, from.world.now_ns, Version::v5);
  what.buffer->origin = from.origin;
  from.world.apply(publish_command(what, from.outbox.get()));
}

SubscriptionRequest everything(Mode mode) {
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = "#";
  wanted.mode = mode;
  wanted.no_local = true;
  return wanted;
}

TEST(UpstreamSession, IsNotSentStoredValuesThatCameFromThere) {
  World world;
  Peer& before = link(world).connect();
  bring(before, "theirs/retained", "1", 0, true);
  bring(before, "theirs/newest", "2");
  world.peer("client").connect().publish("ours", "3", 0, true);
  before.close();

  Peer& back = link(world).connect().subscribe(everything(Mode::latest)).read();
  EXPECT_THAT(back.payloads(), ElementsAre("3"));
  // Everybody else is.
  Peer& client = world.peer("reader").connect().subscribe(everything(Mode::latest)).read();
  EXPECT_EQ(client.payloads().size(), 3u);
  Peer& another = link(world, link_origin + 1);
  another.client_id = "another link";
  another.connect().subscribe(everything(Mode::latest)).read();
  EXPECT_EQ(another.payloads().size(), 3u);
}

TEST(UpstreamSession, IsSentAStoredValueThatAClientHasReplaced) {
  World world;
  Peer& before = link(world).connect();
  bring(before, "t", "theirs", 0, true);
  world.peer("client").connect().publish("t", "ours", 0, true);
  before.close();
  Peer& back = link(world).connect().subscribe(everything(Mode::every)).read();
  EXPECT_THAT(back.payloads(), ElementsAre("ours"));
}

TEST(UpstreamSession, SubscribesWithoutAnAnswerWhenItNamesNoPacketIdentifier) {
  World world;
  Peer& peer = link(world).connect();
  peer.next_packet_id = 0;
  peer.subscribe(everything(Mode::every));
  peer.next_packet_id = 0;
  peer.unsubscribe("#").read();
  EXPECT_THAT(peer.control, IsEmpty());
  peer.next_packet_id = 1;
  peer.unsubscribe("#").read();  // it was subscribed, and is no more
  EXPECT_THAT(std::get<protocol::Unsuback>(peer.control.at(0)).reasons,
              ElementsAre(ReasonCode::no_subscription_existed));
}

// Only a server may say that there is no matching subscriber (MQTT 5.0, table 3-4).
TEST(UpstreamSession, AcknowledgesWhatNobodyHereReadsAsAClientDoes) {
  World world;
  Peer& peer = link(world).connect();
  bring(peer, "t", "1", 1, false, 1);
  bring(peer, "t", "2", 2, false, 2);
  peer.read();
  ASSERT_EQ(peer.control.size(), 2u);
  EXPECT_EQ(std::get<protocol::Puback>(peer.control[0]).reason, ReasonCode::success);
  EXPECT_EQ(std::get<protocol::Pubrec>(peer.control[1]).reason, ReasonCode::success);
}

TEST(UpstreamSession, TakesAnIdentifierAnewWhenTheUpstreamHasForgottenItsSession) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("t", 2, Mode::every);
  Peer& before = link(world).connect(false, 100);
  bring(before, "t", "first", 2, false, 7);
  before.close();
  Peer& same = link(world).connect(false, 100);
  bring(same, "t", "first", 2, false, 7);  // sent again: not delivered again
  same.close();
  Peer& anew = link(world);
  anew.peer_forgot = true;
  anew.connect(false, 100);
  bring(anew, "t", "another", 2, false, 7);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("first", "another"));
}

TEST(UpstreamSession, KeepsWhatWaitsWithinLimitsOfItsOwn) {
  ProcessorLimits limits;
  limits.queue_messages = 5;
  World world(limits);
  SubscriptionRequest all = everything(Mode::every);
  all.qos = 1;
  for (const auto overflow : {Overflow::drop_oldest, Overflow::drop_newest}) {
    Peer& peer = link(world);
    peer.queue = QueueLimits{2, 1 << 20, overflow};
    peer.connect(true, 100).subscribe(all).close();
    Peer& client = world.peer("client").connect().subscribe(all);
    client.close();
    Peer& writer = world.peer("writer").connect();
    for (const char* payload : {"1", "2", "3"}) writer.publish("t", payload, 1);
    Peer& back = link(world);
    back.queue = peer.queue;
    const bool oldest = overflow == Overflow::drop_oldest;
    EXPECT_THAT(back.connect(false).read().payloads(),
                ElementsAre(oldest ? "2" : "1", oldest ? "3" : "2"));
    back.close();
    writer.close();
  }
}

TEST(UpstreamSession, ShowsWhatWaitsAndWhatBecameOfIt) {
  World world;
  SubscriptionRequest values = everything(Mode::latest);
  values.filter = values.name = "latest/#";
  values.qos = 1;
  SubscriptionRequest all = everything(Mode::every);
  all.filter = all.name = "every/#";
  all.qos = 1;
  Peer& peer = link(world);
  peer.queue = QueueLimits{2, 1 << 20, Overflow::drop_oldest};
  peer.figures = std::make_shared<SpoolFigures>();
  const SpoolFigures& figures = *peer.figures;
  peer.connect(true, 100).subscribe(values).subscribe(all).close();
  EXPECT_EQ(figures.messages.value(), 0u);
  EXPECT_EQ(figures.since_ns.value(), 0u);
  Peer& writer = world.peer("writer").connect();
  world.now_ns += 1'000;
  const std::int64_t first_ns = world.now_ns;
  for (const char* payload : {"1", "2", "3"}) writer.publish("every/t", payload, 1);
  for (const char* payload : {"1", "2"}) writer.publish("latest/t", payload, 1);
  EXPECT_EQ(figures.messages.value(), 3u);
  EXPECT_GT(figures.bytes.value(), 0u);
  EXPECT_GE(static_cast<std::int64_t>(figures.since_ns.value()), first_ns);
  EXPECT_EQ(figures.dropped[static_cast<std::size_t>(Drop::queue_oldest)].value(), 1u);
  EXPECT_EQ(figures.conflated.value(), 1u);
  // Of other sessions nothing is counted here.
  Peer& slow = world.peer("slow").connect(true, 100).subscribe(values);
  slow.close();
  for (const char* payload : {"3", "4"}) writer.publish("latest/u", payload, 1);
  EXPECT_EQ(figures.messages.value(), 4u);
  EXPECT_EQ(figures.conflated.value(), 2u);
  Peer& back = link(world);
  back.figures = peer.figures;
  back.connect(false, 100).read();
  EXPECT_EQ(figures.messages.value(), 0u);
  EXPECT_EQ(figures.bytes.value(), 0u);
  EXPECT_EQ(figures.since_ns.value(), 0u);
}

TEST(UpstreamSession, IsTakenMoreFromThanItAskedFor) {
  ProcessorLimits limits;
  limits.receive_maximum = 2;
  World world(limits);
  Peer& reader = world.peer("reader").connect().subscribe("t", 2, Mode::every);
  Peer& peer = link(world).connect(true, 100);
  for (std::uint16_t id = 1; id <= 5; ++id) bring(peer, "t", std::to_string(id), 2, false, id);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("1", "2", "3", "4", "5"));
  EXPECT_FALSE(peer.read().closed);
}

TEST(UpstreamSession, LeavesNothingOfItsSpoolWhenItEnds) {
  World world;
  Peer& peer = link(world);
  peer.figures = std::make_shared<SpoolFigures>();
  const std::weak_ptr<SpoolFigures> figures = peer.figures;
  peer.connect(true, 100).subscribe(everything(Mode::every)).close();
  peer.figures.reset();
  EXPECT_FALSE(figures.expired()) << "the session is kept";
  world.peer("link", Version::v5).connect(false).close();  // takes it over, and ends it
  EXPECT_TRUE(figures.expired());
}

TEST(UpstreamSession, IsNotSentThemAfterARestartWithTheStoreEither) {
  World world;
  world.open_store();
  Peer& before = link(world).connect(false, 100).subscribe(everything(Mode::every));
  bring(before, "theirs", "1", 1, true, 1);
  world.peer("client").connect().publish("ours", "2", 1, true);
  world.restart();
  EXPECT_EQ(world.restored.retained, 2u);
  EXPECT_EQ(world.restored.sessions, 0u) << "what waits for a link is not kept";
  Peer& back = link(world).connect().subscribe(everything(Mode::every)).read();
  EXPECT_THAT(back.payloads(), ElementsAre("2"));
}

TEST(UpstreamSession, LeavesAnIdentifierForTheLinksOwnPackets) {
  InflightWindow window;
  Delivery delivery;
  delivery.message = message("t", "x", 1, false, 1);
  delivery.qos = 1;
  for (std::uint32_t i = 0; i < 2 * InflightWindow::identifier_count; ++i) {
    const std::uint16_t packet_id = window.add(delivery, 0);
    ASSERT_NE(packet_id, 65535);
    ASSERT_EQ(window.find(65535), nullptr);
    window.settle(*window.find(packet_id));
  }
}

TEST(Message, KeepsItsOriginInACopy) {
  MessageParts parts;
  parts.topic = "t";
  parts.origin = 5;
  const Message built = build_message(parts, 1);
  EXPECT_EQ(built.buffer->origin, 5);
  EXPECT_EQ(built.copy_to_keep().buffer->origin, 5);
}

}  // namespace
}  // namespace millrace::broker
