// What one client asks for holds up the others for a slice, not for all of it.
#include "core/broker/command_turns.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/broker/world.hpp"

namespace millrace::broker {
namespace {

using protocol::ReasonCode;

constexpr int offline_count = 500;
constexpr std::uint32_t slice_units = 4 * offline_count;  // three messages to all of them

class CommandTurnsTest : public ::testing::Test {
 protected:
  static ProcessorLimits limits() {
    ProcessorLimits limits;
    limits.units_per_batch = slice_units;
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
  EXPECT_GE(run_until_empty(), 3);
  EXPECT_LE(most_spent, slice_units + 3u * offline_count) << "a slice and one command";
  EXPECT_EQ(world.processor.find_session("offline7")->pending.size(), 20u) << "nothing is lost";
}

// Each of its commands costs little, but it may have thousands in the queue.
TEST_F(CommandTurnsTest, OthersAreServedBeforeTheRestOfManyThatAreCostlyTogether) {
  for (int i = 0; i < 60; ++i) {
    world.peer("some" + std::to_string(i)).connect(true, 1000).subscribe("some", 1, Mode::every);
    world.peers.back()->close();
  }
  Peer& stranger = world.peer("stranger").connect();
  Peer& healthy = world.peer("healthy").connect().subscribe("own");
  world.end_batch();
  constexpr std::size_t count = 60;
  std::vector<Command> commands;
  for (std::size_t i = 0; i < count; ++i) {
    commands.push_back(publish_command(message("some", "x", 1, false, 1), stranger.outbox.get()));
  }
  commands.push_back(cheap(healthy, "beside"));
  run_batch(std::move(commands));
  healthy.take();
  EXPECT_EQ(healthy.payloads(), std::vector<std::string>{"beside"});
  EXPECT_NE(stranger.outbox->line, nullptr);
  EXPECT_FALSE(stranger.outbox->asks_much()) << "as many of them may wait as of others";
  EXPECT_GE(run_until_empty(), 2);
  EXPECT_LE(most_spent, slice_units + 200u) << "a slice and one command";
  EXPECT_EQ(world.processor.find_session("some7")->pending.size(), count) << "nothing is lost";
}

TEST_F(CommandTurnsTest, WhatCostsLittleInASecondGetsNoLine) {
  for (int i = 0; i < 60; ++i) {
    world.peer("some" + std::to_string(i)).connect(true, 1000).subscribe("some", 1, Mode::every);
    world.peers.back()->close();
  }
  Peer& stranger = world.peer("stranger").connect();
  world.end_batch();
  for (int i = 0; i < 10; ++i) {
    std::vector<Command> commands;
    commands.push_back(publish_command(message("some", "x", 1, false, 1), stranger.outbox.get()));
    run_batch(std::move(commands));
    EXPECT_EQ(stranger.outbox->line, nullptr);
    world.now_ns += 1'000'000'000;
  }
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

// Its CONNECT would otherwise take over a session that is about to be left in order.
TEST_F(CommandTurnsTest, TheNextConnectionOfASessionComesAfterWhatTheLastOneAskedFor) {
  Peer& watcher = world.peer("watcher").connect().subscribe("will");
  Peer& last = world.peer("stranger");
  last.connect(true, 0, ConnectRequest::Will{message("will", "x"), 0});
  Peer& next = world.peer("stranger");
  world.end_batch();
  std::vector<Command> commands;
  for (int i = 0; i < 5; ++i) commands.push_back(costly(last, "x"));
  commands.push_back({last.outbox.get(), command::Close{ReasonCode::normal_disconnection, {}}});
  last.is_open = false;
  auto request = std::make_unique<ConnectRequest>();
  request->client_id = next.client_id;
  commands.push_back({next.outbox.get(), command::Connect{std::move(request)}});
  next.is_open = true;
  commands.push_back(costly(next, "y"));
  run_batch(std::move(commands));
  EXPECT_NE(next.outbox->line, nullptr);
  run_until_empty();
  next.take();
  EXPECT_EQ(next.session_present, false);
  EXPECT_EQ(world.processor.stats().takeovers.value(), 0u);
  watcher.take();
  EXPECT_TRUE(watcher.got.empty()) << "a will that was taken back";
  EXPECT_EQ(world.processor.find_session("offline0")->pending.size(), 6u);
  EXPECT_EQ(last.outbox->line, nullptr);
}

TEST_F(CommandTurnsTest, WhatIsCostlyAndNotDoneIsDroppedWhenTheServerEnds) {
  Peer& stranger = world.peer("stranger").connect();
  world.end_batch();
  std::vector<Command> commands;
  for (int i = 0; i < 50; ++i) commands.push_back(costly(stranger, "x"));
  commands.push_back({stranger.outbox.get(), command::Close{}});
  stranger.is_open = false;
  run_batch(std::move(commands));
  const std::size_t done = world.processor.find_session("offline0")->pending.size();
  ASSERT_LT(done, 10u);
  turns.hurry();
  run_batch();
  EXPECT_TRUE(turns.empty());
  EXPECT_EQ(world.processor.find_session("offline0")->pending.size(), done);
  EXPECT_EQ(world.processor.find_session("stranger"), nullptr) << "its end is applied";
  EXPECT_EQ(stranger.outbox->applied_commands(), 52u) << "all of it is answered for";
}

TEST_F(CommandTurnsTest, TheConnectionIsToldThatWhatItAsksForIsCostly) {
  Peer& stranger = world.peer("stranger").connect();
  world.end_batch();
  EXPECT_FALSE(stranger.outbox->asks_much());
  std::vector<Command> commands;
  commands.push_back(costly(stranger, "x"));
  run_batch(std::move(commands));
  EXPECT_TRUE(stranger.outbox->asks_much());
  world.now_ns += 2'000'000'000;
  run_batch();
  EXPECT_FALSE(stranger.outbox->asks_much());
}

// 2 MiB of filters in one packet.
TEST_F(CommandTurnsTest, ASubscribeOfVeryManyFiltersIsDoneInParts) {
  Peer& stranger = world.peer("stranger", protocol::Version::v5).connect();
  Peer& healthy = world.peer("healthy").connect().subscribe("own");
  world.end_batch();
  constexpr std::size_t count = 6000;
  auto request = std::make_unique<SubscribeRequest>();
  auto reverse = std::make_unique<UnsubscribeRequest>();
  request->packet_id = 7;
  request->beyond = 2;
  reverse->packet_id = 8;
  for (std::size_t i = 0; i < count; ++i) {
    SubscriptionRequest& one = request->filters.emplace_back();
    one.name = one.filter = "a/" + std::to_string(i);
    reverse->names.push_back(one.name);
  }
  std::vector<Command> commands;
  commands.push_back({stranger.outbox.get(), command::Subscribe{std::move(request)}});
  commands.push_back(cheap(stranger, "after"));
  commands.push_back({stranger.outbox.get(), command::Unsubscribe{std::move(reverse)}});
  commands.push_back(cheap(healthy, "beside"));
  run_batch(std::move(commands));
  healthy.take();
  EXPECT_EQ(healthy.payloads(), std::vector<std::string>{"beside"});
  stranger.take();
  EXPECT_TRUE(stranger.control.empty()) << "SUBACK is for all of them";
  EXPECT_GE(run_until_empty(), 8);
  EXPECT_LE(most_spent, slice_units + 2u * offline_count) << "a slice and a part";
  stranger.take();
  ASSERT_EQ(stranger.control.size(), 2u);
  const auto& suback = std::get<protocol::Suback>(stranger.control[0]);
  ASSERT_EQ(suback.reasons.size(), count + 2);
  EXPECT_EQ(suback.reasons[count - 1], ReasonCode::success);
  EXPECT_EQ(suback.reasons[count], ReasonCode::quota_exceeded);
  const auto& unsuback = std::get<protocol::Unsuback>(stranger.control[1]);
  EXPECT_EQ(unsuback.reasons, std::vector<ReasonCode>(count, ReasonCode::success));
  EXPECT_EQ(world.processor.stats().stale_commands.value(), 0u);
  healthy.take();
  EXPECT_EQ(healthy.got.back().payload, "after");
}

TEST_F(CommandTurnsTest, ALongSubscribeEndsWithItsConnection) {
  Peer& stranger = world.peer("stranger").connect();
  world.end_batch();
  auto request = std::make_unique<SubscribeRequest>();
  request->packet_id = 7;
  for (int i = 0; i < 3000; ++i) {
    SubscriptionRequest& one = request->filters.emplace_back();
    one.name = one.filter = "a/" + std::to_string(i);
  }
  std::vector<Command> commands;
  commands.push_back({stranger.outbox.get(), command::Subscribe{std::move(request)}});
  run_batch(std::move(commands));
  Peer& next = world.peer("stranger").connect();  // beside the turns, as nothing else can be
  run_until_empty();
  world.run_until_idle();
  stranger.take();
  EXPECT_EQ(stranger.closed, ReasonCode::session_taken_over);
  next.take();
  EXPECT_EQ(world.processor.stats().subscriptions.value(), std::uint64_t{offline_count});
}

}  // namespace
}  // namespace millrace::broker
