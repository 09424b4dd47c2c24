// The simulator: a seeded random life of a server, replayed through the real processor, with the
// delivery contract checked after each step.
//
// Clients come, subscribe, publish, read at their own pace, are taken over, vanish and come back;
// every publish carries its global number as payload. Each client has a status topic besides: its
// will says that a life has ended, its first message that the next has begun. What the contract promises is kept beside the
// processor as plain sets, found by protocol::matches alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/broker/users.hpp"
#include "tests/broker/world.hpp"

namespace millrace::broker {

struct SimulatorOptions {
  std::uint64_t seed = 1;
  int steps = 1500;
  bool small_limits = false;  // queues overflow, slots are evicted: every loss must be counted
  bool requests = false;      // some messages have a Response Topic
  // The process is killed now and then, and starts again from its store.
  bool restarts = false;
  bool stores_at_end = false;  // with restarts: its end alone fills the store
  // Each client is a user of its own. Strangers name its session, and reloads change what it may read.
  bool users = false;
};

class Simulator {
 public:
  explicit Simulator(SimulatorOptions options);
  // Runs to the end. Empty, or the first broken promise.
  std::string run();

 private:
  struct Filter {
    std::string filter;
    int qos = 0;
    Mode mode = Mode::adaptive;
    bool sharing = false;
    bool drops_unchanged = false;  // without a heartbeat
    std::uint64_t since = 0;       // number of the last publish before it
  };
  // What the tester knows of one client identifier.
  struct Client {
    std::string id;
    bool v5 = false;
    bool persistent = false;
    std::string denied;       // a filter of what it may not read; empty: it may read everything
    bool has_shared = false;  // a share of a topic is a stream of its own: no order with the rest
    Peer* peer = nullptr;     // its live connection
    std::map<std::string, Filter> filters;
    // Promised at QoS 1 or 2 in mode `every` and not yet received; by publish number.
    std::set<std::uint64_t> owed;
    std::map<std::string, std::uint64_t> last_seen;    // by topic
    std::map<std::string, std::uint64_t> newest_owed;  // by topic: a conflating subscription's end
    // Retained values that a subscription is to begin with [MQTT-3.3.1-9], by its name, then by
    // topic: that one, or a later retained one, or what came after that.
    std::map<std::string, std::map<std::string, std::uint64_t>> snapshots_owed;
    std::map<std::string, std::uint64_t> newest_seen;  // by topic
    std::uint64_t lives = 0;  // connections so far: what its status topic says
    std::set<std::uint64_t> received_qos2;
    std::vector<std::pair<protocol::PacketType, std::uint16_t>> to_acknowledge;
    std::set<std::uint16_t> unsettled;  // packet identifiers
    std::set<std::uint16_t> awaits_pubrel;
  };

  std::uint32_t pick(std::uint32_t count) { return static_cast<std::uint32_t>(random_() % count); }
  bool chance(std::uint32_t percent) { return pick(100) < percent; }
  std::string topic();
  std::string filter();
  static bool may_read(const Client& client, std::string_view topic);

  void step();
  Peer& new_peer(const Client& client);
  void intrude(Client& client);
  void reload();
  void restart();
  void forget_denied(Client& client);
  void connect(Client& client);
  void vanish(Client& client);
  ShapeRef any_shape(Mode mode);
  void subscribe(Client& client);
  void unsubscribe(Client& client);
  void publish();
  void publish_qos2(Client& client);
  void publish_stale();
  void read(Client& client, bool acknowledge_all);
  void take(Client& client);
  void receive(Client& client, const Got& got);
  bool is_spared(const Client& client, const std::string& topic) const;
  void receive_snapshot(Client& client, const Got& got, std::uint64_t number);
  void watch();
  void acknowledge(Client& client, bool all);
  void forget_session(Client& client);
  void settle();

  void check();
  void check_memory();
  void check_accounts();
  void check_end();
  void fail(const std::string& what) {
    if (fault_.empty()) fault_ = what;
  }

  SimulatorOptions options_;
  std::mt19937_64 random_;
  ProcessorLimits limits_;
  World world_;
  std::vector<Client> clients_;
  std::vector<Peer*> ghosts_;                                // taken over, their close not sent yet
  std::map<std::string, std::uint64_t> newest_;              // by topic: the last publish
  std::map<std::string, std::set<std::uint64_t>> retained_;  // by topic: retained publishes
  Peer* watcher_ = nullptr;                                  // of the clients' status topics
  std::map<std::string, std::uint64_t> watched_;             // by topic: what it saw last
  std::uint64_t number_ = 0;
  std::vector<std::string> topics_;    // by publish number, less one
  std::vector<std::uint32_t> values_;  // the same: what a change filter compares
  std::shared_ptr<const Users> users_;
  int steps_ = 0;
  std::string fault_;
};

}  // namespace millrace::broker
