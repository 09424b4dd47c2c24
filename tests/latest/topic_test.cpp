#include "core/latest/topic.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace millrace::latest {
namespace {

template <typename T>
Ref<Topic<T>> topic_of() {
  return Topic<T>::make("plant/temperature");
}

TEST(Topic, KnowsItsName) {
  EXPECT_EQ(topic_of<int>()->name(), "plant/temperature");
  EXPECT_EQ(topic_of<int>()->hash(), base::hash_name("plant/temperature"));
}

TEST(Topic, CountsVersionsFromOne) {
  auto topic = topic_of<int>();
  EXPECT_EQ(topic->version(), 0u);
  EXPECT_EQ(topic->publish(10).value(), 1u);
  EXPECT_EQ(topic->publish(11).value(), 2u);
  EXPECT_EQ(topic->load()->value, 11);
}

TEST(Topic, RefusesValuesAfterItWasClosed) {
  auto topic = topic_of<int>();
  topic->publish(1).value();
  topic->close();
  EXPECT_TRUE(topic->closed());
  EXPECT_EQ(topic->publish(2).error(), Error::closed);
  EXPECT_EQ(topic->load()->value, 1);
}

TEST(Topic, RefusesEmptyHandles) {
  struct Thing : RefCounted<Thing> {};
  const auto topic = Topic<Ref<Thing>>::make("things");
  EXPECT_EQ(topic->publish(Ref<Thing>()).error(), Error::empty_value);
  EXPECT_EQ(topic->publish(make_ref<Thing>()).value(), 1u);
}

struct Node : RefCounted<Node> {
  std::function<void()> at_end;
  ~Node() {
    if (at_end) at_end();
  }
};

// So the last reference is dropped after the topic's gate is released: that neither waits for the
// gate nor keeps others waiting.
TEST(Topic, DestroysAReplacedObjectWhenOthersCanPublishAgain) {
  auto topic = topic_of<Ref<Node>>();
  auto first = make_ref<Node>();
  Version published = 0;
  first->at_end = [&] { published = topic->publish(make_ref<Node>()).value(); };
  topic->publish(std::move(first)).value();
  EXPECT_EQ(topic->publish(make_ref<Node>()).value(), 2u);
  EXPECT_EQ(published, 3u);
  EXPECT_EQ(topic->version(), 3u);
}

TEST(Subscriber, GetsEachNewValueOnce) {
  auto topic = topic_of<std::string>();
  auto subscriber = topic->subscribe();
  EXPECT_EQ(subscriber.try_get().news(), News::nothing);
  topic->publish("one").value();
  auto poll = subscriber.try_get();
  ASSERT_EQ(poll.news(), News::fresh);
  EXPECT_EQ(*poll.value(), "one");
  EXPECT_EQ(poll.version(), 1u);
  EXPECT_EQ(subscriber.try_get().news(), News::nothing);
}

TEST(Subscriber, HasNoValueWithoutNews) {
  auto topic = topic_of<int>();
  auto subscriber = topic->subscribe();
  const auto error_of = [&] {
    const auto poll = subscriber.try_get();
    EXPECT_THROW((void)poll.version(), base::BadResult);
    try {
      (void)poll.value();
    } catch (const base::BadResult& bad) {
      return bad.error();
    }
    return Error::none;
  };
  EXPECT_EQ(error_of(), Error::nothing_new);
  topic->close();
  EXPECT_EQ(error_of(), Error::closed);
}

TEST(Subscriber, GetsThePresentValueFirstAndHasSkippedNothing) {
  auto topic = topic_of<int>();
  for (int i = 1; i <= 5; ++i) topic->publish(i).value();
  auto subscriber = topic->subscribe();
  const auto poll = subscriber.try_get();
  ASSERT_TRUE(poll);
  EXPECT_EQ(poll.value(), 5);
  EXPECT_EQ(poll.skipped(), 0u);
  EXPECT_EQ(subscriber.skipped_total(), 0u);
}

TEST(Subscriber, CountsWhatItSkipped) {
  auto topic = topic_of<int>();
  auto subscriber = topic->subscribe();
  for (int i = 1; i <= 4; ++i) topic->publish(i).value();
  EXPECT_EQ(subscriber.try_get().skipped(), 3u);
  topic->publish(5).value();
  EXPECT_EQ(subscriber.try_get().skipped(), 0u);
  for (int i = 6; i <= 10; ++i) topic->publish(i).value();
  EXPECT_EQ(subscriber.try_get().skipped(), 4u);
  EXPECT_EQ(subscriber.skipped_total(), 7u);
  EXPECT_EQ(subscriber.seen(), 10u);
}

TEST(Subscriber, DoesNotDependOnOthers) {
  auto topic = topic_of<int>();
  auto quick = topic->subscribe();
  auto slow = topic->subscribe();
  topic->publish(1).value();
  EXPECT_EQ(quick.try_get().value(), 1);
  topic->publish(2).value();
  EXPECT_EQ(quick.try_get().value(), 2);
  EXPECT_EQ(slow.try_get().value(), 2);
  EXPECT_EQ(slow.skipped_total(), 1u);
}

TEST(Subscriber, GetsTheLastValueBeforeClosed) {
  auto topic = topic_of<int>();
  auto subscriber = topic->subscribe();
  topic->publish(1).value();
  topic->close();
  EXPECT_EQ(subscriber.try_get().value(), 1);
  EXPECT_EQ(subscriber.try_get().news(), News::closed);
  EXPECT_EQ(subscriber.wait().news(), News::closed);
}

TEST(Subscriber, HoldsItsTopic) {
  auto topic = topic_of<int>();
  topic->publish(7).value();
  auto subscriber = topic->subscribe();
  topic = nullptr;
  EXPECT_EQ(subscriber.try_get().value(), 7);
  EXPECT_EQ(subscriber.topic()->ref_count(), 1u);
}

TEST(Subscriber, ReturnsFromWaitAtOnceWhenThereIsNews) {
  auto topic = topic_of<int>();
  auto subscriber = topic->subscribe();
  topic->publish(3).value();
  EXPECT_EQ(subscriber.wait().value(), 3);
  topic->publish(4).value();
  EXPECT_EQ(subscriber.wait_for(std::chrono::hours(1)).value(), 4);
}

TEST(Subscriber, GivesUpWaitingWhenTheTimeIsOver) {
  auto subscriber = topic_of<int>()->subscribe();
  EXPECT_EQ(subscriber.wait_for(std::chrono::milliseconds(5)).news(), News::nothing);
  EXPECT_EQ(subscriber.wait_for(std::chrono::nanoseconds(0)).news(), News::nothing);
  EXPECT_EQ(subscriber.wait_for(std::chrono::seconds(-1)).news(), News::nothing);
  EXPECT_EQ(subscriber.wait_until(WaitClock::time_point::min()).news(), News::nothing);
}

/// A minimal coroutine: starts at once, and is destroyed by its owner.
struct Task {
  struct promise_type {
    Task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { throw; }
  };
  std::coroutine_handle<promise_type> coroutine;
};

Task follow(Subscriber<int>& subscriber, std::vector<int>& seen, News& end) {
  for (;;) {
    const auto poll = co_await subscriber.async_wait();
    if (!poll) {
      end = poll.news();
      co_return;
    }
    seen.push_back(poll.value());
  }
}

TEST(AsyncWait, ResumesTheCoroutineWithEachNewValueUntilTheEnd) {
  auto topic = topic_of<int>();
  auto subscriber = topic->subscribe();
  topic->publish(1).value();
  std::vector<int> seen;
  News end = News::nothing;
  Task task = follow(subscriber, seen, end);
  topic->publish(2).value();
  topic->publish(3).value();
  EXPECT_EQ(seen, (std::vector{1, 2, 3}));
  EXPECT_FALSE(task.coroutine.done());
  topic->close();
  EXPECT_TRUE(task.coroutine.done());
  EXPECT_EQ(end, News::closed);
  task.coroutine.destroy();
}

TEST(AsyncWait, EndsWithNothingWhenItIsCancelled) {
  auto topic = topic_of<int>();
  auto subscriber = topic->subscribe();
  EXPECT_FALSE(subscriber.cancel());
  std::vector<int> seen;
  News end = News::fresh;
  Task task = follow(subscriber, seen, end);
  EXPECT_TRUE(subscriber.cancel());
  EXPECT_TRUE(task.coroutine.done());
  EXPECT_EQ(end, News::nothing);
  EXPECT_FALSE(subscriber.cancel());
  task.coroutine.destroy();
  topic->publish(1).value();
  EXPECT_EQ(subscriber.try_get().value(), 1);
}

TEST(AsyncWait, LeavesTheTopicWhenTheCoroutineIsDestroyed) {
  auto topic = topic_of<int>();
  auto subscriber = topic->subscribe();
  std::vector<int> seen;
  News end = News::nothing;
  Task task = follow(subscriber, seen, end);
  task.coroutine.destroy();
  EXPECT_FALSE(subscriber.cancel()) << "there is no wait any more";
  topic->publish(1).value();
  EXPECT_TRUE(seen.empty());
}

Task destroy_at_news(Subscriber<int>& subscriber, Task& other) {
  (void)co_await subscriber.async_wait();
  other.coroutine.destroy();
}

// Both coroutines wait for the same publish; who waits longest is notified first.
TEST(AsyncWait, ACoroutineMayDestroyAnotherThatWaits) {
  auto topic = topic_of<int>();
  auto one = topic->subscribe();
  auto two = topic->subscribe();
  std::vector<int> seen;
  News end = News::nothing;
  Task other;
  Task first = destroy_at_news(one, other);
  other = follow(two, seen, end);
  topic->publish(1).value();
  EXPECT_TRUE(first.coroutine.done());
  EXPECT_TRUE(seen.empty());
  EXPECT_FALSE(two.cancel()) << "there is no wait any more";
  first.coroutine.destroy();
}

Task drop_at_news(std::optional<Subscriber<int>>& subscriber, Ref<Topic<int>>& topic) {
  (void)co_await subscriber->async_wait();
  subscriber.reset();
  topic = nullptr;
}

TEST(AsyncWait, ACoroutineMayDropTheLastReferenceToItsTopic) {
  auto topic = topic_of<int>();
  std::optional<Subscriber<int>> subscriber(topic->subscribe());
  Task task = drop_at_news(subscriber, topic);
  EXPECT_EQ(topic->publish(1).value(), 1u);
  EXPECT_FALSE(topic);
  EXPECT_TRUE(task.coroutine.done());
  task.coroutine.destroy();
}

}  // namespace
}  // namespace millrace::latest
