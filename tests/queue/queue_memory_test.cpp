// The lock-free queue's use of memory. This program counts, and can refuse, aligned allocations, by
// which the queue allocates its segments.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#include "core/queue/elastic_mpsc_queue.hpp"

namespace {

std::atomic<std::uint64_t> allocations{0};
std::atomic<bool> out_of_memory{false};

void* allocate(std::size_t bytes, std::align_val_t alignment) {
  if (out_of_memory.load()) return nullptr;
  allocations.fetch_add(1);
  const auto unit = static_cast<std::size_t>(alignment);
  return std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
}

}  // namespace

// Not inlined, or the compiler reports mismatched new and delete.
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment,
                                     const std::nothrow_t&) noexcept {
  return allocate(bytes, alignment);
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  if (void* memory = allocate(bytes, alignment)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace millrace::queue {
namespace {

using Item = std::array<std::uint64_t, 8>;  // 64 bytes
constexpr std::size_t kBurst = 1'000'000;

TEST(QueueMemory, PeaksBelowTwiceTheItemsAndComesBackAfterABurst) {
  const auto queue = *ElasticMpscQueue<Item>::create({});
  const std::size_t before = queue->stats().memory_bytes;
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t i = 0; i < kBurst; ++i) ASSERT_TRUE(queue->try_push(Item{i}));
    EXPECT_LE(queue->stats().memory_bytes, kBurst * sizeof(Item) * 22 / 10);
    for (std::uint64_t i = 0; i < kBurst; ++i) ASSERT_EQ((*queue->try_pop())[0], i);
    EXPECT_LE(queue->stats().memory_bytes, 2 * before);
  }
}

TEST(QueueMemory, PeaksBelowItsShareWithSmallItemsToo) {
  const auto queue = *ElasticMpscQueue<std::uint64_t>::create({});
  for (std::uint64_t i = 0; i < kBurst; ++i) ASSERT_TRUE(queue->try_push(std::uint64_t{i}));
  EXPECT_LE(queue->stats().memory_bytes, kBurst * sizeof(std::uint64_t) * 22 / 10);
}

TEST(QueueMemory, ASteadyFlowDoesNotAllocate) {
  for (const std::size_t backlog : {0, 1, 300, 900, 20000}) {
    const auto queue = *ElasticMpscQueue<Item>::create({});
    for (std::size_t i = 0; i < backlog; ++i) ASSERT_TRUE(queue->try_push(Item{i}));
    // Once around the directory, so that the segments behind the tail exist.
    for (std::size_t i = 0; i < 10000; ++i) {
      ASSERT_TRUE(queue->try_push(Item{i}));
      ASSERT_TRUE(queue->try_pop());
    }
    const std::uint64_t before = allocations.load();
    for (std::size_t i = 0; i < 100000; ++i) {
      ASSERT_TRUE(queue->try_push(Item{i}));
      ASSERT_TRUE(queue->try_pop());
    }
    EXPECT_EQ(allocations.load(), before) << "with a backlog of " << backlog;
  }
}

TEST(QueueMemory, SwingsWithinTheInitialCapacityWithoutAllocating) {
  const auto queue = *ElasticMpscQueue<Item>::create({});
  const auto swing = [&] {
    for (std::size_t i = 0; i < 1000; ++i) ASSERT_TRUE(queue->try_push(Item{i}));
    while (queue->try_pop()) {
    }
  };
  for (int i = 0; i < 100; ++i) swing();
  const std::uint64_t before = allocations.load();
  for (int i = 0; i < 100; ++i) swing();
  EXPECT_EQ(allocations.load(), before);
}

TEST(QueueMemory, BurstsOverTheCapacityNeitherAllocateNorResizeAnew) {
  const auto queue = *ElasticMpscQueue<Item>::create({});
  const auto burst = [&] {
    for (std::size_t i = 0; i < 5000; ++i) ASSERT_TRUE(queue->try_push(Item{i}));
    while (queue->try_pop()) {
    }
  };
  for (int i = 0; i < 100; ++i) burst();
  const std::uint64_t allocated = allocations.load();
  const std::uint64_t resizes = queue->stats().resizes;
  for (int i = 0; i < 1000; ++i) burst();
  EXPECT_EQ(allocations.load(), allocated);
  EXPECT_EQ(queue->stats().resizes, resizes);
}

TEST(QueueMemory, GivesBackWhatSmallerBurstsLeftWhenTheyCease) {
  const QueueConfig config;
  const auto queue = *ElasticMpscQueue<Item>::create(config);
  const std::size_t before = queue->stats().memory_bytes;
  for (std::size_t i = 0; i < 50000; ++i) ASSERT_TRUE(queue->try_push(Item{i}));
  while (queue->try_pop()) {
  }
  EXPECT_GT(queue->stats().memory_bytes, 2 * before);  // kept for the next burst
  for (int look = 0; look < 40000; ++look) ASSERT_FALSE(queue->try_pop());
  EXPECT_LE(queue->stats().memory_bytes, 2 * before);
  EXPECT_EQ(queue->capacity(), config.min_capacity);
}

TEST(QueueMemory, ReportsOutOfMemoryAndGrowsAgainLater) {
  const auto queue = *ElasticMpscQueue<std::unique_ptr<int>>::create({64, 64, 100000, 2.0, 0.25});
  out_of_memory = true;
  int pushed = 0;
  Result<void> result;
  auto item = std::make_unique<int>(pushed);
  while ((result = queue->try_push(std::move(item)))) item = std::make_unique<int>(++pushed);
  std::array<std::unique_ptr<int>, 2> batch{std::make_unique<int>(1), std::make_unique<int>(2)};
  EXPECT_EQ(queue->push_batch(batch), 0U);
  out_of_memory = false;
  EXPECT_EQ(result.error(), Error::out_of_memory);
  EXPECT_GE(pushed, 64);
  ASSERT_NE(item, nullptr);  // not moved from
  ASSERT_TRUE(queue->try_push(std::move(item)));
  for (int i = 0; i <= pushed; ++i) ASSERT_EQ(**queue->try_pop(), i);
  EXPECT_FALSE(queue->try_pop());
}

}  // namespace
}  // namespace millrace::queue
