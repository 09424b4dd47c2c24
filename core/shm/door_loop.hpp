// The door's hands: a Unix socket, and one thread that sleeps until somebody knocks, rings or
// leaves.
//
// It moves bytes and descriptors, asks the host (the server) whether a peer may do what it asks,
// passes on requests, drains lanes, and lifts a consumer's gate the moment its socket ends. What to
// answer is decided elsewhere (DoorCore, under the processor's role) and comes back through post().
//
// Thread contract: open(), start() and stop() by the owner; post() by any thread. The host is
// called on the loop's thread only. What holds: nothing but the socket is on the file system, and a
// stale one does not stop the next start; a peer that does not read, or talks nonsense, is cut off
// and disturbs nobody; connections, lanes and the bytes kept for each have limits.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/shm/descriptors.hpp"
#include "core/shm/door_core.hpp"
#include "core/shm/lane.hpp"
#include "core/shm/wire.hpp"

namespace millrace::shm {

struct DoorLoopOptions {
  std::string path;
  unsigned mode = 0660;  // of the socket: who may knock at all
  std::uint64_t epoch = 1;
  std::size_t clients_max = 512;
  std::size_t lanes_max = 64;
  std::size_t lane_bytes = std::size_t{256} << 10;
  std::size_t lane_frame_bytes_max = 64 * 1024;
  std::size_t outgoing_bytes_max = std::size_t{64} << 20;  // for each client
};

// What the loop needs of the server. `user` names the peer in its access rules.
class DoorHost {
 public:
  virtual ~DoorHost() = default;
  // Whether this process may come in at all; its user, or nothing.
  virtual std::optional<std::string> admit(const Credentials& peer) = 0;
  // Is it a filter, and may the user read all of it?
  virtual std::optional<Refusal> check_filter(const std::string& user,
                                              const std::string& filter) = 0;
  // For the processor, in order. `gone` follows whatever was asked by that client.
  virtual void ask(ClientId client, Request request) = 0;
  virtual void gone(ClientId client) = 0;
  // Lanes are drained only while this is true.
  virtual bool has_room_for_publishes() = 0;
  // False: malformed, or not allowed. What was accepted is passed on by flush_publishes().
  virtual bool publish(ClientId client, const std::string& user, const LaneMessage& message) = 0;
  virtual void flush_publishes() = 0;
};

struct DoorFigures {
  std::uint64_t clients = 0;
  std::uint64_t lanes = 0;
  std::uint64_t published = 0;  // taken out of lanes
  std::uint64_t publishes_refused = 0;
  std::uint64_t refused = 0;  // requests
};

class DoorLoop {
 public:
  // Null: `error` says why (another server listens there, no permission, a kernel without seals).
  static std::unique_ptr<DoorLoop> open(const DoorLoopOptions& options, DoorHost& host,
                                        std::string& error);
  ~DoorLoop();
  DoorLoop(const DoorLoop&) = delete;
  DoorLoop& operator=(const DoorLoop&) = delete;

  void start();
  // Closes every connection and removes the socket.
  void stop();
  void post(std::vector<Outgoing> outgoing);
  DoorFigures figures() const;

 private:
  struct Client;

  // What epoll is given for the loop's own descriptors; a client's tag is its id, above these.
  static constexpr std::uint64_t listener_tag = 0;
  static constexpr std::uint64_t bell_tag = 1;

  DoorLoop(const DoorLoopOptions& options, DoorHost& host);
  bool listen(std::string& error);
  bool watch(int fd, std::uint64_t tag, std::uint32_t events, bool is_new);
  void run();
  void on_ready(std::uint64_t tag, std::uint32_t events);
  void accept_all();
  void turn_away(int socket, Refusal refusal);
  void let_in(UniqueFd socket, std::string user);
  void receive(Client& client);
  void on_request(Client& client, Request request);
  void open_lane(Client& client);
  void send(Client& client, Outgoing outgoing);
  void refuse(Client& client, Refusal refusal);
  void write(Client& client);
  void take_posted();
  // True: there is more to drain than this turn allowed.
  bool drain_lanes();
  void close(ClientId id);
  void close_finished();
  int wait_ms(bool busy);
  void wake();

  const DoorLoopOptions options_;
  DoorHost& host_;
  UniqueFd listener_;
  UniqueFd poll_;
  UniqueFd bell_;
  std::unordered_map<ClientId, std::unique_ptr<Client>> clients_;
  std::vector<ClientId> lanes_;
  std::vector<ClientId> finished_;  // to be closed at the end of this turn
  ClientId last_client_ = bell_tag;
  bool is_accepting_ = true;

  std::mutex mutex_;
  std::vector<Outgoing> posted_;  // under mutex_
  std::atomic<bool> stopping_{false};
  std::thread thread_;

  std::atomic<std::uint64_t> client_count_{0}, lane_count_{0}, published_{0}, refused_publishes_{0},
      refused_{0};
};

}  // namespace millrace::shm
