// Whether the server's threads do their work.
#include "server/app/heartbeat.hpp"

#include <gtest/gtest.h>

#include <utility>

namespace millrace::server {
namespace {

// Two threads that run what was posted when they are told to, and a processor.
struct World {
  std::vector<std::function<void()>> first, second;
  bool idle = true;
  std::uint64_t batches = 0;
  Heartbeat heartbeat{{[this](std::function<void()> task) { first.push_back(std::move(task)); },
                       [this](std::function<void()> task) { second.push_back(std::move(task)); }},
                      {[this] { return idle; }, [this] { return batches; }}};

  static void run(std::vector<std::function<void()>>& tasks) {
    for (auto& task : std::exchange(tasks, {})) task();
  }
};

TEST(Heartbeat, BeatsAtTheFirstQuestion) {
  World world;
  EXPECT_EQ(world.heartbeat.stalled_threads(), "");
}

TEST(Heartbeat, NamesTheThreadThatHasNotRunItsTask) {
  World world;
  world.heartbeat.stalled_threads();
  World::run(world.first);
  EXPECT_EQ(world.heartbeat.stalled_threads(), "I/O thread 1");
  World::run(world.first);
  EXPECT_EQ(world.heartbeat.stalled_threads(), "I/O thread 1");
  EXPECT_EQ(world.second.size(), 1u) << "nothing more is posted to a thread that is stalled";
  World::run(world.first);
  World::run(world.second);
  EXPECT_EQ(world.heartbeat.stalled_threads(), "");
}

TEST(Heartbeat, NamesTheProcessorThatHasWorkAndFinishesNone) {
  World world;
  world.batches = 7;
  world.heartbeat.stalled_threads();
  const auto ask = [&] {
    World::run(world.first);
    World::run(world.second);
    return world.heartbeat.stalled_threads();
  };
  EXPECT_EQ(ask(), "") << "an idle processor has nothing to finish";
  world.idle = false;
  EXPECT_EQ(ask(), "processor");
  world.batches = 8;
  EXPECT_EQ(ask(), "") << "it is busy, and gets on";
}

TEST(Heartbeat, OutlivesNothingThatWasPosted) {
  std::function<void()> late;
  {
    Heartbeat heartbeat({[&](std::function<void()> task) { late = std::move(task); }},
                        {[] { return true; }, [] { return 0; }});
    heartbeat.stalled_threads();
  }
  late();
}

}  // namespace
}  // namespace millrace::server
