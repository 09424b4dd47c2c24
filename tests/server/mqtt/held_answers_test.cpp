#include "server/mqtt/held_answers.hpp"

#include <gtest/gtest.h>

namespace millrace::server {
namespace {

using Bytes = std::vector<std::uint8_t>;

TEST(HeldAnswers, WaitForTheCommandsBeforeThem) {
  HeldAnswers held;
  held.hold(Bytes{1}, 5);
  EXPECT_TRUE(held.waits_for_commands(4));
  EXPECT_EQ(held.take_due(4, 0, 0), Bytes());
  EXPECT_FALSE(held.waits_for_commands(5));
  EXPECT_EQ(held.take_due(5, 0, 0), Bytes{1});
  EXPECT_TRUE(held.empty());
}

TEST(HeldAnswers, WaitForTheDeliveriesThatWereThereWhenTheCommandsWereApplied) {
  HeldAnswers held;
  held.hold(Bytes{1}, 1);
  EXPECT_EQ(held.take_due(1, 3, 2), Bytes());
  EXPECT_FALSE(held.waits_for_commands(1));
  EXPECT_EQ(held.take_due(9, 100, 2), Bytes());  // those that came later do not count
  EXPECT_EQ(held.take_due(9, 100, 3), Bytes{1});
}

TEST(HeldAnswers, ComeOneAfterAnotherHoweverManyCommandsFollow) {
  HeldAnswers held;
  held.hold(Bytes{1}, 10);
  held.hold(Bytes{2}, 20);
  held.hold(Bytes{3}, 30);
  EXPECT_EQ(held.bytes(), 3u);
  EXPECT_EQ(held.take_due(10, 0, 0), Bytes{1});
  held.hold(Bytes{4}, 40);
  EXPECT_EQ(held.take_due(30, 0, 0), (Bytes{2, 3}));
  EXPECT_EQ(held.take_due(40, 0, 0), Bytes{4});
}

TEST(HeldAnswers, OutliveTheWrappingOfTheCounts) {
  HeldAnswers held;
  held.hold(Bytes{1}, 2);
  EXPECT_TRUE(held.waits_for_commands(0xFFFFFFFF));
  EXPECT_EQ(held.take_due(2, 1, 0xFFFFFFFF), Bytes());
  EXPECT_EQ(held.take_due(3, 9, 1), Bytes{1});
}

}  // namespace
}  // namespace millrace::server
