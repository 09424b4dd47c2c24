#include "server/mqtt/connection_log.hpp"

#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <string>

#include "server/observe/log.hpp"

namespace millrace::server {

namespace {

std::string_view word(CloseCause cause) {
  switch (cause) {
    case CloseCause::client_disconnect:
      return "client_disconnect";
    case CloseCause::peer_closed:
      return "peer_closed";
    case CloseCause::protocol_fault:
      return "protocol_fault";
    case CloseCause::handshake_fault:
      return "handshake_fault";
    case CloseCause::connect_timeout:
      return "connect_timeout";
    case CloseCause::keep_alive_timeout:
      return "keep_alive_timeout";
    case CloseCause::refused:
      return "refused";
    case CloseCause::processor:
      return "processor";
    case CloseCause::limit:
      return "limit";
    case CloseCause::shutdown:
      return "shutdown";
  }
  return "unknown";
}

bool is_fault(CloseCause cause) {
  return cause == CloseCause::protocol_fault || cause == CloseCause::handshake_fault ||
         cause == CloseCause::refused;
}

struct PeerAddress {
  std::string address = "unknown";
  int port = 0;
};

PeerAddress peer_of(Stream& stream) {
  boost::asio::ip::tcp::endpoint peer;
  socklen_t bytes = static_cast<socklen_t>(peer.capacity());
  if (::getpeername(stream.fd(), peer.data(), &bytes) != 0) return {};
  return {peer.address().to_string(), peer.port()};
}

}  // namespace

void log_connection_end(Stream& stream, const ListenerConfig& listener, protocol::Version version,
                        protocol::ReasonCode reason, CloseCause cause) {
  const LogLevel level = is_fault(cause) ? LogLevel::warn : LogLevel::debug;
  if (!logs(level)) return;
  const PeerAddress peer = peer_of(stream);
  std::uint64_t suppressed = 0;
  if (is_fault(cause)) {  // a peer that repeats its fault does not fill the disk
    const auto verdict = peer_log_limiter().ask(peer.address + ' ' + std::string(word(cause)) +
                                                ' ' + std::string(protocol::to_string(reason)));
    if (!verdict.log) return;
    suppressed = verdict.suppressed;
  }
  log(level, "connection.end",
      {{"cause", word(cause)},
       {"reason", protocol::to_string(reason)},
       {"listener", listener.name},
       {"peer", peer.address},
       {"port", peer.port},
       {"mqtt", protocol::to_string(version)},
       {"suppressed", suppressed}});
}

void log_receive_maximum_exceeded(Stream& stream, const ListenerConfig& listener) {
  if (!logs(LogLevel::warn)) return;
  const PeerAddress peer = peer_of(stream);
  const auto verdict = peer_log_limiter().ask(peer.address + " receive maximum");
  if (!verdict.log) return;
  log(LogLevel::warn, "connection.receive_maximum",
      {{"listener", listener.name},
       {"peer", peer.address},
       {"port", peer.port},
       {"suppressed", verdict.suppressed}});
}

}  // namespace millrace::server
