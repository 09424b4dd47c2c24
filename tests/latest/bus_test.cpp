#include "core/latest/bus.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/latest/allocation_count.hpp"

namespace millrace::latest {
namespace {

std::vector<std::string> sorted(std::vector<std::string> names) {
  std::ranges::sort(names);
  return names;
}

TEST(Bus, HasOneTopicPerName) {
  Bus<int> bus;
  const auto topic = bus.topic("a/b");
  EXPECT_EQ(bus.topic("a/b"), topic);
  EXPECT_NE(bus.topic("a/c"), topic);
  EXPECT_EQ(bus.topic_count(), 2u);
}

TEST(Bus, FindsWithoutMaking) {
  Bus<int> bus;
  EXPECT_FALSE(bus.find("a"));
  EXPECT_EQ(bus.topic_count(), 0u);
  const auto topic = bus.topic("a");
  EXPECT_EQ(bus.find("a"), topic);
}

TEST(Bus, BringsPublishersAndSubscribersTogetherByName) {
  Bus<std::string> bus;
  auto subscriber = bus.subscribe("news");
  EXPECT_EQ(bus.publish("news", "first"), 1u);
  EXPECT_EQ(bus.publish("other", "unheard"), 1u);
  EXPECT_EQ(*subscriber.try_get().value(), "first");
  EXPECT_EQ(subscriber.try_get().news(), News::nothing);
  EXPECT_EQ(*bus.subscribe("other").try_get().value(), "unheard");
}

TEST(Bus, ListsItsTopics) {
  Bus<int> bus;
  for (const char* name : {"b", "a", "c/d"}) bus.publish(name, 1);
  EXPECT_EQ(sorted(bus.topic_names()), (std::vector<std::string>{"a", "b", "c/d"}));
}

TEST(Bus, ForgetsTopicsThatNobodyHolds) {
  Bus<int> bus;
  const auto held = bus.topic("held");
  auto subscriber = bus.subscribe("followed");
  bus.publish("idle", 1);
  bus.publish("idle too", 1);
  EXPECT_EQ(bus.cleanup_unused_topics(), 2u);
  EXPECT_EQ(sorted(bus.topic_names()), (std::vector<std::string>{"followed", "held"}));
  EXPECT_EQ(bus.topic("held"), held);
  bus.publish("followed", 5);
  EXPECT_EQ(subscriber.try_get().value(), 5);
  EXPECT_EQ(bus.cleanup_unused_topics(), 0u);
}

TEST(Bus, StartsAnewWithATopicThatItForgot) {
  Bus<int> bus;
  bus.publish("a", 1);
  bus.cleanup_unused_topics();
  EXPECT_FALSE(bus.find("a"));
  EXPECT_EQ(bus.subscribe("a").try_get().news(), News::nothing);
  EXPECT_EQ(bus.publish("a", 2), 1u);
}

TEST(Bus, RefusesTopicsBeyondItsLimit) {
  Bus<int> bus({.topics_max = 2});
  bus.publish("a", 1);
  bus.publish("b", 1);
  EXPECT_FALSE(bus.topic("c"));
  EXPECT_EQ(bus.publish("c", 1), 0u);
  EXPECT_EQ(bus.subscribe("c").try_get().news(), News::closed);
  EXPECT_EQ(bus.publish("a", 2), 2u);
  EXPECT_EQ(bus.topic_count(), 2u);
  bus.cleanup_unused_topics();
  EXPECT_TRUE(bus.topic("c"));
}

TEST(Bus, ClosesItsTopicsAndMakesNoMore) {
  Bus<int> bus;
  auto subscriber = bus.subscribe("a");
  bus.publish("a", 1);
  bus.close();
  EXPECT_EQ(bus.publish("a", 2), 0u);
  EXPECT_FALSE(bus.topic("b"));
  EXPECT_EQ(subscriber.try_get().value(), 1);
  EXPECT_EQ(subscriber.try_get().news(), News::closed);
}

TEST(Bus, IsOutlivedByTopicsAndSubscribersWhichHearOfItsEnd) {
  std::optional<Bus<std::string>> bus(std::in_place);
  const auto topic = bus->topic("a");
  auto subscriber = bus->subscribe("a");
  bus->publish("a", "last words");
  bus.reset();
  EXPECT_EQ(*topic->load()->value, "last words");
  EXPECT_EQ(*subscriber.wait().value(), "last words");
  EXPECT_EQ(subscriber.wait().news(), News::closed);
}

TEST(Bus, AllocatesNothingToFindATopicOrToPublishPlainValues) {
  Bus<double> bus;
  const std::string_view name = "a name that is much too long for a small string's own buffer";
  auto subscriber = bus.subscribe(name);
  bus.publish(name, 1.0);
  const std::size_t before = allocation_count();
  for (int i = 0; i < 100; ++i) {
    bus.publish(name, 2.0 + i);
    const auto topic = bus.topic(name);
    const auto found = bus.find(name);
    const auto poll = subscriber.try_get();
    ASSERT_EQ(poll.value(), 2.0 + i);
  }
  EXPECT_EQ(allocation_count(), before);
}

TEST(BusPresets, MakeRoomForTheTopicsTheyNameAtOnce) {
  auto bus = Bus<int>::with_capacity(10'000);
  std::vector<std::string> names;
  for (int i = 0; i < 10'000; ++i) names.push_back(std::to_string(i));
  const std::size_t before = allocation_count();
  for (const std::string& name : names) bus.publish(name, 1);
  EXPECT_EQ(allocation_count(), before + 10'000);  // each topic is one allocation, the index none
  EXPECT_EQ(bus.topic_count(), 10'000u);
}

TEST(BusPresets, DifferInRoomAndInHowLongTheyLookBeforeTheySleep) {
  EXPECT_GT(BusOptions::high_throughput().topics_expected, BusOptions().topics_expected);
  EXPECT_EQ(BusOptions::high_throughput().wait_spins, 0u);
  EXPECT_GT(BusOptions::low_latency().wait_spins, BusOptions().wait_spins);
  EXPECT_EQ(BusOptions::with_capacity(5'000'000).topics_max, 5'000'000u);
  EXPECT_EQ(BusOptions::with_capacity(5).topics_max, BusOptions().topics_max);
}

TEST(BusPresets, WorkAlike) {
  auto fast = Bus<int>::high_throughput();
  auto quick = Bus<int>::low_latency();
  for (Bus<int>* bus : {&fast, &quick}) {
    auto subscriber = bus->subscribe("a");
    bus->publish("a", 1);
    EXPECT_EQ(subscriber.wait().value(), 1);
  }
}

}  // namespace
}  // namespace millrace::latest
