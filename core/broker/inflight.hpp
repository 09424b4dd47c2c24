// InflightWindow: the QoS 1 and 2 messages that were sent to a client and are not settled yet.
//
// Packet identifiers start at 1 in a session and rise by one, so the window is a deque and an
// identifier is an index into it; acknowledgements out of order leave settled entries behind until
// the front is settled too. A message here is never dropped and never replaced.
// Source: MQTT 5.0 sections 2.2.1, 4.3, 4.4, 4.9.
//
// Threads: the processor's holder alone.
#pragma once

#include <boost/container/deque.hpp>
#include <cstdint>

#include "core/broker/outbox.hpp"
#include "core/broker/rare.hpp"

namespace millrace::broker {

enum class InflightState : std::uint8_t { awaits_puback, awaits_pubrec, awaits_pubcomp, settled };

struct Inflight {
  Delivery delivery;
  std::uint32_t subscription = 0;  // Subscription::number that it was sent for
  InflightState state = InflightState::awaits_puback;
  bool unsent = false;  // on the present connection, which is to get it again
};

class InflightWindow {
 public:
  static constexpr std::uint32_t identifier_count = 65535;

  // Unsettled messages: what Receive Maximum limits.
  std::uint32_t unsettled() const { return window_.read().unsettled; }
  bool empty() const { return unsettled() == 0; }
  // Those of them that the present connection has not been sent.
  std::uint32_t unsent() const { return window_.read().unsent; }
  void set_unsent(Inflight& entry, bool unsent) {
    if (entry.unsent == unsent) return;
    entry.unsent = unsent;
    window_.write().unsent += unsent ? 1u : -1u;
  }
  // False: the next identifier is still in use, 65,535 messages later.
  bool has_identifier() const { return window_.read().entries.size() < identifier_count; }

  // Assigns the identifier and keeps the delivery. Requires has_identifier().
  std::uint16_t add(Delivery delivery, std::uint32_t subscription) {
    auto& [entries, front_identifier, unsettled, unsent] = window_.write();
    const std::uint16_t packet_id =
        static_cast<std::uint16_t>((front_identifier + entries.size()) % identifier_count + 1);
    delivery.packet_id = packet_id;
    const auto state =
        delivery.qos == 2 ? InflightState::awaits_pubrec : InflightState::awaits_puback;
    entries.push_back({std::move(delivery), subscription, state});
    ++unsettled;
    return packet_id;
  }

  // Null: no such message is inflight.
  Inflight* find(std::uint16_t packet_id) {
    if (packet_id == 0) return nullptr;
    const std::uint32_t position =
        (packet_id - 1 + identifier_count - window_.read().front_identifier) % identifier_count;
    if (position >= window_.read().entries.size()) return nullptr;
    Inflight& entry = window_.write().entries[position];
    return entry.state == InflightState::settled ? nullptr : &entry;
  }

  void settle(Inflight& entry) {
    set_unsent(entry, false);
    entry.state = InflightState::settled;
    entry.delivery = Delivery{};
    auto& [entries, front_identifier, unsettled, unsent] = window_.write();
    --unsettled;
    while (!entries.empty() && entries.front().state == InflightState::settled) {
      entries.pop_front();
      front_identifier = (front_identifier + 1) % identifier_count;
    }
  }

  // In the order in which they were sent first [MQTT-4.6.0-1].
  template <class F>
  void for_each_unsettled(F&& f) {
    if (empty()) return;
    for (Inflight& entry : window_.write().entries) {
      if (entry.state != InflightState::settled) f(entry);
    }
  }

 private:
  struct Window {
    boost::container::deque<Inflight> entries;
    std::uint32_t front_identifier = 0;  // identifier of the front, less one
    std::uint32_t unsettled = 0;
    std::uint32_t unsent = 0;
  };

  Rare<Window> window_;  // most are sent nothing but QoS 0
};

}  // namespace millrace::broker
