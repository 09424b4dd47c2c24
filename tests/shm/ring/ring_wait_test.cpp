// Who waits for whom at a ring, who sleeps, and who is woken.
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <thread>
#include <vector>

#include "tests/shm/futex.hpp"
#include "tests/shm/ring/ring_fixture.hpp"

namespace {
std::atomic<int> yields{0};
}
// In place of the system's, so that a test sees who gives its core away.
extern "C" int sched_yield() noexcept {
  ++yields;
  return static_cast<int>(::syscall(SYS_sched_yield));
}

namespace millrace::shm {
namespace {

using base::Block;
using base::Clock;
using base::never;
using base::Spin;

TEST_F(Ring, ReadsOnlyWhatItsPredecessorsHaveReleased) {
  make(small);
  auto first = attach();
  auto second = attach();
  ASSERT_TRUE(second->add_predecessor(1, consumer_pages[0]->fd()));
  publish_many(3);
  EXPECT_TRUE(read_sequences(*second).empty());
  RingReader::Frame frame;
  ASSERT_TRUE(first->next(frame));
  first->release();
  EXPECT_EQ(read_sequences(*second), std::vector<std::uint64_t>{1});
  second->remove_neighbour(1);
  EXPECT_EQ(read_sequences(*second), (std::vector<std::uint64_t>{2, 3}));
}

TEST_F(Ring, FollowerThatOnlySaysThatItSleepsDoesNotHoldUpItsPredecessor) {
  make({});
  auto reader = attach();
  auto follower = attach();
  ASSERT_TRUE(reader->add_follower(2, consumer_pages[1]->fd()));
  publish_many(1);
  page(1)->sleep_word.store(1);
  RingReader::Frame frame;
  ASSERT_TRUE(reader->next(frame));
  yields = 0;
  reader->release();
  EXPECT_EQ(yields, 0);
}

TEST_F(Ring, NoSystemCallWhileNoReaderSleeps) {
  make({});
  auto reader = attach();
  for (int i = 0; i < 1'000; ++i) publish_many(1);
  EXPECT_EQ(writer->stats().wakes, 0u);
  page(0)->sleep_word.store(1);
  publish_many(1);
  publish_many(1);
  EXPECT_EQ(writer->stats().wakes, 1u) << "once for each sleep";
}

// Who sleeps on `word`: they are moved to the word on which they sleep already, and counted.
long sleepers(const std::atomic<std::uint32_t>& word) {
  return test::move_sleepers(word, word, INT_MAX);
}

TEST_F(Ring, WakingOneReaderCostsTheSameHoweverManyOfItsThreadsSleep) {
  make({});
  attach();
  const std::atomic<std::uint32_t>& word = page(0)->sleep_word;
  page(0)->sleep_word.store(1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] { base::futex_wait(word, 1, never, base::Scope::shared); });
  }
  while (sleepers(word) != 3) ::sched_yield();
  publish_many(1);
  EXPECT_EQ(base::futex_wake(word, base::Scope::shared), 2) << "one was woken";
  for (std::thread& thread : threads) thread.join();
}

TEST_F(Ring, WaitGivesUpAtTheDeadlineAndWhenStopped) {
  make({});
  auto reader = attach();
  EXPECT_FALSE(reader->wait(Block{}, Clock::now() + std::chrono::milliseconds(2)));
  EXPECT_FALSE(reader->wait(Spin{}, Clock::now() + std::chrono::milliseconds(2)));
  reader->stop_waiting();
  EXPECT_FALSE(reader->wait(Block{}, never));
  EXPECT_FALSE(reader->wait(Spin{}, never));
  reader->resume_waiting();
  publish_many(1);
  EXPECT_TRUE(reader->wait(Block{}, never));
}

TEST_F(Ring, ArmedReaderIsWokenThroughItsPipeOnceForEachSleep) {
  make({});
  const auto start = writer->add_reader(1, false, now, true);
  RingReader reader;
  ASSERT_EQ(reader.open(writer->fd(), start.consumer_page->fd(), start.position, start.sequence),
            nullptr);
  const int pipe = start.consumer_page->wake_pipe_fd();
  char bytes[16];
  const auto wakes = [&] { return ::read(pipe, bytes, sizeof bytes); };
  EXPECT_NE(reader.arm(), RingReader::Armed::now);
  EXPECT_EQ(wakes(), -1) << "nothing was published";
  publish_many(1);
  publish_many(1);
  EXPECT_EQ(wakes(), 1);
  reader.disarm();
  EXPECT_EQ(reader.arm(), RingReader::Armed::now) << "there is something to read";
  EXPECT_EQ(read_sequences(reader), (std::vector<std::uint64_t>{1, 2}));
  publish_many(1);
  EXPECT_EQ(wakes(), -1) << "it is not asleep";
}

}  // namespace
}  // namespace millrace::shm
