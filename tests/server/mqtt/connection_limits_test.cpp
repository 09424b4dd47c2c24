// What a connection may make the server hold, without a thread: the queue applies when the test says
// so.
#include <gtest/gtest.h>

#include <utility>

#include "protocol/decode.hpp"
#include "protocol/encode.hpp"
#include "server/mqtt/connection.hpp"
#include "tests/server/mqtt/front_end.hpp"
#include "tests/server/mqtt/scripted_stream.hpp"

namespace millrace::server {
namespace {

using protocol::Packet;
using protocol::Version;
using Bytes = std::vector<std::uint8_t>;

struct Line final : ScriptedStream {
  bool closed = false;
  void open(StreamUser& user) override { user.on_open(); }
  void close() override { closed = true; }
};

struct ConnectionLimitsTest : testing::Test {
  explicit ConnectionLimitsTest(const Config& config = {}) : front(config) {}

  FrontEnd front;
  std::unique_ptr<Line> line_owner = std::make_unique<Line>();
  Line& line = *line_owner;
  ListenerConfig listener = front.settings->config.listeners.front();
  boost::intrusive_ptr<Connection> connection{
      new Connection(front.thread, listener, std::move(line_owner))};

  void TearDown() override {
    connection->abandon();
    front.apply();
  }

  static Bytes encoded(const Packet& packet) {
    Bytes bytes;
    protocol::encode(packet, Version::v5, bytes);
    return bytes;
  }
  // Its turn of the thread's, if it asked for one.
  bool take_turn() {
    if (!std::exchange(line.posted, false)) return false;
    connection->on_readable();
    return true;
  }
  void receive(Bytes bytes) {
    line.reads.push_back(std::move(bytes));
    while (!line.reads.empty() && !line.closed) {
      const std::size_t before = line.reads.size() * 1'000'000 + line.reads.front().size();
      connection->on_readable();
      if (!line.reads.empty() &&
          before == line.reads.size() * 1'000'000 + line.reads.front().size()) {
        break;  // it does not read
      }
    }
  }
  void connect() {
    connection->start();
    protocol::Connect packet;
    packet.client_id = "c";
    receive(encoded(packet));
    front.apply();
    front.thread.dispatch_ready();
    ASSERT_FALSE(line.taken.empty());
    line.taken.clear();
  }
  // Sets an alias for a topic of 65,000 bytes; returns so many PUBLISHes by that alias.
  Bytes behind_alias(std::size_t count) {
    protocol::Publish publish;
    publish.topic.assign(65'000, 't');
    publish.properties.topic_alias = 1;
    receive(encoded(publish));
    publish.topic.clear();
    const Bytes one = encoded(publish);
    Bytes all;
    for (std::size_t i = 0; i < count; ++i) all.insert(all.end(), one.begin(), one.end());
    return all;
  }
  void advance_seconds(std::uint32_t seconds) {
    for (std::uint32_t i = 0; i < IoThread::ticks(seconds); ++i) front.thread.wheel().advance();
  }
};

// A topic of 64 KiB behind an alias of a few bytes: 64 KiB received were 520 MB to apply.
TEST_F(ConnectionLimitsTest, OneReadBecomesNoMoreThanItsLimitThroughAnAlias) {
  connect();
  constexpr std::size_t count = 8000;
  const Bytes all = behind_alias(count);
  receive(all);
  const std::uint64_t limit = front.settings->config.connection.unapplied_bytes;
  while (take_turn()) EXPECT_LE(front.inbox.queued_bytes(), limit + 66'000);
  EXPECT_GE(front.inbox.queued_bytes(), limit);
  // The rest follows as it is applied, and nothing is lost.
  for (std::size_t rounds = 0; rounds < count; ++rounds) {
    front.apply();
    if (!front.thread.dispatch_ready()) break;  // it waits for nothing
    while (take_turn()) EXPECT_LE(front.inbox.queued_bytes(), limit + 66'000);
  }
  EXPECT_EQ(front.processor.stats().published[0].value(), count + 1);
  EXPECT_FALSE(line.closed);
}

// Even if all of it is applied at once: the connections of a thread wait for each other's turns.
TEST_F(ConnectionLimitsTest, WhatAnAliasStandsForIsHandledInTurns) {
  connect();
  constexpr std::size_t count = 50;
  const Bytes all = behind_alias(count);
  const auto published = [&] { return front.processor.stats().published[0].value(); };
  const auto is_within_turn = [&](std::uint64_t before) { return published() - before <= 5; };
  front.apply();
  receive(all);
  front.apply();
  EXPECT_TRUE(is_within_turn(1));
  std::size_t turns = 1;
  for (std::uint64_t before = published(); take_turn(); before = published(), ++turns) {
    front.apply();
    front.thread.dispatch_ready();
    EXPECT_TRUE(is_within_turn(before));
  }
  EXPECT_EQ(turns, count / 5);
  EXPECT_EQ(published(), count + 1);
  EXPECT_EQ(front.thread.counters().read_pauses.value(), 0u) << "nothing held it back";
}

TEST_F(ConnectionLimitsTest, AClientThatDoesNotReadItsAnswersIsNotKeptForEver) {
  connect();
  line.room = 0;
  Bytes pings;
  for (int i = 0; i < 30'000; ++i) pings.insert(pings.end(), {0xC0, 0});
  for (int i = 0; i < 40; ++i) receive(pings);
  ASSERT_FALSE(line.reads.empty());  // its control lane is full
  advance_seconds(55);
  EXPECT_FALSE(line.closed);
  advance_seconds(200);
  EXPECT_TRUE(line.closed);
  front.apply();
  EXPECT_EQ(front.processor.find_session("c"), nullptr);
}

TEST_F(ConnectionLimitsTest, AnMqtt5ClientHasNoMoreInflightThanTheServerAllows) {
  connect();  // without Receive Maximum
  EXPECT_EQ(front.processor.find_session("c")->receive_maximum,
            front.settings->config.inflight_max);
}

// --- The end by the processor ---

struct ProcessorEndTest : ConnectionLimitsTest {
  // Ends the connection in the processor. The thread has not been told yet.
  void expel() {
    auto request = std::make_unique<broker::ExpelRequest>();
    request->client_id = "c";
    broker::Command command{nullptr, broker::command::Expel{std::move(request)}};
    ASSERT_EQ(front.inbox.submit({&command, 1}), 1u);
    front.apply();
  }
};

// The answer to the PINGREQ takes the hand-over that ends the connection.
TEST_F(ProcessorEndTest, NothingIsSubmittedBehindCloseThatCameInTheSameRead) {
  connect();
  expel();
  protocol::Publish publish;
  publish.topic = "t";
  protocol::Subscribe subscribe;
  subscribe.packet_id = 1;
  subscribe.subscriptions.emplace_back().filter = "t";
  protocol::Puback puback;
  puback.packet_id = 1;
  Bytes all = encoded(protocol::Pingreq{});
  for (const Packet& packet : {Packet(publish), Packet(subscribe), Packet(puback)}) {
    const Bytes bytes = encoded(packet);
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  receive(all);
  EXPECT_EQ(front.inbox.queue().len(), 1u) << "Close, and no more";
  front.apply();
  EXPECT_EQ(front.processor.stats().stale_commands.value(), 0u);
}

// The PINGRESP is held until Close is applied, and DISCONNECT does not wait for that.
TEST_F(ProcessorEndTest, NoAnswerIsWrittenBehindDisconnect) {
  connect();
  expel();
  line.room = 0;
  receive(encoded(protocol::Pingreq{}));
  front.apply();
  front.thread.dispatch_ready();
  line.room = SIZE_MAX;
  connection->on_writable();
  const auto frame = **protocol::frame(line.taken, protocol::packet_bytes_limit, Version::v5);
  EXPECT_EQ(frame.type, protocol::PacketType::disconnect);
  EXPECT_EQ(frame.packet_bytes, line.taken.size()) << "and no more";
}

// --- Memory ---

struct MemoryLimitsTest : ConnectionLimitsTest {
  // The first bytes of a PUBLISH of 1 MiB.
  static Bytes part_of_packet(std::size_t bytes) {
    protocol::Publish publish;
    publish.topic = "t";
    publish.payload.assign(1 << 20, 'x');
    Bytes packet = encoded(publish);
    packet.resize(bytes);
    return packet;
  }
  // The reason of the DISCONNECT that the connection sent; none: it sent nothing.
  std::optional<protocol::ReasonCode> farewell() {
    front.apply();
    front.thread.dispatch_ready();
    if (line.taken.empty()) return std::nullopt;
    const auto frame = **protocol::frame(line.taken, protocol::packet_bytes_limit, Version::v5);
    const auto packet = protocol::decode(frame, line.taken, Version::v5, protocol::Sender::server);
    return std::get<protocol::Disconnect>(*packet).reason;
  }
};

TEST_F(MemoryLimitsTest, APacketThatNeverEndsEndsItsConnectionWhileMemoryIsScarce) {
  connect();
  receive(part_of_packet(200'000));
  connection->relieve_memory();
  EXPECT_EQ(farewell(), std::nullopt) << "it may be on its way";
  advance_seconds(3);
  connection->relieve_memory();
  EXPECT_EQ(farewell(), protocol::ReasonCode::quota_exceeded);
}

TEST_F(MemoryLimitsTest, APacketHoldsASmallMultipleOfWhatWasSent) {
  connect();
  front.thread.read_memory().buffers.current();
  const std::uint64_t before = broker::BufferBytes::total();
  receive(part_of_packet(100));
  EXPECT_LE(broker::BufferBytes::total() - before, 65u * 1024);
  Bytes rest = part_of_packet(200'000);
  rest.erase(rest.begin(), rest.begin() + 100);
  receive(rest);
  EXPECT_LE(broker::BufferBytes::total() - before, 4u * 200'000 + 1024);
}

TEST_F(MemoryLimitsTest, ALongPacketIsRefusedWhileThereIsNoMemory) {
  connect();
  front.processor.ledger().set_limit(100'000);
  receive(part_of_packet(60'000));
  EXPECT_EQ(farewell(), std::nullopt) << "a short one always has room";
  Bytes rest = part_of_packet(200'000);
  rest.erase(rest.begin(), rest.begin() + 60'000);
  receive(rest);
  EXPECT_EQ(farewell(), protocol::ReasonCode::quota_exceeded);
}

// Not taken for the peer's end, of which the client would be told nothing.
TEST_F(MemoryLimitsTest, ALongPacketThatFillsTheReadBufferIsRefusedToo) {
  connect();
  front.processor.ledger().set_limit(100'000);
  const std::uint32_t read_bytes = front.settings->config.connection.read_bytes;
  receive(part_of_packet(read_bytes));
  EXPECT_EQ(farewell(), std::nullopt);
  Bytes rest = part_of_packet(200'000);
  rest.erase(rest.begin(), rest.begin() + read_bytes);
  receive(rest);
  EXPECT_EQ(farewell(), protocol::ReasonCode::quota_exceeded);
}

TEST_F(MemoryLimitsTest, TopicsBehindAliasesAreCountedAndGivenBack) {
  const std::uint64_t before = front.processor.ledger().bytes(broker::Holding::connections);
  connect();
  protocol::Publish publish;
  for (std::uint16_t alias = 1; alias <= 10; ++alias) {
    publish.topic = std::to_string(alias) + std::string(60'000, 't');
    publish.properties.topic_alias = alias;
    receive(encoded(publish));
    front.apply();
    front.thread.dispatch_ready();
  }
  EXPECT_GE(front.processor.ledger().bytes(broker::Holding::connections), before + 600'000);
  publish.topic = "short";
  publish.properties.topic_alias = 1;
  receive(encoded(publish));
  EXPECT_LT(front.processor.ledger().bytes(broker::Holding::connections), before + 600'000);
  connection->relieve_memory();
  EXPECT_EQ(farewell(), protocol::ReasonCode::quota_exceeded);
}

// Where nobody may read anything.
struct SubscribeLimitsTest : ConnectionLimitsTest {
  SubscribeLimitsTest() : ConnectionLimitsTest(config()) {}

  static Config config() {
    Config config;
    AccessRule rule;
    rule.effect = AccessEffect::deny;
    rule.action = AccessAction::subscribe;
    rule.filter = "#";
    config.access.rules.push_back(rule);
    return config;
  }
};

// 2 MiB of filters held against a thousand rules took an I/O thread 15 s.
TEST_F(SubscribeLimitsTest, NoMoreFiltersAreJudgedThanASessionMayHold) {
  connect();
  const std::size_t limit = front.settings->config.session.subscriptions_max;
  protocol::Subscribe subscribe;
  subscribe.packet_id = 1;
  for (std::size_t i = 0; i < limit + 500; ++i) {
    subscribe.subscriptions.emplace_back().filter = "a/" + std::to_string(i);
  }
  receive(encoded(subscribe));
  EXPECT_EQ(front.thread.counters().subscribe_denied.value(), limit);
  front.apply();
  front.thread.dispatch_ready();
  ASSERT_FALSE(line.taken.empty());
  // The reasons are the end of SUBACK.
  EXPECT_EQ(line.taken[line.taken.size() - 500 - 1],
            static_cast<std::uint8_t>(protocol::ReasonCode::not_authorized));
  EXPECT_EQ(line.taken[line.taken.size() - 500],
            static_cast<std::uint8_t>(protocol::ReasonCode::quota_exceeded));
}

}  // namespace
}  // namespace millrace::server
