#include "server/upstream/dial.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "server/net/tcp_options.hpp"

namespace millrace::server {

namespace {

int make_socket(const Endpoint& endpoint, const ConnectionConfig& limits) {
  const int fd =
      ::socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "socket");
  set_tcp_options(fd, limits);  // without them it connects, too
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
