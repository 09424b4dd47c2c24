// The client's side of MQTT over WebSocket, plain or over TLS: the upgrade request, then masked frames
// out and unmasked ones in. Source: RFC 6455, sections 4.1 and 5; MQTT 5.0 section 6.
//
// For links to other brokers, of which there are few: what is written is copied, as masking has to
// change it.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "server/net/poller.hpp"
#include "server/net/stream.hpp"
#include "server/net/tls_stream.hpp"

namespace millrace::server {

struct WebSocketTarget {
  std::string authority;  // for the Host field: "broker.example:8083"
  std::string path;
};

// They take the socket, which is connected and non-blocking.
std::unique_ptr<Stream> make_websocket_client(Poller& poller, int fd, WebSocketTarget target);
std::unique_ptr<Stream> make_secure_websocket_client(Poller& poller, int fd,
                                                     boost::asio::ssl::context& context,
                                                     const TlsServer& server,
                                                     WebSocketTarget target);

}  // namespace millrace::server
