// The life of a session: takeover, expiry, wills; and that a batch keeps the order of what is said.
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
using testing::IsEmpty;

TEST(Processor, TakesASessionOver) {
  World world;
  Peer& first = world.peer("same").connect(false, 100).subscribe("a", 1, Mode::every);
  Peer& second = world.peer("same").connect(false, 100);
  first.read();
  EXPECT_EQ(first.closed, ReasonCode::session_taken_over);
  second.read();
  EXPECT_EQ(second.session_present, true);
  first.publish("a", "stale", 1);  // a command of the old epoch
  first.subscribe("b");
  first.close();
  world.peer("writer").connect().publish("a", "fresh", 1).publish("b", "x");
  EXPECT_THAT(second.read().payloads(), ElementsAre("fresh"));
  EXPECT_EQ(world.processor.stats().stale_commands.value(), 2u);
  EXPECT_TRUE(world.processor.find_session("same")->connected());
}

TEST(Processor, EndsASessionWhenItExpires) {
  World world;
  world.peer("gone").connect(false, 2).subscribe("a", 1, Mode::every).close();
  world.advance_ms(1900);
  EXPECT_NE(world.processor.find_session("gone"), nullptr);
  world.advance_ms(200);
  EXPECT_EQ(world.processor.find_session("gone"), nullptr);
  EXPECT_EQ(world.processor.index().size(), 0u);
}

ConnectRequest::Will will(std::string_view payload, std::uint32_t delay_s) {
  return {message("will", payload), delay_s};
}

TEST(Processor, PublishesAWillUnlessTheClientSaidGoodbye) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("will");
  world.peer("a").connect(true, 0, will("a", 0)).close();
  world.peer("b").connect(true, 0, will("b", 0)).close(ReasonCode::normal_disconnection);
  world.peer("c").connect(true, 0, will("c", 0)).close(ReasonCode::disconnect_with_will_message);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("a", "c"));
}

TEST(Processor, DelaysAWillAndForgetsItWhenTheClientComesBack) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("will");
  world.peer("a", Version::v5).connect(true, 100, will("late", 5)).close();
  world.peer("b", Version::v5).connect(true, 100, will("never", 5)).close();
  world.peer("c", Version::v5).connect(true, 1, will("at the session's end", 5)).close();
  world.advance_ms(500);
  EXPECT_THAT(reader.read().payloads(), IsEmpty());
  world.peer("b", Version::v5).connect(false, 100);
  world.advance_ms(1000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("at the session's end"));
  world.advance_ms(5000);
  EXPECT_THAT(reader.read().payloads(), ElementsAre("at the session's end", "late"));
}

TEST(Processor, BeginsAWillsExpiryWhenItIsPublished) {
  World world;
  Peer& reader = world.peer("reader").connect().subscribe("will");
  world.peer("stays", Version::v5).connect(true, 0, {{expiring("will", 5, 0, world.now_ns), 0}});
  world.advance_ms(60'000);
  world.peers.back()->close();
  EXPECT_THAT(reader.read().payloads(), ElementsAre("expiring"));
}

// --- One batch ---

// All that `say` does is one batch.
template <class Say>
void in_one_batch(World& world, Say&& say) {
  bool more = true;
  world.joins = [&] { return more; };
  say();
  more = false;
  world.end_batch();
  world.joins = nullptr;
}

ConnectRequest::Will retained_will(std::string_view payload) {
  return {message("status", payload, 0, true), 0};
}

// [MQTT-3.1.4-3]: the takeover, and with it the will, is part of the new CONNECT.
TEST(Processor, PublishesATakeoversWillBeforeTheNewClientsFirstMessage) {
  World world;
  Peer& watcher = world.peer("watcher").connect().subscribe("status", 0, Mode::every);
  world.peer("device").connect(true, 0, retained_will("offline")).publish("status", "1", 0, true);
  in_one_batch(world, [&] {
    Peer& again = world.peer("device").connect(true, 0, retained_will("offline"));
    again.publish("status", "2", 0, true);
  });
  EXPECT_THAT(watcher.read().payloads(), ElementsAre("1", "offline", "2"));
  EXPECT_THAT(world.peer("late").connect().subscribe("status").read().payloads(), ElementsAre("2"));
}

TEST(Processor, PublishesALostConnectionsWillBeforeWhatTheClientSaysWhenItIsBack) {
  World world;
  Peer& watcher = world.peer("watcher").connect().subscribe("status", 0, Mode::every);
  Peer& lost = world.peer("device").connect(false, 100, retained_will("offline"));
  in_one_batch(world, [&] {
    lost.close();
    world.peer("device").connect(false, 100).publish("status", "back", 0, true);
  });
  EXPECT_THAT(watcher.read().payloads(), ElementsAre("offline", "back"));
}

TEST(Processor, PublishesTheWillOfASessionThatACleanStartEnds) {
  World world;
  Peer& watcher = world.peer("watcher").connect().subscribe("status", 0, Mode::every);
  ConnectRequest::Will delayed = retained_will("offline");
  delayed.delay_s = 50;
  world.peer("device", Version::v5).connect(false, 100, std::move(delayed)).close();
  in_one_batch(world, [&] {
    world.peer("device", Version::v5).connect(true).publish("status", "anew", 0, true);
  });
  EXPECT_THAT(watcher.read().payloads(), ElementsAre("offline", "anew"));
}

}  // namespace
}  // namespace millrace::broker
