#include "core/broker/history.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/broker/topic_hash.hpp"
#include "core/broker/topic_table.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

struct Rings : testing::Test {
  ProcessorStats stats;
  TopicTable topics{TopicLimits{}};
  History history{{.depth = 3, .bytes_max = 1 << 20}, stats};
  std::uint64_t sequence = 0;

  Topic& topic(std::string_view name) { return topics.obtain(topic_hash(name), name, sequence); }
  void add(std::string_view name, std::string_view payload = "x") {
    ++sequence;
    history.add(topic(name), sequence, message(name, payload).copy_to_keep().buffer);
  }
  std::vector<std::uint64_t> sequences(std::string_view name) {
    std::vector<std::uint64_t> result;
    for (std::uint64_t after = 0; const auto* entry = history.next(topic(name), after);) {
      result.push_back(after = entry->sequence);
    }
    return result;
  }
  using Sequences = std::vector<std::uint64_t>;
};

TEST_F(Rings, KeepTheLastValuesOfEachTopic) {
  for (int i = 0; i < 5; ++i) add("a");
  add("b");
  EXPECT_EQ(sequences("a"), (Sequences{3, 4, 5}));
  EXPECT_EQ(sequences("b"), (Sequences{6}));
  EXPECT_EQ(stats.history_values.value(), 4u);
  EXPECT_EQ(history.size(topic("c")), 0u);
}

TEST_F(Rings, FindTheLastOfThoseUpToAPublish) {
  for (int i = 0; i < 3; ++i) add("a");
  EXPECT_EQ(history.first(topic("a"), 2, 2)->sequence, 1u);
  EXPECT_EQ(history.first(topic("a"), 2, 3)->sequence, 2u);
  EXPECT_EQ(history.first(topic("a"), 9, 9)->sequence, 1u);
  EXPECT_EQ(history.first(topic("a"), 2, 0), nullptr);
  EXPECT_TRUE(history.has(topic("a"), 2));
  EXPECT_FALSE(history.has(topic("a"), 4));
}

TEST_F(Rings, FollowADepthThatChanges) {
  for (int i = 0; i < 4; ++i) add("a");
  history.set_limits({.depth = 2, .bytes_max = 1 << 20});
  add("a");
  EXPECT_EQ(sequences("a"), (Sequences{4, 5}));
  history.set_limits({.depth = 10, .bytes_max = 1 << 20});
  for (int i = 0; i < 12; ++i) add("a");
  EXPECT_EQ(history.size(topic("a")), 10u);
  EXPECT_EQ(history.entry_bytes(), history.recount_entry_bytes());
}

TEST_F(Rings, GiveUpTheOldestOfTheTopicThatWasPublishedLongestAgo) {
  add("quiet");
  add("quiet");
  add("a");
  add("quiet");
  add("b");
  add("a");
  EXPECT_EQ(history.evict_oldest(2), 2u);
  EXPECT_EQ(sequences("quiet"), (Sequences{4}));
  EXPECT_EQ(history.evict_oldest(1), 1u);
  EXPECT_FALSE(topic("quiet").has_history);
  EXPECT_EQ(history.evict_oldest(100), 3u);
  EXPECT_EQ(history.bytes(), 0u);
  EXPECT_EQ(history.entry_bytes(), 0u);
  EXPECT_EQ(stats.history_values.value(), 0u);
}

TEST_F(Rings, EvictUntilTheirLimitHoldsAndEndWhenTheyAreNotKept) {
  history.set_limits({.depth = 100, .bytes_max = 10'000});
  for (int i = 0; i < 100; ++i) add("a", std::string(1000, '.'));
  EXPECT_TRUE(history.over_limits());
  EXPECT_GT(history.evict(1000), 80u);
  EXPECT_LE(history.bytes(), 10'000u);
  EXPECT_EQ(sequences("a").back(), 100u) << "the newest stays";
  history.set_limits({});
  EXPECT_TRUE(history.over_limits());
  history.evict(1000);
  EXPECT_EQ(history.bytes(), 0u);
}

}  // namespace
}  // namespace millrace::broker
