// MQTT over WebSocket, plain or over TLS. Source: MQTT 5.0 section 6; RFC 6455.
//
// Packets may span frames and share them: what is read is a stream of bytes. A batch of packets
// goes out as one binary frame. A text frame ends the connection with 1003 [MQTT-6.0.0-1]; a
// handshake that does not offer the subprotocol `mqtt` [MQTT-6.0.0-3], or asks for another path, is
// answered by HTTP 400 or 404.
//
// Beast reads the handshake. The frames are read and written here (protocol/websocket.hpp) because
// they are on the way of every message: a read of the socket is unframed where it lies, however
// many frames it holds, and an idle connection keeps no buffer.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "server/net/poller.hpp"
#include "server/net/stream.hpp"

namespace millrace::server {

// They take the socket. `path` is the listener's, and outlives the stream.
std::unique_ptr<Stream> make_websocket_stream(Poller& poller, int fd, const std::string& path);
std::unique_ptr<Stream> make_secure_websocket_stream(Poller& poller, int fd,
                                                     boost::asio::ssl::context& context,
                                                     const std::string& path);

}  // namespace millrace::server
