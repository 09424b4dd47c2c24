#include "core/broker/pending.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using testing::ElementsAre;
using Lane = PendingQueue::Lane;

PendingEntry entry(std::string_view topic, std::string_view payload) {
  PendingEntry made;
  made.delivery.message = message(topic, payload);
  made.subscription = 1;
  return made;
}

std::vector<std::string> pop_all(PendingQueue& pending, Lane lane) {
  std::vector<std::string> payloads;
  while (pending.front(lane) != nullptr) {
    const PendingEntry popped = pending.pop(lane);
    const auto payload = popped.delivery.message.payload();
    payloads.emplace_back(payload.begin(), payload.end());
  }
  return payloads;
}

TEST(PendingQueue, ReplacesACellAtItsPosition) {
  PendingQueue pending;
  EXPECT_FALSE(pending.push_cell(entry("a", "1")));
  EXPECT_FALSE(pending.push_cell(entry("b", "1")));
  EXPECT_TRUE(pending.push_cell(entry("a", "2")));
  EXPECT_THAT(pop_all(pending, Lane::newest), ElementsAre("2", "1"));
  EXPECT_EQ(pending.bytes(), 0u);
}

TEST(PendingQueue, ServesAHotTopicNoMoreOftenThanOthers) {
  PendingQueue pending;
  pending.push_cell(entry("hot", "1"));
  pending.push_cell(entry("rare", "r"));
  pending.pop(Lane::newest);
  pending.push_cell(entry("hot", "2"));  // behind the rare one now
  EXPECT_THAT(pop_all(pending, Lane::newest), ElementsAre("r", "2"));
}

TEST(PendingQueue, FoldsABacklogAndKeepsFoldingUntilItIsToldToStop) {
  PendingQueue pending;
  for (const char* value : {"1", "2", "3"}) pending.push_adaptive(entry("a", value));
  pending.push_adaptive(entry("b", "1"));
  EXPECT_TRUE(pending.has_adaptive());
  EXPECT_EQ(pending.collapse(), 2u);
  EXPECT_TRUE(pending.push_adaptive(entry("a", "4")));
  EXPECT_FALSE(pending.has_adaptive());
  EXPECT_THAT(pop_all(pending, Lane::newest), ElementsAre("4", "1"));
  EXPECT_TRUE(pending.collapsed());
  pending.unfold();
  pending.push_adaptive(entry("a", "5"));
  EXPECT_FALSE(pending.push_adaptive(entry("a", "6")));
}

TEST(PendingQueue, ASealedCellIsNeitherReplacedNorOvertaken) {
  PendingQueue pending;
  pending.push_cell(entry("a", "1"));
  pending.seal();
  EXPECT_FALSE(pending.push_cell(entry("a", "3")));
  pending.push_every(entry("a", "2"));
  EXPECT_EQ(pending.front(Lane::every), nullptr) << "the sealed cell goes first";
  EXPECT_EQ(pending.collapse(), 0u);
  EXPECT_TRUE(pending.push_cell(entry("a", "4")));
  pending.pop(Lane::newest);
  EXPECT_NE(pending.front(Lane::every), nullptr);
  EXPECT_THAT(pop_all(pending, Lane::newest), ElementsAre("4"));
}

TEST(PendingQueue, AFixedEntryHoldsItsPlaceAmongValues) {
  PendingQueue pending;
  pending.push_cell(entry("a", "1"));
  pending.push_fixed(entry("a", "fixed"));
  pending.push_cell(entry("a", "2"));
  EXPECT_TRUE(pending.push_cell(entry("a", "3")));
  pending.collapse();
  EXPECT_THAT(pop_all(pending, Lane::newest), ElementsAre("1", "fixed", "3"));
}

TEST(PendingQueue, AFixedEntryHoldsItsPlaceAfterARemoval) {
  PendingQueue pending;
  pending.push_cell(entry("b", "gone"));
  pending.push_cell(entry("a", "1"));
  pending.push_fixed(entry("a", "fixed"));
  pending.remove_if([](const PendingEntry& one) { return one.delivery.message.topic() == "b"; });
  EXPECT_FALSE(pending.push_cell(entry("a", "2")));
  EXPECT_THAT(pop_all(pending, Lane::newest), ElementsAre("1", "fixed", "2"));
}

TEST(PendingQueue, CountsBytesThroughAllOfIt) {
  PendingQueue pending;
  pending.push_every(entry("a", "12345"));
  pending.push_adaptive(entry("a", "1"));
  pending.push_adaptive(entry("a", "12345678"));
  pending.collapse();
  pending.remove_if([](const PendingEntry& one) { return one.bytes() < 11; });
  EXPECT_EQ(pending.size(), 1u);
  EXPECT_EQ(pending.bytes(), pending.front(Lane::newest)->bytes());
  EXPECT_TRUE(pending.push_adaptive(entry("a", "x"))) << "still indexed after the removal";
  pending.take_all();
  EXPECT_EQ(pending.bytes(), 0u);
  EXPECT_FALSE(pending.collapsed());
}

}  // namespace
}  // namespace millrace::broker
