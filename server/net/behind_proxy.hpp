// BehindProxy<Transport>: the same transport on a connection that a proxy has opened and that begins
// with its header (proxy_header.hpp). A class of its own, so that other connections have no room for
// it.
//
// Threads: as Stream.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "server/net/proxy_header.hpp"
#include "server/net/tcp_stream.hpp"

namespace millrace::server {

template <class Transport>
class BehindProxy final : public Transport {
 public:
  using Transport::Transport;

  void open(StreamUser& user) override {
    Transport::attach(user);
    read_header();
  }

 private:
  PeerAddress connected_peer() override { return stated_ ? *stated_ : Transport::connected_peer(); }
  void on_ready(bool can_read, bool can_write) override {
    if (!header_read_) {
      const StreamUserRef keep(&Transport::user());
      return read_header();
    }
    Transport::on_ready(can_read, can_write);
  }
  // What stands behind the header stays in the socket, for the transport.
  void read_header();

  std::optional<PeerAddress> stated_;  // nothing: the proxy spoke for itself
  bool header_read_ = false;
};

template <class Transport>
void BehindProxy<Transport>::read_header() {
  std::array<std::uint8_t, proxy_header_bytes_max> bytes;
  const int socket = Transport::fd();
  ssize_t got = 0;
  do {
    got = ::recv(socket, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  const bool nothing_yet = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  ProxyHeader header;
  if (got > 0) header = parse_proxy_header({bytes.data(), static_cast<std::size_t>(got)});
  if (nothing_yet || header.status == ProxyHeader::Status::incomplete) {
    // What comes next is an edge of its own, though the beginning stays unread.
    Transport::found_nothing();
    return Transport::wait_to_read();
  }
  if (header.status != ProxyHeader::Status::whole ||
      ::recv(socket, bytes.data(), header.bytes, MSG_DONTWAIT) !=
          static_cast<ssize_t>(header.bytes)) {
    discard_received(socket);
    return Transport::user().on_open_failed();
  }
  header_read_ = true;
  stated_ = std::move(header.address);
  Transport::begin();
}

}  // namespace millrace::server
