// What strangers make the server hold stays within its limits: the ledger counts it, and what can be
// given up goes before anybody else is harmed. Each attack here is one that was once seen to work.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/broker/ledger.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::PacketType;
using protocol::ReasonCode;
using protocol::Version;

constexpr std::uint64_t mib = 1 << 20;

const std::string kilobyte(1024, 'x');
const std::string large(256 * 1024, 'x');

ProcessorLimits limits_of(std::uint64_t memory_bytes) {
  ProcessorLimits limits;
  limits.memory_bytes = memory_bytes;
  return limits;
}

class Memory : public ::testing::Test {
 protected:
  Memory() : world(limits_of(16 * mib)) {
    world.processor.report_memory([this](const MemoryEvent& event) { events.push_back(event); });
  }

  const ProcessorStats& stats() const { return world.processor.stats(); }
  const Ledger& ledger() const { return world.processor.ledger(); }
  std::uint64_t dropped(Drop why) const {
    return stats().dropped[static_cast<std::size_t>(why)].value();
  }
  // The ledger is looked at, and what must go has gone.
  void look() { world.advance_ms(3); }
  // As by a front-end, which nobody can take away.
  std::vector<Message> hold_until_scarce() {
    std::vector<Message> held;
    while (ledger().total() < ledger().scarce_bytes()) {
      held.push_back(message("b", large));
      world.processor.update_ledger();
    }
    return held;
  }
  bool exists(const std::string& client_id) const {
    return world.processor.find_session(client_id) != nullptr;
  }
  Peer& offline(const std::string& client_id, const std::string& filter) {
    return world.peer(client_id)
        .connect(true, never_expires)
        .subscribe(filter, 1, Mode::every)
        .close();
  }
  // A healthy client hears itself.
  void expect_served(Peer& client) {
    const std::size_t before = client.got.size();
    client.publish("healthy", "v");
    EXPECT_EQ(client.read().got.size(), before + 1);
  }
  Peer& healthy_client() { return world.peer("healthy").connect().subscribe("healthy"); }

  World world;
  std::vector<MemoryEvent> events;
};

TEST(BufferBytes, CountAMessageOnceHoweverManyHoldIt) {
  const std::uint64_t before = BufferBytes::total();
  Message first = message("a", large);
  const std::uint64_t one = BufferBytes::total() - before;
  EXPECT_GE(one, large.size());
  EXPECT_LE(one, large.size() + 100);
  const std::vector<Message> holders(1000, first);
  EXPECT_EQ(BufferBytes::total() - before, one);
}

TEST_F(Memory, OfASubscriberThatNeverAcknowledgesIsAPartOfItsSession) {
  ProcessorLimits limits;
  limits.session_bytes = 8 * mib;
  limits.queue_bytes = 2 * mib;
  World small(limits);
  Peer& reader = small.peer("reader", Version::v5);
  reader.connect(true, never_expires).subscribe("a", 1, Mode::every);
  Peer& writer = small.peer("writer").connect();
  for (int i = 0; i < 200; ++i) {
    writer.publish("a", large, 1);
    reader.read();
  }
  const Session& session = *small.processor.find_session("reader");
  EXPECT_LE(session.inflight.bytes(), limits.session_bytes / 2 + large.size() + 100);
  EXPECT_GE(session.inflight.bytes(), limits.session_bytes / 4);
  EXPECT_LE(session.held_bytes(), limits.session_bytes);
  // It goes on as soon as it acknowledges.
  for (std::size_t i = 0; i < reader.got.size(); ++i) {
    reader.acknowledge(PacketType::puback, reader.got[i].packet_id);
    reader.read();
  }
  EXPECT_TRUE(session.inflight.empty());
  EXPECT_TRUE(session.pending.empty());
  EXPECT_EQ(session.inflight.bytes(), 0u);
}

TEST_F(Memory, IsTakenFromTheLargestOfflineQueueFirst) {
  Peer& healthy = healthy_client();
  offline("large", "a");
  offline("small", "b");
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 10; ++i) writer.publish("b", kilobyte, 1);
  for (int i = 0; i < 80; ++i) {
    writer.publish("a", large + std::to_string(i), 1);
    look();
    ASSERT_LT(ledger().total(), ledger().bytes_max() + large.size());
  }
  ASSERT_EQ(events.size(), 1u) << "one session, once";
  EXPECT_EQ(events[0].client_id, "large");
  EXPECT_FALSE(events[0].ended);
  EXPECT_EQ(stats().memory_sessions_shed.value(), 1u);
  EXPECT_GT(dropped(Drop::memory), 0u);
  EXPECT_EQ(world.processor.find_session("small")->pending.size(), 10u);
  // What is left is the newest.
  Peer& back = world.peer("large").connect(false, never_expires).read();
  ASSERT_FALSE(back.got.empty());
  EXPECT_EQ(back.got.back().payload, large + "79");
  EXPECT_LT(back.got.size(), 60u);
  expect_served(healthy);
}

TEST_F(Memory, ThatIsScarceRefusesNewSessionsUntilItIsNot) {
  Peer& hoard = world.peer("hoard", Version::v5);
  hoard.connect(true, never_expires).subscribe("a", 1, Mode::every);
  std::vector<Message> held = hold_until_scarce();
  look();
  ASSERT_EQ(ledger().level(), MemoryLevel::scarce);
  Peer& refused = world.peer("new").connect();
  refused.take();
  EXPECT_EQ(refused.closed, ReasonCode::quota_exceeded);
  EXPECT_EQ(stats().memory_refusals.value(), 1u);
  hoard.close();
  Peer& back = world.peer("hoard", Version::v5).connect(false, never_expires);
  back.take();
  EXPECT_EQ(back.session_present, true) << "who has a session may come back to it";

  held.clear();
  look();
  EXPECT_EQ(ledger().level(), MemoryLevel::plenty);
  Peer& again = world.peer("new").connect();
  again.take();
  EXPECT_EQ(again.session_present, false);
}

TEST_F(Memory, ThatIsScarceRefusesNewSubscriptionsAndKeepsThoseThatAreThere) {
  Peer& client = world.peer("client", Version::v5).connect().subscribe("a", 1);
  const std::vector<Message> held = hold_until_scarce();
  look();
  client.subscribe("b", 1).subscribe("a", 0).read();
  ASSERT_EQ(client.control.size(), 3u);
  EXPECT_EQ(std::get<protocol::Suback>(client.control[1]).reasons[0], ReasonCode::quota_exceeded);
  EXPECT_EQ(std::get<protocol::Suback>(client.control[2]).reasons[0], ReasonCode::success);
  client.publish("a", "v").read();
  EXPECT_EQ(client.payloads(), std::vector<std::string>{"v"});
}

TEST_F(Memory, ThatIsUsedUpEndsTheSessionThatHoldsMost) {
  Peer& healthy = healthy_client();
  std::vector<Peer*> readers;
  for (int i = 0; i < 4; ++i) {
    readers.push_back(&world.peer("reader" + std::to_string(i), Version::v5));
    readers.back()->connect(true, never_expires);
    readers.back()->subscribe("a" + std::to_string(i), 1, Mode::every);
  }
  Peer& writer = world.peer("writer").connect();
  for (int round = 0; round < 40; ++round) {
    for (std::size_t i = 0; i < readers.size(); ++i) {
      // The first two get twice as much. Nobody acknowledges.
      for (int times = i < 2 ? 2 : 1; times-- > 0;) {
        writer.publish("a" + std::to_string(i), large, 1);
        if (!readers[i]->closed) readers[i]->read();
        look();
      }
    }
    ASSERT_LT(ledger().total(), ledger().bytes_max() + mib);
  }
  EXPECT_GE(stats().memory_sessions_ended.value(), 1u);
  ASSERT_FALSE(events.empty());
  EXPECT_TRUE(events[0].ended);
  EXPECT_EQ(events[0].client_id.substr(0, 6), "reader");
  EXPECT_FALSE(exists(events[0].client_id));
  expect_served(healthy);
}

// QoS 0: each holds what its credit allows, and nothing waits.
TEST_F(Memory, ThatStalledReadersHoldWithinTheirCreditIsTakenBack) {
  Peer& healthy = healthy_client();
  Peer& writer = world.peer("writer").connect();
  std::vector<Peer*> stalled;
  for (int i = 0; i < 100; ++i) {
    const std::string topic = "a" + std::to_string(i);
    stalled.push_back(&world.peer("stalled" + topic).connect().subscribe(topic));
    writer.publish(topic, large + topic);
    look();
    for (Peer* one : stalled) {
      if (!exists(one->client_id)) one->take();  // its I/O thread lets go of what it cannot write
    }
    ASSERT_LT(ledger().total(), ledger().bytes_max() + 2 * large.size());
  }
  EXPECT_GT(stats().memory_sessions_ended.value(), 10u);
  expect_served(healthy);
}

// A session is listed by what it held when that was noted, and may hold less now.
TEST_F(Memory, IsTakenFromThoseWhoHoldItNow) {
  for (int i = 0; i < 20; ++i) {
    ConnectRequest::Will will{message("w", large), 0};
    world.peer("small" + std::to_string(i)).connect(true, never_expires, std::move(will)).close();
  }
  for (int i = 0; i < 30; ++i) {
    Peer& large_one = world.peer("large" + std::to_string(i)).connect(true, never_expires);
    large_one.subscribe(std::string(40'000, 'f') + std::to_string(i), 1).close();
  }
  const std::vector<Message> held = hold_until_scarce();
  for (int i = 0; i < 10; ++i) look();
  ASSERT_FALSE(events.empty());
  for (const MemoryEvent& event : events) EXPECT_EQ(event.client_id.substr(0, 5), "large");
}

TEST_F(Memory, OfWillsIsTakenBackFromThoseWhoHaveGone) {
  Peer& healthy = healthy_client();
  for (int i = 0; i < 100; ++i) {
    ConnectRequest::Will will{message("w", large), 1'000'000};
    world.peer("gone" + std::to_string(i)).connect(true, never_expires, std::move(will)).close();
    look();
    ASSERT_LT(ledger().total(), ledger().bytes_max());
  }
  EXPECT_GT(stats().memory_sessions_ended.value(), 0u);
  Peer& fresh = world.peer("new").connect();
  fresh.take();
  EXPECT_EQ(fresh.session_present, false) << "there is room again";
  expect_served(healthy);
}

TEST_F(Memory, OfIdentifiersAndFiltersIsCountedAndTakenBack) {
  Peer& healthy = healthy_client();
  const std::string long_name(60'000, 'i');
  for (int i = 0; i < 300; ++i) {
    Peer& stranger = world.peer(long_name + std::to_string(i)).connect(true, never_expires);
    stranger.subscribe(long_name + "/" + std::to_string(i), 1).close();
    look();
    ASSERT_LT(ledger().total(), ledger().bytes_max());
  }
  EXPECT_GT(ledger().bytes(Holding::sessions), 20 * long_name.size());
  EXPECT_GT(ledger().bytes(Holding::subscriptions), 20 * long_name.size());
  EXPECT_GT(stats().memory_sessions_ended.value(), 0u);
  expect_served(healthy);
}

TEST_F(Memory, OfOneClientsFiltersHasALimit) {
  ProcessorLimits limits;
  limits.session_bytes = 4 * mib;
  World small(limits);
  Peer& client = small.peer("client", Version::v5).connect();
  const std::string long_name(60'000, 'f');
  for (int i = 0; i < 20; ++i) client.subscribe(long_name + std::to_string(i), 1);
  client.read();
  EXPECT_EQ(std::get<protocol::Suback>(client.control[0]).reasons[0], ReasonCode::granted_qos1);
  EXPECT_EQ(std::get<protocol::Suback>(client.control[19]).reasons[0], ReasonCode::quota_exceeded);
  EXPECT_LE(small.processor.find_session("client")->subscriptions.read().memory_bytes, mib);
}

TEST_F(Memory, OfManyOfflineReadersOfEverythingIsWithinTheLimit) {
  Peer& healthy = healthy_client();
  for (int i = 0; i < 1000; ++i) offline("reader" + std::to_string(i), "#");
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 300; ++i) {
    writer.publish("t", "sixteen bytes...", 1);
    if (i % 10 == 0) look();
    ASSERT_LT(ledger().total(), ledger().bytes_max());
  }
  EXPECT_GT(dropped(Drop::memory), 0u);
  // The newest is there for each of those that were looked at.
  Peer& back = world.peer("reader999").connect(false, never_expires).read();
  EXPECT_EQ(back.got.back().payload, "sixteen bytes...");
  expect_served(healthy);
}

TEST_F(Memory, OfSlowReadersOfNewestValuesIsCountedWithItsEntries) {
  for (int i = 0; i < 20; ++i) {
    world.peer("slow" + std::to_string(i)).connect().subscribe("#", 0, Mode::latest);
  }
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 5000; ++i) {
    writer.publish("topic/" + std::to_string(i), "v");
    if (i % 10 == 0) look();
    ASSERT_LT(ledger().total(), ledger().bytes_max() + mib);
  }
  EXPECT_GT(ledger().bytes(Holding::queues), 4 * ledger().bytes(Holding::messages));
}

TEST_F(Memory, OfCachedRoutesIsWithinItsBudget) {
  ProcessorLimits limits;
  limits.routes_bytes = mib;
  World small(limits);
  for (int i = 0; i < 200; ++i) small.peer("reader" + std::to_string(i)).connect().subscribe("#");
  Peer& writer = small.peer("writer").connect();
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 300; ++i) writer.publish("topic/" + std::to_string(i), "v");
  }
  small.processor.update_ledger();
  EXPECT_LE(small.processor.ledger().bytes(Holding::routes),
            mib + 200 * sizeof(RouteTarget) + 1000);
  EXPECT_GT(small.processor.stats().routes_dropped.value(), 0u);
  // A route that is used stays.
  const std::uint64_t before = small.processor.stats().routes_computed.value();
  for (int i = 0; i < 100; ++i) {
    writer.publish("hot", "v").publish("topic/" + std::to_string(i), "v");
  }
  EXPECT_EQ(small.processor.stats().routes_computed.value() - before, 101u);
}

// What makes it scarce may stay for long; to route each message anew meanwhile would take the time
// of everybody.
TEST_F(Memory, ThatIsScarceLeavesTheRoutesInUse) {
  for (int i = 0; i < 20; ++i) {
    world.peer("reader" + std::to_string(i)).connect().subscribe("hot");
  }
  Peer& writer = world.peer("writer").connect();
  writer.publish("hot", "v");
  const std::vector<Message> held = hold_until_scarce();
  look();
  ASSERT_EQ(ledger().level(), MemoryLevel::scarce);
  const std::uint64_t before = stats().routes_computed.value();
  for (int i = 0; i < 50; ++i) {
    writer.publish("hot", "v");
    look();
  }
  ASSERT_EQ(ledger().level(), MemoryLevel::scarce);
  EXPECT_EQ(stats().routes_computed.value(), before);
  EXPECT_EQ(dropped(Drop::slot_evicted), 0u);
}

// One list for all the subscriptions of a client that match, in each topic's route.
TEST_F(Memory, OfCachedIdentifiersIsWithinTheBudgetToo) {
  ProcessorLimits limits;
  limits.routes_bytes = mib;
  limits.identifiers_in_one_copy = true;
  World small(limits);
  Peer& reader = small.peer("reader", Version::v5).connect();
  constexpr std::uint32_t count = 1000;
  for (std::uint32_t i = 0; i < count; ++i) {
    SubscriptionRequest wanted;
    wanted.filter = "#";
    wanted.name = "$share" + std::to_string(i) + "#";  // of which the filter is the end
    reader.subscribe(wanted, i + 1);
  }
  Peer& writer = small.peer("writer").connect();
  for (int i = 0; i < 1000; ++i) {
    writer.publish("topic/" + std::to_string(i), "v");
    reader.read();
  }
  EXPECT_EQ(reader.got.back().identifiers.size(), count);
  small.processor.update_ledger();
  const std::uint64_t routes = small.processor.ledger().bytes(Holding::routes);
  EXPECT_GT(routes, mib / 2);
  EXPECT_LE(routes, mib + 2 * count * sizeof(std::uint32_t) + 1000 * 200);
  EXPECT_GT(small.processor.stats().routes_dropped.value(), 500u);
}

// --- The session of a link to another broker ---

class MemoryOfALink : public Memory {
 protected:
  static constexpr std::uint16_t origin = 3;

  // Its messages have their acknowledgement when the link's peer has them.
  Peer& link() {
    Peer& peer = world.peer("link", Version::v5);
    peer.origin = origin;
    peer.figures = figures;
    return peer;
  }
  static SubscriptionRequest confirming() {
    SubscriptionRequest wanted;
    wanted.name = wanted.filter = "a";
    wanted.mode = Mode::every;
    wanted.qos = 1;
    wanted.no_local = true;
    wanted.confirms = true;
    return wanted;
  }
  // What a publisher was told, since the last call.
  static std::vector<ReasonCode> told(Peer& publisher) {
    std::vector<ReasonCode> reasons;
    publisher.read();
    for (const protocol::Packet& packet : std::exchange(publisher.control, {})) {
      if (const auto* puback = std::get_if<protocol::Puback>(&packet)) {
        reasons.push_back(puback->reason);
      }
    }
    return reasons;
  }

  const std::shared_ptr<SpoolFigures> figures = std::make_shared<SpoolFigures>();
};

// Nobody would make it anew before the link is up again, and what is published meanwhile would be
// acknowledged though it does not wait for the link.
TEST_F(MemoryOfALink, DoesNotEndItsSession) {
  Peer& there = link().connect(true, never_expires).subscribe(confirming());
  Peer& writer = world.peer("writer", Version::v5).connect();
  for (int i = 0; i < 100 && !ledger().is_scarce(); ++i) {
    writer.publish("a", large, 1);
    there.read();  // its peer does not acknowledge
    look();
  }
  ASSERT_EQ(ledger().level(), MemoryLevel::scarce);
  look();
  EXPECT_TRUE(exists("link")) << "with a connection";
  EXPECT_FALSE(there.closed);
  there.close();
  for (int i = 0; i < 3; ++i) look();
  ASSERT_TRUE(exists("link")) << "without one";
  writer.publish("a", "v", 1);
  EXPECT_TRUE(told(writer).empty());

  std::vector<Message> held;
  while (ledger().total() < ledger().bytes_max() + large.size()) {
    held.push_back(message("b", large));
    world.processor.update_ledger();
  }
  for (int i = 0; i < 3; ++i) look();
  ASSERT_EQ(ledger().level(), MemoryLevel::exhausted);
  ASSERT_TRUE(exists("link"));
  writer.publish("a", "v", 1);
  EXPECT_EQ(told(writer), std::vector<ReasonCode>{ReasonCode::quota_exceeded});
  EXPECT_EQ(stats().memory_sessions_ended.value(), 0u);
}

TEST_F(MemoryOfALink, IsTakenFromWhatWaitsForIt) {
  link().connect(true, never_expires).subscribe(confirming()).close();
  Peer& writer = world.peer("writer", Version::v5).connect();
  for (int i = 0; i < 80; ++i) {
    writer.publish("a", large, 1);
    look();
    ASSERT_LT(ledger().total(), ledger().bytes_max() + large.size());
  }
  const std::uint64_t gone = dropped(Drop::memory);
  EXPECT_GT(gone, 0u);
  EXPECT_EQ(figures->dropped[static_cast<std::size_t>(Drop::memory)].value(), gone);
  EXPECT_EQ(told(writer), std::vector<ReasonCode>(gone, ReasonCode::quota_exceeded));
  EXPECT_EQ(figures->messages.value(), 80 - gone);
}

TEST_F(MemoryOfALink, ThatIsScarceRefusesNeitherItsSessionNorWhatItSubscribesTo) {
  Peer& writer = world.peer("writer", Version::v5).connect();
  const std::vector<Message> held = hold_until_scarce();
  look();
  ASSERT_TRUE(ledger().is_scarce());
  Peer& there = link().connect(true, never_expires).subscribe(confirming()).read();
  EXPECT_FALSE(there.closed);
  EXPECT_EQ(std::get<protocol::Suback>(there.control.at(0)).reasons.at(0),
            ReasonCode::granted_qos1);
  writer.publish("a", "v", 1);
  EXPECT_EQ(there.read().payloads(), std::vector<std::string>{"v"});
  EXPECT_TRUE(told(writer).empty());
}

TEST_F(Memory, OfReleasedQos2MessagesIsGivenBack) {
  Peer& writer = world.peer("writer", Version::v5).connect();
  const std::uint64_t before = ledger().bytes(Holding::sessions);
  for (std::uint16_t id = 1; id <= 100; ++id) {
    world.apply(publish_command(message("a", "v", 2, false, id), writer.outbox.get()));
  }
  EXPECT_EQ(ledger().bytes(Holding::sessions), before + 100 * PublisherAcks::received_bytes);
  for (std::uint16_t id = 1; id <= 100; ++id) writer.acknowledge(PacketType::pubrel, id);
  EXPECT_EQ(ledger().bytes(Holding::sessions), before);
}

}  // namespace
}  // namespace millrace::broker
