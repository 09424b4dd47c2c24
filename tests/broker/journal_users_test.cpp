// Whose sessions, wills and retained values are there after a restart with other users.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "tests/broker/journal_fixture.hpp"
#include "tests/broker/users.hpp"

namespace millrace::broker {
namespace {

class JournalUsers : public JournalTest {
 protected:
  Peer& connect(const std::string& user, std::optional<ConnectRequest::Will> will = {}) {
    Peer& peer = world.peer("session of " + user, protocol::Version::v5);
    peer.rights = before->rights_of(user);
    return peer.connect(false, hour_s, std::move(will));
  }
  static std::shared_ptr<const Users> users(std::map<std::string, User> all) {
    return std::make_shared<const Users>(std::move(all));
  }
  std::shared_ptr<const Users> before = users({{"ann", {}}, {"bob", {}}});
};

TEST_F(JournalUsers, AUserWhoIsGoneLosesTheSessionAndWhoHasNoNameDoesNot) {
  connect("ann").subscribe("a", 1, Mode::every);
  connect("bob").subscribe("a", 1, Mode::every);
  durable("nobody").subscribe("a", 1, Mode::every);
  world.restart(0, users({{"ann", {}}}));
  EXPECT_EQ(world.restored.revoked, 1u);
  EXPECT_NE(world.processor.find_session("session of ann"), nullptr);
  EXPECT_EQ(world.processor.find_session("session of bob"), nullptr);
  EXPECT_NE(world.processor.find_session("nobody"), nullptr);
  world.run_until_idle();
  world.restart(0, before);
  EXPECT_EQ(world.processor.find_session("session of bob"), nullptr);
}

TEST_F(JournalUsers, WhatAUserMayNotReadAnyMoreDoesNotComeBack) {
  connect("ann").subscribe("a/#", 1, Mode::every).close();
  connect("bob").subscribe("a/#", 1, Mode::every).close();
  writer().publish("a/1", "open", 1).publish("a/2", "closed", 1);
  world.restart(0, users({{"ann", {{deny("a/2")}, {}, {}}}, {"bob", {{}, {}, {deny("a/2")}}}}));
  EXPECT_EQ(world.restored.sessions, 2u);
  for (const char* user : {"ann", "bob"}) {
    const std::string id = std::string("session of ") + user;
    EXPECT_EQ(world.processor.find_session(id)->pending.size(), 1u) << user;
  }
  writer().publish("a/2", "closed", 1);
  EXPECT_EQ(world.processor.find_session("session of ann")->pending.size(), 1u);
  EXPECT_EQ(world.processor.find_session("session of bob")->pending.size(), 1u);
}

TEST_F(JournalUsers, AWillThatItsUserMayNotPublishAnyMoreIsDropped) {
  durable("watcher").subscribe("will/#", 1, Mode::every).close();
  connect("ann", ConnectRequest::Will{message("will/ann", "gone", 1, false, 1), 0});
  connect("bob", ConnectRequest::Will{message("will/bob", "gone", 1, false, 1), 0});
  world.restart(0, users({{"ann", {{}, {deny("will/#")}, {}}}, {"bob", {}}}));
  Peer& watcher = durable("watcher").read();
  ASSERT_EQ(watcher.got.size(), 1u);
  EXPECT_EQ(watcher.got[0].topic, "will/bob");
}

TEST(Journal, ARetainedValueTakesItsUsersRoomAfterARestartToo) {
  ProcessorLimits limits;
  limits.slots.user_bytes_max = 150;
  World world(limits);
  world.open_store();
  const auto users = std::make_shared<const Users>(std::map<std::string, User>{{"ann", {}}});
  const auto ann = [&]() -> Peer& {
    Peer& peer = world.peer("ann", protocol::Version::v5);
    peer.rights = users->rights_of("ann");
    return peer.connect();
  };
  ann().publish("a", std::string(100, 'x'), 1, true);
  for (int life = 0; life < 2; ++life) {
    world.restart(0, users);
    EXPECT_EQ(world.restored.retained, 1u);
    ann().publish("b", std::string(100, 'x'), 1, true);
    EXPECT_EQ(world.processor.stats().retained.value(), 1u);
  }
}

}  // namespace
}  // namespace millrace::broker
