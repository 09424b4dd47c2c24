// Every crash point of a recorded life: before each change of the folder the power goes, and what is
// left is opened. It must hold every batch whose flush succeeded, and of the later ones a prefix.
#include <gtest/gtest.h>

#include "tests/store/faulty_files.hpp"
#include "tests/store/life.hpp"

namespace millrace::store {
namespace {

using Unflushed = FaultyFiles::Unflushed;

class CrashTest : public testing::TestWithParam<Unflushed> {};

class Life {
 public:
  Life(std::uint64_t seed, Unflushed unflushed)
      : batches_(seed), random_(seed), unflushed_(unflushed) {}

  void run(int steps) {
    Log log(files_, {700, 2500});
    files_.before_change = [this] {
      crash();
      return std::error_code();
    };
    open_and_read(log);
    states_ = {{}};
    for (int i = 0; i < steps; ++i) {
      const Batch batch = batches_.next();
      State next = states_.back();
      take_in(next, batch.bytes());
      states_.push_back(std::move(next));
      log.append(batch.count(), batch.bytes());
      if (random_() % 3 == 0) continue;  // joins the next write
      ASSERT_FALSE(log.write());
      ASSERT_FALSE(log.flush());
      durable_ = log.last_number();
      if (!log.wants_compaction()) continue;
      log.seal();
      ASSERT_FALSE(log.compact());
      ++compactions_;
    }
    EXPECT_GT(compactions_, 3);
    EXPECT_GT(crashes_, static_cast<std::uint64_t>(steps));
  }

 private:
  // At every second one it crashes again while it is being opened.
  void crash() {
    if (testing::Test::HasFailure()) return;
    ++crashes_;
    const auto left = files_.after_crash(unflushed_, random_);
    if (crashes_ % 2 == 0) {
      left->before_change = [&] {
        check(*left->after_crash(unflushed_, random_));
        return std::error_code();
      };
    }
    check(*left);
  }

  void check(FaultyFiles& files) {
    Log log(files, {700, 2500});
    const Found found = open_and_read(log);
    const std::uint64_t number = found.recovery.last_number;
    ASSERT_GE(number, durable_) << "crash " << crashes_;
    ASSERT_LT(number, states_.size());
    ASSERT_EQ(without_dead_bodies(found.state), without_dead_bodies(states_[number]))
        << "crash " << crashes_;
    ASSERT_EQ(found.recovery.damaged_places, 0u) << "crash " << crashes_;
  }

  FaultyFiles files_;
  RandomBatches batches_;
  std::mt19937_64 random_;
  const Unflushed unflushed_;
  std::vector<State> states_{State()};  // after so many batches
  std::uint64_t durable_ = 0;
  std::uint64_t crashes_ = 0;
  int compactions_ = 0;
};

TEST_P(CrashTest, LosesNothingThatWasFlushed) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    Life(seed, GetParam()).run(250);
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Unflushed, CrashTest,
                         testing::Values(Unflushed::lost, Unflushed::kept, Unflushed::torn,
                                         Unflushed::in_part));

}  // namespace
}  // namespace millrace::store
