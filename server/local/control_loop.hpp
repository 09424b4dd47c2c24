// The control socket's hands: a Unix socket, and one thread that sleeps until somebody knocks, rings or
// leaves.
//
// It moves bytes and descriptors, asks the host (the server) whether a peer may do what it asks,
// passes on requests, drains publisher rings, and lifts a consumer's gate the moment its socket ends. What to
// answer is decided elsewhere (Registry, under the processor's role) and comes back through post().
//
// Thread contract: open(), start() and stop() by the owner; post() by any thread. The host is
// called on the loop's thread only. What holds: nothing but the socket is on the file system, and a
// stale one does not stop the next start; a peer that does not read, or talks nonsense, is cut off
// and disturbs nobody; connections, publisher rings and the bytes kept for each have limits.
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

#include "core/shm/control/registry.hpp"
#include "core/shm/ring/publisher_ring.hpp"
#include "core/shm/wire/descriptors.hpp"
#include "core/shm/wire/wire.hpp"

namespace millrace::server {

struct ControlLoopOptions {
  std::string path;
  unsigned mode = 0660;  // of the socket: who may connect at all
  std::uint64_t epoch = 1;
  std::size_t clients_max = 512;
  std::size_t publisher_rings_max = 64;
  std::size_t publisher_ring_bytes = std::size_t{256} << 10;
  std::size_t publisher_ring_frame_bytes_max = 64 * 1024;
  std::size_t outgoing_bytes_max = std::size_t{64} << 20;  // for each client
};

// What the loop needs of the server. `user` names the peer in its access rules.
class ControlHost {
 public:
  virtual ~ControlHost() = default;
  // Whether this process may come in at all; its user, or nothing.
  virtual std::optional<std::string> admit(const shm::Credentials& peer) = 0;
  // Is it a filter, and may the user read all of it?
  virtual std::optional<shm::Refusal> check_filter(const std::string& user,
                                                   const std::string& filter) = 0;
  // For the processor, in order. `gone` follows whatever was asked by that client.
  virtual void ask(shm::ClientId client, shm::Request request) = 0;
  virtual void gone(shm::ClientId client) = 0;
  // Lanes are drained only while this is true.
  virtual bool has_room_for_publishes() = 0;
  // False: malformed, or not allowed. What was accepted is passed on by flush_publishes().
  virtual bool publish(shm::ClientId client, const std::string& user,
                       const shm::PublisherRingMessage& message) = 0;
  virtual void flush_publishes() = 0;
};

struct ControlFigures {
  std::uint64_t clients = 0;
  std::uint64_t publisher_rings = 0;
  std::uint64_t published = 0;  // taken out of publisher rings
  std::uint64_t publishes_refused = 0;
  std::uint64_t refused = 0;  // requests
};

class ControlLoop {
 public:
  // Null: `error` says why (another server listens there, no permission, a kernel without seals).
  static std::unique_ptr<ControlLoop> open(const ControlLoopOptions& options, ControlHost& host,
                                           std::string& error);
  ~ControlLoop();
  ControlLoop(const ControlLoop&) = delete;
  ControlLoop& operator=(const ControlLoop&) = delete;

  void start();
  // Closes every connection and removes the socket.
  void stop();
  void post(std::vector<shm::Outgoing> outgoing);
  ControlFigures figures() const;

 private:
  struct Client;

  // What epoll is given for the loop's own descriptors; a client's tag is its id, above these.
  static constexpr std::uint64_t listener_tag = 0;
  static constexpr std::uint64_t wake_up_tag = 1;

  ControlLoop(const ControlLoopOptions& options, ControlHost& host);
  bool listen(std::string& error);
  bool watch(int fd, std::uint64_t tag, std::uint32_t events, bool is_new);
  void run();
  void on_ready(std::uint64_t tag, std::uint32_t events);
  void accept_all();
  void turn_away(int socket, shm::Refusal refusal);
  void let_in(shm::UniqueFd socket, std::string user);
  void receive(Client& client);
  void on_request(Client& client, shm::Request request);
  void open_publisher_ring(Client& client);
  void send(Client& client, shm::Outgoing outgoing);
  void refuse(Client& client, shm::Refusal refusal);
  void write(Client& client);
  void take_posted();
  // True: there is more to drain than this turn allowed.
  bool drain_publisher_rings();
  void close(shm::ClientId id);
  void close_finished();
  int wait_ms(bool busy);
  void wake();

  const ControlLoopOptions options_;
  ControlHost& host_;
  shm::UniqueFd listener_;
  shm::UniqueFd poll_;
  shm::UniqueFd wake_up_;
  std::unordered_map<shm::ClientId, std::unique_ptr<Client>> clients_;
  std::vector<shm::ClientId> publisher_rings_;
  std::vector<shm::ClientId> finished_;  // to be closed at the end of this turn
  shm::ClientId last_client_ = wake_up_tag;
  bool is_accepting_ = true;

  std::mutex mutex_;
  std::vector<shm::Outgoing> posted_;  // under mutex_
  std::atomic<bool> stopping_{false};
  std::thread thread_;

  std::atomic<std::uint64_t> client_count_{0}, publisher_ring_count_{0}, published_{0},
      refused_publishes_{0}, refused_{0};
};

}  // namespace millrace::server
