// Seals: another process cannot write to or resize the memory that it was given.
#include "core/shm/ring/memory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>
#include <string>

#include "core/shm/ring/layout.hpp"
#include "core/shm/ring/ring_reader.hpp"
#include "core/shm/ring/ring_writer.hpp"
#include "tests/shm/process.hpp"

namespace millrace::shm {
namespace {

using test::Child;

TEST(Memory, SystemKnowsFutureWrite) {
  EXPECT_TRUE(system_can_seal());
}

TEST(Memory, LargeRingTakesNoPagesBeforeItIsWritten) {
  const auto ring = RingWriter::make({.data_bytes = std::size_t{64} << 20});
  ASSERT_TRUE(ring);
  const auto page = ConsumerPage::make(1, 1, 0);
  RingReader reader;
  ASSERT_EQ(reader.open(ring->fd(), page->fd(), 0, 1), nullptr);
  struct stat status {};
  ASSERT_EQ(::fstat(ring->fd(), &status), 0);
  EXPECT_LE(status.st_blocks * 512, 16 * static_cast<long>(page_bytes));
}

TEST(Memory, RingCannotBeMappedWritableByAConsumer) {
  const auto ring = RingWriter::make({});
  ASSERT_TRUE(ring);
  Child consumer([&] {
    const auto* writable =
        ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd(), 0);
    // Nor by reopening it through /proc/self/fd.
    const std::string path = "/proc/self/fd/" + std::to_string(ring->fd());
    const UniqueFd again(::open(path.c_str(), O_RDWR));
    const void* second =
        again ? ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, again.get(), 0)
              : MAP_FAILED;
    const bool readable =
        static_cast<bool>(Mapping::map(ring->fd(), page_bytes, Access::read_only));
    return writable == MAP_FAILED && second == MAP_FAILED && readable &&
           ::write(ring->fd(), "x", 1) < 0;
  });
  EXPECT_TRUE(consumer.succeeded());
}

TEST(Memory, RingCannotBeMadeWritableAfterMapping) {
  const auto ring = RingWriter::make({});
  const Mapping mapping = Mapping::map(ring->fd(), page_bytes, Access::read_only);
  EXPECT_EQ(::mprotect(mapping.data(), page_bytes, PROT_READ | PROT_WRITE), -1);
}

TEST(Memory, NoMemoryCanBeTruncatedOrGrown) {
  const auto ring = RingWriter::make({});
  const auto consumer_page = ConsumerPage::make(1, 1, 0);
  Child consumer([&] {
    for (const int fd : {ring->fd(), consumer_page->fd()}) {
      if (::ftruncate(fd, 0) == 0 || ::ftruncate(fd, 1 << 24) == 0) return false;
      if (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, page_bytes) == 0 &&
          fd == ring->fd()) {
        return false;
      }
    }
    return true;
  });
  EXPECT_TRUE(consumer.succeeded());
  EXPECT_EQ(memory_bytes(consumer_page->fd()), page_bytes);
}

TEST(Memory, PageIsClosedToOthersOnceItsOwnerHasIt) {
  const auto consumer_page = ConsumerPage::make(1, 1, 0);
  const Mapping owner = Mapping::map(consumer_page->fd(), page_bytes, Access::read_write);
  ASSERT_TRUE(owner);
  ASSERT_TRUE(consumer_page->seal_for_neighbours());
  EXPECT_FALSE(Mapping::map(consumer_page->fd(), page_bytes, Access::read_write));
  EXPECT_TRUE(Mapping::map(consumer_page->fd(), page_bytes, Access::read_only));
  owner.as<PositionPage>()->position.store(7);  // the owner still writes
}

TEST(Memory, SealOfAConsumersOwnIsNoticed) {
  const auto consumer_page = ConsumerPage::make(1, 1, 0);
  ASSERT_EQ(::fcntl(consumer_page->fd(), F_ADD_SEALS, F_SEAL_SEAL), 0);
  EXPECT_FALSE(consumer_page->seal_for_neighbours());
}

// A mapping begins at a multiple of the system's page size, so a ring's frames do.
TEST(Memory, FramesBeginAtAPageOfTheSystemHoweverLargeItsPages) {
  EXPECT_EQ(ring_header_bytes(4'096), page_bytes);
  EXPECT_EQ(ring_header_bytes(16'384), 16'384u);
  EXPECT_EQ(ring_header_bytes(65'536), ring_header_bytes_max);
}

TEST(Memory, RingIsMappedTwiceInARow) {
  const std::size_t data_bytes = system_page_bytes();
  const std::size_t header_bytes = ring_header_bytes(data_bytes);
  UniqueFd fd = make_memory("test", header_bytes + data_bytes);
  const Mapping ring = Mapping::map_ring(fd.get(), header_bytes, data_bytes, Access::read_write);
  ASSERT_TRUE(ring);
  std::memcpy(ring.data() + header_bytes + data_bytes - 6, "across the wrap", 15);
  EXPECT_EQ(std::memcmp(ring.data() + header_bytes, " the wrap", 9), 0);
}

TEST(Memory, ShorterThanPromisedIsNotMapped) {
  UniqueFd fd = make_memory("test", page_bytes);
  EXPECT_FALSE(Mapping::map(fd.get(), 2 * page_bytes, Access::read_only));
  EXPECT_FALSE(Mapping::map_ring(fd.get(), page_bytes, 4096, Access::read_only));
}

}  // namespace
}  // namespace millrace::shm
