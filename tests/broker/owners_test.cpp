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
}

// Nor can it wait in the place of one who is to come, or learn what is meant for him.
TEST_F(Owners, WhoHasNoNameDoesNotKeepAUserFromHisIdentifier) {
  Peer& present = peer("nobody").connect(false, 100).subscribe("t", 1, Mode::every);
  Peer& ann = peer("ann").connect(false, 100);
  ann.take();
  EXPECT_EQ(ann.session_present, false);
  present.take();
  EXPECT_EQ(present.closed, ReasonCode::session_taken_over);
  ann.close();

  Users both{{{"", {}}, {"ann", {}}, {"bob", {}}}};
  World other;
  other.peer("id").connect(false, 100).subscribe("t", 1, Mode::every).close();
  other.apply(publish_command(message("t", "left", 1, false, 1)));
  Peer& bob = other.peer("id", protocol::Version::v5);
  bob.rights = both.rights_of("bob");
  bob.connect(false, 100).read();
  EXPECT_EQ(bob.session_present, false);
  EXPECT_THAT(bob.got, IsEmpty());
  EXPECT_EQ(other.processor.stats().sessions.value(), 1u);
}

TEST_F(Owners, AnIdentifierIsFreeOnceItsSessionHasEnded) {
  peer("ann").connect(true, 0).close();
  Peer& bob = peer("bob").connect(true, 0);
  bob.take();
  EXPECT_EQ(bob.session_present, false);
}

}  // namespace
}  // namespace millrace::broker
