// What may leave before it is on the disk, and what may not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/journal_fixture.hpp"

namespace millrace::broker {
namespace {

using protocol::PacketType;
using protocol::ReasonCode;
using testing::ElementsAre;
using testing::IsEmpty;

class CommitTest : public testing::Test {
 protected:
  explicit CommitTest(const Journal::Options& options = {}) {
    world.open_store(options);
    reader.connect(false, hour_s).subscribe("a", 2, Mode::every);
    world.peer("plain reader").connect().subscribe("a", 0, Mode::every);
    sender.connect(false, hour_s);
    world.run_until_idle();
    for (Peer* peer : {&reader, &sender}) {
      peer->take();
      peer->control.clear();
    }
    world.commits = [] { return false; };  // the disk is slow from here on
  }
  Peer& plain_reader() { return *world.peers[2]; }

  static std::vector<PacketType> types(Peer& peer) {
    peer.take();
    std::vector<PacketType> types;
    for (const auto& packet : std::exchange(peer.control, {})) {
      types.push_back(protocol::packet_type(packet));
    }
    return types;
  }

  World world;
  Peer& reader = world.peer("reader", protocol::Version::v5);
  Peer& sender = world.peer("sender", protocol::Version::v5);
};

TEST_F(CommitTest, PubackWaitsAndDeliveryAtQoS1DoesNot) {
  sender.publish("a", "x", 1);
  EXPECT_THAT(types(sender), IsEmpty());
  reader.take();
  EXPECT_THAT(reader.payloads(), ElementsAre("x"));
  world.commit();
  EXPECT_THAT(types(sender), ElementsAre(PacketType::puback));
}

TEST_F(CommitTest, QoS0WaitsForNothing) {
  sender.publish("a", "kept", 1).publish("a", "x", 0);
  plain_reader().take();
  EXPECT_THAT(plain_reader().payloads(), ElementsAre("kept", "x"));
}

TEST_F(CommitTest, ARetainedMessageWithoutASubscriberIsOnTheDiskBeforeItsPuback) {
  sender.publish("nobody/reads", "x", 1, true);
  EXPECT_THAT(types(sender), IsEmpty());
  world.commit();
  EXPECT_THAT(types(sender), ElementsAre(PacketType::puback));
}

TEST_F(CommitTest, AMessageThatIsKeptNowhereIsAcknowledgedAtOnce) {
  sender.publish("nobody/reads", "x", 1);
  EXPECT_THAT(types(sender), ElementsAre(PacketType::puback));
}

TEST_F(CommitTest, AcknowledgementsOfBatchesThatAreCommittedLeaveInOrder) {
  sender.publish("a", "1", 1);
  const std::uint64_t first = world.log->appended();
  sender.publish("a", "2", 1).publish("none", "3", 1);
  world.commit(first);
  sender.take();
  ASSERT_EQ(sender.control.size(), 1u);
  EXPECT_EQ(std::get<protocol::Puback>(sender.control[0]).packet_id, 1);
  world.commit();
  sender.take();
  ASSERT_EQ(sender.control.size(), 3u);
  EXPECT_EQ(std::get<protocol::Puback>(sender.control[1]).packet_id, 2);
  EXPECT_EQ(std::get<protocol::Puback>(sender.control[2]).packet_id, 3);
}

TEST_F(CommitTest, AQoS2MessageIsSentAndReleasedWhenTheStoreHasIt) {
  sender.publish("a", "x", 2);
  reader.take();
  EXPECT_THAT(reader.got, IsEmpty());
  EXPECT_THAT(types(sender), IsEmpty());
  world.commit();
  reader.take();
  ASSERT_EQ(reader.got.size(), 1u);
  EXPECT_THAT(types(sender), ElementsAre(PacketType::pubrec));
  reader.acknowledge(PacketType::pubrec, reader.got[0].packet_id);
  sender.send(command::Pubrel{1, {}});
  EXPECT_THAT(types(reader), IsEmpty());
  EXPECT_THAT(types(sender), IsEmpty());
  world.commit();
  EXPECT_THAT(types(reader), ElementsAre(PacketType::pubrel));
  EXPECT_THAT(types(sender), ElementsAre(PacketType::pubcomp));
}

TEST_F(CommitTest, SubackAndUnsubackOfAStoredSessionWait) {
  reader.subscribe("b", 1).unsubscribe("a");
  EXPECT_THAT(types(reader), IsEmpty());
  plain_reader().subscribe("b", 1);
  EXPECT_THAT(types(plain_reader()), testing::Contains(PacketType::suback));
  world.commit();
  EXPECT_THAT(types(reader), ElementsAre(PacketType::suback, PacketType::unsuback));
}

TEST_F(CommitTest, TheConnackOfAStoredSessionComesBeforeAllElseAndWhenItIsStored) {
  Peer& other = world.peer("other").connect(false, hour_s).subscribe("a", 1, Mode::every);
  sender.publish("a", "x", 0);
  other.take();
  EXPECT_FALSE(other.session_present);
  EXPECT_THAT(other.got, IsEmpty());
  Peer& plain = world.peer("plain").connect();
  plain.take();
  EXPECT_TRUE(plain.session_present);
  world.commit();
  other.take();
  EXPECT_EQ(other.session_present, false);
  EXPECT_THAT(other.payloads(), ElementsAre("x"));
}

TEST_F(CommitTest, AConnectionThatIsTakenOverBeforeItsConnackIsRefused) {
  Peer& first = world.peer("twice", protocol::Version::v5).connect(false, hour_s);
  Peer& second = world.peer("twice", protocol::Version::v5).connect(false, hour_s);
  first.take();
  EXPECT_FALSE(first.session_present);
  EXPECT_EQ(first.closed, ReasonCode::server_unavailable);
  world.commit();
  second.take();
  EXPECT_EQ(second.session_present, true);
  first.take();
  EXPECT_FALSE(first.session_present);
}

TEST_F(CommitTest, WhatIsHeldForAConnectionThatEndsIsDropped) {
  sender.publish("a", "x", 2);
  reader.close();
  sender.close();
  world.commit();
  Peer& again = world.peer("reader", protocol::Version::v5).connect(false, hour_s);
  world.commit();
  again.take();
  EXPECT_THAT(again.payloads(), ElementsAre("x"));
}

TEST_F(CommitTest, NobodyWaitsForTheRemovalOfWhatAReaderAcknowledged) {
  sender.publish("a", "x", 1);
  EXPECT_TRUE(world.log->is_awaited);
  world.commit();
  reader.take();
  const std::uint64_t before = world.log->appended();
  reader.acknowledge(PacketType::puback, reader.got.back().packet_id);
  EXPECT_EQ(world.log->appended(), before + 1);
  EXPECT_FALSE(world.log->is_awaited);
  // Its answer depends on nothing; but what comes before it may not be forgotten by whoever has it.
  sender.publish("nobody/reads", "y", 1);
  EXPECT_TRUE(world.log->is_awaited);
  world.commit();
  EXPECT_THAT(types(sender), ElementsAre(PacketType::puback, PacketType::puback));
}

TEST_F(CommitTest, NothingWaitsWhereTheStoreIsFlushedByInterval) {
  world.log->waits = false;
  sender.publish("a", "x", 1).publish("a", "y", 2);
  EXPECT_THAT(types(sender), ElementsAre(PacketType::puback, PacketType::pubrec));
  reader.take();
  EXPECT_THAT(reader.payloads(), ElementsAre("x", "y"));
}

TEST_F(CommitTest, WhereTheDiskIsBehindAcknowledgementsWaitAndStayInOrder) {
  world.log->waits = true;
  sender.publish("a", "1", 1);
  EXPECT_THAT(types(sender), IsEmpty());
  world.log->waits = false;  // it has caught up: what was not to wait does, behind the first
  sender.publish("a", "2", 1);
  EXPECT_THAT(types(sender), IsEmpty());
  world.commit();
  EXPECT_THAT(types(sender), ElementsAre(PacketType::puback, PacketType::puback));
  sender.publish("a", "3", 1);
  EXPECT_THAT(types(sender), ElementsAre(PacketType::puback));
}

TEST_F(CommitTest, ARetainedMessageAtQoS0IsNotWrittenWhileTheDiskIsBehind) {
  sender.publish("r", "1", 0, true);
  world.log->behind = true;
  const std::uint64_t before = world.log->appended();
  for (int second = 0; second < 3; ++second) world.advance_ms(1000);
  EXPECT_EQ(world.log->appended(), before);
  sender.publish("r", "2", 0, true);
  world.log->behind = false;
  world.advance_ms(1000);
  EXPECT_EQ(world.log->appended(), before + 1);
}

TEST_F(CommitTest, AfterAFailureNothingIsAcknowledgedAndQoS0GoesOn) {
  sender.publish("a", "x", 1);
  world.log->has_failed = true;
  sender.publish("a", "y", 1).publish("a", "z", 0);
  EXPECT_THAT(types(sender), IsEmpty());
  plain_reader().take();
  EXPECT_THAT(plain_reader().payloads(), ElementsAre("x", "y", "z"));
  EXPECT_EQ(world.processor.stats().commit_waits.value(), 0u);
  Peer& refused = world.peer("new", protocol::Version::v5).connect(false, hour_s);
  refused.take();
  EXPECT_EQ(refused.closed, ReasonCode::server_unavailable);
  Peer& plain = world.peer("plain").connect();
  plain.take();
  EXPECT_TRUE(plain.session_present);
}

TEST_F(CommitTest, AConnectThatAFailedStoreRefusesTakesNothingOver) {
  Peer& first = world.peer("kept", protocol::Version::v5).connect(false, hour_s);
  world.log->has_failed = true;
  Peer& second = world.peer("kept", protocol::Version::v5).connect(false, hour_s);
  second.take();
  first.take();
  EXPECT_EQ(second.closed, ReasonCode::server_unavailable);
  EXPECT_EQ(first.closed, std::nullopt);
}

TEST_F(CommitTest, WhatAFailedStoreNeverLetsGoTakesNoCredit) {
  ProcessorLimits small;
  small.credit_bytes = small.credit_max_bytes = 300;
  World tight(small);
  tight.open_store();
  Peer& both = tight.peer("both").connect(false, hour_s);
  both.subscribe("q2", 2, Mode::every).subscribe("q0", 0, Mode::every).read();
  Peer& from = tight.peer("from").connect();
  tight.commits = [] { return false; };
  for (int i = 0; i < 3; ++i) from.publish("q2", std::string(100, 'x'), 2);
  tight.log->has_failed = true;
  from.publish("q0", "1", 0).publish("q0", "2", 0);
  both.read();
  EXPECT_THAT(both.payloads(), ElementsAre("1", "2"));
}

// --- store.waiting_bytes_max ---

class WaitingTest : public CommitTest {
 protected:
  static Journal::Options little() {
    Journal::Options options;
    options.waiting_bytes_max = 20'000;
    return options;
  }
  WaitingTest() : CommitTest(little()) {}
};

TEST_F(WaitingTest, WhoIsOwedMostOfTheAnswersEndsWhenTooManyWait) {
  Peer& flood = world.peer("flood").connect();
  sender.publish("a", "kept", 1);
  for (int i = 0; i < 1000 && !flood.closed; ++i) {
    flood.publish("nobody/reads", "x", 1);
    flood.take();
  }
  EXPECT_EQ(flood.closed, ReasonCode::quota_exceeded);
  EXPECT_EQ(world.processor.stats().unanswered_ends.value(), 1u);
  world.run_until_idle();
  EXPECT_LT(world.processor.stats().commit_waits.value(), 3u);
  EXPECT_FALSE(sender.closed);
  world.commit();
  EXPECT_THAT(types(sender), ElementsAre(PacketType::puback));
  EXPECT_EQ(world.processor.stats().commit_waits.value(), 0u);
}

TEST_F(WaitingTest, WhoEndsIsAcknowledgedNothingOfWhatWaited) {
  Peer& flood = world.peer("flood").connect();
  for (int i = 0; i < 1000 && !flood.closed; ++i) {
    flood.publish("a", "x", 1);
    flood.take();
  }
  EXPECT_TRUE(flood.closed);
  reader.take();
  const std::size_t count = reader.got.size();
  EXPECT_GT(count, 0u);
  world.commit();
  flood.take();
  EXPECT_THAT(flood.control, IsEmpty());
}

// --- store.on_failure at `refuse` ---

Journal::Options refusing() {
  Journal::Options options;
  options.refuses = true;
  return options;
}

class RefuseTest : public CommitTest {
 protected:
  RefuseTest() : CommitTest(refusing()) {}

  std::uint64_t refused() const { return world.processor.stats().unwritten_refusals.value(); }
  // The type, packet identifier and reason of the acknowledgements that came.
  using Answer = std::tuple<PacketType, std::uint16_t, ReasonCode>;
  static std::vector<Answer> answers(Peer& peer) {
    peer.take();
    std::vector<Answer> answers;
    for (const auto& packet : std::exchange(peer.control, {})) {
      if (const auto* puback = std::get_if<protocol::Puback>(&packet)) {
        answers.emplace_back(PacketType::puback, puback->packet_id, puback->reason);
      } else if (const auto* pubrec = std::get_if<protocol::Pubrec>(&packet)) {
        answers.emplace_back(PacketType::pubrec, pubrec->packet_id, pubrec->reason);
      }
    }
    return answers;
  }
};

TEST_F(RefuseTest, WhileTheDiskIsFullPublishersAreToldAndNothingOfTheMessageHappens) {
  world.log->has_trouble = store::Trouble::no_space;
  const std::uint64_t before = world.log->appended();
  sender.publish("a", "x", 1, true).publish("a", "y", 2).publish("a", "at QoS 0", 0);
  EXPECT_THAT(answers(sender),
              ElementsAre(Answer(PacketType::puback, 1, ReasonCode::quota_exceeded),
                          Answer(PacketType::pubrec, 2, ReasonCode::quota_exceeded)));
  EXPECT_EQ(refused(), 2u);
  EXPECT_EQ(world.log->appended(), before);
  EXPECT_EQ(world.processor.stats().retained.value(), 0u);
  plain_reader().take();
  EXPECT_THAT(plain_reader().payloads(), ElementsAre("at QoS 0"));
}

TEST_F(RefuseTest, ADiskThatFailsIsNoQuota) {
  world.log->has_trouble = store::Trouble::broken;
  sender.publish("a", "x", 1);
  world.log->has_failed = true;
  sender.publish("a", "y", 1);
  EXPECT_THAT(
      answers(sender),
      ElementsAre(Answer(PacketType::puback, 1, ReasonCode::implementation_specific_error),
                  Answer(PacketType::puback, 2, ReasonCode::implementation_specific_error)));
}

TEST_F(RefuseTest, WhatWasTakenBeforeWaitsAndIsNotRefused) {
  sender.publish("a", "x", 2);
  world.log->has_trouble = store::Trouble::no_space;
  // It is sent again, and another one ahead of whose answer nothing has to be.
  world.apply(publish_command(message("a", "x", 2, false, 1), sender.outbox.get()));
  sender.publish("a", "y", 2);
  EXPECT_THAT(answers(sender),
              ElementsAre(Answer(PacketType::pubrec, 2, ReasonCode::quota_exceeded)));
  world.log->has_trouble = store::Trouble::none;
  world.commit();
  EXPECT_THAT(answers(sender), ElementsAre(Answer(PacketType::pubrec, 1, ReasonCode::success),
                                           Answer(PacketType::pubrec, 1, ReasonCode::success)));
  reader.take();
  EXPECT_THAT(reader.payloads(), ElementsAre("x"));
}

TEST_F(RefuseTest, WhatWasRefusedIsTakenWhenItComesAgainAfterwards) {
  world.log->has_trouble = store::Trouble::no_space;
  sender.publish("a", "x", 2);
  world.log->has_trouble = store::Trouble::none;
  answers(sender);
  world.apply(publish_command(message("a", "x", 2, false, 1), sender.outbox.get()));
  world.commit();
  EXPECT_THAT(answers(sender), ElementsAre(Answer(PacketType::pubrec, 1, ReasonCode::success)));
  reader.take();
  EXPECT_THAT(reader.payloads(), ElementsAre("x"));
}

TEST_F(RefuseTest, APublisherThatCannotBeToldWaits) {
  Peer& old = world.peer("old").connect();
  old.take();
  old.control.clear();
  world.log->has_trouble = store::Trouble::no_space;
  old.publish("a", "x", 1);
  EXPECT_THAT(types(old), IsEmpty());
  world.log->has_trouble = store::Trouble::none;
  world.commit();
  EXPECT_THAT(types(old), ElementsAre(PacketType::puback));
  EXPECT_EQ(refused(), 0u);
}

TEST_F(RefuseTest, AnotherBrokersMessageWaitsAsItWouldNotBeSentAgain) {
  Peer& link = world.peer("link", protocol::Version::v5);
  link.origin = 1;
  link.connect();
  link.take();
  link.control.clear();
  world.log->has_trouble = store::Trouble::no_space;
  link.publish("a", "x", 1);
  EXPECT_THAT(types(link), IsEmpty());
  world.commit();
  EXPECT_THAT(types(link), ElementsAre(PacketType::puback));
}

TEST_F(RefuseTest, AClientWhoseSessionCannotBeKeptIsToldAtOnce) {
  world.log->has_trouble = store::Trouble::no_space;
  Peer& refused = world.peer("new", protocol::Version::v5).connect(false, hour_s);
  refused.take();
  EXPECT_EQ(refused.closed, ReasonCode::server_unavailable);
  Peer& plain = world.peer("plain").connect();
  plain.take();
  EXPECT_TRUE(plain.session_present);
}

TEST_F(CommitTest, UnlessItIsToRefuseAPublisherWaitsWhileTheDiskIsFull) {
  world.log->has_trouble = store::Trouble::no_space;
  sender.publish("a", "x", 1);
  EXPECT_THAT(types(sender), IsEmpty());
  world.commit();
  EXPECT_THAT(types(sender), ElementsAre(PacketType::puback));
}

}  // namespace
}  // namespace millrace::broker
