// Dial: one attempt to connect a TCP socket.
//
// Threads: one I/O thread.
#pragma once

#include <cstdint>
#include <functional>

#include "server/config/config.hpp"
#include "server/net/poller.hpp"
#include "server/upstream/endpoint.hpp"

namespace millrace::server {

// Where nobody listens at a port of this machine from which sockets get theirs, a socket may meet
// itself. It would take the port from the server that comes back.
bool is_connected_to_itself(int fd);

class Dial final : private Watch {
 public:
  // `fd`: a connected, non-blocking socket, the callee's to close; negative: it is -errno.
  using Done = std::function<void(int fd)>;

  // Calls `done` once, later, unless it is destroyed before. `done` may destroy it.
  Dial(Poller& poller, const Endpoint& endpoint, const ConnectionConfig& limits, Done done);
  ~Dial();

 private:
  void on_ready(bool readable, bool writable) override;

  Done done_;
  int error_ = 0;  // of connect(2) itself
};

}  // namespace millrace::server
