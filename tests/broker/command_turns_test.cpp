// What one client asks for holds up the others for a slice, not for all of it.
#include "core/broker/command_turns.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

constexpr int offline_count = 500;  // a message to all of them is half a slice

class CommandTurnsTest : public ::testing::Test {
 protected:
  static ProcessorLimits limits() {
    ProcessorLimits limits;
    limits.units_per_batch = 2 * offline_count;
    return limits;
  }
  CommandTurnsTest() {
    for (int i = 0; i < offline_count; ++i) {
      world.peer("offline" + std::to_string(i)).connect(true, 1000);
      world.peers.back()->subscribe("all", 1, Mode::every).close();
    }
    world.end_batch();
  }

  Command costly(Peer& from, const std::string& payload) {
    return publish_command(message("all", payload, 1, false, 1), from.outbox.get());
  }
  Command cheap(Peer& from, const std::string& payload) {
    return publish_command(message("own", payload), from.outbox.get());
  }
  // As Inbox does it.
  void run_batch(std::vector<Command> commands = {}) {
    world.now_ns += 1000;
    world.processor.begin(world.now_ns);
    turns.begin();
    if (!turns.is_behind()) {
      for (Command& command : commands) turns.admit(command);
    } else {
      ASSERT_TRUE(commands.empty());
    }
    turns.finish();
    most_spent = std::max(most_spent, world.processor.spent_units());
    world.processor.finish();
    ++batches;
  }
  int run_until_empty() {
    const int before = batches;
    while (!turns.empty()) run_batch();
    return batches - before;
  }

  World world{limits()};
  CommandTurns turns{world.processor};
  std::uint64_t most_spent = 0;
  int batches = 0;
};

TEST_F(CommandTurnsTest, OthersAreServedBeforeTheRestOfWhatIsCostly) {
  Peer& stranger = world.peer("stranger").connect();
  Peer& healthy = world.peer("healthy").connect().subscribe("own");
  world.end_batch();
  std::vector<Command> commands;
  for (int i = 0; i < 20; ++i) commands.push_back(costly(stranger, "x"));
  commands.push_back(cheap(healthy, "first"));
  run_batch(std::move(commands));
  healthy.take();
  EXPECT_EQ(healthy.payloads(), std::vector<std::string>{"first"});
  EXPECT_FALSE(turns.empty());
  commands.clear();
  commands.push_back(cheap(healthy, "second"));
  run_batch(std::move(commands));
  healthy.take();
  EXPECT_EQ(healthy.got.back().payload, "second");
  EXPECT_GE(run_until_empty(), 5);
  EXPECT_LE(most_spent, 3u * offline_count + 100) << "a slice and one command";
  EXPECT_EQ(world.processor.find_session("offline7")->pending.size(), 20u) << "nothing is lost";
}

TEST_F(CommandTurnsTest, CommandsOfOneConnectionKeepTheirOrder) {
  Peer& reader = world.peer("reader").connect().subscribe("#", 1, Mode::every);
  Peer& stranger = world.peer("stranger").connect();
  Peer& other = world.peer("other").connect();
  world.end_batch();
  std::vector<std::string> expected;
  int number = 0;
  for (int round = 0; round < 10; ++round) {
    std::vector<Command> commands;
    for (int i = 0; i < 6; ++i) {
      const std::string payload = std::to_string(number++);
      commands.push_back(i % 3 == 0 ? costly(stranger, payload) : cheap(stranger, payload));
      commands.push_back(i % 2 == 0 ? costly(other, "other") : cheap(other, "other"));
      expected.push_back(payload);
    }
    if (turns.is_behind()) run_until_empty();
    run_batch(std::move(commands));
  }
  run_until_empty();
  reader.read();
  std::vector<std::string> got = reader.payloads();
  std::erase(got, "other");
  EXPECT_EQ(got, expected);
}

TEST_F(CommandTurnsTest, AConnectionThatClosesLeavesNoLine) {
  Peer& stranger = world.peer("stranger").connect();
  world.end_batch();
  std::vector<Command> commands;
  for (int i = 0; i < 5; ++i) commands.push_back(costly(stranger, "x"));
  commands.push_back({stranger.outbox.get(), command::Close{}});
  stranger.is_open = false;
  run_batch(std::move(commands));
  run_until_empty();
  EXPECT_EQ(stranger.outbox->line, nullptr);
  EXPECT_EQ(world.processor.find_session("stranger"), nullptr);
  EXPECT_EQ(world.processor.find_session("offline0")->pending.size(), 5u);
}

TEST_F(CommandTurnsTest, ALineIsLeftAfterASecondWithoutAnythingCostly) {
  Peer& stranger = world.peer("stranger").connect();
  world.end_batch();
  std::vector<Command> commands;
  commands.push_back(costly(stranger, "x"));
  run_batch(std::move(commands));
  EXPECT_NE(stranger.outbox->line, nullptr);
  world.now_ns += 2'000'000'000;
  run_batch();
  EXPECT_EQ(stranger.outbox->line, nullptr);
}

}  // namespace
}  // namespace millrace::broker
