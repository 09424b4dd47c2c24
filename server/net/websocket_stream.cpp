#include "server/net/websocket_stream.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "protocol/websocket.hpp"
#include "server/net/behind_proxy.hpp"
#include "server/net/forwarded_for.hpp"
#include "server/net/tcp_stream.hpp"
#include "server/net/tls_stream.hpp"
#include "server/net/websocket_upgrade.hpp"

namespace millrace::server {

namespace websocket = protocol::websocket;

namespace {

// What is unsent of a begun frame is copied: a bound on that, and on how late a peer sees the first
// of many packets.
constexpr std::size_t frame_bytes_max = 64 * 1024;
constexpr std::size_t frame_parts_max = 256;
constexpr std::size_t request_chunk_bytes = 4 * 1024;
constexpr std::size_t discarded_bytes_max = 1 << 20;  // behind a request that was refused

// One frame for a write call: its header, and the bytes of the next parts.
class Gathered {
 public:
  // Takes from `from`, of which `skipped` bytes were taken before.
  Gathered(std::span<const iovec> from, std::size_t skipped) {
    for (const iovec& part : from) {
      if (skipped >= part.iov_len) {
        skipped -= part.iov_len;
        continue;
      }
      if (count_ > frame_parts_max || payload_bytes_ == frame_bytes_max) break;
      const std::size_t bytes = std::min(part.iov_len - skipped, frame_bytes_max - payload_bytes_);
      parts_[count_++] = {static_cast<std::uint8_t*>(part.iov_base) + skipped, bytes};
      payload_bytes_ += bytes;
      skipped = 0;
    }
    parts_[0] = {header_.data(),
                 websocket::encode_header(websocket::Opcode::binary, payload_bytes_, header_)};
  }
  Gathered(const Gathered&) = delete;
  Gathered& operator=(const Gathered&) = delete;

  std::span<const iovec> parts() const { return {parts_.data(), count_}; }
  std::size_t payload_bytes() const { return payload_bytes_; }
  std::size_t bytes() const { return parts_[0].iov_len + payload_bytes_; }

  // What comes behind the first `sent` bytes.
  std::vector<std::uint8_t> rest(std::size_t sent) const {
    std::vector<std::uint8_t> rest;
    rest.reserve(bytes() - sent);
    for (const iovec& part : parts()) {
      const std::size_t skipped = std::min(sent, part.iov_len);
      sent -= skipped;
      const auto* begin = static_cast<const std::uint8_t*>(part.iov_base);
      rest.insert(rest.end(), begin + skipped, begin + part.iov_len);
    }
    return rest;
  }

 private:
  std::array<std::uint8_t, websocket::sent_header_bytes_max> header_;
  std::array<iovec, 1 + frame_parts_max> parts_;
  std::size_t count_ = 1;
  std::size_t payload_bytes_ = 0;
};

// `Base`: the transport below, TcpStream or TlsStream.
template <class Base>
class WebSocketStream : public Base {
 public:
  template <class... Arguments>
  explicit WebSocketStream(const ListenerConfig& listener, Arguments&&... arguments)
      : Base(std::forward<Arguments>(arguments)...),
        listener_(listener),
        upgrade_(std::make_unique<WebSocketUpgrade>()) {}

  IoResult read(std::span<std::uint8_t> into) override;
  IoResult write(std::span<const iovec> from) override;
  IoStatus flush() override;
  void wait_readable() override;
  void shutdown() override;
  PeerAddress peer() override { return forwarded_ ? *forwarded_ : Base::peer(); }

 protected:
  using Base::user;

 private:
  void opened() override { Base::wait_readable(); }
  void readable() override;
  void writable() override;
  void read_request();
  void answer_request();
  void note_forwarded();
  void discard_rest();
  void fail_open();
  IoResult receive(std::span<std::uint8_t> into);
  IoStatus over_status() const { return reader_.fault() ? IoStatus::broken : IoStatus::end; }
  void finish_closing();

  const ListenerConfig& listener_;
  std::unique_ptr<WebSocketUpgrade> upgrade_;  // until the handshake is over
  std::unique_ptr<PeerAddress> forwarded_;     // whom a proxy says it speaks for; null: nobody
  bool accepted_ = false;
  bool refusing_ = false;  // the refusal is sent
  std::size_t discarded_bytes_ = 0;
  bool closing_ = false;             // our close frame is on its way, or the answer to the peer's
  std::vector<std::uint8_t> early_;  // frames that came together with the request
  websocket::FrameReader reader_;
  std::vector<std::uint8_t> unsent_;  // of frames that write() or answer_ began
  std::size_t unsent_at_ = 0;
  std::string answer_;  // a control frame that goes out between two data frames
};

// --- Handshake -----------------------------------------------------------------------------------

template <class Base>
void WebSocketStream<Base>::readable() {
  if (upgrade_) return read_request();
  user().on_readable();
}

template <class Base>
void WebSocketStream<Base>::read_request() {
  if (refusing_) return discard_rest();
  if (!upgrade_->answer().empty()) return;  // what comes behind the request can wait
  std::array<std::uint8_t, request_chunk_bytes> chunk;
  const IoResult result = Base::read(chunk);
  if (result.status == IoStatus::again) return Base::wait_readable();
  if (result.status != IoStatus::ok) return fail_open();
  switch (upgrade_->take({chunk.data(), result.bytes}, listener_)) {
    case WebSocketUpgrade::Status::incomplete:
      return Base::wait_readable();
    case WebSocketUpgrade::Status::accepted:
      accepted_ = true;
      break;
    case WebSocketUpgrade::Status::refused:
      break;
  }
  unsent_.assign(upgrade_->answer().begin(), upgrade_->answer().end());
  answer_request();
}

template <class Base>
void WebSocketStream<Base>::answer_request() {
  const IoStatus status = flush();
  if (status == IoStatus::again) return Base::wait_writable();
  if (status == IoStatus::failed) return fail_open();
  if (!accepted_) {
    refusing_ = true;
    Base::shutdown();
    return discard_rest();
  }
  note_forwarded();
  early_.assign(upgrade_->rest().begin(), upgrade_->rest().end());
  upgrade_.reset();
  user().on_open();
}

// A proxy of ours may say whose request this is.
template <class Base>
void WebSocketStream<Base>::note_forwarded() {
  if (listener_.forwarded_from.empty()) return;
  const std::string peer = Base::peer().host;
  std::string client =
      forwarded_client(peer, upgrade_->forwarded_for(), address_ranges(listener_.forwarded_from));
  if (client != peer) forwarded_ = std::make_unique<PeerAddress>(PeerAddress{std::move(client), 0});
}

// Reads and drops what follows a refused request, until the peer closes, which it does when it has
// read the refusal. At the latest until discarded_bytes_max have come; the time-out for CONNECT
// ends it too.
template <class Base>
void WebSocketStream<Base>::discard_rest() {
  std::array<std::uint8_t, request_chunk_bytes> chunk;
  while (discarded_bytes_ < discarded_bytes_max) {
    const IoResult result = Base::read(chunk);
    if (result.status == IoStatus::again) return Base::wait_readable();
    if (result.status != IoStatus::ok) break;
    discarded_bytes_ += result.bytes;
  }
  fail_open();
}

template <class Base>
void WebSocketStream<Base>::fail_open() {
  discard_received(Base::fd());
  user().on_open_failed();
}

// --- Reading -------------------------------------------------------------------------------------

template <class Base>
IoResult WebSocketStream<Base>::read(std::span<std::uint8_t> into) {
  if (reader_.over() && !(closing_ && reader_.fault())) return {over_status()};
  const IoResult received = receive(into);
  // A peer that broke the rules may still send: closing before it has stopped would reset the
  // connection, and the close frame that says why could be lost.
  if (received.status != IoStatus::ok || reader_.over()) return received;
  const std::size_t payload_bytes = reader_.unframe(into.first(received.bytes));
  if (std::string answer = reader_.take_answer(); !answer.empty() && !closing_) {
    answer_ = std::move(answer);
    if (flush() == IoStatus::again) Base::wait_writable();
  }
  if (payload_bytes > 0) return {IoStatus::ok, payload_bytes};
  return {reader_.over() ? over_status() : IoStatus::again};
}

template <class Base>
IoResult WebSocketStream<Base>::receive(std::span<std::uint8_t> into) {
  if (early_.empty()) return Base::read(into);
  const std::size_t bytes = std::min(into.size(), early_.size());
  std::memcpy(into.data(), early_.data(), bytes);
  early_.erase(early_.begin(), early_.begin() + static_cast<std::ptrdiff_t>(bytes));
  if (early_.empty()) std::vector<std::uint8_t>().swap(early_);
  return {IoStatus::ok, bytes};
}

template <class Base>
void WebSocketStream<Base>::wait_readable() {
  if (!early_.empty() || (reader_.over() && !closing_)) return Base::post_readable();
  Base::wait_readable();
}

// --- Writing -------------------------------------------------------------------------------------

template <class Base>
IoResult WebSocketStream<Base>::write(std::span<const iovec> from) {
  std::size_t total = 0;
  for (const iovec& part : from) total += part.iov_len;
  std::size_t taken = 0;
  while (taken < total) {
    const IoStatus flushed = flush();
    if (flushed == IoStatus::failed) return {IoStatus::failed};
    if (flushed == IoStatus::again) break;
    const Gathered frame(from, taken);
    const IoResult result = Base::write(frame.parts());
    if (result.status == IoStatus::failed) return result;
    if (result.status != IoStatus::ok) break;
    // The frame's header gives its length, so the rest of it must be sent before anything else.
    if (result.bytes < frame.bytes()) unsent_ = frame.rest(result.bytes);
    taken += frame.payload_bytes();
  }
  if (taken == 0) return {IoStatus::again};
  return {IoStatus::ok, taken};
}

template <class Base>
IoStatus WebSocketStream<Base>::flush() {
  for (;;) {
    if (unsent_at_ == unsent_.size()) {
      if (answer_.empty()) break;
      unsent_.assign(answer_.begin(), answer_.end());
      unsent_at_ = 0;
      answer_.clear();
    }
    const iovec part{unsent_.data() + unsent_at_, unsent_.size() - unsent_at_};
    const IoResult result = Base::write({&part, 1});
    if (result.status != IoStatus::ok) return result.status;
    unsent_at_ += result.bytes;
  }
  // An idle connection holds nothing.
  if (unsent_.capacity() > 0) std::vector<std::uint8_t>().swap(unsent_);
  unsent_at_ = 0;
  return Base::flush();
}

template <class Base>
void WebSocketStream<Base>::writable() {
  if (upgrade_) {
    if (!upgrade_->answer().empty() && !refusing_) answer_request();
    return;
  }
  if (closing_) return finish_closing();
  if (flush() == IoStatus::again) return Base::wait_writable();
  user().on_writable();
}

// --- The end -------------------------------------------------------------------------------------

template <class Base>
void WebSocketStream<Base>::shutdown() {
  if (closing_) return;
  closing_ = true;
  // A peer that closed first has its answer.
  if (!reader_.over() || reader_.fault()) {
    answer_ = encode_close(reader_.fault().value_or(websocket::CloseCode::normal));
  }
  finish_closing();
}

template <class Base>
void WebSocketStream<Base>::finish_closing() {
  if (flush() == IoStatus::again) return Base::wait_writable();
  Base::shutdown();
}

}  // namespace

std::unique_ptr<Stream> make_websocket_stream(Poller& poller, int fd,
                                              const ListenerConfig& listener, bool from_proxy) {
  using Plain = WebSocketStream<TcpStream>;
  if (from_proxy) return std::make_unique<BehindProxy<Plain>>(listener, poller, fd);
  return std::make_unique<Plain>(listener, poller, fd);
}

std::unique_ptr<Stream> make_secure_websocket_stream(Poller& poller, int fd,
                                                     boost::asio::ssl::context& context,
                                                     const ListenerConfig& listener,
                                                     bool from_proxy) {
  using Secure = WebSocketStream<TlsStream>;
  if (from_proxy) return std::make_unique<BehindProxy<Secure>>(listener, poller, fd, context);
  return std::make_unique<Secure>(listener, poller, fd, context);
}

}  // namespace millrace::server
