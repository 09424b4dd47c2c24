#include <gtest/gtest.h>

#include <vector>

#include "server/net/look_wheel.hpp"
#include "server/net/receive_buffers.hpp"
#include "server/net/timer_wheel.hpp"

namespace millrace::server {
namespace {

struct Sleeper : Resident {
  TimerWheel* wheel = nullptr;
  std::vector<std::uint32_t> called_at;
  std::uint32_t next_after = TimerWheel::slot_count - 1;

  void on_due() override {
    called_at.push_back(wheel->tick());
    wheel->schedule(*this, wheel->tick() + next_after);
  }
  void apply_settings() override {}
  void stop_reading() override {}
  void end(Which) override { unlink(); }
  void abandon() override { unlink(); }
};

TEST(TimerWheel, CallsAtTheTickThatWasAskedFor) {
  TimerWheel wheel;
  Sleeper sleeper;
  sleeper.wheel = &wheel;
  wheel.schedule(sleeper, 3);
  for (int i = 0; i < 10; ++i) wheel.advance();
  EXPECT_EQ(sleeper.called_at, (std::vector<std::uint32_t>{3}));
  sleeper.unlink();
}

TEST(TimerWheel, CallsNextTickForATimeThatHasPassed) {
  TimerWheel wheel;
  Sleeper sleeper;
  sleeper.wheel = &wheel;
  for (int i = 0; i < 700; ++i) wheel.advance();
  wheel.schedule(sleeper, 5);
  wheel.advance();
  EXPECT_EQ(sleeper.called_at, (std::vector<std::uint32_t>{701}));
  sleeper.unlink();
}

TEST(TimerWheel, AsksATurnAheadWhenTheTimeIsFurtherAway) {
  TimerWheel wheel;
  Sleeper sleeper;
  sleeper.wheel = &wheel;
  wheel.schedule(sleeper, 100'000);
  for (std::uint32_t i = 0; i < TimerWheel::slot_count; ++i) wheel.advance();
  EXPECT_EQ(sleeper.called_at, (std::vector<std::uint32_t>{TimerWheel::slot_count - 1}));
  sleeper.unlink();
}

TEST(TimerWheel, VisitsEachResidentAndLetsItLeave) {
  TimerWheel wheel;
  std::vector<Sleeper> sleepers(50);
  for (std::size_t i = 0; i < sleepers.size(); ++i) {
    wheel.schedule(sleepers[i], static_cast<std::uint32_t>(1 + i % 7));
  }
  int visits = 0;
  wheel.for_each([&](Resident& resident) {
    ++visits;
    resident.end(Resident::Which::all);
  });
  EXPECT_EQ(visits, 50);
  wheel.for_each([&](Resident&) { ++visits; });
  EXPECT_EQ(visits, 50);
}

TEST(ReceiveBuffers, StaysWithOneBufferUntilItIsHandedOver) {
  ReceiveBuffers buffers(4096);
  broker::Buffer* first = &buffers.current();
  EXPECT_EQ(&buffers.current(), first);
  const broker::BufferRef held(first);
  buffers.hand_over();
  EXPECT_NE(&buffers.current(), first);
}

TEST(ReceiveBuffers, TakesABufferBackOnceNobodyHoldsIt) {
  ReceiveBuffers buffers(4096);
  broker::Buffer* first = &buffers.current();
  broker::BufferRef held(first);
  buffers.hand_over();
  held.reset();
  EXPECT_EQ(&buffers.current(), first);
}

struct Watcher : Look {
  std::vector<std::int64_t> called_at_ns;
  void on_look(std::int64_t now_ns) override { called_at_ns.push_back(now_ns); }
};

constexpr std::int64_t ms = 1'000'000;

TEST(LookWheel, CallsInTheMillisecondAfterTheTimeThatWasAskedFor) {
  LookWheel wheel;
  Watcher watcher;
  wheel.schedule(watcher, 1000 * ms + 2'300'000, 1000 * ms);
  for (std::int64_t now = 1000 * ms; now <= 1020 * ms; now += ms / 2) wheel.advance(now);
  EXPECT_EQ(watcher.called_at_ns, (std::vector<std::int64_t>{1003 * ms}));
  EXPECT_TRUE(wheel.empty());
}

// The thread sleeps until then: it must not be woken each millisecond for what is due in twenty.
TEST(LookWheel, TellsWhenTheNextLookIsDue) {
  LookWheel wheel;
  Watcher soon;
  Watcher later;
  wheel.schedule(later, 1020 * ms, 1000 * ms);
  EXPECT_EQ(wheel.next_due_ns(), 1020 * ms);
  wheel.schedule(soon, 1007 * ms, 1000 * ms);
  EXPECT_EQ(wheel.next_due_ns(), 1007 * ms);
  wheel.advance(1010 * ms);
  EXPECT_EQ(soon.called_at_ns.size(), 1u);
  EXPECT_EQ(wheel.next_due_ns(), 1020 * ms);
  wheel.advance(1020 * ms);
  EXPECT_EQ(later.called_at_ns.size(), 1u);
}

// The process stood still for longer than a turn of the wheel.
TEST(LookWheel, CallsEveryoneOnceAfterAPauseOfTheProcess) {
  LookWheel wheel;
  std::vector<Watcher> watchers(50);
  for (std::size_t i = 0; i < watchers.size(); ++i) {
    wheel.schedule(watchers[i], static_cast<std::int64_t>(1000 + 2 * i) * ms, 1000 * ms);
  }
  wheel.advance(5000 * ms);
  for (const Watcher& watcher : watchers) EXPECT_EQ(watcher.called_at_ns.size(), 1u);
  EXPECT_TRUE(wheel.empty());
}

TEST(LookWheel, ForgetsWhatIsCancelled) {
  LookWheel wheel;
  Watcher watcher;
  wheel.schedule(watcher, ms, 0);
  wheel.cancel(watcher);
  EXPECT_TRUE(wheel.empty());
  wheel.advance(10 * ms);
  EXPECT_TRUE(watcher.called_at_ns.empty());
}

TEST(LookWheel, LooksAtMostSoOftenASecondHoweverManyWait) {
  LookWheel wheel;
  std::vector<Watcher> watchers(4000);
  std::size_t looks = 0;
  for (std::int64_t now = 0; now < 1000 * ms; now += ms) {
    wheel.advance(now);
    for (Watcher& watcher : watchers) {
      looks += watcher.called_at_ns.size();
      watcher.called_at_ns.clear();
      if (!watcher.is_linked()) wheel.schedule(watcher, now + ms, now);
    }
  }
  EXPECT_LE(looks, static_cast<std::size_t>(LookWheel::looks_per_s_max) * 11 / 10);
  EXPECT_GE(looks, static_cast<std::size_t>(LookWheel::looks_per_s_max) / 2);
  for (Watcher& watcher : watchers) wheel.cancel(watcher);
}

}  // namespace
}  // namespace millrace::server
