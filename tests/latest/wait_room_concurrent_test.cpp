#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "core/latest/slot.hpp"
#include "core/latest/wait_list.hpp"

namespace millrace::latest {
namespace {

/// Sleeps until the slot has a newer version than `seen`, as a long poll does.
Version wait_for_newer(WaitRoom& room, const Slot<int>& slot, Version seen) {
  ThreadWaiter waiter;
  if (room.wait(&slot, waiter, [&] { return slot.version() > seen; })) waiter.sleep();
  return slot.version();
}

/// The writer stores a batch, then checks once for waiters; it goes on only when every reader has
/// seen the batch. A wake-up lost in between would hang the test.
TEST(WaitRoomUnderFire, NoReaderSleepsThroughABatch) {
  constexpr int kReaders = 4;
  constexpr Version kBatches = 1500;
  WaitRoom room;
  std::array<Slot<int>, kReaders> slots;
  std::atomic<Version> arrived{0};
  std::vector<std::thread> readers;
  for (Slot<int>& slot : slots) {
    readers.emplace_back([&] {
      for (Version seen = 0; seen < kBatches;) {
        const Version now = wait_for_newer(room, slot, seen);
        EXPECT_LE(now, seen + 1);
        arrived.fetch_add(now - seen);
        arrived.notify_all();
        seen = now;
      }
    });
  }
  for (Version batch = 1; batch <= kBatches; ++batch) {
    for (Slot<int>& slot : slots) slot.store(static_cast<int>(batch));
    if (room.anyone_waits()) {
      for (Slot<int>& slot : slots) room.notify(&slot);
    }
    for (Version now = arrived.load(); now != batch * kReaders; now = arrived.load()) {
      arrived.wait(now);
    }
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_FALSE(room.anyone_waits());
}

}  // namespace
}  // namespace millrace::latest
