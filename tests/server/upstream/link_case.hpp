// What the tests of links share: a whole server, whose link's other end is a scripted broker.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/server/running_server.hpp"
#include "tests/server/upstream/scripted_broker.hpp"

namespace millrace::server {

using protocol::Connack;
using protocol::Connect;
using protocol::Disconnect;
using protocol::Packet;
using protocol::Pingreq;
using protocol::Pingresp;
using protocol::Puback;
using protocol::Pubcomp;
using protocol::Publish;
using protocol::Pubrec;
using protocol::Pubrel;
using protocol::QoS;
using protocol::ReasonCode;
using protocol::Suback;
using protocol::Subscribe;
using protocol::Unsubscribe;
using protocol::Version;
using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

inline UpstreamRule rule(Direction direction, std::string filter = "#", std::string local = "",
                         std::string remote = "") {
  UpstreamRule made;
  made.direction = direction;
  made.filter = std::move(filter);
  made.local_prefix = std::move(local);
  made.remote_prefix = std::move(remote);
  if (direction == Direction::in) made.demand = false;
  return made;
}

struct LinkTest : testing::Test {
  // `more`: addresses after that of `broker`.
  void start(std::vector<UpstreamRule> rules, const std::vector<std::string>& more = {}) {
    upstream.name = "north";
    upstream.addresses = {broker.address()};
    upstream.addresses.insert(upstream.addresses.end(), more.begin(), more.end());
    upstream.rules = std::move(rules);
    upstream.retry_max_seconds = 1;
    config.upstreams = {upstream};
    server = start_server(config);
  }
  std::unique_ptr<LinkPeer> link(bool session_present = false,
                                 protocol::Properties properties = {}) {
    auto peer = broker.accept();
    connect = peer->greet(session_present, std::move(properties));
    return peer;
  }
  std::unique_ptr<Peer> client(const std::string& id, const std::string& filter = "") {
    auto peer = std::make_unique<Peer>(server->port("tcp"));
    peer->connect(id);
    if (!filter.empty()) peer->subscribe(filter, QoS::exactly_once);
    return peer;
  }
  void publish(std::string topic, std::string payload, int qos = 0, bool retain = false,
               protocol::Properties properties = {}) {
    if (!publisher) publisher = client("publisher");
    Publish packet = publisher->publish_packet(std::move(topic), std::move(payload));
    packet.qos = static_cast<QoS>(qos);
    packet.packet_id = qos > 0 ? 1 : 0;
    packet.retain = retain;
    packet.properties = std::move(properties);
    publisher->send(Packet(packet));
    if (qos == 1) publisher->expect<Puback>();
    if (qos != 2) return;
    publisher->expect<Pubrec>();
    Pubrel release;
    release.packet_id = 1;
    publisher->send(Packet(release));
    publisher->expect<Pubcomp>();
  }
  static protocol::Properties keep_alive_of_a_second() {
    protocol::Properties properties;
    properties.server_keep_alive = 1;
    return properties;
  }
  // Waits until the link has its session here: a client cannot see it, but for its state.
  void wait_until_up() {
    Peer watcher(server->port("tcp"));
    watcher.connect("watcher");
    watcher.subscribe("$SYS/broker/connection/north/state");
    while (watcher.expect<Publish>().payload != "1") {
    }
  }
  void reload(Config changed) {
    std::vector<ConfigFault> faults;
    auto settings = make_settings(changed, faults);
    ASSERT_NE(settings, nullptr);
    EXPECT_TRUE(server->reload(std::move(settings)));
  }

  ScriptedBroker broker;
  UpstreamConfig upstream;
  Config config = test_config();
  std::unique_ptr<Server> server;
  std::unique_ptr<Peer> publisher;
  Connect connect;  // of the last link()
};

}  // namespace millrace::server
