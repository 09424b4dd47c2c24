// The pipeline: order, stages, pools, leaving, stopping, errors. Under every wait strategy.
#include "core/disruptor/disruptor.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <random>
#include <ranges>
#include <stdexcept>
#include <thread>
#include <vector>

namespace millrace::disruptor {
namespace {

using namespace std::chrono_literals;
using Value = std::int64_t;
constexpr std::int64_t many = 20'000;

template <class Wait>
class Pipe : public ::testing::Test {
 protected:
  using Line = Disruptor<Value, Wait>;

  static void publish(Line& line, std::int64_t count, std::int64_t batch = 1) {
    for (std::int64_t sent = 0; sent < count;) {
      const auto claim = line.producer().claim(std::min(batch, count - sent));
      ASSERT_TRUE(claim);
      line.producer().for_each(*claim, [](Value& value, std::int64_t i) { value = i; });
      ASSERT_TRUE(line.producer().publish(*claim));
      sent += claim->size();
    }
  }
};

using Strategies = ::testing::Types<Spin, Yield, Block, AnyWait>;
TYPED_TEST_SUITE(Pipe, Strategies);

TYPED_TEST(Pipe, DeliversEachEventOnceInOrder) {
  typename TestFixture::Line line({.capacity = 64});
  std::int64_t next = 0;
  line.add("sink", [&](Value& value, std::int64_t sequence, bool) {
    EXPECT_EQ(sequence, next);
    EXPECT_EQ(value, next++);
  });
  line.start();
  this->publish(line, many, 7);
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(next, many);
}

TYPED_TEST(Pipe, HandsOverRunsThatCoverEverything) {
  typename TestFixture::Line line({.capacity = 64});
  std::int64_t next = 0;
  line.add("sink", [&](std::span<Value> run, std::int64_t first, bool) {
    EXPECT_EQ(first, next);
    for (const Value value : run) EXPECT_EQ(value, next++);
  });
  line.start();
  this->publish(line, many, 48);
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(next, many);
}

TYPED_TEST(Pipe, EverySiblingSeesAll) {
  typename TestFixture::Line line({.capacity = 32});
  std::int64_t sums[3] = {};
  for (auto& sum : sums) {
    line.add("sibling", [&sum](Value& value, std::int64_t, bool) { sum += value; });
  }
  line.start();
  this->publish(line, many);
  EXPECT_TRUE(line.drain());
  for (const auto sum : sums) EXPECT_EQ(sum, many * (many - 1) / 2);
}

// A diamond: two siblings write a field each; the last stage must see both.
TYPED_TEST(Pipe, FanInSeesWhatBothSiblingsWrote) {
  struct Parts {
    std::int64_t left, right;
  };
  Disruptor<Parts, TypeParam> line({.capacity = 16});
  auto left = line.add("left", [](Parts& p, std::int64_t s, bool) { p.left = s + 1; });
  auto right = line.add("right", [](Parts& p, std::int64_t s, bool) { p.right = s + 2; });
  std::int64_t good = 0;
  line.add("join",
           [&](Parts& p, std::int64_t s, bool) { good += p.left == s + 1 && p.right == s + 2; },
           {left, right});
  line.start();
  for (std::int64_t i = 0; i < many; ++i) {
    ASSERT_TRUE(line.producer().publish_with([](Parts& p) { p = {}; }));
  }
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(good, many);
}

TYPED_TEST(Pipe, StagesPassOnWhatTheyWrote) {
  typename TestFixture::Line line({.capacity = 16});
  auto a = line.add("a", [](Value& value, std::int64_t, bool) { value *= 2; });
  auto b = line.add("b", [](Value& value, std::int64_t, bool) { value += 1; }, {a});
  std::int64_t good = 0;
  line.add("c", [&](Value& value, std::int64_t s, bool) { good += value == 2 * s + 1; }, {b});
  line.start();
  this->publish(line, many, 3);
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(good, many);
}

TYPED_TEST(Pipe, WorkersShareTheEvents) {
  typename TestFixture::Line line({.capacity = 64});
  std::vector<std::atomic<int>> seen(many);
  std::vector<std::function<void(Value&, std::int64_t, bool)>> workers(
      3, [&](Value& value, std::int64_t, bool) { ++seen[static_cast<std::size_t>(value)]; });
  auto pool = line.add_workers("pool", workers);
  std::int64_t behind = 0;
  line.add(
      "after",
      [&](Value& value, std::int64_t, bool) { behind += seen[static_cast<std::size_t>(value)]; },
      {pool});
  line.start();
  this->publish(line, many, 5);
  EXPECT_TRUE(line.drain());
  for (const auto& count : seen) ASSERT_EQ(count, 1);
  EXPECT_EQ(behind, many) << "a stage after a pool sees each event handled by the pool";
}

TYPED_TEST(Pipe, ALeaverNoLongerGatesTheProducer) {
  typename TestFixture::Line line({.capacity = 8});
  std::atomic<bool> entered{false}, go{false};
  auto slow = line.add("slow", [&](Value&, std::int64_t, bool) {
    entered = true;
    entered.notify_all();
    go.wait(false);
  });
  std::int64_t seen = 0;
  line.add("fast", [&](Value&, std::int64_t, bool) { ++seen; });
  line.start();
  this->publish(line, 8);
  entered.wait(false);
  EXPECT_FALSE(line.producer().try_claim());
  line.leave(slow);
  go = true;
  go.notify_all();
  this->publish(line, many);
  EXPECT_TRUE(line.drain());
  EXPECT_TRUE(slow.left());
  EXPECT_EQ(seen, many + 8);
}

// A <- B <- C, and B leaves: C must now follow A, not the producer.
TYPED_TEST(Pipe, FollowersOfALeaverFollowItsPredecessors) {
  typename TestFixture::Line line({.capacity = 16});
  auto a = line.add("a", [](Value& value, std::int64_t, bool) { value = -value; });
  auto b = line.add("b", [](Value&, std::int64_t, bool) {}, {a});
  std::int64_t good = 0;
  line.add("c", [&](Value& value, std::int64_t s, bool) { good += value == -s; }, {b});
  line.start();
  this->publish(line, many / 2);
  line.leave(b);
  for (std::int64_t i = many / 2; i < many; ++i) {
    ASSERT_TRUE(line.producer().publish_with([&](Value& value) { value = i; }));
  }
  EXPECT_TRUE(line.drain());
  EXPECT_TRUE(b.left());
  EXPECT_EQ(good, many);
}

TYPED_TEST(Pipe, TheProducerGoesOnWhenEveryConsumerHasLeft) {
  typename TestFixture::Line line({.capacity = 8});
  auto only = line.add("only", [](Value&, std::int64_t, bool) {});
  line.start();
  this->publish(line, 8);
  line.leave(only);
  this->publish(line, 1'000);
  EXPECT_TRUE(line.drain());
}

TYPED_TEST(Pipe, HaltFreesAWaitingProducer) {
  typename TestFixture::Line line({.capacity = 2});
  std::atomic<bool> entered{false}, go{false};
  line.add("stuck", [&](Value&, std::int64_t, bool) {
    entered = true;
    entered.notify_all();
    go.wait(false);
  });
  line.start();
  this->publish(line, 2);
  entered.wait(false);
  std::thread halter([&] { line.halt(); });
  EXPECT_EQ(line.producer().claim().error(), Error::stopped);
  halter.join();
  go = true;
  go.notify_all();
}

TYPED_TEST(Pipe, AnExceptionStopsThePipelineUnlessToldOtherwise) {
  typename TestFixture::Line line({.capacity = 4});
  line.add("faulty", [](Value& value, std::int64_t, bool) {
    if (value == 5) throw std::runtime_error("five");
  });
  line.start();
  std::int64_t sent = 0;
  while (line.producer().publish_with([&](Value& value) { value = sent; })) ++sent;
  EXPECT_EQ(line.drain().error(), Error::stopped) << "the events after the fifth were not seen";
  EXPECT_GE(sent, 6);
  EXPECT_THROW(std::rethrow_exception(line.first_error()), std::runtime_error);
}

TYPED_TEST(Pipe, AnErrorHandlerMayLetItGoOn) {
  std::vector<std::int64_t> faults;
  typename TestFixture::Line line({.capacity = 16, .on_error = [&](const HandlerError& e) {
                                     EXPECT_EQ(e.stage, "faulty");
                                     faults.push_back(e.sequence);
                                     return OnError::go_on;
                                   }});
  std::int64_t handled = 0;
  line.add("faulty", [&](Value& value, std::int64_t, bool) {
    if (value % 100 == 99) throw std::runtime_error("hundredth");
    ++handled;
  });
  line.start();
  this->publish(line, 1'000, 4);
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(handled, 990);
  ASSERT_EQ(faults.size(), 10u);
  for (std::size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(faults[i], static_cast<std::int64_t>(i) * 100 + 99);
  }
}

TYPED_TEST(Pipe, EndOfBatchComesWithTheLastThatWasThere) {
  typename TestFixture::Line line({.capacity = 64});
  std::vector<std::int64_t> ends;
  line.add("sink", [&](Value&, std::int64_t sequence, bool end_of_batch) {
    if (end_of_batch) ends.push_back(sequence);
  });
  // Published before the start: the consumer sees all ten at its first check.
  this->publish(line, 10, 10);
  line.start();
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(ends, std::vector<std::int64_t>{9});
}

TEST(Ring, RefusesACapacityThatIsNoPowerOfTwo) {
  EXPECT_THROW((Disruptor<Value, Block>({.capacity = 0})), std::invalid_argument);
  EXPECT_THROW((Disruptor<Value, Block>({.capacity = 100})), std::invalid_argument);
}

TEST(Graph, IsDeclaredBeforeStart) {
  Disruptor<Value, Block> line({.capacity = 8});
  line.add("only", [](Value&, std::int64_t, bool) {});
  line.start();
  EXPECT_THROW(line.add("late", [](Value&, std::int64_t, bool) {}), std::logic_error);
  EXPECT_THROW(line.start(), std::logic_error);
}

// Otherwise the ring could be overwritten before the late stage has seen its first events.
TEST(Graph, IsDeclaredBeforeTheFirstClaim) {
  Disruptor<Value, Block> line({.capacity = 8});
  ASSERT_TRUE(line.producer().claim());
  EXPECT_THROW(line.add("late", [](Value&, std::int64_t, bool) {}), std::logic_error);
}

TEST(Graph, NeedsAConsumerAndAStart) {
  Disruptor<Value, Block> line({.capacity = 8});
  EXPECT_THROW(line.start(), std::logic_error);
  line.add("only", [](Value&, std::int64_t, bool) {});
  EXPECT_THROW((void)line.drain(), std::logic_error);
}

TEST(Graph, RefusesAStageOfAnotherDisruptor) {
  using Line = Disruptor<Value, Block>;
  const auto nothing = [](Value&, std::int64_t, bool) {};
  Line other({.capacity = 8});
  const auto foreign = other.add("foreign", nothing);
  Line line({.capacity = 8});
  const auto own = line.add("own", nothing);
  EXPECT_THROW(line.add("after", nothing, {own, foreign}), std::invalid_argument);
  EXPECT_THROW(line.add("after", nothing, foreign), std::invalid_argument);
  EXPECT_THROW(line.add_workers("pool", std::vector{nothing}, {foreign}), std::invalid_argument);
  EXPECT_THROW(line.leave(foreign), std::invalid_argument);
  line.start();
  EXPECT_TRUE(line.producer().publish_with([](Value& value) { value = 1; }));
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(own.passed(), 0) << "the refused stages had no effect";
}

TEST(Graph, TakesAnyRangeOfStagesOrASingleOne) {
  using Line = Disruptor<Value, Block>;
  Line line({.capacity = 16});
  const auto add_one = [](Value& value, std::int64_t, bool) { ++value; };
  std::vector<Line::Ref> stages;
  stages.push_back(line.add("first", add_one));
  stages.push_back(line.add("second", add_one, stages));
  stages.push_back(line.add("third", add_one, stages.back()));
  std::int64_t good = 0;
  const auto check = [&](Value& value, std::int64_t, bool) { good += value == 3; };
  line.add("last", check, stages | std::views::drop(1));
  line.start();
  ASSERT_TRUE(line.producer().publish_each(100, [](Value& value, std::int64_t) { value = 0; }));
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(good, 100);
}

TEST(Handler, CannotWaitForItsOwnThread) {
  Disruptor<Value, Block> line({.capacity = 8});
  line.add("waits", [&](Value&, std::int64_t, bool) { (void)line.drain(); });
  line.start();
  ASSERT_TRUE(line.producer().publish_with([](Value&) {}));
  EXPECT_EQ(line.drain().error(), Error::stopped);
  EXPECT_THROW(std::rethrow_exception(line.first_error()), std::logic_error);
}

TEST(Pool, OneWorkerMayLeaveWhileTheOthersGoOn) {
  // Called one by one on the stage itself; in threads the distribution would be random.
  Sequence cursor;
  Stage pool("pool", cursor, {}, 2, true);
  cursor.store(9, true);
  bool lost = false;
  const auto [first, last] = pool.take(pool.worker(0), pool.limit(), 4, lost, [] {});
  EXPECT_EQ(first, 0);
  EXPECT_EQ(last, 3);
  const auto other = pool.take(pool.worker(1), pool.limit(), 100, lost, [] {});
  EXPECT_EQ(other.first, 4);
  EXPECT_EQ(other.second, 9);
  pool.worker(1).sequence.store(idle, true);
  EXPECT_EQ(pool.passed(), -1) << "the first worker still holds 0..3";
  pool.mark_left(pool.worker(0));
  EXPECT_EQ(pool.passed(), 9);
  EXPECT_FALSE(pool.left());
  pool.mark_left(pool.worker(1));
  EXPECT_TRUE(pool.left());
}

// A strategy whose workers are often off their cores while they try to take an event.
struct BlockDescheduled : Block {
  BlockDescheduled() { looks_before_sleep = 0; }
  static void step_aside() {
    thread_local std::minstd_rand random;
    if (random() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
};

// Each handler waits until the stage after the pool has seen the event before its own, which is
// passed or on its way: if a worker's attempt to take an event hid that from the next stage, and
// nobody woke it afterwards, all would sleep for ever.
TEST(Pool, AnAttemptToTakeAnEventKeepsNoFollowerAsleep) {
  constexpr std::int64_t count = 1000;
  std::atomic<std::int64_t> seen{-1};
  Disruptor<Value, BlockDescheduled> line({.capacity = 32});  // a worker takes one event at a time
  const auto work = [&](Value&, std::int64_t sequence, bool) {
    for (auto now = seen.load(); now < sequence - 1; now = seen.load()) seen.wait(now);
  };
  const auto pool = line.add_workers("pool", std::vector(3, work));
  line.add("follower",
           [&](Value&, std::int64_t sequence, bool) {
             seen.store(sequence);
             seen.notify_all();
           },
           {pool});
  line.start();
  ASSERT_TRUE(
      line.producer().publish_each(count, [](Value& value, std::int64_t at) { value = at; }));
  EXPECT_TRUE(line.drain());
  EXPECT_EQ(seen.load(), count - 1);
}

}  // namespace
}  // namespace millrace::disruptor
