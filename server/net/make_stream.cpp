#include "server/net/make_stream.hpp"

#include <utility>

#include "server/config/address_range.hpp"
#include "server/net/behind_proxy.hpp"
#include "server/net/tcp_stream.hpp"
#include "server/net/tls_stream.hpp"
#include "server/net/unix_stream.hpp"
#include "server/net/websocket_stream.hpp"

namespace millrace::server {

namespace {

bool is_from_proxy(const ListenerConfig& listener, int fd) {
  const auto& proxies = listener.proxy_protocol_from;
  return !proxies.empty() && any_contains(address_ranges(proxies), peer_address(fd).host);
}

template <class Transport, class... Arguments>
std::unique_ptr<Stream> make(bool from_proxy, Arguments&&... arguments) {
  if (from_proxy) {
    return std::make_unique<BehindProxy<Transport>>(std::forward<Arguments>(arguments)...);
  }
  return std::make_unique<Transport>(std::forward<Arguments>(arguments)...);
}

}  // namespace

std::unique_ptr<Stream> make_stream(const ListenerConfig& listener, boost::asio::ssl::context* tls,
                                    Poller& poller, int fd) {
  const bool from_proxy = is_from_proxy(listener, fd);
  switch (listener.transport) {
    case Transport::tcp:
      return make<TcpStream>(from_proxy, poller, fd);
    case Transport::tls:
      return make<TlsStream>(from_proxy, poller, fd, *tls);
    case Transport::ws:
      return make_websocket_stream(poller, fd, listener, from_proxy);
    case Transport::wss:
      return make_secure_websocket_stream(poller, fd, *tls, listener, from_proxy);
    case Transport::unix_socket:
      return std::make_unique<UnixStream>(poller, fd, listener.peer_user);
  }
  return nullptr;
}

}  // namespace millrace::server
