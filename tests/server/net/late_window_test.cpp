// The controller of late binding, on thousands of simulated paths and readers.
#include "server/net/late_window.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/server/net/simulated_path.hpp"

namespace millrace::test {
namespace {

using server::LateWindow;

constexpr std::int64_t ms = 1'000'000;
constexpr std::int64_t second = 1000 * ms;
constexpr std::int64_t step_ns = ms / 2;
constexpr std::uint32_t value_bytes = 280;

// The server: there is always a newer value, and it is bound while the controller allows it.
class Sender {
 public:
  explicit Sender(const PathOptions& path, const LateWindow::Limits& limits = {})
      : path_(path), window_(limits) {}

  void run_until(std::int64_t until_ns) {
    while (path_.now_ns() < until_ns) {
      path_.advance(step_ns);
      if (path_.now_ns() >= next_look_ns_) look();
    }
  }

  SimulatedPath& path() { return path_; }
  void begin_anew() { window_.emplace(LateWindow::Limits{}); }
  std::int64_t looks() const { return looks_; }

  bool unpaced = false;

 private:
  void look() {
    ++looks_;
    window_->look(path_.sample(), true);
    if (unpaced) {
      while (path_.sample().unsent_bytes < 65536) path_.send(value_bytes);
      next_look_ns_ = path_.now_ns() + ms;
      return;
    }
    const std::int64_t room =
        std::int64_t{window_->allowance_bytes()} - std::int64_t{window_->held_bytes()};
    if (room >= window_->lump_bytes()) {
      for (std::int64_t bound = 0; bound < room; bound += value_bytes) path_.send(value_bytes);
      window_->look(path_.sample(), true);
    } else if (window_->takes_trickle(path_.now_ns())) {
      path_.send(value_bytes);
    }
    next_look_ns_ = window_->next_look_ns();
  }

  SimulatedPath path_;
  std::optional<LateWindow> window_;
  std::int64_t next_look_ns_ = 0;
  std::int64_t looks_ = 0;
};

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

struct Figures {
  double goodput = 0;  // bytes per second
  double p50_ms = 0;
  double p99_ms = 0;
  double looks_per_s = 0;
};

// What was read from `from` to `to`.
Figures measure(Sender& sender, std::int64_t from, std::int64_t to) {
  sender.run_until(from);
  const std::uint64_t before = sender.path().read_bytes();
  const std::int64_t looks_before = sender.looks();
  const std::size_t ages_before = sender.path().ages().size();
  sender.run_until(to);
  Figures figures;
  const double seconds = static_cast<double>(to - from) * 1e-9;
  figures.goodput = static_cast<double>(sender.path().read_bytes() - before) / seconds;
  std::vector<double> ages;
  for (std::size_t i = ages_before; i < sender.path().ages().size(); ++i) {
    ages.push_back(sender.path().ages()[i].second);
  }
  figures.p50_ms = percentile(ages, 0.5);
  figures.p99_ms = percentile(ages, 0.99);
  figures.looks_per_s = static_cast<double>(sender.looks() - looks_before) / seconds;
  return figures;
}

std::function<double(std::int64_t)> steady(double rate) {
  return [rate](std::int64_t) { return rate; };
}

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  double uniform(double from, double to) {
    return std::uniform_real_distribution<>(from, to)(random_);
  }
  double log_uniform(double from, double to) {
    return std::exp(uniform(std::log(from), std::log(to)));
  }
  bool chance(double share) { return uniform(0, 1) < share; }

 private:
  std::mt19937_64 random_;
};

// What becomes of the window of the reader's empty buffer.
enum class Empty : std::uint8_t { stays, narrows, swings };

// A path that a reader may have, from the same host to the other side of the world.
PathOptions any_path(std::uint64_t seed, Empty empty) {
  Dice dice(seed);
  PathOptions path;
  path.seed = seed;
  path.one_way_ns = static_cast<std::int64_t>(dice.log_uniform(50'000, 300'000'000));
  if (dice.chance(0.3)) {
    path.rate_bytes_per_s = dice.log_uniform(100'000, 10'000'000);
    path.queue_seconds = dice.uniform(0.05, 0.5);
  }
  if (dice.chance(0.3)) path.loss = dice.log_uniform(0.0001, 0.01);
  path.receive_buffer_bytes = static_cast<std::uint32_t>(dice.log_uniform(64'000, 1'000'000));
  path.receive_buffer_bytes_max = path.receive_buffer_bytes;
  if (dice.chance(0.6)) path.receive_buffer_bytes_max = 6'000'000;
  if (empty == Empty::narrows) path.window_ratio_end = dice.uniform(0.6, 1);
  if (empty == Empty::swings) path.swing = dice.uniform(0.7, 1);
  path.swing_ns = static_cast<std::int64_t>(dice.log_uniform(200e6, 5e9));
  path.window_scale = static_cast<unsigned>(dice.uniform(0, 10));
  path.delays_acks = dice.chance(0.8);
  path.read_interval_ns = static_cast<std::int64_t>(dice.log_uniform(1e6, 30e6));
  return path;
}

struct Outcome {
  std::uint64_t seed = 0;
  double share = 0;  // of the goodput without a controller
  Figures with;
  Figures without;
};

// A steady reader on the path of that seed, with the controller and without.
Outcome try_path(std::uint64_t seed, const PathOptions& path, double rate) {
  PathOptions options = path;
  options.read_rate = steady(rate);
  // It narrows after two seconds.
  const std::int64_t from =
      (path.window_ratio_end < 1 ? 8 * second : 3 * second) + 20 * path.one_way_ns;
  Sender plain(options);
  plain.unpaced = true;
  Sender paced(options);
  Outcome outcome;
  outcome.seed = seed;
  outcome.without = measure(plain, from, from + 4 * second);
  outcome.with = measure(paced, from, from + 4 * second);
  outcome.share = outcome.with.goodput / std::min(rate, outcome.without.goodput);
  return outcome;
}

std::vector<Outcome> try_paths(std::uint64_t count, Empty empty) {
  std::vector<Outcome> outcomes;
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    const double rate = Dice(seed + 77'777).log_uniform(40'000, 4'000'000);
    outcomes.push_back(try_path(seed, any_path(seed, empty), rate));
  }
  return outcomes;
}

template <class Of>
double share_of(const std::vector<Outcome>& outcomes, Of of) {
  return static_cast<double>(std::count_if(outcomes.begin(), outcomes.end(), of)) /
         static_cast<double>(outcomes.size());
}

std::string list(const std::vector<Outcome>& outcomes) {
  std::string text;
  for (const Outcome& one : outcomes) {
    char line[200];
    std::snprintf(line, sizeof line,
                  "seed %3d: share %.2f, p50 %5.0f, p99 %5.0f ms (without %5.0f)\n",
                  static_cast<int>(one.seed), one.share, one.with.p50_ms, one.with.p99_ms,
                  one.without.p99_ms);
    text += line;
  }
  return text;
}

auto keeps(double share) {
  return [share](const Outcome& one) { return one.share >= share; };
}

// Two tests judge the same runs.
const std::vector<Outcome>& on_any_path() {
  static const std::vector<Outcome> outcomes = try_paths(300, Empty::stays);
  return outcomes;
}

TEST(LateWindow, KeepsTheGoodputOnAnyPath) {
  const auto& outcomes = on_any_path();
  EXPECT_GE(share_of(outcomes, keeps(0.98)), 0.9);
  EXPECT_GE(share_of(outcomes, keeps(0.9)), 0.98);
  EXPECT_GE(share_of(outcomes, keeps(0.8)), 0.99) << list(outcomes);
}

TEST(LateWindow, MakesWhatIsReadFresherOnAnyPath) {
  const auto& outcomes = on_any_path();
  const auto fresher = [](double times) {
    return [times](const Outcome& one) { return one.with.p99_ms * times <= one.without.p99_ms; };
  };
  EXPECT_GE(share_of(outcomes, fresher(2)), 0.7);
  EXPECT_GE(share_of(outcomes, fresher(1)), 0.9) << list(outcomes);
}

TEST(LateWindow, RecoversWhenTheEmptyWindowBecomesNarrower) {
  const auto outcomes = try_paths(300, Empty::narrows);
  EXPECT_GE(share_of(outcomes, keeps(0.9)), 0.92);
  EXPECT_GE(share_of(outcomes, keeps(0.5)), 0.95) << list(outcomes);
}

// As it does on Linux when small segments follow large ones, but here up to five times a second.
TEST(LateWindow, KeepsTheGoodputWhileTheEmptyWindowSwings) {
  const auto outcomes = try_paths(300, Empty::swings);
  EXPECT_GE(share_of(outcomes, keeps(0.9)), 0.85);
  EXPECT_GE(share_of(outcomes, keeps(0.5)), 0.98) << list(outcomes);
}

PathOptions loopback() {
  PathOptions path;
  path.one_way_ns = 20'000;
  path.receive_buffer_bytes = path.receive_buffer_bytes_max = 500'000;
  return path;
}

TEST(LateWindow, LeavesAReaderOnTheSameHostLittleMoreThanTheLimit) {
  Sender sender(loopback());
  const Figures figures = measure(sender, 2 * second, 6 * second);
  EXPECT_GE(figures.goodput, 0.98 * 400'000);
  EXPECT_LE(figures.p50_ms, 1e3 * 8192 / 400'000 + 15);
  EXPECT_LE(figures.p99_ms, 50);
  EXPECT_LE(figures.looks_per_s, 1000);
}

TEST(LateWindow, LeavesEnoughToAReaderThatDoesNotMakeUpForWhatItDidNotFind) {
  PathOptions path = loopback();
  path.makes_up = false;
  Sender sender(path);
  const Figures figures = measure(sender, 2 * second, 12 * second);
  EXPECT_GE(figures.goodput, 0.98 * 400'000);
  EXPECT_LE(figures.p99_ms, 50);
}

// On loopback, merged segments count as unread until the last byte of them is read.
TEST(LateWindow, LeavesEnoughToAReaderWhoseBufferIsFreedInLargePieces) {
  for (const std::int64_t interval_ns : {5 * ms, 10 * ms}) {
    for (const bool makes_up : {false, true}) {
      PathOptions path = loopback();
      path.receive_buffer_bytes = path.receive_buffer_bytes_max = 110'000;
      path.merges = 17;
      path.segment_bytes = 1024;
      path.makes_up = makes_up;
      path.read_interval_ns = interval_ns;
      Sender sender(path);
      const Figures figures = measure(sender, 2 * second, 12 * second);
      EXPECT_GE(figures.goodput, 0.98 * 400'000);
      EXPECT_LE(figures.p99_ms, 50);
    }
  }
}

TEST(LateWindow, KeepsAReaderFreshOverAPathOfEightyMilliseconds) {
  PathOptions path;
  path.one_way_ns = 40 * ms;
  path.receive_buffer_bytes = path.receive_buffer_bytes_max = 400'000;
  Sender sender(path);
  const Figures figures = measure(sender, 3 * second, 13 * second);
  EXPECT_GE(figures.goodput, 0.95 * 400'000);
  EXPECT_LE(figures.p99_ms, 200);
}

TEST(LateWindow, KeepsTheQueueOfASlowLinkShort) {
  PathOptions path;
  path.one_way_ns = 40 * ms;
  path.rate_bytes_per_s = 400'000;  // 3.2 Mbit/s
  path.queue_seconds = 0.2;
  path.receive_buffer_bytes = path.receive_buffer_bytes_max = 400'000;
  path.read_rate = steady(4'000'000);
  Sender sender(path);
  const Figures figures = measure(sender, 3 * second, 13 * second);
  EXPECT_GE(figures.goodput, 0.95 * 400'000 * 1448 / 1500);
  EXPECT_LE(figures.p99_ms, 120);
}

TEST(LateWindow, LosesLittleOnTheSameHostWhenTheEmptyWindowSwingsByAThird) {
  PathOptions path = loopback();
  path.receive_buffer_bytes = path.receive_buffer_bytes_max = 131'072;
  path.swing = 0.72;
  Sender sender(path);
  const Figures figures = measure(sender, 2 * second, 12 * second);
  EXPECT_GE(figures.goodput, 0.95 * 400'000);
  EXPECT_LE(figures.p99_ms, 200);  // without: 330
}

// As an adaptive subscription begins: all buffers are full of what came before.
TEST(LateWindow, FindsTheBacklogThatWasThereBeforeIt) {
  PathOptions path = loopback();
  Sender sender(path);
  sender.unpaced = true;
  sender.run_until(2 * second);
  EXPECT_GE(sender.path().in_receive_buffer(), 400'000u);
  sender.unpaced = false;
  sender.begin_anew();
  const Figures figures = measure(sender, 6 * second, 9 * second);
  EXPECT_GE(figures.goodput, 0.98 * 400'000);
  EXPECT_LE(figures.p99_ms, 2e3 * 8192 / 400'000 + 10);
}

TEST(LateWindow, HasSentLittleToAReaderThatWakesAfterFiveSeconds) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    PathOptions path = loopback();
    path.seed = seed;
    path.one_way_ns = static_cast<std::int64_t>(Dice(seed).log_uniform(20'000, 5'000'000));
    path.read_rate = [](std::int64_t now) {
      return now > 2 * second && now < 7 * second ? 0.0 : 400'000.0;
    };
    Sender sender(path);
    sender.run_until(2 * second);
    const std::uint64_t before = sender.path().read_bytes();
    sender.run_until(7 * second - ms);
    EXPECT_EQ(sender.path().read_bytes(), before);
    EXPECT_LE(sender.path().in_receive_buffer(), 60'000u) << "seed " << seed;
    const Figures after = measure(sender, 9 * second, 11 * second);
    EXPECT_GE(after.goodput, 0.95 * 400'000) << "seed " << seed;
    EXPECT_LE(after.p99_ms, 120) << "seed " << seed;
  }
}

TEST(LateWindow, FollowsAReaderThatBecomesTenTimesAsFast) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    PathOptions path = loopback();
    path.seed = seed;
    path.one_way_ns = static_cast<std::int64_t>(Dice(seed).log_uniform(20'000, 50'000'000));
    path.receive_buffer_bytes = path.receive_buffer_bytes_max = 2'000'000;
    path.read_rate = [](std::int64_t now) { return now < 4 * second ? 200'000.0 : 2'000'000.0; };
    Sender sender(path);
    const Figures after = measure(sender, 7 * second, 10 * second);
    EXPECT_GE(after.goodput, 0.9 * 2'000'000) << "seed " << seed;
  }
}

// What terminates TCP on the way reads all that it gets, at once, into a buffer that nobody here
// sees: then nothing is known, and nothing may be held back.
TEST(LateWindow, HoldsNothingBackFromOneThatReadsAllAtOnce) {
  PathOptions path = loopback();
  path.one_way_ns = ms;
  path.rate_bytes_per_s = 10'000'000;
  path.queue_seconds = 0.05;
  path.read_rate = steady(100'000'000);
  path.read_interval_ns = step_ns;
  Sender sender(path);
  EXPECT_GE(measure(sender, 4 * second, 7 * second).goodput, 0.9 * 10'000'000 * 1448 / 1500);
}

// A reader of 400 KB/s on this host, of which the test says what is told.
struct Reading {
  LateWindow window{LateWindow::Limits{}};
  server::PathSample sample;

  Reading() {
    sample.now_ns = second;
    sample.window_bytes = 75'000;
    sample.segment_bytes = 1448;
    sample.least_rtt_us = 50;
    window.look(sample, false);
    for (int i = 0; i < 200; ++i) look_after(5 * ms, 8000, false);
  }
  void look_after(std::int64_t elapsed_ns, std::uint32_t unread, bool holds_back = true) {
    sample.now_ns += elapsed_ns;
    sample.acked_bytes += static_cast<std::uint64_t>(elapsed_ns / 2500);
    sample.window_bytes = 75'000 - unread;
    window.look(sample, holds_back);
  }
  void look_untold_after(std::int64_t elapsed_ns) {
    sample.now_ns += elapsed_ns;
    window.look(sample, true);
  }
};

// A window that was told before the reader read goes on to say that it is full: a small segment
// alone is acknowledged late, and Linux counts what is partly read as unread.
TEST(LateWindow, ExpectsAReaderToGoOnWhileNothingIsTold) {
  Reading reading;
  const LateWindow& window = reading.window;
  ASSERT_NEAR(window.rate_bytes_per_s(), 400'000, 20'000);
  reading.look_after(ms, 11'000);
  ASSERT_EQ(window.unread_bytes(), 11'000u);
  EXPECT_LT(window.allowance_bytes(), window.held_bytes());
  reading.look_untold_after(25 * ms);
  EXPECT_GE(window.allowance_bytes(), window.held_bytes() + window.lump_bytes());
  // But not without end: it may have stopped.
  reading.look_untold_after(250 * ms);
  EXPECT_LE(window.allowance_bytes(), 8192u + 400'000 / 20 + 100);
}

TEST(LateWindow, LeavesMoreToTheReaderWhereLooksUsuallyComeLate) {
  Reading reading;
  const LateWindow& window = reading.window;
  const auto look_late = [&](std::int64_t late_ns) {
    reading.look_after(window.next_look_ns() + late_ns - reading.sample.now_ns, 40'000);
  };
  reading.look_after(ms, 40'000);
  look_late(130 * ms);
  EXPECT_LE(window.allowance_bytes(), 16'000u) << "one that came late says little";
  for (int i = 0; i < 20; ++i) look_late(60 * ms);
  EXPECT_GE(window.allowance_bytes(), 30'000u);
  for (int i = 0; i < 60; ++i) look_late(0);
  EXPECT_LE(window.allowance_bytes(), 10'000u);
}

TEST(LateWindow, IsNotMisledByATimeInWhichNobodyLooked) {
  LateWindow window({});
  server::PathSample sample;
  sample.now_ns = second;
  sample.window_bytes = 100'000;
  sample.segment_bytes = 1448;
  window.look(sample, true);
  const std::uint32_t before = window.allowance_bytes();
  sample.now_ns = 3600 * second;
  window.look(sample, true);
  EXPECT_EQ(window.allowance_bytes(), before);
}

}  // namespace
}  // namespace millrace::test
