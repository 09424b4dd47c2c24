// A small store that has every kind of record that there is; and the batches of its files.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/store/batch_reader.hpp"
#include "tests/broker/server_on_files.hpp"
#include "tests/broker/users.hpp"

namespace millrace::broker {

using Contents = std::map<std::string, store::Bytes>;

inline constexpr store::LogOptions small_segments{2000, 1 << 20};
inline constexpr Journal::Options with_newest{.newest_values = true};

// What leaves every kind of record, and every kind of removal, in a log.
class Filled {
 public:
  Filled() : server_(files_, small_segments, with_newest) {
    subscribe();
    fill_reader();
    queue_for_reader();
    fill_others();
    fill_values();
  }

  Contents log() const { return files_.contents(); }
  // The same after a compaction.
  Contents snapshot() {
    server_.compact();
    return files_.contents();
  }

 private:
  static constexpr std::uint32_t expiry_s = 3600;

  World& world() { return server_.world(); }
  Peer& durable(const char* name) {
    Peer& peer = world().peer(name, protocol::Version::v5);
    if (std::string_view(name) == "sender") peer.rights = users_->rights_of("ann");
    return peer;
  }
  ConnectRequest::Will will() { return {message("will/reader", "gone", 1, false, 1), 60}; }
  // Each call is a batch, and a write.
  void commit() { ASSERT_TRUE(server_.commit()); }
  void publish(const char* topic, std::string_view payload, int qos, bool retain = false) {
    sender_->publish(topic, payload, qos, retain);
    commit();
  }
  void read(Peer& peer) {
    for (int i = 0; i < 3; ++i) {
      peer.read();
      commit();
    }
  }
  std::uint16_t packet_id_of(const Peer& peer, std::string_view payload) {
    for (const Got& got : peer.got) {
      if (got.payload == payload) return got.packet_id;
    }
    ADD_FAILURE() << payload << " was not sent";
    return 0;
  }

  void subscribe() {
    sender_ = &durable("sender").connect(false, expiry_s);
    commit();
    Peer& reader = durable("reader").connect(false, expiry_s, will());
    SubscriptionRequest latest = limited("l/#");
    latest.name = "$latest/l/#";
    latest.qos = 1;
    SubscriptionRequest shared;
    shared.name = "$share/group/s/#";
    shared.filter = "s/#";
    shared.share_group = "group";
    shared.qos = 1;
    shared.mode = Mode::every;
    SubscriptionRequest every;
    every.name = every.filter = "e/#";
    every.qos = 2;
    every.mode = Mode::every;
    reader.subscribe(every, 7).subscribe("a/#", 1).subscribe(latest).subscribe(shared);
    commit();
    reader.close();
    commit();
  }
  // Inflight messages in each state, that had waited before and that had not.
  void fill_reader() {
    for (int i = 1; i <= 4; ++i) publish("e/x", "waited " + std::to_string(i), 1 + i / 2 % 2);
    Peer& reader = durable("reader").connect(false, expiry_s, will());
    commit();
    read(reader);
    for (int i = 1; i <= 3; ++i) publish("e/x", "sent " + std::to_string(i), 1 + i / 2);
    read(reader);
    reader.acknowledge(protocol::PacketType::puback, packet_id_of(reader, "waited 4"));
    commit();
    for (const char* payload : {"waited 3", "sent 3"}) {
      reader.acknowledge(protocol::PacketType::pubrec, packet_id_of(reader, payload));
      commit();
    }
    reader.close();
    commit();
  }
  void queue_for_reader() {
    publish("e/x", "queued", 2);
    publish("a/x", "in order", 1);
    publish("l/x", "replaced", 1);
    publish("l/x", "in a cell", 1);
    publish("s/x", "shared", 1);
    static constexpr std::uint8_t properties[] = {0x02, 0, 0, 0x7F, 0, 0x08, 0, 1, 'r'};
    MessageParts parts;
    parts.topic = "a/y";
    parts.payload = store::bytes_of("request");
    parts.qos = 1;
    parts.packet_id = sender_->next_packet_id++;
    parts.properties.bytes = properties;
    parts.properties.expiry_at = 0;
    world().apply(publish_command(build_message(parts, world().now_ns), sender_->outbox.get()));
    commit();
    Peer& reader = durable("reader");
    reader.receive_maximum = 1;
    reader.connect(false, expiry_s, will());
    commit();
    reader.subscribe("gone", 1).unsubscribe("gone");  // what waits is sealed
    reader.close();
    commit();
    publish("a/x", "of a later epoch", 1);
  }
  void fill_others() {
    world().peer("old").connect(false, never_expires).subscribe("e/#", 1, Mode::every).close();
    commit();
    publish("e/x", "for two", 1);
    durable("ended").connect(false, expiry_s).subscribe("e/#", 1, Mode::every).close();
    commit();
    publish("e/x", "for three", 2);
    sender_->send(command::Pubrel{1, {}});  // was used at QoS 1
    sender_->send(command::Pubrel{static_cast<std::uint16_t>(sender_->next_packet_id - 1), {}});
    commit();
    durable("ended").connect(false, 0).close();
    commit();
  }
  void fill_values() {
    publish("r/user", "of a user", 1, true);
    publish("r/cleared", "x", 1, true);
    publish("r/cleared", "", 1, true);
    world().peer("plain").connect().publish("r/large", std::string(2000, 'x'), 1, true);
    commit();
    for (const char* topic : {"n/1", "n/2", "n/3"}) sender_->publish(topic, topic);
    world().advance_ms(1000);
    commit();
    publish("n/2", "", 0);
    publish("r/last", "x", 1, true);
  }

  store::FaultyFiles files_;
  const std::shared_ptr<const Users> users_ =
      std::make_shared<const Users>(std::map<std::string, User>{{"ann", {}}});
  ServerOnFiles server_;
  Peer* sender_ = nullptr;
};

// A batch of a file, and where.
struct Place {
  std::string file;
  std::size_t begin = 0;
  std::size_t end = 0;
  std::uint64_t number = 0;
  std::uint64_t flushed = 0;
  store::Bytes records;
};

inline std::vector<Place> places_of(const Contents& contents, const std::string& prefix) {
  store::FaultyFiles files;
  for (const auto& [name, bytes] : contents) files.set_content(name, bytes);
  std::vector<Place> places;
  for (const auto& [name, bytes] : contents) {
    if (!name.starts_with(prefix)) continue;
    store::BatchReader reader(files, name);
    for (auto step = reader.next(); step != store::BatchReader::Step::end; step = reader.next()) {
      if (step != store::BatchReader::Step::batch) throw std::logic_error(name);
      const std::size_t begin = reader.offset();
      places.push_back({name,
                        begin,
                        begin + store::BatchHead::size + reader.payload().size(),
                        reader.head().number,
                        reader.head().flushed,
                        {reader.payload().begin(), reader.payload().end()}});
    }
  }
  return places;
}

// Of the batches but those.
template <class LeftOut>
store::State state_of(const std::vector<Place>& places, LeftOut&& left_out) {
  store::State state;
  for (const Place& place : places) {
    if (!left_out(place)) store::take_in(state, store::BytesView(place.records));
  }
  return state;
}
inline store::State whole_state(const std::vector<Place>& places) {
  return state_of(places, [](const Place&) { return false; });
}

}  // namespace millrace::broker
