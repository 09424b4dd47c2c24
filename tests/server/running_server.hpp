// The whole server in this process, on free ports, and a peer that speaks to it byte by byte.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "server/app/server.hpp"
#include "server/app/settings.hpp"
#include "server/observe/log.hpp"
#include "tests/server/packet_socket.hpp"

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

// A blocking client. What does not come within a minute is a failure, not a result.
class Peer : public PacketSocket {
 public:
  explicit Peer(std::uint16_t port, protocol::Version version = protocol::Version::v5)
      : PacketSocket(::socket(AF_INET, SOCK_STREAM, 0), protocol::Sender::server, version, 60) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error("cannot connect");
    }
  }

  protocol::Connect connect_packet(std::string client_id) const {
    protocol::Connect connect;
    connect.version = version();
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

  // The server takes nothing more, as a byte sent to it shows.
  bool is_reset() {
    send(std::vector<std::uint8_t>{0});
    pollfd reset{socket(), 0, 0};
    return ::poll(&reset, 1, 60'000) == 1;
  }
};

}  // namespace millrace::server
