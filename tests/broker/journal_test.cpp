// What is there after the process was killed and another one has started.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/broker/journal_fixture.hpp"

namespace millrace::broker {
namespace {

using protocol::PacketType;
using testing::ElementsAre;
using testing::IsEmpty;

TEST_F(JournalTest, ASessionComesBackWithItsSubscriptions) {
  Peer& reader = durable("reader");
  SubscriptionRequest wanted;
  wanted.name = wanted.filter = "a/+";
  wanted.qos = 1;
  wanted.mode = Mode::every;
  wanted.retain_as_published = true;
  reader.subscribe(wanted, 7);
  reader.subscribe("gone", 1).unsubscribe("gone");
  durable("ended", 0).subscribe("a/#", 1);
  world.restart();
  EXPECT_EQ(world.restored.sessions, 1u);
  EXPECT_EQ(world.restored.subscriptions, 1u);
  EXPECT_EQ(world.restored.orphans, 0u);
  writer().publish("a/b", "x", 1, true);
  Peer& again = durable("reader").read();
  EXPECT_EQ(again.session_present, true);
  ASSERT_EQ(again.got.size(), 1u);
  EXPECT_EQ(again.got[0].payload, "x");
  EXPECT_EQ(again.got[0].qos, 1);
  EXPECT_TRUE(again.got[0].retain);
  EXPECT_THAT(again.got[0].identifiers, ElementsAre(7u));
}

TEST_F(JournalTest, WhatWaitedComesInOrderAndOnce) {
  durable("reader").subscribe("a", 2, Mode::every).close();
  Peer& sender = writer();
  for (int i = 0; i < 20; ++i) sender.publish("a", std::to_string(i), i % 3);
  for (int life = 0; life < 3; ++life) {
    world.restart();
    EXPECT_EQ(world.restored.messages, 13u);
  }
  Peer& reader = durable("reader").read();
  EXPECT_THAT(reader.payloads(),
              ElementsAre("1", "2", "4", "5", "7", "8", "10", "11", "13", "14", "16", "17", "19"));
  for (const Got& got : reader.got) EXPECT_FALSE(got.duplicate);
}

TEST_F(JournalTest, WhatWasSentIsSentAgainUnderItsIdentifierUnlessAcknowledged) {
  Peer& reader = durable("reader").subscribe("a", 2, Mode::every);
  Peer& sender = writer();
  for (int i = 1; i <= 4; ++i) sender.publish("a", std::to_string(i), 1 + i % 2);
  reader.read();
  ASSERT_EQ(reader.got.size(), 4u);
  for (const Got& got : reader.got) {
    if (got.payload == "2") reader.acknowledge(PacketType::puback, got.packet_id);
    if (got.payload == "3") reader.acknowledge(PacketType::pubrec, got.packet_id);
  }
  const std::vector<Got> before = reader.got;
  world.restart();
  Peer& again = durable("reader").read();
  EXPECT_THAT(again.payloads(), ElementsAre("1", "4"));
  for (const Got& got : again.got) {
    EXPECT_TRUE(got.duplicate);
    EXPECT_EQ(got.packet_id, std::find_if(before.begin(), before.end(), [&](const Got& one) {
                               return one.payload == got.payload;
                             })->packet_id);
  }
  ASSERT_EQ(again.control.size(), 1u);
  EXPECT_EQ(protocol::packet_type(again.control[0]), PacketType::pubrel);
  // An identifier that is in use is not given to another message.
  sender.world.peer("other").connect().publish("a", "5", 1);
  again.read();
  for (const Got& got : before) {
    if (got.payload != "2") {
      EXPECT_NE(again.got.back().packet_id, got.packet_id);
    }
  }
}

TEST_F(JournalTest, AMessageThatWaitedAndWasSentKeepsItsIdentifier) {
  durable("reader").subscribe("a", 1, Mode::every).close();
  Peer& sender = writer();
  sender.publish("a", "1", 1).publish("a", "2", 1).publish("a", "3", 1);
  Peer& reader = durable("reader").read();
  ASSERT_EQ(reader.got.size(), 3u);
  reader.acknowledge(PacketType::puback, reader.got[1].packet_id);
  world.restart();
  Peer& again = durable("reader").read();
  EXPECT_THAT(again.payloads(), ElementsAre("1", "3"));
  EXPECT_EQ(again.got[0].packet_id, reader.got[0].packet_id);
  EXPECT_EQ(again.got[1].packet_id, reader.got[2].packet_id);
  again.acknowledge(PacketType::puback, again.got[0].packet_id);
  again.acknowledge(PacketType::puback, again.got[1].packet_id);
  world.restart();
  EXPECT_EQ(world.restored.messages, 0u);
}

TEST_F(JournalTest, AQoS2MessageThatIsSentAgainIsNotPassedOnTwice) {
  durable("reader").subscribe("a", 2, Mode::every).close();
  Peer& sender = durable("sender");
  sender.publish("a", "x", 2);
  world.restart();
  Peer& again = durable("sender");
  again.publish("a", "x", 2).send(command::Pubrel{1, {}});
  world.restart();
  EXPECT_EQ(world.restored.messages, 1u);
  durable("sender").publish("a", "y", 2);  // the identifier is free
  EXPECT_THAT(durable("reader").read().payloads(), ElementsAre("x", "y"));
}

TEST_F(JournalTest, AWillIsPublishedByTheNextProcess) {
  durable("watcher").subscribe("will/#", 1, Mode::every).close();
  const auto will = [&](const char* topic, std::uint32_t delay_s) {
    return ConnectRequest::Will{message(topic, "gone", 1, false, 1), delay_s};
  };
  world.peer("now").connect(false, hour_s, will("will/now", 0));
  world.peer("later").connect(false, hour_s, will("will/later", 60));
  world.peer("parted").connect(false, hour_s, will("will/parted", 60)).close();
  world.peer("left")
      .connect(false, hour_s, will("will/left", 60))
      .close(protocol::ReasonCode::normal_disconnection);
  world.restart(30 * second_ns);
  Peer& watcher = durable("watcher").read();
  EXPECT_THAT(watcher.got, testing::SizeIs(1));
  world.advance_ms(31'000);  // since the connection went
  watcher.read();
  ASSERT_EQ(watcher.got.size(), 2u);
  EXPECT_EQ(watcher.got[1].topic, "will/parted");
  world.advance_ms(31'000);  // since the process went
  watcher.read();
  ASSERT_EQ(watcher.got.size(), 3u);
  EXPECT_EQ(watcher.got[2].topic, "will/later");
  for (const Got& got : watcher.got) {
    watcher.acknowledge(PacketType::puback, got.packet_id);
  }
  world.restart();
  EXPECT_THAT(durable("watcher").read().got, IsEmpty());
}

TEST_F(JournalTest, ASessionEndsAtItsTimeWhetherTheProcessRunsOrNot) {
  durable("short", 10).close();
  durable("long", 100).close();
  durable("connected", 10);
  durable("never", never_expires).close();
  world.restart(50 * second_ns);
  EXPECT_EQ(world.processor.find_session("short"), nullptr);
  EXPECT_NE(world.processor.find_session("long"), nullptr);
  EXPECT_NE(world.processor.find_session("connected"), nullptr);
  world.advance_ms(60'000);
  EXPECT_EQ(world.processor.find_session("long"), nullptr);
  EXPECT_EQ(world.processor.find_session("connected"), nullptr);
  EXPECT_NE(world.processor.find_session("never"), nullptr);
  world.restart();
  EXPECT_EQ(world.restored.sessions, 1u);
}

TEST_F(JournalTest, AMessageExpiresWhileTheProcessIsDown) {
  durable("reader").subscribe("a", 1, Mode::every).close();
  static constexpr std::uint8_t expiry[] = {0x02, 0, 0, 0, 100};
  MessageParts parts;
  parts.topic = "a";
  parts.qos = 1;
  parts.packet_id = 1;
  parts.properties.bytes = expiry;
  parts.properties.expiry_at = 0;
  Peer& sender = writer();
  world.apply(publish_command(build_message(parts, world.now_ns), sender.outbox.get()));
  world.restart(60 * second_ns);
  const Session* session = world.processor.find_session("reader");
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(session->pending.size(), 1u);
  world.restart(60 * second_ns);
  EXPECT_THAT(durable("reader").read().got, IsEmpty());
}

TEST_F(JournalTest, ASessionThatIsNotToOutliveItsConnectionIsForgotten) {
  durable("reader").subscribe("a", 1, Mode::every).close();
  writer().publish("a", "x", 1);
  world.peer("reader", protocol::Version::v5).connect(false, 0);
  world.restart();
  EXPECT_EQ(world.restored.sessions, 0u);
}

TEST_F(JournalTest, ACleanStartForgetsTheSessionBefore) {
  durable("reader").subscribe("a", 1, Mode::every).close();
  writer().publish("a", "x", 1);
  world.peer("reader", protocol::Version::v5).connect(true, hour_s);
  world.restart();
  EXPECT_EQ(world.restored.sessions, 1u);
  EXPECT_EQ(world.restored.subscriptions, 0u);
  EXPECT_EQ(world.restored.messages, 0u);
}

TEST(Journal, AQoS2MessageThatIsRefusedLeavesItsIdentifierFree) {
  ProcessorLimits limits;
  limits.slots.count_max = 1;
  World world(limits);
  world.open_store();
  world.peer("reader").connect(false, hour_s).subscribe("a", 2, Mode::every).close();
  Peer& sender = world.peer("sender", protocol::Version::v5).connect(false, hour_s);
  sender.publish("a", "x", 2, true).publish("b", "refused", 2, true);  // identifiers 1 and 2
  world.restart();
  Peer& again = world.peer("sender", protocol::Version::v5).connect(false, hour_s);
  again.next_packet_id = 2;
  again.publish("a", "y", 2);
  Peer& reader = world.peer("reader").connect(false, hour_s).read();
  EXPECT_THAT(reader.payloads(), ElementsAre("x", "y"));
}

TEST_F(JournalTest, OfTheLanesOfASessionTheOlderOneGoesFirst) {
  durable("reader").subscribe("a", 1, Mode::every).close();
  Peer& sender = writer();
  sender.publish("a", "1", 1).publish("a", "2", 1);
  SubscriptionRequest adaptive;
  adaptive.name = adaptive.filter = "a";
  adaptive.qos = 1;
  adaptive.mode = Mode::adaptive;
  Peer& between = world.peer("reader", protocol::Version::v5);
  between.receive_maximum = 1;
  between.connect(false, hour_s).subscribe(adaptive).close();
  sender.publish("a", "3", 1).publish("a", "4", 1);
  world.restart();
  EXPECT_THAT(durable("reader").read().payloads(), ElementsAre("1", "2", "3", "4"));
}

TEST_F(JournalTest, WhatWaitedInTheLifeBeforeGoesFirstInTheNextOneToo) {
  Peer& reader = world.peer("reader", protocol::Version::v5);
  reader.receive_maximum = 1;
  reader.connect(false, hour_s).subscribe("a", 1, Mode::every);
  Peer& sender = writer().publish("a", "1", 1).publish("a", "2", 1);
  reader.read().subscribe("b", 1, Mode::every);  // while "2" waits
  sender.publish("a", "3", 1);
  for (const char* payload : {"1", "2"}) {
    ASSERT_EQ(reader.read().got.back().payload, payload);
    reader.acknowledge(PacketType::puback, reader.got.back().packet_id);
  }
  reader.take();  // "3" is lost with the connection
  reader.close();
  sender.publish("a", "4", 1);
  world.restart();
  writer().publish("a", "5", 1);
  world.restart();
  EXPECT_THAT(durable("reader").read().payloads(), ElementsAre("3", "4", "5"));
}

TEST_F(JournalTest, WhatNobodyHoldsIsNotHeldAfterARestartEither) {
  // A value at QoS 1 that waits, and is replaced by one at QoS 0, goes with the connection.
  SubscriptionRequest wanted = limited("a", 100'000);
  wanted.qos = 1;
  wanted.name = "$latest/a";
  Peer& reader = durable("reader").subscribe(wanted);
  Peer& sender = writer();
  sender.publish("a", "sent", 1).publish("a", "held back", 1).publish("a", "newer", 0);
  reader.close();
  const std::size_t waits = world.processor.find_session("reader")->pending.lasting_size();
  const std::uint32_t inflight = world.processor.find_session("reader")->inflight.unsettled();
  world.restart();
  EXPECT_EQ(world.restored.messages, waits + inflight);
}

// What is written at the end alone.
TEST(WrittenState, HasSessionsWithAllThatTheyHoldAndRetainedMessages) {
  World world;
  const auto durable = [&](const char* name) -> Peer& {
    return world.peer(name, protocol::Version::v5).connect(false, hour_s);
  };
  Peer& reader = durable("reader");
  reader.subscribe("a/#", 2, Mode::every).subscribe("b", 1);
  durable("other").subscribe("a/#", 1, Mode::every).close();
  world.peer("plain").connect().subscribe("a/#", 1);
  Peer& sender = durable("sender");
  sender.publish("a/1", "sent at 1", 1).publish("a/1", "sent at 2", 2);
  reader.take();
  reader.close();
  sender.publish("a/1", "waits at 1", 1, true).publish("a/1", "waits at 2", 2);
  sender.publish("r", "retained", 0, true).publish("$SYS/x", "figures", 0, true);
  for (int life = 0; life < 3; ++life) {
    world.end_and_restart(second_ns);
    EXPECT_EQ(world.restored.sessions, 3u);
    EXPECT_EQ(world.restored.subscriptions, 3u);
    EXPECT_EQ(world.restored.messages, 8u);
    EXPECT_EQ(world.restored.retained, 2u);
    EXPECT_EQ(world.restored.orphans, 0u);
  }
  world.peer("plain").connect().publish("n", "newest");
  world.end_and_restart();
  EXPECT_EQ(world.restored.newest, 0u);
  world.peer("plain").connect().publish("n", "newest");
  world.end_and_restart(0, nullptr, true);
  EXPECT_EQ(world.restored.newest, 1u);
  Peer& again = durable("reader").read();
  EXPECT_EQ(again.session_present, true);
  EXPECT_THAT(again.payloads(), ElementsAre("sent at 1", "sent at 2", "waits at 1", "waits at 2"));
  // The identifiers of QoS 2 messages that were not released are known, too.
  Peer& publisher = durable("sender");
  world.apply(publish_command(message("a/1", "sent at 2", 2, false, 2, world.now_ns),
                              publisher.outbox.get()));
  again.read();
  EXPECT_EQ(again.got.size(), 4u);
}

// Whatever is dropped, replaced or acknowledged leaves the store too.
TEST(Journal, HasExactlyWhatTheQueuesHave) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    ProcessorLimits limits;
    limits.queue_messages = 6;
    limits.credit_bytes = limits.credit_max_bytes = 300;
    limits.credit_latest_bytes = 100;
    limits.adaptive_backlog_bytes = 400;
    World world(limits);
    world.open_store({.renumber_at = 40});
    std::mt19937_64 random(seed);
    Peer* reader = &world.peer("reader", protocol::Version::v5).connect(false, hour_s);
    Peer& sender = world.peer("writer").connect();
    for (int step = 0; step < 400; ++step) {
      const std::string topic = "a/" + std::to_string(random() % 4);
      const auto qos = static_cast<std::uint8_t>(1 + random() % 2);
      switch (random() % 12) {
        case 0: {
          SubscriptionRequest wanted = limited(random() % 2 == 0 ? "a/+" : "a/1", 50);
          wanted.mode = static_cast<Mode>(random() % 3);
          wanted.qos = wanted.mode == Mode::latest ? 1 : qos;
          if (wanted.mode != Mode::latest) wanted.shape = nullptr;
          wanted.name = (wanted.mode == Mode::latest ? "$latest/" : "") + wanted.filter;
          reader->subscribe(wanted, 1 + random() % 2);
          break;
        }
        case 1:
          reader->unsubscribe(random() % 2 == 0 ? "a/+" : "$latest/a/1");
          break;
        case 2:
          reader->close();
          reader = &world.peer("reader", protocol::Version::v5).connect(false, hour_s);
          break;
        case 3:
          world.advance_ms(static_cast<std::int64_t>(random() % 100));
          break;
        case 4:
        case 5:
          reader->take();
          reader->report_drained(random() % 2 == 0);
          for (const Got& got : std::exchange(reader->got, {})) {
            if (random() % 3 == 0) continue;
            reader->acknowledge(got.qos == 2 ? PacketType::pubrec : PacketType::puback,
                                got.packet_id);
            if (got.qos == 2 && random() % 2 == 0) {
              reader->acknowledge(PacketType::pubcomp, got.packet_id);
            }
          }
          break;
        default:
          sender.publish(topic, std::string(random() % 40, 'x'), qos);
      }
      if (reader->closed) FAIL() << "closed";
    }
    const Session& session = *world.processor.find_session("reader");
    std::size_t entries = session.pending.lasting_size();
    const std::uint32_t inflight = session.inflight.unsettled();
    const std::uint32_t subscriptions = session.subscriptions.read().of.size();
    reader->close();  // what rate limits held back waits with the rest
    entries = world.processor.find_session("reader")->pending.lasting_size();
    world.restart();
    ASSERT_EQ(world.restored.messages, entries + inflight) << seed;
    ASSERT_EQ(world.restored.subscriptions, subscriptions) << seed;
    const Session& again = *world.processor.find_session("reader");
    ASSERT_EQ(again.pending.lasting_size(), entries) << seed;
    ASSERT_EQ(again.inflight.unsettled(), inflight) << seed;
  }
}

}  // namespace
}  // namespace millrace::broker
