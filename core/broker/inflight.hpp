// InflightWindow: the QoS 1 and 2 messages that were sent to a client and are not settled yet.
//
// Packet identifiers rise by one, so the window is a deque and an identifier is an index into it;
// acknowledgements out of order leave settled entries behind until the front is settled too. A
// message whose acknowledgement does not come would keep all of those: it is put aside (overdue_),
// and its identifier is skipped when its turn comes again [MQTT-2.2.1-4]. A message in here is
// never dropped and never replaced.
// Source: MQTT 5.0 sections 2.2.1, 4.3, 4.4, 4.9.
//
// What always holds: an identifier names at most one unsettled message; the front of the deque is
// unsettled; the deque does not grow beyond about twice as many entries as there are unsettled
// messages.
//
// Threads: the processor's holder alone.
#pragma once

#include <algorithm>
#include <boost/container/deque.hpp>
#include <cassert>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "core/broker/check.hpp"
#include "core/broker/outbox.hpp"
#include "core/broker/rare.hpp"

namespace millrace::broker {

enum class InflightState : std::uint8_t { awaits_puback, awaits_pubrec, awaits_pubcomp, settled };

struct Inflight {
  Inflight() = default;
  Inflight(const Delivery& what, std::uint32_t for_subscription, InflightState first_state)
      : delivery(what), subscription(for_subscription), state(first_state) {}

  Delivery delivery;
  std::uint32_t subscription = 0;  // Subscription::number that it was sent for
  InflightState state = InflightState::settled;
  bool unsent = false;  // on the present connection, which is to get it again
};

class InflightWindow {
 public:
  // 65,535 is left for the SUBSCRIBE packets of a link to another broker.
  static constexpr std::uint32_t identifier_count = 65534;
  // Some identifiers stay free, so that the next free one is found after a few steps on average.
  static constexpr std::uint32_t unsettled_max = identifier_count - 4096;

  // Unsettled messages: what Receive Maximum limits.
  std::uint32_t unsettled() const { return window_.read().unsettled; }
  bool empty() const { return unsettled() == 0; }
  // Those of them that the present connection has not been sent.
  std::uint32_t unsent() const { return window_.read().unsent; }
  void set_unsent(Inflight& entry, bool unsent) {
    if (entry.unsent == unsent) return;
    entry.unsent = unsent;
    window_.write().unsent += unsent ? 1u : -1u;
    MILLRACE_CHECK(this->unsent() <= unsettled());
  }
  // Of the messages; and with the entries, settled ones among them.
  std::uint64_t bytes() const { return window_.read().bytes; }
  std::uint64_t memory_bytes() const { return bytes() + unsettled() * entry_bytes; }
  static constexpr std::uint64_t entry_bytes = 2 * sizeof(Inflight);
  bool has_identifier() const { return unsettled() < unsettled_max; }

  // Keeps a copy of the delivery under the identifier that it returns. Requires has_identifier().
  std::uint16_t add(const Delivery& delivery, std::uint32_t subscription) {
    MILLRACE_CHECK(has_identifier());
    Window& window = window_.write();
    MILLRACE_CHECK(window.agrees());
    if (window.entries.size() >= entries_max(window)) [[unlikely]]
      put_front_aside(window);
    if (!window.overdue.empty()) [[unlikely]]
      skip_overdue(window);
    const std::uint16_t packet_id = window.next_identifier();
    MILLRACE_CHECK(find(packet_id) == nullptr);
    const auto state =
        delivery.qos == 2 ? InflightState::awaits_pubrec : InflightState::awaits_puback;
    Inflight& entry = window.entries.emplace_back(delivery, subscription, state);
    entry.delivery.packet_id = packet_id;
    ++window.unsettled;
    window.bytes += delivery.message.packet_bytes;
    return packet_id;
  }

  // Null: no such message is inflight.
  Inflight* find(std::uint16_t packet_id) {
    if (packet_id == 0 || packet_id > identifier_count || empty()) return nullptr;
    Window& window = window_.write();
    const std::uint32_t position =
        wrapped(packet_id - 1u + identifier_count - window.front_identifier);
    if (position < window.entries.size()) {
      Inflight& entry = window.entries[position];
      MILLRACE_CHECK(entry.state == InflightState::settled ||
                     entry.delivery.packet_id == packet_id);
      if (entry.state != InflightState::settled) return &entry;
    }
    return window.overdue.empty() ? nullptr : find_overdue(window, packet_id);
  }

  // Only its identifier is needed from here on.
  void release_message(Inflight& entry) {
    Window& window = window_.write();
    MILLRACE_CHECK(window.bytes >= entry.delivery.message.packet_bytes);
    window.bytes -= entry.delivery.message.packet_bytes;
    entry.delivery.message = Message{};
  }

  // One that find() or for_each_unsettled() showed; it is gone after this.
  void settle(Inflight& entry) {
    MILLRACE_CHECK(entry.state != InflightState::settled);
    set_unsent(entry, false);
    Window& window = window_.write();
    MILLRACE_CHECK(window.unsettled > 0 && window.bytes >= entry.delivery.message.packet_bytes);
    --window.unsettled;
    window.bytes -= entry.delivery.message.packet_bytes;
    if (!window.overdue.empty()) [[unlikely]] {
      if (erase_overdue(window, entry)) return;
    }
    entry.state = InflightState::settled;
    if (&entry == &window.entries.front()) return drop_settled_front(window);
    entry.delivery.message.buffer.reset();
    entry.delivery.identifiers.reset();
  }

  // In the order in which they were sent first [MQTT-4.6.0-1].
  template <class F>
  void for_each_unsettled(F&& f) {
    if (empty()) return;
    Window& window = window_.write();
    // What was put aside was sent before all that is in the deque.
    std::vector<std::pair<std::uint64_t, Inflight*>> overdue;
    for (auto& [packet_id, one] : window.overdue) overdue.emplace_back(one.order, &one.entry);
    assert(window.agrees());
    std::sort(overdue.begin(), overdue.end());
    for (auto& [order, entry] : overdue) f(*entry);
    for (Inflight& entry : window.entries) {
      if (entry.state != InflightState::settled) f(entry);
    }
  }

  // Forgets so many of the entries, and returns how many there were; for a session that ended.
  std::size_t forget_some(std::size_t count) {
    if (window_.read().entries.empty() && window_.read().overdue.empty()) return 0;
    Window& window = window_.write();
    std::size_t forgotten = 0;
    for (; forgotten < count && !window.entries.empty(); ++forgotten) window.entries.pop_front();
    for (; forgotten < count && !window.overdue.empty(); ++forgotten) {
      window.overdue.erase(window.overdue.begin());
    }
    return forgotten;
  }

  // What was inflight when the process ended, by packet identifier, in the order in which it was
  // sent. The window is empty, and goes on behind the last of them.
  void restore(const std::vector<Inflight>& entries) {
    assert(empty());
    if (entries.empty()) return;
    Window& window = window_.write();
    for (const Inflight& entry : entries) {
      const std::uint16_t packet_id = entry.delivery.packet_id;
      assert(packet_id != 0 && entry.state != InflightState::settled);
      if (!window.overdue.try_emplace(packet_id, Overdue{++window.put_aside, entry}).second) {
        continue;
      }
      ++window.unsettled;
      window.bytes += entry.delivery.message.packet_bytes;
      window.front_identifier = wrapped(packet_id);
    }
  }

 private:
  struct Overdue {
    std::uint64_t order = 0;  // in which they were put aside, and so sent
    Inflight entry;
  };
  struct Window {
    boost::container::deque<Inflight> entries;
    std::map<std::uint16_t, Overdue> overdue;  // by packet identifier
    std::uint64_t put_aside = 0;               // so many so far
    std::uint32_t front_identifier = 0;        // identifier of the front, less one
    std::uint32_t unsettled = 0;               // in both
    std::uint32_t unsent = 0;
    std::uint64_t bytes = 0;  // of the messages of unsettled ones

    // Whether the counts agree with what is kept, and the front is unsettled.
    bool agrees() const {
      if (!entries.empty() && entries.front().state == InflightState::settled) return false;
      if (unsettled < overdue.size() || unsent > unsettled) return false;
      const std::size_t in_deque = unsettled - overdue.size();
      return in_deque <= entries.size() && (in_deque > 0 || entries.empty());
    }
    std::uint16_t next_identifier() const {
      const auto size = static_cast<std::uint32_t>(entries.size());
      return static_cast<std::uint16_t>(wrapped(front_identifier + size) + 1);
    }
  };

  // An identifier, less one, from a sum of two.
  static std::uint32_t wrapped(std::uint32_t sum) {
    return sum < identifier_count ? sum : sum - identifier_count;
  }

  // More than that are mostly settled ones, behind a front that is not.
  static std::size_t entries_max(const Window& window) {
    return std::min<std::size_t>(2 * std::size_t{window.unsettled} + 32, identifier_count - 1);
  }
  static void put_front_aside(Window& window) {
    Inflight& front = window.entries.front();
    assert(front.state != InflightState::settled);
    const std::uint16_t packet_id = static_cast<std::uint16_t>(window.front_identifier + 1);
    const bool is_new =
        window.overdue.try_emplace(packet_id, Overdue{++window.put_aside, std::move(front)}).second;
    assert(is_new);
    static_cast<void>(is_new);
    window.entries.front().state = InflightState::settled;
    drop_settled_front(window);
  }
  static void drop_settled_front(Window& window) {
    auto& entries = window.entries;
    while (!entries.empty() && entries.front().state == InflightState::settled) {
      entries.pop_front();
      window.front_identifier = wrapped(window.front_identifier + 1);
    }
  }
  // Until the next identifier is free.
  static void skip_overdue(Window& window) {
    while (!window.overdue.empty() && window.overdue.contains(window.next_identifier())) {
      window.entries.emplace_back();
      drop_settled_front(window);  // there may be nothing else in the deque
      if (window.entries.size() >= entries_max(window)) put_front_aside(window);
    }
  }
  static Inflight* find_overdue(Window& window, std::uint16_t packet_id) {
    const auto found = window.overdue.find(packet_id);
    MILLRACE_CHECK(found == window.overdue.end() ||
                   found->second.entry.state != InflightState::settled);
    return found == window.overdue.end() ? nullptr : &found->second.entry;
  }
  // False: it is in the deque.
  static bool erase_overdue(Window& window, const Inflight& entry) {
    const auto found = window.overdue.find(entry.delivery.packet_id);
    if (found == window.overdue.end()) return false;
    MILLRACE_CHECK(&found->second.entry == &entry);
    window.overdue.erase(found);
    return true;
  }

  Rare<Window> window_;  // most are sent nothing but QoS 0
};

}  // namespace millrace::broker
