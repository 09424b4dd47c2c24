#include "tests/broker/simulator.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace millrace::broker {
namespace {

// A seed to begin with may be given as MILLRACE_SEED, to repeat a failure.
std::uint64_t first_seed() {
  const char* given = std::getenv("MILLRACE_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
}

TEST(Simulator, KeepsTheContractThroughThousandsOfSessions) {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 200; ++seed) {
    ASSERT_EQ(Simulator({.seed = seed}).run(), "");
  }
}

TEST(Simulator, KeepsTheOrderOfATopicAmongRequests) {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 100; ++seed) {
    ASSERT_EQ(Simulator({.seed = seed, .requests = true}).run(), "");
  }
}

TEST(Simulator, KeepsUsersApartAndRevokesWhatReloadsTakeAway) {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 100; ++seed) {
    ASSERT_EQ(Simulator({.seed = seed, .users = true}).run(), "");
  }
}

TEST(Simulator, CountsEveryLossAtItsLimits) {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 100; ++seed) {
    ASSERT_EQ(Simulator({.seed = seed, .small_limits = true}).run(), "");
  }
}

TEST(Simulator, LosesNothingWhenTheProcessIsKilledAndStartsAgain) {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 40; ++seed) {
    ASSERT_EQ(Simulator({.seed = seed, .restarts = true}).run(), "");
  }
}

TEST(Simulator, LosesNothingWhenTheProcessEndsAndWritesAllThen) {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 40; ++seed) {
    ASSERT_EQ(Simulator({.seed = seed, .restarts = true, .stores_at_end = true}).run(), "");
  }
}

TEST(Simulator, KeepsUsersApartThroughRestarts) {
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 20; ++seed) {
    ASSERT_EQ(Simulator({.seed = seed, .restarts = true, .users = true}).run(), "");
  }
}

}  // namespace
}  // namespace millrace::broker
