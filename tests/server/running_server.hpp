// The whole server in this process, on free ports, and a peer that speaks to it byte by byte.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
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
#include "server/app/server.hpp"
#include "server/app/settings.hpp"
#include "server/observe/log.hpp"

namespace millrace::server {

inline Config test_config() {
  Config config;
  ListenerConfig tcp;
  tcp.name = "tcp";
  tcp.port = 0;
  ListenerConfig ws;
  ws.name = "ws";
  ws.transport = Transport::ws;
  ws.port = 0;
  config.listeners = {tcp, ws};
  config.http.port = 0;
  config.threads.io = 2;
  config.log.level = LogLevel::off;
  return config;
}

inline std::unique_ptr<Server> start_server(const Config& config = test_config()) {
  std::vector<ConfigFault> faults;
  auto settings = make_settings(config, faults);
  if (!settings) throw std::runtime_error(faults.front().to_string());
  setup_log(config.log);
  auto server = std::make_unique<Server>(std::move(settings));
  server->start();
  return server;
}

// A blocking client. What does not come within ten seconds is a failure, not a result.
class Peer {
 public:
  explicit Peer(std::uint16_t port, protocol::Version version = protocol::Version::v5)
      : version_(version), socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval patience{10, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error("cannot connect");
    }
  }
  ~Peer() { ::close(socket_); }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  void send(const std::vector<std::uint8_t>& bytes) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t put = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (put <= 0) return;  // the server closed; the test sees it when it reads
      sent += static_cast<std::size_t>(put);
    }
  }
  std::vector<std::uint8_t> encode(protocol::Packet packet) const {
    std::vector<std::uint8_t> bytes;
    protocol::encode(packet, version_, bytes);
    return bytes;
  }
  void send(protocol::Packet packet) { send(encode(std::move(packet))); }

  protocol::Connect connect_packet(std::string client_id) const {
    protocol::Connect connect;
    connect.version = version_;
    connect.client_id = std::move(client_id);
    return connect;
  }
  protocol::Connack connect(std::string client_id) {
    send(protocol::Packet(connect_packet(std::move(client_id))));
    return expect<protocol::Connack>();
  }
  void subscribe(std::string filter, protocol::QoS qos = protocol::QoS::at_most_once) {
    protocol::Subscribe subscribe;
    subscribe.packet_id = 1;
    subscribe.subscriptions.push_back({std::move(filter), qos, false, false, {}});
    send(protocol::Packet(subscribe));
    expect<protocol::Suback>();
  }
  protocol::Publish publish_packet(std::string topic, std::string payload) const {
    protocol::Publish publish;
    publish.topic = std::move(topic);
    publish.payload = std::move(payload);
    return publish;
  }

  // The next packet; nullopt: the server closed the connection.
  std::optional<protocol::Packet> receive() {
    for (;;) {
      const auto frame = protocol::frame(received_, protocol::packet_bytes_limit, version_);
      if (!frame) throw std::runtime_error("the server sent no frame");
      if (*frame) {
        auto packet = protocol::decode(**frame, received_, version_, protocol::Sender::server);
        if (!packet) throw std::runtime_error("the server sent a malformed packet");
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
  // The server takes nothing more, as a byte sent to it shows.
  bool is_reset() {
    send(std::vector<std::uint8_t>{0});
    pollfd reset{socket_, 0, 0};
    return ::poll(&reset, 1, 10'000) == 1;
  }
  int socket() const { return socket_; }

 private:
  const protocol::Version version_;
  const int socket_;
  std::vector<std::uint8_t> received_;
};

}  // namespace millrace::server
