#include "server/net/tcp_stream.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace millrace::server {

void discard_received(int fd) {
  std::uint8_t bytes[4096];
  for (int i = 0; i < 16; ++i) {
    if (::recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) <= 0) return;
  }
}

void TcpStream::open(StreamUser& user) {
  attach(user);
  begin();
}

IoResult TcpStream::read(std::span<std::uint8_t> into) {
  for (;;) {
    const ssize_t got = ::recv(fd(), into.data(), into.size(), MSG_DONTWAIT);
    if (got > 0) {
      if (static_cast<std::size_t>(got) < into.size()) found_less();
      return {IoStatus::ok, static_cast<std::size_t>(got)};
    }
    if (got == 0) return {IoStatus::end};
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      found_nothing();
      return {IoStatus::again};
    }
    if (errno != EINTR) return {IoStatus::failed};
  }
}

IoResult TcpStream::write(std::span<const iovec> from) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(from.data());
  message.msg_iovlen = from.size();
  for (;;) {
    const ssize_t put = ::sendmsg(fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put >= 0) return {IoStatus::ok, static_cast<std::size_t>(put)};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {IoStatus::again};
    if (errno != EINTR) return {IoStatus::failed};
  }
}

void TcpStream::on_ready(bool can_read, bool can_write) {
  const StreamUserRef keep(user_);
  if (can_read) on_wait_over(true);
  if (can_write && is_open()) on_wait_over(false);
}

void TcpStream::on_wait_over(bool can_read) {
  can_read ? readable() : writable();
}

void TcpStream::post_readable() {
  assume_readable();
  wait_to_read();
}

void TcpStream::shutdown() {
  ::shutdown(fd(), SHUT_WR);
}

void TcpStream::close() {
  if (!is_open()) return;
  const int socket = fd();
  unwatch();
  ::close(socket);
}

}  // namespace millrace::server
