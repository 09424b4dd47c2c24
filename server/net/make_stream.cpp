#include "server/net/make_stream.hpp"

#include "server/net/tcp_stream.hpp"
#include "server/net/tls_stream.hpp"
#include "server/net/websocket_stream.hpp"

namespace millrace::server {

std::unique_ptr<Stream> make_stream(const ListenerConfig& listener, boost::asio::ssl::context* tls,
                                    Poller& poller, int fd) {
  switch (listener.transport) {
    case Transport::tcp:
      return std::make_unique<TcpStream>(poller, fd);
    case Transport::tls:
      return std::make_unique<TlsStream>(poller, fd, *tls);
    case Transport::ws:
      return make_websocket_stream(poller, fd, listener);
    case Transport::wss:
      return make_secure_websocket_stream(poller, fd, *tls, listener);
  }
  return nullptr;
}

}  // namespace millrace::server
