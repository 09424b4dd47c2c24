// TwoClients: a publisher and a subscriber that do what MQTT asks of them, and know what they were
// promised. A copy goes on, from the same moment, with another server.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <variant>

#include "tests/broker/world.hpp"

namespace millrace::broker {

class TwoClients {
 public:
  explicit TwoClients(std::uint64_t seed) : random_(seed) {}

  // Connects both. The subscriptions are to be stored before anything else.
  void begin(World& world) {
    world_ = &world;
    connect_reader();
    reader_->subscribe("q1", 1, Mode::every).subscribe("q2", 2, Mode::every);
    connect_sender();
  }
  // With another process, or another server.
  void go_on(World& world) {
    world_ = &world;
    connect_reader();
    connect_sender();
  }

  void publish() {
    if (unsettled_.size() > 8) return;
    while (unsettled_.contains(next_)) ++next_;
    const std::string payload = (random_() % 2 == 0 ? "q1 " : "q2 ") + std::to_string(++count_);
    unsettled_[next_] = {payload, false};
    send(next_, payload);
    next_ = static_cast<std::uint16_t>(next_ % 12 + 1);  // soon used again
  }
  // The sender takes what came.
  void hear() {
    sender_->take();
    for (const auto& packet : std::exchange(sender_->control, {})) {
      if (const auto* ack = std::get_if<protocol::Puback>(&packet)) {
        settle(ack->packet_id);
      } else if (const auto* rec = std::get_if<protocol::Pubrec>(&packet)) {
        const auto found = unsettled_.find(rec->packet_id);
        if (found == unsettled_.end()) continue;
        found->second.released = true;
        acknowledged_.insert(found->second.payload);
        sender_->send(command::Pubrel{rec->packet_id, {}});
      } else if (const auto* comp = std::get_if<protocol::Pubcomp>(&packet)) {
        settle(comp->packet_id);
      }
    }
  }
  // The reader takes what came, and answers most of it.
  void read() {
    using protocol::PacketType;
    reader_->take();
    for (const Got& got : std::exchange(reader_->got, {})) {
      if (got.qos == 1) {
        ++seen_[got.payload];
        if (random_() % 3 != 0) reader_->acknowledge(PacketType::puback, got.packet_id);
        continue;
      }
      if (received_.insert(got.packet_id).second) ++seen_[got.payload];
      if (random_() % 3 != 0) reader_->acknowledge(PacketType::pubrec, got.packet_id);
    }
    for (const auto& packet : std::exchange(reader_->control, {})) {
      if (const auto* rel = std::get_if<protocol::Pubrel>(&packet)) {
        received_.erase(rel->packet_id);
        if (random_() % 3 != 0) reader_->acknowledge(PacketType::pubcomp, rel->packet_id);
      }
    }
    reader_->report_drained();
  }
  void reconnect_reader() {
    reader_->close();
    connect_reader();
  }
  void reconnect_sender() {
    sender_->close();
    connect_sender();
  }

  std::size_t acknowledged() const { return acknowledged_.size(); }
  // When nothing is under way any more: the first promise that was broken, or nothing.
  std::string broken_promise() const {
    for (const std::string& payload : acknowledged_) {
      if (!seen_.contains(payload)) return "lost: " + payload;
    }
    for (const auto& [payload, times] : seen_) {
      if (payload.starts_with("q2") && times != 1) return "more than once: " + payload;
    }
    return {};
  }

 private:
  struct Sent {
    std::string payload;
    bool released = false;
  };

  Peer& connect(const char* name) {
    return world_->peer(name, protocol::Version::v5).connect(false, 3600);
  }
  void connect_reader() { reader_ = &connect("reader"); }
  // Sends again what is not acknowledged.
  void connect_sender() {
    sender_ = &connect("sender");
    for (const auto& [packet_id, sent] : unsettled_) {
      if (sent.released) {
        sender_->send(command::Pubrel{packet_id, {}});
      } else {
        send(packet_id, sent.payload);
      }
    }
  }
  void send(std::uint16_t packet_id, const std::string& payload) {
    const int qos = payload[1] - '0';
    world_->apply(publish_command(
        message(payload.substr(0, 2), payload, qos, false, packet_id, world_->now_ns),
        sender_->outbox.get()));
  }
  void settle(std::uint16_t packet_id) {
    const auto found = unsettled_.find(packet_id);
    if (found == unsettled_.end()) return;
    acknowledged_.insert(found->second.payload);
    unsettled_.erase(found);
  }

  std::mt19937_64 random_;
  World* world_ = nullptr;
  Peer* reader_ = nullptr;
  Peer* sender_ = nullptr;
  std::map<std::uint16_t, Sent> unsettled_;
  std::uint16_t next_ = 1;
  int count_ = 0;
  std::set<std::string> acknowledged_;
  std::map<std::string, int> seen_;
  std::set<std::uint16_t> received_;  // QoS 2, not released: what the client keeps
};

}  // namespace millrace::broker
