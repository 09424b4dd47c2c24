// What those who manage the server are told of a connection.
#include "server/mqtt/connection.hpp"
#include "server/net/peer_address.hpp"

namespace millrace::server {

namespace {

constexpr std::uint32_t ticks_per_second = IoThread::ticks(1);

}  // namespace

void Connection::describe(broker::ConnectionFacts& facts) const {
  if (stream_->fd() >= 0) {
    PeerAddress peer = stream_->peer();
    facts.address = std::move(peer.host);
    facts.port = static_cast<std::uint16_t>(peer.port);
  }
  facts.listener = listener_.name;
  facts.transport = to_string(listener_.transport);
  const std::uint32_t tick = thread_.wheel().tick();
  // Half as much again as was agreed; while it is being closed, the time that it has for that.
  if (state_ == State::connected) {
    facts.keep_alive_seconds = patience_ticks_ * 2 / 3 / ticks_per_second;
  }
  facts.silent_seconds = (tick - last_received_tick_) / ticks_per_second;
  facts.last_sent_seconds = (tick - last_sent_tick_) / ticks_per_second;
  facts.connected_seconds = (tick - connected_tick_) / ticks_per_second;
  facts.bytes_received = bytes_received_;
  facts.bytes_sent = bytes_sent_;
  facts.messages_received = messages_received_;
  facts.messages_sent = writer_.messages_sent();
}

}  // namespace millrace::server
