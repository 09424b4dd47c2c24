#include "server/mqtt/connection_log.hpp"

#include <chrono>
#include <string>

#include "server/net/peer_address.hpp"
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
    case CloseCause::revoked:
      return "revoked";
    case CloseCause::expired:
      return "expired";
  }
  return "unknown";
}

bool is_fault(CloseCause cause) {
  return cause == CloseCause::protocol_fault || cause == CloseCause::handshake_fault ||
         cause == CloseCause::refused;
}

constexpr std::size_t quoted_bytes_max = 256;  // of what a peer sent, in a line

std::string_view quoted(std::string_view text) {
  return text.substr(0, quoted_bytes_max);
}

LogLimiter::Verdict ask(const PeerAddress& peer, const LogClient& client, std::string_view what) {
  std::string key = peer.host;
  key.append(" ").append(quoted(client.id)).append(" ").append(what);
  return peer_log_limiter().ask(key);
}

}  // namespace

void log_connected(Stream& stream, const ListenerConfig& listener, protocol::Version version,
                   const LogClient& client) {
  if (!logs(LogLevel::info)) return;
  const PeerAddress peer = stream.peer();
  const auto verdict = ask(peer, client, "connected");
  log(LogLevel::info, "connected",
      {{"client", quoted(client.id)},
       {"user", quoted(client.user)},
       {"listener", listener.name},
       {"peer", peer.host},
       {"port", peer.port},
       {"mqtt", protocol::to_string(version)},
       {"suppressed", verdict.suppressed}},
      !verdict.log);
}

void log_connection_end(Stream& stream, const ListenerConfig& listener, protocol::Version version,
                        protocol::ReasonCode reason, CloseCause cause, const LogClient& client,
                        bool had_come_in) {
  const LogLevel level = is_fault(cause) ? LogLevel::warn
                         : had_come_in   ? LogLevel::info
                                         : LogLevel::debug;
  if (!logs(level)) return;
  const PeerAddress peer = stream.peer();
  // A certificate that was not accepted has a better reason than MQTT has codes.
  const std::string refusal =
      cause == CloseCause::handshake_fault ? stream.failure() : std::string();
  const std::string_view why = refusal.empty() ? protocol::to_string(reason) : refusal;
  // A stranger that repeats its fault under ever new names does not fill the disk.
  const LogClient whom = had_come_in ? client : LogClient{};
  const auto verdict = ask(peer, whom, std::string(word(cause)) + ' ' + std::string(why));
  log(level, "connection.end",
      {{"cause", word(cause)},
       {"reason", why},
       {"client", quoted(client.id)},
       {"user", quoted(client.user)},
       {"listener", listener.name},
       {"peer", peer.host},
       {"port", peer.port},
       {"mqtt", protocol::to_string(version)},
       {"suppressed", verdict.suppressed}},
      !verdict.log);
}

void log_subscribe_denied(Stream& stream, const ListenerConfig& listener, const LogClient& client,
                          std::string_view filter) {
  if (!logs(LogLevel::warn)) return;
  const PeerAddress peer = stream.peer();
  const auto verdict = ask(peer, client, "subscribe denied");
  log(LogLevel::warn, "subscribe.denied",
      {{"client", quoted(client.id)},
       {"user", quoted(client.user)},
       {"filter", quoted(filter)},
       {"listener", listener.name},
       {"peer", peer.host},
       {"port", peer.port},
       {"suppressed", verdict.suppressed}},
      !verdict.log);
}

void log_receive_maximum_exceeded(Stream& stream, const ListenerConfig& listener) {
  if (!logs(LogLevel::warn)) return;
  const PeerAddress peer = stream.peer();
  const auto verdict = peer_log_limiter().ask(peer.host + " receive maximum");
  log(LogLevel::warn, "connection.receive_maximum",
      {{"listener", listener.name},
       {"peer", peer.host},
       {"port", peer.port},
       {"suppressed", verdict.suppressed}},
      !verdict.log);
}

}  // namespace millrace::server
