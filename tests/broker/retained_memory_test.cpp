// Retained values stay within their limits, and those of one user leave room for others.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::ReasonCode;
using protocol::Version;

constexpr std::uint64_t mib = 1 << 20;
const std::string large(256 * 1024, 'x');

class Retained : public ::testing::Test {
 protected:
  static ProcessorLimits limits() {
    ProcessorLimits limits;
    limits.memory_bytes = 64 * mib;
    limits.slots.bytes_max = mib;
    return limits;
  }

  std::uint64_t dropped(Drop why) const {
    return world.processor.stats().dropped[static_cast<std::size_t>(why)].value();
  }
  // The ledger is looked at, and what must go has gone.
  void look() { world.advance_ms(3); }
  std::string stored(const std::string& topic) {
    Peer& reader = world.peer("reader of " + topic).connect();
    reader.subscribe(topic).read();
    return reader.got.empty() ? "" : reader.got[0].payload;
  }

  World world{limits()};
};

TEST_F(Retained, ValuesThatGrowStayWithinTheLimit) {
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 100; ++i) writer.publish("t/" + std::to_string(i), "v", 0, true);
  for (int i = 0; i < 100; ++i) writer.publish("t/" + std::to_string(i), large, 0, true);
  look();
  EXPECT_LE(world.processor.topics().bytes(), mib + large.size() + 100 * 300);
  EXPECT_GE(dropped(Drop::retained_refused), 95u);
  EXPECT_EQ(stored("t/0"), large);
  EXPECT_EQ(stored("t/99"), "v") << "what was refused left the value before it";
}

TEST_F(Retained, TopicsNewestValueMakesRoomThough) {
  Peer& writer = world.peer("writer").connect();
  for (int i = 0; i < 100; ++i) writer.publish("t/" + std::to_string(i), "v", 0, true);
  for (int i = 0; i < 100; ++i) writer.publish("t/" + std::to_string(i), large);
  look();
  EXPECT_LE(world.processor.topics().bytes(), mib + large.size());
  EXPECT_EQ(world.processor.topics().retained_count(), 100u);
  EXPECT_EQ(stored("t/0"), "v");
  Peer& latest = world.peer("latest").connect();
  latest.subscribe("t/0", 0, Mode::latest).subscribe("t/99", 0, Mode::latest).read();
  EXPECT_EQ(latest.payloads(), (std::vector<std::string>{"v", large}));
}

TEST_F(Retained, ValuesOfOneBatchStayWithinTheLimitTogether) {
  Peer& writer = world.peer("writer").connect();
  world.joins = [] { return true; };
  for (int i = 0; i < 100; ++i) writer.publish("t/" + std::to_string(i), large, 0, true);
  world.end_batch();
  world.joins = {};
  look();
  EXPECT_LE(world.processor.topics().bytes(), mib + large.size() + 100 * 300);
  EXPECT_GE(dropped(Drop::retained_refused), 95u);
}

TEST_F(Retained, MessageWithoutRoomIsRefusedWholeIfItsSenderCanBeTold) {
  Peer& reader = world.peer("reader").connect().subscribe("#");
  Peer& writer = world.peer("writer", Version::v5).connect();
  for (int i = 0; i < 8; ++i) writer.publish("t/" + std::to_string(i), large, 1, true);
  const std::size_t before = reader.read().got.size();
  EXPECT_LT(before, 8u);
  writer.take();
  const auto& puback = std::get<protocol::Puback>(writer.control.back());
  EXPECT_EQ(puback.reason, ReasonCode::quota_exceeded);
  writer.publish("victim", large, 2, true);
  writer.take();
  EXPECT_EQ(std::get<protocol::Pubrec>(writer.control.back()).reason, ReasonCode::quota_exceeded);
  EXPECT_EQ(reader.read().got.size(), before) << "nothing of it happened";
  EXPECT_TRUE(world.processor.find_session("writer")->deferred.read().received_qos2.empty());
  // A sender that cannot be told is heard.
  Peer& old = world.peer("old").connect();
  old.publish("victim", large, 1, true);
  EXPECT_EQ(reader.read().got.size(), before + 1);
}

TEST_F(Retained, ValuesOfOneUserLeaveRoomForOthers) {
  ProcessorLimits limits = Retained::limits();
  limits.slots.user_bytes_max = limits.slots.bytes_max / 4 * 3;
  World shared(limits);
  const auto client_of = [&](const std::string& user) -> Peer& {
    Peer& client = shared.peer(user, Version::v5);
    auto rights = new Rights;
    rights->owner = user;
    client.rights = RightsRef(rights);
    return client.connect();
  };
  Peer& greedy = client_of("greedy");
  for (int i = 0; i < 8; ++i) greedy.publish("g/" + std::to_string(i), large, 1, true);
  greedy.take();
  EXPECT_EQ(std::get<protocol::Puback>(greedy.control.back()).reason, ReasonCode::quota_exceeded);
  Peer& other = client_of("other");
  other.publish("o", large, 1, true);
  other.take();
  EXPECT_EQ(std::get<protocol::Puback>(other.control.back()).reason,
            ReasonCode::no_matching_subscribers);
  // What the greedy one clears is his again; what another one sets in its place is not his any more.
  other.publish("g/0", large, 1, true);
  for (const char* topic : {"g/1", "g/2"}) greedy.publish(topic, "", 1, true);
  greedy.publish("g/9", large, 1, true);
  greedy.take();
  EXPECT_EQ(std::get<protocol::Puback>(greedy.control.back()).reason,
            ReasonCode::no_matching_subscribers);
}

TEST_F(Retained, ValueCanBeReplacedOrClearedWithoutRoom) {
  Peer& writer = world.peer("writer", Version::v5).connect();
  for (int i = 0; i < 8; ++i) writer.publish("t/" + std::to_string(i), large, 1, true);
  writer.publish("t/0", std::string(large.size(), 'y'), 1, true);
  EXPECT_EQ(stored("t/0"), std::string(large.size(), 'y'));
  writer.publish("t/0", "", 1, true);
  EXPECT_EQ(stored("t/0"), "");
  writer.publish("new", "v", 1, true);
  EXPECT_EQ(stored("new"), "v");
}

}  // namespace
}  // namespace millrace::broker
