// An upstream that says what a test tells it to, packet by packet, over a real socket.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "protocol/decode.hpp"
#include "protocol/encode.hpp"

namespace millrace::server {

// One connection of the link. What does not come within twenty seconds is a failure.
class LinkPeer {
 public:
  explicit LinkPeer(int socket) : socket_(socket) {
    const timeval patience{20, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~LinkPeer() { ::close(socket_); }
  LinkPeer(const LinkPeer&) = delete;
  LinkPeer& operator=(const LinkPeer&) = delete;

  void send(const std::vector<std::uint8_t>& bytes) {
    [[maybe_unused]] const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  void send(const protocol::Packet& packet) {
    std::vector<std::uint8_t> bytes;
    protocol::encode(packet, version_, bytes);
    send(bytes);
  }

  // The next packet; nullopt: the link ended.
  std::optional<protocol::Packet> receive() {
    for (;;) {
      const auto frame =
          protocol::frame(received_, protocol::packet_bytes_limit,
                          knows_version_ ? version_ : protocol::first_packet_version);
      if (!frame) throw std::runtime_error("the link sent no frame");
      if (*frame) {
        auto packet = protocol::decode(**frame, received_, version_);
        if (!packet) throw std::runtime_error("the link sent a malformed packet");
        if (const auto* connect = std::get_if<protocol::Connect>(&*packet)) {
          version_ = connect->version;
          knows_version_ = true;
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
    if (!packet) throw std::runtime_error("the link ended");
    if (!std::holds_alternative<Kind>(*packet)) {
      throw std::runtime_error("another packet came: " +
                               std::string(to_string(protocol::packet_type(*packet))));
    }
    return std::get<Kind>(std::move(*packet));
  }
  bool ended() { return !receive(); }

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

 private:
  const int socket_;
  protocol::Version version_ = protocol::Version::v5;
  bool knows_version_ = false;
  std::vector<std::uint8_t> received_;
};

class ScriptedBroker {
 public:
  ScriptedBroker() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof address;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket_, 16) != 0 ||
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
      throw std::runtime_error("cannot listen");
    }
    port_ = ntohs(address.sin_port);
    const timeval patience{20, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~ScriptedBroker() { ::close(socket_); }
  ScriptedBroker(const ScriptedBroker&) = delete;
  ScriptedBroker& operator=(const ScriptedBroker&) = delete;

  // Of the connections that come after this: little of what is sent is taken before it is read.
  void take_little() {
    const int bytes = 8192;
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }
  std::string address() const { return "mqtt://127.0.0.1:" + std::to_string(port_); }
  std::unique_ptr<LinkPeer> accept() {
    const int accepted = ::accept(socket_, nullptr, nullptr);
    if (accepted < 0) throw std::runtime_error("no link came");
    return std::make_unique<LinkPeer>(accepted);
  }

 private:
  const int socket_;
  std::uint16_t port_ = 0;
};

}  // namespace millrace::server
