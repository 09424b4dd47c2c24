// Whose a session is: who made it gets it again, and nobody else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/users.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::ReasonCode;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Owners : public ::testing::Test {
 protected:
  Peer& peer(const std::string& owner, protocol::Version version = protocol::Version::v5) {
    Peer& peer = world.peer("id", version);
    if (owner != "nobody") peer.rights = users.rights_of(owner);
    return peer;
  }

  World world;
  Users users{{{"", {}}, {"ann", {}}, {"bob", {}}}};
};

TEST_F(Owners, AnotherUserNeitherGetsTheSessionNorEndsTheConnection) {
  Peer& first = peer("ann").connect(false, 100).subscribe("t", 1, Mode::every);
  for (const bool clean : {false, true}) {
    for (const char* other : {"bob", "", "nobody"}) {
      Peer& second = peer(other).connect(clean, 100);
      second.take();
      EXPECT_EQ(second.closed, ReasonCode::client_identifier_not_valid) << other;
      EXPECT_EQ(second.session_present, std::nullopt);
      second.subscribe("#").publish("t", "from a stranger", 1);
    }
  }
  EXPECT_EQ(world.processor.stats().sessions_foreign.value(), 6u);
  EXPECT_EQ(world.processor.stats().takeovers.value(), 0u);
  world.apply(publish_command(message("t", "x", 1, false, 1)));
  EXPECT_THAT(first.read().payloads(), ElementsAre("x"));
  EXPECT_EQ(first.closed, std::nullopt);
}

TEST_F(Owners, AnotherUserDoesNotGetWhatAnAbsentOneLeft) {
  peer("ann").connect(false, 100).subscribe("t", 1, Mode::every).close();
  world.apply(publish_command(message("t", "for ann", 1, false, 1)));
  Peer& bob = peer("bob").connect(false, 100);
  bob.read();
  EXPECT_EQ(bob.closed, ReasonCode::client_identifier_not_valid);
  EXPECT_THAT(bob.got, IsEmpty());
  Peer& ann = peer("ann").connect(false, 100);
  EXPECT_THAT(ann.read().payloads(), ElementsAre("for ann"));
  EXPECT_EQ(ann.session_present, true);
}

TEST_F(Owners, TheAnonymousAreOneOwner) {
  Peer& first = peer("nobody").connect(false, 100);
  Peer& second = peer("").connect(false, 100);
  second.take();
  EXPECT_EQ(second.session_present, true);
  first.take();
  EXPECT_EQ(first.closed, ReasonCode::session_taken_over);
  Peer& ann = peer("ann").connect(false, 100);
  ann.take();
  EXPECT_EQ(ann.closed, ReasonCode::client_identifier_not_valid);
}

TEST_F(Owners, AnIdentifierIsFreeOnceItsSessionHasEnded) {
  peer("ann").connect(true, 0).close();
  Peer& bob = peer("bob").connect(true, 0);
  bob.take();
  EXPECT_EQ(bob.session_present, false);
}

}  // namespace
}  // namespace millrace::broker
