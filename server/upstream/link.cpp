#include "server/upstream/link.hpp"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <utility>

#include "core/broker/inbox.hpp"
#include "protocol/encode.hpp"
#include "server/net/peer_address.hpp"

namespace millrace::server {

namespace {
// From the connected socket to CONNACK.
constexpr std::uint32_t greeting_ticks = IoThread::ticks(10);
constexpr std::uint32_t closing_ticks = IoThread::ticks(5);
constexpr std::uint32_t lingering_ticks = IoThread::ticks(2);
constexpr std::uint32_t ping_patience_ticks_min = IoThread::ticks(3);

// What was written to the socket, and the other side's system has not acknowledged.
std::uint64_t untaken_bytes(int fd) {
  int bytes = 0;
  return ::ioctl(fd, SIOCOUTQ, &bytes) == 0 ? static_cast<std::uint64_t>(std::max(bytes, 0)) : 0;
}
}  // namespace

Link::Link(IoThread& thread, std::shared_ptr<LinkOwner> owner, std::unique_ptr<Stream> stream,
           Setting setting)
    : thread_(thread),
      owner_(std::move(owner)),
      setting_(std::move(setting)),
      plan_(*setting_.plan),
      stats_(*setting_.stats),
      stream_(std::move(stream)),
      reader_(thread.read_memory(), plan_.origin),
      submission_(thread),
      demand_(setting_.demand),
      version_(version_of(setting_.dialect)) {}

void Link::start() {
  intrusive_ptr_add_ref(this);  // until release_if_done()
  thread_.count_resident(false);
  set_patience(greeting_ticks);
  stream_->open(*this);
}

void Link::on_open() {
  thread_.awake();
  const StreamUserRef keep(this);
  if (state_ != State::opening) return;
  state_ = State::greeting;
  writer_.add_control(encode_link_connect(plan_, config(), setting_.dialect));
  thread_.counters().packets_sent[static_cast<std::size_t>(protocol::PacketType::connect)].add();
  write();
  if (!ended()) stream_->wait_readable();
}

void Link::on_open_failed() {
  thread_.awake();
  const StreamUserRef keep(this);
  if (ended()) return;
  std::string why = stream_->failure();
  close({Why::refused, why.empty() ? "the connection ended" : std::move(why)});
}

// It is no client's: instead of the listener that it came to, it has the upstream that it goes to.
void Link::describe(broker::ConnectionFacts& facts) const {
  if (stream_->fd() >= 0) {
    PeerAddress peer = stream_->peer();
    facts.address = std::move(peer.host);
    facts.port = static_cast<std::uint16_t>(peer.port);
  }
  facts.listener = "upstream " + plan_.config.name;
  facts.transport = setting_.transport;
  constexpr std::uint32_t ticks_per_second = IoThread::ticks(1);
  const std::uint32_t tick = thread_.wheel().tick();
  facts.keep_alive_seconds = terms_.keep_alive_seconds;
  facts.silent_seconds = (tick - last_received_tick_) / ticks_per_second;
  facts.last_sent_seconds = (tick - last_sent_tick_) / ticks_per_second;
  facts.connected_seconds = (tick - connected_tick_) / ticks_per_second;
  facts.bytes_received = bytes_received_;
  facts.bytes_sent = bytes_sent_;
  facts.messages_received = messages_received_;
  facts.messages_sent = writer_.messages_sent();
}

// --- Time ----------------------------------------------------------------------------------------

void Link::schedule(std::uint32_t ticks) {
  thread_.wheel().schedule(*this, thread_.wheel().tick() + ticks + 1);
}

void Link::set_patience(std::uint32_t ticks) {
  patience_ends_tick_ = thread_.wheel().tick() + ticks;
  schedule(ticks);
}

void Link::on_due() {
  const StreamUserRef keep(this);
  if (state_ == State::up) return keep_alive();
  const auto left = static_cast<std::int32_t>(patience_ends_tick_ - thread_.wheel().tick());
  if (left > 0) return schedule(static_cast<std::uint32_t>(left));
  schedule(TimerWheel::slot_count - 2);
  switch (state_) {
    case State::opening:
      return close({Why::lost, "TLS or WebSocket did not begin in time"});
    case State::greeting:
      return close({Why::fault, "no answer to CONNECT in time"});
    case State::closing:
    case State::lingering:
      return leave();
    case State::up:
    case State::closed:
      return;
  }
}

// A PINGREQ after three quarters of the keep alive, whatever else was sent: its answer tells that the
// upstream is there, and how far away.
void Link::keep_alive() {
  const std::uint32_t seconds = terms_.keep_alive_seconds;
  if (seconds == 0) return schedule(TimerWheel::slot_count - 2);
  const std::uint32_t interval = std::max(1u, IoThread::ticks(seconds) / 4 * 3);
  const std::uint32_t patience =
      std::max(ping_patience_ticks_min, IoThread::ticks(seconds) / 4 * 3);
  // Nothing is read meanwhile, so its answer may have come.
  if (reading_paused_ || read_stopped_) ping_sent_ns_ = 0;
  if (ping_sent_ns_ != 0) {
    const std::uint32_t silent = silent_ticks();
    schedule(patience - std::min(silent, patience));
    if (silent > patience) close({Why::fault, "no answer to PINGREQ in time"});
    return;
  }
  const std::uint32_t since_ping = thread_.wheel().tick() - last_ping_tick_;
  if (since_ping < interval) return schedule(interval - since_ping);
  schedule(patience);
  send_ping();
}

void Link::send_ping() {
  last_ping_tick_ = last_sign_tick_ = thread_.wheel().tick();
  ping_sent_ns_ = broker::Inbox::now_ns();
  send(protocol::Packet(protocol::Pingreq{}));
  write();
  if (ended()) return;
  constexpr std::uint64_t of_a_ping = 64;  // in TLS and WebSocket, and no more
  const std::uint64_t untaken = untaken_bytes(stream_->fd());
  pinged_at_bytes_ = bytes_sent_;
  taken_bytes_ = bytes_sent_ - std::min(bytes_sent_, untaken);
  ping_taken_ = untaken <= of_a_ping;
}

// For how long there was no sign of the upstream. On a slow link a PINGREQ and its answer stand behind
// all that was written before them. So whatever comes is a sign, and so is that what was written
// before the PINGREQ goes on being taken; what is taken after it is none: a system takes bytes for a
// program that stands still.
std::uint32_t Link::silent_ticks() {
  if (static_cast<std::int32_t>(last_received_tick_ - last_sign_tick_) > 0) {
    last_sign_tick_ = last_received_tick_;
  }
  if (!ping_taken_) {
    const std::uint64_t untaken = untaken_bytes(stream_->fd());
    const std::uint64_t taken = bytes_sent_ - std::min(bytes_sent_, untaken);
    if (taken > taken_bytes_) last_sign_tick_ = thread_.wheel().tick();
    taken_bytes_ = taken;
    ping_taken_ = taken >= pinged_at_bytes_;
  }
  return thread_.wheel().tick() - last_sign_tick_;
}

// --- The end -------------------------------------------------------------------------------------

void Link::leave_politely(std::string why) {
  close({Why::wanted, std::move(why)}, ReasonCode::normal_disconnection);
}

void Link::end(Which which) {
  if (which == Which::all) leave_politely("this server ends");
}

void Link::abandon() {
  const StreamUserRef keep(this);
  if (submission_.is_open() && !submission_.has_close()) {
    submission_.add_close(ReasonCode::server_shutting_down, std::nullopt);
  }
  submission_.give_up();
  if (state_ == State::closed) return release_if_done();
  if (!end_) end_ = LinkEnd{Why::wanted, "this server ends"};
  leave();
}

// `tell`: by a DISCONNECT, once all is written.
void Link::close(LinkEnd end, std::optional<ReasonCode> tell) {
  if (ended()) return;
  const StreamUserRef keep(this);
  const bool was_greeting = state_ <= State::greeting;
  const bool is_lost = end.why == Why::lost;
  end_ = std::move(end);
  state_ = State::closing;
  reader_.forget();
  set_patience(closing_ticks);
  if (submission_.is_open()) {
    submission_.add_close(ReasonCode::normal_disconnection, std::nullopt);
    if (!in_read_) submission_.submit();
  }
  if (is_lost || was_greeting) {
    leaves_now_ = true;  // nothing was agreed: there is nothing to say
    if (!in_read_) leave();
    return;
  }
  // MQTT 3.1.1 has no reasons: a fault is told by closing.
  if (tell && (is_v5() || !protocol::is_failure(*tell))) goodbye_ = tell;
  if (!in_read_) write();
}

// Called when nothing is left to write but the last packet.
void Link::finish_closing() {
  if (!answered_) {
    if (!await_answers()) return;
    answered_ = true;
    return write();
  }
  if (goodbye_) {
    protocol::Disconnect disconnect;
    disconnect.reason = *std::exchange(goodbye_, std::nullopt);
    send(protocol::Packet(std::move(disconnect)));
    return write();
  }
  state_ = State::lingering;
  stream_->shutdown();
  set_patience(lingering_ticks);
  stream_->wait_readable();
}

// False: the processor has not applied all of it; on_outbox_ready() goes on. What the upstream sent
// gets its acknowledgements first.
bool Link::await_answers() {
  if (!submission_.is_open() || end_->why == Why::processor) return true;
  if (!submission_.all_applied()) {
    submission_.ask_for_progress();
    if (!submission_.all_applied()) return false;
  }
  take_handover();
  return true;
}

void Link::lost() {
  if (ended()) return leave();
  std::string why = stream_->failure();
  if (state_ == State::greeting) {
    // Some refuse a version that they do not know by closing.
    const bool may_be_version = setting_.dialect == Dialect::v3_1_1_bridge && why.empty();
    if (why.empty()) why = "the connection ended before CONNACK";
    return close({may_be_version ? Why::wrong_version : Why::lost, std::move(why)});
  }
  close({Why::lost, why.empty() ? "the connection ended" : std::move(why)});
}

void Link::leave() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  stream_->close();
  if (const auto owner = std::exchange(owner_, nullptr)) owner->on_link_closed(std::move(*end_));
  release_if_done();
}

// The last reference may go: nothing of the link may be touched after this.
void Link::release_if_done() {
  if (released_ || state_ != State::closed || in_read_ || !submission_.is_over()) return;
  released_ = true;
  if (submission_.is_open()) submission_.outbox()->forget_owner();
  if (is_linked()) unlink();
  thread_.discount_resident(false);
  intrusive_ptr_release(static_cast<StreamUser*>(this));
}

}  // namespace millrace::server
