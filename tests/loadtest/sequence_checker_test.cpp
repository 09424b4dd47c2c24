#include "loadtest/sequence_checker.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>
#include <random>
#include <vector>

namespace millrace::loadtest {
namespace {

SequenceTally see_all(std::initializer_list<std::uint64_t> sequence) {
  SequenceChecker checker;
  SequenceTally tally;
  for (const std::uint64_t s : sequence) checker.see(s, tally);
  return tally;
}

TEST(SequenceChecker, FindsNoFaultInOrder) {
  const SequenceTally t = see_all({0, 1, 2, 3});
  EXPECT_EQ(t.received, 4u);
  EXPECT_EQ(t.gaps + t.duplicates + t.reordered, 0u);
}

TEST(SequenceChecker, CountsAGapOnceHoweverWide) {
  const SequenceTally t = see_all({0, 10, 11});
  EXPECT_EQ(t.received, 3u);
  EXPECT_EQ(t.gaps, 1u);
}

TEST(SequenceChecker, CountsAMissingFirstMessageAsAGap) {
  EXPECT_EQ(see_all({1, 2}).gaps, 1u);
}

TEST(SequenceChecker, TellsALateMessageFromADuplicate) {
  const SequenceTally t = see_all({0, 2, 1, 1, 2});
  EXPECT_EQ(t.received, 3u);
  EXPECT_EQ(t.reordered, 1u);
  EXPECT_EQ(t.duplicates, 2u);
}

TEST(SequenceChecker, TakesLateMessagesOutOfEveryPartOfAGap) {
  // 1..7 are missing; then the first, the last, a middle one and the others arrive.
  const SequenceTally t = see_all({0, 8, 1, 7, 4, 2, 3, 5, 6});
  EXPECT_EQ(t.received, 9u);
  EXPECT_EQ(t.reordered, 7u);
  EXPECT_EQ(t.duplicates, 0u);
}

TEST(SequenceChecker, CountsAnyShuffleAsReceivedOnceEach) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::uint64_t> order(500);
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    SequenceChecker checker;
    SequenceTally tally;
    for (const std::uint64_t s : order) checker.see(s, tally);
    for (const std::uint64_t s : order) checker.see(s, tally);
    EXPECT_EQ(tally.received, order.size());
    EXPECT_EQ(tally.duplicates, order.size());
    EXPECT_EQ(checker.next(), order.size());
  }
}

TEST(SequenceChecker, RemembersABoundedNumberOfGaps) {
  SequenceChecker checker;
  SequenceTally tally;
  const std::uint64_t many = SequenceChecker::kGapsMax * 4;
  for (std::uint64_t s = 1; s < many; s += 2) checker.see(s, tally);
  EXPECT_EQ(tally.gaps, many / 2);
  checker.see(many - 2, tally);  // in the newest gap: still known
  EXPECT_EQ(tally.reordered, 1u);
  checker.see(0, tally);  // in the oldest: forgotten
  EXPECT_EQ(tally.duplicates, 1u);
}

}  // namespace
}  // namespace millrace::loadtest
