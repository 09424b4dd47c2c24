#include "server/upstream/nats_order.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

namespace millrace::server {
namespace {

using Outgoing = NatsOrder::Outgoing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// `packet_id` 0: at QoS 0.
Outgoing message(std::string subject, std::uint16_t packet_id, std::string mark = "") {
  Outgoing made;
  made.subject = std::move(subject);
  made.delivery.packet_id = packet_id;
  made.delivery.qos = packet_id == 0 ? 0 : 1;
  made.id = std::move(mark);
  return made;
}

bool leaves(NatsOrder& order, Outgoing one) {
  return order.admit(one);
}

std::vector<std::uint16_t> packet_ids(const std::vector<Outgoing>& messages) {
  std::vector<std::uint16_t> ids;
  for (const Outgoing& one : messages) ids.push_back(one.delivery.packet_id);
  return ids;
}

TEST(NatsOrder, LetsOneOfASubjectLeaveAtATime) {
  NatsOrder order;
  EXPECT_TRUE(leaves(order, message("a", 1)));
  EXPECT_FALSE(leaves(order, message("a", 2)));
  EXPECT_FALSE(leaves(order, message("a", 3)));
  EXPECT_THAT(packet_ids(order.next("a")), ElementsAre(2));
  EXPECT_FALSE(leaves(order, message("a", 4)));
  EXPECT_THAT(packet_ids(order.next("a")), ElementsAre(3));
  EXPECT_THAT(packet_ids(order.next("a")), ElementsAre(4));
  EXPECT_THAT(order.next("a"), IsEmpty());
  EXPECT_TRUE(leaves(order, message("a", 5)));
}

TEST(NatsOrder, LetsNoSubjectWaitForAnother) {
  NatsOrder order;
  EXPECT_TRUE(leaves(order, message("a", 1)));
  EXPECT_FALSE(leaves(order, message("a", 2)));
  EXPECT_TRUE(leaves(order, message("b", 3)));
  EXPECT_FALSE(leaves(order, message("b", 4)));
  EXPECT_THAT(packet_ids(order.next("b")), ElementsAre(4));
  EXPECT_THAT(packet_ids(order.next("a")), ElementsAre(2));
}

TEST(NatsOrder, LetsQos0WaitOnlyBehindWhatIsHeldBack) {
  NatsOrder order;
  EXPECT_TRUE(leaves(order, message("a", 0)));
  EXPECT_TRUE(leaves(order, message("a", 1)));
  EXPECT_TRUE(leaves(order, message("a", 0)));
  EXPECT_FALSE(leaves(order, message("a", 2)));
  EXPECT_FALSE(leaves(order, message("a", 0, "first")));
  EXPECT_FALSE(leaves(order, message("a", 0, "second")));
  EXPECT_FALSE(leaves(order, message("a", 3)));
  EXPECT_TRUE(leaves(order, message("b", 0)));
  const auto leaving = order.next("a");
  ASSERT_THAT(packet_ids(leaving), ElementsAre(2, 0, 0));
  EXPECT_EQ(leaving[1].id, "first");
  EXPECT_EQ(leaving[2].id, "second");
  EXPECT_THAT(packet_ids(order.next("a")), ElementsAre(3));
  EXPECT_TRUE(leaves(order, message("a", 0)));
}

TEST(NatsOrder, GivesBackAllThatItHoldsAndForgetsWhatIsOnItsWay) {
  NatsOrder order;
  EXPECT_TRUE(leaves(order, message("b", 1)));
  EXPECT_TRUE(leaves(order, message("a", 2)));
  EXPECT_FALSE(leaves(order, message("b", 3)));
  EXPECT_FALSE(leaves(order, message("a", 4)));
  EXPECT_FALSE(leaves(order, message("a", 0)));
  EXPECT_FALSE(leaves(order, message("a", 5)));
  EXPECT_THAT(packet_ids(order.take_all()), ElementsAre(4, 0, 5, 3));
  EXPECT_THAT(order.next("a"), IsEmpty());
  EXPECT_TRUE(leaves(order, message("a", 6)));
}

TEST(NatsOrder, KnowsNothingOfASubjectOfWhichNothingIsOnItsWay) {
  NatsOrder order;
  EXPECT_THAT(order.next("a"), IsEmpty());
  EXPECT_TRUE(leaves(order, message("a", 0)));
  EXPECT_THAT(order.next("a"), IsEmpty());
  EXPECT_THAT(order.take_all(), IsEmpty());
}

}  // namespace
}  // namespace millrace::server
