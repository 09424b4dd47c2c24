#include "server/net/peer_address.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>

namespace millrace::server {

PeerAddress peer_address(int fd) {
  boost::asio::ip::tcp::endpoint peer;
  socklen_t bytes = static_cast<socklen_t>(peer.capacity());
  if (::getpeername(fd, peer.data(), &bytes) != 0) return {};
  auto address = peer.address();
  // An IPv4 client of a socket on `::`.
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, address.to_v6());
  }
  return {address.to_string(), peer.port()};
}

bool peer_has_left(int fd) {
  pollfd end{fd, POLLRDHUP, 0};
  return ::poll(&end, 1, 0) == 1;
}

}  // namespace millrace::server
