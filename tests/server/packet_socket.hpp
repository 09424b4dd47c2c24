// A connected socket of a test that MQTT packets are sent to and expected from, one after the other.
#pragma once

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "protocol/decode.hpp"
#include "protocol/encode.hpp"

namespace millrace::server {

class PacketSocket {
 public:
  ~PacketSocket() { ::close(socket_); }
  PacketSocket(const PacketSocket&) = delete;
  PacketSocket& operator=(const PacketSocket&) = delete;

  void send(const std::vector<std::uint8_t>& bytes) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t put = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (put <= 0) return;  // the other side closed; the test sees it when it reads
      sent += static_cast<std::size_t>(put);
    }
  }
  std::vector<std::uint8_t> encode(const protocol::Packet& packet) const {
    std::vector<std::uint8_t> bytes;
    protocol::encode(packet, version_, bytes);
    return bytes;
  }
  void send(const protocol::Packet& packet) { send(encode(packet)); }

  // The next packet; nullopt: the other side closed the connection.
  std::optional<protocol::Packet> receive() {
    for (;;) {
      const auto frame = protocol::frame(received_, protocol::packet_bytes_limit, frame_version_);
      if (!frame) throw std::runtime_error("no frame came");
      if (*frame) {
        auto packet = protocol::decode(**frame, received_, version_, other_);
        if (!packet) throw std::runtime_error("a malformed packet came");
        if (const auto* connect = std::get_if<protocol::Connect>(&*packet)) {
          version_ = frame_version_ = connect->version;
        }
        received_.erase(received_.begin(), received_.begin() + (*frame)->packet_bytes);
        return *packet;
      }
      std::uint8_t bytes[65536];
      const ssize_t got = ::recv(socket_, bytes, sizeof bytes, 0);
      if (got < 0 && errno == EAGAIN) throw std::runtime_error("nothing came");
      if (got <= 0) return std::nullopt;
      received_.insert(received_.end(), bytes, bytes + got);
    }
  }
  template <class Kind>
  Kind expect() {
    auto packet = receive();
    if (!packet) throw std::runtime_error("the connection ended");
    if (!std::holds_alternative<Kind>(*packet)) {
      throw std::runtime_error("another packet came: " +
                               std::string(to_string(protocol::packet_type(*packet))));
    }
    return std::get<Kind>(std::move(*packet));
  }
  bool ended() { return !receive(); }
  int socket() const { return socket_; }

 protected:
  // `socket`: is closed here. What does not come within `patience_s` is a failure, not a result.
  // A client's socket knows the version, a server's learns it from CONNECT.
  PacketSocket(int socket, protocol::Sender other, protocol::Version version, int patience_s)
      : socket_(socket),
        other_(other),
        version_(version),
        frame_version_(other == protocol::Sender::client ? protocol::first_packet_version
                                                         : version) {
    const timeval patience{patience_s, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  protocol::Version version() const { return version_; }

 private:
  const int socket_;
  const protocol::Sender other_;
  protocol::Version version_;
  protocol::Version frame_version_;
  std::vector<std::uint8_t> received_;
};

}  // namespace millrace::server
