#include "server/transport_tcp.hpp"

#include <sys/socket.h>

#include <boost/asio/post.hpp>
#include <cerrno>

namespace millrace::server {

void discard_received(TcpSocket& socket) {
  std::uint8_t bytes[4096];
  for (int i = 0; i < 16; ++i) {
    if (::recv(socket.native_handle(), bytes, sizeof bytes, MSG_DONTWAIT) <= 0) return;
  }
}

void TcpStream::open(StreamUser& user) {
  attach(user);
  opened();
}

IoResult TcpStream::read(std::span<std::uint8_t> into) {
  for (;;) {
    const ssize_t got = ::recv(socket_.native_handle(), into.data(), into.size(), MSG_DONTWAIT);
    if (got > 0) return {IoStatus::ok, static_cast<std::size_t>(got)};
    if (got == 0) return {IoStatus::end};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {IoStatus::again};
    if (errno != EINTR) return {IoStatus::failed};
  }
}

IoResult TcpStream::write(std::span<const iovec> from) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(from.data());
  message.msg_iovlen = from.size();
  for (;;) {
    const ssize_t put = ::sendmsg(socket_.native_handle(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put >= 0) return {IoStatus::ok, static_cast<std::size_t>(put)};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {IoStatus::again};
    if (errno != EINTR) return {IoStatus::failed};
  }
}

void TcpStream::wait(TcpSocket::wait_type what, bool& waits) {
  if (waits || !socket_.is_open()) return;
  waits = true;
  socket_.async_wait(what, [this, what, &waits,
                            keep = StreamUserRef(user_)](const boost::system::error_code& error) {
    waits = false;
    if (!error && socket_.is_open()) on_wait_over(what);
  });
}

void TcpStream::on_wait_over(TcpSocket::wait_type what) {
  if (what == TcpSocket::wait_read) {
    readable();
  } else {
    writable();
  }
}

void TcpStream::post_readable() {
  if (posted_) return;
  posted_ = true;
  boost::asio::post(socket_.get_executor(), [this, keep = StreamUserRef(user_)] {
    posted_ = false;
    if (socket_.is_open()) readable();
  });
}

void TcpStream::shutdown() {
  boost::system::error_code ignored;
  socket_.shutdown(TcpSocket::shutdown_send, ignored);
}

void TcpStream::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

}  // namespace millrace::server
