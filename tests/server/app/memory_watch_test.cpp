#include "server/app/memory_watch.hpp"

#include <gtest/gtest.h>
#include <malloc.h>

#include <cstring>
#include <memory>
#include <vector>

namespace millrace::server {
namespace {

using broker::Holding;
using broker::Ledger;
constexpr std::uint64_t mib = 1 << 20;

struct MemoryWatchTest : ::testing::Test {
  Ledger ledger{1000 * mib};
  std::uint64_t used = 10 * mib;
  std::uint64_t free = 0;
  int given_back = 0;
  MemoryWatch watch{ledger,
                    {[this] { return used + free; },
                     [this] {
                       free = 0;
                       ++given_back;
                     }}};
  MemoryWatch::Clock::time_point now{std::chrono::hours(1)};

  void look_after(std::chrono::seconds time) { watch.look(now += time); }
};

TEST_F(MemoryWatchTest, TellsTheLedgerWhatTheProcessHasBeyondIt) {
  used = 100 * mib;
  ledger.charge(Holding::queues, 30 * mib);
  look_after(std::chrono::seconds(20));
  EXPECT_EQ(given_back, 1);
  EXPECT_EQ(ledger.bytes(Holding::other), 70 * mib);
  EXPECT_EQ(ledger.total(), 100 * mib);
  used = 60 * mib;
  look_after(std::chrono::seconds(0));
  EXPECT_EQ(ledger.bytes(Holding::other), 30 * mib);
}

TEST_F(MemoryWatchTest, GivesFreedMemoryBackAndCountsNoneOfItAsUsed) {
  used = 500 * mib;
  ledger.charge(Holding::queues, 490 * mib);
  look_after(std::chrono::seconds(20));
  const std::uint64_t before = ledger.bytes(Holding::other);
  ledger.release(Holding::queues, 480 * mib);
  used = 20 * mib;
  free = 480 * mib;
  look_after(std::chrono::seconds(20));
  EXPECT_EQ(free, 0u);
  EXPECT_LE(ledger.bytes(Holding::other), before + 10 * mib);
}

TEST_F(MemoryWatchTest, DoesSoSeldom) {
  for (int i = 0; i < 40; ++i) {
    free = 200 * mib;
    look_after(std::chrono::seconds(1));
  }
  EXPECT_LE(given_back, 5);
  EXPECT_GE(given_back, 3);
}

TEST(ThisProcess, HasTheMemoryThatItUses) {
  const MemoryWatch::System system = MemoryWatch::this_process();
  const std::uint64_t before = system.private_bytes();
  auto block = std::make_unique<char[]>(64 * mib);
  std::memset(block.get(), 1, 64 * mib);
  EXPECT_GE(system.private_bytes(), before + 60 * mib);
}

}  // namespace
}  // namespace millrace::server
