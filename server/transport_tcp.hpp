// MQTT straight over TCP: the transport that costs nothing.
#pragma once

#include "server/transport.hpp"

namespace millrace::server {

class TcpStream : public Stream {
 public:
  explicit TcpStream(TcpSocket socket) : socket_(std::move(socket)) {}

  void open(StreamUser& user) override;
  IoResult read(std::span<std::uint8_t> into) override;
  IoResult write(std::span<const iovec> from) override;
  void wait_readable() override { wait(TcpSocket::wait_read, waits_to_read_); }
  void wait_writable() override { wait(TcpSocket::wait_write, waits_to_write_); }
  void shutdown() override;
  void close() override;
  TcpSocket& socket() override { return socket_; }

 protected:
  StreamUser& user() { return *user_; }
  void attach(StreamUser& user) { user_ = &user; }
  void wait(TcpSocket::wait_type what, bool& waits);
  // What comes of a wait; a handshake of the transport's own listens here.
  virtual void on_wait_over(TcpSocket::wait_type what);
  // What a layer above the transport listens to before the user does.
  virtual void opened() { user_->on_open(); }
  virtual void readable() { user_->on_readable(); }
  virtual void writable() { user_->on_writable(); }
  // readable(), soon: for bytes that are here already, so that the socket has nothing to say.
  void post_readable();

 private:
  TcpSocket socket_;
  StreamUser* user_ = nullptr;
  bool waits_to_read_ = false;
  bool waits_to_write_ = false;
  bool posted_ = false;  // readable() is on its way
};

}  // namespace millrace::server
