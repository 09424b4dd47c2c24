#include "server/transport_make.hpp"

#include <utility>

#include "server/transport_tcp.hpp"
#include "server/transport_tls.hpp"
#include "server/transport_websocket.hpp"

namespace millrace::server {

std::unique_ptr<Stream> make_stream(const ListenerConfig& listener, boost::asio::ssl::context* tls,
                                    TcpSocket socket) {
  switch (listener.transport) {
    case Transport::tcp:
      return std::make_unique<TcpStream>(std::move(socket));
    case Transport::tls:
      return std::make_unique<TlsStream>(std::move(socket), *tls);
    case Transport::ws:
      return make_websocket_stream(std::move(socket), listener.path);
    case Transport::wss:
      return make_secure_websocket_stream(std::move(socket), *tls, listener.path);
  }
  return nullptr;
}

}  // namespace millrace::server
