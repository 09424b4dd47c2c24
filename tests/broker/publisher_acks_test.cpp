#include "core/broker/publisher_acks.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

#include "tests/broker/parts.hpp"

namespace millrace::broker {
namespace {

using protocol::ReasonCode;
using protocol::Version;
using testing::ElementsAre;
using testing::IsEmpty;
using Received = PublisherAcks::Received;

ProcessorLimits three_at_a_time() {
  ProcessorLimits limits;
  limits.receive_maximum = 3;
  return limits;
}

class Acks : public testing::Test {
 protected:
  // What it was told since the last call, as "puback 1", and a reason that is not success.
  std::vector<std::string> told(Client& client) {
    parts.next_batch();
    std::vector<std::string> all;
    for (const protocol::Packet& packet : client.take_control()) {
      const auto add = [&](const char* name, const auto& ack) {
        all.push_back(std::string(name) + " " + std::to_string(ack.packet_id));
        if (ack.reason != ReasonCode::success) {
          all.back() += " " + std::to_string(static_cast<int>(ack.reason));
        }
      };
      if (const auto* puback = std::get_if<protocol::Puback>(&packet)) add("puback", *puback);
      if (const auto* pubrec = std::get_if<protocol::Pubrec>(&packet)) add("pubrec", *pubrec);
      if (const auto* pubcomp = std::get_if<protocol::Pubcomp>(&packet)) add("pubcomp", *pubcomp);
    }
    return all;
  }
  void acknowledge(Client& client, int qos, std::uint16_t packet_id) {
    acks.acknowledge(client.session, static_cast<std::uint8_t>(qos), packet_id,
                     ReasonCode::success);
  }
  bool withhold(Client& receiver, Client& publisher, std::uint16_t packet_id, int qos = 1) {
    return acks.withhold(receiver.session, publisher.session, static_cast<std::uint8_t>(qos),
                         packet_id);
  }
  void lose_connection(Client& client) {
    client.lose_connection();
    acks.part(client.session);
  }
  std::uint64_t charged() { return parts.batch.ledger().bytes(Holding::sessions); }

  Parts parts{three_at_a_time()};
  PublisherAcks& acks = parts.publisher_acks;
};

TEST_F(Acks, LeaveInTheOrderInWhichTheirMessagesCame) {
  Client& client = parts.client();
  acknowledge(client, 2, 5);
  acknowledge(client, 1, 3);
  acks.acknowledge(client.session, 1, 4, ReasonCode::no_matching_subscribers);
  acknowledge(client, 2, 1);
  EXPECT_THAT(told(client), ElementsAre("pubrec 5", "puback 3", "puback 4 16", "pubrec 1"));
}

// --- QoS 2 ---

TEST_F(Acks, TakeAQoS2MessageOnceUntilItIsReleased) {
  Client& client = parts.client();
  EXPECT_EQ(acks.receive_qos2(client.session, 7), Received::first);
  EXPECT_EQ(acks.receive_qos2(client.session, 7), Received::again);
  EXPECT_EQ(acks.receive_qos2(client.session, 8), Received::first);
  acks.apply(client.session, command::Pubrel{7, {}});
  EXPECT_THAT(told(client), ElementsAre("pubcomp 7"));
  EXPECT_EQ(acks.receive_qos2(client.session, 8), Received::again);
  EXPECT_EQ(acks.receive_qos2(client.session, 7), Received::first) << "another message";
}

TEST_F(Acks, KeepWhatCameAtQoS2WhenTheConnectionIsLost) {
  Client& client = parts.client();
  ASSERT_EQ(acks.receive_qos2(client.session, 7), Received::first);
  lose_connection(client);
  client.connect();
  EXPECT_EQ(acks.receive_qos2(client.session, 7), Received::again);
}

TEST_F(Acks, SayThatAnIdentifierIsUnknownAndEndTheExchangeAllTheSame) {
  Client& client = parts.client();
  acks.apply(client.session, command::Pubrel{9, {}});
  EXPECT_THAT(told(client), ElementsAre("pubcomp 9 146"));
  EXPECT_FALSE(client.session.deferred.is_made()) << "nothing is kept of it";
}

TEST_F(Acks, TakeNoMoreAtQoS2ThanTheReceiveMaximumOfWhoWasToldIt) {
  for (const auto version : {Version::v3_1_1, Version::v5}) {
    Client& client = parts.client(version);
    for (std::uint16_t packet_id = 1; packet_id <= 3; ++packet_id) {
      ASSERT_EQ(acks.receive_qos2(client.session, packet_id), Received::first);
    }
    EXPECT_EQ(acks.receive_qos2(client.session, 3), Received::again) << "no new one";
    const bool was_told = version == Version::v5;
    EXPECT_EQ(acks.receive_qos2(client.session, 4),
              was_told ? Received::too_many : Received::first);
    if (!was_told) continue;
    acks.apply(client.session, command::Pubrel{1, {}});
    EXPECT_EQ(acks.receive_qos2(client.session, 4), Received::first) << "it was not taken before";
  }
}

TEST_F(Acks, TakeWhatWasOneTooManyWhenItIsSentAgain) {
  Client& client = parts.client();
  for (std::uint16_t packet_id = 1; packet_id <= 3; ++packet_id) {
    ASSERT_EQ(acks.receive_qos2(client.session, packet_id), Received::first);
  }
  ASSERT_EQ(acks.receive_qos2(client.session, 4), Received::too_many);
  lose_connection(client);
  client.connect();
  acks.apply(client.session, command::Pubrel{1, {}});
  EXPECT_EQ(acks.receive_qos2(client.session, 4), Received::first) << "nobody got it";
}

TEST_F(Acks, RefuseAMessageAndForgetThatItCame) {
  Client& client = parts.client();
  ASSERT_EQ(acks.receive_qos2(client.session, 7), Received::first);
  acks.refuse(client.session, 2, 7, ReasonCode::quota_exceeded);
  acks.refuse(client.session, 1, 8, ReasonCode::quota_exceeded);
  EXPECT_THAT(told(client), ElementsAre("pubrec 7 151", "puback 8 151"));
  EXPECT_EQ(acks.receive_qos2(client.session, 7), Received::first);
}

TEST_F(Acks, ChargeEachIdentifierUntilItIsReleased) {
  Client& client = parts.client();
  const std::uint64_t before = charged();
  for (const std::uint16_t packet_id : {1, 2, 2}) acks.receive_qos2(client.session, packet_id);
  EXPECT_EQ(charged(), before + 2 * PublisherAcks::received_bytes);
  acks.apply(client.session, command::Pubrel{1, {}});
  acks.apply(client.session, command::Pubrel{1, {}});
  acks.refuse(client.session, 2, 2, ReasonCode::quota_exceeded);
  EXPECT_EQ(charged(), before);
}

// --- Withheld ---

TEST_F(Acks, AreWithheldUntilTheReceiverHasRoomAgain) {
  Client& receiver = parts.client();
  Client& one = parts.client();
  Client& two = parts.client();
  EXPECT_TRUE(withhold(receiver, one, 1));
  EXPECT_TRUE(withhold(receiver, two, 1, 2));
  EXPECT_TRUE(withhold(receiver, one, 2));
  EXPECT_THAT(told(one), IsEmpty());
  acks.release(receiver.session);
  acks.release(receiver.session);
  EXPECT_THAT(told(one), ElementsAre("puback 1", "puback 2"));
  EXPECT_THAT(told(two), ElementsAre("pubrec 1"));
}

TEST_F(Acks, AreWithheldFromAPublisherNoMoreThanItMayHaveUnacknowledged) {
  Client& receiver = parts.client();
  Client& other = parts.client();
  Client& publisher = parts.client();
  EXPECT_TRUE(withhold(receiver, publisher, 1));
  EXPECT_TRUE(withhold(other, publisher, 2));
  EXPECT_TRUE(withhold(receiver, publisher, 3));
  EXPECT_FALSE(withhold(other, publisher, 4)) << "whoever withholds them";
}

TEST_F(Acks, ThatWereReleasedLeaveRoomForOthers) {
  Client& receiver = parts.client();
  Client& publisher = parts.client();
  for (std::uint16_t packet_id = 1; packet_id <= 9; packet_id += 3) {
    for (std::uint16_t i = 0; i < 3; ++i) {
      ASSERT_TRUE(withhold(receiver, publisher, static_cast<std::uint16_t>(packet_id + i)));
    }
    acks.release(receiver.session);
  }
  EXPECT_EQ(told(publisher).size(), 9u);
}

TEST_F(Acks, AreReleasedWhenTheReceiverGoes) {
  Client& receiver = parts.client();
  Client& publisher = parts.client();
  ASSERT_TRUE(withhold(receiver, publisher, 1));
  lose_connection(receiver);
  EXPECT_THAT(told(publisher), ElementsAre("puback 1"));
}

// What is withheld belongs to the connection that the message came by: the client sends it again on
// the next one, under an identifier that may name another message by now.
TEST_F(Acks, OfAConnectionThatIsGoneReachNoLaterOne) {
  Client& receiver = parts.client();
  Client& publisher = parts.client();
  Client& other = parts.client();
  for (std::uint16_t packet_id = 1; packet_id <= 3; ++packet_id) {
    ASSERT_TRUE(withhold(receiver, publisher, packet_id));
  }
  ASSERT_TRUE(withhold(receiver, other, 9));
  lose_connection(publisher);
  publisher.connect();
  for (std::uint16_t packet_id = 1; packet_id <= 3; ++packet_id) {
    EXPECT_TRUE(withhold(receiver, publisher, packet_id)) << "the new connection has its own";
  }
  EXPECT_FALSE(withhold(receiver, publisher, 4));
  acks.release(receiver.session);
  EXPECT_THAT(told(publisher), ElementsAre("puback 1", "puback 2", "puback 3"));
  EXPECT_THAT(told(other), ElementsAre("puback 9"));
}

}  // namespace
}  // namespace millrace::broker
