#include "core/latest/bus.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <coroutine>
#include <new>
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
  const auto topic = bus.topic("a/b").value();
  EXPECT_EQ(bus.topic("a/b").value(), topic);
  EXPECT_NE(bus.topic("a/c").value(), topic);
  EXPECT_EQ(bus.topic_count(), 2u);
}

TEST(Bus, FindsWithoutMaking) {
  Bus<int> bus;
  EXPECT_EQ(bus.find("a").error(), Error::not_found);
  EXPECT_EQ(bus.topic_count(), 0u);
  const auto topic = bus.topic("a").value();
  EXPECT_EQ(bus.find("a").value(), topic);
}

TEST(Bus, BringsPublishersAndSubscribersTogetherByName) {
  Bus<std::string> bus;
  auto subscriber = bus.subscribe("news");
  EXPECT_EQ(bus.publish("news", "first").value(), 1u);
  EXPECT_EQ(bus.publish("other", "unheard").value(), 1u);
  EXPECT_EQ(*subscriber.try_get().value(), "first");
  EXPECT_EQ(subscriber.try_get().news(), News::nothing);
  EXPECT_EQ(*bus.subscribe("other").try_get().value(), "unheard");
}

TEST(Bus, ListsItsTopics) {
  Bus<int> bus;
  for (const char* name : {"b", "a", "c/d"}) bus.publish(name, 1).value();
  EXPECT_EQ(sorted(bus.topic_names()), (std::vector<std::string>{"a", "b", "c/d"}));
}

TEST(Bus, CleansUpTopicsThatAreNotReferenced) {
  Bus<int> bus;
  const auto held = bus.topic("held").value();
  auto subscriber = bus.subscribe("followed");
  bus.publish("idle", 1).value();
  bus.publish("idle too", 1).value();
  EXPECT_EQ(bus.cleanup_unused_topics(), 2u);
  EXPECT_EQ(sorted(bus.topic_names()), (std::vector<std::string>{"followed", "held"}));
  EXPECT_EQ(bus.topic("held").value(), held);
  bus.publish("followed", 5).value();
  EXPECT_EQ(subscriber.try_get().value(), 5);
  EXPECT_EQ(bus.cleanup_unused_topics(), 0u);
}

TEST(Bus, StartsAnewWithATopicThatItForgot) {
  Bus<int> bus;
  bus.publish("a", 1).value();
  bus.cleanup_unused_topics();
  EXPECT_FALSE(bus.find("a"));
  EXPECT_EQ(bus.subscribe("a").try_get().news(), News::nothing);
  EXPECT_EQ(bus.publish("a", 2).value(), 1u);
}

TEST(Bus, GivesItsSubscribersItsWaiting) {
  for (const auto spin_max : {std::chrono::nanoseconds(0), std::chrono::nanoseconds(77)}) {
    Bus<int> bus({.waiting = {.spin_max = spin_max}});
    const auto topic = bus.topic("t").value();
    EXPECT_EQ(topic->subscribe().spin_max_ns(), spin_max.count());
    EXPECT_EQ(bus.subscribe("t").spin_max_ns(), spin_max.count());
  }
}

TEST(Bus, RefusesTopicsBeyondItsLimit) {
  Bus<int> bus({.topics_max = 2});
  bus.publish("a", 1).value();
  bus.publish("b", 1).value();
  EXPECT_EQ(bus.topic("c").error(), Error::too_many_topics);
  EXPECT_EQ(bus.publish("c", 1).error(), Error::too_many_topics);
  EXPECT_EQ(bus.subscribe("c").try_get().news(), News::closed);
  EXPECT_EQ(bus.publish("a", 2).value(), 2u);
  EXPECT_EQ(bus.topic_count(), 2u);
  bus.cleanup_unused_topics();
  EXPECT_TRUE(bus.topic("c"));
}

TEST(Bus, ClosesItsTopicsAndMakesNoMore) {
  Bus<int> bus;
  auto subscriber = bus.subscribe("a");
  bus.publish("a", 1).value();
  bus.close();
  EXPECT_EQ(bus.publish("a", 2).error(), Error::closed);
  EXPECT_EQ(bus.publish("b", 2).error(), Error::closed);
  EXPECT_EQ(bus.topic("b").error(), Error::closed);
  EXPECT_THROW((void)bus.topic("b").value()->publish(2), base::BadResult);
  EXPECT_EQ(subscriber.try_get().value(), 1);
  EXPECT_EQ(subscriber.try_get().news(), News::closed);
}

TEST(Bus, RemovesATopicThatIsReferenced) {
  Bus<int> bus;
  auto subscriber = bus.subscribe("a");
  const auto topic = bus.topic("a").value();
  bus.publish("a", 1).value();
  EXPECT_TRUE(bus.remove("a"));
  EXPECT_EQ(bus.topic_count(), 0u);
  EXPECT_EQ(bus.find("a").error(), Error::not_found);
  EXPECT_EQ(topic->publish(2).error(), Error::closed);
  EXPECT_EQ(subscriber.try_get().value(), 1);
  EXPECT_EQ(subscriber.try_get().news(), News::closed);
  EXPECT_EQ(bus.remove("a").error(), Error::not_found);
}

TEST(Bus, StartsAnewWithATopicThatWasRemoved) {
  Bus<int> bus({.topics_max = 1});
  bus.publish("a", 1).value();
  EXPECT_TRUE(bus.remove("a"));
  auto subscriber = bus.subscribe("a");
  EXPECT_EQ(subscriber.try_get().news(), News::nothing);
  EXPECT_EQ(bus.publish("a", 2).value(), 1u);
  EXPECT_EQ(subscriber.try_get().value(), 2);
}

/// Runs at once until its first wait, then on the thread that resumes it.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { throw; }
  };
};

Detached make_at_the_end(Bus<int>& bus, Subscriber<int>& subscriber, const char* name,
                         Error& error) {
  EXPECT_EQ((co_await subscriber.async_wait()).news(), News::closed);
  error = bus.topic(name).error();
}

// The coroutine is resumed inside remove() or close(), on the calling thread.
TEST(Bus, MayBeCalledByACoroutineThatTheEndOfItsTopicResumes) {
  Bus<int> bus;
  auto removed = bus.subscribe("removed");
  auto closed = bus.subscribe("closed");
  Error after_remove = Error::full;
  Error after_close = Error::full;
  make_at_the_end(bus, removed, "new", after_remove);
  make_at_the_end(bus, closed, "newer", after_close);
  EXPECT_TRUE(bus.remove("removed"));
  EXPECT_EQ(after_remove, Error::none);
  bus.close();
  EXPECT_EQ(after_close, Error::closed);
}

TEST(Bus, ClosesTopicsAndSubscribersThatOutliveIt) {
  std::optional<Bus<std::string>> bus(std::in_place);
  const auto topic = bus->topic("a").value();
  auto subscriber = bus->subscribe("a");
  bus->publish("a", "last words").value();
  bus.reset();
  EXPECT_EQ(*topic->load()->value, "last words");
  EXPECT_EQ(*subscriber.wait().value(), "last words");
  EXPECT_EQ(subscriber.wait().news(), News::closed);
}

TEST(Bus, AllocatesNothingToFindATopicOrToPublishPlainValues) {
  Bus<double> bus;
  const std::string_view name = "a name that is much too long for a small string's own buffer";
  auto subscriber = bus.subscribe(name);
  bus.publish(name, 1.0).value();
  const std::size_t before = allocation_count();
  for (int i = 0; i < 100; ++i) {
    bus.publish(name, 2.0 + i).value();
    const auto topic = bus.topic(name).value();
    const auto found = bus.find(name).value();
    const auto poll = subscriber.try_get();
    ASSERT_EQ(poll.value(), 2.0 + i);
  }
  EXPECT_EQ(allocation_count(), before);
}

TEST(Bus, ChangesNothingIfMemoryRunsOutDuringARemoval) {
  Bus<int> bus;
  for (int i = 0;; ++i) {
    const std::string name = std::to_string(i);
    auto subscriber = bus.subscribe(name);
    try {
      const OutOfMemory now;
      EXPECT_TRUE(bus.remove(name));  // most removals allocate nothing
    } catch (const std::bad_alloc&) {
      EXPECT_EQ(subscriber.try_get().news(), News::nothing);
      EXPECT_TRUE(bus.find(name));
      EXPECT_TRUE(bus.remove(name));
      EXPECT_EQ(subscriber.try_get().news(), News::closed);
      return;
    }
    ASSERT_LT(i, 1000);
  }
}

Detached wait_for_the_end(Subscriber<int>& subscriber, bool& ended) {
  (void)co_await subscriber.async_wait();
  ended = true;
}

TEST(Bus, ClosesAndWakesWithoutMemory) {
  Bus<int> bus;
  auto subscriber = bus.subscribe("a");
  bool ended = false;
  wait_for_the_end(subscriber, ended);
  {
    const OutOfMemory now;
    EXPECT_NO_THROW(bus.close());
  }
  EXPECT_TRUE(ended);
}

// Memory runs out at each allocation of the clean-up in turn.
TEST(Bus, ATopicThatAFailedCleanUpLeavesIsFound) {
  constexpr std::size_t kTopics = 100;
  bool is_complete = false;
  for (int allocations = 0; !is_complete; ++allocations) {
    Bus<int> bus;
    for (std::size_t i = 0; i < kTopics; ++i) bus.publish(std::to_string(i), 1).value();
    try {
      const OutOfMemory soon(allocations);
      is_complete = bus.cleanup_unused_topics() == kTopics;
    } catch (const std::bad_alloc&) {
    }
    for (const std::string& name : bus.topic_names()) ASSERT_TRUE(bus.find(name)) << allocations;
    const std::size_t left = bus.topic_count();
    EXPECT_EQ(bus.cleanup_unused_topics(), left) << allocations;
    EXPECT_EQ(bus.topic_count(), 0u);
  }
}

TEST(BusPresets, MakeRoomForTheTopicsTheyNameAtOnce) {
  auto bus = Bus<int>::with_capacity(10'000);
  std::vector<std::string> names;
  for (int i = 0; i < 10'000; ++i) names.push_back(std::to_string(i));
  const std::size_t before = allocation_count();
  for (const std::string& name : names) bus.publish(name, 1).value();
  EXPECT_EQ(allocation_count(), before + 10'000);  // each topic is one allocation, the index none
  EXPECT_EQ(bus.topic_count(), 10'000u);
}

TEST(BusPresets, DifferInRoomAndInHowLongTheyLookBeforeTheySleep) {
  EXPECT_GT(BusOptions::high_throughput().topics_expected, BusOptions().topics_expected);
  EXPECT_EQ(BusOptions::high_throughput().waiting.spin_max.count(), 0);
  EXPECT_GT(BusOptions::low_latency().waiting.spin_max, BusOptions().waiting.spin_max);
  EXPECT_EQ(BusOptions::with_capacity(5'000'000).topics_max, 5'000'000u);
  EXPECT_EQ(BusOptions::with_capacity(5).topics_max, BusOptions().topics_max);
}

TEST(BusPresets, WorkAlike) {
  auto fast = Bus<int>::high_throughput();
  auto quick = Bus<int>::low_latency();
  for (Bus<int>* bus : {&fast, &quick}) {
    auto subscriber = bus->subscribe("a");
    bus->publish("a", 1).value();
    EXPECT_EQ(subscriber.wait().value(), 1);
  }
}

}  // namespace
}  // namespace millrace::latest
