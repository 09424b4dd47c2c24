#include "loadtest/client.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace millrace::loadtest {
namespace {

constexpr std::size_t kPacketIds = 65'536;

}  // namespace

Client::Client(EventLoop& loop, const Endpoint& endpoint, ClientEvents& events, std::string id)
    : loop_(loop), endpoint_(endpoint), events_(events), id_(std::move(id)) {}

Client::~Client() {
  close_socket();
}

void Client::publish_from(std::unique_ptr<PublishRing> ring, std::uint8_t qos,
                          std::uint32_t unacked_max) {
  ring_ = std::move(ring);
  publish_qos_ = qos;
  unacked_max_ = std::min<std::uint32_t>(unacked_max, 65'535);
  if (qos > 0) slots_.assign(kPacketIds, Slot::free);
}

void Client::dial() {
  dialled_ns_ = now_ns();
  transport_.reset();
  partial_.clear();
  control_.clear();
  control_at_ = 0;
  blocked_ = ring_blocked_ = false;
  fd_ = ::socket(endpoint_.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "socket");
  const int one = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  const int receive_bytes =
      receive_buffer_bytes_ > 0 ? receive_buffer_bytes_ : endpoint_.receive_buffer_bytes;
  if (receive_bytes > 0) {
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
  }
  if (endpoint_.send_buffer_bytes > 0) {
    setsockopt(fd_, SOL_SOCKET, SO_SNDBUF, &endpoint_.send_buffer_bytes, sizeof(int));
  }
  if (source_ipv4_ != 0) {
    sockaddr_in source{};
    source.sin_family = AF_INET;
    source.sin_addr.s_addr = source_ipv4_;
    setsockopt(fd_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (::bind(fd_, reinterpret_cast<const sockaddr*>(&source), sizeof source) != 0) {
      fail(std::string("bind: ") + std::strerror(errno));
      return;
    }
  }
  state_ = State::dialling;
  const auto* address = reinterpret_cast<const sockaddr*>(&endpoint_.address);
  if (::connect(fd_, address, endpoint_.address_bytes) != 0 && errno != EINPROGRESS) {
    fail(std::string("connect: ") + std::strerror(errno));
    return;
  }
  interest_ = EPOLLOUT;
  loop_.add(fd_, interest_, this);
}

void Client::continue_handshake() {
  if (state_ == State::dialling) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return fail(std::string("connect: ") + std::strerror(error));
    transport_ = endpoint_.tls ? make_tls(fd_, endpoint_.tls_context.get(), endpoint_.tls_settings)
                               : make_tcp(fd_);
    if (endpoint_.websocket) {
      transport_ = make_websocket(std::move(transport_), endpoint_.websocket_settings);
    }
    state_ = State::handshaking;
  }
  const IoStatus status = transport_->handshake();
  if (status == IoStatus::blocked) return update_interest();
  if (status == IoStatus::finished) return fail("closed by the server during the handshake");
  if (status == IoStatus::failed) return fail(last_transport_error());
  state_ = State::awaiting_connack;
  ConnectFields fields = endpoint_.connect;
  fields.client_id = id_;
  send_control(encode_connect(fields));
}

void Client::subscribe(const std::vector<std::string>& filters, std::uint8_t qos,
                       const std::vector<std::pair<std::string, std::string>>& user_properties) {
  filters_wanted_ = filters.size();
  send_control(encode_subscribe({endpoint_.connect.version, 1, filters, qos, user_properties}));
}

void Client::ping() {
  send_control(encode_pingreq());
}

void Client::send_control(std::string_view packet) {
  control_.insert(control_.end(), packet.begin(), packet.end());
  flush();
}

void Client::on_events(std::uint32_t events) {
  if (state_ == State::dialling || state_ == State::handshaking) {
    continue_handshake();
    return;
  }
  if ((events & EPOLLOUT) != 0) {
    blocked_ = false;
    flush();
  }
  if (is_open() && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) readable();
}

void Client::readable() {
  // A limit, so that one connection with a fast sender does not starve the others.
  for (int round = 0; round < 4 && is_open(); ++round) {
    const bool more = read_once(loop_.scratch_bytes());
    if (!more) break;
  }
  // Input that the transport has buffered does not make the socket readable again.
  while (is_open() && transport_->may_hold_input() && read_once(loop_.scratch_bytes())) {
  }
  if (is_open()) flush();
}

void Client::read_some(std::size_t bytes_max) {
  if (!is_ready()) return;
  while (bytes_max > 0 && is_open()) {
    const std::uint64_t before = received_bytes_;
    const bool more = read_once(bytes_max);
    bytes_max -= static_cast<std::size_t>(received_bytes_ - before);
    if (!more) break;
  }
  if (is_open()) flush();
}

// Reads once, at most `bytes_max`; returns whether there may be more.
bool Client::read_once(std::size_t bytes_max) {
  const std::size_t kept = partial_.size();
  loop_.reserve_scratch(kept + 1);
  char* const buffer = loop_.scratch();
  std::memcpy(buffer, partial_.data(), kept);
  const std::size_t room = std::min(bytes_max, loop_.scratch_bytes() - kept);
  const IoResult got = transport_->read(buffer + kept, room);
  if (got.status == IoStatus::blocked) return false;
  if (got.status == IoStatus::finished) return fail("closed by the server"), false;
  if (got.status == IoStatus::failed) return fail(last_transport_error()), false;
  received_bytes_ += got.bytes;
  const Nanos now = now_ns();
  const std::size_t total = kept + got.bytes;
  const std::size_t used = consume(buffer, total, now);
  if (!is_open()) return false;
  if (receiver_ != nullptr) receiver_->end_of_read(now);
  partial_.assign(buffer + used, total - used);
  return got.bytes == room;
}

// Handles the complete packets among `n` bytes; returns how many bytes they took.
std::size_t Client::consume(const char* bytes, std::size_t n, Nanos now) {
  std::size_t at = 0;
  while (n - at >= 2) {
    const char* const p = bytes + at;
    PacketHead head;
    const HeadStatus status = read_head(p, n - at, head);
    if (status == HeadStatus::malformed) return fail("malformed Remaining Length"), at;
    if (status == HeadStatus::incomplete) break;
    const std::size_t size = std::size_t{head.head_bytes} + head.body_bytes;
    if (size > n - at) {
      break;
    }
    const char* const body = p + head.head_bytes;
    const bool ok = (head.first_byte >> 4) == 3
                        ? on_publish(head.first_byte, body, head.body_bytes, now)
                        : on_packet(head.first_byte, {body, head.body_bytes});
    if (!is_open()) return at;
    if (!ok) ++protocol_errors_;
    at += size;
  }
  return at;
}

bool Client::on_publish(std::uint8_t first_byte, const char* body, std::size_t n, Nanos now) {
  if (n < 2) return false;
  const std::size_t topic_bytes = read_u16(body);
  const unsigned qos = first_byte >> 1 & 3;
  std::size_t at = 2 + topic_bytes;
  std::uint16_t packet_id = 0;
  if (qos > 0) {
    if (at + 2 > n) return false;
    packet_id = read_u16(body + at);
    at += 2;
  }
  if (endpoint_.connect.version == MqttVersion::v5) {
    if (at >= n) return false;
    std::string_view rest(body + at, n - at);
    const auto properties_bytes = take_varint(rest);
    if (!properties_bytes || *properties_bytes > rest.size()) return false;
    at = static_cast<std::size_t>(rest.data() - body) + *properties_bytes;
  }
  if (at > n) return false;
  if (receiver_ != nullptr) receiver_->on_publish(body + 2, topic_bytes, body + at, n - at, now);
  if (qos > 0) append_ack(control_, qos == 1 ? PacketType::puback : PacketType::pubrec, packet_id);
  return true;
}

bool Client::on_packet(std::uint8_t first_byte, std::string_view body) {
  const auto type = static_cast<PacketType>(first_byte >> 4);
  switch (type) {
    case PacketType::connack:
      return on_connack(body);
    case PacketType::suback:
      return on_suback(body);
    case PacketType::puback:
    case PacketType::pubrec:
    case PacketType::pubcomp:
      return on_ack(type, body);
    case PacketType::pubrel: {
      const auto ack = read_ack(body);
      if (!ack) return false;
      append_ack(control_, PacketType::pubcomp, ack->packet_id);
      return true;
    }
    case PacketType::pingresp:
      return true;
    case PacketType::disconnect: {
      const int reason = body.empty() ? 0 : static_cast<std::uint8_t>(body[0]);
      fail("DISCONNECT from the server, reason " + std::to_string(reason));
      return true;
    }
    default:
      return false;
  }
}

bool Client::on_connack(std::string_view body) {
  const auto connack = read_connack(endpoint_.connect.version, body);
  if (!connack || state_ != State::awaiting_connack) return fail("malformed CONNACK"), false;
  if (connack->code != 0) return fail("CONNACK code " + std::to_string(connack->code)), false;
  if (publish_qos_ > connack->maximum_qos) return fail("the server's maximum QoS is lower"), false;
  unacked_max_ = std::min<std::uint32_t>(unacked_max_, connack->receive_maximum);
  state_ = State::ready;
  events_.on_ready(*this);
  return true;
}

bool Client::on_suback(std::string_view body) {
  const auto suback = read_suback(endpoint_.connect.version, body);
  if (!suback || suback->codes.size() != filters_wanted_) return fail("malformed SUBACK"), false;
  for (const std::uint8_t code : suback->codes) {
    if (code >= 0x80) return fail("SUBACK code " + std::to_string(code)), true;
  }
  events_.on_subscribed(*this);
  return true;
}

bool Client::on_ack(PacketType type, std::string_view body) {
  const auto ack = read_ack(body);
  if (!ack || slots_.empty()) return false;
  Slot& slot = slots_[ack->packet_id];
  const bool is_end = type == PacketType::pubcomp;
  if (slot != (is_end ? Slot::awaiting_pubcomp : Slot::awaiting_ack)) return false;
  if ((type == PacketType::puback) != (publish_qos_ == 1)) return false;
  if (ack->reason >= 0x80) ++refused_;
  if (type == PacketType::pubrec && ack->reason < 0x80) {
    slot = Slot::awaiting_pubcomp;
    append_ack(control_, PacketType::pubrel, ack->packet_id);
  } else {
    slot = Slot::free;
    --unacked_;
  }
  return true;
}

std::uint16_t Client::take_packet_id() {
  // One is free: the caller has checked publish_room().
  do {
    if (++last_packet_id_ == 0) last_packet_id_ = 1;
  } while (slots_[last_packet_id_] != Slot::free);
  slots_[last_packet_id_] = Slot::awaiting_ack;
  ++unacked_;
  return last_packet_id_;
}

std::size_t Client::publish_room() const {
  if (!ring_ || !is_ready()) return 0;
  if (publish_qos_ == 0) return ring_->room();
  return std::min<std::size_t>(ring_->room(), unacked_max_ - std::min(unacked_, unacked_max_));
}

void Client::stamp(std::size_t count, Nanos intended_ns, Nanos sent_ns) {
  const std::uint64_t intended = spread(static_cast<std::uint64_t>(intended_ns));
  const std::uint64_t sent = spread(static_cast<std::uint64_t>(sent_ns));
  if (publish_qos_ == 0) {
    for (; count > 0; --count) ring_->stamp(intended, sent, 0);
  } else {
    for (; count > 0; --count) ring_->stamp(intended, sent, take_packet_id());
  }
}

void Client::flush() {
  if (!transport_ || state_ == State::handshaking || blocked_) return;
  while (!blocked_ && is_open()) {
    if (transport_->has_unflushed()) {
      const IoStatus status = transport_->flush();
      if (status == IoStatus::blocked) blocked_ = true;
      if (status == IoStatus::failed || status == IoStatus::finished) {
        return fail(last_transport_error());
      }
      continue;
    }
    const bool ring_first = ring_ && (ring_blocked_ || !ring_->at_boundary());
    if (!ring_first && control_at_ < control_.size()) {
      if (!write_control()) return;
    } else if (ring_ && !ring_->idle()) {
      if (!write_ring()) return;
    } else {
      break;
    }
  }
  update_interest();
}

bool Client::write_control() {
  const iovec piece{control_.data() + control_at_, control_.size() - control_at_};
  const IoResult result = transport_->write(&piece, 1);
  if (result.status == IoStatus::blocked) {
    blocked_ = true;
  } else if (result.status != IoStatus::done) {
    fail(last_transport_error());
    return false;
  }
  control_at_ += result.bytes;
  if (control_at_ == control_.size()) {
    control_.clear();
    control_at_ = 0;
  }
  return true;
}

bool Client::write_ring() {
  iovec pieces[2];
  const int count = ring_->unsent(pieces);
  const std::size_t offered = ring_->unsent_bytes();
  const IoResult result = transport_->write(pieces, count);
  if (result.status != IoStatus::done && result.status != IoStatus::blocked) {
    fail(last_transport_error());
    return false;
  }
  ring_->mark_sent(result.bytes);
  blocked_ = result.bytes < offered;
  ring_blocked_ = blocked_;
  return true;
}

void Client::set_auto_read(bool automatic) {
  auto_read_ = automatic;
  update_interest();
}

void Client::update_interest() {
  if (fd_ < 0) return;
  std::uint32_t wanted = 0;
  const bool answers_wait = control_.size() - control_at_ > kControlBytesMax;
  if (auto_read_ && !answers_wait) wanted |= EPOLLIN;
  const bool handshaking = state_ == State::handshaking && transport_->wants_write();
  if (blocked_ || handshaking || (transport_ && transport_->has_unflushed())) wanted |= EPOLLOUT;
  if (wanted == interest_) return;
  interest_ = wanted;
  loop_.modify(fd_, wanted, this);
}

void Client::disconnect() {
  if (is_ready()) {
    const std::string packet = encode_disconnect();
    control_.insert(control_.end(), packet.begin(), packet.end());
    flush();
  }
  close_socket();
}

void Client::abort() {
  if (fd_ < 0) return;
  const linger reset{1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close_socket();
}

void Client::close_socket() {
  if (fd_ < 0) return;
  ::close(fd_);  // also removes it from the epoll set
  fd_ = -1;
  state_ = State::closed;
}

void Client::fail(const std::string& why) {
  if (fd_ < 0) return;
  close_socket();
  events_.on_closed(*this, why.empty() ? "the connection failed" : why);
}

}  // namespace millrace::loadtest
