// When a waiting thread spins, and when it sleeps at once. AdaptiveSpin alone, without threads.
#include "core/latest/wait_options.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace millrace::latest {
namespace {

using namespace std::chrono_literals;

bool spins(AdaptiveSpin spin) {
  bool looked = false;
  spin.spin(base::Clock::now(), base::never, [&] { return looked = true; });
  return looked;
}

constexpr std::uint32_t kMaxNs = 1'000;

TEST(AdaptiveSpin, BeginsBySpinning) {
  EXPECT_TRUE(spins(AdaptiveSpin(kMaxNs)));
}

TEST(AdaptiveSpin, NeverSpinsWithASpinMaxOf0) {
  EXPECT_FALSE(spins(AdaptiveSpin(0)));
}

TEST(AdaptiveSpin, SleepsAtOnceWhileValuesComeSlowly) {
  AdaptiveSpin spin(kMaxNs);
  for (int i = 0; i < 10; ++i) spin.learn(20us, true);
  EXPECT_FALSE(spins(spin));
}

TEST(AdaptiveSpin, SpinsAgainSoonAfterAPause) {
  AdaptiveSpin spin(kMaxNs);
  for (int i = 0; i < 10; ++i) spin.learn(500ns, true);
  spin.learn(1h, true);
  for (int i = 0; i < 4; ++i) spin.learn(500ns, true);
  EXPECT_TRUE(spins(spin));
}

TEST(AdaptiveSpin, AddsUpWaitsThatEndAtTheirDeadline) {
  AdaptiveSpin spin(kMaxNs);
  for (int i = 0; i < 3; ++i) spin.learn(400ns, false);
  EXPECT_FALSE(spins(spin)) << "1,200 ns have passed without news";
  spin.learn(400ns, true);
  EXPECT_TRUE(spins(spin)) << "a single wait of 1,600 ns does not raise the average enough";
  for (int i = 0; i < 3; ++i) spin.learn(1'600ns, true);
  EXPECT_FALSE(spins(spin));
}

TEST(AdaptiveSpin, GivesUpAtTheDeadlineAndAtItsLimit) {
  AdaptiveSpin spin(kMaxNs);
  const auto start = base::Clock::now();
  EXPECT_FALSE(spin.spin(start, start - 1ns, [] { return false; }));
  EXPECT_FALSE(spin.spin(start, base::never, [] { return false; }));
}

TEST(WaitOptions, HaveLimits) {
  EXPECT_EQ(WaitOptions{.spin_max = -1ns}.spin_max_ns(), 0u);
  EXPECT_LE(WaitOptions{.spin_max = 1h}.spin_max_ns(), 1'000'000'000u);
}

}  // namespace
}  // namespace millrace::latest
