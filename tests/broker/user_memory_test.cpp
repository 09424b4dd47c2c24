// What all clients of one user make the server hold has a limit of its own, so that nobody takes the
// memory of all by being very many.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/broker/users.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::PacketType;
using protocol::ReasonCode;
using protocol::Version;

constexpr std::uint64_t mib = 1 << 20;
constexpr std::uint32_t for_ever = 0xFFFFFFFF;
const std::string large(256 * 1024, 'x');

class UserMemory : public ::testing::Test {
 protected:
  static ProcessorLimits limits(std::uint64_t user_bytes = 4 * mib) {
    ProcessorLimits limits;
    limits.user_bytes = user_bytes;
    return limits;
  }
  Peer& peer(const std::string& user, const std::string& client_id) {
    Peer& made = world.peer(client_id, Version::v5);
    made.rights = users.rights_of(user);
    return made;
  }
  Peer& offline(const std::string& user, const std::string& client_id, const std::string& filter) {
    Peer& made = peer(user, client_id).connect(true, for_ever);
    return made.subscribe(filter, 1, Mode::every).close();
  }
  std::uint64_t held_by(const std::string& user) const {
    return world.processor.users().kib(user) * 1024;
  }
  std::uint64_t dropped(Drop why) const { return broker::dropped(world, why); }
  // So many clients of ann to whom messages wait, until she holds as much as she may.
  void fill() {
    for (int i = 0; i < 10; ++i) offline("ann", "ann" + std::to_string(i), "a");
    Peer& writer = peer("bob", "writer").connect();
    for (int i = 0; i < 40; ++i) writer.publish("a", large + std::to_string(i), 1);
  }

  const Users users{{{"ann", {}}, {"bob", {}}}};
  World world{limits()};
};

TEST_F(UserMemory, IsThatOfAllItsSessions) {
  offline("ann", "ann1", "a");
  offline("ann", "ann2", "a");
  offline("bob", "bob1", "b");
  const std::uint64_t before = held_by("ann");
  peer("bob", "writer").connect().publish("a", large, 1);
  EXPECT_GE(held_by("ann") - before, 2 * large.size());
  EXPECT_LE(held_by("ann") - before, 2 * large.size() + 4096);
  EXPECT_LT(held_by("bob"), 10'000u);
}

TEST_F(UserMemory, StaysWithinItsLimitAndTheNewestIsKept) {
  fill();
  EXPECT_LE(held_by("ann"), 4 * mib + 10 * (large.size() + 4096));
  EXPECT_GT(dropped(Drop::user_memory), 0u);
  EXPECT_EQ(dropped(Drop::memory), 0u);
  Peer& back = peer("ann", "ann3").connect(false, for_ever).read();
  // Of whom holds too much one message at a time is sent.
  for (std::size_t i = 0; i < back.got.size(); ++i) {
    back.send(command::Puback{back.got[i].packet_id, ReasonCode::success});
    back.read();
  }
  ASSERT_FALSE(back.got.empty());
  EXPECT_TRUE(back.got.back().payload == large + "39");
}

TEST_F(UserMemory, ThatIsFullRefusesItsNewSessionsAndSubscriptionsAndNobodyElses) {
  fill();
  Peer& refused = peer("ann", "new").connect();
  refused.take();
  EXPECT_EQ(refused.closed, ReasonCode::quota_exceeded);
  EXPECT_EQ(world.processor.stats().user_refusals.value(), 1u);

  Peer& back = peer("ann", "ann0").connect(false, for_ever);
  back.subscribe("b", 1).take();
  EXPECT_EQ(back.session_present, true) << "who has a session may come back to it";
  ASSERT_FALSE(back.control.empty());
  EXPECT_EQ(std::get<protocol::Suback>(back.control.back()).reasons[0], ReasonCode::quota_exceeded);

  Peer& other = peer("bob", "other").connect().subscribe("b", 1);
  other.publish("b", "v").read();
  EXPECT_EQ(other.payloads(), std::vector<std::string>{"v"});
}

TEST_F(UserMemory, DoesNotCountWhatAReloadDropped) {
  Peer& reader = peer("ann", "ann1").connect(true, for_ever).subscribe("a", 1, Mode::every);
  peer("bob", "writer").connect().publish("a", large, 1);
  ASSERT_EQ(reader.read().got.size(), 1u);
  reader.close();  // it did not acknowledge
  ASSERT_GE(held_by("ann"), large.size());
  world.review(std::make_shared<const Users>(
      std::map<std::string, User>{{"ann", {{}, {}, {deny("a")}}}, {"bob", {}}}));
  world.run_until_idle();
  EXPECT_LT(held_by("ann"), large.size());
}

TEST_F(UserMemory, OfSubscribersThatNeverAcknowledgeIsWithinItsLimit) {
  std::vector<Peer*> readers;
  for (int i = 0; i < 10; ++i) {
    readers.push_back(&peer("ann", "ann" + std::to_string(i)).connect(true, for_ever));
    readers.back()->subscribe("a", 1, Mode::every);
  }
  Peer& writer = peer("bob", "writer").connect();
  for (int i = 0; i < 40; ++i) {
    writer.publish("a", large, 1);
    for (Peer* one : readers) one->read();
    ASSERT_LE(held_by("ann"), 4 * mib + 10 * 2 * (large.size() + 4096));
  }
  // They go on as they acknowledge.
  for (Peer* one : readers) {
    for (std::size_t i = 0; i < one->got.size(); ++i) {
      one->acknowledge(PacketType::puback, one->got[i].packet_id);
      one->read();
    }
    EXPECT_TRUE(world.processor.find_session(one->client_id)->inflight.empty());
  }
  const std::size_t before = readers[0]->got.size();
  writer.publish("a", "last", 1);
  EXPECT_EQ(readers[0]->read().got.size(), before + 1);
}

TEST_F(UserMemory, IsFreeAgainWhenItsSessionsEnd) {
  fill();
  for (int i = 0; i < 10; ++i) peer("ann", "ann" + std::to_string(i)).connect().close();
  world.run_until_idle();
  EXPECT_EQ(held_by("ann"), 0u);
  Peer& fresh = peer("ann", "new").connect();
  fresh.take();
  EXPECT_EQ(fresh.session_present, false);
}

TEST_F(UserMemory, HasNoLimitAfterAReloadThatTakesItAway) {
  fill();
  const auto reload = [&](std::uint64_t user_bytes) {
    auto changed = std::make_unique<ProcessorLimits>(limits(user_bytes));
    world.apply({nullptr, command::Limits{std::move(changed)}});
  };
  reload(0);
  const std::uint64_t before = dropped(Drop::user_memory);
  Peer& writer = peer("bob", "writer2").connect();
  for (int i = 0; i < 40; ++i) writer.publish("a", large, 1);
  EXPECT_EQ(dropped(Drop::user_memory), before);
  EXPECT_EQ(held_by("ann"), 0u);
  reload(4 * mib);
  for (int i = 0; i < 2; ++i) writer.publish("a", large, 1);
  EXPECT_GT(dropped(Drop::user_memory), before);
}

TEST_F(UserMemory, OfThoseWithoutANameIsThatOfOneUser) {
  for (int i = 0; i < 10; ++i) {
    Peer& one = world.peer("nobody" + std::to_string(i)).connect(true, for_ever);
    one.subscribe("a", 1, Mode::every).close();
  }
  Peer& writer = peer("bob", "writer").connect();
  for (int i = 0; i < 40; ++i) writer.publish("a", large, 1);
  EXPECT_LE(held_by(""), 4 * mib + 10 * (large.size() + 4096));
  EXPECT_GT(held_by(""), 2 * mib);
}

}  // namespace
}  // namespace millrace::broker
