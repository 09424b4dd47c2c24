#include "server/upstream/dial.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace millrace::server {

namespace {

constexpr int keep_alive_probes = 4;

int make_socket(const Endpoint& endpoint, const ConnectionConfig& limits) {
  const int fd =
      ::socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "socket");
  const auto set = [fd](int level, int name, int value) {
    ::setsockopt(fd, level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  if (limits.tcp_keep_alive_seconds > 0) {
    const int idle_s = static_cast<int>(limits.tcp_keep_alive_seconds);
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
    set(IPPROTO_TCP, TCP_KEEPINTVL, std::max(1, idle_s / keep_alive_probes));
    set(IPPROTO_TCP, TCP_KEEPCNT, keep_alive_probes);
  }
  if (limits.tcp_user_timeout_seconds > 0) {
    set(IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(limits.tcp_user_timeout_seconds * 1000));
  }
  return fd;
}

}  // namespace

bool is_connected_to_itself(int fd) {
  sockaddr_storage here{}, there{};
  socklen_t here_bytes = sizeof here, there_bytes = sizeof there;
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&here), &here_bytes) == 0 &&
         ::getpeername(fd, reinterpret_cast<sockaddr*>(&there), &there_bytes) == 0 &&
         here_bytes == there_bytes && std::memcmp(&here, &there, here_bytes) == 0;
}

Dial::Dial(Poller& poller, const Endpoint& endpoint, const ConnectionConfig& limits, Done done)
    : Watch(poller, make_socket(endpoint, limits)), done_(std::move(done)) {
  const auto* address = reinterpret_cast<const sockaddr*>(&endpoint.address);
  if (::connect(fd(), address, endpoint.bytes) != 0 && errno != EINPROGRESS) error_ = errno;
  wait_to_write();  // a socket that failed at once is ready at once
}

Dial::~Dial() {
  if (!watched()) return;
  const int socket = fd();
  unwatch();
  ::close(socket);
}

void Dial::on_ready(bool, bool) {
  int error = error_;
  socklen_t bytes = sizeof error;
  if (error == 0) ::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &bytes);
  if (error == 0 && is_connected_to_itself(fd())) error = ECONNREFUSED;
  int result = -error;
  const int socket = release();
  if (error == 0) {
    result = socket;
  } else {
    ::close(socket);
  }
  const Done done = std::move(done_);
  done(result);
}

}  // namespace millrace::server
