#include "core/latest/wait_list.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "core/latest/slot.hpp"

namespace millrace::latest {
namespace {

class Noted final : public Waiter {
 public:
  int notified = 0;

 private:
  void notify() noexcept override { ++notified; }
};

/// Takes another waiter out of the list when it is notified, as a coroutine that destroys another.
class Remover final : public Waiter {
 public:
  Remover(WaitList& list, Waiter& other) : list_(list), other_(other) {}
  bool removed = false;

 private:
  void notify() noexcept override { removed = list_.leave(other_); }
  WaitList& list_;
  Waiter& other_;
};

constexpr auto kNoNews = [] { return false; };
constexpr auto kNews = [] { return true; };

TEST(WaitList, CountsItsWaiters) {
  WaitList list;
  Noted waiter;
  EXPECT_FALSE(list.any());
  ASSERT_TRUE(list.wait(waiter, kNoNews));
  EXPECT_TRUE(list.any());
  EXPECT_TRUE(list.leave(waiter));
  EXPECT_FALSE(list.any());
  EXPECT_FALSE(list.leave(waiter));
}

TEST(WaitList, DoesNotAddAWaiterThatHasNews) {
  WaitList list;
  Noted waiter;
  EXPECT_FALSE(list.wait(waiter, kNews));
  EXPECT_FALSE(list.any());
  list.notify_all();
  EXPECT_EQ(waiter.notified, 0);
}

TEST(WaitList, NotifiesEachOnce) {
  WaitList list;
  std::vector<Noted> waiters(5);
  for (Noted& waiter : waiters) ASSERT_TRUE(list.wait(waiter, kNoNews));
  ASSERT_TRUE(list.leave(waiters[2]));
  list.notify_all();
  list.notify_all();
  for (std::size_t i = 0; i < waiters.size(); ++i) EXPECT_EQ(waiters[i].notified, i == 2 ? 0 : 1);
  EXPECT_FALSE(list.any());
}

TEST(WaitList, NotifiesTheOneThatIsCancelled) {
  WaitList list;
  Noted one, two;
  ASSERT_TRUE(list.wait(one, kNoNews));
  ASSERT_TRUE(list.wait(two, kNoNews));
  EXPECT_TRUE(list.cancel(one));
  EXPECT_FALSE(list.cancel(one));
  EXPECT_EQ(one.notified, 1);
  EXPECT_EQ(two.notified, 0);
  list.notify_all();
}

TEST(WaitList, AWaiterMayLeaveUntilItsOwnTurnComes) {
  WaitList list;
  Noted other;
  Remover first(list, other);
  ASSERT_TRUE(list.wait(first, kNoNews));
  ASSERT_TRUE(list.wait(other, kNoNews));
  EXPECT_EQ(list.notify_all(), 1u);
  EXPECT_TRUE(first.removed);
  EXPECT_EQ(other.notified, 0);
  EXPECT_FALSE(list.any());
}

TEST(WaitRoom, NotifiesOnlyTheWaitersOfThatSlot) {
  WaitRoom room;
  std::vector<Slot<int>> slots(200);
  std::vector<Noted> waiters(200);
  EXPECT_FALSE(room.anyone_waits());
  for (std::size_t i = 0; i < slots.size(); ++i) {
    ASSERT_TRUE(room.wait(&slots[i], waiters[i], [&] { return slots[i].version() != 0; }));
  }
  EXPECT_TRUE(room.anyone_waits());
  slots[17].store(1);
  room.notify(&slots[17]);
  for (std::size_t i = 0; i < slots.size(); ++i) EXPECT_EQ(waiters[i].notified, i == 17 ? 1 : 0);
  for (const Slot<int>& slot : slots) room.notify(&slot);
  for (const Noted& waiter : waiters) EXPECT_EQ(waiter.notified, 1);
  EXPECT_FALSE(room.anyone_waits());
}

TEST(WaitRoom, DoesNotCountAWaiterThatLeft) {
  WaitRoom room;
  Slot<int> slot;
  Noted waiter;
  ASSERT_TRUE(room.wait(&slot, waiter, kNoNews));
  EXPECT_TRUE(room.leave(&slot, waiter));
  EXPECT_FALSE(room.leave(&slot, waiter));
  EXPECT_FALSE(room.anyone_waits());
  EXPECT_FALSE(room.wait(&slot, waiter, kNews));
  EXPECT_FALSE(room.anyone_waits());
}

}  // namespace
}  // namespace millrace::latest
