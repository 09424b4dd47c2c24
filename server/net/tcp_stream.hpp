// MQTT straight over TCP, with no layer in between.
#pragma once

#include "server/net/poller.hpp"
#include "server/net/stream.hpp"

namespace millrace::server {

class TcpStream : public Stream, protected Watch {
 public:
  // Takes the socket, which is non-blocking.
  TcpStream(Poller& poller, int fd) : Watch(poller, fd) {}
  ~TcpStream() override { TcpStream::close(); }

  void open(StreamUser& user) override;
  IoResult read(std::span<std::uint8_t> into) override;
  IoResult write(std::span<const iovec> from) override;
  void wait_readable() override { wait_to_read(); }
  void wait_writable() override { wait_to_write(); }
  void post_readable() override;
  void shutdown() override;
  void close() override;
  int fd() override { return Watch::fd(); }
  PeerAddress peer() override { return connected_peer(); }

 protected:
  StreamUser& user() { return *user_; }
  void attach(StreamUser& user) { user_ = &user; }
  bool is_open() const { return watched(); }
  // Goes on with opening once what stands in front of the transport is read.
  virtual void begin() { opened(); }
  // Whoever opened the connection, or stands behind the proxy that did.
  virtual PeerAddress connected_peer() { return peer_address(fd()); }
  void on_ready(bool can_read, bool can_write) override;
  // What comes of a wait; a handshake of the transport's own listens here.
  virtual void on_wait_over(bool can_read);
  // What a layer above the transport listens to before the user does.
  virtual void opened() { user_->on_open(); }
  virtual void readable() { user_->on_readable(); }
  virtual void writable() { user_->on_writable(); }

 private:
  StreamUser* user_ = nullptr;
};

}  // namespace millrace::server
