#include "core/broker/rate_limits.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/broker/parts.hpp"

namespace millrace::broker {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr std::uint64_t plenty = 1'000'000;

PendingEntry value(std::string_view topic, std::string_view payload,
                   std::uint32_t subscription = 1) {
  return waiting(message(topic, payload), 0, subscription);
}
ConflationKey key(std::string_view topic, std::uint32_t subscription = 1) {
  return key_of(value(topic, "", subscription));
}
bool holds(RateLimits& limits, PendingEntry entry, std::int64_t now_ns,
           std::uint64_t bytes_max = plenty) {
  return limits.hold(entry, now_ns, bytes_max);
}
// Collects what is released.
auto into(std::vector<std::string>& payloads) {
  return [&](const PendingEntry& entry) { payloads.push_back(text_of(entry.delivery.message)); };
}

TEST(RateLimits, HoldAValueBackUntilItsTopicMayGoAgain) {
  RateLimits limits;
  EXPECT_FALSE(holds(limits, value("a", "first"), 0)) << "nothing was sent yet";
  limits.note_sent(key("a"), 100, plenty);
  EXPECT_TRUE(holds(limits, value("a", "early"), 99));
  limits.take_held(key("a"));
  EXPECT_FALSE(holds(limits, value("a", "in time"), 100));
  EXPECT_FALSE(holds(limits, value("b", "another topic"), 0));
  EXPECT_FALSE(holds(limits, value("a", "another subscription", 2), 0));
}

TEST(RateLimits, HoldAnUnchangedValueBackUntilItsTime) {
  RateLimits limits;
  std::vector<std::string> released;
  PendingEntry unchanged = value("a", "unchanged");
  ASSERT_TRUE(limits.hold_until(unchanged, 100, plenty, plenty));
  EXPECT_FALSE(holds(limits, value("a", "a change"), 1)) << "no rate limit keeps it";
  EXPECT_EQ(limits.next_ns(), 100);
  limits.end_due(99, into(released));
  EXPECT_THAT(released, IsEmpty());
  limits.end_due(100, into(released));
  EXPECT_THAT(released, ElementsAre("unchanged"));
  EXPECT_TRUE(limits.empty());
}

TEST(RateLimits, HoldAnUnchangedValueAsLongAsTheRateLimitSaysIfThatIsLonger) {
  RateLimits limits;
  limits.note_sent(key("a"), 200, plenty);
  PendingEntry unchanged = value("a", "unchanged");
  ASSERT_TRUE(limits.hold_until(unchanged, 100, plenty, plenty));
  EXPECT_EQ(limits.next_ns(), 200);
}

TEST(RateLimits, HoldAChangeNoLongerThanTheRateLimitSays) {
  RateLimits limits;
  limits.note_sent(key("a"), 50, plenty);
  PendingEntry unchanged = value("a", "unchanged");
  ASSERT_TRUE(limits.hold_until(unchanged, 100, plenty, plenty));
  ASSERT_TRUE(limits.take_held(key("a")));
  EXPECT_TRUE(holds(limits, value("a", "a change"), 49));
  EXPECT_EQ(limits.next_ns(), 50);
}

TEST(RateLimits, HoldNoUnchangedValueForWhichThereIsNoRoom) {
  RateLimits limits;
  PendingEntry entry = value("a", "still here");
  EXPECT_FALSE(limits.hold_until(entry, 100, entry.bytes() - 1, plenty));
  EXPECT_FALSE(limits.hold_until(entry, 100, plenty, 0));
  EXPECT_EQ(text_of(entry.delivery.message), "still here");
  EXPECT_TRUE(limits.empty());
}

TEST(RateLimits, LeaveAValueThatMayGoWhereItIs) {
  RateLimits limits;
  limits.note_sent(key("a"), 100, plenty);
  PendingEntry entry = value("a", "still here");
  ASSERT_FALSE(limits.hold(entry, 100, plenty));
  EXPECT_EQ(text_of(entry.delivery.message), "still here");
  ASSERT_FALSE(limits.hold(entry, 0, entry.bytes() - 1)) << "too early, but not lost";
  EXPECT_EQ(text_of(entry.delivery.message), "still here");
  EXPECT_TRUE(limits.hold(entry, 0, entry.bytes()));
}

TEST(RateLimits, GiveBackWhatANewerValueReplaces) {
  RateLimits limits;
  EXPECT_FALSE(limits.take_held(key("a")));
  limits.note_sent(key("a"), 100, plenty);
  EXPECT_FALSE(limits.take_held(key("a")));
  ASSERT_TRUE(holds(limits, value("a", "old"), 1));
  const auto held = limits.take_held(key("a"));
  ASSERT_TRUE(held);
  EXPECT_EQ(text_of(held->delivery.message), "old");
  EXPECT_EQ(limits.held_bytes(), 0u);
  EXPECT_FALSE(limits.take_held(key("a"))) << "once";
  EXPECT_TRUE(holds(limits, value("a", "new"), 1)) << "the limit goes on";
}

TEST(RateLimits, LetATopicBeyondTheirNumberGoAtAnyTime) {
  RateLimits limits;
  limits.note_sent(key("a"), 100, 1);
  limits.note_sent(key("b"), 100, 1);
  EXPECT_EQ(limits.size(), 1u);
  EXPECT_FALSE(holds(limits, value("b", "x"), 0));
  limits.note_sent(key("a"), 200, 1);
  EXPECT_TRUE(holds(limits, value("a", "x"), 150)) << "one that is there goes on at the limit";
}

TEST(RateLimits, AreDueOnceHoweverOftenTheirTopicIsSent) {
  RateLimits limits;
  for (const std::int64_t next_ns : {100, 300, 200}) limits.note_sent(key("a"), next_ns, plenty);
  EXPECT_EQ(limits.size(), 1u);
  EXPECT_EQ(limits.next_ns(), 200);
  std::vector<std::string> ended;
  ASSERT_TRUE(holds(limits, value("a", "last"), 0));
  limits.end_due(199, into(ended));
  EXPECT_THAT(ended, IsEmpty());
  limits.end_due(200, into(ended));
  limits.end_due(1000, into(ended));
  EXPECT_THAT(ended, ElementsAre("last"));
  EXPECT_TRUE(limits.empty());
  EXPECT_EQ(limits.next_ns(), std::nullopt);
}

TEST(RateLimits, EndInTheOrderInWhichTheyAreDue) {
  RateLimits limits;
  const std::pair<std::string, std::int64_t> due[] = {{"c", 30}, {"a", 10}, {"d", 40}, {"b", 20}};
  for (const auto& [topic, next_ns] : due) {
    limits.note_sent(key(topic), next_ns, plenty);
    if (topic != "b") {
      ASSERT_TRUE(holds(limits, value(topic, topic), 0));
    }
  }
  std::vector<std::string> ended;
  limits.end_due(30, into(ended));
  EXPECT_THAT(ended, ElementsAre("a", "c")) << "and nothing for the one that held nothing";
  EXPECT_EQ(limits.size(), 1u);
  EXPECT_EQ(limits.held_bytes(), value("d", "d").bytes());
}

TEST(RateLimits, OfASubscriptionEndWithItAndThoseOfOthersStay) {
  RateLimits limits;
  for (const char* topic : {"a", "b"}) {
    for (const std::uint32_t subscription : {1u, 2u}) {
      limits.note_sent(key(topic, subscription), 100, plenty);
    }
  }
  ASSERT_TRUE(holds(limits, value("a", "of 1", 1), 0));
  ASSERT_TRUE(holds(limits, value("a", "of 2", 2), 0));
  std::vector<std::string> forgotten;
  limits.forget(1, into(forgotten));
  limits.forget(1, into(forgotten));
  limits.forget(3, into(forgotten));
  EXPECT_THAT(forgotten, ElementsAre("of 1"));
  EXPECT_EQ(limits.size(), 2u);
  EXPECT_FALSE(holds(limits, value("a", "x", 1), 0));
  EXPECT_TRUE(holds(limits, value("b", "x", 2), 0));
}

TEST(RateLimits, KeepTheirTimesWhenTheyReleaseWhatTheyHold) {
  RateLimits limits;
  for (const char* topic : {"a", "b", "c"}) limits.note_sent(key(topic), 100, plenty);
  ASSERT_TRUE(holds(limits, value("a", "1"), 0));
  ASSERT_TRUE(holds(limits, value("b", "2"), 0));
  std::vector<std::string> released;
  limits.release_all(into(released));
  EXPECT_THAT(released, UnorderedElementsAre("1", "2"));
  EXPECT_EQ(limits.held_bytes(), 0u);
  EXPECT_EQ(limits.size(), 3u);
  EXPECT_TRUE(holds(limits, value("a", "3"), 99));
}

TEST(RateLimits, TellHowManyCameAndWentSinceTheyWereAskedLast) {
  RateLimits limits;
  EXPECT_TRUE(limits.is_told());
  for (const char* topic : {"a", "b", "c"}) limits.note_sent(key(topic), 100, plenty);
  limits.note_sent(key("a"), 200, plenty);
  EXPECT_FALSE(limits.is_told());
  EXPECT_EQ(limits.take_change(), 3);
  EXPECT_EQ(limits.take_change(), 0);
  limits.end_due(100, [](const PendingEntry&) {});
  EXPECT_EQ(limits.take_change(), -2);
  limits.clear();
  EXPECT_FALSE(limits.is_told());
  EXPECT_EQ(limits.take_change(), -1);
  EXPECT_TRUE(limits.is_told());
}

TEST(RateLimits, HaveNothingLeftWhenTheyAreCleared) {
  RateLimits limits;
  limits.note_sent(key("a"), 100, plenty);
  ASSERT_TRUE(holds(limits, value("a", "1"), 0));
  EXPECT_GT(limits.memory_bytes(), RateLimits::limit_bytes);
  limits.clear();
  EXPECT_EQ(limits.memory_bytes(), 0u);
  EXPECT_EQ(limits.next_ns(), std::nullopt);
  limits.for_each_held([](const PendingEntry&) { ADD_FAILURE(); });
  EXPECT_FALSE(holds(limits, value("a", "2"), 0));
}

// The same of a few plain maps, whatever comes in whatever order.
TEST(RateLimits, CountWhatTheyKeep) {
  struct Limit {
    std::int64_t next_ns = 0;
    std::optional<std::uint32_t> held;
  };
  using Key = std::tuple<std::uint32_t, std::string>;
  std::map<Key, Limit> expected;
  RateLimits limits;
  std::minstd_rand random(7);
  constexpr std::uint64_t count_max = 8;
  constexpr std::uint64_t bytes_max = 120;
  std::int64_t now_ns = 0;
  const auto held_bytes = [&] {
    std::uint64_t bytes = 0;
    for (const auto& [of, limit] : expected) bytes += limit.held.value_or(0);
    return bytes;
  };
  for (int round = 0; round < 20'000; ++round) {
    const auto subscription = static_cast<std::uint32_t>(1 + random() % 3);
    const std::string topic = "t" + std::to_string(random() % 5);
    const auto found = expected.find({subscription, topic});
    switch (random() % 8) {
      case 0: {
        now_ns += static_cast<std::int64_t>(random() % 20);
        limits.end_due(now_ns, [](const PendingEntry&) {});
        std::erase_if(expected, [&](const auto& one) { return one.second.next_ns <= now_ns; });
        break;
      }
      case 1:
        limits.forget(subscription, [](const PendingEntry&) {});
        if (random() % 4 != 0) limits.forget(9, [](const PendingEntry&) { ADD_FAILURE(); });
        std::erase_if(expected,
                      [&](const auto& one) { return std::get<0>(one.first) == subscription; });
        break;
      case 2:
      case 3: {
        const std::int64_t next_ns = now_ns + 1 + static_cast<std::int64_t>(random() % 50);
        limits.note_sent(key(topic, subscription), next_ns, count_max);
        if (found != expected.end()) {
          found->second.next_ns = next_ns;
        } else if (expected.size() < count_max) {
          expected[{subscription, topic}].next_ns = next_ns;
        }
        break;
      }
      default: {
        PendingEntry entry = value(topic, std::string(random() % 30, 'x'), subscription);
        const std::uint32_t bytes = entry.bytes();
        const bool had = limits.take_held(key_of(entry)).has_value();
        ASSERT_EQ(had, found != expected.end() && found->second.held);
        if (had) found->second.held.reset();
        const bool waits = found != expected.end() && now_ns < found->second.next_ns &&
                           held_bytes() + bytes <= bytes_max;
        ASSERT_EQ(limits.hold(entry, now_ns, bytes_max), waits) << "round " << round;
        if (waits) found->second.held = bytes;
      }
    }
    ASSERT_EQ(limits.size(), expected.size());
    ASSERT_EQ(limits.held_bytes(), held_bytes());
    std::optional<std::int64_t> next_ns;
    for (const auto& [of, limit] : expected) {
      next_ns = std::min(next_ns.value_or(limit.next_ns), limit.next_ns);
    }
    ASSERT_EQ(limits.next_ns(), next_ns);
  }
}

}  // namespace
}  // namespace millrace::broker
