// $SYS/broker/...: what is published, when, and to whom.
#include "server/observe/sys_topics.hpp"

#include <gtest/gtest.h>

#include <map>

#include "core/broker/topic_hash.hpp"
#include "server/http/topic_value.hpp"
#include "tests/server/running_server.hpp"

namespace millrace::server {
namespace {

constexpr std::int64_t second_ns = 1'000'000'000;

// Counters of one I/O thread, and a processor that takes what is published.
class SysWorld : public ::testing::Test {
 protected:
  SysWorld() : inbox_(broker::InboxLimits{}, processor_) { inbox_.start(); }
  ~SysWorld() override { inbox_.stop(); }

  void publish(std::int64_t now_ns) {
    sys_.publish(now_ns);
    while (!inbox_.idle()) std::this_thread::yield();
  }
  std::optional<TopicValue> value(const std::string& name) {
    const std::string topic = "$SYS/broker/" + name;
    const auto reader = processor_.topics().reader();
    const auto* found = reader.find(broker::topic_hash(topic), topic);
    return found ? value_of(*found, broker::Inbox::now_ns()) : std::nullopt;
  }
  std::string text(const std::string& name) {
    const auto found = value(name);
    if (!found) return "none";
    EXPECT_TRUE(found->message.retain) << name;
    const auto payload = found->message.payload();
    return {payload.begin(), payload.end()};
  }

  broker::Processor processor_{broker::ProcessorLimits{}};
  broker::Inbox inbox_;
  IoCounters io_;
  SysTopics sys_{{&io_, &io_}, processor_.stats(), inbox_, 0};
};

TEST_F(SysWorld, AddsUpWhatTheThreadsCount) {
  io_.bytes_received.add(5);
  io_.messages_received[0].add(1);
  io_.messages_received[2].add(2);
  io_.packets_received[static_cast<std::size_t>(protocol::PacketType::connect)].add(4);
  processor_.stats().drop(broker::Drop::queue_oldest, 7);
  publish(90 * second_ns);
  EXPECT_EQ(text("uptime"), "90 seconds");
  EXPECT_EQ(text("version"), "millrace version " MILLRACE_VERSION);
  EXPECT_EQ(text("bytes/received"), "10");
  EXPECT_EQ(text("publish/messages/received"), "6");
  EXPECT_EQ(text("messages/received"), "8");
  EXPECT_EQ(text("publish/messages/dropped"), "7");
}

TEST_F(SysWorld, RemembersTheMostClientsThatItSaw) {
  processor_.stats().sessions_connected.set(3);
  publish(1 * second_ns);
  EXPECT_EQ(text("clients/maximum"), "3");
  EXPECT_EQ(text("clients/connected"), "3");
  processor_.stats().sessions_connected.set(1);
  publish(2 * second_ns);
  EXPECT_EQ(text("clients/maximum"), "3");
  EXPECT_EQ(text("clients/connected"), "1");
}

TEST_F(SysWorld, LoadsAreMovingAveragesPerMinute) {
  publish(0);
  EXPECT_EQ(text("load/bytes/sent/1min"), "0.00");
  io_.bytes_sent.add(300);  // by two threads: 600 in the first minute
  publish(60 * second_ns);
  EXPECT_EQ(text("load/bytes/sent/1min"), "379.27");  // 600 * (1 - exp(-1))
  EXPECT_EQ(text("load/bytes/sent/5min"), "108.76");  // 600 * (1 - exp(-1/5))
  EXPECT_EQ(text("load/bytes/sent/15min"), "38.70");  // 600 * (1 - exp(-1/15))
  publish(120 * second_ns);
  EXPECT_EQ(text("load/bytes/sent/1min"), "139.53");  // nothing came: 379.27 * exp(-1)
}

TEST_F(SysWorld, WhatHasNotChangedIsNotPublishedAgain) {
  publish(1 * second_ns);
  const auto version = value("version")->version;
  const auto uptime = value("uptime")->version;
  publish(2 * second_ns);
  EXPECT_EQ(value("version")->version, version);
  EXPECT_GT(value("uptime")->version, uptime);
}

TEST_F(SysWorld, ItsOwnMessagesAreNotCountedAsPublished) {
  publish(1 * second_ns);
  EXPECT_EQ(processor_.stats().published[0].value(), 0u);
  EXPECT_EQ(processor_.stats().unmatched.value(), 0u);
}

// What one subscriber has got when `end` arrives.
std::map<std::string, std::string> collect(Peer& peer, const std::string& end) {
  std::map<std::string, std::string> got;
  for (;;) {
    auto publish = peer.expect<protocol::Publish>();
    const std::string topic = publish.topic;
    got[topic] = {publish.payload.begin(), publish.payload.end()};
    if (topic == end) return got;
  }
}

TEST(SysTopics, ReachThoseWhoAskForThemByName) {
  const auto server = start_server();
  Peer everything(server->port("tcp"));
  everything.connect("everything");
  everything.subscribe("#");
  Peer status(server->port("tcp"));
  status.connect("status");
  status.subscribe("$SYS/broker/clients/+");
  server->publish_sys_topics();
  const auto got = collect(status, "$SYS/broker/clients/total");
  EXPECT_EQ(got.at("$SYS/broker/clients/connected"), "2");
  EXPECT_EQ(got.at("$SYS/broker/clients/total"), "2");
  status.send(protocol::Packet(status.publish_packet("end", "")));
  EXPECT_EQ(collect(everything, "end").size(), 1u);
}

TEST(SysTopics, AreRetained) {
  const auto server = start_server();
  server->publish_sys_topics();
  Peer late(server->port("tcp"));
  late.connect("late");
  late.subscribe("$SYS/broker/version");
  const auto version = late.expect<protocol::Publish>();
  EXPECT_TRUE(version.retain);
}

TEST(SysTopics, ClientsDoNotPublishThere) {
  const auto server = start_server();
  Peer peer(server->port("tcp"));
  peer.connect("peer");
  auto publish = peer.publish_packet("$SYS/broker/version", "mine");
  publish.qos = protocol::QoS::at_least_once;
  publish.packet_id = 1;
  peer.send(protocol::Packet(publish));
  EXPECT_EQ(peer.expect<protocol::Puback>().reason, protocol::ReasonCode::topic_name_invalid);
}

}  // namespace
}  // namespace millrace::server
