// UnixStream: MQTT over a Unix socket. The kernel says which user's process is at the other end: that
// is its address in rules of limits, in delays, bans and the log ("uid:1000"), and its user name, if
// the listener says so (listeners[i].peer_user).
//
// Threads: as Stream.
#pragma once

#include <sys/socket.h>

#include <string>

#include "server/net/tcp_stream.hpp"

namespace millrace::server {

class UnixStream final : public TcpStream {
 public:
  UnixStream(Poller& poller, int fd, bool peer_is_user)
      : TcpStream(poller, fd), peer_is_user_(peer_is_user) {
    socklen_t bytes = sizeof peer_;
    is_known_ = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer_, &bytes) == 0;
  }

  std::optional<std::string> certified_user(CertificateUser) const override {
    if (!peer_is_user_) return std::nullopt;
    return is_known_ ? name() : std::string();
  }

 private:
  PeerAddress connected_peer() override {
    return is_known_ ? PeerAddress{name(), 0} : PeerAddress{};  // it has no port
  }
  std::string name() const { return "uid:" + std::to_string(peer_.uid); }

  const bool peer_is_user_;
  bool is_known_ = false;
  ucred peer_{};  // as it was when the client connected
};

}  // namespace millrace::server
