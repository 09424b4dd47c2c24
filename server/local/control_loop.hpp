// The event loop of the control socket: a Unix socket, and one thread that waits for connections,
// requests, wake-ups and disconnections.
//
// It moves bytes and descriptors, asks the host whether a client may do what it requests, passes
// the requests on, drains publisher rings, and lifts a consumer's page when its connection ends.
// The replies are made by shm::Registry under the processor's role, and come back through post().
//
// Thread contract: open(), start() and stop() by the owner; post() and figures() by any thread. The
// host is called on the loop's thread only.
// What holds: only the socket is in the file system, and one that a killed server left there does
// not prevent the next start; a client that does not read, or sends invalid bytes, is disconnected
// and affects no other; connections, publisher rings and the bytes kept for each have limits.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
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
  // What may wait for a client that does not read. A message may hold a descriptor, hence both.
  std::size_t outgoing_bytes_max = std::size_t{64} << 20;
  std::size_t outgoing_messages_max = 256;
  // How long a connection may stay without a whole request.
  std::chrono::milliseconds request_timeout{5'000};
  // How long stop() waits for the host to take what was published and asked before.
  std::chrono::milliseconds stop_timeout{1'000};
};

// What the loop needs of the server. `user` is the client's name in the access rules.
class ControlHost {
 public:
  virtual ~ControlHost() = default;
  // The user of a process that may connect; nothing: it may not.
  virtual std::optional<std::string> admit(const shm::Credentials& peer) = 0;
  // Is it a valid filter, and may the user read all that matches it? Nothing: yes.
  virtual std::optional<shm::Refusal> check_filter(const std::string& user,
                                                   const std::string& filter) = 0;
  // For the processor, in order. `gone` is the last call for a client.
  virtual void ask(shm::ClientId client, shm::Request request) = 0;
  virtual void gone(shm::ClientId client) = 0;
  // Publisher rings are drained only while this is true. It also says that all that was passed on
  // before has been taken.
  virtual bool has_room_for_publishes() = 0;
  // False: invalid, or not allowed. Accepted messages are passed on by flush_publishes().
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
  // Closes every connection and removes the socket. What was published before is passed on, if the
  // host takes it within stop_timeout.
  void stop();
  void post(std::vector<shm::Outgoing> outgoing);
  ControlFigures figures() const;

 private:
  struct Client;

  // The epoll data of the loop's own descriptors; that of a client is its id, which is above these.
  static constexpr std::uint64_t listener_tag = 0;
  static constexpr std::uint64_t wake_up_tag = 1;

  ControlLoop(const ControlLoopOptions& options, ControlHost& host);
  bool listen(std::string& error);
  bool watch(int fd, std::uint64_t tag, std::uint32_t events, bool is_new);
  void run();
  void on_ready(std::uint64_t tag, std::uint32_t events);
  void accept_all();
  void accept_again();
  void reject(int socket, const shm::Refused& refusal);
  void add_client(shm::UniqueFd socket, std::string user);
  void receive(Client& client);
  void on_request(Client& client, shm::Request request);
  void open_publisher_ring(Client& client);
  void send(Client& client, shm::Outgoing outgoing);
  void refuse(Client& client, const shm::Refused& refusal);
  void refuse(Client& client, shm::Refusal refusal) {
    refuse(client, shm::Refused{refusal, describe(refusal)});
  }
  void write(Client& client);
  void take_posted();
  // True: a ring has more than was drained in this turn.
  bool drain_publisher_rings();
  // Up to messages_per_turn of them.
  shm::PublisherRingReader::Drained drain(Client& client);
  // What a publisher that has ended left in its ring. False: the host has no room for all of it.
  bool take_rest(Client& client);
  // False: not yet, as what it published is not taken.
  bool close(shm::ClientId id);
  void remove(shm::ClientId id);
  void close_finished();
  void close_all();
  // Ends connections without a request.
  void end_silent();
  int wait_ms(bool busy);
  void wake();

  const ControlLoopOptions options_;
  ControlHost& host_;
  shm::UniqueFd listener_;
  shm::UniqueFd poll_;
  shm::UniqueFd wake_up_;
  std::unordered_map<shm::ClientId, std::unique_ptr<Client>> clients_;
  std::vector<shm::ClientId> publisher_rings_;  // in the order in which they are drained next
  // To be closed at the end of this turn, or as soon as the host has room for what they published.
  std::vector<shm::ClientId> finished_;
  shm::ClientId last_client_ = wake_up_tag;
  bool is_accepting_ = true;
  std::chrono::steady_clock::time_point accepts_again_{};  // if it is not accepting
  struct Silent {
    std::chrono::steady_clock::time_point until;
    shm::ClientId client;
  };
  std::deque<Silent> silent_;  // connections that had sent no request when last looked at, in order

  std::mutex mutex_;
  std::vector<shm::Outgoing> posted_;  // under mutex_
  std::atomic<bool> stopping_{false};
  std::thread thread_;

  std::atomic<std::uint64_t> client_count_{0}, publisher_ring_count_{0}, published_{0},
      refused_publishes_{0}, refused_{0};
};

}  // namespace millrace::server
