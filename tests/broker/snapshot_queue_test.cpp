#include "core/broker/snapshot_queue.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace millrace::broker {
namespace {

using testing::ElementsAre;

class Snapshots : public testing::Test {
 protected:
  Subscription& subscription(std::string_view filter) {
    subscriptions.push_back(Subscription::make(filter, filter));
    return *subscriptions.back();
  }
  static SnapshotCursor cursor(const Subscription& of, std::uint64_t since = 0) {
    SnapshotCursor made;
    made.subscription = &of;
    made.walk.filter = of.filter();
    made.since = made.since_at_qos0 = since;
    return made;
  }
  // Of whom they are, in the order in which they are sent.
  std::vector<std::string> take_all() {
    std::vector<std::string> filters;
    for (; !queue.empty(); queue.pop_front()) {
      filters.emplace_back(queue.front().subscription->filter());
    }
    return filters;
  }

  std::vector<std::unique_ptr<Subscription>> subscriptions;
  SnapshotQueue queue;
};

TEST_F(Snapshots, AreSentInTheOrderOfTheSubscribes) {
  for (const char* filter : {"a", "b", "c"}) queue.add(cursor(subscription(filter)));
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_THAT(take_all(), ElementsAre("a", "b", "c"));
}

TEST_F(Snapshots, BeginAgainBehindAllOthersWhenOneSubscribesAgain) {
  Subscription& again = subscription("again");
  queue.add(cursor(again));
  queue.add(cursor(subscription("other")));
  queue.front().walk.started = true;
  queue.front().walk.after = "topic";
  queue.add(cursor(again));
  EXPECT_EQ(queue.size(), 2u) << "a subscription has one cursor";
  queue.pop_front();
  EXPECT_FALSE(queue.front().walk.started) << "from the first topic on";
  EXPECT_THAT(take_all(), ElementsAre("again"));
}

TEST_F(Snapshots, EndWhereverTheyStandAndOnce) {
  for (const char* filter : {"first", "middle", "last", "stays"}) {
    queue.add(cursor(subscription(filter)));
  }
  for (const std::size_t i : {1u, 0u, 2u}) {
    queue.end(*subscriptions[i]);
    queue.end(*subscriptions[i]);
  }
  queue.end(subscription("never subscribed"));
  EXPECT_THAT(take_all(), ElementsAre("stays"));
}

TEST_F(Snapshots, OfWhoIsDoneCanComeAgain) {
  Subscription& one = subscription("one");
  queue.add(cursor(one));
  queue.pop_front();
  queue.end(one);  // it has none any more
  queue.add(cursor(one));
  EXPECT_EQ(queue.size(), 1u);
}

// What a client misses at QoS 0 while it is away is not sent to it later; at QoS 1 it is.
TEST_F(Snapshots, LeaveToQoS0WhatCameAfterTheLastReturn) {
  queue.add(cursor(subscription("a"), 10));
  queue.add(cursor(subscription("b"), 30));
  EXPECT_EQ(queue.front().since_at_qos0, 10u);
  queue.note_return(20);
  EXPECT_EQ(queue.front().since_at_qos0, 20u);
  EXPECT_EQ(queue.front().since, 10u);
  queue.pop_front();
  EXPECT_EQ(queue.front().since_at_qos0, 30u) << "it subscribed after that return";
  queue.note_return(40);
  EXPECT_EQ(queue.front().since_at_qos0, 40u);
}

TEST_F(Snapshots, BeginAgainWithTheNewestSubscribeNotWithAnOlderReturn) {
  Subscription& one = subscription("one");
  queue.add(cursor(one, 20));
  queue.note_return(50);
  queue.add(cursor(one, 60));
  EXPECT_EQ(queue.front().since, 60u);
  EXPECT_EQ(queue.front().since_at_qos0, 60u);
}

}  // namespace
}  // namespace millrace::broker
