// An upstream that says what a test tells it to, packet by packet, over a real socket.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "tests/server/packet_socket.hpp"

namespace millrace::server {

// One connection of the link.
class LinkPeer : public PacketSocket {
 public:
  explicit LinkPeer(int socket)
      : PacketSocket(socket, protocol::Sender::client, protocol::Version::v5, 60) {}

  // CONNECT, answered with success; and SUBSCRIBE, granted at QoS 2, if the link comes to read.
  protocol::Connect greet(bool session_present = false, protocol::Properties properties = {}) {
    auto connect = expect<protocol::Connect>();
    protocol::Connack connack;
    connack.session_present = session_present;
    connack.properties = std::move(properties);
    send(protocol::Packet(connack));
    return connect;
  }
  protocol::Subscribe grant() {
    auto subscribe = expect<protocol::Subscribe>();
    protocol::Suback suback;
    suback.packet_id = subscribe.packet_id;
    for (const auto& one : subscribe.subscriptions) {
      suback.reasons.push_back(static_cast<protocol::ReasonCode>(one.qos));
    }
    send(protocol::Packet(suback));
    return subscribe;
  }
  void publish(std::string topic, std::string payload, int qos = 0, std::uint16_t packet_id = 0,
               bool retain = false, protocol::Properties properties = {}) {
    protocol::Publish publish;
    publish.topic = std::move(topic);
    publish.payload = std::move(payload);
    publish.qos = static_cast<protocol::QoS>(qos);
    publish.packet_id = packet_id;
    publish.retain = retain;
    publish.properties = std::move(properties);
    send(protocol::Packet(publish));
  }
};

// A port of its own, at which nobody listens.
class OwnPort {
 public:
  OwnPort() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof address;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
      throw std::runtime_error("cannot bind");
    }
    port_ = ntohs(address.sin_port);
  }
  ~OwnPort() { ::close(socket_); }
  OwnPort(const OwnPort&) = delete;
  OwnPort& operator=(const OwnPort&) = delete;

  std::string address() const { return "mqtt://127.0.0.1:" + std::to_string(port_); }

 protected:
  int socket() const { return socket_; }

 private:
  const int socket_;
  std::uint16_t port_ = 0;
};

class ScriptedBroker : public OwnPort {
 public:
  ScriptedBroker() {
    if (::listen(socket(), 16) != 0) throw std::runtime_error("cannot listen");
    const timeval patience{60, 0};
    ::setsockopt(socket(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }

  // Of the connections that come after this: little of what is sent is taken before it is read.
  void take_little() {
    const int bytes = 8192;
    ::setsockopt(socket(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }
  std::unique_ptr<LinkPeer> accept() {
    const int accepted = ::accept(socket(), nullptr, nullptr);
    if (accepted < 0) throw std::runtime_error("no link came");
    return std::make_unique<LinkPeer>(accepted);
  }
};

}  // namespace millrace::server
