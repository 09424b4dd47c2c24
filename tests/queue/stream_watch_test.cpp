#include "core/queue/stream_watch.hpp"

#include <gtest/gtest.h>

namespace millrace::queue {
namespace {

constexpr std::size_t kMany = 64;  // items found at once

// How many looks of `looks` are preceded by a pause that brings nothing.
int fruitless_pauses(StreamWatch& watch, int looks, std::size_t run) {
  int pauses = 0;
  for (int i = 0; i < looks; ++i) {
    if (watch.flows()) {
      ++pauses;
      watch.paused(false);
    }
    watch.saw(run, false);
  }
  return pauses;
}

TEST(StreamWatch, NeverPausesForOneItemAtATime) {
  StreamWatch watch;
  EXPECT_EQ(fruitless_pauses(watch, 1000, 1), 0);
}

TEST(StreamWatch, PausesBeforeEachLookWhileMoreComesMeanwhile) {
  StreamWatch watch;
  watch.saw(kMany, false);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(watch.flows());
    watch.paused(true);
    watch.saw(kMany, false);
  }
}

TEST(StreamWatch, PausesOnceIn64LooksWhereNothingComesMeanwhile) {
  StreamWatch watch;
  watch.saw(kMany, false);
  fruitless_pauses(watch, 200, kMany);  // until the intervals are at their longest
  EXPECT_EQ(fruitless_pauses(watch, 640, kMany), 10);
}

TEST(StreamWatch, KeepsItsJudgementAtTheEndOfAGroupOfSlots) {
  StreamWatch watch;
  watch.saw(kMany, false);
  watch.saw(1, true);
  EXPECT_TRUE(watch.flows());
  watch.saw(1, false);
  EXPECT_FALSE(watch.flows());
}

}  // namespace
}  // namespace millrace::queue
