// The producer's claims. In every build, misuse returns an error, or aborts the program where an
// event would be accessed that consumers may be reading.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "core/disruptor/disruptor.hpp"

namespace millrace::disruptor {
namespace {

using namespace std::chrono_literals;
using Value = std::int64_t;
using Line = Disruptor<Value, Block>;

// A ring of eight events whose only consumer records them.
class Producing : public ::testing::Test {
 protected:
  Producing() {
    line.add("sink", [this](Value& value, std::int64_t, bool) { seen.push_back(value); });
  }

  std::vector<Value> drained() {
    line.start();
    EXPECT_TRUE(line.drain());
    return seen;
  }
  static void number(Value& value, std::int64_t sequence) { value = sequence; }

  std::vector<Value> seen;
  Line line{{.capacity = 8}};
  Producer<Value, Block>& producer = line.producer();
};

TEST_F(Producing, RefusesAClaimThatTheRingCannotHold) {
  EXPECT_EQ(producer.claim(9).error(), Error::claim_too_large);
  EXPECT_EQ(producer.try_claim(9).error(), Error::claim_too_large);
  EXPECT_EQ(producer.claim_for(9, 1h).error(), Error::claim_too_large);
  EXPECT_EQ(producer.claim(std::numeric_limits<std::int64_t>::max()).error(),
            Error::claim_too_large);
  EXPECT_EQ(producer.try_claim(8).value().size(), 8);
}

TEST_F(Producing, RefusesAClaimOfNothing) {
  EXPECT_EQ(producer.claim(0).error(), Error::claim_empty);
  EXPECT_EQ(producer.try_claim(-1).error(), Error::claim_empty);
  EXPECT_EQ(producer.claim_for(0, 1h).error(), Error::claim_empty);
}

// The wait would never end: only the producer itself could make room.
TEST_F(Producing, RefusesToWaitForItsOwnUnpublishedClaims) {
  ASSERT_TRUE(producer.claim(5));
  EXPECT_EQ(producer.claim(4).error(), Error::claim_too_large);
  EXPECT_TRUE(producer.claim(3));
}

TEST_F(Producing, TryClaimSaysFullRatherThanWait) {
  ASSERT_TRUE(producer.publish_each(8, number));
  EXPECT_EQ(producer.try_claim(1).error(), Error::full);
}

TEST_F(Producing, ClaimForGivesUpWhenTheTimeIsOver) {
  ASSERT_TRUE(producer.publish_each(8, number));
  EXPECT_EQ(producer.claim_for(1, 1ms).error(), Error::timed_out);
}

// Added to the present time, such a time-out would overflow.
TEST_F(Producing, ATimeOutBeyondTheClocksRangeIsForEver) {
  ASSERT_TRUE(producer.publish_each(8, number));
  line.start();
  EXPECT_TRUE(producer.claim_for(8, std::chrono::nanoseconds::max()));
}

TEST_F(Producing, RefusesToPublishInAnotherOrder) {
  const Claim first = producer.claim(2).value();
  const Claim second = producer.claim(2).value();
  producer.for_each(second, number);
  producer.for_each(first, number);
  EXPECT_EQ(producer.publish(second).error(), Error::claim_out_of_order);
  EXPECT_EQ(producer.published(), -1) << "nothing became visible";
  EXPECT_TRUE(producer.publish(first));
  EXPECT_TRUE(producer.publish(second));
  EXPECT_EQ(drained(), (std::vector<Value>{0, 1, 2, 3}));
}

TEST_F(Producing, RefusesToPublishTwice) {
  const Claim claim = producer.claim(2).value();
  EXPECT_TRUE(producer.publish(claim));
  EXPECT_EQ(producer.publish(claim).error(), Error::claim_out_of_order);
  EXPECT_EQ(producer.published(), 1);
}

TEST_F(Producing, RefusesTheClaimOfAnotherDisruptor) {
  Line other({.capacity = 8});
  const Claim foreign = other.producer().claim(2).value();
  ASSERT_TRUE(producer.claim(2));
  EXPECT_EQ(producer.publish(foreign).error(), Error::claim_of_another);
  EXPECT_EQ(producer.give_back(foreign).error(), Error::claim_of_another);
  EXPECT_EQ(producer.published(), -1);
}

TEST_F(Producing, RefusesToClaimAndToPublishOnceStopped) {
  const Claim claim = producer.claim(2).value();
  line.halt();
  EXPECT_EQ(producer.claim().error(), Error::stopped);
  EXPECT_EQ(producer.try_claim().error(), Error::stopped);
  EXPECT_EQ(producer.claim_for(1, 1h).error(), Error::stopped);
  EXPECT_EQ(producer.publish(claim).error(), Error::stopped);
  EXPECT_EQ(producer.publish_with([](Value&) {}).error(), Error::stopped);
  EXPECT_EQ(producer.publish_each(20, number).error(), Error::stopped);
}

TEST_F(Producing, RefusesToPublishAfterItWasDrained) {
  const Claim claim = producer.claim(2).value();
  drained();
  EXPECT_EQ(producer.publish(claim).error(), Error::stopped);
}

TEST_F(Producing, GivesTheNewestClaimBack) {
  const Claim first = producer.claim(3).value();
  const Claim second = producer.claim(5).value();
  EXPECT_EQ(producer.give_back(first).error(), Error::claim_out_of_order);
  EXPECT_TRUE(producer.give_back(second));
  EXPECT_EQ(producer.publish(second).error(), Error::claim_out_of_order);
  EXPECT_TRUE(producer.give_back(first));
  EXPECT_EQ(producer.claim(8).value().first(), 0);
}

TEST_F(Producing, AbortsOnAccessToAnEventThatIsNotClaimed) {
  const Claim claim = producer.claim(2).value();
  producer[1] = 1;
  EXPECT_DEATH(producer[2] = 2, "not claimed");
  ASSERT_TRUE(producer.publish(claim));
  EXPECT_DEATH(producer[1] = 2, "not claimed");
  EXPECT_DEATH(producer.for_each(claim, number), "not claimed");
}

TEST_F(Producing, GoesOnAfterAFillThatThrew) {
  const auto faulty = [](Value&, std::int64_t sequence) {
    if (sequence == 1) throw std::runtime_error("one");
  };
  EXPECT_THROW((void)producer.publish_each(3, faulty), std::runtime_error);
  EXPECT_THROW((void)producer.publish_with([](Value&) { throw std::runtime_error("any"); }),
               std::runtime_error);
  EXPECT_TRUE(producer.publish_each(3, number));
  EXPECT_EQ(drained(), (std::vector<Value>{0, 1, 2}));
}

TEST_F(Producing, KeepsTheOrderOfAnOlderClaim) {
  const Claim older = producer.claim(1).value();
  EXPECT_EQ(producer.publish_with([](Value&) {}).error(), Error::claim_out_of_order);
  producer.for_each(older, number);
  EXPECT_TRUE(producer.publish(older));
  EXPECT_TRUE(producer.publish_each(1, number)) << "the refused claim was given back";
  EXPECT_EQ(drained(), (std::vector<Value>{0, 1}));
}

// A hundred batches of 2,000 into the default ring of 1,024.
TEST(PublishEach, ServesBatchesAboveTheCapacityInParts) {
  Line line({});
  std::int64_t next = 0;
  line.add("sink", [&](Value& value, std::int64_t, bool) { EXPECT_EQ(value, next++); });
  line.start();
  for (int batch = 0; batch < 100; ++batch) {
    ASSERT_TRUE(line.producer().publish_each(
        2'000, [](Value& value, std::int64_t sequence) { value = sequence; }));
  }
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(next, 200'000);
}

TEST(PublishEach, PublishesUpToTheCapacityAtOnce) {
  Line line({.capacity = 8});
  std::int64_t published_while_filling = -1;
  line.add("sink", [](Value&, std::int64_t, bool) {});
  EXPECT_TRUE(line.producer().publish_each(8, [&](Value&, std::int64_t) {
    published_while_filling = std::max(published_while_filling, line.producer().published());
  }));
  EXPECT_EQ(published_while_filling, -1);
  EXPECT_TRUE(line.producer().publish_each(0, [](Value&, std::int64_t) {}));
  EXPECT_EQ(line.producer().publish_each(-1, [](Value&, std::int64_t) {}).error(),
            Error::claim_empty);
}

}  // namespace
}  // namespace millrace::disruptor
