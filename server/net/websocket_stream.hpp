// MQTT over WebSocket, plain or over TLS. Source: MQTT 5.0 section 6; RFC 6455.
//
// Packets may span frames and share them: what is read is a stream of bytes. A batch of packets
// goes out as one binary frame. A text frame ends the connection with 1003 [MQTT-6.0.0-1]; a
// handshake that is refused is answered by an HTTP error (websocket_upgrade.hpp); what the client
// sends behind it is read and thrown away, so that closing does not reset the answer.
//
// Beast reads the handshake. The frames are read and written here (protocol/websocket.hpp) because
// they are on the way of every message: a read of the socket is unframed where it lies, however
// many frames it holds, and an idle connection keeps no buffer.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "server/config/config.hpp"
#include "server/net/poller.hpp"
#include "server/net/stream.hpp"

namespace millrace::server {

// They take the socket. `from_proxy`: it begins with a proxy's header. The listener's configuration
// outlives the stream.
std::unique_ptr<Stream> make_websocket_stream(Poller& poller, int fd,
                                              const ListenerConfig& listener, bool from_proxy);
std::unique_ptr<Stream> make_secure_websocket_stream(Poller& poller, int fd,
                                                     boost::asio::ssl::context& context,
                                                     const ListenerConfig& listener,
                                                     bool from_proxy);

}  // namespace millrace::server
