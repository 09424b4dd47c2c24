#include "server/upstream/address_turns.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace millrace::server {
namespace {

using ::testing::ElementsAre;

// All that a round tries, when none of it answers.
std::vector<std::size_t> round_of(AddressTurns& turns) {
  std::vector<std::size_t> tried;
  turns.begin_round();
  do {
    tried.push_back(turns.index());
  } while (turns.next());
  return tried;
}

TEST(AddressTurns, TryEachAddressOnceInARound) {
  AddressTurns turns(3);
  EXPECT_THAT(round_of(turns), ElementsAre(0, 1, 2));
  EXPECT_THAT(round_of(turns), ElementsAre(0, 1, 2));
}

TEST(AddressTurns, BeginARoundAfterTheAddressThatWasLost) {
  AddressTurns turns(3);
  turns.begin_round();  // the first one answers, and is lost later
  EXPECT_EQ(turns.index(), 0u);
  EXPECT_THAT(round_of(turns), ElementsAre(1, 2, 0));
  turns.begin_round();
  EXPECT_TRUE(turns.next());  // the third one answers
  EXPECT_EQ(turns.index(), 2u);
  EXPECT_THAT(round_of(turns), ElementsAre(0, 1, 2));
}

TEST(AddressTurns, StayWithTheOnlyAddress) {
  AddressTurns turns(1);
  EXPECT_THAT(round_of(turns), ElementsAre(0));
  EXPECT_THAT(round_of(turns), ElementsAre(0));
}

}  // namespace
}  // namespace millrace::server
