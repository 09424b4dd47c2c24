#include "core/broker/outbox.hpp"

#include <gtest/gtest.h>

#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

struct CountingOwner : OutboxOwner {
  void on_outbox_ready() override { ++calls; }
  int calls = 0;
};

TEST(Outbox, KeepsTheOrderOfSeveralHandOvers) {
  CountingOwner owner;
  ReadyList ready([] {});
  OutboxRef outbox(new Outbox(ready, owner));
  outbox->staged().control.add_uncounted(std::vector<std::uint8_t>{1, 2});
  EXPECT_TRUE(outbox->hand_over());
  outbox->staged().control.add_uncounted(std::vector<std::uint8_t>{3});
  EXPECT_FALSE(outbox->hand_over()) << "it is on the ready list already";
  auto handover = outbox->take();
  ASSERT_TRUE(handover);
  EXPECT_EQ(handover->control.bytes(), (std::vector<std::uint8_t>{1, 2, 3}));
  EXPECT_EQ(outbox->take(), nullptr);
}

TEST(Outbox, DispatchesToItsOwnerUntilForgotten) {
  CountingOwner owner;
  ReadyList ready([] {});
  OutboxRef outbox(new Outbox(ready, owner));
  outbox->dispatch();
  outbox->forget_owner();
  outbox->dispatch();
  EXPECT_EQ(owner.calls, 1);
}

TEST(Outbox, TellsAPausedConnectionOnceThatMoreWasApplied) {
  CountingOwner owner;
  ReadyList ready([] {});
  OutboxRef outbox(new Outbox(ready, owner));
  outbox->pause();
  outbox->count_applied(10);
  EXPECT_TRUE(outbox->publish_applied());
  EXPECT_EQ(outbox->applied_bytes(), 10u);
  outbox->count_applied(5);
  EXPECT_FALSE(outbox->publish_applied());
}

TEST(ReadyList, WakesOnlyASleeper) {
  int wakes = 0;
  ReadyList ready([&] { ++wakes; });
  CountingOwner owner;
  std::vector<OutboxRef> one{OutboxRef(new Outbox(ready, owner))};
  ready.push(one);
  EXPECT_EQ(wakes, 0);
  EXPECT_FALSE(ready.prepare_to_sleep()) << "something is ready";
  std::vector<OutboxRef> taken;
  EXPECT_TRUE(ready.take(taken));
  EXPECT_TRUE(ready.prepare_to_sleep());
  ready.push(taken);
  EXPECT_EQ(wakes, 1);
}

TEST(Handover, GivesTheMemoryOfABurstBack) {
  Handover handover;
  handover.deliveries.resize(100'000);
  handover.control.add_uncounted(std::vector<std::uint8_t>(1'000'000));
  handover.clear();
  EXPECT_EQ(handover.deliveries.capacity(), 0u);
  EXPECT_EQ(handover.control.capacity(), 0u);
}

}  // namespace
}  // namespace millrace::broker
